"""A model as one task asks it: every answer is checked, counted, and held to the budget."""

from __future__ import annotations

import asyncio
import math
import operator
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from numbers import Real
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, to_device
from attrs import define, evolve, field

from egcfg.errors import BudgetError, PluginError, TaskBudgetError
from egcfg.interfaces.backend import (
    Answer,
    Capabilities,
    Completion,
    Continuation,
    LogprobRequest,
    Logprobs,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    budgeted,
)
from egcfg.interfaces.prompt import ChatPrompt, TextPrompt
from egcfg.interfaces.solution import Stage
from egcfg.interfaces.usage import FREE, Usage
from egcfg.plugins.component import OpenComponent
from egcfg.usage.budget import Meter

__all__ = ["AskedTooOften", "Model"]

MASS_TOLERANCE = 0.01
"""By how much the probabilities of a list may exceed 1 together: 16-bit numbers are coarse."""

REFUSALS = 100
"""Questions that a budget may refuse before the work is ended: many may wait side by side."""


class AskedTooOften(BaseException):
    """Ends work that goes on asking after a budget's end; no `Exception`, lest it is caught too."""


@define
class Model:
    """Asks an open backend for one task.

    Attributes:
        backend: the component that answers.
        task_id: the task, for messages.
        meter: counts what is spent and ends it at a budget's limit.
        limit: tokens that the model may work through for the task, as `Usage.tokens` counts them;
            None: any number.
        limit_flag: the flag that sets that limit.
        deadline: when it must have ended, by `time.monotonic`; None: whenever it does.
        usage: what this task spent so far, by stage.
        calls: questions that the backend had to work for.
        refused: how many questions a budget refused.
        refusal: the last of these errors.
    """

    backend: OpenComponent
    task_id: str
    meter: Meter = field(factory=Meter)
    limit: int | None = None
    limit_flag: str = "--tokens-per-task"
    deadline: float | None = None
    usage: dict[str, Usage] = field(factory=dict, init=False)
    calls: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    refusal: BudgetError | None = field(default=None, init=False)

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do."""
        capabilities: Capabilities = self.backend.instance.capabilities
        return capabilities

    @property
    def resolved(self) -> Mapping[str, str]:
        """What the backend's options came to, see `Backend.resolved`."""
        resolved: Mapping[str, str] = self.backend.instance.resolved
        return resolved

    @property
    def end_ids(self) -> frozenset[int]:
        """The token ids that end a sequence."""
        end_ids: frozenset[int] = self.backend.instance.end_ids
        return end_ids

    @property
    def tokens(self) -> int:
        """What this task spent of its limit so far; see `Usage.tokens`."""
        return sum(usage.tokens for usage in self.usage.values())

    @property
    def left(self) -> float:
        """Share of the task's limit that is left; 1 where there is none."""
        return 1.0 if self.limit is None else max(0.0, 1.0 - self.tokens / self.limit)

    def at_most(self, tokens: int, prompt: int = 0) -> int:
        """Return how many of so many tokens an answer may have, within the task's limit.

        Args:
            tokens: wanted at most.
            prompt: tokens that its prompt is expected to cost.
        """
        if self.limit is None:
            return tokens
        return max(1, min(tokens, self.limit - self.tokens - prompt))

    async def encode(
        self, prompt: TextPrompt | ChatPrompt, stage: str = Stage.PREFIX
    ) -> tuple[int, ...]:
        """Return the token ids of a prompt; see `LogprobBackend.encode`."""
        ids = await self._ask("encode", stage, prompt)
        try:
            return tuple(map(operator.index, ids))
        except TypeError:
            raise self._broken(f"encode gave {type(ids).__name__}, not token ids") from None

    async def decode(self, ids: Sequence[int], stage: str = Stage.PREFIX) -> str:
        """Return the text of generated tokens; see `LogprobBackend.decode`."""
        text = await self._ask("decode", stage, ids)
        if not isinstance(text, str):
            raise self._broken(f"decode gave {type(text).__name__}, not text")
        return text

    async def count_tokens(self, text: str, stage: str = Stage.SIGNAL) -> int:
        """Return how many tokens `text` takes in a prompt; see `LogprobBackend.count_tokens`."""
        count = await self._ask("count_tokens", stage, text)
        if not isinstance(count, int):
            raise self._broken(f"count_tokens gave {type(count).__name__}, not a number")
        return count

    async def complete(
        self,
        prompt: TextPrompt | ChatPrompt,
        params: SamplingParams,
        stage: str = Stage.PREFIX,
    ) -> Completion:
        """Return the answer of a model that knows text only; see `TextBackend.complete`.

        Raises:
            BudgetError: a limit is reached; nothing was asked.
            BackendError: the model did not answer.
        """
        self.check(0)
        completion = await self._ask("complete", stage, prompt, params)
        if not isinstance(completion, Completion):
            raise self._broken(f"complete gave {type(completion).__name__}, not a Completion")
        return completion

    async def score(self, requests: Sequence[ScoreRequest], stage: str) -> list[list[Logprobs]]:
        """Return the distributions of each request; see `LogprobBackend.score`.

        Raises:
            BudgetError: a limit is reached; nothing was asked.
            PluginError: the answer does not fit the requests, or holds no log-probabilities.
            BackendError: the model did not answer.
        """
        answers: list[list[Logprobs]] = await self._ask_each("score", requests, stage)
        for request, distributions in zip(requests, answers, strict=True):
            wanted = len(request.draft) + 1
            if not isinstance(distributions, Sequence) or len(distributions) != wanted:
                raise self._broken(
                    f"score gave {_count(distributions, 'distribution')} for a draft of "
                    f"{len(request.draft)} tokens, not {wanted}"
                )
            for distribution in distributions:
                self._check_form(distribution)
        self._check_numbers(answers)
        return answers

    async def sample(
        self, requests: Sequence[SampleRequest], stage: str = Stage.SAMPLING
    ) -> list[list[Continuation]]:
        """Return the continuations of each request; see `LogprobBackend.sample`.

        Raises:
            BudgetError: a limit is reached; nothing was asked.
            PluginError: the answer does not fit the requests.
            BackendError: the model did not answer.
        """
        answers: list[list[Continuation]] = await self._ask_each("sample", requests, stage)
        for request, continuations in zip(requests, answers, strict=True):
            if not isinstance(continuations, Sequence) or len(continuations) != request.count:
                raise self._broken(
                    f"sample gave {_count(continuations, 'continuation')}, not {request.count}"
                )
            if not all(
                isinstance(each, Continuation)
                and isinstance(each.ids, tuple)
                and isinstance(each.text, str)
                for each in continuations
            ):
                raise self._broken("sample gave something else than a Continuation")
        return answers

    async def logprobs(self, requests: Sequence[LogprobRequest], stage: str) -> list[list[float]]:
        """Return exact log-probabilities; see `LogprobBackend.logprobs`.

        Raises:
            BudgetError: a limit is reached; nothing was asked.
            PluginError: the answer does not fit the requests, or holds no log-probabilities.
            BackendError: the model did not answer.
        """
        answers: list[list[Any]] = await self._ask_each("logprobs", requests, stage)
        for request, values in zip(requests, answers, strict=True):
            if not isinstance(values, Sequence) or len(values) != len(request.tokens):
                raise self._broken(
                    f"logprobs gave {_count(values, 'value')} for {len(request.tokens)} tokens"
                )
            for value in values:
                if not isinstance(value, Real) or not value <= MASS_TOLERANCE:  # NaN is not either
                    raise self._broken(f"logprobs gave {value!r}, which is no log-probability")
        return answers

    async def _ask_each(self, method: str, requests: Sequence[Any], stage: str) -> Any:
        """Ask for an answer to each request, within the budget."""
        shortest = min((len(request.ids) for request in requests), default=0)
        # The first question reads a whole prompt; later ones may find it read.
        self.check(0 if self.tokens else shortest)
        answers = await self._ask(method, stage, requests)
        if not isinstance(answers, Sequence) or len(answers) != len(requests):
            given = _count(answers, "answer")
            raise self._broken(f"{method} gave {given} to {len(requests)} requests")
        return answers

    def check(self, prompt: int) -> None:
        """See that another question may be asked, whose prompt is to cost so many tokens.

        Raises:
            TaskBudgetError: the task's limit is reached, or would be by the prompt alone; or its
                deadline is.
            BudgetError: the run's is reached.
            AskedTooOften: it was told so often enough.
        """
        with self._noting_refusals():
            if self.deadline is not None and time.monotonic() >= self.deadline:
                raise self._too_late()
            if self.limit is not None and self.tokens + prompt >= self.limit:
                needs = f", and the next prompt takes {prompt}" if prompt else ""
                raise TaskBudgetError(
                    f"task {self.task_id} has spent {self.tokens} of {self.limit} tokens{needs}",
                    self.limit_flag,
                )
            if not self.backend.instance.checks_budget:
                self.meter.check()

    def _check_request(self, pending: Usage) -> None:
        """See that a question that is being answered may take another request."""
        with self._noting_refusals():
            self.meter.check(pending)

    @contextmanager
    def _noting_refusals(self) -> Iterator[None]:
        try:
            yield
        except BudgetError as error:
            self.refused += 1
            self.refusal = error
            if self.refused > REFUSALS:
                raise AskedTooOften from error
            raise

    async def _ask(self, method: str, stage: str, *arguments: Any) -> Any:
        """Ask a question, check the form of its answer, and book what it cost."""
        started = time.perf_counter()
        spent = FREE
        try:
            async with self._until_the_deadline():
                with budgeted(self._check_request):
                    answer = await self.backend.call(method, *arguments, task=self.task_id)
            if not isinstance(answer, Answer):
                raise self._broken(f"{method} gave {type(answer).__name__}, not an Answer")
            if not isinstance(answer.usage, Usage):
                raise self._broken(f"{method} gave {type(answer.usage).__name__} as its usage")
            spent = answer.usage
        except BaseException as error:  # also of a call that is cancelled
            if isinstance(usage := getattr(error, "usage", None), Usage):
                spent = usage
            if isinstance(error, TimeoutError) and self._seconds_left == 0.0:
                self.refusal = self._too_late()
                self.refused += 1
                raise self.refusal from error
            raise
        finally:
            if spent != FREE:  # else nobody had to be asked
                self._book(stage, evolve(spent, seconds=time.perf_counter() - started))
        return answer.value

    @property
    def _seconds_left(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def _until_the_deadline(self) -> AbstractAsyncContextManager[Any]:
        left = self._seconds_left
        return nullcontext() if left is None else asyncio.timeout(left)

    def _too_late(self) -> TaskBudgetError:
        return TaskBudgetError(f"the time for task {self.task_id} is over", "--seconds")

    def _book(self, stage: str, spent: Usage) -> None:
        self.calls += 1
        self.usage[stage] = self.usage.get(stage, Usage()) + spent
        self.meter.add(spent)

    def _check_form(self, distribution: object) -> None:
        """See that something is a distribution, of the kind that the backend gives."""
        if not isinstance(distribution, Logprobs):
            raise self._broken(f"score gave {type(distribution).__name__}, not Logprobs")
        values, ids = distribution.values, distribution.ids
        if not _is_vector_of_floats(values):
            raise self._broken(f"score gave {_form(values)}, not one row of log-probabilities")
        if ids is not None and not (
            isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and ids.shape == values.shape
        ):
            raise self._broken(f"score gave {_form(ids)} as the ids of {_form(values)}")
        if distribution.dense != (self.capabilities.top_k is None):
            kind, top_k = "dense" if distribution.dense else "cut", self.capabilities.top_k
            raise self._broken(f"score gave a {kind} distribution, but its top_k is {top_k}")

    def _check_numbers(self, answers: Sequence[Sequence[Logprobs]]) -> None:
        """See that all rows hold log-probabilities, and that those of each answer's first row add
        up; what tells of it leaves the device in one copy."""
        rows = [distribution.values for answer in answers for distribution in answer]
        if not rows:
            return
        try:
            xp = array_namespace(*rows)
        except TypeError:
            raise self._broken("score gave arrays of several libraries in one answer") from None
        with np.errstate(over="ignore"):  # the exponentials of what is no log-probability
            masses = [xp.sum(xp.exp(answer[0].values)) for answer in answers]
        told = to_device(xp.stack([*map(xp.max, rows), *masses]), "cpu")
        numbers = [float(number) for number in told]
        for top in numbers[: len(rows)]:
            if math.isnan(top) or top > MASS_TOLERANCE or top == -math.inf:
                raise self._broken(f"score gave {top} as a log-probability")
        for mass in numbers[len(rows) :]:
            if mass > 1 + MASS_TOLERANCE:
                raise self._broken(
                    f"score gave probabilities that add up to {mass:.3g}; they must be normalised"
                )

    def _broken(self, what: str) -> PluginError:
        return self.backend.broken(what, self.task_id)


def _count(answers: object, noun: str) -> str:
    if not isinstance(answers, Sequence):
        return type(answers).__name__
    return f"{len(answers)} {noun}{'' if len(answers) == 1 else 's'}"


def _is_vector_of_floats(values: Any) -> bool:
    if not is_array_api_obj(values):
        return False
    xp, dtype, shape = array_namespace(values), *_type_and_shape(values)
    return bool(xp.isdtype(dtype, "real floating")) and len(shape) == 1 and shape[0] > 0


def _form(values: Any) -> str:
    """Return the type of a value, and what it holds if it is an array."""
    if not is_array_api_obj(values):
        return type(values).__name__
    dtype, shape = _type_and_shape(values)
    return f"an array of {dtype} of shape {shape}"


def _type_and_shape(array: Any) -> tuple[Any, tuple[int, ...]]:
    return array.dtype, tuple(array.shape)
