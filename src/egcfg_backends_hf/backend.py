"""A local model as a `LogprobBackend`: every prefix is computed once.

All prompts, branches, candidates and drafts of a call are in one token tree, whose missing tokens
run in one pass: both branches of guidance, each with several drafts, or all candidates' next
tokens. What was scored and then accepted costs nothing further, and a new signal costs what comes
after its first changed token.

The model lives in one worker thread, which runs a pass at a time: between two of them other tasks
have theirs, and a call that is cancelled stops.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import ClassVar

import torch
from attrs import define

from egcfg.errors import BackendError, ContextOverflowError
from egcfg.interfaces.backend import (
    Answer,
    Capabilities,
    Continuation,
    LogprobBackend,
    Logprobs,
    SampleRequest,
    ScoreRequest,
    Usage,
)
from egcfg.interfaces.prompt import ChatPrompt, TextPrompt
from egcfg.plugins.component import WorkerThread
from egcfg_backends_hf.engine.active import ActiveTasks
from egcfg_backends_hf.engine.causal_model import CausalModel, is_out_of_memory
from egcfg_backends_hf.engine.evaluator import Evaluator, PendingScore, evaluator_for
from egcfg_backends_hf.engine.prompt_lookup import TokenIndex, speculate
from egcfg_backends_hf.engine.sampling import SamplingState
from egcfg_backends_hf.loading.load import load_model
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.text import TextCodec

__all__ = ["HFBackend"]


@define
class _Opened:
    """What there is once the model is loaded.

    Attributes:
        evaluator: runs the model; in the worker thread, but for what it remembers.
        text: the tokenizer.
        end_ids: the tokens that end a sequence.
    """

    evaluator: Evaluator
    text: TextCodec
    end_ids: frozenset[int]


@define
class _Call:
    """What one call has cost so far.

    Attributes:
        longest: tokens of its longest sequence, for messages.
        passes: forward passes.
        tokens: tokens that ran through them.
        read: tokens of its prompts.
        cached: those of them that did not run.
        written: tokens sampled, or distributions computed.
    """

    longest: int
    passes: int = 0
    tokens: int = 0
    read: int = 0
    cached: int = 0
    written: int = 0

    def count_read(self, read: int) -> None:
        """Note that prompts of `read` tokens have been read, with what ran so far."""
        self.read, self.cached = read, max(0, read - self.tokens)

    @property
    def usage(self) -> Usage:
        """The same, as the seam counts it."""
        return Usage(
            forward_passes=self.passes,
            forward_tokens=self.tokens,
            input_tokens=self.read,
            cached_tokens=self.cached,
            output_tokens=self.written,
        )


class HFBackend(LogprobBackend):
    """A model that transformers runs in this process. Distributions are dense.

    Args:
        options: which model, on which device.
    """

    Options: ClassVar[type] = HFOptions

    def __init__(self, options: HFOptions) -> None:
        self._options = options
        self._worker: WorkerThread | None = None
        self._opened: _Opened | None = None
        self._tasks = ActiveTasks()
        self._eviction_is_due = False

    async def open(self) -> Usage:
        """Load the model.

        Raises:
            UsageError: no such model or device, or the model cannot be read.
            BackendError: the model does not fit the device's memory.
        """
        # One thread for ever: torch has threads of its own for each that computes.
        self._worker = WorkerThread(f"model {self.model_name}")
        # A pass that is still running when the interpreter ends would abort the process.
        atexit.register(self._worker.finish)
        try:
            self._opened = await self._worker.run(self._load)
        except BaseException:
            self._end_worker()
            raise
        return Usage()

    async def close(self) -> None:
        """Free the model and all that is remembered; closing again does nothing."""
        if self._worker is not None:
            try:
                if not self._worker.ended:  # as it has when the interpreter ends
                    await self._worker.run(self._free)
            finally:
                self._end_worker()

    @property
    def model_name(self) -> str:
        """The hub id, or the name of the folder or file."""
        return self._options.model_name

    @property
    def capabilities(self) -> Capabilities:
        """Dense distributions and drafts; the context is the one that the model was made for."""
        opened = self._open_model
        return Capabilities(
            chat=opened.text.has_chat, context_length=opened.evaluator.model.context_length
        )

    @property
    def end_ids(self) -> frozenset[int]:
        """The end tokens of the model's generation settings, tokenizer and chat template."""
        return self._open_model.end_ids

    async def encode(self, prompt: TextPrompt | ChatPrompt) -> Answer[tuple[int, ...]]:
        """Return the token ids of a prompt, see `LogprobBackend.encode`.

        Raises:
            CapabilityError: the prompt is a chat and the model has no chat template, or one that
                rewords messages in which special tokens are spelt out.
            BackendError: the template refuses the messages.
        """
        return Answer(self._open_model.text.encode(prompt))

    async def decode(self, ids: Sequence[int]) -> Answer[str]:
        """Return the text of generated tokens, see `LogprobBackend.decode`."""
        return Answer(self._open_model.text.decode(ids))

    async def count_tokens(self, text: str) -> Answer[int]:
        """Return how many tokens `text` takes, see `LogprobBackend.count_tokens`."""
        return Answer(len(self._open_model.text.encode(TextPrompt((text,)))))

    async def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        """Return, per request, ``len(draft) + 1`` distributions, see `LogprobBackend.score`.

        Where there is no draft and the model must run anyway, tokens that may come next run with
        it; the distributions after them wait for the next request.

        Raises:
            ContextOverflowError: a prefix and its draft do not fit the model's context.
            BackendError: a prefix is empty, or memory runs out.
        """
        for request in requests:
            self._check_fits(request.ids + request.draft, more=0)
        evaluator = self._open_model.evaluator
        active = self._tasks.current()
        self._eviction_is_due |= active.touch(request.ids for request in requests)
        indexes = active.indexes()
        pairs = []
        for request in requests:
            ids, draft = request.ids, request.draft
            draft = draft or speculate(ids, indexes, self._tokens_left(ids))
            pairs.append((request, evaluator.look_up(ScoreRequest(ids, draft))))
        pending = [a for r, a in pairs if None in a.distributions[: len(r.draft) + 1]]
        call = _Call(longest=max((len(each.ids) for each in pending), default=0))
        written = sum(each.missing for each in pending)
        await self._run(call, pending, partial(evaluator.advance, pending))
        call.count_read(sum(len(each.ids) for each in pending))
        call.written = written
        found = [answer.answer(len(request.draft) + 1) for request, answer in pairs]
        return Answer(found, call.usage)

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        """Return, per request, its continuations, see `LogprobBackend.sample`.

        The i-th continuation of a request has random numbers of its own, from the seed and i: it
        does not depend on what else is sampled (beyond rounding, where the others change the order
        in which the device adds). Continuations of all requests are sampled side by side, and while
        they agree they are one.

        Raises:
            ContextOverflowError: a prefix fills the model's context.
            BackendError: a prefix is empty, or memory runs out even with one row.
        """
        for request in requests:
            self._check_fits(request.ids, more=1)
        active = self._tasks.current()
        indexes = (active.samples, *active.indexes())
        per_request = [
            [self._start(request, number, indexes) for number in range(request.count)]
            for request in requests
        ]
        states = list(chain.from_iterable(per_request))
        active.sampled([])
        self._eviction_is_due = True
        call = _Call(longest=max((len(request.ids) for request in requests), default=0))
        while live := [state for state in states if not state.done]:
            pending = [PendingScore(state.next_request()) for state in live]
            await self._run(call, pending, partial(self._extend, live, pending))
            if not call.read:  # the prompts are read once, however many tokens follow
                call.count_read(sum(len(request.ids) for request in requests))
            call.written = sum(state.sampled for state in states)
        shortest = min((len(request.ids) for request in requests), default=0)
        active.sampled([state.sequence for state in states], start=shortest)
        return Answer(
            [[state.continuation() for state in of_request] for of_request in per_request],
            call.usage,
        )

    # --- in the worker thread ------------------------------------------------------------------

    def _load(self) -> _Opened:
        loaded = load_model(self._options)
        text = TextCodec(loaded.tokenizer, self.model_name)
        evaluator = evaluator_for(CausalModel(loaded.model), self.model_name)
        return _Opened(evaluator, text, text.end_ids() | _end_ids_of(loaded.model))

    def _free(self) -> None:
        self._opened = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _extend(self, states: Sequence[SamplingState], pending: Sequence[PendingScore]) -> bool:
        """Run a pass for the next tokens of `states`; sample them once all are known."""
        if not self._open_model.evaluator.advance(pending):
            return False
        for state, each in zip(states, pending, strict=True):
            state.extend(each.request.draft, each.answer())
        return True

    def _step(
        self, call: _Call, advance: Callable[[], bool], active: Sequence[Sequence[int]] | None
    ) -> bool:
        """Take one step of a call, after an eviction if `active` is given; count what ran."""
        evaluator = self._open_model.evaluator
        model = evaluator.model
        if active is not None:
            evaluator.evict(active)
        passes, tokens = model.passes, model.tokens
        try:
            return advance()
        finally:
            call.passes += model.passes - passes
            call.tokens += model.tokens - tokens

    # --- on the event loop ---------------------------------------------------------------------

    async def _run(
        self, call: _Call, pending: Sequence[PendingScore], advance: Callable[[], bool]
    ) -> None:
        """Let the worker `advance`, a pass at a time, until that returns True.

        Raises:
            BackendError: memory runs out; it carries what the call has cost.
        """
        if not pending:
            return
        assert self._worker is not None  # the backend is open
        active = self._tasks.current()
        active.in_flight = [each.ids for each in pending]
        try:
            complete = False
            while not complete:
                evicting, self._eviction_is_due = self._eviction_is_due, False
                needed = self._tasks.sequences() if evicting else None
                complete = await self._worker.run(self._step, call, advance, needed)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failure = BackendError(
                f"out of memory with {call.longest} tokens through {self.model_name}; shorten the "
                "signal (signal_tokens), choose a smaller model, or -o backend.dtype=bfloat16"
            )
            failure.usage = call.usage
            raise failure from error
        finally:
            active.in_flight = []

    def _end_worker(self) -> None:
        if self._worker is not None:
            atexit.unregister(self._worker.finish)
            self._worker.end()
            self._worker = None

    def _start(
        self, request: SampleRequest, number: int, indexes: Sequence[TokenIndex]
    ) -> SamplingState:
        limit = min(request.params.max_tokens, self._tokens_left(request.ids))
        opened = self._open_model
        return SamplingState(request, number, limit, opened.end_ids, opened.text.decode, indexes)

    @property
    def _open_model(self) -> _Opened:
        if self._opened is None:
            raise RuntimeError("the backend is not open")
        return self._opened

    def _tokens_left(self, ids: Sequence[int]) -> int:
        context = self._open_model.evaluator.model.context_length
        return sys.maxsize if context is None else context - len(ids)

    def _check_fits(self, ids: Sequence[int], more: int) -> None:
        if not ids:
            raise BackendError("nothing to continue: the prompt has no tokens; give it some text")
        context = self._open_model.evaluator.model.context_length
        if context is not None and len(ids) + more > context:
            raise ContextOverflowError(len(ids) + more, context)


def _end_ids_of(model: torch.nn.Module) -> frozenset[int]:
    """Return the end tokens of a model's generation settings and config: one, several or none."""
    ends: set[int] = set()
    for settings in (model.generation_config, model.config):
        found = getattr(settings, "eos_token_id", None)
        ends.update([found] if isinstance(found, int) else found or ())
    return frozenset(ends)
