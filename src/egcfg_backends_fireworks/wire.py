"""Words completion requests: every sampling parameter explicit, since servers' defaults differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import field, frozen

__all__ = ["Dialect", "RequestBuilder", "WirePrompt", "prompt_tokens"]

WirePrompt: TypeAlias = str | tuple[int, ...]
"""A prompt as it is sent: text, or token ids."""


@frozen(kw_only=True)
class Dialect:
    """How one kind of service wants its requests worded.

    Attributes:
        top_logprobs: whether ``logprobs: true`` with ``top_logprobs: k`` is asked for, rather
            than ``logprobs: k``.
        always: fields of every request.
        extras: fields that go beyond OpenAI's, left out where a server refuses them.
        token_id_strings: fields that make a server name tokens by their ids alone, as
            ``token_id:N``; left out where it has no ``/detokenize`` route.
        cache_key: the field that sends requests to one prompt cache; None: no such field.
        server_routes: whether the server may have llama.cpp's or vLLM's further routes.
    """

    top_logprobs: bool = False
    always: Mapping[str, Any] = field(factory=dict)
    extras: Mapping[str, Any] = field(factory=dict)
    token_id_strings: Mapping[str, Any] = field(factory=dict)
    cache_key: str | None = None
    server_routes: bool = True


@frozen(kw_only=True)
class RequestBuilder:
    """Makes the bodies of completion requests.

    Attributes:
        model: the model's name.
        dialect: how the service wants its requests worded.
        top_k: alternatives to ask for per token.
        extras: whether the dialect's extras are sent.
        token_id_strings: whether, with them, its fields for naming tokens by id are.
    """

    model: str
    dialect: Dialect
    top_k: int
    extras: bool = True
    token_id_strings: bool = True

    def completion(
        self,
        *prompts: WirePrompt,
        max_tokens: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        n: int = 1,
        seed: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        echo: int | None = None,
        prompt_ids: bool = False,
        cache_key: str | None = None,
    ) -> dict[str, Any]:
        """Return the body of a request for `n` completions of each prompt, with log-probabilities.

        Args:
            prompts: at least one.
            max_tokens: tokens per completion.
            temperature: divides the logits; 0 is greedy.
            top_p: nucleus mass.
            n: completions; llama.cpp's server mixes up its caches where there are several of
                several prompts.
            seed: of the sampling.
            logit_bias: added to the logits, by token id.
            echo: ask for rows of the prompt's last so many tokens as well; 0: of all of them.
            prompt_ids: whether an echo is to bring the ids of the whole prompt, too.
            cache_key: names the prompt cache.
        """
        sent = [prompt if isinstance(prompt, str) else list(prompt) for prompt in prompts]
        request: dict[str, Any] = {
            "model": self.model,
            "prompt": sent if len(sent) > 1 else sent[0],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            **self.dialect.always,
        }
        if self.dialect.top_logprobs:
            request |= {"logprobs": True, "top_logprobs": self.top_k}
        else:
            request["logprobs"] = self.top_k
        if self.extras:
            request |= self.dialect.extras
            if self.token_id_strings:
                request |= self.dialect.token_id_strings
        if n != 1:
            request["n"] = n
        if seed is not None:
            request["seed"] = seed
        if logit_bias:
            request["logit_bias"] = {str(token): value for token, value in logit_bias.items()}
        if echo is not None:
            request |= {"echo_last": echo} if echo else {"echo": True}
            if not prompt_ids:  # the rows name the tokens that are asked about
                request.pop("return_token_ids", None)
        if cache_key and self.dialect.cache_key:
            request[self.dialect.cache_key] = cache_key
        return request


def prompt_tokens(request: Mapping[str, Any]) -> int:
    """Return how many token ids a request's prompts hold; 0 where they are text."""
    prompt = request["prompt"]
    if isinstance(prompt, str):
        return 0
    return sum(len(item) if isinstance(item, list) else isinstance(item, int) for item in prompt)
