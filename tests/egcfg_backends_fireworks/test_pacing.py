from __future__ import annotations

import asyncio

import pytest
from attrs import define, field

from egcfg_backends_fireworks.pacing import Pace


@define
class Clock:
    now: float = 0.0
    waits: list[float] = field(factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def pace(most: int = 8) -> tuple[Pace, Clock]:
    clock = Clock()
    return Pace(most, clock.sleep, clock), clock


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


def test_no_more_than_the_most_are_in_flight() -> None:
    limited, _ = pace(3)
    assert most_at_once(limited, 10) == 3


@pytest.mark.parametrize(("times", "left"), [(1, 4), (2, 2), (9, 1)])
def test_an_overloaded_service_gets_half_as_many_but_never_none(times: int, left: int) -> None:
    limited, _ = pace(8)
    for _ in range(times):
        limited.pushed_back(0)
    assert most_at_once(limited, 10) == left


@pytest.mark.parametrize(("answers", "allowed"), [(0, 4), (5, 5), (100, 8)])
def test_answers_bring_it_back_one_by_one(answers: int, allowed: int) -> None:
    limited, _ = pace(8)
    limited.pushed_back(0)
    for _ in range(answers):
        limited.answered()
    assert most_at_once(limited, 10) == allowed


def test_a_wait_that_the_service_asks_for_holds_everything_back() -> None:
    limited, clock = pace(2)
    limited.pushed_back(7.0)
    assert most_at_once(limited, 3) == 1
    assert clock.waits == [7.0]  # the others come when it is over


def test_a_question_that_fails_gives_its_place_back() -> None:
    limited, _ = pace(1)

    async def failing() -> None:
        for _ in range(3):
            with pytest.raises(LookupError):
                async with limited.slot():
                    raise LookupError

    asyncio.run(failing())  # would wait for ever if a place were lost
