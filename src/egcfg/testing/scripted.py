"""A backend whose every distribution is written down: for tests of whatever stands behind one.

Its tokens are characters, so a test can say what the model "wants" as text, and the same test runs
in microseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from attrs import define, field, frozen

from egcfg.errors import CapabilityError, ContextOverflowError
from egcfg.interfaces.backend import (
    Capabilities,
    ChatMessage,
    Continuation,
    FloatArray,
    LogprobBackend,
    LogprobQuery,
    SampleQuery,
    ScoreQuery,
    TokenLogprobs,
    Usage,
)

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
    """

    script: Callable[[str], str]
    noise: float = 0.2
    top_k: int | None = None
    scores_drafts: bool = True
    context_length: int | None = None
    tells_context: bool = True
    exact_logprobs: bool = False


@define(eq=False)
class ScriptedBackend(LogprobBackend):
    """A model over the 128 ASCII characters that follows a script.

    Sampling draws from the scripted distribution with the query's temperature, so that candidates
    differ from one another and from the script, but never from one run to the next.
    """

    Options = ScriptedOptions

    options: ScriptedOptions
    usage: Usage = field(factory=Usage)
    scored: list[ScoreQuery] = field(factory=list)
    """Every score query so far, for tests that ask what was asked."""

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
            chat=True,
            deterministic=True,
            exact_logprobs=self.options.exact_logprobs,
        )

    @property
    def end_ids(self) -> frozenset[int]:
        """The null character."""
        return frozenset({END})

    def encode(self, text: str) -> tuple[int, ...]:
        """One token per character; what is not ASCII becomes a question mark."""
        return tuple(text.encode("ascii", errors="replace"))

    def decode(self, ids: Sequence[int]) -> str:
        """One character per token."""
        return bytes(ids).decode("ascii")

    def render_chat(self, messages: Sequence[ChatMessage]) -> str:
        """Every message behind its role, then the assistant's."""
        return "".join(f"<{m['role']}>{m['content']}\n" for m in messages) + "<assistant>"

    def score(self, queries: Sequence[ScoreQuery]) -> list[list[TokenLogprobs]]:
        """Follow the script after every prefix of every draft."""
        results = []
        for query in queries:
            if query.draft and not self.options.scores_drafts:
                raise CapabilityError("this scripted backend takes no drafts")
            self.scored.append(query)
            ids = query.sequence.ids + query.draft
            self._check_length(len(ids))
            first = len(query.sequence.ids)
            results.append([self._distribution(ids[:n]) for n in range(first, len(ids) + 1)])
            self.usage += Usage(forward_passes=1, forward_tokens=1 + len(query.draft))
        return results

    def logprobs(self, queries: Sequence[LogprobQuery]) -> list[list[float]]:
        """Look the tokens up in the script's distribution."""
        if not self.options.exact_logprobs:
            return super().logprobs(queries)
        answers = []
        for query in queries:
            shares = self._shares(query.sequence.ids)
            answers.append([float(shares[token]) for token in query.tokens])
        self.usage += Usage(requests=1)
        return answers

    def sample(self, queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        """Draw from the script's distributions."""
        return [[self._draw(query, row) for row in range(query.count)] for query in queries]

    def _draw(self, query: SampleQuery, row: int) -> Continuation:
        params = query.params
        generator = np.random.default_rng([params.seed, row])
        prefix = query.sequence.ids
        drawn: tuple[int, ...] = ()
        finished = False
        while len(drawn) < params.max_tokens:
            self._check_length(len(prefix) + len(drawn) + 1)
            logprobs = _dense(self._distribution(prefix + drawn))
            token = int(np.argmax(logprobs))
            if params.temperature > 0:
                weights = np.exp(logprobs / params.temperature)
                token = int(generator.choice(len(weights), p=weights / weights.sum()))
            self.usage += Usage(forward_passes=1, forward_tokens=1, output_tokens=1)
            if token == END:
                finished = True
                break
            drawn += (token,)
            text = self.decode(drawn)
            lines = params.max_lines
            if lines is not None and text.count("\n") >= lines:
                break
            if any(stop in text for stop in params.stop):
                break
        return Continuation(ids=drawn, text=self.decode(drawn), finished=finished)

    def _distribution(self, ids: tuple[int, ...]) -> TokenLogprobs:
        logprobs = self._shares(ids)
        if self.options.top_k is None:
            return TokenLogprobs(logprobs)
        top = np.argsort(-logprobs, kind="stable")[: self.options.top_k]
        return TokenLogprobs(logprobs[top], top)

    def _shares(self, ids: tuple[int, ...]) -> FloatArray:
        """Return the log-probability of every character after `ids`."""
        text = self.decode(ids)
        wanted = self.options.script(text)[:1]
        # The same text has the same distribution in every process, whatever the hash seed.
        seed = int.from_bytes(hashlib.blake2b(bytes(ids), digest_size=8).digest())
        shares = np.random.default_rng(seed).dirichlet(np.ones(128)) * self.options.noise
        shares[ord(wanted) if wanted else END] += 1.0 - self.options.noise
        logprobs: FloatArray = np.log(shares)
        return logprobs

    def _check_length(self, needed: int) -> None:
        context = self.options.context_length
        if context is not None and needed > context:
            raise ContextOverflowError(needed, context)


def _dense(cut: TokenLogprobs) -> FloatArray:
    if cut.ids is None:
        return cut.logprobs
    dense = np.full(128, -np.inf)
    dense[cut.ids] = cut.logprobs
    return dense
