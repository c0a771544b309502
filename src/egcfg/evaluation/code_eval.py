"""The metric ``code_eval`` of ``evaluate`` and lm-evaluation-harness, judged in the sandbox.

A reference is code that is run after a prediction: asserts, or a ``check`` and its call. Here it
runs in a process of its own, which calls the prediction's functions in theirs.
"""

from __future__ import annotations

import ast
import builtins
import functools
import sys
from collections.abc import Sequence
from typing import Any

from egcfg.errors import MissingExtraError, SandboxError, UsageError
from egcfg.evaluation.reward import Reward, judge_blocking
from egcfg.evaluation.samples import Sample
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import TestStatus
from egcfg.reports.pass_at_k import mean_pass_at_k
from egcfg.sandbox import Sandbox
from egcfg.scorers.test_source import bound_names

__all__ = ["CodeEval"]


class CodeEval:
    """Takes the place of what ``evaluate.load("code_eval")`` returns."""

    def __init__(self, *, scorer: str = "asserts", sandbox: Sandbox | None = None) -> None:
        """Prepare for `compute`; nothing is started yet.

        Args:
            scorer: ``asserts``; or ``inprocess`` for references that must share the prediction's
                process (mocks, ``unittest``), which a prediction can forge.
            sandbox: where predictions run; None: the one that all calls of `egcfg.reward` share.
        """
        self.scorer = scorer
        self.sandbox = sandbox

    def compute(
        self,
        *,
        predictions: Sequence[Sequence[str]],
        references: Sequence[str],
        k: int | Sequence[int] = (1, 10, 100),
        timeout: float = 3.0,
        num_workers: int | None = None,  # noqa: ARG002 - callers of code_eval pass it
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, dict[str, Any]]]]]:
        """Return pass@k, and the verdict of each prediction.

        Args:
            predictions: of each task its candidate programs, taken as they stand.
            references: of each task the code that decides.
            k: the k of pass@k; those that a task has too few predictions for are left out.
            timeout: seconds of processor time for one prediction; real time may take three times
                as long.
            num_workers: has no effect: the sandbox says how many run at once.

        Returns:
            ``{"pass@1": ...}``, from 0 to 1; and by the task's place the numbers of its predictions
            with ``task_id``, ``completion_id``, ``passed`` and ``result`` ("passed", "timed out" or
            "failed: ..." with the cause).

        Raises:
            UsageError: predictions and references do not pair up, or a reference is no Python.
            SandboxError: the sandbox failed on a prediction, so that there is no verdict on it.
        """
        if len(predictions) != len(references) or not references:
            raise UsageError(
                f"{len(predictions)} lists of predictions and {len(references)} references; give "
                "one reference, as text, and one list of programs per task"
            )
        problems = [
            _problem(number, reference, timeout, self.scorer)
            for number, reference in enumerate(references)
        ]
        places = [(task, n) for task, each in enumerate(predictions) for n in range(len(each))]
        samples = (
            Sample(problem=problems[task], program=predictions[task][n], line=line)
            for line, (task, n) in enumerate(places, start=1)
        )
        results: dict[int, list[tuple[int, dict[str, Any]]]] = {
            task: [] for task in range(len(references))
        }
        for (task, n), judged in zip(places, judge_blocking(samples, self.sandbox), strict=True):
            results[task].append((n, _entry(task, n, judged)))
        counts = [
            (len(entries), sum(entry["passed"] for _, entry in entries))
            for entries in results.values()
        ]
        fewest = min(samples for samples, _ in counts)
        wanted = [k] if isinstance(k, int) else k
        return {f"pass@{n}": mean_pass_at_k(counts, n) for n in wanted if n <= fewest}, results

    def install(self) -> None:
        """Make ``evaluate.load("code_eval")`` return this object, in this process from now on.

        lm-evaluation-harness calls it when it opens a task: install before that.

        Raises:
            MissingExtraError: the package ``evaluate`` is not installed.
        """
        try:
            import evaluate
        except ImportError as error:
            raise MissingExtraError(
                "the package evaluate, whose code_eval is to be replaced, is not installed: "
                "pip install evaluate (lm-eval brings it)"
            ) from error
        load = evaluate.load

        @functools.wraps(load)
        def load_other(path: str, *args: Any, **options: Any) -> Any:
            return self if path == "code_eval" else load(path, *args, **options)

        evaluate.load = load_other


def _problem(number: int, reference: str, timeout: float, scorer: str) -> Problem:
    test = AssertTest(reference)
    return Problem(
        task_id=f"reference {number}",
        description="",
        entry_point=_tested_name(ast.parse(test.source)),
        visible_tests=(),
        hidden_tests=[test],
        time_limit=timeout,
        scorer=scorer,
    )


def _tested_name(tree: ast.Module) -> str:
    """Return the first name that a reference calls and neither it nor Python defines; or none."""
    known = bound_names(tree) | set(dir(builtins)) | sys.stdlib_module_names
    names = [
        (node.lineno, node.col_offset, node.id)
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id not in known
    ]
    return min(names)[2] if names else ""


def _entry(task: int, number: int, judged: Reward) -> dict[str, Any]:
    if judged.status is TestStatus.SANDBOX_ERROR:
        raise SandboxError(
            f"the sandbox failed on prediction {number} of task {task}: {judged.error}; "
            "`egcfg doctor` checks the sandbox"
        )
    if judged.status is TestStatus.TIMEOUT:
        result = "timed out"
    else:
        result = "passed" if judged.passed else f"failed: {judged.error}"
    return {"task_id": task, "passed": judged.passed, "result": result, "completion_id": number}
