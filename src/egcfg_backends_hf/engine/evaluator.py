"""Next-token distributions after prefixes, each computed once where the model allows it.

What was computed is remembered in its lane's tree of tokens, whatever it was asked for: a draft
that was sampled a moment ago costs nothing. All of it happens in one thread; only `look_up` may be
called from another.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import TypeAlias

import torch
from attrs import define, field

from egcfg.errors import UsageError
from egcfg.interfaces.backend import Logprobs, ScoreRequest
from egcfg_backends_hf.engine.backoff import Backoff
from egcfg_backends_hf.engine.causal_model import CausalModel, is_out_of_memory, to_host
from egcfg_backends_hf.engine.lanes import Lane, shared_length
from egcfg_backends_hf.engine.token_choice import UNDECIDED, Choice, choose_tokens
from egcfg_backends_hf.engine.token_tree import NO_SLOT, Node
from egcfg_backends_hf.engine.tree_trial import enable_trees, is_causal

__all__ = [
    "Evaluator",
    "PendingScore",
    "TreeEvaluator",
    "WholePrefixEvaluator",
    "choose_known",
    "evaluator_for",
    "look_up",
]

logger = logging.getLogger(__name__)

PASS_TOKENS = 1024
"""Tokens in one pass at most: bounds the memory of a prefill at no loss of speed."""

HOST_TOKENS = 512
"""The same on a CPU: more at once are no faster there, and what they work with takes memory."""

PIECE = 256
"""Tokens of one lane in a pass at most, where several share it: no lane waits long for another's
prompt. On a CPU also where it has the pass for itself."""

SHARED_PROMPT = 64
"""Tokens that two prompts begin with alike, for one to wait until the other has computed them."""

REMEMBERED = 56
"""Distributions that are remembered for each task in flight, in case they are asked for again.
Three or four times as many save 1 to 4 % of the tokens that run, half as many cost 2 to 5 % more
(SmolLM2-135M, 8 tasks in flight, gamma 1; Qwen2.5-Coder-0.5B, one task, gamma 1 and 3)."""

REMEMBERED_FOR = 2
"""Tasks at least for which that much is remembered."""


@define(eq=False)
class PendingScore:
    """A request, and what is known of its answer so far.

    Attributes:
        request: what was asked.
        distributions: ``len(draft) + 1`` of them; None: not known yet.
        choices: how a token is chosen from each of them, where that is done on the device.
        tokens: those that were; None: not yet.
        broken: whether one of them never will be: the model gave something that is no number.
    """

    request: ScoreRequest
    distributions: list[Logprobs | None] = field(init=False)
    choices: Sequence[Choice] = field(default=(), init=False)
    tokens: list[int] | None = field(default=None, init=False)
    broken: bool = field(default=False, init=False)

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
            if node.broken:
                self.distributions[index], self.broken = None, True
            elif self.distributions[index] is None:
                self.distributions[index] = scores = node.scores
                if scores is None:
                    lacking.add(node)
        return lacking


def evaluator_for(model: CausalModel, name: str) -> Evaluator:
    """Return the fast evaluator if the model can run token trees, else the slow one.

    Args:
        model: the model.
        name: for the log.

    Raises:
        UsageError: the model is of no use: it reads what follows a prefix as well.
        RuntimeError: out of memory.
    """
    reason = enable_trees(model)
    if reason is None:
        return TreeEvaluator(model)
    if not is_causal(model):
        raise UsageError(
            f"{name} is no causal language model: what it says after a prefix depends on what "
            "follows; choose another one"
        )
    logger.warning("%s runs the whole prompt for every question, which is slow: %s", name, reason)
    return WholePrefixEvaluator(model)


def look_up(lane: Lane, request: ScoreRequest) -> PendingScore:
    """Return `request` with what a lane remembers of its answer; from any thread."""
    pending = PendingScore(request)
    pending.fill(lane.tree.find(pending.ids))
    return pending


Work: TypeAlias = Mapping[Lane, Sequence[PendingScore]]
"""What lanes wait for, in the order in which their tokens are to be in a pass."""


class Evaluator(ABC):
    """The model as a function from prefixes to next-token distributions.

    Args:
        model: what runs.
    """

    def __init__(self, model: CausalModel) -> None:
        self.model = model
        self._remembered: dict[Node, None] = {}
        self._most = PASS_TOKENS
        self._backoff = Backoff()

    @abstractmethod
    def run_pass(self, work: Work, lanes: Sequence[Lane]) -> dict[Lane, int]:
        """Run one pass for what is missing in `work`, and fill in what it found.

        Args:
            work: what is asked.
            lanes: all there are. New ones begin with what others know of their prompts; idle ones
                are cleared where memory runs out.

        Returns:
            How many tokens of each lane ran; none where memory ran out: the next pass will need
            less.

        Raises:
            RuntimeError: memory runs out even with one token in a pass.
        """

    def _remember(self, nodes: Sequence[Node], logprobs: torch.Tensor) -> None:
        """Remember the distributions after `nodes`, shape (nodes, vocab)."""
        for node, row in zip(nodes, logprobs, strict=True):
            values = row.clone()  # else one that is kept would keep all of its pass
            node.scores = Logprobs(values.numpy() if self.model.on_host else values)
            self._remembered[node] = None

    def _finish(self, work: Work, found: Sequence[tuple[Sequence[Node], torch.Tensor]]) -> None:
        """Fill in what a pass found, choose the tokens that are chosen on the device, and see
        whether it gave numbers; what comes of that leaves the device in one copy.

        Args:
            work: as given to `run_pass`.
            found: nodes, each with the distributions after them, shape (nodes, vocab).
        """
        for nodes, logprobs in found:
            self._remember(nodes, logprobs)
        for lane, pending in work.items():
            for each in pending:
                each.fill(lane.tree.find(each.ids))
        asked = [each for of in work.values() for each in of if each.choices and not each.missing]
        # Where one logit is no number, or infinite, no log-probability of the row is a number.
        results = [logprobs[:, 0].isnan() for _, logprobs in found]
        if asked:
            results.append(_chosen(asked))
        read = to_host(torch.cat(results)).tolist() if results else []
        for nodes, _ in found:
            broken, read = read[: len(nodes)], read[len(nodes) :]
            for node, is_broken in zip(nodes, broken, strict=True):
                node.broken = bool(is_broken)
        for each in asked:
            each.tokens, read = read[: len(each.choices)], read[len(each.choices) :]
        if any(node.broken for nodes, _ in found for node in nodes):
            for lane, pending in work.items():
                for each in pending:
                    each.fill(lane.tree.find(each.ids))

    def _forget_oldest(self, lanes: Sequence[Lane]) -> None:
        """Forget distributions until no more are left than are remembered."""
        tasks = max(REMEMBERED_FOR, sum(not lane.idle for lane in lanes))
        known = [node for node in self._remembered if node.scores]  # the others were evicted
        surplus = max(0, len(known) - tasks * REMEMBERED)
        for node in known[:surplus]:
            node.scores = None
        self._remembered = dict.fromkeys(known[surplus:])

    def _make_room(
        self, size: int, lanes: Sequence[Lane], error: RuntimeError, *, divisible: bool = True
    ) -> None:
        """Answer a pass of `size` tokens or rows that ran out of memory: the next needs less.

        Args:
            size: of the pass.
            lanes: all there are.
            error: how it failed.
            divisible: whether smaller passes could do the same.

        Raises:
            RuntimeError: `error`; it is another one, or nothing is left to save.
        """
        if not is_out_of_memory(error):
            raise error
        idle = [lane for lane in lanes if lane.idle and lane.buffers.bytes]
        for lane in idle:
            lane.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if idle:
            return
        if size <= 1 or not divisible:
            self._most = PASS_TOKENS  # without whoever asked for it there may be memory again
            raise error
        self._most = size // 2
        self._backoff.failed()
        logger.warning(
            "out of memory with %d at once; running %d at a time for now", size, self._most
        )

    def _grow(self) -> None:
        """Answer a pass that had memory enough: after many of them, try larger ones again."""
        if self._most < PASS_TOKENS and self._backoff.succeeded():
            self._most = min(PASS_TOKENS, 2 * self._most)


class TreeEvaluator(Evaluator):
    """Runs each prefix once, and what is missing for all that is pending in one pass."""

    def run_pass(self, work: Work, lanes: Sequence[Lane]) -> dict[Lane, int]:
        """Run one pass, see `Evaluator.run_pass`."""
        parts: list[tuple[Lane, list[Node]]] = []
        found: list[tuple[Sequence[Node], torch.Tensor]] = []
        try:
            parts, asked = self._parts(work, lanes)
            if parts:
                found.append(self._run(parts, asked))
        except RuntimeError as error:
            size = sum(len(nodes) for _, nodes in parts)
            long = any(lane.tree.is_long(nodes[-1]) for lane, nodes in parts)
            self._make_room(size, lanes, error, divisible=not long)
            return {}
        self._finish(work, found)
        self._forget_oldest(lanes)
        self._grow()
        for lane, _ in parts:
            lane.last_pass = self.model.passes
        return {lane: len(nodes) for lane, nodes in parts}

    def _parts(
        self, work: Work, lanes: Sequence[Lane]
    ) -> tuple[list[tuple[Lane, list[Node]]], set[Node]]:
        """Return the tokens to run, by lane, and those of them that are asked about."""
        missing: dict[Lane, list[Node]] = {}
        long: dict[Lane, list[Node]] = {}
        asked: set[Node] = set()
        for lane, pending in work.items():
            if not lane.tree.used and self._waits_for_prompt(lane, work, lanes):
                continue
            paths = [(each, lane.tree.path(each.ids)) for each in pending if each.missing]
            lacking = {node for each, path in paths for node in each.fill(path)}
            asked |= lacking
            ends = dict.fromkeys(node for _, path in paths for node in path if node in lacking)
            missing[lane] = _with_ancestors(end for end in ends if not lane.tree.is_long(end))
            long[lane] = _with_ancestors(end for end in ends if lane.tree.is_long(end))
        if not any(missing.values()):
            # A pass has the rotary frequencies of its last position, and must begin as it ends:
            # all that a long prefix stands on runs in one.
            in_turn = sorted(filter(long.get, long), key=lambda lane: lane.last_pass)
            return [(lane, long[lane]) for lane in in_turn[:1]], asked
        on_host = self.model.on_host
        left = min(self._most, HOST_TOKENS) if on_host else self._most
        piece = left if len(missing) == 1 and not on_host else PIECE
        fitting: dict[Lane, list[Node]] = {}
        # Whoever was left out of the last pass comes first: all get their turn.
        for lane in sorted(missing, key=lambda lane: (lane.last_pass, len(missing[lane]))):
            fitting[lane] = missing[lane][: min(left, piece)]
            left -= len(fitting[lane])
        return [(lane, fitting[lane]) for lane in missing if fitting[lane]], asked

    def _run(
        self, parts: Sequence[tuple[Lane, Sequence[Node]]], asked: set[Node]
    ) -> tuple[Sequence[Node], torch.Tensor]:
        """Return nodes that ran, and the distributions after them."""
        for lane, of_lane in parts:
            lane.tree.take_slots(of_lane)
        nodes = [node for _, of_lane in parts for node in of_lane]
        wanted = [index for index, node in enumerate(nodes) if node in asked]
        # A pass must return something; the last token's distribution is the cheapest.
        rows = wanted or [len(nodes) - 1]
        try:
            found = self.model.run_tree(parts, rows)
        except BaseException:
            # A pass that fails half-way leaves slots with which nothing can be done.
            for lane, of_lane in parts:
                lane.tree.drop(of_lane)
            raise
        return [nodes[index] for index in rows], found

    def _waits_for_prompt(self, lane: Lane, work: Work, lanes: Sequence[Lane]) -> bool:
        """Begin an empty lane with what another knows of its prompt, and of an answer to it.

        Returns:
            Whether another lane is about to compute more of it, so that it is worth waiting for.
        """
        ids = min((each.request.ids for each in work[lane]), key=len)
        source = max(lanes, key=lambda other: (other.computed(ids), len(other.answer_to(ids))))
        known = source.computed(ids)
        for other in takewhile(lambda other: other is not lane, work):  # the first one computes
            if any(shared_length(each.ids, ids) >= known + SHARED_PROMPT for each in work[other]):
                return True
        if known:
            copied = lane.begin_as(source, ids)
            self._remembered.update(dict.fromkeys(node for node in copied if node.scores))
            source.last_pass = self.model.passes
        return False


def choose_known(pending: Sequence[PendingScore]) -> None:
    """Choose the tokens that no pass has chosen, where all distributions are known."""
    asked = [e for e in pending if e.choices and (e.tokens is None or UNDECIDED in e.tokens)]
    if asked:
        read = to_host(_chosen(asked, whole=True)).tolist()
        for each in asked:
            each.tokens, read = read[: len(each.choices)], read[len(each.choices) :]


def _chosen(asked: Sequence[PendingScore], *, whole: bool = False) -> torch.Tensor:
    """Return the tokens that are chosen for requests, all distributions of which are known."""
    rows = torch.stack([d.values for each in asked for d in each.answer()])
    choices = [choice for each in asked for choice in each.choices]
    return choose_tokens(rows, choices, whole=whole)


def _with_ancestors(nodes: Iterable[Node]) -> list[Node]:
    """Return nodes with those that they stand on and that have no keys and values, by position.

    A distribution that was forgotten takes another pass of its token, into the same slot.
    """
    found: dict[Node, None] = {}
    for each in nodes:
        found[each] = None
        node = each.parent
        while node is not None and node.parent is not None and node.slot == NO_SLOT:
            if node in found:
                break
            found[node] = None
            node = node.parent
    return sorted(found, key=lambda node: node.position)


class WholePrefixEvaluator(Evaluator):
    """Runs every prefix whole: for models whose past cannot be shared or cut back."""

    def run_pass(self, work: Work, lanes: Sequence[Lane]) -> dict[Lane, int]:
        """Run one pass of equally long prefixes, see `Evaluator.run_pass`."""
        paths = [
            (lane, each, lane.tree.path(each.ids))
            for lane, pending in work.items()
            for each in pending
            if each.missing
        ]
        tails: dict[tuple[Lane, tuple[int, ...]], int] = {}  # distributions wanted from the end
        for lane, each, path in paths:
            if each.fill(path):
                tail = len(each.distributions) - each.distributions.index(None)
                key = (lane, each.ids)
                tails[key] = max(tail, tails.get(key, 0))
        if not tails:
            return {}
        in_turn = sorted(tails, key=lambda key: key[0].last_pass)  # whoever was left out is first
        first = in_turn[0]
        shape = (len(first[1]), tails[first])
        alike = [key for key in in_turn if (len(key[1]), tails[key]) == shape][: self._most]
        alike.sort(key=lambda key: key[0].number)
        try:
            found = self.model.run_whole([ids for _, ids in alike], tails[first])
        except RuntimeError as error:
            self._make_room(len(alike), lanes, error)
            return {}
        tail = tails[first]
        nodes = [lane.tree.path(ids)[-tail:] for lane, ids in alike]
        self._finish(work, list(zip(nodes, found, strict=True)))
        self._forget_oldest(lanes)
        self._grow()
        ran: dict[Lane, int] = {}
        for lane, ids in alike:
            ran[lane] = ran.get(lane, 0) + len(ids)
            lane.last_pass = self.model.passes
        return ran
