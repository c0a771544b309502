"""The seam to a language model: token ids in, next-token log-probabilities out.

A backend knows nothing about problems, programs or guidance; the decoder knows nothing about
models. Between them stand *sequences* (a prefix of token ids with whatever state the backend keeps
behind it) and two questions, each asked several times in one call so that a backend can batch:

* `LogprobBackend.score`: the next-token distributions after a sequence and after each token of a
  *draft* that continues it;
* `LogprobBackend.sample`: continuations of a sequence.

A backend whose distributions are cut to the likeliest tokens may answer a third one, exactly:
`LogprobBackend.logprobs`.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeAlias

import numpy as np
from attrs import define, field, fields, frozen
from numpy.typing import NDArray

from egcfg.errors import CapabilityError

__all__ = [
    "Capabilities",
    "ChatMessage",
    "Continuation",
    "FloatArray",
    "IntArray",
    "LogprobBackend",
    "LogprobQuery",
    "SampleQuery",
    "SamplingParams",
    "ScoreQuery",
    "TokenLogprobs",
    "TokenSequence",
    "Usage",
]

FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
ROUNDING = 1e-6
"""How far the probabilities of a list may be off together: they come as float32 or as decimals."""

ChatMessage: TypeAlias = dict[str, str]
"""One message of a chat: ``{"role": "system" | "user" | "assistant", "content": text}``."""


@frozen(eq=False)
class TokenLogprobs:
    """A next-token distribution, dense or cut to its k likeliest tokens.

    Attributes:
        logprobs: natural log-probabilities. Dense: shape (vocab,), one per token id.
            Cut: shape (k,), in descending order, k >= 1.
        ids: None when dense; else the token ids of `logprobs`, shape (k,), without repeats.
        unlisted: what no token that is not listed exceeds; None: the smallest listed value.
    """

    logprobs: FloatArray
    ids: IntArray | None = None
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
        left = 1.0 - float(np.exp(self.logprobs.astype(np.float64)).sum())
        least = float(self.logprobs.min()) if self.unlisted is None else self.unlisted
        return min(least, float(np.log(max(left, 0.0) + ROUNDING)))

    def argmax(self) -> int:
        """The id of the likeliest token; of equally likely ones, the smallest id."""
        if self.ids is None:
            return int(np.argmax(self.logprobs))
        return int(self.ids[self.logprobs == self.logprobs.max()].min())

    def logprob(self, token: int) -> float:
        """The log-probability of `token`; `tail_bound` where it is not listed."""
        if self.ids is None:
            return float(self.logprobs[token])
        found = np.flatnonzero(self.ids == token)
        return float(self.logprobs[found[0]]) if found.size else self.tail_bound

    def lists(self, token: int) -> bool:
        """Whether the log-probability of `token` is known exactly."""
        return self.ids is None or bool((self.ids == token).any())

    def with_values(self, tokens: Sequence[int], logprobs: Sequence[float]) -> TokenLogprobs:
        """Return a cut distribution that lists `tokens` as well, none of which it listed before."""
        if self.ids is None or not tokens:
            return self
        values = np.concatenate([self.logprobs, np.asarray(logprobs, self.logprobs.dtype)])
        ids = np.concatenate([self.ids, np.asarray(tokens, self.ids.dtype)])
        order = np.argsort(-values, kind="stable")
        # The new values may be small, but they say nothing about the tokens that are still missing.
        unlisted = float(self.logprobs.min()) if self.unlisted is None else self.unlisted
        return TokenLogprobs(values[order], ids[order], unlisted)


@frozen(kw_only=True)
class SamplingParams:
    """How to draw a continuation.

    Attributes:
        temperature: divides the logits; 0 is greedy.
        top_p: nucleus mass, in (0, 1].
        max_tokens: tokens per continuation at most.
        max_lines: stop after the token that completes this many further lines; None: no such stop.
            A line is complete when the decoded continuation holds its newline character.
        stop: texts that end a continuation once they appear in it; the token that completes one is
            the last one kept.
        seed: the same seed, sequence and params give the same continuations on the same backend
            (a server may not keep that promise: `Capabilities.deterministic`).
    """

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 128
    max_lines: int | None = None
    stop: tuple[str, ...] = ()
    seed: int = 0


@frozen(kw_only=True)
class Continuation:
    """One sampled continuation of a sequence.

    Attributes:
        ids: the sampled token ids, an end-of-sequence token not included.
        text: what they decode to behind their sequence.
        finished: whether the model ended it (end of sequence), rather than a limit.
        scores: the distributions that the ids were drawn from (before temperature and top-p), one
            per id, where the backend has them at no extra cost; else None.
        rest: the backend's own: what it drew beyond the limits anyway (`SampleQuery.rest`).
    """

    ids: tuple[int, ...]
    text: str
    finished: bool = False
    scores: tuple[TokenLogprobs, ...] | None = None
    rest: Any = field(default=None, eq=False, repr=False)


@define(eq=False)
class TokenSequence:
    """A prefix of token ids, with whatever state its backend keeps behind it.

    The decoder sets `ids` freely; the backend compares them with what its state was computed for
    and recomputes from the first token that differs. Made by `LogprobBackend.start`.

    Attributes:
        ids: the tokens of the prefix, prompt included.
        role: what the sequence is for (``"unconditional"``, ``"conditional"``): endpoints use it
            to keep a server-side prompt cache together.
        state: the backend's own (a key/value cache, a cache key); nobody else reads it.
    """

    ids: tuple[int, ...]
    role: str = ""
    state: Any = field(default=None, repr=False)


@frozen
class ScoreQuery:
    """Ask for the distributions after `sequence` and after each token of `draft` behind it."""

    sequence: TokenSequence
    draft: tuple[int, ...] = ()


@frozen
class LogprobQuery:
    """Ask for the log-probabilities of single `tokens` after `sequence`."""

    sequence: TokenSequence
    tokens: tuple[int, ...]


@frozen
class SampleQuery:
    """Ask for `count` continuations of `sequence`.

    Attributes:
        sequence: what they continue.
        count: how many.
        params: how they are drawn.
        lookup: tokens among which a backend may look for what comes next, to try several tokens at
            once; changes the cost, never what is drawn.
        rest: of the continuation at whose end `sequence` stands, where one continuation is wanted;
            its backend then need not draw again what it drew already.
    """

    sequence: TokenSequence
    count: int
    params: SamplingParams
    lookup: tuple[int, ...] = ()
    rest: Any = field(default=None, eq=False, repr=False)


@frozen(kw_only=True)
class Capabilities:
    """What a backend can do, declared or probed before a run.

    Attributes:
        top_k: how many alternatives a distribution lists; None: all of them (dense).
        scores_drafts: whether a draft is scored in one pass or request; otherwise the decoder
            sends no drafts.
        context_length: tokens of prompt and answer together; None: not known.
        chat: whether `LogprobBackend.render_chat` works.
        deterministic: whether the same seed gives the same text.
        exact_logprobs: whether `LogprobBackend.logprobs` works; dense backends have no need of it.
        goes_ahead: whether a question without a draft brings along where the model goes on to.
    """

    top_k: int | None
    scores_drafts: bool
    context_length: int | None
    chat: bool
    deterministic: bool
    exact_logprobs: bool = False
    goes_ahead: bool = False


@frozen(kw_only=True)
class Usage:
    """What the model's work cost so far: exact counts, and the seconds spent waiting for it.

    Attributes:
        forward_passes: passes through a local model (a batch counts once).
        forward_tokens: tokens run through a local model, cached ones and padding not counted.
        requests: requests sent to an endpoint, retries included.
        input_tokens: prompt tokens that were sent or processed, cached ones included.
        cached_tokens: those of them that a cache answered.
        output_tokens: tokens that the model generated or chose: sampled, or one per scored prefix.
        seconds: wall time inside the backend.
    """

    forward_passes: int = 0
    forward_tokens: int = 0
    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return self._joined(other, operator.add)

    def __sub__(self, other: Usage) -> Usage:
        return self._joined(other, operator.sub)

    def _joined(self, other: Usage, join: Callable[[Any, Any], Any]) -> Usage:
        return Usage(**{name: join(getattr(self, name), getattr(other, name)) for name in COUNTS})


COUNTS: Final = tuple(field.name for field in fields(Usage))


class LogprobBackend(ABC):
    """A language model that tells its next-token log-probabilities.

    Subclasses take one argument, an instance of their options class (see `egcfg.plugins.registry`), and do
    their heavy imports in their own module, which is imported only when they are selected. One
    instance serves one thread.
    """

    Options: ClassVar[type]
    """The attrs class of this backend's options."""

    usage: Usage = Usage()
    """Running totals; implementations replace it after each question."""

    @property
    @abstractmethod
    def model_name(self) -> str:
        """The model as results name it, such as ``"deepseek-ai/deepseek-coder-1.3b-instruct"``."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What this backend can do."""

    @property
    @abstractmethod
    def end_ids(self) -> frozenset[int]:
        """The token ids that end a sequence."""

    @abstractmethod
    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a prompt.

        Special tokens that are spelt out in `text` become their ids; a beginning-of-sequence token
        is added where the model expects one and `text` does not start with it.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated tokens, special tokens spelt out.

        Defined so that for generated ids ``a + b``, ``decode(a)`` is a prefix of ``decode(a + b)``
        up to a trailing replacement character for a character whose bytes are not complete yet.
        """

    def count_tokens(self, text: str) -> int:
        """Return how many tokens `text` takes in a prompt; an estimate where only a server knows.

        Unlike `encode`, it may be asked about text that is never sent.
        """
        return len(self.encode(text))

    @abstractmethod
    def score(self, queries: Sequence[ScoreQuery]) -> list[list[TokenLogprobs]]:
        """Return, per query, ``len(draft) + 1`` distributions.

        Item ``i`` is the distribution of the token after ``sequence.ids + draft[:i]``. The
        sequences' ids are not changed. Several queries of one call may share their sequence, each
        with a draft of its own, and drafts may begin alike.

        Raises:
            ContextOverflowError: a sequence and its draft do not fit the model's context.
            CapabilityError: a draft was sent where `Capabilities.scores_drafts` is false.
            BackendError: the model did not answer.
        """

    def ahead(self, sequence: TokenSequence) -> tuple[tuple[int, ...], list[TokenLogprobs]]:  # noqa: ARG002 - for overriders
        """Return the way that the model is known to go on, and the distributions along it.

        Asks nothing: an earlier question brought it along (`Capabilities.goes_ahead`). There is one
        distribution more than the way has tokens, or none at all.
        """
        return (), []

    @abstractmethod
    def sample(self, queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        """Return, per query, its `SampleQuery.count` continuations.

        Raises:
            ContextOverflowError: a sequence does not fit the model's context.
            BackendError: the model did not answer.
        """

    def logprobs(self, queries: Sequence[LogprobQuery]) -> list[list[float]]:
        """Return, per query, the exact log-probability of each of its tokens.

        For distributions that are cut to their likeliest tokens: asked only where a value that is
        not listed could change a choice.

        Raises:
            CapabilityError: `Capabilities.exact_logprobs` is false.
            ContextOverflowError: a sequence and one more token do not fit the model's context.
            BackendError: the model did not answer.
        """
        raise CapabilityError(
            f"{self.model_name} does not tell the log-probabilities of {len(queries)} chosen tokens"
        )

    def start(self, ids: Sequence[int], role: str = "") -> TokenSequence:
        """Return a new sequence; nothing is computed until it is asked about."""
        return TokenSequence(ids=tuple(ids), role=role)

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:  # noqa: ARG002 - for overriders
        """Return the prompt text of a chat that the assistant is about to answer.

        Raises:
            CapabilityError: this model has no chat template.
        """
        raise CapabilityError(
            f"{self.model_name} has no chat template; choose another prompt: "
            "--prompt long_code or --prompt completion"
        )

    def close(self) -> None:  # noqa: B027 - most have nothing to free
        """Free what the backend holds; it is not used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
