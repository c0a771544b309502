"""The texts of tokens that a server names by their ids alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from egcfg.errors import BackendError
from egcfg_backends_fireworks.distributions import END_TEXTS
from egcfg_backends_fireworks.gather import gather
from egcfg_backends_fireworks.responses import Choice
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

    async def learn_rows(self, choices: Sequence[Choice]) -> None:
        """See that the vocabulary has the texts of the tokens that were generated.

        Raises:
            BackendError: the server does not tell them.
        """
        tokens = [row.token for choice in choices for row in choice.rows]
        await self.learn(t.id for t in tokens if t.content is None and t.id is not None)

    async def learn(self, ids: Iterable[int]) -> None:
        """The same for ids."""
        unknown = [token for token in dict.fromkeys(ids) if self.vocabulary.content(token) is None]
        texts = await gather(self.routes.detokenize(token) for token in unknown)
        for token, text in zip(unknown, texts, strict=True):
            if text is None:
                raise BackendError("the endpoint stopped detokenizing; check the server")
            self.vocabulary.learn(token, text.encode())

    async def end_ids(self) -> frozenset[int]:
        """Return the ids of the widespread end-of-sequence tokens that this model has."""
        texts = sorted(text.decode() for text in END_TEXTS)
        read = await gather(self.routes.tokenize(text) for text in texts)
        # Text that is no token of its own is split; a beginning token may come before it.
        ends = {ids[-1]: text for ids, text in zip(read, texts, strict=True) if ids}
        await self.learn(ends)
        return frozenset(t for t in ends if self.vocabulary.content(t) == ends[t].encode())
