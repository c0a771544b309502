"""Answers for the distributions behind prefixes, each computed once where the model allows it."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import torch

from egcfg.interfaces.backend import TokenLogprobs
from egcfg_backends_hf.causal_model import CausalModel
from egcfg_backends_hf.memory import is_out_of_memory
from egcfg_backends_hf.slot_cache import SlotCache
from egcfg_backends_hf.token_tree import NO_SLOT, Node, TokenTree

__all__ = ["Evaluator", "Question", "TreeEvaluator", "WholePrefixEvaluator", "evaluator_for"]

logger = logging.getLogger(__name__)

Question: TypeAlias = tuple[tuple[int, ...], int]
"""(token ids, first): asks after ``ids[:first]``, ``ids[:first + 1]``, ..., ``ids``."""

PASS_TOKENS = 1024
"""Tokens in one pass at most: bounds the memory of a prefill at no loss of speed."""

SCORES_BUDGET = 64 * 2**20
"""Bytes of distributions that are remembered, in case a question is asked again."""


def evaluator_for(model: CausalModel, name: str) -> Evaluator:
    """Return the fast evaluator if the model can run token trees, else the slow one.

    Args:
        model: the model.
        name: for the log.
    """
    if model.trees():
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
        self._most = PASS_TOKENS

    @abstractmethod
    def distributions(self, questions: Sequence[Question]) -> list[list[TokenLogprobs]]:
        """Return, per question, ``len(ids) - first + 1`` distributions.

        Raises:
            RuntimeError: memory runs out even with one token in a pass.
        """

    def keep(self, sequences: Iterable[Sequence[int]]) -> None:  # noqa: B027 - most keep nothing
        """Forget everything but the prefixes of `sequences`."""

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
    """Runs each prefix once, and all that is missing for a call in one pass.

    Args:
        model: one that runs trees.
    """

    def __init__(self, model: CausalModel) -> None:
        super().__init__(model)
        self._tree = TokenTree()
        self._cache = SlotCache(model.layers)
        self._remembered: dict[Node, None] = {}

    def distributions(self, questions: Sequence[Question]) -> list[list[TokenLogprobs]]:
        """Return the distributions, see `Evaluator.distributions`."""
        paths = [self._tree.path(ids) for ids, _ in questions]
        wanted = [path[first - 1 :] for path, (_, first) in zip(paths, questions, strict=True)]
        asked = {node for nodes in wanted for node in nodes if node.scores is None}
        # A distribution that was forgotten takes another pass of its token, into the same slot.
        missing = dict.fromkeys(
            node for path in paths for node in path if node.slot == NO_SLOT or node in asked
        )
        # Until the last question is answered, nothing of this call is forgotten.
        fresh = self._run(sorted(missing, key=lambda node: node.position), asked)
        answers = [[node.scores or fresh[node] for node in nodes] for nodes in wanted]
        self._remember(fresh)
        return answers

    def keep(self, sequences: Iterable[Sequence[int]]) -> None:
        """Forget all other nodes; their slots are free, and large buffers are given back."""
        self._tree.keep(sequences)
        self._cache.trim(self._tree.used)
        self._remembered = {node: None for node in self._remembered if node.slot != NO_SLOT}

    @property
    def cache_bytes(self) -> int:
        """Memory of the keys and values, free slots included."""
        return self._cache.bytes

    def _run(self, nodes: Sequence[Node], asked: set[Node]) -> dict[Node, TokenLogprobs]:
        self._tree.take_slots(nodes)
        fresh: dict[Node, TokenLogprobs] = {}
        done = 0
        try:
            while done < len(nodes):
                part = nodes[done : done + self._most]
                wanted = [index for index, node in enumerate(part) if node in asked]
                # A pass must return something; the last token's distribution is the cheapest.
                rows = wanted or [len(part) - 1]
                try:
                    found = self.model.run_tree(part, self._tree.used, self._cache, rows)
                except RuntimeError as error:
                    self._shrink(len(part), error)
                    continue
                for index, row in zip(wanted, found, strict=False):
                    fresh[part[index]] = TokenLogprobs(row)
                done += len(part)
        except BaseException:
            # A pass that fails half-way leaves slots with which nothing can be done.
            self._tree.drop(nodes[done:])
            raise
        return fresh

    def _remember(self, fresh: dict[Node, TokenLogprobs]) -> None:
        for node, scores in fresh.items():
            node.scores = scores
            self._remembered[node] = None
            # All distributions are equally large, and the oldest come first.
            if len(self._remembered) * scores.logprobs.nbytes > SCORES_BUDGET:
                oldest = next(iter(self._remembered))
                del self._remembered[oldest]
                oldest.scores = None


class WholePrefixEvaluator(Evaluator):
    """Runs every prefix whole: for models whose past cannot be shared or cut back."""

    def distributions(self, questions: Sequence[Question]) -> list[list[TokenLogprobs]]:
        """Return the distributions; equally long prefixes run together."""
        answers: dict[int, list[TokenLogprobs]] = {}
        alike: dict[tuple[int, int], list[int]] = {}
        for index, (ids, first) in enumerate(questions):
            alike.setdefault((len(ids), len(ids) - first + 1), []).append(index)
        for (_, keep), indices in alike.items():
            done = 0
            while done < len(indices):
                part = indices[done : done + self._most]
                try:
                    found = self.model.run_whole([questions[i][0] for i in part], keep)
                except RuntimeError as error:
                    self._shrink(len(part), error)
                    continue
                for index, rows in zip(part, found, strict=True):
                    answers[index] = [TokenLogprobs(row) for row in rows]
                done += len(part)
        return [answers[index] for index in range(len(questions))]
