"""What is asked of the model, and what it may see: knows nothing about models or files."""

from __future__ import annotations

import ast
import enum
import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from attrs import Attribute, evolve, field, fields, frozen, validators

from egcfg.errors import UsageError
from egcfg.interfaces.tracer import TraceRequest
from egcfg.sandbox.types import Limits

__all__ = [
    "AssertTest",
    "CheckTest",
    "Comparison",
    "IgnoredWhitespace",
    "Problem",
    "Program",
    "StdioTest",
    "Task",
    "TestCase",
    "find_call",
    "uses_when_run",
]

LONGEST_INPUT_IN_NAME = 200
MIB = 1 << 20


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
        label: tells it from the problem's other checks.
    """

    may_be_visible = False

    source: str
    entry_point: str
    label: str = ""

    @property
    def name(self) -> str:
        """The key of this test in a result file."""
        return f"{self.label} check({self.entry_point})".lstrip()

    def executions(self, program: Program) -> Sequence[TraceRequest]:  # noqa: ARG002 - see above
        """Return nothing: calls and expected values cannot be told apart."""
        return []


class IgnoredWhitespace(enum.StrEnum):
    """Which whitespace makes no difference between two outputs.

    Whitespace is a blank, ``\\t``, ``\\v``, ``\\f`` or ``\\r`` (C's ``isspace``), and the ends of
    lines, which are ``\\n`` and ``\\r\\n``; nothing else is.

    ``NONE``: every character counts, the end of the last line included. ``TRAILING``: whitespace at
    the ends of lines, and empty lines at the end of the output, do not count. ``INLINE``: nor does
    whitespace before the first token of a line, nor how much of it separates two. ``ALL``: nor do
    ends of lines: outputs are sequences of tokens.
    """

    NONE = "none"
    TRAILING = "trailing"
    INLINE = "inline"
    ALL = "all"


@frozen(kw_only=True)
class Comparison:
    """When a program's output counts as the expected one.

    Attributes:
        ignore_whitespace: which whitespace makes no difference.
        ignore_case: whether upper and lower case are the same.
        absolute_tolerance: how far a number may be from the expected one. With one of the
            tolerances above zero, outputs are compared token by token, as contest judges do: a
            token that is a decimal number fits an expected one within the larger of both, other
            tokens and the whitespace between are compared as text.
        relative_tolerance: the same, as a share of the expected number.
    """

    ignore_whitespace: IgnoredWhitespace = field(
        default=IgnoredWhitespace.TRAILING, converter=IgnoredWhitespace
    )
    ignore_case: bool = False
    absolute_tolerance: float = field(default=0.0, validator=validators.ge(0))
    relative_tolerance: float = field(default=0.0, validator=validators.ge(0))


@frozen
class StdioTest(TestCase):
    """Standard input and the standard output that is expected for it.

    Attributes:
        stdin: the whole input.
        stdout: the whole expected output.
        comparison: when an output counts as the expected one; None: as the scorer's options say.
        checker: code that decides instead, for tasks with several right answers: it defines
            ``check(input, output, expected)``, three texts, which returns True for a right output
            and False for a wrong one. Part of the data set, and trusted; it runs in a process of
            its own. None: as the scorer's options say.
    """

    stdin: str
    stdout: str
    comparison: Comparison | None = None
    checker: str | None = None

    @property
    def name(self) -> str:
        """The key of this test in a result file: its input, a long one by its beginning."""
        if len(self.stdin) <= LONGEST_INPUT_IN_NAME:
            return f"stdin: {self.stdin!r}"
        digest = hashlib.sha256(self.stdin.encode("utf-8", "surrogatepass")).hexdigest()
        return (
            f"stdin: {self.stdin[:LONGEST_INPUT_IN_NAME]!r}... "
            f"({len(self.stdin)} characters, sha256 {digest[:16]})"
        )

    def executions(self, program: Program) -> Sequence[TraceRequest]:
        """Return a run on the input: of the entry point where the program does not run it."""
        function = program.entry_point
        runs_itself = function is None or uses_when_run(program.source, function)
        call = None if runs_itself else f"{function}()"
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
class Task:
    """One programming task, as whoever solves it may know it: without the tests that decide.

    Attributes:
        task_id: identifier that is unique in its data set, as the data set prints it.
        description: the task in words, as the model is to read it.
        entry_point: name of the function that solves it; ``None`` for a whole program that reads
            standard input.
        visible_tests: tests that prompts and traces may use (`TestCase.may_be_visible`).
        setup_code: code that the tests (not the prompt) rely on; runs before the solution in the
            same names, as a text of its own.
        given_code: code that the model is to continue, such as HumanEval's signature and
            docstring; part of the prompt and of every executed program.
        time_limit: seconds of processor time that one run of a program may take, for a trace or a
            test; the limit of real time grows with it. None: as the settings say.
        memory_limit: MiB of address space that it may take, the interpreter included. None: as the
            settings say.

    Raises:
        UsageError: a test is none, no visible assert calls the entry point, or a limit is not
            above zero.
    """

    task_id: str = field(validator=validators.min_len(1))
    description: str
    entry_point: str | None
    visible_tests: tuple[TestCase, ...] = field(converter=_as_tuple)
    setup_code: str = ""
    given_code: str = ""
    time_limit: float | None = field(default=None)
    memory_limit: float | None = field(default=None)

    @time_limit.validator
    @memory_limit.validator
    def _is_above_zero(self, attribute: Attribute[float | None], limit: float | None) -> None:
        if limit is not None and not limit > 0:
            raise UsageError(f"task {self.task_id}: {attribute.name} must be above zero")

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

    def limits(self, usual: Limits) -> Limits:
        """Return `usual` with the problem's own limits in place of those of time and memory."""
        if self.time_limit is not None:
            stretch = self.time_limit / usual.cpu_seconds
            wall_seconds = stretch * usual.wall_seconds
            usual = evolve(usual, cpu_seconds=self.time_limit, wall_seconds=wall_seconds)
        if self.memory_limit is not None:
            usual = evolve(usual, memory_bytes=round(self.memory_limit * MIB))
        return usual

    def executions(self, source: str) -> list[TraceRequest]:
        """Return what to execute of the program `source` for the visible tests, in their order.

        The problem's limits hold.
        """
        program = Program(source, self.entry_point, self.setup_code)
        return [
            evolve(request, limits=self.limits(request.limits))
            for test in self.visible_tests
            for request in test.executions(program)
        ]


@frozen(kw_only=True)
class Problem(Task):
    """A task with the tests that decide about a solution.

    Attributes:
        hidden_tests: tests that only scorers see. Empty: the visible ones score as well, which is
            how MBPP results are published.
        scorer: name of the scorer that decides about a solution.
    """

    hidden_tests: tuple[TestCase, ...] = field(default=(), converter=_as_tuple, repr=False)
    scorer: str = "asserts"

    @property
    def scoring_tests(self) -> tuple[TestCase, ...]:
        """The tests that decide: the hidden ones, or the visible ones where none are hidden."""
        return self.hidden_tests or self.visible_tests

    @property
    def task(self) -> Task:
        """The problem without the tests that decide."""
        return Task(**{a.name: getattr(self, a.name) for a in fields(Task)})


def find_call(source: str, function: str) -> str | None:
    """Return the outermost, leftmost call of `function` in `source`, or None.

    The whole of it: in ``f(2)(3)`` and ``f().push(1).top()`` what the call returns is called in its
    turn. A call that needs a name that the test binds itself, such as a variable, is none.

    Raises:
        SyntaxError: `source` is not Python.
    """
    tree = _parse(source)
    todo: list[tuple[ast.AST, frozenset[str]]] = [(tree, _bound(tree))]
    while todo:
        node, bound = todo.pop(0)
        is_call = isinstance(node, ast.Call) and _called_name(node) == function
        if is_call and not bound & _names(node, ast.Load):
            return ast.unparse(node)
        match node:
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                bound |= _names(node, ast.Store)
            case ast.Lambda(args=arguments):
                bound |= {each.arg for each in ast.walk(arguments) if isinstance(each, ast.arg)}
        # Pre-order: a call's arguments come before whatever stands to the right of the call.
        todo[:0] = [(child, bound) for child in ast.iter_child_nodes(node)]
    return None


def uses_when_run(source: str, function: str) -> bool:
    """Return whether `source`, run as a whole program, names `function` where it may be called.

    That is at its top level, or in a function or method that the top level names, or that one of
    those names. False where `source` is not Python.
    """
    reached: set[str] = set()
    unreached: dict[str, list[ast.AST]] = {}  # bodies of definitions
    try:
        todo: list[ast.AST] = [_parse(source.removeprefix("\ufeff"))]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    while todo:
        node = todo.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                todo += [*node.decorator_list, *node.args.defaults]
                unreached.setdefault(name, []).extend(node.body)
                # Python itself calls special methods, such as __init__.
                names = [name] if name in reached or name.startswith("__") else []
            case ast.Name(id=name, ctx=ast.Load()):
                if name == function:
                    return True
                names = [name]
            case ast.Attribute(attr=name):
                todo.append(node.value)
                names = [name]
            case ast.Constant(value=str(text)) if text == function or text == f"{function}()":
                return True
            case _:
                todo += ast.iter_child_nodes(node)
                names = []
        for name in names:
            reached.add(name)
            todo += unreached.pop(name, [])
    return False


def _called_name(node: ast.AST) -> str | None:
    """Return the name that a call, or a chain of calls, attributes and items, begins with."""
    while True:
        match node:
            case ast.Call(func=inner) | ast.Attribute(value=inner) | ast.Subscript(value=inner):
                node = inner
            case ast.Name(id=name):
                return name
            case _:
                return None


def _bound(tree: ast.AST) -> frozenset[str]:
    """Return the names that the statements of a test bind."""
    names: set[str] = set()
    todo = [tree]
    while todo:
        node = todo.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.ExceptHandler(name=str(name)):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                names.add(name)
            case ast.alias(name=name, asname=alias):
                names.add(alias or name.partition(".")[0])
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                continue  # its names are its own
            case ast.Lambda():
                continue
        todo += ast.iter_child_nodes(node)
    return frozenset(names)


def _names(tree: ast.AST, context: type[ast.expr_context]) -> frozenset[str]:
    nodes = ast.walk(tree)
    return frozenset(
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, context)
    )


def _mentions(source: str, name: str | None) -> bool:
    """Whether `source` names `name`, called or handed on as in ``map(f, values)``."""
    nodes = ast.walk(_parse(source.strip()))
    return any(isinstance(node, ast.Name) and node.id == name for node in nodes)


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():  # about escapes in data that is not ours
        warnings.simplefilter("ignore")
        return ast.parse(source)
