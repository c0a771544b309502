import asyncio

import attrs
import pytest

from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import (
    BackendError,
    BudgetError,
    CapabilityError,
    ContextOverflowError,
    PluginError,
    RunError,
    SandboxError,
    UsageError,
)
from egcfg.interfaces.scorer import TestStatus
from egcfg.interfaces.usage import Usage
from egcfg.records.entries import NoteEntry, UnitEntry
from egcfg.records.reading import read_record_of
from egcfg.records.recorder import Recorder
from egcfg.runs.claims import Claims
from egcfg.runs.config_string import SignalConfig
from egcfg.runs.folder import scan
from egcfg.runs.grid import Grid
from egcfg.runs.observer import RunObserver
from egcfg.runs.runner import run as run_units
from egcfg.runs.store import FileState, ResultsFolder
from egcfg.usage.budget import Budget, Meter
from egcfg.usage.ledger import FolderLedger

CONFIG = SignalConfig.parse("ns2t0.75d2_ln")
LONG = SignalConfig.parse("ns2t0.75d2_lci_ln")


async def nothing_may_be_opened():
    raise AssertionError("nothing may be opened")


def run(grid, folder, solve, *, at_once=1, **options):
    async def open_model():
        return at_once

    return asyncio.run(run_units(grid, folder, solve, **{"open_model": open_model, **options}))


def grid_records(grid, folder):
    found = (folder.read(str(unit.config), unit.problem.task_id, unit.gamma) for unit in grid)
    return [record for record in found if record is not None]


@pytest.fixture
def grid(make_problem):
    problems = [make_problem("HumanEval/0"), make_problem("2")]
    return Grid(problems=problems, configs=[CONFIG], gammas=[0, 1])


class Log(RunObserver):
    """Writes down what it is told."""

    def __init__(self):
        self.events = []

    def run_started(self, total, done):
        self.events.append(("run_started", total, done))

    def unit_started(self, unit):
        self.events.append(("unit_started", unit.problem.task_id, unit.gamma))

    def line_decided(self, unit, step):
        self.events.append(("line_decided", unit.gamma, step.text))

    def unit_finished(self, unit, result):
        self.events.append(("unit_finished", unit.problem.task_id, unit.gamma, result.passed))

    def unit_failed(self, unit, error):
        self.events.append(("unit_failed", unit.problem.task_id, unit.gamma, str(error)))

    def run_finished(self, summary):
        self.events.append(("run_finished", summary.done))


def failing(error, *, tasks=None):
    def before(problem, _settings):
        if tasks is None or problem.task_id in tasks:
            raise error

    return before


def test_a_run_solves_every_unit_once_and_writes_it(grid, folder, solver):
    solver.passes = lambda _, settings: settings.gamma == 1
    summary = run(grid, folder, solver)
    units = [("HumanEval/0", 0.0), ("HumanEval/0", 1.0), ("2", 0.0), ("2", 1.0)]
    assert solver.units == units
    assert (summary.total, summary.finished, summary.passed, summary.complete) == (4, 4, 2, True)
    records = grid_records(grid, folder)
    assert list(summary.files) == records
    assert [(r.task_id, r.gamma, r.result.passed) for r in records if r.result] == [
        (*unit, unit[1] == 1) for unit in units
    ]
    assert scan(folder.results_dir) == sorted(records, key=lambda record: record.path)


def test_units_are_decoded_with_their_own_settings_on_top_of_the_shared_ones(
    make_problem, folder, solver
):
    seen = []
    solver.before = lambda _, settings: seen.append(settings)
    base = DecodingSettings(max_tokens=77, seed=3)
    grid = Grid(problems=[make_problem("1")], configs=[CONFIG], gammas=[0.5])
    run(grid, folder, solver, settings=base)
    assert seen == [CONFIG.settings(base, gamma=0.5)]
    assert (seen[0].max_tokens, seen[0].candidates, seen[0].gamma) == (77, 2, 0.5)


def test_running_again_solves_nothing_and_opens_no_model(grid, folder, solver):
    run(grid, folder, solver)

    summary = run(grid, folder, solver, open_model=nothing_may_be_opened)
    assert (summary.done_before, summary.finished, summary.complete) == (4, 0, True)


