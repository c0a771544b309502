"""Further routes that llama.cpp's server and vLLM have: tokenizing, templates, properties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import asdict, define, field

from egcfg.interfaces.prompt import ChatMessage
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.responses import Piece

__all__ = ["ServerRoutes"]


@define
class ServerRoutes:
    """Asks them; every method returns None where the server has no such route.

    Attributes:
        client: asks the server.
        model: the model's name.
        enabled: whether to ask at all.
    """

    client: EndpointClient
    model: str
    enabled: bool = True
    _props: dict[str, Any] | None = field(default=None, init=False, repr=False)

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
        answer = await self._ask(
            "/tokenize",
            {
                "content": text,  # llama.cpp
                "model": self.model,
                "prompt": text,  # vLLM
                "add_special": first,
                "add_special_tokens": first,
                "parse_special": not literal,
                "with_pieces": True,
            },
        )
        tokens = (answer or {}).get("tokens")
        if not isinstance(tokens, list):
            return None
        pieces = [_piece(token) for token in tokens]
        return None if None in pieces else [piece for piece in pieces if piece is not None]

    async def detokenize(self, *tokens: int) -> str | None:
        """Return what tokens spell, special ones spelt out."""
        answer = await self._ask("/detokenize", {"model": self.model, "tokens": list(tokens)})
        text = (answer or {}).get("prompt", (answer or {}).get("content"))
        return text if isinstance(text, str) else None

    async def render_chat(self, messages: Sequence[ChatMessage]) -> str | None:
        """Return the prompt text of a chat that the assistant is about to answer."""
        chat = [asdict(message) for message in messages]
        answer = await self._ask("/apply-template", {"messages": chat})
        prompt = (answer or {}).get("prompt")
        if isinstance(prompt, str):
            return prompt
        # vLLM turns a chat into tokens only.
        body = {"model": self.model, "messages": chat, "add_generation_prompt": True}
        tokens = (await self._ask("/tokenize", body) or {}).get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
            return None
        return await self.detokenize(*tokens)

    async def context_length(self, model: str) -> int | None:
        """Return how many tokens the model's context holds."""
        settings = (await self._properties()).get("default_generation_settings")
        length = settings.get("n_ctx") if isinstance(settings, dict) else None
        if not isinstance(length, int):
            models = (await self._ask("/v1/models") or {}).get("data")
            entries = [m for m in models if isinstance(m, dict)] if isinstance(models, list) else []
            named = [m for m in entries if m.get("id") == model]
            length = named[0].get("max_model_len") if named else None
        return length if isinstance(length, int) and length > 0 else None

    async def end_id(self) -> int | None:
        """Return the id of the model's end-of-sequence token."""
        text = (await self._properties()).get("eos_token")
        if not isinstance(text, str) or not text:
            return None
        ids = await self.tokenize(text)
        # A beginning-of-sequence token may have been put before it.
        return ids[-1] if ids is not None and len(ids) in (1, 2) else None

    async def _properties(self) -> dict[str, Any]:
        if self._props is None:
            self._props = await self._ask("/props") or {}
        return self._props

    async def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        return await self.client.route(path, body) if self.enabled else None


def _piece(token: object) -> Piece | None:
    if isinstance(token, int):
        return Piece(id=token)
    if not isinstance(token, dict) or not isinstance(token.get("id"), int):
        return None
    spelt = token.get("piece")
    if isinstance(spelt, str):
        return Piece(id=token["id"], data=spelt.encode())
    if isinstance(spelt, list) and all(isinstance(b, int) and 0 <= b < 256 for b in spelt):
        return Piece(id=token["id"], data=bytes(spelt))
    return Piece(id=token["id"])
