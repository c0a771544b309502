"""From prompt text to what is sent: token ids where the server names and takes them, else text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from attrs import define, field

from egcfg.errors import BackendError, ContextOverflowError
from egcfg_backends_fireworks.probe import ServerProfile
from egcfg_backends_fireworks.requests import Prompt
from egcfg_backends_fireworks.responses import Piece
from egcfg_backends_fireworks.vocabulary import Vocabulary

__all__ = ["PromptWire"]

REMEMBERED = 512
"""Texts whose tokens are kept: a few prompts per problem, and the pieces counted for a budget."""


@define
class PromptWire:
    """Gives prompts their ids, and sequences the form in which they are sent.

    Attributes:
        vocabulary: the backend's.
        profile: what the server can do.
        tokenize: asks the server for the tokens of a text; None where it has no such route.
        learn: asks the server which ids it reads a text as, by a short completion.
        tokenizer: a local tokenizer's ``encode``; None: the server is asked.
    """

    vocabulary: Vocabulary
    profile: ServerProfile
    tokenize: Callable[[str], Awaitable[list[Piece] | None]]
    learn: Callable[[str], Awaitable[Sequence[int]]]
    tokenizer: Callable[[str], Sequence[int]] | None = None
    _known: OrderedDict[str, tuple[int, ...]] = field(factory=OrderedDict, init=False, repr=False)

    async def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a prompt: the model's own, or those of interned pieces."""
        if not text or not self.profile.ids_throughout:
            return self.vocabulary.encode_prompt(text)
        try:
            return await self._ids(text)
        except ContextOverflowError:
            # It is for whoever asks about the prompt to learn that it is too long.
            return self.vocabulary.encode_prompt(text)

    async def count(self, text: str) -> int:
        """Return how many tokens a text has: an estimate where only a request would tell."""
        if self.tokenizer is not None or self.profile.tokenizes:
            return len(await self.encode(text))
        return len(self.vocabulary.encode_prompt(text))

    async def wire(self, ids: Sequence[int]) -> Prompt:
        """Return what to send for a sequence.

        Raises:
            BackendError: an id is neither of a prompt nor of an answer.
        """
        text, rest = self.vocabulary.split_prompt(ids)
        if not self.profile.ids_throughout:
            return text + self.vocabulary.decode(rest)
        return (await self._ids(text) if text else ()) + rest

    async def _ids(self, text: str) -> tuple[int, ...]:
        """Return the model's own ids of a text."""
        if text in self._known:
            return self._known[text]
        if self.tokenizer is not None:
            return self._remember(text, self.tokenizer(text))
        if not self.profile.tokenizes:
            return self._remember(text, await self.learn(text))
        pieces = await self.tokenize(text) or []
        if not pieces:
            raise BackendError("the endpoint stopped tokenizing text; check the server")
        for piece in pieces:
            self.vocabulary.intern(piece)
        return self._remember(text, [piece.id for piece in pieces if piece.id is not None])

    def _remember(self, text: str, ids: Sequence[int]) -> tuple[int, ...]:
        self._known[text] = tuple(ids)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return self._known[text]
