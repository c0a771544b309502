"""The texts of tokens that a server names by their ids alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import evolve, frozen

from egcfg.errors import BackendError
from egcfg_backends_fireworks.distributions import END_TEXTS
from egcfg_backends_fireworks.gather import gather
from egcfg_backends_fireworks.responses import Choice, Piece, Row
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.vocabulary import Vocabulary

__all__ = ["Detokenizer"]


@frozen
class Detokenizer:
    """Asks a server for the texts of its tokens (``/detokenize``), for each of them once.

    Attributes:
        vocabulary: where the texts are kept.
        routes: the server's further routes.
    """

    vocabulary: Vocabulary
    routes: ServerRoutes

    async def with_texts(self, choices: Sequence[Choice]) -> list[Choice]:
        """Return the choices with the texts of their generated tokens.

        Raises:
            BackendError: the server does not tell them.
        """
        await self.learn(
            row.token.id
            for choice in choices
            for row in choice.rows
            if row.token.content is None and row.token.id is not None
        )
        return [evolve(each, rows=tuple(map(self._with_text, each.rows))) for each in choices]

    async def learn(self, ids: Iterable[int]) -> None:
        """See that the vocabulary has the texts of `ids`.

        Raises:
            BackendError: the server does not tell them.
        """
        unknown = [token for token in dict.fromkeys(ids) if self.vocabulary.content(token) is None]
        texts = await gather(self.routes.detokenize(token) for token in unknown)
        for token, text in zip(unknown, texts, strict=True):
            if text is None:
                raise BackendError("the endpoint stopped detokenizing; check the server")
            self.vocabulary.learn(token, text.encode())

    async def end_ids(self) -> frozenset[int]:
        """Return the ids of the widespread end-of-sequence tokens that this model has."""
        texts = sorted(END_TEXTS)
        read = await gather(self.routes.tokenize(text.decode()) for text in texts)
        found = {ids[-1]: text for ids, text in zip(read, texts, strict=True) if ids}
        ends = set()
        for token, text in found.items():
            # Text that is no token of its own is split; a beginning token may come before it.
            if await self.routes.detokenize(token) == text.decode():
                self.vocabulary.learn(token, text)
                ends.add(token)
        return frozenset(ends)

    def _with_text(self, row: Row) -> Row:
        token = row.token
        if token.content is not None or token.id is None:
            return row
        return evolve(row, token=Piece(token.id, self.vocabulary.content(token.id)))
