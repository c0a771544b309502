"""Words requests: every sampling parameter explicit, since servers' defaults differ."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from attrs import asdict, field, frozen

from egcfg.interfaces.prompt import ChatMessage
from egcfg_backends_fireworks.options import Route
from egcfg_backends_fireworks.vocabulary import estimated_tokens

__all__ = ["PATHS", "Chat", "Prefill", "RequestForm", "Service", "WirePrompt", "prompt_tokens"]

PATHS = {Route.COMPLETIONS: "/completions", Route.CHAT: "/chat/completions"}
"""Below the API's version."""


@frozen
class Chat:
    """A chat as it is sent.

    Attributes:
        messages: what was said.
        prefix: the beginning of the answer, which the server is to continue.
    """

    messages: tuple[ChatMessage, ...]
    prefix: str = ""


WirePrompt: TypeAlias = str | tuple[str | int, ...] | Chat
"""A prompt as it is sent: text, token ids (after a text, where the server takes both), a chat."""


class Prefill(enum.StrEnum):
    """How a server is told to continue the beginning of an answer.

    * ``LAST``: by its being the last message, the assistant's (Ollama, llama.cpp, gateways).
    * ``CONTINUE``: ``continue_final_message`` (vLLM, SGLang, llama.cpp).
    * ``PREFIX``: ``prefix: true`` in that message (DeepSeek, Mistral).
    * ``RESPONSE_PREFIX``: ``response_prefix`` (TabbyAPI).
    """

    LAST = "last message"
    CONTINUE = "continue_final_message"
    PREFIX = "prefix"
    RESPONSE_PREFIX = "response_prefix"


@frozen(kw_only=True)
class Service:
    """What a probe may try with one kind of service.

    Attributes:
        top_ks: alternatives per token to ask for, by and by, where more are refused.
        boolean: whether ``logprobs: true`` with ``top_logprobs: k`` is asked for on the
            completions route, rather than ``logprobs: k``; None: either, by trial.
        always: fields of every request.
        optional: fields beyond OpenAI's, each with the values to try; one that the server refuses
            is left out.
        chat: the same for the chat route.
        cache_key: the field that sends requests to one prompt cache; None: no such field.
        routes: whether the server may have llama.cpp's or vLLM's further routes.
    """

    top_ks: tuple[int, ...] = (200, 20, 11, 5, 1)
    boolean: bool | None = None
    always: Mapping[str, Any] = field(factory=dict)
    optional: Mapping[str, Sequence[Any]] = field(factory=dict)
    chat: Mapping[str, Sequence[Any]] = field(factory=dict)
    cache_key: str | None = None
    routes: bool = True


@frozen(kw_only=True)
class RequestForm:
    """The form of requests that a server takes.

    Attributes:
        model: the model's name.
        route: which route they go to; never `Route.AUTO`.
        top_k: alternatives per token; 0: no log-probabilities are asked for.
        boolean: whether ``logprobs`` is true beside ``top_logprobs``, rather than their number.
        fields: of every request beyond OpenAI's.
        whole_nucleus: whether ``top_p: 1`` is sent; text-generation-inference refuses it, and cuts
            nothing where it is left out.
        prefill: how an answer's beginning is continued; None: it is not, or not known.
        cache_key: the field that names the prompt cache.
    """

    model: str
    route: Route
    top_k: int
    boolean: bool = False
    fields: dict[str, Any] = field(factory=dict)
    whole_nucleus: bool = True
    prefill: Prefill | None = None
    cache_key: str | None = None

    def body(
        self,
        *prompts: WirePrompt,
        max_tokens: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int | None = None,
        n: int = 1,
        seed: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        token_logprobs: Sequence[int] = (),
        echo: int | None = None,
        cache_key: str | None = None,
    ) -> dict[str, Any]:
        """Return the body of a request for `n` completions of each prompt, with log-probabilities.

        Args:
            prompts: at least one; chats one at a time.
            max_tokens: tokens per completion.
            temperature: divides the logits; 0 is greedy.
            top_p: nucleus mass.
            top_k: alternatives per token; None: as many as the server gives.
            n: completions; llama.cpp's server mixes up its caches where there are several of
                several prompts.
            seed: of the sampling.
            logit_bias: added to the logits, by token id.
            token_logprobs: tokens whose values are to be listed instead of the likeliest ones'.
            echo: ask for rows of the prompt's last so many tokens as well.
            cache_key: names the prompt cache.
        """
        request: dict[str, Any] = {
            "model": self.model,
            **self._prompt(prompts),
            "max_tokens": max_tokens,
            "temperature": temperature,
            **self.fields,
        }
        if top_p < 1.0 or self.whole_nucleus:
            request["top_p"] = top_p
        alternatives = min(top_k or self.top_k, self.top_k)
        if alternatives and self.boolean:
            request |= {"logprobs": True, "top_logprobs": alternatives}
        elif alternatives:
            request["logprobs"] = alternatives
        if n != 1:
            request["n"] = n
        if seed is not None:
            request["seed"] = seed
        if logit_bias:
            request["logit_bias"] = {str(token): value for token, value in logit_bias.items()}
        if token_logprobs:
            request["logprob_token_ids"] = list(token_logprobs)
        if echo is not None:
            request["echo_last"] = echo
            request.pop("return_token_ids", None)  # the rows name the tokens that are asked about
        if cache_key and self.cache_key:
            request[self.cache_key] = cache_key
        return request

    def _prompt(self, prompts: Sequence[WirePrompt]) -> dict[str, Any]:
        first = prompts[0]
        if isinstance(first, Chat):
            return self._chat(first)
        sent = [list(prompt) if isinstance(prompt, tuple) else prompt for prompt in prompts]
        return {"prompt": sent if len(sent) > 1 else sent[0]}

    def _chat(self, chat: Chat) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [asdict(message) for message in chat.messages]
        if not chat.prefix:
            return {"messages": messages}
        if self.prefill is Prefill.RESPONSE_PREFIX:
            return {"messages": messages, "response_prefix": chat.prefix}
        last: dict[str, Any] = {"role": "assistant", "content": chat.prefix}
        if self.prefill is Prefill.PREFIX:
            last["prefix"] = True
        told: dict[str, Any] = {"messages": [*messages, last]}
        if self.prefill is Prefill.CONTINUE:
            told |= {"continue_final_message": True, "add_generation_prompt": False}
        return told


def prompt_tokens(request: Mapping[str, Any]) -> int:
    """Return how many tokens a request's prompts have, where the server may not count all.

    Of several prompts, texts are estimated; of a single one, what is text is the server's to count.
    """
    prompt = request.get("prompt")
    if not isinstance(prompt, list):
        return 0
    if all(isinstance(part, int) for part in prompt[1:]):
        return sum(isinstance(part, int) for part in prompt)
    parts = [item for part in prompt for item in (part if isinstance(part, list) else [part])]
    return sum(1 if isinstance(part, int) else estimated_tokens(part) for part in parts)
