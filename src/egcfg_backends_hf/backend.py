"""A local model as a `LogprobBackend`: every prefix is computed once.

All prompts, branches, candidates and drafts of a call stand in one token tree, whose missing tokens
run in one pass: both branches of guidance, each with several drafts, or all candidates' next
tokens. What was scored and then accepted costs nothing further, and a new signal costs what stands
behind its first changed token.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar
from weakref import WeakSet

import torch

from egcfg.errors import BackendError, ContextOverflowError
from egcfg.interfaces.backend import (
    Capabilities,
    ChatMessage,
    Continuation,
    LogprobBackend,
    SampleQuery,
    ScoreQuery,
    TokenLogprobs,
    TokenSequence,
    Usage,
)
from egcfg_backends_hf.causal_model import CausalModel
from egcfg_backends_hf.drawing import Row
from egcfg_backends_hf.evaluator import Question, evaluator_for
from egcfg_backends_hf.loading import load_model
from egcfg_backends_hf.memory import is_out_of_memory
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.text import TextCodec

__all__ = ["HFBackend"]

SCORES_BUDGET = 256 * 2**20
"""Bytes of distributions that the continuations of one call may carry; above, they carry none."""


class HFBackend(LogprobBackend):
    """A model that transformers runs in this process. Distributions are dense.

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
        self._model = CausalModel(loaded.model)
        self._evaluator = evaluator_for(self._model, loaded.name)
        self._text = TextCodec(loaded.tokenizer)
        self._end_ids = self._text.end_ids() | _end_ids_of(loaded.model)
        self._living: WeakSet[TokenSequence] = WeakSet()
        self._sampled: list[tuple[int, ...]] = []
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
            questions: list[Question] = []
            for query in queries:
                ids = query.sequence.ids + query.draft
                self._check_fits(ids, room=0)
                questions.append((ids, len(query.sequence.ids)))
            self._see(query.sequence for query in queries)
            before = self._model.tokens
            answers = self._ask(questions)
            self._count(
                read=sum(len(ids) for ids, _ in questions),
                ran=self._model.tokens - before,
                written=sum(map(len, answers)),
            )
            return answers

    def sample(self, queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        """Return, per query, its continuations, see `LogprobBackend.sample`.

        The i-th continuation of a query has random numbers of its own, from the seed and i: it does
        not depend on what else is sampled (beyond rounding, where the others change the order in
        which the device adds). Continuations of all queries are sampled side by side, and while
        they agree they are one. They carry the distributions that they were drawn from.

        Raises:
            ContextOverflowError: a sequence fills the model's context.
            BackendError: a sequence is empty, or memory runs out even with one row.
        """
        with self._counting():
            total = sum(query.count for query in queries)
            drawn = [self._rows(query, SCORES_BUDGET // max(1, total)) for query in queries]
            self._see(query.sequence for query in queries)
            self._sampled = []
            self._forget_the_dead()
            rows = [row for of_query in drawn for row in of_query]
            self._draw(rows, read=sum(len(query.sequence.ids) for query in queries))
            self._sampled = [row.prefix + row.ids for row in rows]
            return [[row.continuation() for row in of_query] for of_query in drawn]

    def close(self) -> None:
        """Free the model and every cache; closing again does nothing."""
        for name in ("_evaluator", "_model"):
            if hasattr(self, name):
                delattr(self, name)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # --- asking --------------------------------------------------------------------------------

    def _ask(self, questions: Sequence[Question]) -> list[list[TokenLogprobs]]:
        try:
            return self._evaluator.distributions(questions)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise self._memory_error(max(len(ids) for ids, _ in questions)) from error
            raise

    def _see(self, sequences: Iterable[TokenSequence]) -> None:
        """Note what the sequences are now; where one has changed, forget what it was."""
        changed = False
        for sequence in sequences:
            before = sequence.state or ()
            changed |= sequence.ids[: len(before)] != before
            sequence.state = sequence.ids
            self._living.add(sequence)
        if changed:
            self._forget_the_dead()

    def _forget_the_dead(self) -> None:
        """Forget what neither a living sequence nor a candidate of the last call needs."""
        self._evaluator.keep([*(sequence.ids for sequence in self._living), *self._sampled])

    # --- sample ------------------------------------------------------------------------------

    def _rows(self, query: SampleQuery, budget: int) -> list[Row]:
        prefix = query.sequence.ids
        self._check_fits(prefix, room=1)
        context = self._model.context_length
        limit = query.params.max_tokens
        if context is not None:
            limit = min(limit, context - len(prefix))
        return [
            Row(query, number, limit, self._end_ids, self.decode, budget)
            for number in range(query.count)
        ]

    def _draw(self, rows: Sequence[Row], read: int) -> None:
        """Sample `rows` to their ends, all at once; rows that end leave the batch."""
        live = [row for row in rows if not row.done]
        while live:
            before = self._model.tokens
            tried = [row.expected() for row in live]
            answers = self._ask(
                [
                    (row.prefix + row.ids + run, len(row.prefix + row.ids))
                    for row, run in zip(live, tried, strict=True)
                ]
            )
            for row, run, distributions in zip(live, tried, answers, strict=True):
                row.extend(run, distributions)
            if read:
                self._count(read=read, ran=self._model.tokens - before)
                read = 0  # the prompts are read once, however many tokens follow
            live = [row for row in live if not row.done]
        self._count(written=sum(row.drawn for row in rows))

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

    def _count(self, *, read: int = 0, ran: int = 0, written: int = 0) -> None:
        cached = max(0, read - ran)
        self.usage += Usage(input_tokens=read, cached_tokens=cached, output_tokens=written)


def _end_ids_of(model: torch.nn.Module) -> frozenset[int]:
    """Return the end tokens of a model's generation settings and config: one, several or none."""
    ends: set[int] = set()
    for settings in (model.generation_config, model.config):
        found = getattr(settings, "eos_token_id", None)
        ends.update([found] if isinstance(found, int) else found or ())
    return frozenset(ends)
