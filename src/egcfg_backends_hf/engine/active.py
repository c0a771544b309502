"""Which sequences the asyncio tasks work on: what they need stays in the cache, nothing else does.

A task decodes one response: it works on two prefixes that grow (the unconditional and the
conditional branch), and on the continuations that it sampled last. Kept to the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, takewhile
from weakref import WeakKeyDictionary

from attrs import define, field

from egcfg_backends_hf.engine.prompt_lookup import TokenIndex

__all__ = ["ActiveSequences", "ActiveTasks"]

BRANCHES = 2
"""Prefixes that a task works on at most."""


@define(eq=False)
class Branch:
    """A prefix that a task works on, and where its tokens came before."""

    ids: tuple[int, ...]
    index: TokenIndex


@define(eq=False)
class ActiveSequences:
    """What one task works on.

    Attributes:
        branches: the prefixes of its last scores.
        continuations: what it sampled last, each after its prefix.
        samples: where the tokens of `continuations` came before.
        in_flight: the sequences of the call that it waits for.
    """

    branches: list[Branch] = field(factory=list)
    continuations: list[tuple[int, ...]] = field(factory=list)
    samples: TokenIndex = field(factory=TokenIndex)
    in_flight: list[tuple[int, ...]] = field(factory=list)

    def touch(self, prefixes: Iterable[tuple[int, ...]]) -> bool:
        """Note the prefixes of a call.

        Each takes the place of the branch that it extends or shortens, else of the one that it has
        the longest beginning in common with, once there are `BRANCHES`.

        Returns:
            Whether a branch changed otherwise than by growing, so that something can be evicted.
        """
        changed = False
        touched: list[Branch] = []
        for ids in dict.fromkeys(prefixes):
            branch = self._branch_for(ids, touched)
            known = branch.ids
            if ids[: len(known)] == known:
                branch.index.extend(ids[len(known) :])
            else:
                changed = True
                branch.index = TokenIndex(ids)
            branch.ids = ids
            touched.append(branch)
        return changed

    def sampled(self, continuations: Sequence[tuple[int, ...]], start: int = 0) -> None:
        """Note what a call sampled.

        Args:
            continuations: each after its prefix.
            start: where the tokens begin that are worth looking up: after the shortest prefix.
        """
        self.continuations = list(continuations)
        self.samples = TokenIndex([token for ids in continuations for token in ids[start:]])

    def indexes(self) -> tuple[TokenIndex, ...]:
        """Return where tokens that may come next are looked up: the longest branch."""
        return tuple(b.index for b in sorted(self.branches, key=lambda b: -len(b.ids))[:1])

    def sequences(self) -> Iterator[tuple[int, ...]]:
        """Iterate over all sequences that the task needs."""
        return chain((branch.ids for branch in self.branches), self.continuations, self.in_flight)

    def _branch_for(self, ids: tuple[int, ...], touched: list[Branch]) -> Branch:
        """Return the branch that `ids` takes the place of, a new one if there is room for it."""
        for branch in self.branches:
            shorter = min(len(branch.ids), len(ids))
            if branch.ids[:shorter] == ids[:shorter]:
                return branch
        if len(self.branches) < BRANCHES:
            self.branches.append(Branch((), TokenIndex()))
            return self.branches[-1]
        others = [branch for branch in self.branches if branch not in touched]
        return max(others or self.branches, key=lambda branch: _shared(branch.ids, ids))


class ActiveTasks:
    """The active sequences of every task that is not done."""

    def __init__(self) -> None:
        self._tasks: WeakKeyDictionary[object, ActiveSequences] = WeakKeyDictionary()

    def current(self) -> ActiveSequences:
        """Return those of the current task."""
        return self._tasks.setdefault(asyncio.current_task() or self, ActiveSequences())

    def sequences(self) -> list[tuple[int, ...]]:
        """Return all sequences that any task needs."""
        active = (
            sequences
            for task, sequences in self._tasks.items()
            if not (isinstance(task, asyncio.Task) and task.done())
        )
        return list(chain.from_iterable(each.sequences() for each in active))


def _shared(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Return how many tokens two sequences have in common from the start."""
    return sum(1 for _ in takewhile(bool, map(int.__eq__, first, second)))
