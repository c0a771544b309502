"""The candidates of a signal: sampled continuations that live on while the response follows them.

A candidate whose first line became the response's is still a continuation that the model sampled,
now with less to go: it is extended by a line instead of being sampled anew. What that changes
statistically: each candidate's further lines were sampled from the model given its first, as a
fresh one's would be, but the choice of the line was made with them in the signal, so the survivors
lean towards the lines that guidance was led by, and candidates of neighbouring lines are not
independent of one another. `DecodingSettings.reuse_candidates` off is the paper's way: all of them
are sampled for every signal.
"""

from __future__ import annotations

import zlib
from typing import TypeAlias

from attrs import define, evolve, field, frozen

from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.backend import Continuation, SampleRequest, SamplingParams
from egcfg.interfaces.problem import Task
from egcfg.interfaces.prompt import CodeLayout, Prompt
from egcfg.interfaces.solution import Stage
from egcfg.usage.model import Model

__all__ = ["Candidate", "CandidatePool", "Drafts"]

LINE_TOKENS = 96
"""Tokens for one line of a candidate; a longer line is cut there, which only shortens its program.
"""

STOPS = {
    CodeLayout.FENCED: ("\n```", "\n~~~"),
    CodeLayout.COMPLETION: ("\ndef ", "\nclass ", "\nif __name__", "\nprint(", "\n```"),
}
"""Texts after which nothing of a candidate is wanted."""

WHOLE_PROGRAM_STOPS = ("\n```", "\n~~~")
"""The same where no function is asked for, so that none can be over."""


@frozen
class Candidate:
    """A sampled continuation of the response.

    Attributes:
        ids: its tokens.
        text: what they decode to after the response.
        ended: whether there is no more to sample: the model ended it, or a stop text did.
    """

    ids: tuple[int, ...] = ()
    text: str = ""
    ended: bool = False

    def after(self, ids: tuple[int, ...], text: str) -> Candidate | None:
        """Return what is left of it after `ids`, which decode to `text`; None if it differs."""
        if self.ids[: len(ids)] != ids or not self.text.startswith(text):
            return None
        return Candidate(self.ids[len(ids) :], self.text[len(text) :], self.ended)


class CandidatePool:
    """The candidates of one response.

    Args:
        model: samples them.
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
        model: Model,
        problem: Task,
        prompt: Prompt,
        settings: DecodingSettings,
        limit: int,
    ) -> None:
        self.candidates: tuple[Candidate, ...] = ()
        self._model = model
        self._task_id = problem.task_id
        self._settings = settings
        self._limit = limit
        self._stops = STOPS[prompt.layout] if problem.entry_point else WHOLE_PROGRAM_STOPS
        self._ids: tuple[int, ...] = ()
        self._text = ""
        self._restarts = 0

    def restart(self) -> None:
        """Drop the candidates: the next ones are sampled anew, from other random numbers."""
        self.candidates, self._ids, self._text = (), (), ""
        self._restarts += 1

    async def resample(self, prompt_ids: tuple[int, ...], ids: tuple[int, ...], text: str) -> None:
        """Make `candidates` those of a response that has come as far as `ids`.

        Args:
            prompt_ids: the unconditional prompt's tokens.
            ids: the response's tokens.
            text: the response's text.

        Raises:
            ContextOverflowError: the context has no room for candidates.
            BackendError: the model did not answer.
        """
        survivors = self._survivors(ids, text)
        self.candidates, self._ids, self._text = (), ids, text
        fresh = self._settings.candidates - len(survivors)
        requests, extended = [], []
        for number, candidate in enumerate(survivors):
            params = self._params(len(ids), candidate, f"/{number}")
            if params is not None:
                requests.append(SampleRequest(prompt_ids + ids + candidate.ids, 1, params))
                extended.append(number)
        params = self._params(len(ids), Candidate(), "")
        if fresh > 0 and params is not None:
            requests.append(SampleRequest(prompt_ids + ids, fresh, params))
        answers = await self._model.sample(requests) if requests else []
        for number, [addition] in zip(extended, answers, strict=False):
            survivors[number] = self._extended(survivors[number], addition)
        if len(answers) > len(extended):
            survivors += [self._extended(Candidate(), addition) for addition in answers[-1]]
        self.candidates = tuple(survivors)

    def _survivors(self, ids: tuple[int, ...], text: str) -> list[Candidate]:
        if not self._settings.reuse_candidates:
            return []
        new, new_text = ids[len(self._ids) :], text[len(self._text) :]
        left = [candidate.after(new, new_text) for candidate in self.candidates]
        return [candidate for candidate in left if candidate is not None]

    def _params(self, position: int, candidate: Candidate, name: str) -> SamplingParams | None:
        """Return how to continue `candidate`; None where nothing is missing.

        The seed is one of its own for every task, position and candidate, the same in every run.
        """
        settings = self._settings
        again = f"/again{self._restarts}" if self._restarts else ""
        remaining = self._limit - position - len(candidate.ids)
        lines = None
        if settings.horizon is not None:
            lines = settings.horizon - candidate.text.count("\n")
            remaining = min(remaining, LINE_TOKENS * lines)
        if candidate.ended or remaining < 1:
            return None
        if lines is None and candidate.ids:
            return None  # it went as far as it could
        return SamplingParams(
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=remaining,
            max_lines=lines,
            stop=self._stops,
            seed=zlib.crc32(f"{settings.seed}/{self._task_id}/{position}{name}{again}".encode()),
        )

    def _extended(self, candidate: Candidate, addition: Continuation) -> Candidate:
        text = candidate.text + addition.text
        return evolve(
            candidate,
            ids=candidate.ids + addition.ids,
            text=text,
            ended=addition.finished or any(stop in text for stop in self._stops),
        )


Line: TypeAlias = tuple[tuple[int, bool], ...]
"""Tokens, each with whether it completes a line of text."""


@define
class Drafts:
    """The candidates as drafts of the guided line: tokens that may come next."""

    _left: list[Line] = field(factory=list)

    async def update(self, model: Model, candidates: tuple[Candidate, ...]) -> None:
        """Take the candidates of a new signal."""
        self._left = []
        for candidate in candidates:
            ids = candidate.ids
            texts = [await model.decode(ids[:end], Stage.SAMPLING) for end in range(len(ids) + 1)]
            lines = [text.count("\n") for text in texts]
            self._left.append(tuple((t, lines[n] < lines[n + 1]) for n, t in enumerate(ids)))

    def advance(self, token: int) -> None:
        """Keep what is left of the drafts that begin with `token`."""
        self._left = [draft[1:] for draft in self._left if draft and draft[0][0] == token]

    def lines(self, remaining: int) -> list[tuple[int, ...]]:
        """Return the distinct first lines, of `remaining` tokens at most.

        None of them is the beginning of another.
        """
        lines: dict[tuple[int, ...], None] = {}
        for draft in self._left:
            line: tuple[int, ...] = ()
            for token, completes_line in draft[: max(0, remaining)]:
                line += (token,)
                if completes_line:
                    break
            lines[line] = None
        return [
            line
            for line in lines
            if line and not any(o != line and o[: len(line)] == line for o in lines)
        ]
