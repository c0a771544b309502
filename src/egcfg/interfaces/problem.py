"""What is asked of the model, and what it may see: knows nothing about models or files."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable
from typing import TypeAlias

from attrs import field, frozen, validators

from egcfg.errors import UsageError

__all__ = ["AssertTest", "CheckTest", "Problem", "StdioTest", "TestCase"]


@frozen
class AssertTest:
    """One ``assert`` statement about the entry point, such as ``assert f(2) == 4``.

    Attributes:
        source: the statement, on one or several lines.

    Raises:
        UsageError: it is not Python.
    """

    __test__ = False  # not a pytest class

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


@frozen
class CheckTest:
    """A test function that is handed the entry point: HumanEval's ``check(candidate)``.

    Attributes:
        source: code that defines ``check``.
        entry_point: name of the function that ``check`` is called with.
    """

    __test__ = False

    source: str
    entry_point: str

    @property
    def name(self) -> str:
        """The key of this test in a result file."""
        return f"check({self.entry_point})"


@frozen
class StdioTest:
    """Standard input and the standard output that is expected for it.

    Attributes:
        stdin: the whole input.
        stdout: the whole expected output; compared line by line without trailing blanks.
    """

    __test__ = False

    stdin: str
    stdout: str

    @property
    def name(self) -> str:
        """The key of this test in a result file."""
        return f"stdin: {self.stdin!r}"


TestCase: TypeAlias = AssertTest | CheckTest | StdioTest


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
        visible_tests: tests that prompts and traces may use. ``CheckTest`` never is one: its
            source holds expected values that cannot be split off.
        hidden_tests: tests that only scorers see. Empty: the visible ones score as well, which is
            how MBPP results are published.
        setup_code: code that the tests (not the prompt) rely on, run before the solution.
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
    def _no_check_is_visible(self, _: object, tests: tuple[TestCase, ...]) -> None:
        if any(isinstance(test, CheckTest) for test in tests):
            raise UsageError(
                "a CheckTest cannot be visible, its source holds expected values; "
                "put it among the hidden tests"
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

    @property
    def visible_calls(self) -> tuple[str, ...]:
        """The calls of the entry point in the visible asserts, without what they should return.

        One source expression per visible `AssertTest` that calls the entry point: the outermost,
        leftmost such call. This is what a tracer may execute (ALGORITHM step 3c: the call only).
        """
        if self.entry_point is None:
            return ()
        calls = []
        for test in self.visible_tests:
            if isinstance(test, AssertTest):
                call = find_call(test.source, self.entry_point)
                if call is not None:
                    calls.append(call)
        return tuple(calls)


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
    """Whether `name` stands in `source`, called or handed on as in ``map(f, values)``."""
    nodes = ast.walk(_parse(source.strip()))
    return any(isinstance(node, ast.Name) and node.id == name for node in nodes)


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():  # about escapes in data that is not ours
        warnings.simplefilter("ignore")
        return ast.parse(source)
