"""Further routes that llama.cpp's server and vLLM have: tokenizing, templates, properties."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import orjson
from attrs import asdict, define, field

from egcfg.errors import BackendError
from egcfg.interfaces.prompt import ChatMessage
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.responses import (
    MalformedResponseError,
    Piece,
    checked_text,
    read_as,
)

__all__ = ["TOKENIZE", "ServerRoutes"]

T = TypeVar("T")
TOKENIZE, DETOKENIZE, TEMPLATE, CHAT_TOKENS = "tokenize", "detokenize", "template", "chat tokens"
PROPERTIES, MODELS = "properties", "models"

IDENTIFYING = ("id", "root", "meta", "max_model_len", "digest")
"""What tells one model from another; other fields differ from answer to answer."""


@define
class ServerRoutes:
    """Asks them; every method returns None where the server has no such route.

    What was answered once is there: whatever goes wrong with it later is a fault like any other.

    Attributes:
        client: asks the server.
        model: the model's name.
        enabled: whether to ask at all.
        known: what the server has, or had when it was probed.
    """

    client: EndpointClient
    model: str
    enabled: bool = True
    known: set[str] = field(factory=set, converter=set)
    _properties: dict[str, Any] | None = field(default=None, init=False, repr=False)

    async def tokenize(self, text: str) -> tuple[int, ...] | None:
        """Return the token ids of `text` as the server would read it in a prompt."""
        pieces = await self.tokenize_pieces(text)
        return None if pieces is None else tuple(p.id for p in pieces if p.id is not None)

    async def tokenize_pieces(
        self, text: str, *, first: bool = True, literal: bool = False
    ) -> list[Piece] | None:
        """Return the tokens of `text`, with what they spell where the server tells.

        Args:
            text: a prompt, or a piece of one.
            first: whether a prompt begins with it.
            literal: whether special tokens that are spelt out in it are text. llama.cpp's server
                can do that; others take no notice.
        """
        body = {
            "content": text,  # llama.cpp
            "model": self.model,
            "prompt": text,  # vLLM
            "add_special": first,
            "add_special_tokens": first,
            "parse_special": not literal,
            "with_pieces": True,
        }
        return await self._ask(TOKENIZE, "/tokenize", body, _pieces)

    async def detokenize(self, *tokens: int) -> str | None:
        """Return what tokens spell, special ones spelt out."""
        body = {"model": self.model, "tokens": list(tokens)}
        return await self._ask(DETOKENIZE, "/detokenize", body, _text)

    async def render_chat(self, messages: Sequence[ChatMessage]) -> str | None:
        """Return the prompt text of a chat that the assistant is about to answer.

        Raises:
            BackendError: the template refuses the messages.
        """
        chat = [asdict(message) for message in messages]
        known = {TEMPLATE, CHAT_TOKENS} & self.known
        if CHAT_TOKENS not in self.known:
            body: dict[str, Any] = {"messages": chat}
            text = await self._ask(TEMPLATE, "/apply-template", body, _text)
            if text is not None:
                return text
        if TEMPLATE not in self.known:  # vLLM turns a chat into tokens only
            body = {"model": self.model, "messages": chat, "add_generation_prompt": True}
            tokens = await self._ask(CHAT_TOKENS, "/tokenize", body, _ids)
            if tokens is not None:
                return await self.detokenize(*tokens)
        if known:
            raise BackendError(
                f"the endpoint's chat template for {self.model} did not take the messages; "
                "choose another prompt: --prompt long_code"
            )
        return None

    async def context_length(self) -> int | None:
        """Return how many tokens the model's context holds."""
        settings = (await self._props()).get("default_generation_settings")
        length = settings.get("n_ctx") if isinstance(settings, dict) else None
        if not isinstance(length, int):
            named = [m for m in await self._models() or () if m.get("id") == self.model]
            length = named[0].get("max_model_len") if named else None
        return length if isinstance(length, int) and length > 0 else None

    async def end_id(self) -> int | None:
        """Return the id of the model's end-of-sequence token."""
        text = (await self._props()).get("eos_token")
        if not isinstance(text, str) or not text:
            return None
        ids = await self.tokenize(text)
        # A beginning-of-sequence token may have been put before it.
        return ids[-1] if ids is not None and len(ids) in (1, 2) else None

    async def fingerprint(self) -> str:
        """Return what tells the models that the server has from others; empty: nothing does."""
        models = await self._models()
        if not models:
            return ""
        told = [{name: model.get(name) for name in IDENTIFYING} for model in models]
        return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

    async def _models(self) -> list[dict[str, Any]] | None:
        return await self._ask(MODELS, "/v1/models", None, lambda a: list(map(dict, a["data"])))

    async def _props(self) -> dict[str, Any]:
        if self._properties is None:
            self._properties = await self._ask(PROPERTIES, "/props", None, dict) or {}
        return self._properties

    async def _ask(
        self,
        name: str,
        path: str,
        body: dict[str, Any] | None,
        read: Callable[[dict[str, Any]], T],
    ) -> T | None:
        if not self.enabled:
            return None
        reading = partial(read_as, read)
        answer = await self.client.route(path, body, reading, trial=name not in self.known)
        if answer is not None:
            self.known.add(name)
        return answer


def _text(answer: dict[str, Any]) -> str:
    return checked_text(answer["prompt"] if "prompt" in answer else answer["content"])


def _ids(answer: dict[str, Any]) -> list[int]:
    return [piece.id for piece in _pieces(answer) if piece.id is not None]


def _pieces(answer: dict[str, Any]) -> list[Piece]:
    if not (tokens := answer.get("tokens")):
        raise MalformedResponseError("an answer without tokens")
    return list(map(_piece, tokens))


def _piece(token: Any) -> Piece:
    # vLLM tells the id; llama.cpp's server what it spells as well, as text or bytes.
    if isinstance(token, int):
        return Piece(id=token)
    spelt = token.get("piece")
    if isinstance(spelt, str):
        return Piece(id=token["id"], data=spelt.encode(errors="replace"))
    return Piece(id=token["id"], data=None if spelt is None else bytes(spelt))
