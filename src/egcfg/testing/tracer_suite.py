"""What every tracer must keep."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from egcfg.interfaces.tracer import Trace, TraceRequest
from egcfg.plugins.hookspecs import Kind
from egcfg.sandbox import Limits, Outcome
from egcfg.testing.suite import SandboxedSuite, require

__all__ = ["TracerSuite"]

DOUBLE: Final = "def double(x):\n    y = 2 * x\n    return y\n"
BRIEF: Final = Limits(cpu_seconds=0.2, wall_seconds=5.0)
ENDS: Final = {
    Outcome.OK: TraceRequest(source=DOUBLE, call="double(21)"),
    Outcome.EXCEPTION: TraceRequest(source="def f(x):\n    return x / 0\n", call="f(1)"),
    Outcome.TIMEOUT: TraceRequest(
        source="def f(x):\n    while True:\n        x += 1\n", call="f(1)", limits=BRIEF
    ),
}
MARK: Final = "egcfg_conformance_mark"


class TracerSuite(SandboxedSuite):
    """Checks of a tracer, on programs that end well, fail, and never end."""

    kind = Kind.TRACER

    def trace(self, requests: Sequence[TraceRequest]) -> list[Trace]:
        """Trace programs; see that there is a trace for each."""
        traces = self.call("trace", requests, self.sandbox)
        require(
            isinstance(traces, list) and all(isinstance(trace, Trace) for trace in traces),
            f"trace gave {type(traces).__name__}: return a list of egcfg.Trace",
        )
        require(
            len(traces) == len(requests),
            f"trace gave {len(traces)} traces for {len(requests)} requests: return one each, also "
            "for a program that fails",
        )
        return list(traces)

    def text(self, trace: Trace, max_chars: int = 2000) -> str:
        """Render a trace."""
        text = self.opened.ask("render", trace, max_chars)
        require(isinstance(text, str), f"render gave {type(text).__name__}: return text")
        return str(text)

    def test_each_request_gets_its_trace_in_order(self) -> None:
        """A trace names the program, call and input of its request."""
        requests = [
            TraceRequest(source=DOUBLE, call="double(1)"),
            TraceRequest(source="def f(:\n", call="f()"),
            TraceRequest(source="print(input())\n", stdin="seen\n"),
            TraceRequest(source=DOUBLE, call="double(21)"),
        ]
        for request, trace in zip(requests, self.trace(requests), strict=True):
            for name in ("source", "call", "stdin"):
                found, asked = getattr(trace, name), getattr(request, name)
                require(
                    found == asked,
                    f"the trace of {asked!r} has {name} {found!r}: copy the request's, and keep "
                    "the order of the requests",
                )
        require(self.trace([]) == [], "no request gives traces: return an empty list")

    def test_a_trace_says_how_its_program_ended(self) -> None:
        """The outcome is the sandbox's; an exception is told by its name."""
        for outcome, trace in zip(ENDS, self.trace(list(ENDS.values())), strict=True):
            require(
                trace.outcome is outcome,
                f"a program that ends with {outcome} has a trace with {trace.outcome}: copy "
                "ExecutionResult.outcome",
            )
            if outcome is Outcome.EXCEPTION:
                require(
                    trace.raised is not None and trace.raised.type == "ZeroDivisionError",
                    f"raised is {trace.raised}: make a RaisedValue of ExecutionResult.raised",
                )

    def test_setup_runs_before_the_program_and_is_no_part_of_it(self) -> None:
        """What the data set's setup code defines is there, and the program is as it was."""
        program = "def f(x):\n    return x + OFFSET\n"
        request = TraceRequest(source=program, setup="OFFSET = 5", call="f(1)")
        [trace] = self.trace([request])
        require(
            trace.outcome is Outcome.OK,
            f"a program that needs its setup ends with {trace.outcome}: hand TraceRequest.setup on "
            "as Execution.setup",
        )
        require(
            "OFFSET = 5" not in trace.source + self.text(trace),
            "the setup is part of the trace: hand it on as Execution.setup, not in the source",
        )

    def test_a_whole_program_runs_as_main_on_its_input(self) -> None:
        """Without a call the program runs as ``__main__`` and its output is in the trace."""
        program = "if __name__ == '__main__':\n    print(input() * 2)\n"
        [trace] = self.trace([TraceRequest(source=program, stdin="ab\n")])
        require(
            trace.stdout == "abab\n",
            f"stdout is {trace.stdout!r}, not 'abab\\n': run a request without a call with "
            "run_as_main=True and its stdin, and copy ExecutionResult.stdout",
        )

    def test_programs_run_in_the_sandbox_alone(self) -> None:
        """Programs are written by a model: they never run in egcfg's own process."""
        self.trace([TraceRequest(source=f"import sys\nsys.modules['{MARK}'] = sys\n")])
        require(
            sys.modules.pop(MARK, None) is None,
            "the program ran in egcfg's own process: run it with `await sandbox.run([...])` only",
        )

    def test_a_text_keeps_within_its_limit(self) -> None:
        """``render`` gives at most `max_chars` characters, however the program ended."""
        for trace in self.trace(list(ENDS.values())):
            for limit in (40, 200, 2000):
                text = self.text(trace, limit)
                require(
                    len(text) <= limit,
                    f"render(trace, {limit}) gave {len(text)} characters for a run that ended "
                    f"with {trace.outcome}: shorten the text, and say in it what was left out",
                )

    def test_a_text_tells_what_happened(self) -> None:
        """Different runs of a program have different texts; the program's source is in none."""
        calls = ("double(1)", "double(21)")
        traces = self.trace([TraceRequest(source=DOUBLE, call=call) for call in calls])
        texts = [self.text(trace) for trace in traces]
        require(texts[0] != texts[1], f"{calls[0]} and {calls[1]} have the same text {texts[0]!r}")
        require(
            DOUBLE.strip() not in texts[0],
            "the text repeats the program's source, which the prompt shows already: leave it out",
        )

    def test_the_same_run_has_the_same_text(self) -> None:
        """A run that is repeated gives the same results: no times, no addresses."""
        source = "def f(x):\n    return [object(), {'a', 'b', 'c', str(x)}]\n"
        request = TraceRequest(source=source, call="f(1)")
        once, again = (self.text(self.trace([request])[0]) for _ in range(2))
        require(
            once == again,
            f"the text changes from {once!r} to {again!r}: leave times and addresses out, and "
            "show sets in order",
        )

    def test_a_failure_of_the_sandbox_has_a_text(self) -> None:
        """``render`` takes a trace of which nothing but the outcome is known."""
        failed = Trace(source=DOUBLE, call="double(1)", outcome=Outcome.SANDBOX_ERROR, detail="?")
        self.text(failed, 200)
