"""What decoding yields: steps while it runs, a generation at its end, a solution once judged."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime

from attrs import asdict, evolve, field, frozen

from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.scorer import Score
from egcfg.interfaces.tracer import Trace
from egcfg.interfaces.usage import Usage

__all__ = [
    "Alternative",
    "FinishReason",
    "Generation",
    "JudgedAttempt",
    "LineStep",
    "Signal",
    "SignalEntry",
    "Solution",
    "Spent",
    "Stage",
    "TokenChoice",
]


class Stage(enum.StrEnum):
    """Where model work goes.

    ``PREFIX``: tokens that nothing guides; ``SAMPLING``: candidates; ``SIGNAL``: the first question
    after a new signal, which reads it and scores the first drafts; ``GUIDED``: the others.
    """

    PREFIX = "prefix"
    SAMPLING = "sampling"
    SIGNAL = "signal"
    GUIDED = "guided"


class FinishReason(enum.StrEnum):
    """Why decoding stopped.

    ``ACCEPTED``: the program passes all visible tests (`Policies.accept`). ``ANSWERED``: it was not
    decoded line by line.
    """

    ACCEPTED = "accepted"
    CODE_END = "code_end"
    ANSWERED = "answered"
    END_OF_SEQUENCE = "end_of_sequence"
    MAX_TOKENS = "max_tokens"


@frozen(kw_only=True)
class SignalEntry:
    """One executable program and what happened when it ran.

    Attributes:
        program: its source, comments and docstrings dropped (or kept: `Policies.comments`).
        samples: how many sampled candidates led to it; 0 for the solution so far (`partial`).
        traces: one per visible call or input.
        shown: whether it is part of the signal's text, rather than dropped for the budget.
        share: share of the visible tests that it passes; None where no policy asks.
        marks: what the signal says of the verdict on each run; empty where it says nothing.
    """

    program: str
    samples: int
    traces: tuple[Trace, ...]
    shown: bool = True
    share: float | None = None
    marks: tuple[str, ...] = ()

    @property
    def ran(self) -> tuple[str, tuple[tuple[str | None, str], ...]]:
        """What ran on which calls and inputs: of one decoding, equal ones have equal traces."""
        return self.program, tuple((trace.call, trace.stdin) for trace in self.traces)


@frozen(kw_only=True)
class Signal:
    """The dynamic signal: programs, their traces, and the text of both.

    Attributes:
        entries: the distinct executable programs, in order of appearance.
        text: what fills the prompt's slot; empty when nothing could be executed.
        tokens: how many tokens `text` takes.
        cut: whether something was shortened or dropped for the budget or the model's context.
        away: whether guidance leads away from what it shows.
        against: the signal of other programs, which guidance leads away from at the same time.
        decisions: what policies decided about it, and why.
    """

    entries: tuple[SignalEntry, ...]
    text: str
    tokens: int
    cut: bool = False
    away: bool = False
    against: Signal | None = None
    decisions: tuple[str, ...] = ()

    @property
    def all_entries(self) -> tuple[SignalEntry, ...]:
        """The programs of both sides."""
        return self.entries + (self.against.entries if self.against is not None else ())

    @property
    def longest(self) -> int:
        """Tokens of the longer text of both sides."""
        return max(self.tokens, self.against.tokens if self.against is not None else 0)


@frozen(kw_only=True)
class Alternative:
    """A token that might have come next.

    Attributes:
        text: what it would decode to where it would stand.
        logprob: its log-probability.
    """

    text: str
    logprob: float


@frozen(kw_only=True)
class TokenChoice:
    """One decided token, and what guidance had to do with it.

    Attributes:
        id: the token.
        text: what it decodes to where it stands.
        unconditional_id: the token that the unconditional distribution prefers.
        unconditional_text: what that one decodes to.
        logprob_unconditional: log-probability of `id` under the unconditional distribution.
        logprob_guided: log-probability of `id` under the guided distribution.
        logprob_conditional: log-probability of `id` under the conditional distribution; None where
            nothing guided.
        drafted: whether it was accepted from a draft.
        likeliest_unconditional: the likeliest tokens of the unconditional distribution, the first
            one first; empty where nobody records them.
        likeliest_conditional: likewise of the conditional one; empty where nothing guided.
    """

    id: int
    text: str
    unconditional_id: int
    unconditional_text: str
    logprob_unconditional: float
    logprob_guided: float
    logprob_conditional: float | None = None
    drafted: bool = False
    likeliest_unconditional: tuple[Alternative, ...] = ()
    likeliest_conditional: tuple[Alternative, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether guidance chose another token than the unconditional model would have."""
        return self.id != self.unconditional_id


@frozen(kw_only=True)
class LineStep:
    """One line as it was decided.

    Attributes:
        index: number of the step, from 0.
        in_code: False while the response has not reached its code.
        text: what the step added to the response.
        tokens: its tokens.
        signal: the signal that guided it; None without guidance.
        fresh: whether the signal was made for this line, rather than kept from an earlier one.
        usage: the model's work in this step, by stage.
        execution_seconds: wall time of running and tracing candidates.
        decisions: what each policy decided about the line, and why: ``"accept: ..."``.
        taken_back: the end of the response that the step took back (`Policies.rollback`).
    """

    index: int
    in_code: bool
    text: str
    tokens: tuple[TokenChoice, ...]
    signal: Signal | None = None
    fresh: bool = False
    usage: Mapping[str, Usage] = field(factory=dict)
    execution_seconds: float = 0.0
    decisions: tuple[str, ...] = ()
    taken_back: str = ""