def test_running_again_goes_on_with_what_is_missing(grid, folder, solver):
    run(grid, folder, solver)
    paths = [record.path for record in grid_records(grid, folder)]
    paths[0].unlink()
    paths[1].write_bytes(b"")
    paths[2].write_bytes(b'{"code": ')
    solver.solved.clear()
    summary = run(grid, folder, solver)
    assert solver.units == [("HumanEval/0", 0.0), ("HumanEval/0", 1.0), ("2", 0.0)]
    assert (summary.done_before, summary.finished) == (1, 3)
    assert {record.state for record in grid_records(grid, folder)} == {FileState.DONE}


def test_more_tasks_and_gammas_can_be_added_later(make_problem, folder, solver):
    for tasks, gammas in (("1", [1]), ("12", [1]), ("12", [0, 1, 3])):
        problems = [make_problem(task) for task in tasks]
        run(Grid(problems=problems, configs=[CONFIG], gammas=gammas), folder, solver)
    assert len(solver.solved) == len(set(solver.solved)) == 6


def test_the_observer_hears_everything_in_order(make_problem, folder, solver):
    log = Log()
    grid = Grid(problems=[make_problem("1")], configs=[CONFIG], gammas=[1])
    run(grid, folder, solver, observer=log)
    run(grid, folder, solver, observer=log)
    assert log.events == [
        ("run_started", 1, 0),
        ("unit_started", "1", 1.0),
        ("line_decided", 1.0, "def f(n):\n"),
        ("unit_finished", "1", 1.0, True),
        ("run_finished", 1),
        ("run_started", 1, 1),
        ("run_finished", 1),
    ]


def test_each_unit_is_solved_with_its_own_prompt(make_problem, folder, solver):
    problems = [make_problem("1"), make_problem("2")]
    run(Grid(problems=problems, configs=[CONFIG, LONG], gammas=[1]), folder, solver)
    assert [prompt for _, _, prompt in solver.solved] == ["deepseek_instruct", "long_code"] * 2


def test_results_tell_the_layers_under_which_programs_ran(make_problem, folder, solver):
    run(Grid(problems=[make_problem("1")], configs=[CONFIG], gammas=[1]), folder, solver)
    result = folder.read(str(CONFIG), "1", 1.0).result
    assert result.sandbox == {"rlimits": "active", "seccomp": "not on this kernel"}


def test_a_failing_canary_stops_the_run_before_a_token_is_spent(grid, folder, solver):
    async def misjudge():
        raise SandboxError("it passed what must fail")

    with pytest.raises(SandboxError, match="must fail"):
        run(grid, folder, solver, open_model=misjudge)
    assert solver.solved == []
    assert grid_records(grid, folder) == []


def test_changed_settings_are_refused_with_a_diff_before_anything_is_opened(grid, folder, solver):
    tracer = {"tracer": {"name": "full"}}
    run(grid, folder, solver, provenance_of=lambda _: tracer)
    changes = [
        (r"decoding\.seed: 0 there, 5 now", {"settings": DecodingSettings(seed=5)}, "full"),
        (r'tracer\.name: "full" there, "minimal" now', {}, "minimal"),
    ]
    for message, options, name in changes:
        with pytest.raises(RunError, match=message):
            run(
                grid,
                folder,
                solver,
                open_model=nothing_may_be_opened,
                provenance_of=lambda _, name=name: {"tracer": {"name": name}},
                **options,
            )


def test_a_run_that_came_to_no_result_fixes_no_settings(grid, folder, solver):
    def interrupt(_problem, _settings):
        raise asyncio.CancelledError

    solver.before = interrupt
    with pytest.raises(asyncio.CancelledError):
        run(grid, folder, solver, settings=DecodingSettings(seed=1))
    solver.before = lambda _problem, _settings: None
    assert run(grid, folder, solver, settings=DecodingSettings(seed=2)).complete
    with pytest.raises(RunError, match=r"decoding\.seed: 2 there, 1 now"):
        run(
            grid,
            folder,
            solver,
            open_model=nothing_may_be_opened,
            settings=DecodingSettings(seed=1),
        )


def test_of_two_runs_with_other_settings_the_second_to_finish_a_unit_stops(grid, folder, solver):
    other = type(solver)()

    async def the_other_is_faster(_problem, _settings):
        solver.before = lambda _problem, _settings: None
        await run_units(grid, folder, other, settings=DecodingSettings(seed=2))

    solver.before = the_other_is_faster
    with pytest.raises(RunError, match=r"decoding\.seed: 2 there, 1 now"):
        run(grid, folder, solver, settings=DecodingSettings(seed=1))
    assert len(solver.solved) == 1
    # All but the unit that the first had claimed; nothing of the first was kept.
    assert len(grid_records(grid, folder)) == len(other.solved) == len(grid) - 1


