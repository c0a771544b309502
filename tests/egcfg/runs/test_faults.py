"""Kills real processes in the middle of their work and looks at what is left."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from egcfg.runs.folder import scan
from egcfg.runs.store import FileState

TASKS = 12
UNITS = 2 * TASKS
KINDS = ("start", "end")


@pytest.fixture
def start(tmp_path, request):
    """Starts a worker on the shared folder; what still runs at the end is killed."""
    script = request.path.with_name("grid_worker.py")
    workers = []

    def start(seconds=0.03, tasks=TASKS, at_once=1, stop_when_solved=0):
        folders = [tmp_path / "results", tmp_path / "log"]
        arguments = [*folders, seconds, tasks, at_once, stop_when_solved]
        worker = subprocess.Popen(
            [sys.executable, script, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.kill()
        worker.communicate()


@pytest.fixture
def events(tmp_path):
    def events(kind):
        log = tmp_path / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line.split()[1:] for line in lines if line.startswith(f"{kind} ")]

    return events


@pytest.fixture
def wait_for():
    def wait_for(condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    return wait_for


def finish(worker):
    out, err = worker.communicate(timeout=120)
    assert worker.returncode == 0, err
    return [int(number) for number in out.split()]


def claim_files(tmp_path):
    return list((tmp_path / "results").rglob(".claims/task_id=*"))


def assert_all_done(tmp_path, units=UNITS):
    records = scan(tmp_path / "results")
    assert len(records) == units
    assert {record.state for record in records} == {FileState.DONE}


def test_processes_share_a_grid_without_solving_anything_twice(tmp_path, start, events, wait_for):
    workers = [first := start(seconds=0.1)]
    wait_for(lambda: events("start"))
    first.send_signal(signal.SIGSTOP)  # or it may have solved all before the others have begun
    workers += [start(), start()]
    wait_for(lambda: len({pid for _, pid in events("start")}) > 1)
    first.send_signal(signal.SIGCONT)
    assert sum(finish(worker)[0] for worker in workers) == UNITS
    assert Counter(unit for unit, _ in events("start")) == Counter(
        f"{task}@{gamma}" for task in range(TASKS) for gamma in (0, 1)
    )
    assert_all_done(tmp_path)
    assert claim_files(tmp_path) == []


def test_killing_processes_loses_at_most_the_units_in_flight(tmp_path, start, events, wait_for):
    chance = random.Random(5)
    kills = 4
    workers = [start() for _ in range(3)]
    for number in range(kills):
        wait_for(lambda number=number: len(events("start")) >= 2 + 4 * number)
        victim = chance.choice(workers)
        time.sleep(chance.uniform(0, 0.03))
        victim.kill()
        victim.wait()
        workers.remove(victim)
        workers.append(start())
    for worker in workers:
        finish(worker)
    if len(scan(tmp_path / "results")) < UNITS:
        # All others had passed a victim's unit when it died.
        finish(start())
    assert events("conflict") == []
    assert_all_done(tmp_path)
    # Each kill can undo one start, or one end whose result was not written yet.
    assert len(events("start")) <= UNITS + kills
    starts = Counter(unit for unit, _ in events("start"))
    assert len(starts) == UNITS


@pytest.mark.parametrize("kills", [0, 3])
def test_where_solved_tasks_are_skipped_processes_run_the_units_that_one_would(
    tmp_path, start, events, wait_for, kills
):
    chance = random.Random(kills)
    workers = [start(0.02, TASKS, at_once, 1) for at_once in (1, 2, 4, 16)]
    for number in range(kills):
        wait_for(lambda number=number: len(events("start")) >= 4 * (number + 1))
        victim = workers.pop(chance.randrange(len(workers)))
        victim.kill()
        victim.wait()
        workers.append(start(0.02, TASKS, 3, 1))
    for worker in workers:
        finish(worker)
    finish(start(0.02, TASKS, 4, 1))  # all others may have passed a victim's task when it died
    assert events("conflict") == []
    assert_all_done(tmp_path, units=5 * TASKS)
    expected = {f"{task}@{g}" for task in range(TASKS) for g in range(5) if g <= task % 6}
    starts = Counter(unit for unit, _ in events("start"))
    assert starts.keys() == expected
    assert len(events("start")) <= len(expected) + 16 * kills
    for task in range(TASKS):
        mine = [unit for unit, _ in events("start") if unit.startswith(f"{task}@")]
        assert mine == sorted(mine)
    if not kills:
        assert max(starts.values()) == 1
        assert claim_files(tmp_path) == []


def test_what_was_finished_before_a_kill_is_never_solved_again(tmp_path, start, events, wait_for):
    worker = start()
    wait_for(lambda: len(events("end")) >= 5)
    worker.kill()
    worker.wait()
    done = {(r.task_id, r.gamma) for r in scan(tmp_path / "results") if r.state is FileState.DONE}
    finished, in_flight = finish(start(0))
    assert (finished, in_flight) == (UNITS - len(done), 0)
    twice = [unit for unit, count in Counter(u for u, _ in events("start")).items() if count > 1]
    assert len(twice) <= 1
    assert_all_done(tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_processes_with_many_in_flight_lose_and_repeat_nothing_however_they_die(
    tmp_path, start, events, wait_for, seed
):
    tasks, at_once, kills = 10, 16, 4
    chance = random.Random(seed)
    workers = [start(chance.uniform(0.01, 0.1), tasks, at_once) for _ in range(8)]
    lost = 0
    for number in range(kills):
        wait_for(lambda number=number: len(events("start")) > 4 * number)
        time.sleep(chance.uniform(0, 0.05))
        victim = workers.pop(chance.randrange(len(workers)))
        victim.kill()
        victim.wait()
        mine = [[u for u, pid in events(kind) if pid == str(victim.pid)] for kind in KINDS]
        lost += len(mine[0]) - len(mine[1])
        workers.append(start(0.02, tasks, at_once))
    for worker in workers:
        finish(worker)
    if len(scan(tmp_path / "results")) < 2 * tasks:
        # All others had passed a victim's units when it died.
        finish(start(0, tasks, at_once))
    assert events("conflict") == []
    assert_all_done(tmp_path, 2 * tasks)
    starts = Counter(unit for unit, _ in events("start"))
    assert len(starts) == 2 * tasks
    # What a victim was at is done again, and of what it had ended the one not written yet.
    assert starts.total() <= 2 * tasks + lost + kills


@pytest.mark.parametrize("at_once", [1, 16])
def test_ctrl_c_leaves_a_resumable_folder_and_no_claims(tmp_path, start, events, wait_for, at_once):
    worker = start(seconds=0.2 if at_once == 1 else 600, at_once=at_once)
    wait_for(lambda: len(events("start")) >= max(2, at_once))
    worker.send_signal(signal.SIGINT)
    _, err = worker.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    claims = claim_files(tmp_path)
    assert {path.read_bytes() for path in claims} <= {b"{}"}
    assert len(claims) >= at_once - 1
    assert finish(start(0))[1] == 0
    assert_all_done(tmp_path)


def test_a_stopped_process_holds_back_its_own_unit_only(tmp_path, start, events, wait_for):
    stopped = start(seconds=1)
    wait_for(lambda: events("start"))
    stopped.send_signal(signal.SIGSTOP)
    os.waitpid(stopped.pid, os.WUNTRACED)
    done = len(list(tmp_path.rglob("results/*/**/task_id=*.json")))
    assert finish(start(0)) == [UNITS - done - 1, 1]
    stopped.send_signal(signal.SIGCONT)
    finish(stopped)
    assert events("conflict") == []
    assert_all_done(tmp_path)
