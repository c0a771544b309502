"""The scripted backend keeps what backends promise, so that what passes on it means something."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.errors import CapabilityError, ContextOverflowError
from egcfg.interfaces.backend import LogprobRequest, SampleRequest, SamplingParams, ScoreRequest
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, TextPrompt
from egcfg.interfaces.usage import FREE
from egcfg.testing import LogprobBackendSuite
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

Run = Callable[[Coroutine[Any, Any, Any]], Any]

POEM = "one\ntwo\nthree\nfour\n"


def backend(noise: float = 0.3, **options: Any) -> ScriptedBackend:
    return ScriptedBackend(
        ScriptedOptions(script=lambda text: POEM[len(text) :], noise=noise, **options)
    )


def endless(**options: Any) -> ScriptedBackend:
    """A model that goes on with the same line after any prompt."""
    line = "    return first + second\n"

    def script(text: str) -> str:
        return line[min(len(text.rpartition("\n")[2]), len(line) - 1) :]

    return ScriptedBackend(ScriptedOptions(script=script, noise=0.3, **options))


def ids(text: str) -> tuple[int, ...]:
    return tuple(text.encode())


def values(distribution: Any) -> list[float]:
    found: list[float] = distribution.values.tolist()
    return found


class TestScripted(LogprobBackendSuite):
    tolerance = 0.0

    @classmethod
    def make(cls) -> ScriptedBackend:
        return endless(context_length=2000)


class TestScriptedList(LogprobBackendSuite):
    tolerance = 1e-12

    @classmethod
    def make(cls) -> ScriptedBackend:
        return endless(top_k=4, exact_logprobs=True)


class TestScriptedWithoutDrafts(LogprobBackendSuite):
    @classmethod
    def make(cls) -> ScriptedBackend:
        return endless(scores_drafts=False)


@given(prefix=st.integers(0, 12), draft=st.text("one\ntw", max_size=6))
def test_a_draft_is_scored_as_its_tokens_one_by_one(run: Run, prefix: int, draft: str) -> None:
    model, start = backend(), ids(POEM[:prefix])
    [together] = run(model.score([ScoreRequest(start, ids(draft))])).value
    apart = [ScoreRequest(start + ids(draft)[:end]) for end in range(len(draft) + 1)]
    alone = [found for [found] in run(model.score(apart)).value]
    assert list(map(values, together)) == list(map(values, alone))
    for distribution in together:
        assert np.exp(distribution.values).sum() == pytest.approx(1)


def test_the_script_is_the_likeliest_continuation_to_its_end(run: Run) -> None:
    model = backend(noise=0.45)
    requests = [ScoreRequest(ids(POEM[:end])) for end in range(len(POEM) + 1)]
    chosen = [found.argmax() for [found] in run(model.score(requests)).value]
    assert bytes(chosen[:-1]).decode() == POEM
    assert chosen[-1] in model.end_ids


def test_a_list_holds_the_likeliest_and_exact_values_the_rest(run: Run) -> None:
    dense, cut = backend(), backend(top_k=4, exact_logprobs=True)
    [[whole]] = run(dense.score([ScoreRequest(ids("on"))])).value
    [[short]] = run(cut.score([ScoreRequest(ids("on"))])).value
    assert short.ids.tolist() == np.argsort(-whole.values, kind="stable")[:4].tolist()
    assert values(short) == whole.values[short.ids].tolist()
    [exact] = run(cut.logprobs([LogprobRequest(ids("on"), (5, 6))])).value
    assert exact == whole.values[[5, 6]].tolist()
    with pytest.raises(CapabilityError, match="no exact values"):
        run(dense.logprobs([LogprobRequest(ids("on"), (5,))]))


def test_samples_follow_their_seed_and_stop_where_they_are_told(run: Run) -> None:
    def sample(model: ScriptedBackend, count: int = 3, **params: Any) -> Any:
        [found] = run(model.sample([SampleRequest((), count, SamplingParams(**params))])).value
        return found

    model = backend()
    assert sample(model, seed=3) == sample(backend(), seed=3)
    assert sample(model, seed=3) != sample(model, seed=4)
    assert len({c.ids for c in sample(model, 5, temperature=2.0)}) > 1
    assert sample(model, 2, temperature=2.0) == sample(model, 5, temperature=2.0)[:2]
    for continuation in sample(model, seed=1):
        assert continuation.text == bytes(continuation.ids).decode()
    [whole] = sample(model, 1, temperature=0.0)
    assert (whole.text, whole.finished) == (POEM, True)
    for params, text in (
        ({"max_lines": 2}, "one\ntwo\n"),
        ({"max_tokens": 5}, "one\nt"),
        ({"stop": ("thr",)}, "one\ntwo\nthr"),
    ):
        [part] = sample(model, 1, temperature=0.0, **params)
        assert (part.text, part.finished) == (text, False)


def test_prompts_become_characters_and_characters_text(run: Run) -> None:
    model = backend()
    chat = ChatPrompt((ChatMessage("user", "é"),), "x")
    for prompt, text in ((TextPrompt(("a", "b")), "ab"), (chat, "<user>\n?\n<assistant>\nx")):
        encoded = run(model.encode(prompt)).value
        assert run(model.decode(encoded)).value == text
        assert run(model.count_tokens(text)).value == len(encoded)


def test_each_answer_says_what_it_cost(run: Run) -> None:
    model = backend(exact_logprobs=True)
    scored = run(model.score([ScoreRequest((), (1, 2)), ScoreRequest((3,))])).usage
    assert (scored.forward_passes, scored.forward_tokens) == (2, 4)
    request = SampleRequest((), 2, SamplingParams(max_tokens=3, temperature=0.0))
    assert run(model.sample([request])).usage.output_tokens == 6
    assert run(model.logprobs([LogprobRequest((), (1,))])).usage.requests == 1
    for free in (model.encode(TextPrompt(("a",))), model.decode([97]), model.count_tokens("a")):
        assert run(free).usage is FREE


def test_what_it_cannot_do_it_refuses(run: Run) -> None:
    with pytest.raises(CapabilityError, match="takes no drafts"):
        run(backend(scores_drafts=False).score([ScoreRequest((), (1,))]))
    short = backend(context_length=3)
    assert short.capabilities.context_length == 3
    assert backend(context_length=3, tells_context=False).capabilities.context_length is None
    run(short.score([ScoreRequest((1,), (2, 3))]))
    with pytest.raises(ContextOverflowError, match="4 tokens, the model's context holds 3"):
        run(short.score([ScoreRequest((1, 2), (3, 4))]))
    with pytest.raises(ContextOverflowError):
        run(short.sample([SampleRequest((1, 2, 3), 1, SamplingParams())]))