def test_what_never_changes_the_text_may_change_between_runs(grid, folder, solver):
    run(grid, folder, solver)
    base = DecodingSettings(drafts=False, gamma=9, temperature=1.5, horizon=None)
    assert run(grid, folder, solver, settings=base).complete


def test_a_task_that_changed_since_is_refused(grid, folder, solver):
    run(grid, folder, solver)
    changed = attrs.evolve(grid.problems[1], description="Return -n.")
    with pytest.raises(RunError, match="task '2' has changed"):
        run(attrs.evolve(grid, problems=[changed]), folder, solver)


def test_results_of_tools_that_left_no_fingerprint_are_taken_as_they_are(grid, folder, solver):
    for unit in grid:
        path = folder.result_path(str(CONFIG), unit.problem.task_id, unit.gamma)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'{"passed": false, "general_error": "old"}')
    assert run(grid, folder, solver).done_before == 4


def test_orders_may_change_from_run_to_run(grid, folder, solver):
    cheap = attrs.evolve(grid, cheap_first=True)
    run(attrs.evolve(grid, gammas=[0]), folder, solver)
    run(cheap, folder, solver)
    assert run(grid, folder, solver).done_before == 4
    tasks = [problem.task_id for problem in grid.problems]
    assert solver.units == [(task, gamma) for gamma in (0.0, 1.0) for task in tasks]


class TestStopWhenSolved:
    def test_cheap_first_skips_what_is_solved(self, make_problem, folder, solver):
        solver.passes = lambda problem, settings: problem.task_id == "1" and settings.gamma == 0
        problems = [make_problem("1"), make_problem("2")]
        grid = Grid(problems=problems, configs=[CONFIG], gammas=[1, 0], cheap_first=True)
        summary = run(grid, folder, solver, stop_when_solved=True)
        assert solver.units == [("1", 0.0), ("2", 0.0), ("2", 1.0)]
        assert (summary.skipped, summary.complete) == (1, True)

    def test_a_solved_task_skips_its_remaining_units(self, make_problem, folder, solver):
        solver.passes = lambda problem, settings: problem.task_id == "1" and settings.gamma == 1
        problems = [make_problem("1"), make_problem("2")]
        grid = Grid(problems=problems, configs=[CONFIG, LONG], gammas=[0, 1])
        summary = run(grid, folder, solver, stop_when_solved=True)
        assert solver.units == [("1", 0.0), ("1", 1.0), *[("2", 0.0), ("2", 1.0)] * 2]
        assert (summary.finished, summary.skipped, summary.complete) == (6, 2, True)
        record = folder.read(str(LONG), "1", 0.0)
        assert record is not None
        assert record.result is not None
        assert record.result.global_cached
        assert record.result.passed
        assert "gamma 1.0" in record.result.code

    def test_it_resumes_without_solving_again(self, grid, folder, solver):
        for _ in range(2):
            summary = run(grid, folder, solver, stop_when_solved=True)
        assert solver.units == [("HumanEval/0", 0.0), ("2", 0.0)]
        assert summary.done_before == 4

    def test_what_an_earlier_run_solved_counts(self, grid, folder, solver):
        run(grid, folder, solver)
        later = Grid(problems=grid.problems, configs=[LONG], gammas=[1])
        assert run(later, folder, solver, stop_when_solved=True).skipped == 2

    def test_a_run_without_it_solves_what_was_skipped(self, grid, folder, solver):
        run(grid, folder, solver, stop_when_solved=True)
        solver.solved.clear()
        summary = run(grid, folder, solver)
        assert solver.units == [("HumanEval/0", 1.0), ("2", 1.0)]
        assert summary.complete
        assert not any(r.result.global_cached for r in grid_records(grid, folder) if r.result)

    def test_a_crashed_tools_reservation_does_not_hinder_it(self, grid, folder, solver):
        run(grid, folder, solver, stop_when_solved=True)
        record = folder.read(str(CONFIG), "2", 1.0)
        assert record is not None
        record.path.write_bytes(b"")
        assert run(grid, folder, solver, stop_when_solved=True).skipped == 1
        assert folder.read(str(CONFIG), "2", 1.0) == record


