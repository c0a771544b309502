"""A small model whose tokens have several characters."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence

import numpy as np
from attrs import define

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

UNUSED = 100  # ids, so that the others are told apart from interned ones
PIECES = [
    *(f"<unused {number}>" for number in range(UNUSED)),
    *("\n", "    ", " ", "(", ")", ":", "=", "+", ",", "é", "naïve"),
    *("def", "return", "add", "a", "b", " x", " b", "1", "2", "for", "in", "x"),
    "<end>",
]
END = len(PIECES) - 1


@define
class TinyModel(LogprobBackend):
    """A language model over a few pieces, whose distributions depend on the whole text.

    Attributes:
        ends: whether a text is all but certain to end there.
    """

    ends: Callable[[str], bool] = lambda _: False
    model_name = "tiny"
    capabilities = Capabilities()
    end_ids = frozenset({END})

    def encode(self, prompt: TextPrompt | ChatPrompt) -> Answer[tuple[int, ...]]:
        return Answer(self.tokenize(prompt.text))

    def decode(self, ids: Sequence[int]) -> Answer[str]:
        return Answer("".join(PIECES[token] for token in ids))

    def count_tokens(self, text: str) -> Answer[int]:
        return Answer(len(self.tokenize(text)))

    def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        assert not any(request.draft for request in requests)
        return Answer([[self.distribution(self.decode(r.ids).value)] for r in requests])

    def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        return Answer([[self._sample(r, number) for number in range(r.count)] for r in requests])

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Return the longest piece at each position; other characters are dropped."""
        ids: tuple[int, ...] = ()
        while text:
            fits = [token for token, piece in enumerate(PIECES) if text.startswith(piece)]
            longest = max(fits, key=lambda token: len(PIECES[token]), default=None)
            ids += () if longest is None else (longest,)
            text = text[1 if longest is None else len(PIECES[longest]) :]
        return ids

    def distribution(self, text: str) -> Logprobs:
        """Return the dense distribution after a text."""
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest())
        logits = np.random.default_rng(seed).normal(0.0, 2.0, len(PIECES))
        logits[:UNUSED] = -np.inf
        logits[UNUSED] += 2.0  # lines end often
        logits[END] += 10.0 if self.ends(text) else -3.0
        return Logprobs(logits - np.logaddexp.reduce(logits))

    def _sample(self, request: SampleRequest, number: int) -> Continuation:
        rng, ids = random.Random(f"{request.params.seed}/{number}"), ()
        text = prompt = self.decode(request.ids).value
        finished = False
        while len(ids) < request.params.max_tokens and not finished:
            distribution = self.distribution(text)
            token = distribution.argmax()
            if request.params.temperature > 0:
                weights = np.exp(distribution.values / request.params.temperature)
                [token] = rng.choices(range(len(weights)), weights)
            finished = token == END
            if not finished:
                ids += (token,)
                text += PIECES[token]
        return Continuation(ids=ids, text=text[len(prompt) :], finished=finished)
