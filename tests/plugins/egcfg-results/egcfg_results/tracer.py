"""A tracer that only says what a call returned or raised."""

from attrs import frozen

from egcfg import Trace, Tracer


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
        results = await sandbox.run([request.execution() for request in requests])
        return [Trace.of(*pair) for pair in zip(requests, results, strict=True)]

    def render(self, trace, max_chars):
        """Return one line."""
        if trace.raised is not None:
            end = f"{trace.raised.type}: {trace.raised.message}"
        elif trace.result is not None:
            end = trace.result.text
        else:
            end = trace.outcome.value
        return f"{trace.call or 'program'} {self.options.arrow} {end}"[:max_chars]

