"""Judges by assert statements about a function, as MBPP has them.

Of ``assert f(2) == 4`` only ``f(2)`` goes to the program's process; the value that comes back is
compared where the program never was. Calls whose arguments use names of the test itself (a loop's
variable) send the arguments by value; all others are evaluated by their source, so that they may
use classes that the program defines.
"""

from __future__ import annotations

import ast
import builtins
import sys
from typing import ClassVar

from egcfg.errors import UsageError
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import Score, Scorer
from egcfg.sandbox.confined.judge import EVALUATE
from egcfg.sandbox.judging import Judgement
from egcfg.sandbox.service import Sandbox
from egcfg.scorers.judged import ScorerOptions, judge_all, no_code, wrong_kind

__all__ = ["AssertsScorer", "free_modules", "split_calls"]


class AssertsScorer(Scorer):
    """Assert statements about a function (MBPP)."""

    Options: ClassVar[type] = ScorerOptions

    def __init__(self, options: ScorerOptions) -> None:
        self.options = options

    def check(self, problem: Problem) -> None:
        """See that every test is an assert about the problem's function.

        Raises:
            UsageError: the problem names no function, or a test is no assert or no Python.
        """
        self._trees(problem)

    async def score(self, problem: Problem, code: str, sandbox: Sandbox) -> Score:
        """Judge `code` by each assert, every one with a fresh process of the program.

        Raises:
            SandboxError: the sandbox runs no program, not even an empty one.
            UsageError: as `check`.
        """
        judgements = self._judgements(problem, code)
        return await judge_all(judgements, sandbox) if code.strip() else no_code(judgements)

    def _trees(self, problem: Problem) -> tuple[str, dict[str, ast.Module]]:
        """Return the function's name, and each test's syntax tree by its name."""
        if problem.entry_point is None:
            raise UsageError(
                f"task {problem.task_id}: asserts need a function's name; set its entry_point"
            )
        trees = {}
        for test in problem.scoring_tests:
            if not isinstance(test, AssertTest):
                raise wrong_kind(problem, test, "asserts", "assert statements")
            trees[test.name] = parse_test(test.source, problem)
        return problem.entry_point, trees

    def _judgements(self, problem: Problem, code: str) -> dict[str, Judgement]:
        entry_point, trees = self._trees(problem)
        return {
            name: Judgement(
                source=code,
                test=split_calls(tree, entry_point),
                entry_point=entry_point,
                setup=problem.setup_code,
                given=problem.given_code,
                modules=free_modules(tree),
                limits=problem.limits(self.options.limits),
            )
            for name, tree in trees.items()
        }


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


def split_calls(tree: ast.Module, function: str) -> str:
    """Return a test's source with the calls of `function` replaced by remote evaluations.

    A call whose source uses names that the test itself binds stays a call: its arguments are sent
    by value.
    """
    splitter = _Splitter(function, _bound_names(tree))
    return ast.unparse(ast.fix_missing_locations(splitter.visit(tree)))


class _Splitter(ast.NodeTransformer):
    def __init__(self, function: str, bound: set[str]) -> None:
        self.function = function
        self.bound = bound

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Replace the outermost calls; the name is the visitor protocol's."""
        named = isinstance(node.func, ast.Name) and node.func.id == self.function
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        if not named or names & self.bound:
            return self.generic_visit(node)
        return ast.Call(ast.Name(EVALUATE, ast.Load()), [ast.Constant(ast.unparse(node))], [])


def free_modules(tree: ast.Module) -> tuple[str, ...]:
    """Return the standard modules that a test uses by name without importing them.

    MBPP's tests lean on the reference solution's imports.
    """
    used = {
        part.value.id
        for part in ast.walk(tree)
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name)
    }
    known = sys.stdlib_module_names - set(dir(builtins))
    return tuple(sorted((used & known) - _bound_names(tree)))


def _bound_names(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                names.add(name)
            case ast.alias(name=name):
                names.add(name.partition(".")[0])
    return names
