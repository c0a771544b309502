"""Draws continuations: all of them in one request, cut here at their lines and stops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from attrs import define, field

from egcfg.backend import Continuation, SamplingParams, TokenLogprobs
from egcfg_backends_fireworks.distributions import RowReader
from egcfg_backends_fireworks.responses import Choice
from egcfg_backends_fireworks.together import together

__all__ = ["Ask", "draw"]

Ask: TypeAlias = Callable[[Sequence[int], int, int, int], Awaitable[Sequence[Choice]]]
"""(ids behind the sequence, continuations, tokens, seed) -> choices."""

TOKENS_PER_LINE = 16
"""Tokens asked for at first per line wanted: more than most lines of code take. What a server
generates behind the cut is thrown away, what is missing takes another request."""


@define
class _Draft:
    """A continuation on its way."""

    seed: int
    ids: list[int] = field(factory=list)
    scores: list[TokenLogprobs] = field(factory=list)
    text: str = ""
    done: bool = False
    finished: bool = False


async def draw(
    ask: Ask, reader: RowReader, count: int, params: SamplingParams, *, keep_scores: bool
) -> list[Continuation]:
    """Return `count` continuations.

    Args:
        ask: asks the server to go on.
        reader: reads its rows.
        count: continuations wanted.
        params: temperature and top-p (which `ask` knows), and the limits that are applied here.
        keep_scores: whether the rows' alternatives are the distributions before temperature.
    """
    drafts = [_Draft(seed=params.seed + index) for index in range(count)]
    limit = params.max_tokens
    if params.max_lines is not None:
        limit = min(limit, TOKENS_PER_LINE * params.max_lines)
    for draft, choice in zip(drafts, await ask((), count, limit, params.seed), strict=True):
        _extend(draft, choice, reader, params)

    async def finish(draft: _Draft) -> None:
        while not draft.done:
            room = min(limit, params.max_tokens - len(draft.ids))
            seed = draft.seed + len(draft.ids)
            [choice] = await ask(draft.ids, 1, room, seed)
            _extend(draft, choice, reader, params)

    await together([finish(draft) for draft in drafts])
    return [
        Continuation(
            ids=tuple(draft.ids),
            text=draft.text,
            finished=draft.finished,
            scores=tuple(draft.scores) if keep_scores else None,
        )
        for draft in drafts
    ]


def _extend(draft: _Draft, choice: Choice, reader: RowReader, params: SamplingParams) -> None:
    """Take the choice's tokens up to a limit; a draft that cannot go on is done."""
    before = len(draft.ids)
    reader.note_end(choice)
    for row in choice.rows:
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
        if _is_complete(draft, params):
            draft.done = True
            return
    draft.finished = choice.finish == "stop"
    # Without progress (a character that one request cannot complete) asking again is in vain.
    draft.done = draft.finished or len(draft.ids) == before


def _is_complete(draft: _Draft, params: SamplingParams) -> bool:
    return (
        len(draft.ids) >= params.max_tokens
        or (params.max_lines is not None and draft.text.count("\n") >= params.max_lines)
        or any(stop in draft.text for stop in params.stop)
    )
