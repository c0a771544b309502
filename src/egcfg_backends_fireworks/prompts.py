"""From prompt text to what is sent: token ids where the server names and takes them, else text.

Which ids a server reads a text as, it may tell on a route of its own, or only beside an answer. A
new signal makes a new prompt at every line, and to ask about it first would take one more request
a line. So a new prompt may go out as text once, together with what is asked about it, and counts
if it turns out to have been read as the ids that would have been sent.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence

from attrs import define, field, frozen

from egcfg.errors import BackendError, ContextOverflowError
from egcfg_backends_fireworks.probe import ServerProfile
from egcfg_backends_fireworks.requests import Prompt
from egcfg_backends_fireworks.responses import Piece
from egcfg_backends_fireworks.vocabulary import Vocabulary

__all__ = ["Guess", "PromptWire"]

REMEMBERED = 512
"""Texts whose tokens are kept: a few prompts per problem, and the pieces counted for a budget."""
REMEMBERED_ODD = 64
"""Answers kept that text does not bring back: one or two for each problem at work."""


@frozen
class Guess:
    """A sequence as text, which the server may read as the tokens that are meant, or otherwise.

    Attributes:
        prompt: the text of its prompt.
        whole: the text of all of it.
        answer: the tokens that are meant behind the prompt's.
    """

    prompt: str
    whole: str
    answer: tuple[int, ...]


@define
class PromptWire:
    """Gives prompts their ids, and sequences the form in which they are sent.

    Attributes:
        vocabulary: the backend's.
        profile: what the server can do.
        tokenize: asks the server for the tokens of a text; None where it has no such route.
        learn: asks the server which ids it reads a text as, by a short completion.
        tokenizer: a local tokenizer's ``encode``; None: the server is asked.
        defers: whether prompts are given their ids no sooner than these are needed. Until then the
            length of a prompt is an estimate.
    """

    vocabulary: Vocabulary
    profile: ServerProfile
    tokenize: Callable[[str], Awaitable[list[Piece] | None]]
    learn: Callable[[str], Awaitable[Sequence[int]]]
    tokenizer: Callable[[str], Sequence[int]] | None = None
    defers: bool = False
    _known: OrderedDict[str, tuple[int, ...]] = field(factory=OrderedDict, init=False, repr=False)
    _odd: deque[tuple[int, ...]] = field(
        factory=lambda: deque(maxlen=REMEMBERED_ODD), init=False, repr=False
    )

    async def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a prompt: the model's own, or those of interned pieces."""
        if not text or self.defers or not self.profile.ids_throughout:
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

    def guess(self, ids: Sequence[int], draft: Sequence[int]) -> Guess | None:
        """Return a sequence and its draft as text.

        None where there is no need for it, or where text is known not to bring back the tokens of
        the answer behind the prompt.
        """
        text, rest = self.vocabulary.split_prompt(ids)
        if not self.defers or not text:
            return None
        if any(rest[: len(odd)] == odd for odd in self._odd):
            return None
        answer = (*rest, *draft)
        try:
            return Guess(text, text + self.vocabulary.decode_bytes(answer).decode(), answer)
        except (UnicodeDecodeError, BackendError):  # it ends amid a character, or was never spelt
            return None

    def known(self, text: str) -> tuple[int, ...] | None:
        """Return the ids of a prompt, if they are known by now."""
        return self._known.get(text)

    def learn_odd(self, ids: Sequence[int], read: Sequence[int]) -> None:
        """Note if the answer at the end of a sequence is not what its text was read as."""
        text, rest = self.vocabulary.split_prompt(ids)
        behind = tuple(read[len(self._known.get(text, ())) :])
        for length in range(1, len(rest) + 1):
            if rest[:length] != behind[:length]:
                self._odd.append(rest[:length])
                return

    async def _ids(self, text: str) -> tuple[int, ...]:
        """Return the model's own ids of a text."""
        if text in self._known:
            return self._known[text]
        if self.tokenizer is not None:
            return self.learn_ids(text, self.tokenizer(text))
        if not self.profile.tokenizes:
            return self.learn_ids(text, await self.learn(text))
        pieces = await self.tokenize(text) or []
        if not pieces:
            raise BackendError("the endpoint stopped tokenizing text; check the server")
        for piece in pieces:
            self.vocabulary.intern(piece)
        return self.learn_ids(text, [piece.id for piece in pieces if piece.id is not None])

    def learn_ids(self, text: str, ids: Sequence[int]) -> tuple[int, ...]:
        """Note, and return, which ids a prompt is read as."""
        self._known[text] = tuple(ids)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return self._known[text]
