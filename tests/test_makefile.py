"""The targets that run a part of the tests: one room, or what needs no torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def make(*arguments: str, how: str = "--dry-run") -> subprocess.CompletedProcess[str]:
    """Let make say what it would do; as called by hand, also where make runs these tests."""
    environment = {name: text for name, text in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", how, "--directory", ROOT, "FLAGS=", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def folders(made: subprocess.CompletedProcess[str]) -> list[str]:
    """Return which tests pytest would be told to run."""
    assert made.returncode == 0, made.stderr
    [command] = [line for line in made.stdout.splitlines() if "-m pytest" in line]
    return [word for word in command.split() if word.startswith("tests/")]


@pytest.mark.parametrize(
    ("room", "folder"),
    [
        ("sandbox", "tests/egcfg/sandbox"),
        ("egcfg_tracers", "tests/egcfg_tracers"),
        ("loading", "tests/egcfg_backends_hf/loading"),
    ],
)
def test_one_room_is_named_by_its_folder(room: str, folder: str) -> None:
    assert folders(make("test", f"ROOM={room}")) == [folder]


def test_without_a_room_everything_is_run() -> None:
    assert folders(make("test", "ROOM=")) == []


def test_a_room_that_there_is_not_is_refused_with_the_names_of_all() -> None:
    made = make("test", "ROOM=sandbx")
    assert made.returncode != 0
    assert 'no room is called "sandbx"; there are: cli cluster comparison config' in made.stderr
    assert " sandbox " in made.stderr


def test_the_fast_lane_names_rooms_that_there_are() -> None:
    fast = folders(make("test-fast"))
    assert len(fast) > 10
    assert [path for path in fast if not (ROOT / path).exists()] == []


def test_a_lane_names_tests_that_there_are() -> None:
    named = re.findall(r"(tests/\S+\.py)::(\w+)(?:\[(\w+)\])?", (ROOT / "Makefile").read_text())
    assert named
    for file, test, case in named:
        text = (ROOT / file).read_text("utf-8")
        assert f"def {test}(" in text
        assert not case or f'"{case}"]' in text, case  # the last of its ids


def test_processes_of_the_tests_may_keep_what_they_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    ran = make("test", "ROOM=", "INSTALLED=", "COMPILED=", "PYTEST=printenv", how="--silent")
    assert ran.returncode == 0, ran.stderr
    assert "PATH=" in ran.stdout
    assert "PYTHONDONTWRITEBYTECODE" not in ran.stdout


def test_nothing_can_import_torch_in_the_fast_lane() -> None:
    made = make("test-fast").stdout
    [path] = [word for word in made.split() if word.startswith("PYTHONPATH=")]
    environment = {**os.environ, "PYTHONPATH": path.removeprefix("PYTHONPATH=")}
    command = [sys.executable, "-c", "import torch"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "No module named 'torch' (make test-fast goes without)" in ran.stderr
