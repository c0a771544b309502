"""The candidates of a signal: sampled, and living on for as long as the response follows them.

A candidate whose first line became the response's is still a continuation that the model sampled,
now with less to go: it is extended by a line instead of being sampled anew. What that changes
statistically: each candidate's further lines were drawn from the model given its first, as a fresh
one's would be, but the choice of the line was made in sight of them (the signal shows their
effects), so the survivors lean towards the lines that guidance was led by, and candidates of
neighbouring lines are not independent of one another. `DecodingSettings.reuse_candidates` off is
the paper's way: all of them are sampled at every refresh.
"""

from __future__ import annotations

import zlib
from typing import Any

from attrs import evolve, field, frozen

from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.backend import (
    Continuation,
    LogprobBackend,
    SampleQuery,
    SamplingParams,
    TokenLogprobs,
    TokenSequence,
)
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import CodeLayout, Prompt

__all__ = ["Candidate", "CandidatePool"]

LINE_TOKENS = 96
"""Room for one line of a candidate; a longer line is cut there, which only shortens its program."""

STOPS = {
    CodeLayout.FENCED: ("\n```",),
    CodeLayout.COMPLETION: ("\ndef ", "\nclass ", "\nif __name__", "\nprint(", "\n```"),
}
"""Texts behind which nothing of a candidate is wanted."""

WHOLE_PROGRAM_STOPS = ("\n```",)
"""The same where no function is asked for, so that none can be over."""


@frozen
class Candidate:
    """A sampled continuation of the response.

    Attributes:
        ids: its tokens.
        text: what they decode to behind the response.
        ended: whether there is no more to sample: the model ended it, or a stop text did.
        scores: unconditional distributions that came with its newest tokens; may be empty.
        scored_from: ``scores[i]`` stands after ``ids[: scored_from + i]``.
        rest: what its backend drew beyond it (`egcfg.interfaces.backend.SampleQuery.rest`).
    """

    ids: tuple[int, ...]
    text: str
    ended: bool
    scores: tuple[TokenLogprobs, ...] = ()
    scored_from: int = 0
    rest: Any = field(default=None, eq=False, repr=False)

    def behind(self, ids: tuple[int, ...], text: str) -> Candidate | None:
        """Return what is left of it behind `ids`, which decode to `text`; None if it differs."""
        if self.ids[: len(ids)] != ids or not self.text.startswith(text):
            return None
        left, text_left = self.ids[len(ids) :], self.text[len(text) :]
        return Candidate(left, text_left, self.ended, rest=self.rest)


class CandidatePool:
    """The candidates of one response.

    Args:
        backend: samples them.
        problem: names their random numbers, and what stops them.
        prompt: its layout stops them.
        settings: how many, how long, how hot.
        limit: response tokens at most.

    Attributes:
        candidates: the present ones: those that live on first, so that the signal, which shows them
            in this order, begins as the one before it.
    """

    def __init__(
        self,
        backend: LogprobBackend,
        problem: Problem,
        prompt: Prompt,
        settings: DecodingSettings,
        limit: int,
    ) -> None:
        self.candidates: tuple[Candidate, ...] = ()
        self._backend = backend
        self._task_id = problem.task_id
        self._settings = settings
        self._limit = limit
        self._stops = STOPS[prompt.layout] if problem.entry_point else WHOLE_PROGRAM_STOPS
        self._ids: tuple[int, ...] = ()
        self._text = ""

    def refresh(
        self,
        sequence: TokenSequence,
        ids: tuple[int, ...],
        text: str,
        lookup: tuple[int, ...] = (),
    ) -> None:
        """Make `candidates` those of a response that has come as far as `ids`.

        Args:
            sequence: the unconditional prompt and `ids`.
            ids: the response's tokens.
            text: the response's text.
            lookup: tokens that the candidates may repeat, see `egcfg.interfaces.backend.SampleQuery`.

        Raises:
            ContextOverflowError: the context has no room to look ahead.
            BackendError: the model did not answer.
        """
        if self._settings.drafts:
            lookup += tuple(token for candidate in self.candidates for token in candidate.ids)
        living = self._survivors(ids, text)
        self.candidates, self._ids, self._text = (), ids, text
        queries, open_ones = [], []
        for number, candidate in enumerate(living):
            params = self._params(len(ids), candidate, f"/{number}")
            if params is not None:
                longer = self._backend.start((*sequence.ids, *candidate.ids), sequence.role)
                queries.append(SampleQuery(longer, 1, params, lookup, candidate.rest))
                open_ones.append(number)
        fresh = self._settings.candidates - len(living)
        params = self._params(len(ids), Candidate((), "", ended=False), "")
        if fresh > 0 and params is not None:
            queries.append(SampleQuery(sequence, fresh, params, lookup))
        answers = self._backend.sample(queries) if queries else []
        for number, [addition] in zip(open_ones, answers, strict=False):
            living[number] = self._extended(living[number], addition)
        if len(answers) > len(open_ones):
            nothing = Candidate((), "", ended=False)
            living += [self._extended(nothing, addition) for addition in answers[-1]]
        self.candidates = tuple(living)

    def _survivors(self, ids: tuple[int, ...], text: str) -> list[Candidate]:
        if not self._settings.reuse_candidates:
            return []
        new, new_text = ids[len(self._ids) :], text[len(self._text) :]
        rest = [candidate.behind(new, new_text) for candidate in self.candidates]
        return [candidate for candidate in rest if candidate is not None]

    def _params(self, position: int, candidate: Candidate, name: str) -> SamplingParams | None:
        """Return how to go on with `candidate`; None where nothing is missing.

        The seed is one of its own for every task, position and candidate, the same in every run.
        """
        settings = self._settings
        room = self._limit - position - len(candidate.ids)
        lines = None
        if settings.horizon is not None:
            lines = settings.horizon - candidate.text.count("\n")
            room = min(room, LINE_TOKENS * lines)
        if candidate.ended or room < 1:
            return None
        if lines is None and candidate.ids:
            return None  # it went as far as it could
        return SamplingParams(
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=room,
            max_lines=lines,
            stop=self._stops,
            seed=zlib.crc32(f"{settings.seed}/{self._task_id}/{position}{name}".encode()),
        )

    def _extended(self, candidate: Candidate, addition: Continuation) -> Candidate:
        text = candidate.text + addition.text
        return evolve(
            candidate,
            ids=candidate.ids + addition.ids,
            text=text,
            ended=addition.finished or any(stop in text for stop in self._stops),
            scores=addition.scores or (),
            scored_from=len(candidate.ids),
            rest=addition.rest,
        )