@frozen(kw_only=True)
class Generation:
    """A finished decoding.

    Attributes:
        response: the response's text, its forced prefix included.
        code: the whole program: given code and the code taken out of the response; empty if the
            response holds none.
        ids: the generated token ids.
        finish: why it stopped.
        usage: the model's work, by stage.
        execution_seconds: wall time of running and tracing candidates.
        signals: how many signals were made.
        signals_cut: how many of them were shortened for a budget.
        signals_empty: how many of them showed nothing, so that nothing guided.
        tokens_changed: tokens where guidance overruled the unconditional distribution.
        tokens_drafted: tokens accepted from drafts.
        uncertain_choices: guided choices that a top-k list could not decide with certainty.
        rollbacks: how often it went back to an earlier line; the counts of tokens are those of the
            response.
        near_ties: choices so close that `Capabilities.rounding` might turn them: with other tasks
            in flight the text might be another one. Candidates' tokens are not looked at.
    """

    response: str
    code: str
    ids: tuple[int, ...]
    finish: FinishReason
    usage: Mapping[str, Usage] = field(factory=dict)
    execution_seconds: float = 0.0
    signals: int = 0
    signals_cut: int = 0
    signals_empty: int = 0
    tokens_changed: int = 0
    tokens_drafted: int = 0
    uncertain_choices: int = 0
    near_ties: int = 0
    rollbacks: int = 0

    @property
    def total_usage(self) -> Usage:
        """The model's work in all stages together."""
        return sum(self.usage.values(), Usage())


@frozen(kw_only=True)
class Spent:
    """What a task had cost by some moment.

    Attributes:
        usage: the model's work, all stages together.
        calls: questions that the model had to work for.
        executions: programs that ran in the sandbox, once per call, input or test.
    """

    usage: Usage = field(factory=Usage)
    calls: int = 0
    executions: int = 0

    @property
    def tokens(self) -> int:
        """Tokens that the model had worked through; see `Usage.tokens`."""
        return self.usage.tokens


@frozen(kw_only=True)
class JudgedAttempt:
    """An answer on the way to a solution, judged after the method had ended.

    Attributes:
        program: the whole program.
        stage: which part of the method made it.
        passed: whether every scoring test passed.
        visible: whether every visible test passed; None: there are none.
        spent: what the task had cost by then.
    """

    program: str
    stage: str
    passed: bool
    visible: bool | None = None
    spent: Spent = field(factory=Spent)

    @property
    def tokens(self) -> int:
        """Tokens that the model had worked through by then; see `Usage.tokens`."""
        return self.spent.tokens


@frozen(kw_only=True)
class Solution:
    """The answer of a method and its verdict.

    Attributes:
        task_id: the problem's.
        settings: what it was decoded with.
        generation: the text, the code and what they cost.
        score: the verdict.
        attempts: every answer of the method, in their order; the last one is `code`.
        events: how often the method noted what, such as answers that could not be read.
        spent: what the method's work cost, before the attempts were judged.
        unfinished: whether the end of a run's budget cut the method short: `code` is its answer so
            far.
        completion: `code` without the problem's given code, for whoever puts that before it; where
            the program does not begin with it, all of it, since the later definition wins.
        tests_seen: names of the visible tests: what prompts and traces were made of.
        resolved: what ``auto`` among the backend's options came to, see `Backend.resolved`.
        isolation: under what isolation programs ran: each layer is "active", or says why not;
            then what else was found, such as how limits of time are meant.
        started: when decoding started (UTC).
        ended: when scoring ended (UTC).
    """

    task_id: str
    settings: DecodingSettings
    generation: Generation
    score: Score
    attempts: tuple[JudgedAttempt, ...]
    tests_seen: tuple[str, ...]
    isolation: Mapping[str, str]
    started: datetime
    ended: datetime
    events: Mapping[str, int] = field(factory=dict)
    spent: Spent = field(factory=Spent)
    unfinished: bool = False
    completion: str = ""
    resolved: Mapping[str, str] = field(factory=dict)

    @property
    def code(self) -> str:
        """The program."""
        return self.generation.code

    @property
    def passed(self) -> bool:
        """Whether every scoring test passed."""
        return self.score.passed

    def to_json(self) -> str:
        """Return it as JSON text.

        The fields are a result file's, among them the verdict on each scoring test (``results``)
        and the names of the tests that the decoder saw (``tests_seen``); and ``task_id``,
        ``settings``, ``completion``.
        """
        # What of a solution is written down is a result file's to say.
        from egcfg.runs.result_file import dump_result
        from egcfg.runs.results import Result

        completion = self.completion.encode("utf-8", "backslashreplace").decode()
        told = {"task_id": self.task_id, "settings": asdict(self.settings)}
        result = Result.of_solution(self)
        return dump_result(evolve(result, extra=told | {"completion": completion})).decode()
