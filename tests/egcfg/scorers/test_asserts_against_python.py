"""Verdicts by asserts are plain CPython's, for tests of many forms; or they say `unsupported`."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import TestResult, TestStatus
from egcfg.sandbox import Sandbox
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.judged import ScorerOptions

ALL_FORMS = runpy.run_path(str(Path(__file__).with_name("assert_forms.py")))["all_forms"]
# All forms take a minute: each run takes a part of them, with every test and every program.
EVERY = 1 if os.environ.get("EGCFG_EVERY_FORM") else 4
GOLDEN = Path(__file__).parent / "golden" / "unsupported_asserts.txt"
# Runs each program and its test in one module of a process of its own; prints one word each.
PLAIN = """
import json, os, resource, sys, tempfile
for form in json.load(sys.stdin):
    folder = tempfile.mkdtemp()
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
        os.chdir(folder)
        os.environ["TMPDIR"] = folder
        tempfile.tempdir = None
        for number in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
        import types
        module = types.ModuleType("program")
        sys.modules["program"] = module
        status = 1
        try:
            for code in form:
                exec(compile(code, "<code>", "exec"), module.__dict__)
            status = 0
        finally:
            os._exit(status)
    print("passed" if os.waitpid(pid, 0)[1] == 0 else "not")
"""


def plain_verdicts(forms: list[Any], folder: Path) -> list[bool]:
    """Return what CPython says: whether each form's setup, program and test run through."""
    content = json.dumps([[form.setup, form.program, form.test] for form in forms])
    done = subprocess.run(
        [sys.executable, "-c", PLAIN],
        input=content,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
        env={"TMPDIR": str(folder)},
    )
    return [line == "passed" for line in done.stdout.split()]


async def judged(forms: list[Any], sandbox: Sandbox) -> list[TestResult]:
    scorer = AssertsScorer(ScorerOptions(cpu_seconds=2, wall_seconds=20))
    waiting = iter(enumerate(forms))
    results: dict[int, TestResult] = {}

    async def work() -> None:
        for number, form in waiting:
            problem = Problem(
                task_id=form.name,
                description="",
                entry_point="f",
                visible_tests=(),
                hidden_tests=(AssertTest(form.test),),
                setup_code=form.setup,
            )
            score = await scorer.score(problem, form.program, sandbox)
            results[number] = score.results[0]

    await asyncio.gather(*(work() for _ in range(sandbox.workers)))
    return [results[number] for number in range(len(forms))]


def test_verdicts_are_those_of_plain_python(
    run: Callable[[Coroutine[Any, Any, Any]], Any], tmp_path: Path
) -> None:
    forms = [form for form in ALL_FORMS() if form.number % EVERY == 0]
    assert len(forms) > 300
    right = plain_verdicts(forms, tmp_path)
    with closing(Sandbox()) as sandbox:
        results = run(judged(forms, sandbox))
    assert len(right) == len(results) == len(forms)
    golden = dict(line.split(": ", 1) for line in GOLDEN.read_text().splitlines())
    wrong, unsupported = [], {}
    for form, passes, result in zip(forms, right, results, strict=True):
        if result.status is TestStatus.UNSUPPORTED:
            unsupported[form.name] = result.error
        elif (result.status is TestStatus.PASSED) != passes:
            wrong.append((form.name, form.program, form.test, passes, result.status, result.error))
    assert wrong == []
    names = {form.name for form in forms}
    assert unsupported == {name: why for name, why in golden.items() if name in names}
