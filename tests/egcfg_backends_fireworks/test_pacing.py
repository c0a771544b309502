from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from filelock import FileLock

from egcfg.errors import ConfigError
from egcfg_backends_fireworks.pacing import FORGOTTEN_S, Pace, pace_folder

HOLDER = """
import asyncio, sys
from pathlib import Path
from egcfg_backends_fireworks.pacing import Pace

async def hold():
    async with Pace(Path(sys.argv[1]), 3).slot():
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(hold())
"""


@define
class Clock:
    now: float = 0.0
    waits: list[float] = field(factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def pace(tmp_path: Path) -> Callable[..., tuple[Pace, Clock]]:
    """Make a pace; all of one test are of the same endpoint."""
    clock = Clock()
    return lambda most=8: (Pace(tmp_path, most, clock.sleep, clock), clock)


def most_at_once(limited: Pace, questions: int) -> int:
    """Return how many of `questions` were in flight together."""
    busy = seen = 0

    async def one() -> None:
        nonlocal busy, seen
        async with limited.slot():
            busy += 1
            seen = max(seen, busy)
            await asyncio.sleep(0)
            busy -= 1

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(questions)))

    asyncio.run(all_of_them())
    return seen


def test_no_more_than_the_most_are_in_flight(pace: Any) -> None:
    limited, _ = pace(3)
    assert most_at_once(limited, 10) == 3


@pytest.mark.parametrize(("times", "left"), [(1, 4), (2, 2), (9, 1)])
def test_an_overloaded_service_gets_half_as_many_but_never_none(
    pace: Any, times: int, left: int
) -> None:
    limited, _ = pace(8)
    for _ in range(times):
        asyncio.run(limited.pushed_back(0))
    assert most_at_once(limited, 10) == left


@pytest.mark.parametrize(("answers", "allowed"), [(0, 4), (5, 5), (100, 8)])
def test_answers_bring_it_back_one_by_one(pace: Any, answers: int, allowed: int) -> None:
    limited, _ = pace(8)
    asyncio.run(limited.pushed_back(0))
    for _ in range(answers):
        asyncio.run(limited.answered())
    assert most_at_once(limited, 10) == allowed


def test_a_wait_that_the_service_asks_for_holds_everything_back(pace: Any) -> None:
    limited, clock = pace(2)
    asyncio.run(limited.pushed_back(7.0))
    assert most_at_once(limited, 3) == 1
    assert clock.waits == [7.0]  # the others come when it is over


def test_a_question_that_fails_gives_its_place_back(pace: Any) -> None:
    limited, _ = pace(1)

    async def failing() -> None:
        for _ in range(3):
            with pytest.raises(LookupError):
                async with limited.slot():
                    raise LookupError

    asyncio.run(failing())  # would wait for ever if a place were lost


def test_all_users_of_an_endpoint_share_one_pace(pace: Any) -> None:
    first, _ = pace(8)
    second, _ = pace(8)
    asyncio.run(first.pushed_back(0))
    assert asyncio.run(second.limit()) == 4

    async def side_by_side() -> int:
        busy = seen = 0

        async def one(limited: Pace) -> None:
            nonlocal busy, seen
            async with limited.slot():
                busy += 1
                seen = max(seen, busy)
                await asyncio.sleep(0.001)
                busy -= 1

        await asyncio.gather(*(one(limited) for limited in (first, second) * 6))
        return seen

    assert asyncio.run(side_by_side()) == 4


def test_processes_share_it_and_one_that_is_killed_gives_its_place_back(
    pace: Any, tmp_path: Path
) -> None:
    limited, _ = pace(3)
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    holders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for holder in holders:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
        assert most_at_once(limited, 5) == 1
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()
    again, _ = pace(3)
    assert most_at_once(again, 5) == 3


def test_a_lock_that_somebody_else_holds_keeps_no_event_loop_waiting(
    pace: Any, tmp_path: Path
) -> None:
    limited, _ = pace(3)

    async def beside() -> None:
        with FileLock(tmp_path / "lock"):  # as another process would
            waiting = asyncio.create_task(limited.answered())
            for _ in range(5):
                await asyncio.sleep(0.002)
            assert not waiting.done()
        await waiting

    asyncio.run(beside())


def test_what_was_asked_for_long_ago_is_forgotten(pace: Any) -> None:
    limited, clock = pace(8)
    asyncio.run(limited.pushed_back(0))
    clock.now += FORGOTTEN_S + 1
    assert asyncio.run(limited.limit()) == 8


@pytest.mark.parametrize("written", [b"", b"[4.0", b"null", b"[2.0, 1e9, 1e12]"])
def test_a_file_that_makes_no_sense_is_ignored(pace: Any, tmp_path: Path, written: bytes) -> None:
    limited, clock = pace(8)
    (tmp_path / "state").write_bytes(written)
    assert most_at_once(limited, 10) == 8
    assert not clock.waits


def test_endpoints_and_keys_have_folders_of_their_own_that_name_neither() -> None:
    folders = {pace_folder(url, key) for url in ("http://a", "http://b") for key in ("k1", "k2")}
    assert len(folders) == 4
    assert pace_folder("http://a", "k1") in folders
    for folder in folders:
        assert folder.is_dir()
        assert folder.parent.parent.stat().st_mode & 0o077 == 0
        assert "k1" not in folder.name


def test_a_folder_of_another_users_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"egcfg-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="TMPDIR"):
        pace_folder("http://a", "")
