"""Rounds: each unsolved task makes one attempt per round, whatever ends the run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import Any

import attrs
import pytest
from attrs import define, field

from egcfg.bench import MadeAttempt
from egcfg.errors import BackendError, BudgetError, PluginError, SandboxError
from egcfg.interfaces.method import Attempt
from egcfg.interfaces.scorer import TestStatus
from egcfg.interfaces.solution import LineStep, Solution, Spent
from egcfg.interfaces.usage import Usage
from egcfg.runs.claims import Claims
from egcfg.runs.config_string import SignalConfig
from egcfg.runs.folder import scan
from egcfg.runs.grid import Grid
from egcfg.runs.observer import RunObserver, RunSummary
from egcfg.runs.runner import run as run_units
from egcfg.runs.store import ResultsFolder
from egcfg.usage.budget import Budget, Meter

CONFIG = SignalConfig.parse("ns2t0.75d2_ln")
OTHER = SignalConfig.parse("ns2t0.75d2_lci_ln")
MOST_ATTEMPTS = 6
REQUEST = Usage(requests=1, input_tokens=10, output_tokens=10)


def attempts_of(task: str) -> int:
    """Return after how many attempts a task is solved; one above `MOST_ATTEMPTS` never is."""
    return 1 + int(task) % 7


@define
class Trying:
    """Makes attempts, each of which costs a request, until one passes the visible tests.

    Attributes:
        meter: counts the requests.
        before: may raise what a backend would, or wait.
        made: the task and number of each attempt, in the order in which they ended.
        turns: the asyncio task in which each attempt was made.
        left: tasks whose work was given up before its end.
    """

    make_solution: Callable[..., Solution]
    meter: Meter = field(factory=Meter)
    before: Callable[[str, int], Any] = lambda *_: None
    made: list[tuple[str, int]] = field(factory=list)
    turns: list[Any] = field(factory=list)
    left: list[str] = field(factory=list)

    async def __call__(
        self,
        problem: Any,
        *,
        configurations: Any,
        attempts_stand: bool,
        recorder: Any,  # noqa: ARG002 - nothing is recorded
    ) -> AsyncGenerator[LineStep | MadeAttempt | Solution, None]:
        task, settings = problem.task_id, configurations[0].settings
        over, number, refused = False, 0, False
        try:
            while number < MOST_ATTEMPTS and not over:
                try:
                    self.meter.check()
                    self.meter.add(REQUEST)
                except BudgetError:
                    if not (number and attempts_stand):
                        raise
                    refused = True
                    break
                number += 1
                waits = self.before(task, number)
                if waits is not None:
                    await waits
                self.made.append((task, number))
                self.turns.append(asyncio.current_task())
                yield LineStep(index=number, in_code=True, text="x\n", tokens=())
                over = number == attempts_of(task)
                attempt = Attempt(program=f"# {number}", stage="try")
                spent = Spent(usage=Usage(output_tokens=20 * number))
                yield MadeAttempt(attempt=attempt, spent=spent, share=float(over))
            over = True
        finally:
            if not over and not refused:
                self.left.append(task)
        solved = number == attempts_of(task)
        status = TestStatus.PASSED if solved else TestStatus.FAILED
        solution = self.make_solution((status,), task, settings.gamma)
        yield attrs.evolve(solution, unfinished=refused)


@pytest.fixture
def trying(make_solution: Callable[..., Solution]) -> Trying:
    return Trying(make_solution)


@pytest.fixture
def grid(make_problem: Callable[..., Any]) -> Grid:
    problems = [make_problem(str(number), tests=1) for number in range(10)]
    return Grid(problems=problems, configs=[CONFIG], gammas=[0], method="trying")


def work(
    grid: Grid, folder: ResultsFolder, solve: Any, *, at_once: int = 1, **options: Any
) -> RunSummary:
    async def open_model() -> int:
        return at_once

    given = {"open_model": open_model, "rounds": True, **options}
    return asyncio.run(run_units(grid, folder, solve, **given))


def all_free(grid: Grid, folder: ResultsFolder) -> bool:
    """Whether every unit can be taken by others, this process living on."""
    with Claims() as claims:
        return all(
            claims.free(folder.claim_path(str(u.config), u.problem.task_id, u.gamma)) for u in grid
        )


def per_task(made: list[tuple[str, int]]) -> Counter[str]:
    return Counter(task for task, _ in made)


@pytest.mark.parametrize("at_once", [1, 3, 16])
def test_no_attempt_begins_before_every_unsolved_task_has_made_the_one_before(
    grid: Grid, folder: ResultsFolder, trying: Trying, at_once: int
) -> None:
    begun: list[tuple[str, int]] = []

    async def take_long(task: str) -> None:
        for _ in range(1 + 7 * int(task) % 5):
            await asyncio.sleep(0)

    def before(task: str, number: int) -> Any:
        begun.append((task, number))
        unsolved = {str(n) for n in range(10) if attempts_of(str(n)) >= number}
        earlier = {t for t, n in trying.made if n == number - 1}
        assert number == 1 or unsolved <= earlier
        return take_long(task)

    trying.before = before
    summary = work(grid, folder, trying, at_once=at_once)
    assert (summary.finished, summary.complete, summary.unfinished) == (10, True, 0)
    rounds = [number for _, number in begun]
    assert rounds == sorted(rounds)
    assert per_task(trying.made) == {
        str(n): min(MOST_ATTEMPTS, attempts_of(str(n))) for n in range(10)
    }
    assert trying.left == []
    assert all_free(grid, folder)


def test_the_results_are_those_of_one_task_after_the_other(
    grid: Grid, tmp_path: Any, make_solution: Callable[..., Solution]
) -> None:
    found = []
    for rounds in (True, False):
        folder = ResultsFolder(tmp_path / str(rounds), "set", "m")
        trying = Trying(make_solution)
        work(grid, folder, trying, rounds=rounds)
        found.append({r.task_id: r.result for r in scan(folder.results_dir) if r.result})
        order = [task for task, _ in trying.made]
        assert (order == sorted(order)) is not rounds
    alone = {
        task: attrs.evolve(result, stats=attrs.evolve(result.stats, concurrency=1))
        for task, result in found[0].items()
        if result.stats is not None
    }
    assert alone == found[1]


def test_each_turn_is_an_asyncio_task_of_its_own(
    grid: Grid, folder: ResultsFolder, trying: Trying
) -> None:
    work(grid, folder, trying, at_once=3)
    assert len(set(trying.turns)) == len(trying.made) > 20


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("requests", range(10, 32, 3))
def test_the_end_of_a_budget_leaves_all_tasks_tried_alike_and_their_last_answers_stand(
    grid: Grid, folder: ResultsFolder, trying: Trying, requests: int, at_once: int
) -> None:
    trying.meter = Meter(Budget(max_requests=requests))
    summary = work(grid, folder, trying, at_once=at_once, meter=trying.meter)
    assert summary.ended_early is not None
    assert len(trying.made) == requests
    numbers = [
        n for task, n in per_task(trying.made).items() if n < min(attempts_of(task), MOST_ATTEMPTS)
    ]
    assert max(numbers) - min(numbers) <= 1
    results = {record.task_id: record.result for record in summary.files if record.result}
    assert len(results) == 10
    over = {task for task, number in trying.made if number == min(attempts_of(task), MOST_ATTEMPTS)}
    assert {task for task, result in results.items() if result.unfinished} == results.keys() - over
    assert summary.unfinished == sum(result.unfinished for result in results.values())
    assert summary.finished == 10 - summary.unfinished
    assert not summary.complete
    assert all_free(grid, folder)


def test_what_was_cut_short_is_done_anew_with_a_larger_budget(
    grid: Grid, folder: ResultsFolder, trying: Trying, make_solution: Callable[..., Solution]
) -> None:
    trying.meter = Meter(Budget(max_requests=20))
    first = work(grid, folder, trying, meter=trying.meter)
    cut = {r.task_id for r in first.files if r.result and r.result.unfinished}
    assert cut

    again = Trying(make_solution)
    summary = work(grid, folder, again)
    assert (summary.done_before, summary.finished) == (10 - len(cut), len(cut))
    assert summary.complete
    assert {task for task, _ in again.made} == cut
    assert min(n for _, n in again.made) == 1
    assert not any(r.result.unfinished for r in summary.files if r.result)


def test_tasks_that_had_no_attempt_at_the_end_of_a_budget_stay_undone(
    grid: Grid, folder: ResultsFolder, trying: Trying
) -> None:
    trying.meter = Meter(Budget(max_requests=4))
    summary = work(grid, folder, trying, meter=trying.meter)
    assert [r.task_id for r in summary.files] == ["0", "1", "2", "3"]
    assert (summary.finished, summary.unfinished) == (1, 3)


def test_one_task_after_the_other_is_not_cut_short(
    grid: Grid, folder: ResultsFolder, trying: Trying
) -> None:
    trying.meter = Meter(Budget(max_requests=5))
    summary = work(grid, folder, trying, rounds=False, meter=trying.meter)
    # The first two tasks take one request and two, and the third takes three.
    assert (summary.finished, summary.unfinished) == (2, 0)
    assert trying.left == ["2"]


def test_a_cancelled_run_leaves_the_suspended_undone_and_free(
    grid: Grid, folder: ResultsFolder, trying: Trying, make_solution: Callable[..., Solution]
) -> None:
    async def scenario() -> None:
        third = asyncio.Event()

        def before(task: str, number: int) -> Any:
            if (task, number) == ("5", 3):
                third.set()
                return asyncio.Event().wait()
            return None

        trying.before = before

        async def open_model() -> int:
            return 2

        running = asyncio.create_task(
            run_units(grid, folder, trying, open_model=open_model, rounds=True)
        )
        await third.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    done = {"0", "1", "7", "8"} | {"2"} & {task for task, number in trying.made if number == 3}
    assert {record.task_id for record in scan(folder.results_dir)} == done
    assert set(trying.left) == {str(number) for number in range(10)} - done
    assert all_free(grid, folder)

    again = Trying(make_solution)
    assert work(grid, folder, again).complete
    assert {task for task, number in again.made if number == 1} == {
        str(number) for number in range(10)
    } - done


@pytest.mark.parametrize("error", [SandboxError, PluginError, KeyError])
def test_a_fatal_error_leaves_the_suspended_undone_and_free(
    grid: Grid, folder: ResultsFolder, trying: Trying, error: type[Exception]
) -> None:
    def before(task: str, number: int) -> None:
        if (task, number) == ("4", 2):
            raise error("the end")

    trying.before = before
    with pytest.raises(error, match="the end"):
        work(grid, folder, trying)
    assert [record.task_id for record in scan(folder.results_dir)] == ["0", "1", "7"]
    assert set(trying.left) == set("2345689")
    assert all_free(grid, folder)


def test_a_model_that_fails_in_a_later_round_leaves_that_task_alone_undone(
    grid: Grid, folder: ResultsFolder, trying: Trying
) -> None:
    def before(task: str, number: int) -> None:
        if (task, number) == ("4", 3):
            raise BackendError("busy")

    trying.before = before
    summary = work(grid, folder, trying)
    assert [unit.problem.task_id for unit, _ in summary.failures] == ["4"]
    assert (summary.finished, summary.complete) == (9, False)
    assert all_free(grid, folder)


def test_results_say_that_the_tasks_shared_their_time(
    grid: Grid, folder: ResultsFolder, trying: Trying
) -> None:
    summary = work(grid, folder, trying)
    shared = {r.task_id: r.result.stats.concurrency for r in summary.files if r.result}
    assert shared["0"] == 1  # solved before any other began
    assert {shared[task] for task in "23456"} == {8}  # that waited after the first round


def test_the_observer_hears_of_rounds_and_of_those_that_wait(
    make_problem: Callable[..., Any], folder: ResultsFolder, trying: Trying
) -> None:
    events: list[tuple[Any, ...]] = []

    class Log(RunObserver):
        def round_started(self, number: int, units: int) -> None:
            events.append(("round", number, units))

        def unit_started(self, unit: Any) -> None:
            events.append(("start", unit.problem.task_id))

        def unit_suspended(self, unit: Any) -> None:
            events.append(("wait", unit.problem.task_id))

        def unit_finished(self, unit: Any, result: Any) -> None:
            events.append(("end", unit.problem.task_id, result.passed))

    problems = [make_problem(str(number), tests=1) for number in (0, 1)]
    grid = Grid(problems=problems, configs=[CONFIG], gammas=[0], method="trying")
    work(grid, folder, trying, observer=Log())
    assert events == [
        ("round", 1, 2),
        *[("start", "0"), ("end", "0", True)],
        *[("start", "1"), ("wait", "1")],
        ("round", 2, 1),
        *[("start", "1"), ("end", "1", True)],
    ]


def test_a_configuration_and_gamma_is_an_attempt_of_its_own(
    make_problem: Callable[..., Any], folder: ResultsFolder, solver: Any
) -> None:
    grid = Grid(
        problems=[make_problem(str(number)) for number in range(3)],
        configs=[CONFIG, OTHER],
        gammas=[0, 1],
    )
    # Task n is solved in the n-th round, counted from 0.
    solver.passes = lambda problem, _: (
        int(problem.task_id) < sum(task == problem.task_id for task, *_ in solver.solved)
    )
    summary = work(grid, folder, solver, stop_when_solved=True, at_once=2)
    assert [sorted(task for task, *_ in batch) for batch in _batches(solver.solved)] == [
        ["0", "1", "2"],
        ["1", "2"],
        ["2"],
    ]
    assert (summary.finished, summary.skipped, summary.complete) == (6, 6, True)


def _batches(solved: list[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    """Return what was solved, cut where another configuration and gamma begins."""
    batches: list[list[tuple[Any, ...]]] = []
    for one in solved:
        if not batches or batches[-1][-1][1:] != one[1:]:
            batches.append([])
        batches[-1].append(one)
    return batches
