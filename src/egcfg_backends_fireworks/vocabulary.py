"""Token ids for a backend without a tokenizer: interns what a server calls its tokens.

Two kinds of ids never meet. *Generated* tokens have ids from 0 up: the model's own where the server
gives them, else numbers handed out here. *Prompt pieces* have negative ids: stretches of text whose
real tokens only the server knows, and chats, which only the server words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import define, field

from egcfg.errors import BackendError
from egcfg.interfaces.prompt import ChatPrompt
from egcfg_backends_fireworks.responses import Piece

__all__ = ["Vocabulary", "estimated_tokens"]

PROMPT_PIECE = re.compile(r"[ ]?[^\W\d_]{1,6}|\d{1,3}|[ ]{1,16}|\n+|[^\w\s]{1,2}|.", re.DOTALL)
"""About one token each, so that the number of pieces is a fair estimate of a prompt's length."""

UNNAMED_END = 2**31 - 1
"""Above every model's vocabulary."""


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has."""
    return sum(1 for _ in PROMPT_PIECE.finditer(text))


@define
class Vocabulary:
    """The pieces seen so far and their ids.

    Attributes:
        has_ids: whether the server gives the model's own ids. Then a piece without one has none.
    """

    has_ids: bool = False
    _contents: dict[int, bytes] = field(factory=dict, init=False, repr=False)
    _by_content: dict[bytes, int] = field(factory=dict, init=False, repr=False)
    _prompt_ids: dict[str | ChatPrompt, int] = field(factory=dict, init=False, repr=False)
    _prompts: list[str | ChatPrompt] = field(factory=list, init=False, repr=False)

    def intern(self, piece: Piece) -> int | None:
        """Return the id of a generated token; None where the server gives ids but not this one's.

        Interning the same piece again returns the same id.
        """
        content = piece.content
        if self.has_ids:
            token = piece.id
        else:
            token = None if content is None else self._by_content.get(content, len(self._contents))
        if token is not None and content is not None:
            self.learn(token, content)
        return token

    def intern_text(self, text: str) -> tuple[int, ...]:
        """Return ids of generated text whose own tokens are not known; where no ids are given."""
        pieces = [self.intern(Piece(text=part)) for part in PROMPT_PIECE.findall(text)]
        return tuple(token for token in pieces if token is not None)

    def learn(self, token: int, content: bytes) -> None:
        """Note that `token` stands for `content`."""
        self._contents.setdefault(token, content)
        self._by_content.setdefault(content, token)

    def end_token(self) -> int:
        """Return an id for an end of sequence that the server never names."""
        token = UNNAMED_END if self.has_ids else self._by_content.get(b"", len(self._contents))
        self.learn(token, b"")
        return token

    def content(self, token: int) -> bytes | None:
        """The bytes of a token; None where they are not known."""
        if token >= 0:
            return self._contents.get(token)
        part = self._prompts[-1 - token]
        return b"" if isinstance(part, ChatPrompt) else part.encode()

    def encode_prompt(self, text: str) -> tuple[int, ...]:
        """Return ids of prompt pieces that spell `text`."""
        return tuple(map(self._prompt_id, PROMPT_PIECE.findall(text)))

    def encode_chat(self, chat: ChatPrompt) -> tuple[int, ...]:
        """Return ids that stand for a chat: its own, and as many as its text may have tokens."""
        return (self._prompt_id(chat), *self.encode_prompt(chat.text))

    def split_prompt(self, ids: Sequence[int]) -> tuple[str | ChatPrompt, tuple[int, ...]]:
        """Return what the prompt pieces at the start of `ids` stand for, and the ids after them."""
        length = 0
        while length < len(ids) and ids[length] < 0:
            length += 1
        parts = [self._prompts[-1 - token] for token in ids[:length]]
        if parts and isinstance(parts[0], ChatPrompt):
            return parts[0], tuple(ids[length:])
        return "".join(part for part in parts if isinstance(part, str)), tuple(ids[length:])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; an incomplete character is a replacement character.

        Raises:
            BackendError: an id was never seen in a prompt or an answer.
        """
        contents = {token: self.content(token) for token in ids}
        if unknown := [token for token, content in contents.items() if content is None]:
            raise BackendError(
                f"the endpoint never told the text of token {unknown[0]}; "
                "decode only ids that it generated"
            )
        return b"".join(contents[token] or b"" for token in ids).decode(errors="replace")

    def _prompt_id(self, part: str | ChatPrompt) -> int:
        token = self._prompt_ids.get(part)
        if token is None:
            self._prompts.append(part)
            token = self._prompt_ids[part] = -len(self._prompts)
        return token
