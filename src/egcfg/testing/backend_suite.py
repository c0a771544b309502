"""What every backend with log-probabilities must keep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from egcfg.errors import CapabilityError, ContextOverflowError
from egcfg.interfaces.backend import (
    Continuation,
    LogprobRequest,
    Logprobs,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
)
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, TextPrompt
from egcfg.interfaces.usage import FREE
from egcfg.testing.suite import BackendSuite, require

__all__ = ["LogprobBackendSuite"]

Ids = tuple[int, ...]
LONGEST_CONTEXT = 1 << 17
"""Tokens of the longest context that a check fills."""


class LogprobBackendSuite(BackendSuite):
    """Checks of an open backend that tells log-probabilities."""

    texts: ClassVar[Sequence[str]] = ("def add(first, second):\n    return", "x = 1\n")
    """Two prompts that the model goes on with for a few lines."""

    tolerance: ClassVar[float] = 1e-3
    """By how much equal log-probabilities may differ, in nats, where `rounding` is not more."""

    seeded: ClassVar[bool] = True
    """Whether equal seeds give equal continuations; a server may not keep that promise."""

    def ids(self, text: str = "") -> Ids:
        """Return the token ids of a prompt, of a kind that the backend takes."""
        text = text or self.texts[0]
        prompt: TextPrompt | ChatPrompt = TextPrompt((text,))
        if not self.capabilities.text:
            prompt = ChatPrompt((ChatMessage("user", text),))
        return self.run(self.model.encode(prompt))

    def decode(self, ids: Ids) -> str:
        """Return the text of generated tokens."""
        return self.run(self.model.decode(ids))

    def score(self, *requests: ScoreRequest) -> list[list[Logprobs]]:
        """Score requests, all in one call."""
        return self.run(self.model.score(requests, "score"))

    def sample(self, ids: Ids, count: int = 1, **params: Any) -> list[Continuation]:
        """Sample continuations; the likeliest tokens unless a temperature is given."""
        asked = SamplingParams(**{"temperature": 0.0, "max_tokens": 12, **params})
        [found] = self.run(self.model.sample([SampleRequest(ids, count, asked)]))
        return found

    def draft(self, ids: Ids) -> Ids:
        """Return what the model itself goes on with."""
        draft = self.sample(ids)[0].ids[:6]
        if not draft:
            raise SkipTest("the model ends after the prompt of the checks: give other texts")
        return draft

    def test_it_says_what_it_is(self) -> None:
        """Name, capabilities and end tokens are there once it is open."""
        require(self.opened.read("model_name", str), "model_name is empty: name the model")
        ends = self.opened.read("end_ids", frozenset)
        require(
            all(isinstance(each, int) for each in ends),
            f"end_ids is {ends}: give the ids of the tokens that end a sequence, as far as known",
        )
        require(
            self.opened.read("tasks_in_flight", int) >= 1,
            "tasks_in_flight is below 1: say how many tasks to work on at once",
        )
        require(
            self.capabilities.logprobs,
            "capabilities.logprobs is False: derive from TextBackend if it tells none",
        )

    def test_the_same_prompt_has_the_same_tokens(self) -> None:
        """``encode`` gives token ids, for chats as well where it takes them."""
        require(self.ids() == self.ids() != (), "encode gives none, or others the second time")
        chat = ChatPrompt((ChatMessage("user", self.texts[0]),))
        if self.capabilities.chat:
            require(self.run(self.model.encode(chat)), "encode gives no token of a chat")
            return
        try:
            self.run(self.model.encode(chat))
        except CapabilityError:
            return
        raise AssertionError("a chat is taken, but capabilities.chat is False: say True, or refuse")

    def test_spelt_out_special_tokens_stay_text(self) -> None:
        """Literal text never becomes a control token: programs may print anything."""
        if not self.capabilities.text:
            raise SkipTest("it takes no TextPrompt")
        if not self.model.end_ids:
            raise SkipTest("its end_ids are not known")
        end = min(self.model.end_ids)
        try:
            spelling = self.decode((end,))
        except Exception as error:
            raise SkipTest("its end token has no text") from error
        if len(spelling) < 3:
            raise SkipTest("its end token is not spelt out")
        require(
            end not in self.ids(f"x{spelling}y"),
            f"the text {spelling!r} in a prompt ends the sequence: only egcfg.Template text may "
            "become special tokens",
        )

    def test_text_only_grows_with_its_tokens(self) -> None:
        """``decode(a)`` is a prefix of ``decode(a + b)``, but for a character not yet complete."""
        draft = self.draft(self.ids())
        texts = [self.decode(draft[:end]) for end in range(len(draft) + 1)]
        for shorter, longer in pairwise(texts):
            require(
                longer.startswith(shorter.rstrip("\ufffd")),
                f"decode gives {shorter!r}, and {longer!r} with one token more: decode all ids "
                "alike, without stripping spaces",
            )

    def test_tokens_are_counted(self) -> None:
        """Longer text takes more tokens."""
        short, long = (self.run(self.model.count_tokens(self.texts[0] * n)) for n in (1, 20))
        require(0 < short < long, f"count_tokens gives {short}, and {long} for 20 times the text")

    def test_log_probabilities_are_normalised(self) -> None:
        """Dense ones add up to 1; lists are in descending order, without repeats."""
        [[found]] = self.score(ScoreRequest(self.ids()))
        values = _array(found)
        mass = float(np.exp(values).sum())
        if found.ids is None:
            require(
                abs(mass - 1) < 0.01,
                f"probabilities add up to {mass:.4g}: return log_softmax over the vocabulary",
            )
            return
        top_k = self.capabilities.top_k or 0
        require(
            np.all(np.diff(values) <= 0) and len(set(found.ids.tolist())) == len(found.ids),
            "a list is not in descending order, or names a token twice",
        )
        require(len(values) <= top_k, f"a list has {len(values)} tokens, but top_k is {top_k}")

    def test_a_draft_is_scored_as_single_steps_are(self) -> None:
        """Item i is the distribution after ``ids + draft[:i]``."""
        ids = self.ids()
        if not self.capabilities.scores_drafts:
            raise SkipTest("its capabilities.scores_drafts is False")
        draft = self.draft(ids)
        [drafted] = self.score(ScoreRequest(ids, draft))
        for end, found in enumerate(drafted):
            [[single]] = self.score(ScoreRequest(ids + draft[:end]))
            self.require_same(
                found, single, f"of a draft, item {end} is not the distribution after draft[:{end}]"
            )

    def test_requests_are_answered_in_their_order(self) -> None:
        """What is asked together is answered as if it were asked apart."""
        requests = [ScoreRequest(self.ids(text)) for text in reversed(self.texts)]
        requests.append(requests[-1])
        together = self.score(*requests)
        apart = [self.score(request)[0] for request in requests]
        for number, ([one], [other]) in enumerate(zip(together, apart, strict=True)):
            self.require_same(
                one, other, f"the answer to request {number} is another one when asked alone"
            )

    def test_tasks_side_by_side_disturb_nothing(self) -> None:
        """Calls of several asyncio tasks are answered as if there were one."""
        requests = [ScoreRequest(self.ids(text)) for text in self.texts]
        apart = [self.score(request)[0] for request in requests]

        async def asked() -> list[list[list[Logprobs]]]:
            calls = (self.model.score([request], "score") for request in requests * 2)
            return await asyncio.gather(*calls)

        for [[found]], [alone] in zip(self.run(asked()), apart * 2, strict=True):
            self.require_same(found, alone, "calls of two tasks mix: keep what each holds apart")

    def test_without_temperature_the_likeliest_tokens_are_sampled(self) -> None:
        """Temperature 0 is greedy, and agrees with ``score``."""
        ids = self.ids()
        for end, token in enumerate(chosen := self.draft(ids)):
            [[found]] = self.score(ScoreRequest(ids + chosen[:end]))
            best = found.logprob(found.argmax())
            require(
                best - found.logprob(token) <= self.allowed,
                f"token {end} of a continuation at temperature 0 is {token}, but score prefers "
                f"{found.argmax()}: sample from the same distributions",
            )

    def test_equal_seeds_give_equal_continuations(self) -> None:
        """A row depends on its seed and number alone."""
        if not self.seeded:
            raise SkipTest("its seeded is False")
        ids = self.ids()
        first = self.sample(ids, 3, temperature=0.8, seed=7)
        require(
            first == self.sample(ids, 3, temperature=0.8, seed=7),
            "the same seed gives other continuations: seed a generator per request with "
            "SamplingParams.seed, or set seeded = False",
        )
        require(
            first[:2] == self.sample(ids, 2, temperature=0.8, seed=7),
            "a continuation changes with how many are asked for: seed each by its number as well",
        )

    def test_a_continuation_keeps_its_limits(self) -> None:
        """It has at most `max_tokens` tokens, no end token, and the text of its ids."""
        for found in self.sample(self.ids(), 3, temperature=0.8, max_tokens=5):
            require(len(found.ids) <= 5, f"{len(found.ids)} tokens were sampled, 5 were allowed")
            require(
                not self.model.end_ids & set(found.ids),
                "an end token is part of a continuation: leave it out, and say finished=True",
            )
            require(
                found.text == self.decode(found.ids),
                f"the text of a continuation is {found.text!r}, but its ids decode to "
                f"{self.decode(found.ids)!r}",
            )

    def test_a_continuation_stops_after_its_lines(self) -> None:
        """The token that completes the last line is the last one."""
        [found] = self.sample(self.ids(), max_lines=1, max_tokens=40)
        require(
            "\n" not in self.decode(found.ids[:-1]),
            f"with max_lines=1 the text is {found.text!r}: stop after the token that completes "
            "the line",
        )

    def test_a_continuation_stops_after_a_stop_text(self) -> None:
        """The token that completes a stop text is the last one."""
        text = self.sample(self.ids())[0].text
        if len(text) < 3:
            raise SkipTest("the model goes on with too little text")
        stop = text[len(text) // 2]
        [found] = self.sample(self.ids(), stop=(stop,))
        require(
            stop in found.text and stop not in self.decode(found.ids[:-1]),
            f"with the stop text {stop!r} the continuation is {found.text!r}: stop after the "
            "token that completes it",
        )

    def test_what_does_not_fit_the_context_is_refused(self) -> None:
        """A prompt that is too long raises a `ContextOverflowError`."""
        context = self.capabilities.context_length
        if context is None or context > LONGEST_CONTEXT:
            raise SkipTest("its context_length is not known, or too long to fill")
        ids = self.ids()
        long = (ids * (context // len(ids) + 1))[: context + 1]
        questions: dict[str, Callable[[], object]] = {
            "score": lambda: self.score(ScoreRequest(long)),
            "sample": lambda: self.sample(long),
        }
        for method, ask in questions.items():
            try:
                ask()
            except ContextOverflowError:
                continue
            raise AssertionError(
                f"{method} takes {context + 1} tokens, but context_length is {context}: raise "
                "ContextOverflowError(needed, available)"
            )

    def test_each_answer_says_what_it_cost(self) -> None:
        """A new question costs passes or requests; seconds are measured by egcfg."""
        ids = self.ids(f"{self.texts[1]}# a question that was never asked\n")
        usage = self.run(self.opened.call("score", [ScoreRequest(ids)])).usage
        require(
            usage.forward_passes + usage.requests > 0,
            "a new question costs neither passes nor requests: return Answer(value, Usage(...))",
        )
        sampled = self.run(self.opened.call("sample", [_asked(ids)])).usage
        require(
            sampled == FREE or sampled.output_tokens > 0,
            "sampling costs no output_tokens: count the tokens that were sampled",
        )
        require(usage.seconds == sampled.seconds == 0.0, "seconds are given: leave them to egcfg")

    def test_exact_values_agree_with_the_lists(self) -> None:
        """``logprobs`` tells the values of ``score``, or is refused as `Capabilities` says."""
        ids = self.ids()
        [[found]] = self.score(ScoreRequest(ids))
        tokens = tuple(token for token, _ in found.top(3))
        request = LogprobRequest(ids, tokens)
        if not self.capabilities.exact_logprobs:
            try:
                self.run(self.model.logprobs([request], "score"))
            except CapabilityError:
                return
            raise AssertionError("logprobs answers, but capabilities.exact_logprobs is False")
        [values] = self.run(self.model.logprobs([request], "score"))
        require(
            all(
                abs(value - found.logprob(token)) <= self.allowed
                for token, value in zip(tokens, values, strict=True)
            ),
            f"logprobs gives {values} for tokens that score lists otherwise",
        )

    @property
    def allowed(self) -> float:
        """How far equal log-probabilities may be apart, in nats."""
        return max(self.tolerance, self.capabilities.rounding)

    def require_same(self, one: Logprobs, other: Logprobs, mend: str) -> None:
        """See that two distributions are the same, as far as both list the same tokens."""
        likeliest = [token for each in (one, other) for token, _ in each.top(20)]
        known = [token for token in likeliest if one.lists(token) and other.lists(token)]
        apart = max((abs(one.logprob(t) - other.logprob(t)) for t in known), default=np.inf)
        require(apart <= self.allowed, f"{mend} (they are {apart:.3g} nats apart)")


def _asked(ids: Ids) -> SampleRequest:
    return SampleRequest(ids, 1, SamplingParams(temperature=0.0, max_tokens=4))


def _array(distribution: Logprobs) -> NDArray[np.float64]:
    values = distribution.values
    if not isinstance(values, np.ndarray):
        xp = array_namespace(values)
        values = np.asarray(xp.astype(values, xp.float64).tolist())
    array: NDArray[np.float64] = values.astype(np.float64)
    return array
