"""A backend whose every distribution is written down: for tests of whatever uses one.

Its tokens are characters, so a test can say what the model "wants" as text, and the same test runs
in microseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from egcfg.errors import CapabilityError, ContextOverflowError
from egcfg.interfaces.backend import (
    Answer,
    Capabilities,
    Continuation,
    LogprobBackend,
    LogprobRequest,
    Logprobs,
    SampleRequest,
    ScoreRequest,
)
from egcfg.interfaces.prompt import ChatPrompt, TextPrompt
from egcfg.interfaces.usage import Usage

__all__ = ["ScriptedBackend", "ScriptedOptions"]

END = 0
"""The token that ends a sequence: the null character."""


@frozen(kw_only=True)
class ScriptedOptions:
    """What a scripted model answers, and what it can do.

    Attributes:
        script: from the text so far to the text that should come next; its first character is the
            likeliest token, and an empty text ends the sequence.
        noise: probability that is spread over the other characters, in fixed random shares; keep it
            below one half, so that the script stays the likeliest.
        top_k: how many alternatives a distribution lists; None: all 128.
        scores_drafts: whether drafts are taken.
        context_length: tokens that it takes at most; None: any number.
        tells_context: whether it says so, or just refuses what is longer, as some endpoints do.
        exact_logprobs: whether it tells the values that a cut distribution lacks.
        rounding: how far it says that rounding may move its log-probabilities, in nats.
    """

    script: Callable[[str], str]
    noise: float = 0.2
    top_k: int | None = None
    scores_drafts: bool = True
    context_length: int | None = None
    tells_context: bool = True
    exact_logprobs: bool = False
    rounding: float = 0.0


@define(eq=False)
class ScriptedBackend(LogprobBackend):
    """A model over the 128 ASCII characters that follows a script.

    Sampling follows the scripted distribution at the request's temperature, so that candidates
    differ from one another and from the script, but never from one run to the next.
    """

    Options = ScriptedOptions

    options: ScriptedOptions
    scored: list[ScoreRequest] = field(factory=list)
    """Every score request so far, for tests that ask what was asked."""

    @property
    def model_name(self) -> str:
        """Always ``scripted``."""
        return "scripted"

    @property
    def capabilities(self) -> Capabilities:
        """As the options say."""
        return Capabilities(
            top_k=self.options.top_k,
            scores_drafts=self.options.scores_drafts,
            context_length=self.options.context_length if self.options.tells_context else None,
            exact_logprobs=self.options.exact_logprobs,
            rounding=self.options.rounding,
        )

    @property
    def end_ids(self) -> frozenset[int]:
        """The null character."""
        return frozenset({END})

    async def encode(self, prompt: TextPrompt | ChatPrompt) -> Answer[tuple[int, ...]]:
        """One token per character; what is not ASCII becomes a question mark."""
        return Answer(tuple(prompt.text.encode("ascii", errors="replace")))

    async def decode(self, ids: Sequence[int]) -> Answer[str]:
        """One character per token."""
        return Answer(_text(ids))

    async def count_tokens(self, text: str) -> Answer[int]:
        """One token per character."""
        return Answer(len(text))

    async def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        """Follow the script after every prefix of every draft; a pass for each request."""
        answers = []
        for request in requests:
            if request.draft and not self.options.scores_drafts:
                raise CapabilityError("this scripted backend takes no drafts")
            self.scored.append(request)
            ids = request.ids + request.draft
            self._check_length(len(ids))
            first = len(request.ids)
            answers.append([self._distribution(ids[:n]) for n in range(first, len(ids) + 1)])
        tokens = sum(1 + len(request.draft) for request in requests)
        return Answer(answers, Usage(forward_passes=len(requests), forward_tokens=tokens))

    async def logprobs(self, requests: Sequence[LogprobRequest]) -> Answer[list[list[float]]]:
        """Look the tokens up in the script's distribution; one request for all."""
        if not self.options.exact_logprobs:
            raise CapabilityError("this scripted backend tells no exact values")
        shares = [(self._shares(request.ids), request.tokens) for request in requests]
        values = [[float(values[token]) for token in tokens] for values, tokens in shares]
        return Answer(values, Usage(requests=1))

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        """Sample from the script's distributions; a pass for each token."""
        sampled = [[self._sample(r, number) for number in range(r.count)] for r in requests]
        tokens = sum(len(c.ids) + c.finished for continuations in sampled for c in continuations)
        usage = Usage(forward_passes=tokens, forward_tokens=tokens, output_tokens=tokens)
        return Answer(sampled, usage)

    def _sample(self, request: SampleRequest, number: int) -> Continuation:
        params = request.params
        generator = np.random.default_rng([params.seed, number])
        sampled: tuple[int, ...] = ()
        finished = False
        while len(sampled) < params.max_tokens:
            self._check_length(len(request.ids) + len(sampled) + 1)
            logprobs = _dense(self._distribution(request.ids + sampled))
            token = int(np.argmax(logprobs))
            if params.temperature > 0:
                weights = np.exp(logprobs / params.temperature)
                token = int(generator.choice(len(weights), p=weights / weights.sum()))
            if token == END:
                finished = True
                break
            sampled += (token,)
            text = _text(sampled)
            if params.max_lines is not None and text.count("\n") >= params.max_lines:
                break
            if any(stop in text for stop in params.stop):
                break
        return Continuation(ids=sampled, text=_text(sampled), finished=finished)

    def _distribution(self, ids: tuple[int, ...]) -> Logprobs:
        logprobs = self._shares(ids)
        if self.options.top_k is None:
            return Logprobs(logprobs)
        top = np.argsort(-logprobs, kind="stable")[: self.options.top_k]
        return Logprobs(logprobs[top], top)

    def _shares(self, ids: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the log-probability of every character after `ids`."""
        wanted = self.options.script(_text(ids))[:1]
        shares = _random_shares(bytes(ids)) * self.options.noise
        shares[ord(wanted) if wanted else END] += 1.0 - self.options.noise
        logprobs: NDArray[np.float64] = np.log(shares)
        return logprobs

    def _check_length(self, needed: int) -> None:
        context = self.options.context_length
        if context is not None and needed > context:
            raise ContextOverflowError(needed, context)


# A prefix is asked about many times: where it is sampled, scored, and by each run that is compared.
@lru_cache(maxsize=4096)
def _random_shares(ids: bytes) -> NDArray[np.float64]:
    """Return shares of 128 characters that sum to 1 and depend on the text alone."""
    # The same text has the same distribution in every process, whatever the hash seed.
    seed = int.from_bytes(hashlib.blake2b(ids, digest_size=8).digest())
    shares = np.random.default_rng(seed).dirichlet(np.ones(128))
    shares.flags.writeable = False  # shared by all who ask
    return shares


def _text(ids: Sequence[int]) -> str:
    return bytes(ids).decode("ascii")


def _dense(cut: Logprobs) -> NDArray[np.float64]:
    dense = np.full(128, -np.inf)
    dense[slice(None) if cut.ids is None else cut.ids] = cut.values
    return dense
