"""Reading a results folder again and again: what is new is seen, and nothing is read twice."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from egcfg.runs.folder import FolderReader, LeftOut, read_folder, scan
from egcfg.runs.result_file import dump_result
from egcfg.runs.results import Result, TestVerdict
from egcfg.runs.store import ResultFile, ResultsFolder

CONFIG = "ns2t0.75d2_ln"
SOLVED = Result(code="x = 1\n", tests={"a": TestVerdict(passed=True)}, passed=True)
Reader = FolderReader[bool]


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path / "results", "mbpp", "org/m")


def settle(folder: Path) -> None:
    """Make folders look as if nothing had changed for a while."""
    then = time.time() - 100
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            os.utime(path, (then, then))


def passed(file: ResultFile) -> bool:
    return file.result is not None and file.result.passed


@pytest.fixture
def watched(results: ResultsFolder) -> tuple[Reader, ResultsFolder]:
    for config in (CONFIG, "ns3t0.7d2_ln"):
        for task in range(20):
            results.write(config, str(task), 1.0, evolve(SOLVED, passed=task % 2 == 0))
    settle(results.results_dir)
    return FolderReader(results.results_dir, passed), results


def solved(reader: Reader) -> int:
    return sum(reader.look().kept)


def test_what_has_not_changed_is_not_read_again(
    watched: tuple[Reader, ResultsFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, results = watched
    assert (solved(reader), reader.files_read) == (20, 40)
    listed: list[Any] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    assert (solved(reader), reader.files_read) == (20, 40)
    assert listed == []
    results.write(CONFIG, "1", 1.0, SOLVED)
    results.write(CONFIG, "20", 1.0, SOLVED)
    assert (solved(reader), reader.files_read) == (22, 42)
    assert listed == [str(results.path / CONFIG)]


def test_a_young_folder_is_listed_again_since_its_time_may_stand_still(
    watched: tuple[Reader, ResultsFolder],
) -> None:
    reader, results = watched
    solved(reader)
    results.write(CONFIG, "1", 1.0, SOLVED)
    folder = results.path / CONFIG
    now = os.stat(folder)
    assert solved(reader) == 21
    results.write(CONFIG, "3", 1.0, SOLVED)
    os.utime(folder, ns=(now.st_atime_ns, now.st_mtime_ns))  # as a coarse clock has it
    assert (solved(reader), reader.files_read) == (22, 42)


def test_a_reservation_that_is_filled_in_place_is_seen(
    watched: tuple[Reader, ResultsFolder],
) -> None:
    reader, results = watched
    path = results.path / CONFIG / "task_id=77_gamma=1.0.json"
    path.write_bytes(b"")
    settle(results.results_dir)
    before = solved(reader)
    path.write_bytes(dump_result(SOLVED))
    settle(results.results_dir)
    assert solved(reader) == before + 1


def test_what_is_removed_is_gone(watched: tuple[Reader, ResultsFolder]) -> None:
    reader, results = watched
    solved(reader)
    for path in (results.path / CONFIG).glob("task_id=*"):
        path.unlink()
    (results.path / CONFIG).rmdir()
    assert len(reader.look().kept) == 20


def test_a_folder_that_grows_while_it_is_read_is_read_as_far_as_it_is_whole(
    watched: tuple[Reader, ResultsFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, results = watched
    stat, added = os.stat, iter(range(100, 200))

    def stat_and_grow(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if str(path).endswith("gamma=1.0.json") and (number := next(added, None)) is not None:
            results.write(CONFIG, str(number), 1.0, SOLVED)
        return stat(path, *args, **kwargs)

    monkeypatch.setattr("egcfg.runs.folder.os.stat", stat_and_grow)
    assert len(reader.look().kept) >= 40
    monkeypatch.undo()
    found = len(list(results.results_dir.rglob("task_id=*.json")))
    assert len(reader.look().kept) == found > 40


def test_what_cannot_be_read_is_left_out_and_named_until_it_can_be(
    watched: tuple[Reader, ResultsFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, results = watched
    path = results.result_path(CONFIG, "1", 1.0)
    read_bytes = Path.read_bytes

    def refuse(file: Path) -> bytes:
        if file == path:
            raise PermissionError(13, "Permission denied")
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read anything
    found = reader.look()
    why = "cannot be read: Permission denied"
    assert (len(found.kept), found.left_out) == (39, [LeftOut(path=str(path), why=why)])
    monkeypatch.undo()
    found = reader.look()
    assert (len(found.kept), found.left_out, reader.files_read) == (40, [], 41)


def test_a_file_that_goes_while_the_folder_is_read_is_no_result(
    watched: tuple[Reader, ResultsFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, results = watched
    gone = iter(sorted((results.path / CONFIG).glob("task_id=*"))[:3])
    read_bytes = Path.read_bytes

    def read_and_remove(file: Path) -> bytes:
        if (path := next(gone, None)) is not None:
            path.unlink()
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", read_and_remove)
    found = reader.look()
    assert (37 <= len(found.kept) <= 40, found.left_out) == (True, [])
    assert len(reader.look().kept) == 37


def test_a_folder_that_cannot_be_listed_is_left_out_and_named(
    watched: tuple[Reader, ResultsFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, results = watched
    shut, scandir = str(results.path / CONFIG), os.scandir

    def refuse(path: str) -> Any:
        if path == shut:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = reader.look()
    why = "cannot be listed: Permission denied"
    assert (len(found.kept), found.left_out) == (20, [LeftOut(path=shut, why=why)])


def test_whoever_reads_once_is_told_of_what_is_left_out(
    results: ResultsFolder, caplog: pytest.LogCaptureFixture
) -> None:
    path = results.write(CONFIG, "1", 1.0, SOLVED).path
    assert read_folder(results.results_dir, passed) == [True]
    assert caplog.messages == []
    odd = path.with_name("task_id=2_gamma=1e3.json")
    odd.write_bytes(b"")
    assert [file.path for file in scan(results.results_dir)] == [path]
    assert caplog.messages == [
        f"1 files left out, as egcfg monitor tells; first: {odd} (no number after _gamma=)"
    ]
