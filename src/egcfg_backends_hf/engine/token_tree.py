"""The tree of everything that a model has read: one node per token after a certain prefix.

Prompts, branches, candidates and drafts share the nodes of their common prefixes, so that each
prefix is computed once and siblings can run in one pass (token trees as in SpecInfer, Miao et al.
2024). A node whose keys and values are kept owns a *slot*, a position in the buffers of
`egcfg_backends_hf.engine.slot_cache`. Pure bookkeeping: no tensor lives here.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from egcfg.interfaces.backend import Logprobs

__all__ = ["Node", "TokenTree", "visibility"]

NO_SLOT = -1


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
    """

    token: int = -1
    parent: Node | None = None
    position: int = -1
    slot: int = NO_SLOT
    children: dict[int, Node] = field(factory=dict, repr=False)
    scores: Logprobs | None = field(default=None, repr=False)


@define(eq=False)
class TokenTree:
    """Nodes by their tokens, and the slots that they own."""

    root: Node = field(factory=Node)
    used: int = 0
    """Slots up to and including the highest that is taken."""
    _free: list[int] = field(factory=list)

    def path(self, ids: Sequence[int]) -> list[Node]:
        """Return the nodes of `ids`, one per token, making those that are missing."""
        node, nodes = self.root, []
        for token in ids:
            child = node.children.get(token)
            if child is None:
                child = Node(token, node, node.position + 1)
                node.children[token] = child
            nodes.append(child)
            node = child
        return nodes

    def find(self, ids: Sequence[int]) -> list[Node]:
        """Return the nodes of `ids` that there are, from the first; makes none.

        Another thread may do so while the tree changes: what it finds was there a moment ago.
        """
        children, nodes = self.root.children, []
        for token in ids:
            node = children.get(token)
            if node is None:
                break
            nodes.append(node)
            children = node.children
        return nodes

    def take_slots(self, nodes: Iterable[Node]) -> None:
        """Give each of `nodes` that has none a slot, the lowest free ones first."""
        for node in nodes:
            if node.slot == NO_SLOT:
                node.slot = heapq.heappop(self._free) if self._free else self.used
                self.used = max(self.used, node.slot + 1)

    def drop(self, nodes: Iterable[Node]) -> None:
        """Forget `nodes` and everything after them."""
        for node in nodes:
            if node.parent is not None and node.parent.children.get(node.token) is node:
                del node.parent.children[node.token]
                self._release(node)

    def evict(self, active: Iterable[Sequence[int]]) -> None:
        """Forget every node that is not on the path of one of the `active` sequences."""
        kept = {id(self.root)}
        for ids in active:
            kept.update(map(id, self.find(ids)))
        pending = [self.root]
        while pending:
            node = pending.pop()
            self.drop([child for child in node.children.values() if id(child) not in kept])
            pending.extend(node.children.values())
        self._free.sort()
        while self._free and self._free[-1] == self.used - 1:
            self._free.pop()
            self.used -= 1

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


def visibility(nodes: Sequence[Node], used: int) -> NDArray[np.bool_]:
    """Return which slots each of `nodes` attends to: those of its ancestors and its own.

    Args:
        nodes: every node that has no keys and values yet, parents before their children; all have
            slots.
        used: slots in use.

    Returns:
        Shape (nodes, used).
    """
    rows = np.zeros((len(nodes), used), dtype=np.bool_)
    row_of: dict[int, int] = {}
    for row, node in enumerate(nodes):
        parent = node.parent
        if parent is not None and id(parent) in row_of:
            rows[row] = rows[row_of[id(parent)]]
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
