"""The seam to a language model: token ids in, next-token log-probabilities out.

A backend knows nothing about problems, programs or guidance; the decoder knows nothing about
models. The decoder passes plain token ids and asks three things, each several times in one call so
that a backend can batch:

* `LogprobBackend.score`: the next-token distributions after a prefix and after each token of a
  *draft* that continues it;
* `LogprobBackend.sample`: continuations of a prefix;
* `LogprobBackend.logprobs`: exact values, where distributions are cut to their likeliest tokens.

Remembering prefixes is the backend's business. What it learned beyond what was asked (keys and
values, tokens that a server generated on its own) it keeps, and answers from at no cost.

**Coroutines.** Each method that may wait for a model or a server returns a `MaybeAwaitable`: write
it as ``async def`` (it must not hold the event loop), or as plain ``def``, which the core then runs
in a worker thread, one call at a time.

**Budgets.** Before each call the core sees that a budget allows it; a backend that may need several
requests for it, or none, sees to that by itself before each of them (`check_budget`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

import numpy as np
from array_api_compat import array_namespace, device
from attrs import frozen
from numpy.typing import NDArray

from egcfg.errors import CapabilityError
from egcfg.interfaces.prompt import ChatPrompt, TextPrompt
from egcfg.interfaces.usage import FREE, Usage

__all__ = [
    "Answer",
    "Array",
    "Backend",
    "Capabilities",
    "Completion",
    "Continuation",
    "LogprobBackend",
    "LogprobRequest",
    "Logprobs",
    "MaybeAwaitable",
    "SampleRequest",
    "SamplingParams",
    "ScoreRequest",
    "TextBackend",
    "budgeted",
    "check_budget",
]

T = TypeVar("T")
MaybeAwaitable: TypeAlias = T | Awaitable[T]
"""What a method that may wait returns: ``async def`` or plain ``def``."""

Array: TypeAlias = Any
"""An array of any library that follows the array API standard (numpy, torch, ...); data-apis.org
publishes no static type for one."""

ROUNDING: Final = 1e-6
"""How far the probabilities of a list may be off together: they come as float32 or as decimals."""


@frozen(eq=False)
class Logprobs:
    """A next-token distribution, dense or cut to its k likeliest tokens.

    Attributes:
        values: natural log-probabilities. Dense: shape (vocab,), one per token id, an array of any
            array-API library (one for all that is asked together), on whatever device. Cut: shape
            (k,), a numpy array in descending order, k >= 1.
        ids: None when dense; else the token ids of `values`, shape (k,), without repeats.
        unlisted: an upper bound for every token that is not listed; None: the smallest listed
            value.
    """

    values: Array
    ids: NDArray[np.integer[Any]] | None = None
    unlisted: float | None = None

    @property
    def dense(self) -> bool:
        """Whether every token of the vocabulary is listed."""
        return self.ids is None

    @property
    def tail_bound(self) -> float:
        """Largest log-probability that a token *not* listed can have (``-inf`` when dense).

        Such a token is no likelier than the least likely listed one, and no likelier than all the
        probability that is left, give or take the rounding of the listed values.
        """
        if self.ids is None:
            return -np.inf
        left = 1.0 - float(np.exp(self.values.astype(np.float64)).sum())
        least = float(self.values.min()) if self.unlisted is None else self.unlisted
        return min(least, float(np.log(max(left, 0.0) + ROUNDING)))

    def argmax(self) -> int:
        """The id of the likeliest token; of equally likely ones, the smallest id."""
        if self.ids is None:
            return int(array_namespace(self.values).argmax(self.values))
        return int(self.ids[self.values == self.values.max()].min())

    def logprob(self, token: int) -> float:
        """The log-probability of `token`; `tail_bound` where it is not listed."""
        if self.ids is None:
            return float(self.values[token])
        found = np.flatnonzero(self.ids == token)
        return float(self.values[found[0]]) if found.size else self.tail_bound

    def top(self, count: int) -> list[tuple[int, float]]:
        """The likeliest tokens and their log-probabilities, the first one first.

        Of equally likely ones, the smallest id comes first. None that is ruled out is among them.
        """
        if self.ids is not None:
            order = np.lexsort((self.ids, -self.values))[:count]
            found = zip(self.ids[order].tolist(), self.values[order].tolist(), strict=True)
            return [(token, value) for token, value in found if value > -np.inf]
        xp, left = array_namespace(self.values), self.values
        numbers = xp.arange(left.shape[0], device=device(left))
        likeliest: list[tuple[int, float]] = []
        # A few passes, where sorting a whole vocabulary takes a hundred.
        while len(likeliest) < count:
            token = int(xp.argmax(left))
            if (value := float(left[token])) == -np.inf:
                break
            likeliest.append((token, value))
            left = xp.where(numbers == token, -np.inf, left)
        return likeliest

    def lists(self, token: int) -> bool:
        """Whether the log-probability of `token` is known exactly."""
        return self.ids is None or bool((self.ids == token).any())

    def with_values(self, tokens: Sequence[int], logprobs: Sequence[float]) -> Logprobs:
        """Return a cut distribution that lists `tokens` as well, none of which it listed before."""
        if self.ids is None or not tokens:
            return self
        values = np.concatenate([self.values, np.asarray(logprobs, self.values.dtype)])
        ids = np.concatenate([self.ids, np.asarray(tokens, self.ids.dtype)])
        order = np.argsort(-values, kind="stable")
        # The new values may be small, but they say nothing about the tokens that are still missing.
        unlisted = float(self.values.min()) if self.unlisted is None else self.unlisted
        return Logprobs(values[order], ids[order], unlisted)


@frozen
class Answer(Generic[T]):
    """What a backend was asked for, and what answering this one call cost.

    Attributes:
        value: the answer.
        usage: what it cost; nothing by default, as of an answer from the backend's own table.
    """

    value: T
    usage: Usage = FREE


@frozen(kw_only=True)
class SamplingParams:
    """How to sample a continuation.

    Attributes:
        temperature: divides the logits; 0 is greedy.
        top_p: nucleus mass, in (0, 1].
        max_tokens: tokens per continuation at most.
        max_lines: stop after the token that completes this many further lines; None: no such stop.
            A line is complete when the decoded continuation contains its newline character.
        stop: texts that end a continuation once they appear in it; the token that completes one is
            the last one kept.
        seed: the same seed, prefix and params give the same continuations on the same backend (a
            server may not keep that promise).
    """

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 128
    max_lines: int | None = None
    stop: tuple[str, ...] = ()
    seed: int = 0


@frozen(kw_only=True)
class Continuation:
    """One sampled continuation of a prefix.

    Attributes:
        ids: the sampled token ids, an end-of-sequence token not included.
        text: what they decode to after their prefix.
        finished: whether the model ended it (end of sequence), rather than a limit.
    """

    ids: tuple[int, ...]
    text: str
    finished: bool = False


@frozen(kw_only=True)
class Completion:
    """The answer of a backend that knows text only.

    Attributes:
        text: the answer.
        finished: whether the model ended it, rather than a limit.
    """

    text: str
    finished: bool


@frozen
class ScoreRequest:
    """Ask for the distributions after `ids` and after each token of `draft` that follows them."""

    ids: tuple[int, ...]
    draft: tuple[int, ...] = ()


@frozen
class LogprobRequest:
    """Ask for the log-probabilities of single `tokens` after `ids`."""

    ids: tuple[int, ...]
    tokens: tuple[int, ...]


@frozen
class SampleRequest:
    """Ask for `count` continuations of `ids`, sampled as `params` say."""

    ids: tuple[int, ...]
    count: int
    params: SamplingParams


@frozen(kw_only=True)
class Capabilities:
    """What an open backend can do, declared or found by a probe.

    Attributes:
        logprobs: whether it tells log-probabilities; of a `LogprobBackend` only.
        text: whether it takes a `TextPrompt`.
        chat: whether it takes a `ChatPrompt`.
        top_k: how many alternatives a distribution lists; None: all of them (dense).
        scores_drafts: whether a draft is scored in one pass or request; otherwise the decoder
            sends no drafts.
        exact_logprobs: whether `LogprobBackend.logprobs` works; dense backends do not need it.
        context_length: tokens of prompt and answer together; None: not known.
        rounding: how far the log-probability of a token may move with what else the model works on
            at the moment, in nats. Choices that this might turn are counted
            (`Generation.near_ties`); 0: none are.
        reasons: whether its chat template leaves a reasoning block open
            (`egcfg.interfaces.reasoning.opens_reasoning`), which then is the answer's beginning.
    """

    logprobs: bool = True
    text: bool = True
    chat: bool = True
    top_k: int | None = None
    scores_drafts: bool = True
    exact_logprobs: bool = False
    context_length: int | None = None
    rounding: float = 0.0
    reasons: bool = False


_BUDGET: ContextVar[Callable[[Usage], None] | None] = ContextVar("egcfg_budget", default=None)


def check_budget(spent: Usage) -> None:
    """See that a call may send another request; for backends with `Backend.checks_budget`.

    Args:
        spent: what the call has cost so far.

    Raises:
        BudgetError: a limit is reached; let it pass.
    """
    if (check := _BUDGET.get()) is not None:
        check(spent)


@contextmanager
def budgeted(check: Callable[[Usage], None]) -> Iterator[None]:
    """Hold what is called meanwhile to a budget: `check` is what `check_budget` calls."""
    token = _BUDGET.set(check)
    try:
        yield
    finally:
        _BUDGET.reset(token)


class Backend(ABC):
    """What every backend has: a name, capabilities, a beginning and an end.

    Subclasses take one argument, an instance of their options class (see `egcfg.plugins`), and do
    their heavy imports in their own module, which is imported only when they are selected. The
    constructor is cheap; `open` does the work. One instance serves one event loop.

    The options object may have an attribute or property ``model_name``: the model's name in
    results, so that it is known without opening the model.
    """

    Options: ClassVar[type]
    """The attrs class of this backend's options."""

    checks_budget: ClassVar[bool] = False
    """Whether it calls `check_budget` before each request that it sends; otherwise the budget is
    read before each call."""

    def open(self) -> MaybeAwaitable[Usage]:
        """Load the model, or find out what the server can do; called once, before all else.

        Returns:
            What it cost, such as the requests of a probe.

        Raises:
            UsageError: no such model or device, or an option that does not fit them.
            BackendError: the model does not fit in memory, or the server does not answer.
        """
        return FREE

    def close(self) -> MaybeAwaitable[None]:  # noqa: B027 - most have nothing to free
        """Free what the backend holds; it is not used afterwards. Closing again does nothing."""

    @property
    @abstractmethod
    def model_name(self) -> str:
        """The model as results name it, such as ``"deepseek-ai/deepseek-coder-1.3b-instruct"``."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this backend can do; asked after `open`."""

    @property
    def resolved(self) -> Mapping[str, str]:
        """What options such as ``auto`` came to once it was open, by their names; for results."""
        return {}

    @property
    def tasks_in_flight(self) -> int:
        """How many tasks to work on at once where nobody says; asked after `open`.

        The calls of each come from an asyncio task of its own.
        """
        return 8


