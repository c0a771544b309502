"""Problems about exceptions, and the tests that say which one a call must end in."""

from attrs import frozen

from egcfg import Dataset, Problem
from egcfg.interfaces.problem import TestCase
from egcfg.interfaces.tracer import TraceRequest


@frozen
class RaisesTest(TestCase):
    """A call that must end in an exception, or in none.

    Attributes:
        call: the call.
        exception: name of the exception's class; empty: it must return.
    """

    call: str
    exception: str

    @property
    def name(self):
        """The key in result files."""
        return f"{self.call} raises {self.exception or 'nothing'}"

    def executions(self, program):
        """Return the call; what it must raise is no part of it."""
        return [TraceRequest(source=program.source, call=self.call)]


class RaisingDataset(Dataset):
    """One function, which must refuse numbers below zero."""

    @frozen
    class Options:
        """No options."""

    def __init__(self, options):
        self.options = options

    def problems(self):
        """Return the problem."""
        return [
            Problem(
                task_id="half",
                description="Halve x. Refuse negative numbers by a ValueError.",
                entry_point="half",
                visible_tests=[RaisesTest("half(4)", "")],
                hidden_tests=[RaisesTest("half(-4)", "ValueError"), RaisesTest("half(0)", "")],
                scorer="raising",
            )
        ]
