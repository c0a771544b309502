"""Reads a problem as programmers have it: a stub of a function, and a file of its tests.

Nothing of either file is run here.
"""

from __future__ import annotations

import ast
import copy
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

from egcfg.datasets.assertions import called_functions
from egcfg.errors import DataError

__all__ = ["Stub", "TestFile", "read_stub", "read_tests"]

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


@frozen(kw_only=True)
class Stub:
    """A function that is to be written, and what comes before it.

    Attributes:
        entry_point: its name.
        description: its docstring, or else the file's.
        given_code: the file up to the function's body: what the model is to continue.
    """

    entry_point: str
    description: str
    given_code: str


@frozen(kw_only=True)
class TestFile:
    """The tests of a file.

    Attributes:
        asserts: sources of tests, one each.
        setup_code: the rest of the file that they rely on: imports, constants, helpers.
        left_out: what cannot be used, each with the reason.
    """

    __test__ = False  # not a pytest class

    asserts: tuple[str, ...]
    setup_code: str
    left_out: tuple[str, ...]


def read_stub(path: Path, function: str | None = None) -> Stub:
    """Read a file in which a function has a signature, perhaps a docstring, and no body yet.

    No body is ``...``, ``pass``, or ``raise NotImplementedError``. What follows the function must
    be definitions and imports; they are moved in front of it.

    Args:
        path: the file.
        function: the function's name; None: the only one without a body.

    Raises:
        DataError: it cannot be read, has no such function or several, or has other code after it.
    """
    text = _text(path)
    tree = _parsed(text, path)
    open_ones = [s for s in tree.body if isinstance(s, ast.FunctionDef) and _is_open(s)]
    if function is not None:
        open_ones = [stub for stub in open_ones if stub.name == function]
    if not open_ones:
        which = "no function" if function is None else f"no function {function!r}"
        raise DataError(
            f"{path}: {which} at the top level lacks its body; write one as: "
            "def f(x): followed by a docstring and ..."
        )
    if len(open_ones) > 1:
        names = ", ".join(stub.name for stub in open_ones)
        raise DataError(f"{path}: several functions lack their body ({names}); choose: --function")
    [stub] = open_ones
    lines = io.StringIO(text).readlines()  # as Python counts them
    first, body_at = _first_line(stub), stub.body[0]
    before = "".join(lines[: first - 1])
    after = ""
    for statement in tree.body[tree.body.index(stub) + 1 :]:
        if not isinstance(statement, DEFINITIONS):
            raise DataError(
                f"{path}, line {statement.lineno}: code after the function {stub.name!r} "
                "would run before it is written; move it in front of the function"
            )
        after += "".join(lines[_first_line(statement) - 1 : statement.end_lineno]) + "\n\n"
    docstring = ast.get_docstring(stub)
    on_its_line = lines[body_at.lineno - 1].encode()[: body_at.col_offset].decode()
    signature = "".join(lines[first - 1 : body_at.lineno - 1])
    if on_its_line.strip():  # def f(x): ...
        signature += on_its_line.rstrip() + "\n"
        on_its_line = "    "
    if docstring is not None:
        signature += f"{on_its_line}{ast.get_source_segment(text, body_at)}\n"
    module = ast.get_docstring(tree)
    return Stub(
        entry_point=stub.name,
        description=docstring or module or f"Write the body of the function {stub.name}.",
        given_code=f"{before}{after}{signature}",
    )


def read_tests(path: Path, function: str, home: str | None = None) -> TestFile:
    """Read asserts about a function: at the top level, and in functions called ``test...``.

    A test function of asserts alone is a test for each of them, another one is a test as a whole.
    Names that it gives to values are replaced by them, those of ``pytest.mark.parametrize`` too.

    Args:
        path: the file.
        function: the function that is tested.
        home: the module that is to define it, whose imports are dropped.

    Raises:
        DataError: it cannot be read, or holds no assert about the function.
    """
    tree = _parsed(_text(path), path)
    asserts: list[str] = []
    setup: list[ast.stmt] = []
    left_out: list[str] = []
    tests: list[list[ast.stmt]]
    for statement in tree.body:
        match statement:
            case ast.Assert():
                tests = [[statement]]
            case ast.FunctionDef(name=name) if name.startswith("test"):
                reason = _why_not(statement)
                if reason is not None:
                    left_out.append(f"{name}: {reason}")
                    continue
                tests = [
                    body for values in _cases(statement) for body in _bodies(statement, values)
                ]
            case ast.ClassDef(name=name) if name.startswith("Test"):
                left_out.append(f"{name}: a class of tests; write them as functions")
                continue
            case ast.ImportFrom(module=module, names=names) if module in (
                home,
                "pytest",
            ) or function in {alias.name for alias in names}:
                continue
            case ast.Import(names=[ast.alias(name=module)]) if module in (home, "pytest"):
                continue
            case _:
                setup.append(statement)
                continue
        for body in tests:
            source = "\n".join(ast.unparse(ast.fix_missing_locations(part)) for part in body)
            if function in called_functions(source):
                asserts.append(source)
            else:
                left_out.append(f"{source.strip()[:60]}: it does not call {function}")
    if not asserts:
        why = f" ({'; '.join(left_out)})" if left_out else ""
        raise DataError(
            f"{path}: no usable assert about {function!r}{why}; write tests such as: "
            f"def test_{function}(): assert {function}(2) == 4"
        )
    setup_code = "".join(f"{ast.unparse(each)}\n" for each in setup if not _is_docstring(each))
    return TestFile(
        asserts=tuple(dict.fromkeys(asserts)), setup_code=setup_code, left_out=tuple(left_out)
    )


