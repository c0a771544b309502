"""Words completion requests: every sampling parameter explicit, since servers' defaults differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

__all__ = ["Dialect", "Requests"]


@frozen(kw_only=True)
class Dialect:
    """How one kind of service wants things said.

    Attributes:
        row_logprobs: whether ``logprobs: true`` with ``top_logprobs: k`` is asked for, rather
            than ``logprobs: k``.
        always: fields of every request.
        extras: fields that go beyond OpenAI's, left out where a server refuses them.
        cache_key: the field that keeps requests of one branch on one prompt cache; None: no such.
        server_routes: whether the server may have llama.cpp's or vLLM's further routes.
    """

    row_logprobs: bool = False
    always: Mapping[str, Any] = field(factory=dict)
    extras: Mapping[str, Any] = field(factory=dict)
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
    """

    model: str
    dialect: Dialect
    top_k: int
    extras: bool = True

    def completion(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        n: int = 1,
        seed: int | None = None,
        bias: Mapping[int, float] | None = None,
        echo: int | None = None,
        cache_key: str | None = None,
    ) -> dict[str, Any]:
        """Return the body of a request that asks for `n` completions with log-probabilities.

        Args:
            prompt: text, or token ids.
            max_tokens: tokens per completion.
            temperature: divides the logits; 0 is greedy.
            top_p: nucleus mass.
            n: completions.
            seed: of the draws.
            bias: added to the logits, by token id.
            echo: ask for rows of the prompt's last so many tokens as well; 0: of all of them.
            cache_key: what the requests of one branch have in common.
        """
        request: dict[str, Any] = {
            "model": self.model,
            "prompt": prompt if isinstance(prompt, str) else list(prompt),
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
        if n != 1:
            request["n"] = n
        if seed is not None:
            request["seed"] = seed
        if bias:
            request["logit_bias"] = {str(token): value for token, value in bias.items()}
        if echo is not None:
            request |= {"echo_last": echo} if echo else {"echo": True}
            # The rows name the prompt's tokens, and ids beside them might not: one list is enough.
            request.pop("return_token_ids", None)
        if cache_key and self.dialect.cache_key:
            request[self.dialect.cache_key] = cache_key
        return request
