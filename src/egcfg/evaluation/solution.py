"""What a method's attempts come to: each judged by the tests that decide, and one solution."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from attrs import evolve

from egcfg.bench import MadeAttempt, TaskBench
from egcfg.evaluation.samples import continuation
from egcfg.interfaces.method import Attempt, Configuration
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import Score
from egcfg.interfaces.solution import FinishReason, Generation, JudgedAttempt, Solution

__all__ = ["judged_solution"]


async def judged_solution(
    problem: Problem,
    configuration: Configuration,
    bench: TaskBench,
    made: Sequence[MadeAttempt],
    started: datetime,
    score_of: Callable[[str], Awaitable[Score]],
) -> Solution:
    """Return the solution: every attempt judged by the tests that decide.

    Args:
        problem: what was asked.
        configuration: how it was first decoded.
        bench: where it was worked on.
        made: the attempts that gave another answer than before, in their order.
        started: when that was.
        score_of: judges a program by the tests that decide.

    Raises:
        EgcfgError: as `score_of` does.
    """
    spent = bench.spent
    programs = list(dict.fromkeys([*(each.attempt.program for each in made)] or [""]))
    scores = {program: await score_of(program) for program in programs}
    seen = {p: await _by_visible_tests(bench, problem, p, s) for p, s in scores.items()}
    if bench.recorder is not None:
        for program, score in scores.items():
            bench.recorder.verdicts(program, seen[program], score)
    last = made[-1].attempt if made else Attempt(program="", stage="")
    score = scores[last.program]
    if not made:
        why = bench.model.refusal or "the method gave none; choose another --method"
        score = evolve(score, general_error=f"there is no answer: {why}")
    generation = last.generation or Generation(
        response=last.program, code=last.program, ids=(), finish=FinishReason.ANSWERED
    )
    return Solution(
        task_id=problem.task_id,
        settings=configuration.settings,
        # What came after the last attempt was spent as well.
        generation=evolve(generation, usage=dict(bench.model.usage)),
        score=score,
        attempts=tuple(
            JudgedAttempt(
                program=each.attempt.program,
                stage=each.attempt.stage,
                passed=scores[each.attempt.program].passed,
                visible=seen[each.attempt.program].passed if problem.visible_tests else None,
                spent=each.spent,
            )
            for each in made
        ),
        completion=continuation(problem.given_code, last.program),
        tests_seen=tuple(test.name for test in problem.visible_tests),
        resolved=bench.model.resolved,
        isolation=(await bench.sandbox.report()).findings,
        started=started,
        ended=datetime.now(UTC),
        events=dict(bench.events),
        spent=spent,
        unfinished=bench.cut_short,
    )


async def _by_visible_tests(
    bench: TaskBench, problem: Problem, program: str, score: Score
) -> Score:
    """Return the verdicts of the visible tests; those that score are not run again."""
    tests = problem.visible_tests
    if not all(test in problem.scoring_tests for test in tests):
        [seen] = await bench.judge([program])
        return seen
    names = {test.name for test in tests}
    return evolve(score, results=[each for each in score.results if each.name in names])
