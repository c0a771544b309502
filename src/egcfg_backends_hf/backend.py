"""A local model as a `LogprobBackend`: every prefix is computed once.

A sequence's state holds the keys and values of the tokens that it was last asked about. Each
question compares them with the tokens asked about now and runs those that differ, so that a draft
that was scored and then accepted costs nothing further, and a new signal costs what stands behind
its first changed token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar
from weakref import WeakSet

import torch

from egcfg.backend import (
    Capabilities,
    ChatMessage,
    Continuation,
    FloatArray,
    LogprobBackend,
    SampleQuery,
    ScoreQuery,
    TokenLogprobs,
    TokenSequence,
    Usage,
)
from egcfg.errors import BackendError, ContextOverflowError
from egcfg_backends_hf.causal_model import CausalModel
from egcfg_backends_hf.drawing import Row
from egcfg_backends_hf.loading import load_model
from egcfg_backends_hf.memory import is_out_of_memory
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.prefix_cache import PrefixState, common_length, copy_cache, select_rows
from egcfg_backends_hf.text import TextCodec

__all__ = ["HFBackend"]

logger = logging.getLogger(__name__)

SCORES_BUDGET = 256 * 2**20
"""Bytes of distributions that the continuations of one query may keep; above, they keep none."""


class HFBackend(LogprobBackend):
    """A model that transformers runs in this process.

    Distributions are dense. Queries are answered one after the other, each with its own cache: on
    a CPU a batch of several sequences takes as long as the sequences one by one. The continuations
    of one query are sampled as a batch.

    Args:
        options: which model, on which device.

    Raises:
        UsageError: no such model or device, or the model cannot be read.
        BackendError: the model does not fit the device's memory.
    """

    Options: ClassVar[type] = HFOptions

    def __init__(self, options: HFOptions) -> None:
        loaded = load_model(options)
        self._name = loaded.name
        self._model = CausalModel(loaded.model, loaded.name)
        self._text = TextCodec(loaded.tokenizer)
        self._end_ids = self._text.end_ids() | _end_ids_of(loaded.model)
        self._states: WeakSet[PrefixState] = WeakSet()
        self._batch_limit: int | None = None
        self.usage = Usage()

    @property
    def model_name(self) -> str:
        """The hub id, or the name of the folder or file."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """Dense distributions and drafts; the context is the one that the model was made for."""
        return Capabilities(
            top_k=None,
            scores_drafts=True,
            context_length=self._model.context_length,
            chat=self._text.has_chat,
            deterministic=True,
        )

    @property
    def end_ids(self) -> frozenset[int]:
        """The end tokens of the model's generation settings, tokenizer and chat template."""
        return self._end_ids

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a prompt, see `LogprobBackend.encode`."""
        return self._text.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated tokens, see `LogprobBackend.decode`."""
        return self._text.decode(ids)

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """Return a chat as the model's template words it, up to the assistant's answer.

        Raises:
            CapabilityError: this model has no chat template.
            BackendError: its template refuses the messages.
        """
        if not self._text.has_chat:
            return super().render_chat(messages)
        return self._text.render_chat(messages)

    def score(self, queries: Sequence[ScoreQuery]) -> list[list[TokenLogprobs]]:
        """Return, per query, ``len(draft) + 1`` distributions, see `LogprobBackend.score`.

        Raises:
            ContextOverflowError: a sequence and its draft do not fit the model's context.
            BackendError: a sequence is empty, or memory runs out.
        """
        with self._counting():
            answers = []
            for query in queries:
                answers.append(self._distributions(query.sequence, query.draft))
                self._count(written=len(query.draft) + 1)
            return answers

    def sample(self, queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        """Return, per query, its continuations, see `LogprobBackend.sample`.

        The i-th continuation has random numbers of its own, from the seed and i: it does not
        depend on how many others there are (beyond rounding, where the batch changes the order in
        which the device adds). They carry their distributions unless these take more than
        `SCORES_BUDGET`.

        Raises:
            ContextOverflowError: a sequence fills the model's context.
            BackendError: a sequence is empty, or memory runs out even with one row.
        """
        with self._counting():
            return [self._sample(query) for query in queries]

    def close(self) -> None:
        """Free the model and every cache; closing again does nothing."""
        for state in list(self._states):
            _forget(state)
        if hasattr(self, "_model"):
            del self._model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # --- cached prefixes ---------------------------------------------------------------------

    def _distributions(
        self, sequence: TokenSequence, draft: tuple[int, ...]
    ) -> list[TokenLogprobs]:
        start = len(sequence.ids)
        ids = sequence.ids + draft
        self._check_fits(ids, room=0)
        state = self._state_of(sequence)
        known = state.scores_after(ids, start)[: len(draft) + 1]
        missing = len(draft) + 1 - len(known)
        reused = len(ids)
        if missing:
            # The distribution after a token comes from running that token.
            reused = min(common_length(state.ids, ids), len(ids) - missing)
            new = self._extend(state, ids, reused, keep=missing)
            known = known + [TokenLogprobs(row) for row in new]
        state.scores, state.first = known, start
        self._count(read=len(ids), reused=reused)
        return known

    def _extend(
        self, state: PrefixState, ids: tuple[int, ...], reused: int, keep: int
    ) -> FloatArray:
        """Make `state` that of `ids`, of which it shares `reused`; return the last distributions.

        Returns:
            Shape (keep, vocab).
        """
        cache = copy_cache(state.cache, reused) if self._model.cached else None
        # A pass that fails half-way leaves a cache with which nothing can be done.
        _forget(state)
        try:
            logprobs = self._model.run([ids if cache is None else ids[reused:]], cache, keep)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise self._memory_error(len(ids)) from error
            raise
        if cache is not None:
            state.cache, state.ids = cache, ids
        last: FloatArray = logprobs[0]
        return last

    def _state_of(self, sequence: TokenSequence) -> PrefixState:
        if not isinstance(sequence.state, PrefixState):
            sequence.state = self._state_from_others(sequence.ids)
            self._states.add(sequence.state)
        return sequence.state

    def _state_from_others(self, ids: tuple[int, ...]) -> PrefixState:
        """Return a new state, on the longest prefix of `ids` that a living sequence knows."""
        state = PrefixState()
        best = max(self._states, key=lambda s: common_length(s.ids, ids), default=state)
        shared = common_length(best.ids, ids)
        state.ids, state.cache = ids[:shared], copy_cache(best.cache, shared)
        return state

    # --- sample ------------------------------------------------------------------------------

    def _sample(self, query: SampleQuery) -> list[Continuation]:
        sequence, params = query.sequence, query.params
        self._check_fits(sequence.ids, room=1)
        context = self._model.context_length
        limit = params.max_tokens
        if context is not None:
            limit = min(limit, context - len(sequence.ids))
        [first] = self._distributions(sequence, ())
        keep_scores = query.count * limit * first.logprobs.nbytes <= SCORES_BUDGET
        continuations: list[Continuation] = []
        while len(continuations) < query.count:
            left = range(len(continuations), query.count)
            rows = [
                Row(n, params, limit, self._end_ids, self.decode, keep_scores=keep_scores)
                for n in left[: self._batch_limit]
            ]
            try:
                self._sample_rows(sequence, rows, first)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink_batches(len(rows), len(sequence.ids), error)
                continue
            continuations += [row.continuation() for row in rows]
            self._count(written=sum(row.drawn for row in rows))
        return continuations

    def _sample_rows(
        self, sequence: TokenSequence, rows: Sequence[Row], first: TokenLogprobs
    ) -> None:
        """Sample `rows` to their ends, all at once; rows that end leave the batch."""
        for row in rows:
            if not row.done:
                row.extend(first.logprobs)
        state = self._state_of(sequence)
        cache = None
        if self._model.cached:
            cache = copy_cache(state.cache, len(sequence.ids), len(rows))
        live = list(rows)
        while True:
            left = [index for index, row in enumerate(live) if not row.done]
            if not left:
                return
            if cache is not None and len(left) < len(live):
                select_rows(cache, left)
            live = [live[index] for index in left]
            if cache is not None:
                new: list[Sequence[int]] = [(row.last,) for row in live]
            else:
                new = [sequence.ids + row.ids for row in live]
            logprobs = self._model.run(new, cache, keep=1)  # (rows, 1, vocab)
            for row, distribution in zip(live, logprobs[:, 0], strict=True):
                row.extend(distribution)

    def _shrink_batches(self, rows: int, prefix: int, error: RuntimeError) -> None:
        """Halve the batches from here on.

        Raises:
            BackendError: the batch was a single row.
        """
        if rows == 1:
            raise self._memory_error(prefix) from error
        self._batch_limit = rows // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        logger.warning(
            "out of memory with %d candidates at once; sampling %d at a time from here on",
            rows,
            self._batch_limit,
        )

    # --- limits and counters -----------------------------------------------------------------

    def _check_fits(self, ids: Sequence[int], room: int) -> None:
        if not ids:
            raise BackendError("nothing to continue: the prompt has no tokens; give it some text")
        context = self._model.context_length
        if context is not None and len(ids) + room > context:
            raise ContextOverflowError(len(ids) + room, context)

    def _memory_error(self, tokens: int) -> BackendError:
        return BackendError(
            f"out of memory with {tokens} tokens through {self._name}; shorten the signal "
            "(signal_tokens), choose a smaller model, or -o backend.dtype=bfloat16"
        )

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Add to `usage` what the model ran and the time that passed, also if a question fails."""
        passes, tokens = self._model.passes, self._model.tokens
        started = time.perf_counter()
        try:
            yield
        finally:
            self.usage += Usage(
                forward_passes=self._model.passes - passes,
                forward_tokens=self._model.tokens - tokens,
                seconds=time.perf_counter() - started,
            )

    def _count(self, *, read: int = 0, reused: int = 0, written: int = 0) -> None:
        self.usage += Usage(input_tokens=read, cached_tokens=reused, output_tokens=written)


def _forget(state: PrefixState) -> None:
    """Empty a state in place: its sequence keeps pointing to it."""
    empty = PrefixState()
    state.ids, state.cache = empty.ids, empty.cache
    state.scores, state.first = empty.scores, empty.first


def _end_ids_of(model: torch.nn.Module) -> frozenset[int]:
    """Return the end tokens of a model's generation settings and config: one, several or none."""
    ends: set[int] = set()
    for settings in (model.generation_config, model.config):
        found = getattr(settings, "eos_token_id", None)
        ends.update([found] if isinstance(found, int) else found or ())
    return frozenset(ends)
