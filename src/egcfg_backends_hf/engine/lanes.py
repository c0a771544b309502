"""Lanes: what the model remembers for each task, and which of it stays.

A task decodes one response: it works on two prefixes that grow (the unconditional and the
conditional branch), and on the continuations that it sampled last. Its lane has the token tree of
these, with the keys and values. A new lane begins with a copy of what another one knows of its
prompt, and of the answer to the same prompt: a few-shot prompt is computed once, and so is what a
task's answers at several guidance strengths begin with alike. When its task is done a lane is idle,
and stays for later tasks. A quarter as many are idle as were live at once, or one, and fewer
where memory is short: the least recently used goes first.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, takewhile

from attrs import define, field

from egcfg_backends_hf.engine.backoff import Backoff
from egcfg_backends_hf.engine.prompt_lookup import TokenIndex
from egcfg_backends_hf.engine.slot_cache import SlotBuffers
from egcfg_backends_hf.engine.token_tree import NO_SLOT, Node, TokenTree

__all__ = ["Lane", "Lanes", "shared_length"]

logger = logging.getLogger(__name__)

BRANCHES = 2
"""Prefixes that a task works on at most."""


@define(eq=False)
class Branch:
    """A prefix that a task works on, and where its tokens came before.

    Attributes:
        ids: its tokens.
        index: where each few of them came last.
        stale: whether the task went on to something else.
    """

    ids: tuple[int, ...]
    index: TokenIndex
    stale: bool = False


@define(eq=False)
class Lane:
    """What is remembered for one task.

    The tree and the buffers belong to the worker thread while that runs a pass; the rest belongs to
    the event loop's thread, and is left alone while its task waits for a pass.

    Attributes:
        number: lanes are numbered in the order in which their tasks first asked.
        reserved: bytes that its buffers are expected to take.
        tree: what is in them, and the distributions after it.
        buffers: keys and values.
        branches: the prefixes of the task's last scores.
        continuations: what it sampled last, each after its prefix.
        inherited: another task's answer that this one may yet give, after its prompt.
        samples: where the tokens of `continuations` came before.
        in_flight: the sequences of the call that it waits for.
        eviction_is_due: whether a branch changed otherwise than by growing.
        idle: whether its task is done.
        answered_at: when its last call was answered, by the monotonic clock.
        last_pass: number of the last pass that it was of use in.
    """

    number: int
    reserved: int = 0
    tree: TokenTree = field(factory=TokenTree)
    buffers: SlotBuffers = field(factory=SlotBuffers)
    branches: list[Branch] = field(factory=list)
    continuations: list[tuple[int, ...]] = field(factory=list)
    inherited: tuple[int, ...] = ()
    samples: TokenIndex = field(factory=TokenIndex)
    in_flight: list[tuple[int, ...]] = field(factory=list)
    eviction_is_due: bool = False
    idle: bool = False
    answered_at: float = 0.0
    last_pass: int = 0

    def touch(self, prefixes: Iterable[tuple[int, ...]]) -> None:
        """Note the prefixes of a call.

        Each takes the place of the branch that it extends or shortens, else of the one that it has
        the longest beginning in common with, once there are `BRANCHES`.
        """
        touched: list[Branch] = []
        changed = False
        for ids in dict.fromkeys(prefixes):
            branch = self._branch_for(ids, touched)
            known = branch.ids
            if ids[: len(known)] == known:
                branch.index.extend(ids[len(known) :])
            else:
                changed = self.eviction_is_due = True
                branch.index = TokenIndex(ids)
            branch.ids = ids
            touched.append(branch)
        for branch in self.branches:
            # What is left of another problem, where one task solves several, foretells nothing.
            branch.stale = branch not in touched and (branch.stale or changed)

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
        branches = (branch for branch in self.branches if not branch.stale)
        return tuple(b.index for b in sorted(branches, key=lambda b: -len(b.ids))[:1])

    def computed(self, ids: Sequence[int]) -> int:
        """Return for how many of the first tokens of `ids` there are keys and values.

        Of a long prefix (see `TokenTree`), what is read as short ones are.
        """
        found = self.tree.find(ids[: self.tree.longest_short])
        return sum(1 for _ in takewhile(lambda node: node.slot != NO_SLOT, found))

    def answer_to(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Return what of `ids` is computed, with the longest branch after it if that is all of it.

        Another thread may do so while the task goes on: what it finds was there a moment ago.
        """
        branches = [branch.ids for branch in self.branches]
        after = [known for known in branches if known[: len(ids)] == ids]
        longest = max(after, key=len, default=ids)
        return longest[: self.computed(longest)]

    def begin_as(self, source: Lane, ids: tuple[int, ...]) -> list[Node]:
        """Copy what another lane knows of a prefix and its answer into this one, which is empty.

        Returns:
            The tokens that are known now.
        """
        known = source.answer_to(ids)
        found = source.tree.find(known)
        # First what may run out of memory.
        self.buffers.copy(source.buffers, [node.slot for node in found])
        path = self.tree.path(known)
        self.tree.take_slots(path)
        for node, other in zip(path, found, strict=True):
            node.scores = other.scores
        self.inherited = known
        return path

    def evict(self) -> None:
        """Forget what the task needs no more."""
        self.eviction_is_due = False
        followed = (self.inherited[: len(b.ids)] == b.ids for b in self.branches)
        if not any(followed):
            self.inherited = ()
        needed: Iterator[tuple[int, ...]] = chain(
            (branch.ids for branch in self.branches),
            self.continuations,
            self.in_flight,
            (self.inherited,),
        )
        self.tree.evict(needed)
        self.buffers.trim(self.tree.used)

    def clear(self) -> None:
        """Forget all that was computed."""
        self.tree.evict(())
        self.buffers.clear()

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
        return max(others or self.branches, key=lambda branch: shared_length(branch.ids, ids))


