"""The tree of everything that a model has read: one node per token after a certain prefix.

Prompts, branches, candidates and drafts share the nodes of their common prefixes, so that each
prefix is computed once and siblings can run in one pass (token trees as in SpecInfer, Miao et al.
2024). A node whose keys and values are kept owns a *slot*, a position in the buffers of
`egcfg_backends_hf.engine.slot_cache`. Pure bookkeeping: no tensor lives here.

Some models read long sequences with other rotary frequencies than short ones, from the first token
on (LongRoPE, Ding et al. 2024). What follows the last short prefix stands on nodes of its own.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from egcfg.interfaces.backend import Logprobs

__all__ = ["Node", "TokenTree", "visibility"]

NO_SLOT = -1

STRIDE, PATHS = 64, 64
"""Lengths at which the beginnings of paths are remembered, and how many of them."""


@define(eq=False)
class Node:
    """A token after its ancestors.

    Attributes:
        token: its id; -1 at the root, which stands for the empty prefix.
        parent: the token before it; None at the root.
        position: its place in the sequence, from 0; -1 at the root.
        slot: where its keys and values are; `NO_SLOT` until they are computed.
        children: the tokens known after it.
        scores: the distribution of the token after it, where it is remembered.
        broken: whether that is none: the model gave something that is no number.
    """

    token: int = -1
    parent: Node | None = None
    position: int = -1
    slot: int = NO_SLOT
    children: dict[int, Node] = field(factory=dict, repr=False)
    scores: Logprobs | None = field(default=None, repr=False)
    broken: bool = False


@define(eq=False)
class TokenTree:
    """Nodes by their tokens, and the slots that they own.

    Attributes:
        longest_short: tokens of the longest prefix that is read as short ones are.
        root: of short prefixes.
        long_root: of what long ones stand on.
        used: slots up to and including the highest that is taken.
        seen: which slots the nodes of the last pass attend to (`visibility`).
    """

    longest_short: int = sys.maxsize
    root: Node = field(factory=Node)
    long_root: Node = field(factory=Node)
    used: int = 0
    seen: dict[Node, NDArray[np.bool_]] = field(factory=dict)
    _free: list[int] = field(factory=list)
    # Paths of prompts, so that they are not walked token by token for each question.
    _begun: dict[tuple[int, ...], list[Node]] = field(factory=dict)
    _positions: NDArray[np.int64] = field(factory=partial(np.zeros, 256, np.int64))

    @property
    def positions(self) -> NDArray[np.int64]:
        """The position of the token in each slot in use, shape (used,); of free ones, any."""
        return self._positions[: self.used]

    def is_long(self, node: Node) -> bool:
        """Whether the prefix up to and including `node` is a long one."""
        return node.position >= self.longest_short

    def path(self, ids: Sequence[int]) -> list[Node]:
        """Return the nodes of `ids`, one per token, making those that are missing.

        Those of long prefixes have ancestors of their own.
        """
        start = ids[: self.longest_short]
        short = self._beginning(start)
        self._note(start, _walk(self.root, start, short))
        if len(ids) <= self.longest_short:
            return short
        return short + _walk(self.long_root, ids, [])[self.longest_short :]

    def find(self, ids: Sequence[int]) -> list[Node]:
        """Return the nodes of `ids` that there are, from the first; makes none.

        Another thread may do so while the tree changes: what it finds was there a moment ago.
        """
        start = ids[: self.longest_short]
        short = _found(self.root, start, self._beginning(start))
        if len(ids) <= self.longest_short or len(short) < self.longest_short:
            return short
        return short + _found(self.long_root, ids, [])[self.longest_short :]

    def take_slots(self, nodes: Iterable[Node]) -> None:
        """Give each of `nodes` that has none a slot, the lowest free ones first."""
        for node in nodes:
            if node.slot == NO_SLOT:
                node.slot = heapq.heappop(self._free) if self._free else self.used
                self.used = max(self.used, node.slot + 1)
                if self.used > len(self._positions):
                    self._positions = np.resize(self._positions, 2 * self.used)
                self._positions[node.slot] = node.position

    def drop(self, nodes: Iterable[Node]) -> None:
        """Forget `nodes` and everything after them."""
        self._begun, self.seen = {}, {}
        for node in nodes:
            if node.parent is not None and node.parent.children.get(node.token) is node:
                del node.parent.children[node.token]
                self._release(node)

    def evict(self, active: Iterable[Sequence[int]]) -> None:
        """Forget every node that is not on the path of one of the `active` sequences."""
        kept: set[int] = set()
        for ids in active:
            kept.update(map(id, self.find(ids[: self.longest_short])))
            if len(ids) > self.longest_short:
                kept.update(map(id, _found(self.long_root, ids, [])))
        pending = [self.root, self.long_root]
        while pending:
            node = pending.pop()
            self.drop([child for child in node.children.values() if id(child) not in kept])
            pending.extend(node.children.values())
        self._free.sort()
        while self._free and self._free[-1] == self.used - 1:
            self._free.pop()
            self.used -= 1

    def _beginning(self, ids: Sequence[int]) -> list[Node]:
        """Return the nodes of a beginning of `ids` whose path is known."""
        longest = len(ids) // STRIDE * STRIDE
        for end in range(longest, max(0, longest - 3 * STRIDE), -STRIDE):
            if (known := self._begun.get(tuple(ids[:end]))) is not None:
                return known.copy()
        return []

    def _note(self, ids: Sequence[int], path: list[Node]) -> None:
        """Remember the beginning of a path."""
        end = len(ids) // STRIDE * STRIDE
        start = tuple(ids[:end])
        if end and start not in self._begun:
            if len(self._begun) >= PATHS:
                self._begun = {}
            self._begun[start] = path[:end]

    def _release(self, top: Node) -> None:
        pending = [top]
        while pending:
            node = pending.pop()
            if node.slot != NO_SLOT:
                heapq.heappush(self._free, node.slot)
                node.slot = NO_SLOT
            node.scores = None
            pending.extend(node.children.values())
            node.children = {}


def _walk(root: Node, ids: Sequence[int], nodes: list[Node]) -> list[Node]:
    """Add the nodes of `ids` after a root to `nodes`, the first of them; make the missing ones."""
    node = nodes[-1] if nodes else root
    for token in ids[len(nodes) :]:
        child = node.children.get(token)
        if child is None:
            child = Node(token, node, node.position + 1)
            node.children[token] = child
        nodes.append(child)
        node = child
    return nodes


def _found(root: Node, ids: Sequence[int], nodes: list[Node]) -> list[Node]:
    """Add the nodes of `ids` after a root that there are to `nodes`, the first of them."""
    children = (nodes[-1] if nodes else root).children
    for token in ids[len(nodes) :]:
        node = children.get(token)
        if node is None:
            break
        nodes.append(node)
        children = node.children
    return nodes


def visibility(
    nodes: Sequence[Node], used: int, seen: Mapping[Node, NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Return which slots each of `nodes` attends to: those of its ancestors and its own.

    Args:
        nodes: every node that has no keys and values yet, parents before their children; all have
            slots.
        used: slots in use.
        seen: the same of earlier nodes, as far as it is known.

    Returns:
        Shape (nodes, used).
    """
    rows = np.zeros((len(nodes), used), dtype=np.bool_)
    row_of: dict[int, int] = {}
    for row, node in enumerate(nodes):
        parent = node.parent
        if parent is not None and id(parent) in row_of:
            rows[row] = rows[row_of[id(parent)]]
        elif parent is not None and parent in seen:
            known = seen[parent][:used]
            rows[row, : len(known)] = known
        else:
            rows[row, _slots_up_to(parent)] = True
        rows[row, node.slot] = True
        row_of[id(node)] = row
    return rows


def _slots_up_to(node: Node | None) -> list[int]:
    slots = []
    while node is not None and node.parent is not None:
        slots.append(node.slot)
        node = node.parent
    return slots
