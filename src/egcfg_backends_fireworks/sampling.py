"""Draws continuations, in as few requests as possible; cut here at their lines and stops."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field

from egcfg.interfaces.backend import Continuation, SampleQuery, TokenLogprobs
from egcfg_backends_fireworks.connection import Connection
from egcfg_backends_fireworks.distributions import RowReader, check_rows
from egcfg_backends_fireworks.faults import RejectedRequestError
from egcfg_backends_fireworks.responses import Choice, Completion, MalformedResponseError
from egcfg_backends_fireworks.together import together

__all__ = ["Sampling"]

MOST_CHOICES = 128
"""Continuations in one request at most, as the services document it."""
TOKENS_PER_LINE = 24
"""Tokens asked for at first per line wanted: more than most lines of code take. What is missing
takes another request; what a server generates behind the cut is kept for when it is wanted."""


@define(eq=False)
class _Draft:
    """A continuation on its way."""

    query: SampleQuery
    seed: int
    ids: list[int] = field(factory=list)
    scores: list[TokenLogprobs] = field(factory=list)
    text: str = ""
    done: bool = False
    finished: bool = False
    rest: Choice | None = None

    @property
    def prefix(self) -> tuple[int, ...]:
        """What it is to be continued from."""
        return (*self.query.sequence.ids, *self.ids)

    @property
    def room(self) -> int:
        """Tokens to ask for."""
        params = self.query.params
        room = params.max_tokens - len(self.ids)
        if params.max_lines is None:
            return room
        return min(room, TOKENS_PER_LINE * max(1, params.max_lines - self.text.count("\n")))

    @property
    def manner(self) -> tuple[float, float]:
        """How it is drawn: drafts of one request have this in common."""
        return self.query.params.temperature, self.query.params.top_p


@define(kw_only=True)
class Sampling:
    """Asks for continuations.

    Attributes:
        server: who is asked.
    """

    server: Connection
    _most_choices: int = field(default=MOST_CHOICES, init=False, repr=False)

    async def sample(self, queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        """Return the continuations of each query.

        What starts from the same prompt is asked for as several choices, what starts from different
        ones as several prompts: each in one request, if the server can do that.

        Raises:
            UsageError, BackendError: as `EndpointClient.complete`.
        """
        drafts = [
            [_Draft(query, query.params.seed + index) for index in range(query.count)]
            for query in queries
        ]
        for query, [first, *_] in zip(queries, drafts, strict=True):
            if query.rest is not None:
                _extend(first, query.rest, self.server.reader)
        going = [draft for each in drafts for draft in each if not draft.done]
        while going:
            for manner in dict.fromkeys(draft.manner for draft in going):
                await self._go_on([draft for draft in going if draft.manner == manner])
            going = [draft for draft in going if not draft.done]
        # Where rows show what temperature and top-p made of the distributions, what these were
        # before is not known.
        return [
            [_continuation(each, scored=self.server.profile.raw) for each in some]
            for some in drafts
        ]

    async def _go_on(self, drafts: Sequence[_Draft]) -> None:
        """Take each draft further by one answer."""
        starts: dict[tuple[int, ...], list[_Draft]] = {}
        for draft in drafts:
            starts.setdefault(draft.prefix, []).append(draft)
        single = [some[0] for some in starts.values() if len(some) == 1]
        # One after the other: llama.cpp's server mixes up its caches when several prompts with
        # several choices each are evaluated together.
        for some in starts.values():
            if len(some) > 1:
                await self._alike(some)
        if single:
            await self._different(single)

    async def _alike(self, drafts: Sequence[_Draft]) -> None:
        """Ask for several choices of one prompt."""
        if not self.server.profile.multiple or len(drafts) > self._most_choices:
            await together([self._different([draft]) for draft in drafts])
            return
        try:
            await self._ask(drafts, [drafts[0].prefix], n=len(drafts))
        except RejectedRequestError:
            # More than this server's `n` may be: one request each, now and from now on.
            self._most_choices = len(drafts) - 1
            await self._alike(drafts)

    async def _different(self, drafts: Sequence[_Draft]) -> None:
        """Ask for one choice of each prompt."""
        if len(drafts) > 1 and not self.server.profile.batches:
            await together([self._different([draft]) for draft in drafts])
            return
        await self._ask(drafts, [draft.prefix for draft in drafts])

    async def _ask(
        self, drafts: Sequence[_Draft], prefixes: Sequence[tuple[int, ...]], n: int = 1
    ) -> None:
        temperature, top_p = drafts[0].manner
        request = self.server.requests.completion(
            *[await self.server.wire.wire(prefix) for prefix in prefixes],
            max_tokens=max(draft.room for draft in drafts),
            temperature=temperature,
            top_p=top_p,
            n=n,
            seed=drafts[0].seed + len(drafts[0].ids),
            cache_key=self.server.cache_key(drafts[0].query.sequence.role),
        )

        def check(completion: Completion) -> None:
            if len(completion.choices) != len(drafts):
                raise MalformedResponseError(
                    f"{len(completion.choices)} continuations instead of {len(drafts)}"
                )
            for choice in completion.choices:
                check_rows(choice, self.server.profile.top_k)

        choices = await self.server.speller.spelt(
            (await self.server.client.complete(request, check)).choices
        )
        for draft, choice in zip(drafts, choices, strict=True):
            self.server.reader.note_end(choice)
            _extend(draft, choice, self.server.reader)


def _continuation(draft: _Draft, *, scored: bool) -> Continuation:
    return Continuation(
        ids=tuple(draft.ids),
        text=draft.text,
        finished=draft.finished,
        scores=tuple(draft.scores) if scored else None,
        rest=draft.rest,
    )


def _extend(draft: _Draft, choice: Choice, reader: RowReader) -> None:
    """Take the choice's tokens up to a limit; a draft that cannot go on is done."""
    before = len(draft.ids)
    for number, row in enumerate(choice.rows, 1):
        token = reader.drawn(row)
        if token is None:
            # Tokens whose ids are not known cannot be sent back, so the draft ends before them.
            draft.done = True
            return
        if token in reader.end_ids:
            draft.done = draft.finished = True
            return
        draft.ids.append(token)
        draft.scores.append(reader.distribution(row))
        draft.text = reader.vocabulary.decode(draft.ids)
        if _is_complete(draft):
            draft.done = True
            if number < len(choice.rows):
                draft.rest = evolve(choice, rows=choice.rows[number:])
            return
    draft.finished = choice.finish == "stop"
    # Without progress (a character that one request cannot complete) asking again is in vain.
    draft.done = draft.finished or len(draft.ids) == before


def _is_complete(draft: _Draft) -> bool:
    params = draft.query.params
    return (
        len(draft.ids) >= params.max_tokens
        or (params.max_lines is not None and draft.text.count("\n") >= params.max_lines)
        or any(stop in draft.text for stop in params.stop)
    )