class TestFailures:
    def test_a_backend_error_is_no_result_and_is_tried_again_next_time(self, grid, folder, solver):
        log = Log()
        error = BackendError("the endpoint answered 503 ten times; try again later")
        solver.before = failing(error, tasks=["2"])
        summary = run(grid, folder, solver, observer=log)
        assert [(unit.gamma, text) for unit, text in summary.failures] == [
            (0.0, str(error)),
            (1.0, str(error)),
        ]
        assert (summary.finished, summary.complete) == (2, False)
        assert ("unit_failed", "2", 0.0, str(error)) in log.events
        assert len(grid_records(grid, folder)) == 2

        solver.before = lambda *_: None
        assert run(grid, folder, solver).complete
        assert solver.units[-2:] == [("2", 0.0), ("2", 1.0)]

    def test_several_in_a_row_stop_the_run(self, make_problem, folder, solver):
        solver.before = failing(BackendError("connection refused"))
        tried = []
        log = Log()
        log.unit_started = lambda unit: tried.append(unit)
        problems = [make_problem(str(number)) for number in range(9)]
        grid = Grid(problems=problems, configs=[CONFIG], gammas=[1])
        with pytest.raises(BackendError, match=r"3 times in a row.*connection refused.*run again"):
            run(grid, folder, solver, observer=log)
        assert len(tried) == 3
        assert log.events[-1] == ("run_finished", 0)

    def test_failures_between_successes_do_not_stop_it(self, make_problem, folder, solver):
        odd = failing(BackendError("busy"), tasks="13579")
        solver.before = odd
        problems = [make_problem(str(number)) for number in range(10)]
        grid = Grid(problems=problems, configs=[CONFIG], gammas=[1])
        summary = run(grid, folder, solver)
        assert (summary.finished, len(summary.failures)) == (5, 5)

    def test_a_backend_that_lacks_what_is_asked_stops_the_run_at_once(self, grid, folder, solver):
        solver.before = failing(CapabilityError("no chat template; choose another prompt"))
        with pytest.raises(CapabilityError):
            run(grid, folder, solver)
        assert grid_records(grid, folder) == []

    def test_a_model_that_cannot_be_opened_stops_the_run_at_once(self, grid, folder, solver):
        opened = []

        async def open_model():
            opened.append(None)
            raise BackendError("no such model")

        with pytest.raises(BackendError, match="no such model"):
            run(grid, folder, solver, open_model=open_model)
        assert len(opened) == 1
        assert solver.solved == []

    def test_a_broken_plugin_stops_the_run_at_once(self, grid, folder, solver):
        solver.before = failing(PluginError("the tracer 'x' of y 1 is broken"), tasks=["2"])
        with pytest.raises(PluginError, match="the tracer 'x'"):
            run(grid, folder, solver)
        assert [record.task_id for record in grid_records(grid, folder)] == ["HumanEval/0"] * 2

    def test_a_problem_too_long_for_the_model_is_a_result_for_good(self, grid, folder, solver):
        solver.before = failing(
            ContextOverflowError(needed=9000, available=4096),
            tasks=["2"],
        )
        summary = run(grid, folder, solver)
        assert (summary.finished, summary.passed, summary.complete) == (4, 2, True)
        record = folder.read(str(CONFIG), "2", 1.0)
        assert record is not None
        assert record.result is not None
        assert "9000 tokens" in (record.result.general_error or "")
        assert run(grid, folder, solver).done_before == 4

    def test_a_sandbox_error_stops_the_run_and_is_never_the_models_failure(
        self, grid, folder, solver
    ):
        solver.before = failing(SandboxError("fork server gone"), tasks=["2"])
        with pytest.raises(SandboxError, match="fork server gone"):
            run(grid, folder, solver)
        assert [record.task_id for record in grid_records(grid, folder)] == ["HumanEval/0"] * 2

    def test_a_solution_that_the_sandbox_fails_on_is_a_result_and_not_met_again(
        self, grid, folder, make_solution
    ):
        asked = []

        async def judge(problem, *, configurations, attempts_stand, recorder):  # noqa: ARG001 - the seam's
            settings = configurations[0].settings
            asked.append(problem.task_id)
            failed = problem.task_id == "HumanEval/0"
            last = TestStatus.SANDBOX_ERROR if failed else TestStatus.PASSED
            yield make_solution((TestStatus.PASSED, last), problem.task_id, settings.gamma)

        summary = run(grid, folder, judge)
        assert (summary.finished, summary.passed, summary.complete) == (4, 2, True)
        failed = [r.task_id for r in grid_records(grid, folder) if r.result.has_sandbox_error]
        assert failed == ["HumanEval/0"] * 2
        assert run(grid, folder, judge).done_before == 4
        assert len(asked) == 4

    def test_a_sandbox_that_fails_on_five_in_a_row_stops_the_run(
        self, make_problem, folder, make_solution
    ):
        asked = []

        async def judge(problem, *, configurations, attempts_stand, recorder):  # noqa: ARG001 - the seam's
            settings = configurations[0].settings
            asked.append(problem.task_id)
            yield make_solution((TestStatus.SANDBOX_ERROR,), problem.task_id, settings.gamma)

        problems = [make_problem(str(number)) for number in range(4)]
        grid = Grid(problems=problems, configs=[CONFIG], gammas=[0, 1])
        with pytest.raises(SandboxError, match=r"5 programs in a row, last on .*egcfg doctor"):
            run(grid, folder, judge)
        assert len(asked) == 5
        assert len(grid_records(grid, folder)) == 4

    @pytest.mark.parametrize(
        "error", [asyncio.CancelledError, PluginError, SandboxError, ZeroDivisionError]
    )
    def test_whatever_ends_a_run_the_unit_in_flight_is_free_again(
        self, grid, folder, solver, error
    ):
        solver.before = failing(error(), tasks=["2"])
        with pytest.raises(error):
            run(grid, folder, solver)
        claim = folder.claim_path(str(CONFIG), "2", 0.0)
        # This process lives on, so only a claim that was given back can be taken.
        solver.before = lambda *_: None
        summary = run(grid, folder, solver)
        assert (summary.finished, summary.complete) == (2, True)
        assert not list(claim.parent.glob("task_id=*"))


