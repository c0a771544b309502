"""A tracer that only says what a call returned or raised."""

from attrs import frozen

from egcfg import Trace, Tracer
from egcfg.sandbox import Call, Execution
from egcfg.interfaces.tracer import RaisedValue, Value


@frozen
class Options:
    """Options of the tracer.

    Attributes:
        arrow: put between a call and its result.
    """

    arrow: str = "->"


class ResultsTracer(Tracer):
    """Runs each program once and keeps the value of its call."""

    Options = Options

    def __init__(self, options):
        self.options = options

    async def trace(self, requests, sandbox):
        """Run every request; one trace each."""
        executions = [
            Execution(
                source=request.source,
                call=None if request.call is None else Call(request.call),
                stdin=request.stdin,
                run_as_main=request.call is None,
                limits=request.limits,
            )
            for request in requests
        ]
        results = await sandbox.run(executions)
        return [_trace(*pair) for pair in zip(requests, results, strict=True)]

    def render(self, trace, max_chars):
        """Return one line."""
        if trace.raised is not None:
            end = f"{trace.raised.type}: {trace.raised.message}"
        elif trace.result is not None:
            end = trace.result.text
        else:
            end = trace.outcome.value
        return f"{trace.call or 'program'} {self.options.arrow} {end}"[:max_chars]


def _trace(request, result):
    raised = result.raised
    value = Value(type(result.value).__name__, repr(result.value)) if result.has_value else None
    return Trace(
        source=request.source,
        call=request.call,
        stdin=request.stdin,
        outcome=result.outcome,
        raised=raised and RaisedValue(type=raised.type, message=raised.message),
        result=value,
        stdout=result.stdout,
        stderr=result.stderr,
    )