class Lanes:
    """The lanes of all tasks; used by the event loop's thread only.

    Args:
        token_bytes: memory of one token's keys and values.
        capacity: bytes that all buffers may take; a new task waits where its lane would not fit.
        longest_short: of the lanes' trees; None: there are no long prefixes.

    Attributes:
        on_end: called when a task is done.
    """

    def __init__(self, token_bytes: int, capacity: int, longest_short: int | None = None) -> None:
        self._token_bytes = token_bytes
        self._longest_short = longest_short or sys.maxsize
        self._capacity = self._most = capacity
        self._backoff = Backoff()
        self._live: dict[asyncio.Task[object], Lane] = {}
        self._idle: list[Lane] = []
        self._count = 0
        self._largest = 0
        self._most_live = 0
        self.on_end: Callable[[], None] = lambda: None
        self._room = asyncio.Event()
        self._waiting_is_told = False

    async def current(self, tokens: int) -> Lane:
        """Return the lane of the current task, which waits for room if it has none yet.

        Room comes when other tasks are done: one that has a lane must not wait for one that has
        none.

        Args:
            tokens: of the prefix that it is about to ask about.
        """
        task = asyncio.current_task()
        assert task is not None  # coroutines run in tasks
        while task not in self._live:
            expected = max(self._largest, BRANCHES * tokens * self._token_bytes)
            if self._has_room(expected):
                self._live[task] = Lane(self._count, expected, TokenTree(self._longest_short))
                self._count += 1
                self._most_live = max(self._most_live, len(self._live))
                task.add_done_callback(self._task_is_done)
            else:
                self._room.clear()
                await self._room.wait()
        return self._live[task]

    @property
    def live(self) -> list[Lane]:
        """Those of tasks that are not done, in the order of their numbers."""
        return list(self._live.values())

    @property
    def all(self) -> list[Lane]:
        """All lanes."""
        return [*self._idle, *self._live.values()]

    @property
    def bytes(self) -> int:
        """Memory of all keys and values, free slots included."""
        return sum(lane.buffers.bytes for lane in self.all)

    def tidy(self) -> None:
        """Note how large live lanes are, and forget idle ones that do not fit; before each pass."""
        if self._capacity < self._most and self._backoff.succeeded():
            self._capacity = min(self._most, self._capacity + max(self._capacity, self._largest))
            self._room.set()
        self._largest = max([self._largest, *(lane.buffers.bytes for lane in self.live)])
        for lane in [lane for lane in self._idle if not lane.buffers.bytes]:  # of no use to others
            self._idle.remove(lane)
            lane.clear()
        self.forget_idle(self._capacity)

    def forget_idle(self, capacity: int = 0) -> None:
        """Forget the least recently used idle lanes until all take no more than `capacity` bytes,
        and a quarter as many are idle as were live at once, or one.

        Between passes.
        """
        self._idle.sort(key=lambda lane: lane.last_pass)
        most = max(1, self._most_live // 4)
        while self._idle and (len(self._idle) > most or self.bytes > capacity):
            self._idle.pop(0).clear()

    def limit(self) -> None:
        """Take what live lanes hold for all that fits for now: memory ran out with one more."""
        self._backoff.failed()
        self._capacity = min(self._capacity, sum(lane.buffers.bytes for lane in self.live))

    def _has_room(self, expected: int) -> bool:
        """Whether one more live lane fits."""
        reserved = sum(max(lane.buffers.bytes, lane.reserved) for lane in self.live)
        fits = not self._live or reserved + expected <= self._capacity
        if not fits and not self._waiting_is_told:
            self._waiting_is_told = True
            logger.warning(
                "memory for keys and values is enough for %d at a time: other tasks wait (%d MiB, "
                "about %d for each; -o backend.cache_bytes=... changes it)",
                len(self._live),
                self._capacity // 2**20,
                expected // 2**20,
            )
        return fits

    def _task_is_done(self, task: asyncio.Task[object]) -> None:
        lane = self._live.pop(task)
        lane.continuations, lane.in_flight, lane.inherited = [], [], ()
        lane.idle = lane.eviction_is_due = True
        self._idle.append(lane)
        self._room.set()
        self.on_end()


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common from the start."""
    return sum(1 for _ in takewhile(bool, map(int.__eq__, first, second)))
