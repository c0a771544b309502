"""Next-token distributions after prefixes, each computed once where the model allows it.

What was computed is remembered in a tree of tokens, whatever it was asked for: a draft that was
sampled a moment ago costs nothing. An evaluator works in passes, and between two passes of one call
it may do those of others, forget what nobody needs, or stop. All of it happens in one thread; only
`Evaluator.look_up` may be called from another.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
from attrs import define, field

from egcfg.interfaces.backend import Logprobs, ScoreRequest
from egcfg_backends_hf.engine.causal_model import CausalModel, FloatArray, is_out_of_memory
from egcfg_backends_hf.engine.slot_cache import SlotCache
from egcfg_backends_hf.engine.token_tree import NO_SLOT, Node, TokenTree

__all__ = ["Evaluator", "PendingScore", "TreeEvaluator", "WholePrefixEvaluator", "evaluator_for"]

logger = logging.getLogger(__name__)

PASS_TOKENS = 1024
"""Tokens in one pass at most: bounds the memory of a prefill at no loss of speed."""

REMEMBERED_BYTES = 256 * 2**20
"""Bytes of distributions that are remembered, in case they are asked for again."""


@define(eq=False)
class PendingScore:
    """A request, and what is known of its answer so far.

    Attributes:
        request: what was asked.
        distributions: ``len(draft) + 1`` of them; None: not known yet.
    """

    request: ScoreRequest
    distributions: list[Logprobs | None] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.distributions = [None] * (len(self.request.draft) + 1)

    @property
    def ids(self) -> tuple[int, ...]:
        """The prefix and its draft."""
        return self.request.ids + self.request.draft

    @property
    def missing(self) -> int:
        """How many distributions are not known yet."""
        return sum(distribution is None for distribution in self.distributions)

    def answer(self, count: int | None = None) -> list[Logprobs]:
        """Return the distributions, or the first `count`, all of which are known by now."""
        return [found for found in self.distributions[:count] if found is not None]

    def fill(self, path: Sequence[Node]) -> set[Node]:
        """Take over what is remembered on the `path` of `ids`; return the nodes that lack it."""
        lacking = set()
        for index, node in enumerate(path[len(self.request.ids) - 1 :]):
            if self.distributions[index] is None:
                self.distributions[index] = node.scores
                if node.scores is None:
                    lacking.add(node)
        return lacking


def evaluator_for(model: CausalModel, name: str) -> Evaluator:
    """Return the fast evaluator if the model can run token trees, else the slow one.

    Args:
        model: the model.
        name: for the log.
    """
    if model.enable_tree_attention():
        return TreeEvaluator(model)
    logger.warning(
        "%s keeps its past in a way that cannot be cut back to a prefix (a sliding window, a "
        "recurrent state, its own kind of attention): every question runs the whole prompt, which "
        "is slow",
        name,
    )
    return WholePrefixEvaluator(model)


class Evaluator(ABC):
    """The model as a function from prefixes to next-token distributions.

    Args:
        model: what runs.
    """

    def __init__(self, model: CausalModel) -> None:
        self.model = model
        self._tree = TokenTree()
        self._remembered: dict[Node, None] = {}
        self._most = PASS_TOKENS

    def look_up(self, request: ScoreRequest) -> PendingScore:
        """Return `request` with what is remembered of its answer; from any thread."""
        pending = PendingScore(request)
        pending.fill(self._tree.find(pending.ids))
        return pending

    @abstractmethod
    def advance(self, pending: Sequence[PendingScore]) -> bool:
        """Run one pass for what is `pending`, if it lacks anything; return whether it is complete.

        Raises:
            RuntimeError: memory runs out even with one token in a pass.
        """

    def evict(self, active: Iterable[Sequence[int]]) -> None:
        """Forget everything but the prefixes of the `active` sequences."""
        self._tree.evict(active)
        self._remembered = {node: None for node in self._remembered if node.scores is not None}

    def _remember(self, nodes: Sequence[Node], logprobs: FloatArray) -> None:
        """Remember the distributions after `nodes`, shape (nodes, vocab)."""
        for node, row in zip(nodes, logprobs, strict=True):
            node.scores = Logprobs(row)
            self._remembered[node] = None

    def _forget_oldest(self) -> None:
        """Forget distributions until the rest fits its budget; all of them are equally large."""
        while len(self._remembered) > 1:
            oldest = next(iter(self._remembered))
            assert oldest.scores is not None  # forgotten nodes are not among the remembered
            if len(self._remembered) * oldest.scores.values.nbytes <= REMEMBERED_BYTES:
                return
            del self._remembered[oldest]
            oldest.scores = None

    def _shrink(self, size: int, error: RuntimeError) -> None:
        """Answer a pass of `size` tokens or rows that ran out of memory with smaller ones.

        Raises:
            RuntimeError: `error`; it is another one, or nothing is left to shrink.
        """
        if not is_out_of_memory(error) or size == 1:
            raise error
        self._most = size // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        logger.warning(
            "out of memory with %d at once; running %d at a time from here on", size, self._most
        )


class TreeEvaluator(Evaluator):
    """Runs each prefix once, and what is missing for all that is pending in one pass.

    Args:
        model: one that runs token trees.
    """

    def __init__(self, model: CausalModel) -> None:
        super().__init__(model)
        self._cache = SlotCache(model.layers)

    def advance(self, pending: Sequence[PendingScore]) -> bool:
        """Run one pass, see `Evaluator.advance`."""
        paths = [(each, self._tree.path(each.ids)) for each in pending if each.missing]
        asked = {node for each, path in paths for node in each.fill(path)}
        # A distribution that was forgotten takes another pass of its token, into the same slot.
        missing = dict.fromkeys(
            node for _, path in paths for node in path if node.slot == NO_SLOT or node in asked
        )
        part = sorted(missing, key=lambda node: node.position)[: self._most]
        if part:
            try:
                self._run(part, asked)
            except RuntimeError as error:
                self._shrink(len(part), error)
                return False
            for each, path in paths:
                each.fill(path)
            self._forget_oldest()
        return len(part) == len(missing)

    def evict(self, active: Iterable[Sequence[int]]) -> None:
        """Forget all other nodes; their slots are free, and large buffers are given back."""
        super().evict(active)
        self._cache.trim(self._tree.used)

    @property
    def slots(self) -> int:
        """Slots in use, up to the highest: what a pass attends to."""
        return self._tree.used

    @property
    def cache_bytes(self) -> int:
        """Memory of the keys and values, free slots included."""
        return self._cache.bytes

    def _run(self, nodes: Sequence[Node], asked: set[Node]) -> None:
        self._tree.take_slots(nodes)
        wanted = [index for index, node in enumerate(nodes) if node in asked]
        # A pass must return something; the last token's distribution is the cheapest.
        rows = wanted or [len(nodes) - 1]
        try:
            found = self.model.run_tree(nodes, self._tree.used, self._cache, rows)
        except BaseException:
            # A pass that fails half-way leaves slots with which nothing can be done.
            self._tree.drop(nodes)
            raise
        self._remember([nodes[index] for index in rows], found)


class WholePrefixEvaluator(Evaluator):
    """Runs every prefix whole: for models whose past cannot be shared or cut back."""

    def advance(self, pending: Sequence[PendingScore]) -> bool:
        """Run one pass of equally long prefixes, see `Evaluator.advance`."""
        paths = {each.ids: self._tree.path(each.ids) for each in pending if each.missing}
        tails: dict[tuple[int, ...], int] = {}  # how many distributions are wanted, from the end
        for each in pending:
            if each.missing and each.fill(paths[each.ids]):
                tail = len(each.distributions) - each.distributions.index(None)
                tails[each.ids] = max(tail, tails.get(each.ids, 0))
        if not tails:
            return True
        first = next(iter(tails))
        alike = [ids for ids in tails if (len(ids), tails[ids]) == (len(first), tails[first])]
        part = alike[: self._most]
        try:
            found = self.model.run_whole(part, tails[first])
        except RuntimeError as error:
            self._shrink(len(part), error)
            return False
        for ids, logprobs in zip(part, found, strict=True):
            self._remember(paths[ids][-tails[first] :], logprobs)
        for each in pending:
            if each.ids in paths:
                each.fill(paths[each.ids])
        self._forget_oldest()
        return len(part) == len(tails)