class TextBackend(Backend):
    """A language model that answers whole prompts in text, and tells no log-probabilities.

    It can be decoded without guidance only, which is said before it is opened.
    """

    @abstractmethod
    def complete(
        self, prompt: TextPrompt | ChatPrompt, params: SamplingParams
    ) -> MaybeAwaitable[Answer[Completion]]:
        """Return the answer to a prompt, without its prefix.

        Raises:
            ContextOverflowError: the prompt does not fit the model's context.
            BackendError: the model did not answer.
        """


class LogprobBackend(Backend):
    """A language model that tells its next-token log-probabilities."""

    @property
    @abstractmethod
    def end_ids(self) -> frozenset[int]:
        """The token ids that end a sequence; empty where a server does not tell them."""

    @abstractmethod
    def encode(self, prompt: TextPrompt | ChatPrompt) -> MaybeAwaitable[Answer[tuple[int, ...]]]:
        """Return the token ids of a prompt, up to where generation starts.

        A beginning-of-sequence token is added where the model expects one and the prompt does not
        start with it. See `egcfg.interfaces.prompt` for which text may become special tokens. A
        rendered chat goes on with `ChatPrompt.after`.

        Raises:
            CapabilityError: the model has no chat template, and `prompt` is a chat.
            BackendError: the template refuses the messages, or the server did not answer.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> MaybeAwaitable[Answer[str]]:
        """Return the text of generated tokens, special tokens spelt out.

        Defined so that for generated ids ``a + b``, ``decode(a)`` is a prefix of ``decode(a + b)``
        up to a trailing replacement character for a character whose bytes are not complete yet.
        """

    @abstractmethod
    def count_tokens(self, text: str) -> MaybeAwaitable[Answer[int]]:
        """Return how many tokens `text` takes in a prompt; an estimate where only a server knows.

        Unlike `encode`, it may be asked about text that is never sent.
        """

    @abstractmethod
    def score(
        self, requests: Sequence[ScoreRequest]
    ) -> MaybeAwaitable[Answer[list[list[Logprobs]]]]:
        """Return, per request, ``len(draft) + 1`` distributions.

        Item ``i`` is the distribution of the token after ``ids + draft[:i]``. Several requests of
        one call may share their ids, each with a draft of its own, and drafts may begin alike.

        Raises:
            ContextOverflowError: ids and draft do not fit the model's context.
            CapabilityError: a draft was sent where `Capabilities.scores_drafts` is false.
            BackendError: the model did not answer.
        """

    @abstractmethod
    def sample(
        self, requests: Sequence[SampleRequest]
    ) -> MaybeAwaitable[Answer[list[list[Continuation]]]]:
        """Return, per request, its `SampleRequest.count` continuations.

        Raises:
            ContextOverflowError: a prefix does not fit the model's context.
            BackendError: the model did not answer.
        """

    def logprobs(
        self, requests: Sequence[LogprobRequest]
    ) -> MaybeAwaitable[Answer[list[list[float]]]]:
        """Return, per request, the exact log-probability of each of its tokens.

        For distributions that are cut to their likeliest tokens: asked only where a value that is
        not listed could change a choice.

        Raises:
            CapabilityError: `Capabilities.exact_logprobs` is false.
            ContextOverflowError: a prefix and one more token do not fit the model's context.
            BackendError: the model did not answer.
        """
        raise CapabilityError(
            f"{self.model_name} does not tell the log-probabilities of {len(requests)} chosen "
            "tokens"
        )
