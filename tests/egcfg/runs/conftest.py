"""A solver without a model, at the seam where a run calls the engine."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from attrs import define, field

from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.method import Configuration
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.interfaces.solution import (
    FinishReason,
    Generation,
    JudgedAttempt,
    LineStep,
    Solution,
    Spent,
    Stage,
)
from egcfg.interfaces.usage import Usage
from egcfg.records.recorder import Recorder
from egcfg.runs.results import Result
from egcfg.runs.store import ResultsFolder

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def always(_problem: Problem, _settings: DecodingSettings) -> bool:
    return True


@define
class FakeSolver:
    """Solves what `passes` says, in no time; `before` may raise what a backend would, or wait.

    Attributes:
        solved: the task, gamma and prompt builder of each call.
    """

    passes: Callable[[Problem, DecodingSettings], bool] = always
    before: Callable[[Problem, DecodingSettings], object] = always
    solved: list[tuple[str, float, str | None]] = field(factory=list)

    async def __call__(
        self,
        problem: Problem,
        *,
        configurations: Sequence[Configuration],
        attempts_stand: bool,  # noqa: ARG002 - it makes one
        recorder: Recorder | None,
    ) -> AsyncGenerator[LineStep | Solution, None]:
        settings, prompt = configurations[0].settings, configurations[0].prompt
        waits = self.before(problem, settings)
        if inspect.isawaitable(waits):
            await waits
        self.solved.append((problem.task_id, settings.gamma, prompt))
        if recorder is not None:
            recorder.note("solved", {"gamma": settings.gamma})
        yield LineStep(index=0, in_code=True, text="def f(n):\n", tokens=())
        status = TestStatus.PASSED if self.passes(problem, settings) else TestStatus.FAILED
        yield solution(problem, settings, [status for _ in problem.scoring_tests])

    @property
    def units(self) -> list[tuple[str, float]]:
        """The task and gamma of each call."""
        return [(task, gamma) for task, gamma, _ in self.solved]


def solution(problem: Problem, settings: DecodingSettings, statuses: list[TestStatus]) -> Solution:
    code = f"def f(n):\n    return n  # gamma {settings.gamma}\n"
    usage = Usage(
        forward_passes=7, forward_tokens=90, input_tokens=60, output_tokens=30, seconds=1.25
    )
    results = [
        TestResult(
            name=test.name,
            status=status,
            seconds=0.01,
            error=None if status is TestStatus.PASSED else "AssertionError",
        )
        for test, status in zip(problem.scoring_tests, statuses, strict=True)
    ]
    return Solution(
        task_id=problem.task_id,
        settings=settings,
        generation=Generation(
            response=f"```python\n{code}```",
            code=code,
            ids=(1, 2, 3),
            finish=FinishReason.CODE_END,
            usage={Stage.PREFIX: Usage(forward_passes=1, input_tokens=40), Stage.GUIDED: usage},
            execution_seconds=0.5,
            signals=2,
            tokens_changed=1,
            tokens_drafted=4,
        ),
        score=Score(results=results),
        attempts=(
            JudgedAttempt(
                program=code,
                stage="decode",
                passed=True,
                visible=True,
                spent=Spent(usage=usage, calls=3, executions=5),
            ),
        ),
        spent=Spent(usage=usage, calls=4, executions=6),
        tests_seen=tuple(test.name for test in problem.visible_tests),
        isolation={"rlimits": "active", "seccomp": "not on this kernel"},
        started=START,
        ended=START + timedelta(seconds=3661.5),
    )


def problem(task_id: str, tests: int = 2) -> Problem:
    return Problem(
        task_id=task_id,
        description="Return n.",
        entry_point="f",
        visible_tests=[AssertTest(f"assert f({n}) == {n}") for n in range(tests)],
    )


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    return problem


@pytest.fixture
def make_solution() -> Callable[..., Solution]:
    def make(
        statuses: tuple[TestStatus, ...] = (TestStatus.PASSED, TestStatus.PASSED),
        task_id: str = "395",
        gamma: float = 1.0,
    ) -> Solution:
        return solution(
            problem(task_id, len(statuses)), DecodingSettings(gamma=gamma), list(statuses)
        )

    return make


@pytest.fixture
def make_result(make_solution: Callable[..., Solution]) -> Callable[..., Result]:
    def make(*, passed: bool = True, task_id: str = "395") -> Result:
        status = TestStatus.PASSED if passed else TestStatus.FAILED
        return Result.of_solution(make_solution((status, status), task_id))

    return make


@pytest.fixture
def solver() -> FakeSolver:
    return FakeSolver()


@pytest.fixture
def folder(tmp_path) -> ResultsFolder:
    return ResultsFolder(tmp_path / "results", "mbpp", "org/tiny")
