"""A local model as a `LogprobBackend`: every prefix is computed once.

All prompts, branches, candidates and drafts of a call are in one token tree, whose missing tokens
run in one pass: both branches of guidance, each with several drafts, or all candidates' next
tokens. What was scored and then accepted costs nothing further, and a new signal costs what comes
after its first changed token.

The model lives in one worker thread, which runs a pass at a time for all tasks that wait; between
two of them others join, and a call that is cancelled stops.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Container, Mapping, Sequence
from itertools import chain
from typing import ClassVar

import torch
from attrs import define, field

from egcfg.errors import BackendError, ContextOverflowError
from egcfg.interfaces.backend import (
    Answer,
    Capabilities,
    Continuation,
    LogprobBackend,
    Logprobs,
    SampleRequest,
    ScoreRequest,
)
from egcfg.interfaces.prompt import ChatPrompt, TextPrompt
from egcfg.interfaces.usage import Usage
from egcfg.threads.worker_thread import WorkerThread
from egcfg_backends_hf.engine.causal_model import CausalModel, is_out_of_memory
from egcfg_backends_hf.engine.evaluator import choose_known, evaluator_for, look_up
from egcfg_backends_hf.engine.lanes import Lane, Lanes
from egcfg_backends_hf.engine.linear_layers import WeightsError
from egcfg_backends_hf.engine.pass_runner import Call, NotNumbersError, PassRunner
from egcfg_backends_hf.engine.prompt_lookup import TokenIndex, speculate
from egcfg_backends_hf.engine.sampling import SamplingState
from egcfg_backends_hf.loading.load import (
    compile_model,
    load_model,
    pack_model,
    settings_left_out,
)
from egcfg_backends_hf.loading.mapped_weights import releasing_pages
from egcfg_backends_hf.memory import free_memory, tasks_that_fit
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.text import TextCodec

__all__ = ["HFBackend"]

logger = logging.getLogger(__name__)


@define
class _Opened:
    """What there is once the model is loaded.

    Attributes:
        model: runs.
        runner: runs its passes.
        lanes: what is remembered for each task.
        text: the tokenizer.
        end_ids: the tokens that end a sequence.
        tasks_in_flight: how many tasks to work on at once.
        resolved: what the options came to.
    """

    model: CausalModel
    runner: PassRunner
    lanes: Lanes
    text: TextCodec
    end_ids: frozenset[int]
    tasks_in_flight: int
    resolved: Mapping[str, str]


@define(eq=False)
class _ScoreCall(Call):
    """Asks for distributions: one question to the model."""

    read: int = 0
    written: int = 0

    def absorb(self) -> bool:
        """Whatever was pending is all that is asked."""
        return True

    def usage(self) -> Usage:
        """What it cost: prompts are read where anything of them was missing."""
        return Usage(
            forward_passes=self.passes,
            forward_tokens=self.tokens,
            input_tokens=self.read,
            cached_tokens=max(0, self.read - self.tokens),
            output_tokens=self.written,
        )


@define(eq=False)
class _SampleCall(Call):
    """Samples continuations: a question to the model for each token, of all of them at once."""

    states: list[SamplingState] = field(factory=list)
    on_host: bool = True
    read: int = 0
    cached: int = 0
    _prompt_is_read: bool = False

    def ask(self) -> None:
        """Ask for the next tokens."""
        live = [state for state in self.states if not state.done]
        self.pending = [look_up(self.lane, state.next_request()) for state in live]
        if not self.on_host:
            for state, each in zip(live, self.pending, strict=True):
                each.choices = state.choices(len(each.distributions))

    def absorb(self) -> bool:
        """Sample from what is known now, and ask for the next tokens."""
        live = [state for state in self.states if not state.done]
        choose_known(self.pending)
        for state, each in zip(live, self.pending, strict=True):
            tokens = state.chosen(each.answer()) if each.tokens is None else each.tokens
            state.extend(each.request.draft, tokens)
        if not self._prompt_is_read:  # once, however many tokens follow
            self._prompt_is_read, self.cached = True, max(0, self.read - self.tokens)
        self.ask()
        return not self.pending

    def usage(self) -> Usage:
        """What it cost so far."""
        return Usage(
            forward_passes=self.passes,
            forward_tokens=self.tokens,
            input_tokens=self.read if self._prompt_is_read else 0,
            cached_tokens=self.cached,
            output_tokens=sum(state.sampled for state in self.states),
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
            self._opened = await self._worker.run(self._load, self._worker)
        except BaseException:
            self._end_worker()
            raise
        return Usage()

    async def close(self) -> None:
        """Free the model and all that is remembered; closing again does nothing."""
        if self._worker is not None:
            lanes: Sequence[Lane] = ()
            if self._opened is not None:
                self._opened.runner.stop()
                lanes = self._opened.lanes.all
            try:
                if not self._worker.ended:  # as it has when the interpreter ends
                    await self._worker.run(self._free, lanes)
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
            chat=opened.text.has_chat,
            context_length=opened.model.context_length,
            rounding=opened.model.rounding,
            reasons=opened.text.reasons,
        )

    @property
    def resolved(self) -> Mapping[str, str]:
        """Device, type of numbers, and how the weights of linear layers are kept."""
        return self._open_model.resolved

    @property
    def tasks_in_flight(self) -> int:
        """On a CPU eight, where more bring little; elsewhere as many as there is memory for."""
        return self._open_model.tasks_in_flight

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
        lane = await self._lane(requests)
        lane.touch(request.ids for request in requests)
        indexes = lane.indexes()
        pairs = []
        for request in requests:
            ids, draft = request.ids, request.draft
            draft = draft or speculate(ids, indexes, self._tokens_left(ids))
            pairs.append((request, look_up(lane, ScoreRequest(ids, draft))))
        pending = [a for r, a in pairs if None in a.distributions[: len(r.draft) + 1]]
        call = _ScoreCall(
            lane,
            pending,
            read=sum(len(each.ids) for each in pending),
            written=sum(each.missing for each in pending),
        )
        if pending:
            await self._run(call)
        found = [answer.answer(len(request.draft) + 1) for request, answer in pairs]
        return Answer(found, call.usage())

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
        lane = await self._lane(requests)
        indexes = (lane.samples, *lane.indexes())
        per_request = [
            [self._start(request, number, indexes) for number in range(request.count)]
            for request in requests
        ]
        call = _SampleCall(
            lane,
            states=list(chain.from_iterable(per_request)),
            on_host=self._open_model.model.on_host,
            read=sum(len(request.ids) for request in requests),
        )
        lane.sampled([])
        lane.eviction_is_due = True
        call.ask()
        if call.pending:
            await self._run(call)
        shortest = min((len(request.ids) for request in requests), default=0)
        lane.sampled([state.sequence for state in call.states], start=shortest)
        return Answer(
            [[state.continuation() for state in of_request] for of_request in per_request],
            call.usage(),
        )

    # --- in the worker thread ------------------------------------------------------------------

    def _load(self, worker: WorkerThread) -> _Opened:
        given_up: set[str] = set()
        while True:
            try:
                return self._load_once(worker, given_up)
            except WeightsError as error:
                if self._options.weights != "auto":
                    raise
                given_up.add(error.weights)
                logger.warning(
                    "%s is loaded again: backend.weights=%s cannot be had here: %s",
                    *(self.model_name, error.weights, error.why),
                )

    def _load_once(self, worker: WorkerThread, given_up: Container[str]) -> _Opened:
        loaded = load_model(self._options)
        text = TextCodec(loaded.tokenizer, self.model_name)
        model = CausalModel(loaded.model)
        with releasing_pages(loaded.model) as release:
            evaluator = evaluator_for(model, self.model_name)
            weights = pack_model(loaded.model, self._options, model.run_once, release, given_up)
        if self._options.compile:
            compile_model(loaded.model, model.run_once)
        if left_out := settings_left_out(loaded.model):
            logger.warning(
                "the generation settings of %s ask for %s, which is left out: greedy texts may "
                "differ from those of transformers' generate",
                self.model_name,
                # Some are objects that show themselves in several lines.
                ", ".join(f"{name}={' '.join(str(v).split())}" for name, v in left_out.items()),
            )
        capacity = self._options.cache_bytes or free_memory(loaded.model.device) // 3
        lanes = Lanes(model.token_bytes, capacity, model.longest_short)
        end_ids = text.end_ids() | _end_ids_of(loaded.model)
        tasks = super().tasks_in_flight
        if loaded.model.device.type != "cpu" and model.token_bytes:
            tasks = tasks_that_fit(capacity, model.token_bytes, model.context_length)
        resolved = {
            "device": str(loaded.model.device),
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "weights": weights,
        }
        runner = PassRunner(evaluator, worker, lanes)
        return _Opened(model, runner, lanes, text, end_ids, tasks, resolved)

    def _free(self, lanes: Sequence[Lane]) -> None:
        self._opened = None
        for lane in lanes:  # tasks that are not done refer to them
            lane.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # --- on the event loop ---------------------------------------------------------------------

    async def _run(self, call: Call) -> None:
        """Let passes run until a call is answered.

        Raises:
            BackendError: memory runs out, or the model gives something that is no number; it
                carries what the call has cost.
        """
        call.lane.in_flight = [each.ids for each in call.pending]
        try:
            await self._open_model.runner.run(call)
        except (RuntimeError, NotNumbersError) as error:
            longest = max(len(each.ids) for each in call.pending)
            if isinstance(error, NotNumbersError):
                failure = BackendError(self._not_numbers(longest))
            elif is_out_of_memory(error):
                failure = BackendError(
                    f"out of memory with {longest} tokens through {self.model_name}; shorten the "
                    "signal (signal_tokens), choose a smaller model, or -o backend.dtype=bfloat16"
                )
            else:
                raise
            failure.usage = call.usage()
            raise failure from error
        finally:
            call.lane.in_flight = []

    def _not_numbers(self, tokens: int) -> str:
        dtype = str(self._open_model.model.model.dtype).removeprefix("torch.")
        if dtype == "float16":
            why = "float16 overflows above 65,504; use -o backend.dtype=bfloat16 or float32"
        elif dtype == "bfloat16":
            why = "computed in bfloat16; try -o backend.dtype=float32, else download it again"
        else:
            why = f"computed in {dtype}, so its weights are broken; download it again"
        return (
            f"{self.model_name} gave logits that are no numbers (NaN or infinite) after {tokens} "
            f"tokens: {why}"
        )

    async def _lane(self, requests: Sequence[ScoreRequest] | Sequence[SampleRequest]) -> Lane:
        longest = max((len(request.ids) for request in requests), default=0)
        return await self._open_model.lanes.current(longest)

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
        context = self._open_model.model.context_length
        return sys.maxsize if context is None else context - len(ids)

    def _check_fits(self, ids: Sequence[int], more: int) -> None:
        if not ids:
            raise BackendError("nothing to continue: the prompt has no tokens; give it some text")
        context = self._open_model.model.context_length
        if context is not None and len(ids) + more > context:
            raise ContextOverflowError(len(ids) + more, context)


def _end_ids_of(model: torch.nn.Module) -> frozenset[int]:
    """Return the end tokens of a model's generation settings and config: one, several or none."""
    ends: set[int] = set()
    for settings in (model.generation_config, model.config):
        found = getattr(settings, "eos_token_id", None)
        ends.update([found] if isinstance(found, int) else found or ())
    return frozenset(ends)
