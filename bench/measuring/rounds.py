"""Ways to do the same tasks, measured in rounds: each way once a round, in turn."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from statistics import fmean

from attrs import evolve, field, frozen
from tables import Report, spread

__all__ = ["Flight", "Way", "compare", "fly"]


@frozen(kw_only=True)
class Flight:
    """All tasks, done once in one way.

    Attributes:
        seconds: wall time.
        answers: of each task, by which ways are compared: token ids, or text.
        counts: what else is shown, by the column's name.
    """

    seconds: float
    answers: Sequence[Hashable]
    counts: Mapping[str, float] = field(factory=dict)

    def counting(self, **more: float) -> Flight:
        """Return it with further counts."""
        return evolve(self, counts={**self.counts, **more})

    @property
    def pace(self) -> float:
        """Tasks a minute."""
        return 60 * len(self.answers) / self.seconds


Way = Callable[[], Awaitable[Flight]]
"""Does all tasks once."""


async def fly(jobs: Sequence[Callable[[], Awaitable[Hashable]]], in_flight: int) -> Flight:
    """Do `jobs`, each in an asyncio task of its own, so many at once, as a run does its units.

    Returns:
        What they returned as its answers; in its counts the processor time of this process, which
        says more than the clock where others are at work on the machine.
    """
    places = asyncio.Semaphore(in_flight)

    async def one(job: Callable[[], Awaitable[Hashable]]) -> Hashable:
        async with places:
            return await job()

    started, worked = time.perf_counter(), time.process_time()
    answers = await asyncio.gather(*(one(job) for job in jobs))
    return Flight(
        seconds=time.perf_counter() - started,
        answers=answers,
        counts={"processor s": time.process_time() - worked},
    )


async def compare(report: Report, title: str, ways: Mapping[str, Way], rounds: int) -> None:
    """Measure all ways in each round, every other round in the opposite order, and show a table.

    The first way is what the others are held against: their pace over its own in the same round,
    and their answers beside its first ones.
    """
    flights: dict[str, list[Flight]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            flights[name].append(found := await ways[name]())
            counts = ", ".join(f"{column} {count:.4g}" for column, count in found.counts.items())
            report.progress(
                f"{title}, round {number + 1}, {name}: {len(found.answers)} tasks in "
                f"{found.seconds:.1f} s, {counts}"
            )
    [first, *_] = flights.values()
    expected = first[0].answers
    columns = list(dict.fromkeys(name for f in flights.values() for name in f[0].counts))
    rows = []
    for name, of_way in flights.items():
        ratios = [flight.pace / base.pace for flight, base in zip(of_way, first, strict=True)]
        same = [_alike(flight.answers, expected) for flight in of_way]
        rows.append(
            (
                name,
                *spread([flight.pace for flight in of_way]),
                *spread(ratios),
                f"{min(same)} of {len(expected)}",
                *(
                    fmean(flight.counts[column] for flight in of_way)
                    if column in of_way[0].counts
                    else "-"
                    for column in columns
                ),
            )
        )
    paces = ("tasks/min", "slowest", "fastest", "ratio", "least", "largest")
    report.table(f"{title}, {rounds} rounds", ("way", *paces, "same answers", *columns), rows)
    report.say(f"load afterwards: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


def _alike(answers: Sequence[Hashable], expected: Sequence[Hashable]) -> int:
    return sum(one == other for one, other in zip(answers, expected, strict=True))
