"""Words completion requests: every sampling parameter explicit, since servers' defaults differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import field, frozen

__all__ = ["Dialect", "Prompt", "Requests", "prompt_tokens"]

Prompt: TypeAlias = str | tuple[int, ...]
"""A prompt as it is sent: text, or token ids."""


@frozen(kw_only=True)
class Dialect:
    """How one kind of service wants things said.

    Attributes:
        row_logprobs: whether ``logprobs: true`` with ``top_logprobs: k`` is asked for, rather
            than ``logprobs: k``.
        always: fields of every request.
        extras: fields that go beyond OpenAI's, left out where a server refuses them.
        id_names: fields that make a server name tokens by their ids alone; left out where the
            server has no route that spells them.
        cache_key: the field that keeps requests of one branch on one prompt cache; None: no such.
        server_routes: whether the server may have llama.cpp's or vLLM's further routes.
    """

    row_logprobs: bool = False
    always: Mapping[str, Any] = field(factory=dict)
    extras: Mapping[str, Any] = field(factory=dict)
    id_names: Mapping[str, Any] = field(factory=dict)
    cache_key: str | None = None
    server_routes: bool = True


@frozen(kw_only=True)
class Requests:
    """Makes the bodies of completion requests.

    Attributes:
        model: the model's name.
        dialect: how the service wants things said.
        top_k: alternatives to ask for per token.
        extras: whether the dialect's extras are sent.
        id_names: whether, with them, its fields for naming tokens by id are.
    """

    model: str
    dialect: Dialect
    top_k: int
    extras: bool = True
    id_names: bool = True

    def completion(
        self,
        *prompts: Prompt,
        max_tokens: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        n: int = 1,
        seed: int | None = None,
        bias: Mapping[int, float] | None = None,
        echo: int | None = None,
        names_prompt: bool = False,
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
            seed: of the draws.
            bias: added to the logits, by token id.
            echo: ask for rows of the prompt's last so many tokens as well; 0: of all of them.
            names_prompt: whether an echo is to bring the ids of the whole prompt, too.
            cache_key: what the requests of one branch have in common.
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
        if self.dialect.row_logprobs:
            request |= {"logprobs": True, "top_logprobs": self.top_k}
        else:
            request["logprobs"] = self.top_k
        if self.extras:
            request |= self.dialect.extras
            if self.id_names:
                request |= self.dialect.id_names
        if n != 1:
            request["n"] = n
        if seed is not None:
            request["seed"] = seed
        if bias:
            request["logit_bias"] = {str(token): value for token, value in bias.items()}
        if echo is not None:
            request |= {"echo_last": echo} if echo else {"echo": True}
            if not names_prompt:  # the rows name what is asked about
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
