"""Disks that are full or go away in the middle of a run: real ones, in a mount namespace.

What only a file server can do, such as to lose an answer, is played by a shim.
"""

import asyncio
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import RunError
from egcfg.records.entries import UnitEntry
from egcfg.records.recorder import Recorder
from egcfg.runs import store
from egcfg.runs.claims import Claims
from egcfg.runs.config_string import SignalConfig
from egcfg.runs.files import create_exclusively, read_whole
from egcfg.runs.folder import scan
from egcfg.runs.grid import Grid
from egcfg.runs.results import Result
from egcfg.runs.runner import run
from egcfg.runs.store import FileState

WORKER = Path(__file__).with_name("grid_worker.py")
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.fixture
def disk(tmp_path):
    """Runs a shell script beside a disk of 1 MB, which is mounted on the folder $DISK."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = 'mount -t tmpfs -o size=1m none "$DISK"'
    environment = {**os.environ, "DISK": str(folder), "LOG": str(tmp_path / "log")}
    command = f'"{sys.executable}" "{WORKER}" "$DISK"/results "$LOG"'

    def script(text):
        ran = subprocess.run(
            [*NAMESPACE, "sh", "-c", f"{mount} || exit 99\n{text}"],
            env={**environment, "WORK": command},
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode == 99 or "unshare failed" in ran.stderr:
            pytest.skip("this machine lets nobody mount a disk")
        return ran

    return script


def test_a_full_disk_ends_the_run_with_the_cause_and_with_room_the_next_one_goes_on(disk, tmp_path):
    copied = tmp_path / "copied"
    ran = disk(
        f'eval $WORK 0 60 4 0; echo "status $?"\n'
        f'cp -r "$DISK" {copied}; mount -o remount,size=8m "$DISK"\n'
        f'eval $WORK 0 60 4 0 && cp -r "$DISK" {copied}-later'
    )
    assert ran.returncode == 0, ran.stderr
    assert "status 1" in ran.stdout
    assert "No space left on device; make room" in ran.stderr
    before, after = scan(copied), scan(Path(f"{copied}-later"))
    assert 10 < len(before) < 120 == len(after)
    assert {file.state for file in (*before, *after)} == {FileState.DONE}
    assert not list(copied.rglob(".tmp-*"))
    # The second run did what was left, and no more.
    assert f"{120 - len(before)} 0" in ran.stdout
    assert not list(Path(f"{copied}-later").rglob(".claims/task_id=*"))


def test_a_disk_that_goes_away_ends_the_run_and_no_folder_is_made_in_its_place(disk, tmp_path):
    ran = disk(
        "eval $WORK 0.05 60 4 0 & worker=$!\n"
        'while ! grep -q end "$LOG" 2>/dev/null; do sleep 0.01; done\n'
        'umount --lazy "$DISK"; wait $worker; echo "status $?"; ls -A "$DISK"'
    )
    assert ran.stdout == "status 1\n", ran.stderr
    assert "is lost: No such file or directory; run again when it is back" in ran.stderr
    assert not list((tmp_path / "disk").iterdir())


def test_another_disk_in_its_place_is_not_taken_for_it(disk):
    ran = disk(
        'mkdir "$DISK".other; mount -t tmpfs none "$DISK".other\n'
        'mkdir -p "$DISK".other/results/set/model\n'
        "eval $WORK 0.3 60 4 0 & worker=$!\n"
        'while ! grep -q end "$LOG" 2>/dev/null; do sleep 0.01; done\n'
        'mount --bind "$DISK".other "$DISK"; wait $worker; echo "status $?"'
    )
    assert ran.stdout == "status 1\n", ran.stderr
    assert "is another folder than when the run began" in ran.stderr


def test_a_folder_that_goes_between_the_last_look_and_a_write_is_told_as_the_cause(
    folder, make_problem, solver
):
    class Swaps(Recorder):
        def content(self):
            folder.path.rename(folder.path.with_name("elsewhere"))
            folder.path.mkdir()
            return super().content()

    grid = Grid(problems=[make_problem("a")], configs=[SignalConfig()], gammas=[0])
    with pytest.raises(RunError, match="is another folder than when the run began"):
        asyncio.run(run(grid, folder, solver, recorder_of=lambda _: Swaps(UnitEntry(task_id="a"))))
    assert not list(folder.path.iterdir())


# --- what a file server does --------------------------------------------------------------------


class Memory:
    """What an NFS client remembers: names that were absent, until it changes their folder."""

    def __init__(self, monkeypatch):
        self.absent = set()
        exists, link, opened = os.path.exists, os.link, Path.open

        def remembered(path):
            if str(path) not in self.absent and exists(path):
                return True
            self.absent.add(str(path))
            return False

        def changed(folder):
            self.absent = {name for name in self.absent if os.path.dirname(name) != str(folder)}

        def linked(source, target):
            changed(Path(target).parent)
            link(source, target)

        def open_(path, mode="r", *rest, **options):
            if mode == "xb":
                changed(path.parent)
            return opened(path, mode, *rest, **options)

        monkeypatch.setattr(os.path, "exists", remembered)
        monkeypatch.setattr(os, "link", linked)
        monkeypatch.setattr(Path, "open", open_)


@pytest.mark.parametrize("stop_when_solved", [False, True])
def test_a_result_that_this_node_remembers_as_absent_is_found_before_it_is_made_again(
    folder, make_problem, make_solution, solver, monkeypatch, stop_when_solved
):
    grid = Grid(
        problems=[make_problem("a"), make_problem("b")], configs=[SignalConfig()], gammas=[0, 1]
    )
    elsewhere = store.ResultsFolder(folder.results_dir, "mbpp", "org/tiny")
    real = os.path.exists

    def another_node_does_the_rest(problem, settings):
        if (problem.task_id, settings.gamma) != ("a", 0):
            return
        for task, gamma in (("a", 1.0), ("b", 0.0), ("b", 1.0)):
            with monkeypatch.context() as there:
                there.setattr(os.path, "exists", real)
                result = Result.of_solution(make_solution(task_id=task, gamma=gamma))
                elsewhere.write(str(SignalConfig()), task, gamma, result)

    solver.before = another_node_does_the_rest
    solver.passes = lambda *_: False
    Memory(monkeypatch)
    summary = asyncio.run(
        run(grid, folder, solver, settings=DecodingSettings(), stop_when_solved=stop_when_solved)
    )
    assert solver.units == [("a", 0.0)]
    assert (summary.finished, summary.done, summary.complete) == (1, 4, True)


def test_a_claim_whose_answer_was_lost_is_known_to_be_ones_own(tmp_path, monkeypatch):
    link = os.link

    def answer_lost(source, target):
        """The server links; its answer is lost, and the request is repeated."""
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", answer_lost)
    with Claims() as claims:
        assert claims.acquire(tmp_path / "unit") is not None
        assert claims.acquire(tmp_path / "unit") is None
    assert not create_exclusively(tmp_path / "unit.0", b"")


def test_a_file_that_is_left_half_written_without_hard_links_is_taken_away(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    def full(_handle):
        if (tmp_path / "claim").exists():
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        create_exclusively(tmp_path / "claim", b"whole")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stale", [1, 2])
def test_a_file_that_another_node_replaced_or_removed_is_looked_up_again(
    tmp_path, monkeypatch, stale
):
    path = tmp_path / "file"
    path.write_bytes(b"new")
    read, times = Path.read_bytes, iter(range(9))

    def stale_handle(each):
        if next(times) < stale:
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(each)

    monkeypatch.setattr(Path, "read_bytes", stale_handle)
    if stale == 1:
        assert read_whole(path) == b"new"
    else:
        with pytest.raises(FileNotFoundError):
            read_whole(path)


def test_a_server_that_answers_nothing_is_told_and_its_claim_not_taken(tmp_path, monkeypatch):
    with Claims() as owner, Claims() as other:
        claim = owner.acquire(tmp_path / "unit")

        def broken(_):
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as there:
            there.setattr(Path, "read_bytes", broken)
            with pytest.raises(RunError, match="Input/output error"):
                other.acquire(tmp_path / "unit")
        assert claim is not None
        assert other.acquire(tmp_path / "unit") is None


@pytest.mark.parametrize("skew", [-600, 600], ids=["late", "early"])
@pytest.mark.parametrize(("age", "taken"), [(100, False), (130, True)])
def test_a_clock_that_is_minutes_off_takes_no_claim_and_leaves_none(
    tmp_path, monkeypatch, skew, age, taken
):
    """What counts is the server's clock alone, by which another node's claim has its times."""
    path = tmp_path / "unit.0"
    path.write_bytes(b'{"machine": "elsewhere", "host": "node7", "pid": 1, "born": 1}')
    then = time.time() - age
    os.utime(path, (then, then))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + skew)
    with Claims() as claims:
        assert (claims.acquire(tmp_path / "unit") is not None) == taken
