"""A tracer that tells how each run ended."""

from attrs import frozen

from egcfg import Trace, Tracer


@frozen
class Options:
    """There is nothing to choose."""


class EndTracer(Tracer):
    """Tells what a call returned, what it raised, or what was printed."""

    Options = Options

    def __init__(self, options):
        self.options = options

    async def trace(self, requests, sandbox):
        """Run every request in a process of its own, all side by side."""
        results = await sandbox.run([request.execution() for request in requests])
        return [Trace.of(*each) for each in zip(requests, results, strict=True)]

    def render(self, trace, max_chars):
        """Return one line."""
        if trace.raised is not None:
            end = f"raised {trace.raised.type}: {trace.raised.message}"
        elif trace.result is not None:
            end = f"returned {trace.result.text}"
        else:
            end = f"ended: {trace.outcome}, printed {trace.stdout!r}"
        return f"{trace.call or 'the program'} {end}"[:max_chars]
