"""Choice by self-made tests on which many programs agree (CodeT; Chen et al. 2022, 2207.10397)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

from attrs import field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Method, Need, ProgramRun
from egcfg.interfaces.scorer import TestStatus
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import best_run
from egcfg.methods.own_tests import own_asserts

__all__ = ["CodeT", "agreed_run"]


class CodeT(Method):
    """Programs and asserts of the model's own, all against all.

    Programs that pass the same asserts are a cluster, worth the number of asserts times the root of
    the number of programs. The answer is the earliest program of the cluster that is worth most.
    The visible tests, with them or without, do not choose; only where no assert can be read or
    passed does the answer go by them, and without them it is the first program.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CHAT})

    @frozen(kw_only=True)
    class Options:
        """How many of what.

        Attributes:
            n: programs.
            lists: answers with asserts.
            asserts: how many of each such answer count, the first ones.
            temperature: programs and asserts are drawn at.
        """

        n: int = field(default=10, validator=validators.ge(1))
        lists: int = field(default=10, validator=validators.ge(1))
        asserts: int = field(default=5, validator=validators.ge(1))
        temperature: float = field(default=0.8, converter=float, validator=validators.gt(0))

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the first program, and the chosen one if it is another."""
        n, temperature = self.options.n, self.options.temperature
        programs = await bench.draw(stage="sample", temperature=temperature)
        yield Attempt(program=programs[0], stage="sample")
        if n > 1:
            programs += await bench.draw(n - 1, stage="sample", temperature=temperature)
        tests = await own_asserts(
            bench, self.options.asserts, lists=self.options.lists, temperature=temperature
        )
        agreed = agreed_run(await bench.run(programs, tests)) if tests else None
        chosen = agreed or best_run(await bench.run(programs))
        if chosen.program != programs[0]:
            yield Attempt(program=chosen.program, stage="agreed" if agreed else "visible")


def agreed_run(runs: Sequence[ProgramRun]) -> ProgramRun | None:
    """Return the earliest run of the cluster that is worth most; None where nothing passed."""
    clusters: defaultdict[frozenset[str], list[ProgramRun]] = defaultdict(list)
    for run in runs:
        passed = frozenset(r.name for r in run.results if r.status is TestStatus.PASSED)
        clusters[passed].append(run)
    best = max(clusters, key=lambda passed: len(passed) * math.sqrt(len(clusters[passed])))
    return clusters[best][0] if best else None
