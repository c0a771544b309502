"""The tracer keeps what every one promises."""

from egcfg.testing import TracerSuite


class TestEndTracer(TracerSuite):
    name = "ends"