class TestSharedFolder:
    def test_units_that_others_work_on_are_left_to_them(self, grid, folder, solver):
        inner = []

        async def other_process(*_):
            if not inner:
                inner.append(None)
                inner[0] = await run_units(grid, folder, type(solver)())

        solver.before = other_process
        summary = run(grid, folder, solver)
        assert (inner[0].finished, inner[0].in_flight_elsewhere) == (3, 1)
        assert not inner[0].complete
        assert (summary.finished, summary.done_elsewhere, summary.complete) == (1, 3, True)

    def test_a_result_written_just_before_the_claim_was_free_is_not_made_again(
        self, grid, folder, solver, make_result, monkeypatch
    ):
        acquire = Claims.acquire

        def acquire_late(self, stem):
            # The last owner writes and gives back between our look at the file and our claim.
            task = "2" if "task_id=2_" in stem.name else "HumanEval/0"
            gamma = float(stem.name.rpartition("=")[2])
            folder.write(str(CONFIG), task, gamma, make_result(task_id=task))
            return acquire(self, stem)

        monkeypatch.setattr(Claims, "acquire", acquire_late)
        summary = run(grid, folder, solver)
        assert solver.units == []
        assert (summary.done_elsewhere, summary.complete) == (4, True)


def test_no_unit_begins_after_the_end_of_a_budget_and_no_model_is_opened(grid, folder, solver):
    FolderLedger(folder.spent_path).note(Usage(requests=5), at_once=True)
    log = Log()

    meter = Meter(Budget(max_requests=5), FolderLedger(folder.spent_path))
    options = {"open_model": nothing_may_be_opened, "observer": log, "meter": meter}
    summary = run(grid, folder, solver, **options)
    assert str(summary.ended_early).startswith("the budget --max-requests 5 is used up: 5 spent")
    assert (summary.done, summary.total, summary.complete) == (0, 4, False)
    assert summary.spending.before == Usage(requests=5)
    assert log.events == [("run_started", 4, 0), ("run_finished", 0)]


def test_a_unit_that_meets_the_end_of_a_budget_stays_undone_and_free(grid, folder, solver):
    solver.before = failing(BudgetError("the budget is used up", "--max-cost"), tasks={"2"})
    summary = run(grid, folder, solver)
    assert (summary.finished, summary.failures, summary.complete) == (2, (), False)
    assert summary.ended_early is not None
    assert len(grid_records(grid, folder)) == 2
    solver.before = lambda *_: None
    assert run(grid, folder, solver).complete
    assert len(solver.solved) == len(set(solver.solved)) == 4


