"""Candidates x visible tests -> traces -> the dynamic signal's text (steps 3b to 3d).

The text lists the visible calls or inputs once, then each distinct executable program and, below
it, what happened on each of them. It never holds an expected value: only calls and inputs are
executed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve, frozen

from egcfg.decoding.programs import Program
from egcfg.decoding.signal_text import SignalText
from egcfg.interfaces.problem import Problem, StdioTest
from egcfg.interfaces.solution import Signal, SignalEntry
from egcfg.interfaces.tracer import Tracer, TraceRequest
from egcfg.sandbox import Sandbox

__all__ = ["SignalBuilder", "trace_requests"]

TRACE_CHARS = (2000, 1000, 500, 250, 120)
"""Characters of one rendered trace: as many as the budget allows. Few lengths, so that what one
signal shows is mostly shown at the same length by the next, and need not be read again. Below the
last, whole programs are dropped rather than traces shortened further."""


def trace_requests(problem: Problem, program: str) -> list[TraceRequest]:
    """Return what to run of `program`: one request per visible call, or per visible input."""
    source = f"{problem.setup_code}\n{program}" if problem.setup_code else program
    inputs = [test.stdin for test in problem.visible_tests if isinstance(test, StdioTest)]
    if inputs:
        call = f"{problem.entry_point}()" if problem.entry_point else None
        return [TraceRequest(source=source, call=call, stdin=stdin) for stdin in inputs]
    return [TraceRequest(source=source, call=call) for call in problem.visible_calls]


@frozen
class SignalBuilder:
    """Executes programs on a problem's visible tests and words what happened.

    Attributes:
        tracer: runs and renders.
        sandbox: where programs run.
        count_tokens: how many tokens a text takes (`LogprobBackend.count_tokens`).
    """

    tracer: Tracer
    sandbox: Sandbox
    count_tokens: Callable[[str], int]

    def build(
        self,
        problem: Problem,
        programs: Sequence[Program],
        budget: int,
        known: Sequence[SignalEntry] = (),
    ) -> Signal:
        """Run every program on every visible call or input, all side by side.

        Args:
            problem: whose visible tests to run.
            programs: what to run, the likeliest first.
            budget: tokens that the text may take.
            known: the previous signal's entries. What is among them is not run again, and comes
                first, in their order: so much of the text stays as it was, and what a model has
                read already need not be read again.

        Returns:
            The signal; its text is empty where there is nothing to run or no room to show it.

        Raises:
            SandboxError: the sandbox failed twice on the same program.
        """
        traces = {entry.program: entry.traces for entry in known}
        places = {source: place for place, source in enumerate(traces)}
        programs = sorted(programs, key=lambda p: places.get(p.source, len(places)))
        requests = {
            program.source: trace_requests(problem, program.source)
            for program in programs
            if program.source not in traces
        }
        flat = [request for group in requests.values() for request in group]
        results = iter(self.tracer.trace(flat, self.sandbox) if flat else ())
        for source, group in requests.items():
            traces[source] = tuple(next(results) for _ in group)
        entries = [
            SignalEntry(program=p.source, samples=p.samples, traces=traces[p.source])
            for p in programs
            if traces[p.source]
        ]
        return self._fit(entries, budget)

    def shorten(self, signal: Signal, room: int) -> Signal:
        """Word a signal again in the `room` tokens that a model's context has for it.

        The candidates of longest standing go first, then traces are shortened; nothing is run
        again. (A signal within its context, but above its budget, shows shorter traces first: what
        tells one candidate from another is worth more than the details of one.)
        """
        entries = [evolve(entry, shown=True) for entry in signal.entries]
        for oldest in range(len(entries)):
            wording = SignalText(entries[oldest:], self.tracer.render, TRACE_CHARS[0])
            text = wording.text(len(entries) - oldest, TRACE_CHARS[0])
            if oldest == len(entries) - 1 or self.count_tokens(text) <= room:
                fitted = self._fit(entries[oldest:], room)
                dropped = tuple(evolve(entry, shown=False) for entry in entries[:oldest])
                return evolve(fitted, entries=dropped + fitted.entries, cut=True)
        return signal

    def _fit(self, entries: Sequence[SignalEntry], budget: int) -> Signal:
        """Word as much as the budget holds: first shorter traces, then fewer programs."""
        wording = SignalText(entries, self.tracer.render, TRACE_CHARS[0])
        fewer = ((shown, TRACE_CHARS[-1]) for shown in range(len(entries) - 1, 0, -1))
        for shown, chars in [*((len(entries), chars) for chars in TRACE_CHARS if entries), *fewer]:
            text = wording.text(shown, chars)
            tokens = self.count_tokens(text)
            if tokens <= budget:
                marked = tuple(evolve(e, shown=i < shown) for i, e in enumerate(entries))
                cut = shown < len(entries) or chars < TRACE_CHARS[0]
                return Signal(entries=marked, text=text, tokens=tokens, cut=cut)
        hidden = tuple(evolve(entry, shown=False) for entry in entries)
        return Signal(entries=hidden, text="", tokens=0, cut=bool(entries))
