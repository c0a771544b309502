"""What a test's source says before anything runs: what it asks of the program, and what cannot be.

A test runs in another process than the program. What it does to its own process (a patched name, a
seed, the environment) does not reach the program.
"""

from __future__ import annotations

import ast
import builtins
import sys

from egcfg.errors import UsageError
from egcfg.interfaces.problem import Problem

__all__ = [
    "SAYS_NOTHING",
    "asks_something",
    "assigned_names",
    "free_modules",
    "parse_test",
    "reason_against",
    "used_builtins",
]

SAYS_NOTHING = "a test calls nothing of the program, so that it says nothing about one"

# Modules whose business is the process that they are used in.
_MODULES = {
    "unittest": "it uses unittest",
    "mock": "it uses mocks",
    "pytest": "it uses pytest",
    "doctest": "it uses doctest",
}
_FUNCTIONS = {
    "random.seed": "it seeds the random numbers of its own process",
    "random.setstate": "it seeds the random numbers of its own process",
    "os.chdir": "it changes the folder of its own process",
    "os.putenv": "it changes the environment of its own process",
    "os.environ": "it uses the environment of its own process",
    "sys.stdin": "it uses the standard input of its own process",
    "sys.argv": "it uses the arguments of its own process",
    "sys.modules": "it uses the modules of its own process",
    "sys.setrecursionlimit": "it sets a limit of its own process",
    "sys.getrecursionlimit": "it uses a limit of its own process",
    "sys.settrace": "it traces its own process",
    "sys.getrefcount": "it counts references in its own process",
    "warnings.catch_warnings": "it looks for warnings of its own process",
    "warnings.simplefilter": "it sets how its own process warns",
    "contextlib.redirect_stderr": "it looks at the standard error of its own process",
    "decimal.getcontext": "it uses the decimal context of its own process",
    "decimal.localcontext": "it uses the decimal context of its own process",
    "decimal.setcontext": "it uses the decimal context of its own process",
    "signal.signal": "it handles signals of its own process",
    "signal.alarm": "it handles signals of its own process",
    "threading.active_count": "it counts threads of its own process",
    "inspect.getsource": "it reads the program's source",
    "inspect.getsourcelines": "it reads the program's source",
    "gc.collect": "it collects the garbage of its own process",
}
# What may reach any name by its text.
_BY_TEXT = {"globals", "locals", "vars", "eval", "exec"}
# The interpreter has integers up to this one once.
SMALL = 256
_SHORT = {"np": "numpy", "pd": "pandas"}
ADVICE = "choose the scorer 'inprocess' for tests that must share the program's process"


def parse_test(source: str, problem: Problem) -> ast.Module:
    """Return a test's syntax tree.

    Raises:
        UsageError: it is no Python.
    """
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"task {problem.task_id}: a test is no Python: {error}; correct the data set: "
            f"{source.strip()[:200]}"
        ) from error


def reason_against(tree: ast.Module) -> str | None:
    """Return why a test cannot be judged from another process; None where it may be."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.partition(".")[0] in _MODULES:
                        return _unsupported(_MODULES[alias.name.partition(".")[0]])
                    aliases[alias.asname or alias.name] = alias.name
            case ast.ImportFrom(module=str(module), names=names, level=0):
                if module.partition(".")[0] in _MODULES:
                    return _unsupported(_MODULES[module.partition(".")[0]])
                for alias in names:
                    aliases[alias.asname or alias.name] = f"{module}.{alias.name}"
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                dotted = f"{aliases.get(name, name)}.{attribute}"
            case ast.Name(id=name) if name in aliases:
                dotted = aliases[name]
            case ast.Call(func=ast.Name(id="dir"), args=[], keywords=[]):
                return _unsupported("it lists the names of its own process")
            case ast.Compare() if _compares_identity_of_literal(node):
                return _unsupported("it asks for the identity of a literal")
            case _:
                continue
        if dotted in _FUNCTIONS:
            return _unsupported(_FUNCTIONS[dotted])
        stored = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if stored and name in aliases and dotted != "sys.stdout":
            return _unsupported(f"it replaces {dotted} in its own process")
    return None


def _compares_identity_of_literal(node: ast.Compare) -> bool:
    """Return whether ``is`` stands beside a literal whose equal may be another object or the same.

    The interpreter has one object for ``None``, a small integer or a single character only.
    """
    sides = [node.left, *node.comparators]
    for left, kind, right in zip(sides, node.ops, sides[1:], strict=False):
        if not isinstance(kind, ast.Is | ast.IsNot):
            continue
        for side in (left, right):
            match side:
                case ast.Constant(value=str() | bytes() as text) if len(text) > 1:
                    return True
                case ast.Constant(value=float() | complex()):
                    return True
                case ast.Constant(value=int(number)) if number > SMALL:
                    return True
                case ast.Tuple(elts=[_, *_]):
                    return True
    return False


def _unsupported(reason: str) -> str:
    return f"the test runs apart from the program, and {reason}; {ADVICE}"


def asks_something(
    tree: ast.Module, entry_point: str, setup: ast.Module | None = None, handed: str | None = None
) -> bool:
    """Return whether a test uses the program at all.

    Args:
        tree: the test.
        entry_point: the program's function, whatever else has its name.
        setup: code that the test relies on: what it defines is not the program's.
        handed: a function that is handed the entry point, and must use it.
    """
    used = _used_names(tree)
    if entry_point in used or used & _BY_TEXT:
        return True
    if handed is None:
        known = set(dir(builtins)) | bound_names(tree)
        if setup is not None and entry_point not in _used_names(setup):
            known |= bound_names(setup)
        return bool(used - known)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == handed:
            arguments = [*node.args.posonlyargs, *node.args.args, node.args.vararg]
            first = next((argument.arg for argument in arguments if argument is not None), None)
            return any(first in _used_names(statement) for statement in node.body)
    # Bound in another way: what it does is seen when it runs.
    return True


def _used_names(tree: ast.AST) -> set[str]:
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def assigned_names(tree: ast.Module) -> tuple[str, ...]:
    """Return the global names that a test assigns, or defines functions of.

    A plain run has the program's in the same place. Modules are left out, and so are classes, which
    tests bring for their own objects.
    """
    found = set()
    waiting: list[ast.AST] = [*tree.body]
    while waiting:
        match node := waiting.pop():
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
                inner = ast.walk(node)
                found.update(
                    n for part in inner if isinstance(part, ast.Global) for n in part.names
                )
                continue
            case ast.ClassDef() | ast.Lambda():
                continue
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                continue
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
        waiting += ast.iter_child_nodes(node)
    return tuple(sorted(found))


def used_builtins(tree: ast.Module) -> tuple[str, ...]:
    """Return the builtins that a test uses by their names, which a program may give to others."""
    known = {name for name in dir(builtins) if not name.startswith("_")}
    return tuple(sorted((_used_names(tree) - bound_names(tree)) & known))


def free_modules(tree: ast.Module) -> dict[str, str]:
    """Return the modules that a test uses without importing them, by the names that it uses.

    MBPP's tests lean on the reference solution's imports. Well-known short names of packages are
    the packages: no program says what they mean.
    """
    used = {
        part.value.id
        for part in ast.walk(tree)
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name)
    }
    known = sys.stdlib_module_names - set(dir(builtins))
    free = sorted(used - bound_names(tree))
    return {name: _SHORT.get(name, name) for name in free if name in known or name in _SHORT}


def bound_names(tree: ast.AST) -> set[str]:
    """Return the names that a piece of code binds anywhere."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ClassDef(name=name):
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                names.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
            case ast.alias(name=name):
                names.add(name.partition(".")[0])
    return names