def _why_not(test: ast.FunctionDef) -> str | None:
    """Return why a test function cannot be used; None if it can."""
    given = [arg.arg for arg in test.args.args]
    named = {name for values in _cases(test) for name in values}
    if set(given) - named:
        return "it takes a fixture"
    for node in ast.walk(test):
        if isinstance(node, ast.Name) and node.id == "pytest" and not _in_decorator(test, node):
            return "it uses pytest; write a plain assert"
    if any(_parametrized(d) is None for d in test.decorator_list):
        return "its decorator is not a parametrize with its values written out"
    if not any(isinstance(node, ast.Assert) for node in ast.walk(test)):
        return "it asserts nothing"
    return None


def _in_decorator(test: ast.FunctionDef, node: ast.AST) -> bool:
    return any(node in ast.walk(decorator) for decorator in test.decorator_list)


def _cases(test: ast.FunctionDef) -> list[dict[str, ast.expr]]:
    """Return the values of a test's parameters, for each time that it is to run."""
    cases: list[dict[str, ast.expr]] = [{}]
    for decorator in test.decorator_list:
        of_one = _parametrized(decorator) or []
        cases = [case | values for case in cases for values in of_one]
    return cases


def _parametrized(decorator: ast.expr) -> list[dict[str, ast.expr]] | None:
    """Return what a ``parametrize`` stands for; None if it is none that can be read."""
    match decorator:
        case ast.Call(
            func=ast.Attribute(attr="parametrize"),
            args=[given, ast.List(elts=rows) | ast.Tuple(elts=rows)],
            keywords=[],
        ):
            keys = _names(given)
        case _:
            return None
    cases = []
    for row in rows:
        values = [row]
        if isinstance(row, ast.Tuple | ast.List) and len(keys) != 1:
            values = row.elts
        if len(values) != len(keys):
            return None
        cases.append(dict(zip(keys, values, strict=True)))
    return cases


def _names(given: ast.expr) -> list[str]:
    """Return the names that a ``parametrize`` gives, as one text or several."""
    match given:
        case ast.Constant(value=str(text)):
            return [name.strip() for name in text.split(",") if name.strip()]
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return [name for part in parts for name in _names(part)]
    return []


def _bodies(test: ast.FunctionDef, values: Mapping[str, ast.expr]) -> Iterator[list[ast.stmt]]:
    """Yield the tests of a test function, as statements."""
    body = [copy.deepcopy(s) for s in test.body if not _is_docstring(s)]
    known = dict(values)
    left: list[ast.stmt] = []
    for statement in body:
        put_in = _PutIn(known)
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _is_simple(value, body):
                known[name] = put_in.visit(value)
            case _:
                left.append(put_in.visit(statement))
    if all(isinstance(statement, ast.Assert) for statement in left):
        yield from ([statement] for statement in left)
    else:
        yield left


def _is_simple(value: ast.expr, body: list[ast.stmt]) -> bool:
    """Whether a value can stand wherever its name does: a literal in a body of asserts alone."""
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return all(isinstance(statement, ast.Assert | ast.Assign) for statement in body)


class _PutIn(ast.NodeTransformer):
    """Puts values in the place of names."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Replace a name that is read; the method's name is the visitor protocol's."""
        if isinstance(node.ctx, ast.Load) and node.id in self.values:
            return copy.deepcopy(self.values[node.id])
        return node


def _is_open(function: ast.FunctionDef) -> bool:
    """Whether a function has no body yet."""
    body = [statement for statement in function.body if not _is_docstring(statement)]
    match body:
        case [] | [ast.Pass()]:
            return True
        case [ast.Expr(value=ast.Constant(value=value))]:
            return value is ...
        case [ast.Raise(exc=ast.Name(id=name) | ast.Call(func=ast.Name(id=name)))]:
            return name == "NotImplementedError"
    return False


def _is_docstring(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; name a file of Python") from error


def _parsed(text: str, path: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():  # about escapes in code that is not ours
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise DataError(f"{path}{where}: it is no Python: {error}; correct it") from error
