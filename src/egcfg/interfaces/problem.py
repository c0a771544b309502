"""What is asked of the model, and what it may see: knows nothing about models or files."""

from __future__ import annotations

import ast
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from attrs import field, frozen, validators

from egcfg.errors import UsageError
from egcfg.interfaces.tracer import TraceRequest

__all__ = ["AssertTest", "CheckTest", "Problem", "Program", "StdioTest", "TestCase"]


@frozen
class Program:
    """A program that a test is to execute.

    Attributes:
        source: its text.
        entry_point: the function that solves the problem; None for a whole program.
        setup: code that the tests rely on, which runs before it.
    """

    source: str
    entry_point: str | None
    setup: str = ""


class TestCase(ABC):
    """One test of a problem, of a kind of its own. Subclasses are frozen attrs classes.

    A data set may bring its own kind, with a scorer that judges by it.
    """

    __test__ = False  # not a pytest class

    may_be_visible: ClassVar[bool] = True
    """Whether prompts and traces may use it, which takes calls without the expected values."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The key of this test in a result file, unique within its problem."""

    @abstractmethod
    def executions(self, program: Program) -> Sequence[TraceRequest]:
        """Return what to execute of `program` for a trace: no expected value is part of it."""


@frozen
class AssertTest(TestCase):
    """One ``assert`` statement about the entry point, such as ``assert f(2) == 4``.

    Attributes:
        source: the statement, on one or several lines.

    Raises:
        UsageError: it is not Python.
    """

    source: str = field()

    @source.validator
    def _is_python(self, _: object, source: str) -> None:
        try:
            _parse(source.strip())
        except (SyntaxError, ValueError) as error:
            raise UsageError(
                f"syntax error in the test {source.strip()!r}: {error}; correct it"
            ) from error

    @property
    def name(self) -> str:
        """The key of this test in a result file: its source."""
        return self.source.strip()

    def executions(self, program: Program) -> Sequence[TraceRequest]:
        """Return the call of the entry point, if there is one; see `find_call`."""
        call = None if program.entry_point is None else find_call(self.source, program.entry_point)
        if call is None:
            return []
        return [TraceRequest(source=program.source, setup=program.setup, call=call)]


@frozen
class CheckTest(TestCase):
    """A test function that is handed the entry point: HumanEval's ``check(candidate)``.

    Attributes:
        source: code that defines ``check``.
        entry_point: name of the function that ``check`` is called with.
    """

    may_be_visible = False

    source: str
    entry_point: str

    @property
    def name(self) -> str:
        """The key of this test in a result file."""
        return f"check({self.entry_point})"

    def executions(self, program: Program) -> Sequence[TraceRequest]:  # noqa: ARG002 - see above
        """Return nothing: calls and expected values cannot be told apart."""
        return []


@frozen
class StdioTest(TestCase):
    """Standard input and the standard output that is expected for it.

    Attributes:
        stdin: the whole input.
        stdout: the whole expected output; compared line by line without trailing blanks.
    """

    stdin: str
    stdout: str

    @property
    def name(self) -> str:
        """The key of this test in a result file."""
        return f"stdin: {self.stdin!r}"

    def executions(self, program: Program) -> Sequence[TraceRequest]:
        """Return a run on the input: of the entry point where there is one."""
        call = f"{program.entry_point}()" if program.entry_point else None
        return [
            TraceRequest(source=program.source, setup=program.setup, call=call, stdin=self.stdin)
        ]


def _as_tuple(tests: Iterable[TestCase]) -> tuple[TestCase, ...]:
    as_tuple = tuple(tests)
    for test in as_tuple:
        if not isinstance(test, TestCase):
            raise UsageError(
                f"{test!r} is no test; wrap it, as in AssertTest('assert f(2) == 4') "
                "or StdioTest('2', '4')"
            )
    return as_tuple


@frozen(kw_only=True)
class Problem:
    """One programming task.

    Attributes:
        task_id: identifier that is unique in its data set, as the data set prints it.
        description: the task in words, as the model is to read it.
        entry_point: name of the function that solves it; ``None`` for a whole program that reads
            standard input.
        visible_tests: tests that prompts and traces may use (`TestCase.may_be_visible`).
        hidden_tests: tests that only scorers see. Empty: the visible ones score as well, which is
            how MBPP results are published.
        setup_code: code that the tests (not the prompt) rely on; runs before the solution in the
            same names, as a text of its own.
        given_code: code that the model is to continue, such as HumanEval's signature and
            docstring; part of the prompt and of every executed program.
        scorer: name of the scorer that decides about a solution.

    Raises:
        UsageError: a test is none, or no visible assert calls the entry point.
    """

    task_id: str = field(validator=validators.min_len(1))
    description: str
    entry_point: str | None
    visible_tests: tuple[TestCase, ...] = field(converter=_as_tuple)
    hidden_tests: tuple[TestCase, ...] = field(default=(), converter=_as_tuple, repr=False)
    setup_code: str = ""
    given_code: str = ""
    scorer: str = "asserts"

    @visible_tests.validator
    def _may_be_visible(self, _: object, tests: tuple[TestCase, ...]) -> None:
        for test in tests:
            if not test.may_be_visible:
                raise UsageError(
                    f"a {type(test).__name__} cannot be visible, its source contains expected "
                    "values; put it among the hidden tests"
                )

    def __attrs_post_init__(self) -> None:
        asserts = [test for test in self.visible_tests if isinstance(test, AssertTest)]
        if asserts and not any(_mentions(test.source, self.entry_point) for test in asserts):
            name = "an entry point" if self.entry_point is None else repr(self.entry_point)
            raise UsageError(
                f"task {self.task_id}: no visible test calls {name}; correct the name or the tests"
            )

    @property
    def scoring_tests(self) -> tuple[TestCase, ...]:
        """The tests that decide: the hidden ones, or the visible ones where none are hidden."""
        return self.hidden_tests or self.visible_tests

    def executions(self, source: str) -> list[TraceRequest]:
        """Return what to execute of the program `source` for the visible tests, in their order."""
        program = Program(source, self.entry_point, self.setup_code)
        return [request for test in self.visible_tests for request in test.executions(program)]


def find_call(source: str, function: str) -> str | None:
    """Return the outermost, leftmost call of `function` in `source`, or None.

    Raises:
        SyntaxError: `source` is not Python.
    """
    todo: list[ast.AST] = [_parse(source)]
    while todo:
        node = todo.pop(0)
        match node:
            case ast.Call(func=ast.Name(id=name)) if name == function:
                return ast.unparse(node)
        # Pre-order: a call's arguments come before whatever stands to the right of the call.
        todo[:0] = ast.iter_child_nodes(node)
    return None


def _mentions(source: str, name: str | None) -> bool:
    """Whether `source` names `name`, called or handed on as in ``map(f, values)``."""
    nodes = ast.walk(_parse(source.strip()))
    return any(isinstance(node, ast.Name) and node.id == name for node in nodes)


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():  # about escapes in data that is not ours
        warnings.simplefilter("ignore")
        return ast.parse(source)
