"""Classes that are no tracers."""

from egcfg import Tracer


class NoTracer:
    """Not a subclass of the interface."""


class AbstractTracer(Tracer):
    """Implements half of the interface."""

    def render(self, trace, max_chars):
        """Return nothing."""
        return ""


class WithoutOptions(AbstractTracer):
    """Has no options class."""

    def trace(self, requests, sandbox):
        """Trace nothing."""
        return []