def test_a_skipped_unit_needs_no_budget(make_problem, folder, solver):
    grid = Grid(problems=[make_problem("1")], configs=[CONFIG], gammas=[0, 1])
    run(Grid(problems=grid.problems, configs=[CONFIG], gammas=[0]), folder, solver)
    FolderLedger(folder.spent_path).note(Usage(requests=5), at_once=True)
    meter = Meter(Budget(max_requests=1), FolderLedger(folder.spent_path))
    summary = run(grid, folder, solver, stop_when_solved=True, meter=meter)
    assert (summary.skipped, summary.ended_early, summary.complete) == (1, None, True)


class Gate:
    """Units that wait inside of `solve` until somebody lets them go on."""

    def __init__(self):
        self.begun = []
        self.cancelled = []
        self.go_on = {}

    async def __call__(self, problem, settings):
        unit = (problem.task_id, settings.gamma)
        self.begun.append(unit)
        try:
            await self.go_on.setdefault(unit, asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(unit)
            raise

    def release(self, *units):
        for unit in units:
            self.go_on.setdefault(unit, asyncio.Event()).set()


async def settled(condition):
    while not condition():
        await asyncio.sleep(0)


class TestManyInFlight:
    @pytest.fixture
    def many(self, make_problem):
        problems = [make_problem(str(number)) for number in range(10)]
        return Grid(problems=problems, configs=[CONFIG], gammas=[0, 1])

    @pytest.fixture
    def gate(self, solver):
        solver.before = Gate()
        return solver.before

    def watched(self, grid, folder, solver, watch, *, at_once, **options):
        """Run a grid, and `watch` beside it; return the summary."""

        async def open_model():
            return at_once

        async def both():
            work = asyncio.create_task(
                run_units(grid, folder, solver, open_model=open_model, **options)
            )
            watching = asyncio.create_task(watch(work))
            # Whichever fails, the other one does not wait for it.
            await asyncio.wait([work, watching], return_when=asyncio.FIRST_EXCEPTION)
            if watching.done():
                watching.result()
            watching.cancel()
            return await work

        return asyncio.run(both())

    def free(self, grid, folder):
        """Whether every unit without a result can be taken by others, this process living on."""
        with Claims() as claims:
            return all(
                claims.free(folder.claim_path(str(u.config), u.problem.task_id, u.gamma))
                for u in grid
            )

    def test_as_many_units_as_asked_are_at_work_started_in_the_grids_order(
        self, many, folder, solver, gate
    ):
        order = [(unit.problem.task_id, unit.gamma) for unit in many]

        async def watch(_work):
            await settled(lambda: len(gate.begun) == 4)
            for _ in range(50):
                await asyncio.sleep(0)
            assert gate.begun == order[:4]
            gate.release(order[2])
            await settled(lambda: len(gate.begun) == 5)
            gate.release(*order)

        summary = self.watched(many, folder, solver, watch, at_once=4)
        assert gate.begun == order
        assert (summary.finished, summary.concurrency) == (20, 4)

    def test_each_unit_has_an_asyncio_task_of_its_own(self, many, folder, solver):
        tasks = []
        solver.before = lambda *_: tasks.append(asyncio.current_task())
        run(many, folder, solver, at_once=3)
        assert len(set(tasks)) == 20

    def test_the_files_are_the_same_however_many_are_in_flight(self, many, tmp_path, solver):
        found = []
        for at_once in (1, 16):
            folder = ResultsFolder(tmp_path / str(at_once), "mbpp", "org/tiny")
            run(many, folder, solver, at_once=at_once)
            found.append(
                {
                    record.path.relative_to(folder.results_dir): record.result
                    for record in scan(folder.results_dir)
                }
            )
        concurrency = {result.stats.concurrency for result in found[1].values()}
        assert concurrency == {16}
        alone = {
            path: attrs.evolve(result, stats=attrs.evolve(result.stats, concurrency=1))
            for path, result in found[1].items()
        }
        assert alone == found[0]

    @pytest.mark.parametrize("at_once", [1, 2, 4, 16])
    def test_stop_when_solved_runs_the_same_units(self, many, folder, solver, at_once):
        grid = attrs.evolve(many, gammas=[0, 0.5, 1, 3])
        at_work = []

        async def one_of_a_task_at_a_time(problem, _settings):
            assert problem.task_id not in at_work
            at_work.append(problem.task_id)
            for _ in range(1 + 7 * int(problem.task_id) % 5):
                await asyncio.sleep(0)
            at_work.remove(problem.task_id)

        solver.before = one_of_a_task_at_a_time
        # Task n passes from the n-th gamma on, those above 4 never.
        solver.passes = lambda problem, settings: (
            int(problem.task_id) <= [0, 0.5, 1, 3].index(settings.gamma)
        )
        summary = run(grid, folder, solver, stop_when_solved=True, at_once=at_once)
        assert sorted(solver.units) == sorted(
            (str(task), gamma)
            for task in range(10)
            for number, gamma in enumerate([0, 0.5, 1, 3])
            if number <= task
        )
        for task in map(str, range(10)):
            mine = [gamma for each, gamma in solver.units if each == task]
            assert mine == sorted(mine)
        assert (summary.finished, summary.skipped) == (34, 6)
        assert summary.concurrency == min(at_once, 10)

    def test_a_units_failure_is_its_own(self, many, folder, solver, gate):
        async def watch(_work):
            await settled(lambda: len(gate.begun) == 5)
            gate.release(*((str(task), gamma) for task in range(10) for gamma in (0, 1)))

        solver.passes = failing(BackendError("busy"), tasks=["1"])
        summary = self.watched(many, folder, solver, watch, at_once=5)
        assert [unit.problem.task_id for unit, _ in summary.failures] == ["1", "1"]
        assert (summary.finished, gate.cancelled) == (18, [])
        assert self.free(many, folder)

    @pytest.mark.parametrize("error", [SandboxError, CapabilityError, PluginError, KeyError])
    def test_a_fatal_error_cancels_the_others_and_frees_their_units(
        self, many, folder, solver, gate, error
    ):
        async def watch(_work):
            await settled(lambda: len(gate.begun) == 5)
            gate.release(("0", 0), ("1", 1))

        solver.passes = failing(error("the end"), tasks=["1"])
        with pytest.raises(error, match="the end"):
            self.watched(many, folder, solver, watch, at_once=5)
        # One was done by then, and another had taken its place or not.
        assert set(gate.begun[:5]) - {("0", 0), ("1", 1)} <= set(gate.cancelled)
        assert [record.task_id for record in grid_records(many, folder)] == ["0"]
        assert self.free(many, folder)

    def test_the_last_units_to_finish_are_the_failures_in_a_row(self, many, folder, solver, gate):
        async def watch(_work):
            await settled(lambda: len(gate.begun) == 8)
            for unit in [("3", 0), ("2", 1), ("0", 0), ("3", 1), ("1", 0), ("1", 1)]:
                done = len(log.events)
                gate.release(unit)
                await settled(lambda done=done: len(log.events) > done)

        log = Log()
        log.unit_started = log.line_decided = lambda *_: None
        log.run_started = lambda *_: None
        solver.passes = failing(BackendError("no route"), tasks=["1", "2", "3"])
        with pytest.raises(BackendError, match="3 times in a row"):
            self.watched(many, folder, solver, watch, at_once=8, observer=log)
        assert [event[:3] for event in log.events[:-1]] == [
            ("unit_failed", "3", 0.0),
            ("unit_failed", "2", 1.0),
            ("unit_finished", "0", 0.0),
            ("unit_failed", "3", 1.0),
            ("unit_failed", "1", 0.0),
            ("unit_failed", "1", 1.0),
        ]
        assert self.free(many, folder)

    def test_cancelling_a_run_gives_back_all_its_claims(self, many, folder, solver, gate):
        async def watch(work):
            await settled(lambda: len(gate.begun) == 16)
            assert not self.free(many, folder)
            work.cancel()

        with pytest.raises(asyncio.CancelledError):
            self.watched(many, folder, solver, watch, at_once=16)
        assert sorted(gate.cancelled) == sorted(gate.begun)
        assert self.free(many, folder)
        assert grid_records(many, folder) == []

    def test_at_the_end_of_a_budget_those_in_flight_go_on_to_their_own_end(
        self, many, folder, solver, gate
    ):
        async def watch(_work):
            await settled(lambda: len(gate.begun) == 5)
            gate.release(("1", 0))
            for _ in range(50):
                await asyncio.sleep(0)
            gate.release(*gate.begun)

        # Task 1 asks once more, and task 0 has its answers already; nothing else begins.
        solver.passes = failing(BudgetError("the budget is used up", "--max-cost"), tasks=["1"])
        summary = self.watched(many, folder, solver, watch, at_once=5)
        assert summary.ended_early is not None
        assert len(gate.begun) == 5
        assert gate.cancelled == []
        assert [(r.task_id, r.gamma) for r in grid_records(many, folder)] == [
            *[("0", 0.0), ("0", 1.0)],
            ("2", 0.0),
        ]
        assert self.free(many, folder)

    def test_an_error_after_the_end_of_a_budget_is_not_hidden_by_it(
        self, many, folder, solver, gate
    ):
        async def watch(_work):
            await settled(lambda: len(gate.begun) == 5)
            gate.release(("1", 0))
            for _ in range(50):
                await asyncio.sleep(0)
            gate.release(("0", 0))

        def passes(problem, _settings):
            raise SandboxError("gone") if problem.task_id == "0" else BudgetError("used", "--x")

        solver.passes = passes
        with pytest.raises(SandboxError, match="gone"):
            self.watched(many, folder, solver, watch, at_once=5)
        assert self.free(many, folder)

    def test_the_budget_is_looked_at_before_each_unit_is_claimed(self, many, folder, solver):
        meter = Meter(Budget(max_requests=3), FolderLedger(folder.spent_path))

        async def spend(*_):
            meter.add(Usage(requests=1))
            await asyncio.sleep(0)

        solver.before = spend
        summary = run(many, folder, solver, at_once=2, meter=meter)
        assert summary.ended_early is not None
        assert summary.finished <= 4  # at most the units in flight beyond the limit
        assert self.free(many, folder)

    def test_a_model_that_cannot_be_opened_leaves_nothing_behind(self, many, folder, solver):
        opened = []

        async def open_model():
            opened.append(None)
            raise UsageError("no such key")

        with pytest.raises(UsageError, match="no such key"):
            run(many, folder, solver, open_model=open_model)
        assert len(opened) == 1
        assert not folder.results_dir.exists()

    def test_units_of_live_others_open_no_model(self, many, folder, solver):
        folder.path.mkdir(parents=True)
        with Claims() as others:
            for unit in many:
                others.acquire(
                    folder.claim_path(str(unit.config), unit.problem.task_id, unit.gamma)
                )
            summary = run(many, folder, solver, open_model=nothing_may_be_opened)
        assert (summary.finished, summary.in_flight_elsewhere) == (0, 20)


# --- records ------------------------------------------------------------------------------------


def recorder_of(unit):
    return Recorder(UnitEntry(task_id=unit.problem.task_id, gamma=unit.gamma))


def test_each_result_names_its_record(grid, folder, solver):
    run(grid, folder, solver, recorder_of=recorder_of)
    for unit, found in zip(grid, grid_records(grid, folder), strict=True):
        record = read_record_of(found.path)
        assert (record.unit.task_id, record.unit.gamma) == (unit.problem.task_id, unit.gamma)
        assert [note.facts for note in record.of_kind(NoteEntry)] == [{"gamma": unit.gamma}]


def test_a_finished_run_records_nothing_anew(grid, folder, solver):
    run(grid, folder, solver)
    run(grid, folder, solver, recorder_of=recorder_of)
    assert not list(folder.path.rglob("*.gz"))


def test_a_unit_whose_record_cannot_be_written_has_no_result(grid, folder, solver, monkeypatch):
    def refused(path, _data, **_):
        raise RunError(f"cannot write {path}: no room; make room, then run again")

    with monkeypatch.context() as patch:
        patch.setattr("egcfg.runs.places.write_atomically", refused)
        with pytest.raises(RunError, match="no room"):
            run(grid, folder, solver, recorder_of=recorder_of)
    assert grid_records(grid, folder) == []
    assert run(grid, folder, solver, recorder_of=recorder_of).complete


def test_a_unit_that_is_left_undone_leaves_no_record(grid, folder, solver):
    solver.before = failing(BackendError("no answer; try again"), tasks={"2"})
    run(grid, folder, solver, recorder_of=recorder_of)
    assert len(list(folder.path.rglob("*.gz"))) == 2


def test_a_skipped_unit_names_no_record(make_problem, folder, solver):
    grid = Grid(problems=[make_problem("1")], configs=[CONFIG], gammas=[0, 1])
    run(grid, folder, solver, stop_when_solved=True, recorder_of=recorder_of)
    [solved, skipped] = grid_records(grid, folder)
    assert solved.result.record is not None
    assert (skipped.result.global_cached, skipped.result.record) == (True, None)
