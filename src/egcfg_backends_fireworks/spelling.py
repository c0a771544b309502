"""Spells the tokens of servers that name them by their ids alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve, frozen

from egcfg.errors import BackendError
from egcfg_backends_fireworks.distributions import END_TEXTS
from egcfg_backends_fireworks.responses import Choice, Piece, Row
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.together import together
from egcfg_backends_fireworks.vocabulary import Vocabulary

__all__ = ["Speller"]


@frozen
class Speller:
    """Asks a server what its tokens stand for, each of them once.

    Attributes:
        vocabulary: where it is kept.
        routes: the server's further routes.
    """

    vocabulary: Vocabulary
    routes: ServerRoutes

    async def spelt(self, choices: Sequence[Choice]) -> list[Choice]:
        """Return the choices with the texts of the tokens that they consist of.

        Raises:
            BackendError: the server does not tell them.
        """
        await self.learn(
            row.token.id
            for choice in choices
            for row in choice.rows
            if row.token.content is None and row.token.id is not None
        )
        return [evolve(choice, rows=tuple(map(self._spelt, choice.rows))) for choice in choices]

    async def learn(self, ids: Iterable[int]) -> None:
        """See that the vocabulary knows what `ids` stand for.

        Raises:
            BackendError: the server does not tell it.
        """
        unknown = [token for token in dict.fromkeys(ids) if self.vocabulary.content(token) is None]
        texts = await together([self.routes.detokenize(token) for token in unknown])
        for token, text in zip(unknown, texts, strict=True):
            if text is None:
                raise BackendError("the endpoint stopped spelling its tokens; check the server")
            self.vocabulary.learn(token, text.encode())

    async def end_ids(self) -> frozenset[int]:
        """Return the ids of the widespread end-of-sequence tokens that this model has."""
        texts = sorted(END_TEXTS)
        read = await together([self.routes.tokenize(text.decode()) for text in texts])
        found = {ids[-1]: text for ids, text in zip(read, texts, strict=True) if ids}
        ends = set()
        for token, text in found.items():
            # Text that is no token of its own is split; a beginning token may stand before it.
            if await self.routes.detokenize(token) == text.decode():
                self.vocabulary.learn(token, text)
                ends.add(token)
        return frozenset(ends)

    def _spelt(self, row: Row) -> Row:
        token = row.token
        if token.content is not None or token.id is None:
            return row
        return evolve(row, token=Piece(token.id, self.vocabulary.content(token.id)))
