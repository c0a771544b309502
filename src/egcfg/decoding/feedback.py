"""Feedback from execution: programs x visible tests -> traces -> the signal's text (3b to 3d).

The text lists the calls or inputs once, then each distinct executable program and, below it, what
happened on each of them. Only calls and inputs are executed: it contains no expected value, unless
`Policies.verdicts` asks for those of the visible tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import count, groupby
from typing import TypeAlias

from attrs import evolve, field, frozen

from egcfg.decoding.code import CandidateProgram
from egcfg.decoding.policies import choose, marks
from egcfg.decoding.settings import PAPER, DecodingSettings, Policies
from egcfg.interfaces.problem import Task
from egcfg.interfaces.scorer import Score
from egcfg.interfaces.solution import Generation, Signal, SignalEntry
from egcfg.interfaces.tracer import Trace
from egcfg.plugins.component import OpenComponent
from egcfg.prompts.wording import code_block
from egcfg.sandbox.service import Sandbox
from egcfg.usage.model import Model

__all__ = ["Feedback", "Judge", "PlaceboFeedback", "SignalText", "why_unguided"]

TRACE_CHARS = (2000, 1000, 500, 250, 120)
"""Characters of one rendered trace: as many as the budget allows. Few lengths, so that what one
signal shows is mostly shown at the same length by the next, and need not be read again. Below the
last, whole programs are left out rather than traces shortened further."""


Judge: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence[Score]]]
"""Gives the verdicts of whole programs on the visible tests, one score per program."""


async def _nobody(programs: Sequence[str]) -> list[Score]:
    """Give no verdict, so that nothing passes."""
    return [Score(results=()) for _ in programs]


@frozen
class Feedback:
    """Executes programs on a problem's visible tests and words what happened.

    Attributes:
        tracer: runs and renders.
        sandbox: where programs run.
        model: counts the tokens of a text.
        judge: tells policies which programs pass; verdicts are reached outside of the program's
            process.
    """

    tracer: OpenComponent
    sandbox: Sandbox
    model: Model
    judge: Judge = _nobody

    async def signal(
        self,
        problem: Task,
        programs: Sequence[CandidateProgram],
        budget: int,
        known: Sequence[SignalEntry] = (),
        policies: Policies = PAPER,
    ) -> Signal:
        """Run every program on every visible call or input, all side by side.

        Args:
            problem: whose visible tests to run.
            programs: what to run, the likeliest first.
            budget: tokens that the text may take.
            known: the previous signal's entries. What is among them is not run again, and comes
                first, in their order: so much of the text stays as it was, and what a model has
                read already need not be read again.

            policies: what to show, in which order, and whether to guide at all.

        Returns:
            The signal; its text is empty where there is nothing to run or no room to show it, or
            where a policy says so.

        Raises:
            SandboxError: the sandbox runs no program, not even an empty one.
            PluginError: the tracer answers wrongly.
        """
        ran = {entry.program: entry for entry in known}
        places = {source: place for place, source in enumerate(ran)}
        programs = sorted(programs, key=lambda p: places.get(p.source, len(places)))
        new = [program.source for program in programs if program.source not in ran]
        ran |= zip(new, await self._entries(problem, new, policies), strict=True)
        choice = choose(
            [
                evolve(ran[program.source], samples=program.samples, shown=True)
                for program in programs
                if ran[program.source].traces
            ],
            policies,
        )
        if not choice.guides:
            entries = _hidden(choice.entries + choice.against)
            signal = Signal(entries=entries, text="", tokens=0)
        elif choice.against:
            # Both sides in the tokens of one: reading them is most of what a line costs.
            sides = [await self._fit(s, budget // 2) for s in (choice.entries, choice.against)]
            signal = _contrast(*sides)
        else:
            signal = evolve(await self._fit(choice.entries, budget), away=choice.away)
        return evolve(signal, decisions=choice.decisions)

    async def _entries(
        self, problem: Task, sources: Sequence[str], policies: Policies
    ) -> list[SignalEntry]:
        """Run programs, and judge them where a policy asks for verdicts."""
        traces = await self.traces(problem, sources)
        entries = [
            SignalEntry(program=source, samples=1, traces=found)
            for source, found in zip(sources, traces, strict=True)
        ]
        if not policies.judges or not entries:
            return entries
        return [
            evolve(
                entry,
                share=score.accuracy,
                marks=marks(problem, entry.program, score, policies.verdicts),
            )
            for entry, score in zip(entries, await self.judge(sources), strict=True)
        ]

    async def shorten(self, signal: Signal, remaining: int) -> Signal:
        """Word a signal again in the `remaining` tokens that a model's context has for it.

        The candidates of longest standing go first, then traces are shortened; nothing is run
        again. (A signal within its context, but above its budget, shows shorter traces first: what
        tells one candidate from another is worth more than the details of one.) Where it leads away
        from others at the same time, these are worded in as many tokens.
        """
        if signal.against is not None:
            better = await self.shorten(evolve(signal, against=None), remaining)
            return _contrast(better, await self.shorten(signal.against, remaining))
        if signal.tokens <= remaining:
            return signal
        entries = [evolve(entry, shown=True) for entry in signal.entries]
        for oldest in range(len(entries)):
            wording = SignalText(entries[oldest:], self._render, TRACE_CHARS[0])
            text = wording.text(len(entries) - oldest, TRACE_CHARS[0])
            last = oldest == len(entries) - 1
            if last or await self.model.count_tokens(text) <= remaining:
                fitted = await self._fit(entries[oldest:], remaining)
                dropped = tuple(evolve(entry, shown=False) for entry in entries[:oldest])
                return evolve(
                    signal,
                    entries=dropped + fitted.entries,
                    text=fitted.text,
                    tokens=fitted.tokens,
                    cut=True,
                )
        return signal

    async def traces(self, problem: Task, sources: Sequence[str]) -> list[tuple[Trace, ...]]:
        """Return the traces of each program."""
        requests = [problem.executions(source) for source in sources]
        flat = [request for group in requests for request in group]
        if not flat:
            return [() for _ in sources]
        found = await self.tracer.call("trace", flat, self.sandbox, task=problem.task_id)
        if not isinstance(found, Sequence) or len(found) != len(flat):
            number = len(found) if isinstance(found, Sequence) else type(found).__name__
            raise self.tracer.broken(
                f"trace gave {number} for {len(flat)} requests, not one trace each",
                problem.task_id,
            )
        if not all(isinstance(trace, Trace) for trace in found):
            raise self.tracer.broken("trace gave something else than a Trace", problem.task_id)
        traces = iter(found)
        return [tuple(next(traces) for _ in group) for group in requests]

    async def _fit(self, entries: Sequence[SignalEntry], budget: int) -> Signal:
        """Word as much as the budget allows: first shorter traces, then fewer programs."""
        wording = SignalText(entries, self._render, TRACE_CHARS[0])
        fewer = ((shown, TRACE_CHARS[-1]) for shown in range(len(entries) - 1, 0, -1))
        for shown, chars in [*((len(entries), chars) for chars in TRACE_CHARS if entries), *fewer]:
            text = wording.text(shown, chars)
            tokens = await self.model.count_tokens(text)
            if tokens <= budget:
                marked = tuple(evolve(e, shown=i < shown) for i, e in enumerate(entries))
                cut = shown < len(entries) or chars < TRACE_CHARS[0]
                return Signal(entries=marked, text=text, tokens=tokens, cut=cut)
        return Signal(entries=_hidden(entries), text="", tokens=0, cut=bool(entries))

    def _render(self, trace: Trace, chars: int) -> str:
        text = self.tracer.ask("render", trace, chars, task=self.model.task_id)
        if not isinstance(text, str):
            raise self.tracer.broken(
                f"render gave {type(text).__name__}, not text", self.model.task_id
            )
        return text


def why_unguided(problem: Task, settings: DecodingSettings, generation: Generation) -> str | None:
    """Return why nothing could be executed for a generation that was to be guided, or None."""
    if settings.gamma == 0.0 or generation.signals > generation.signals_empty:
        return None
    name = problem.entry_point
    if not problem.executions(""):
        return f"no visible test has a call of {name} or an input to run"
    if not generation.signals:
        return "the response never came to code that guidance can start in"
    what = "ran as a program" if name is None else f"was a program that defines {name}"
    return f"no candidate {what}, or its traces had no room in the signal"


@frozen
class PlaceboFeedback(Feedback):
    """Shows the signals of another task, one after the other, the last one for ever.

    The control for every claim about execution: the text is of the same kind and length, but tells
    nothing of the task.

    Attributes:
        other: id of that task.
        signals: what to show.
    """

    other: str = ""
    signals: Sequence[Signal] = ()
    _shown: Iterator[int] = field(factory=count, repr=False)

    async def signal(
        self,
        problem: Task,  # noqa: ARG002 - this one's programs are not run
        programs: Sequence[CandidateProgram],  # noqa: ARG002
        budget: int,  # noqa: ARG002 - they were fitted to it
        known: Sequence[SignalEntry] = (),  # noqa: ARG002
        policies: Policies = PAPER,  # noqa: ARG002
    ) -> Signal:
        """Return the next signal of the other task."""
        number = min(next(self._shown), len(self.signals) - 1)
        why = f"placebo: signal {number + 1} of {len(self.signals)} of the task {self.other}"
        shown = self.signals[number] if self.signals else Signal(entries=(), text="", tokens=0)
        return evolve(shown, decisions=(why,))


def _contrast(better: Signal, worse: Signal) -> Signal:
    """Return the signal that leads towards one side and away from the other.

    Where one has no room, it leads towards or away from the other alone.
    """
    cut = better.cut or worse.cut
    if better.text and worse.text:
        return evolve(better, against=worse, cut=cut)
    shown = better if better.text else worse
    return evolve(shown, entries=better.entries + worse.entries, away=shown is worse, cut=cut)


def _hidden(entries: Sequence[SignalEntry]) -> tuple[SignalEntry, ...]:
    return tuple(evolve(entry, shown=False) for entry in entries)


Run: TypeAlias = tuple[int, int]
"""(number of the entry, number of the run), from 0."""

Lines: TypeAlias = list[str]


class SignalText:
    """The text of a signal, at any length.

    Nothing is told twice: the calls or inputs come first, and a run that goes as an earlier one
    did, of the same candidate or the same run of another, says so; or for how long it did. The text
    before a candidate depends on the earlier ones alone, so that a signal that begins as the
    previous one need not be read again so far.

    Args:
        entries: programs and their traces, in the order in which they are shown.
        render: gives a trace's text of so many characters (`Tracer.render`).
        whole_chars: characters at which a trace counts as told whole: by these texts it is decided
            which runs are alike, for shorter ones may be alike only because they are cut.
    """

    def __init__(
        self,
        entries: Sequence[SignalEntry],
        render: Callable[[Trace, int], str],
        whole_chars: int,
    ) -> None:
        self._entries = entries
        self._render = render
        self._whole = self._told(len(entries), whole_chars)

    def text(self, shown: int, chars: int) -> str:
        """Return the text of the first `shown` entries, with traces of `chars` characters each."""
        told = self._told(shown, chars)
        parts = [_runs_text(self._entries[0].traces)]
        for number, entry in enumerate(self._entries[:shown]):
            program = f"{self._name(number)}:\n{code_block(entry.program)}\n"
            parts.append(program + "".join(self._run_texts(number, told)))
        return "\n".join(parts)

    def _told(self, shown: int, chars: int) -> dict[Run, Lines]:
        return {
            (number, run): self._lines(trace, chars) + list(entry.marks[run : run + 1])
            for number, entry in enumerate(self._entries[:shown])
            for run, trace in enumerate(entry.traces)
        }

    def _lines(self, trace: Trace, chars: int) -> Lines:
        text = self._render(trace, chars).rstrip()
        if trace.call and text.startswith(trace.call):
            # Its first line begins with the call, which stands at the top under its number.
            text = text[len(trace.call) :]
        else:
            text = f":\n{text}"
        return text.split("\n")

    def _name(self, number: int) -> str:
        return f"Candidate {number + 1}" if self._entries[number].samples else "The code so far"

    def _run_texts(self, number: int, told: Mapping[Run, Lines]) -> list[str]:
        texts = []
        runs = [(number, run) for run in range(len(self._entries[number].traces))]
        for model, group in groupby(runs, key=self._twin):
            alike = [run + 1 for _, run in group]
            if model is None:
                texts += [f"Run {run}{self._run_text((number, run - 1), told)}\n" for run in alike]
            else:
                which = f"Run {alike[0]}" if len(alike) == 1 else f"Runs {alike[0]} to {alike[-1]}"
                texts.append(f"{which}: as {model}\n")
        return texts

    def _twin(self, run: Run) -> str | None:
        """Return the name of an earlier run that went just so, if there is one."""
        models = self._models(run)
        return next((n for n, m in models.items() if self._whole[m] == self._whole[run]), None)

    def _models(self, run: Run) -> dict[str, Run]:
        """Return what a run may be likened to: the same run of earlier entries, earlier runs."""
        number, place = run
        others = {_lower(self._name(earlier)): (earlier, place) for earlier in range(number)}
        return others | {f"run {earlier + 1}": (number, earlier) for earlier in range(place)}

    def _run_text(self, run: Run, told: Mapping[Run, Lines]) -> str:
        """Return what happened in a run, its beginning by reference where that is shorter."""
        lines, most, begins = told[run], 0, ""
        for name, model in self._models(run).items():
            # Alike in truth, and as it is told.
            shared = min(_common(self._whole[run], self._whole[model]), _common(lines, told[model]))
            reference = f": as {name} for {shared} lines, then"
            saved = sum(len(line) + 1 for line in lines[:shared]) - len(reference)
            if most < shared < len(lines) and saved > 0:
                most, begins = shared, reference
        return "\n".join([begins, *lines[most:]] if begins else lines)


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]


def _common(one: Lines, other: Lines) -> int:
    """Return how many lines the two begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _runs_text(traces: Sequence[Trace]) -> str:
    """Return what is run, numbered: the same for every program, so it is said only once."""
    return "".join(
        f"Run {run}: {trace.call or 'the program'}"
        + (f" with input {trace.stdin!r}" if trace.stdin else "")
        + "\n"
        for run, trace in enumerate(traces, 1)
    )
