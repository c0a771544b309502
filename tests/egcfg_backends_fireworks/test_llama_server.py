"""The real llama.cpp server with the embedded model, on loopback."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from egcfg.errors import ContextOverflowError
from egcfg.interfaces.backend import LogprobQuery, SampleQuery, SamplingParams, ScoreQuery
from egcfg_backends_fireworks.likeness import Echo
from egcfg_backends_fireworks.openai import OpenAIBackend
from egcfg_backends_fireworks.options import OpenAIOptions

pytestmark = pytest.mark.server
PROMPT = "def add(a, b):\n    return"
EMOJI = "Copy: " + "🦄🎉" * 5 + "🦄"


@pytest.fixture(scope="module")
def backend(llama_server: str) -> Iterator[OpenAIBackend]:
    options = OpenAIOptions(model="smollm2", base_url=f"{llama_server}/v1")
    with pytest.MonkeyPatch.context() as patch, OpenAIBackend(options) as opened:
        patch.delenv("OPENAI_API_KEY", raising=False)
        yield opened


def complete(address: str, **request: Any) -> dict[str, Any]:
    """Ask the server directly, so that nothing under test stands in between."""
    body = {"model": "m", "top_p": 1, "top_k": 0, "min_p": 0, **request}
    asked = urllib.request.Request(
        f"{address}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def test_the_probe_finds_what_llama_cpp_does(backend: OpenAIBackend) -> None:
    profile = backend.probe()
    assert (profile.top_k, profile.extras, profile.multiple) == (20, True, True)
    assert (profile.token_ids, profile.prompt_ids, profile.tokenizes) == (True, True, True)
    assert (profile.raw, profile.seeded, profile.chat_template) == (True, True, True)
    assert profile.steering_id is not None
    assert profile.echo is Echo.IGNORED
    assert (profile.batches, profile.batched_echo) == (True, False)
    assert (profile.context_length, profile.end_id) == (2048, 2)
    assert backend.capabilities.chat


def test_a_distribution_is_sensible(backend: OpenAIBackend) -> None:
    sequence = backend.start(backend.encode(PROMPT))
    [[distribution]] = backend.score([ScoreQuery(sequence)])
    assert backend.decode([distribution.argmax()]) == " a"
    assert distribution.ids is not None
    assert distribution.logprobs.shape == distribution.ids.shape == (20,)
    assert 0.9 < np.exp(distribution.logprobs).sum() <= 1.0


def test_token_by_token_is_the_servers_own_greedy_text(
    backend: OpenAIBackend, llama_server: str
) -> None:
    sequence = backend.start(backend.encode("def is_even(n):\n"))
    start = len(sequence.ids)
    for _ in range(16):
        [[distribution]] = backend.score([ScoreQuery(sequence)])
        sequence.ids += (distribution.argmax(),)
    answer = complete(
        llama_server, prompt="def is_even(n):\n", max_tokens=16, temperature=0, logprobs=1
    )
    [choice] = answer["choices"]
    assert backend.decode(sequence.ids[start:]) == choice["text"]
    assert list(sequence.ids[start:]) == [row["id"] for row in choice["logprobs"]["content"]]


def test_both_branches_are_answered_together(backend: OpenAIBackend) -> None:
    plain = backend.start(backend.encode("def subtract(a, b):\n"), "unconditional")
    conditional = backend.start(backend.encode("# a - b\ndef subtract(a, b):\n"), "conditional")
    before = backend.usage
    answers = backend.score([ScoreQuery(plain), ScoreQuery(conditional)])
    spent = backend.usage - before
    assert spent.requests == 1
    assert spent.input_tokens == len(plain.ids) + len(conditional.ids)
    assert not np.array_equal(answers[0][0].logprobs, answers[1][0].logprobs)


def test_the_value_of_an_unlikely_token_is_exact(backend: OpenAIBackend, llama_server: str) -> None:
    sequence = backend.start(backend.encode(PROMPT))
    answer = complete(
        llama_server, prompt=list(sequence.ids), max_tokens=1, temperature=0, logprobs=500
    )
    [row] = answer["choices"][0]["logprobs"]["content"]
    listed = [(other["id"], other["logprob"]) for other in row["top_logprobs"]]
    tokens, expected = zip(*(listed[rank] for rank in (0, 30, 499)), strict=True)
    [values] = backend.logprobs([LogprobQuery(sequence, tokens)])
    assert values == pytest.approx(expected, abs=0.05)


def test_prompt_ids_round_trip(backend: OpenAIBackend) -> None:
    text = "def f(x):\n    return '🦄'\n<|im_end|>\n"
    ids = backend.encode(text)
    assert backend.decode(ids).replace("<|im_end|>", "") == text.replace("<|im_end|>", "")
    assert backend.probe().end_id in ids


def test_samples_end_at_their_lines_and_keep_their_ids(
    backend: OpenAIBackend, llama_server: str
) -> None:
    sequence = backend.start(backend.encode("def primes(n):\n"))
    params = SamplingParams(temperature=0.8, max_tokens=96, max_lines=2, seed=3)
    [samples] = backend.sample([SampleQuery(sequence, 3, params)])
    assert len(samples) == 3
    for sample in samples:
        assert sample.ids
        assert backend.decode(sample.ids) == sample.text
        assert sample.text.count("\n") == 2 or sample.finished or len(sample.ids) == 96
        assert sample.scores is not None
        assert len(sample.scores) == len(sample.ids)
    first = samples[0]
    answer = complete(
        llama_server,
        prompt=[*sequence.ids, *first.ids[:4]],
        max_tokens=1,
        temperature=0,
        logprobs=1,
    )
    [row] = answer["choices"][0]["logprobs"]["content"]
    assert first.scores is not None
    assert first.scores[4].argmax() == row["id"]
    assert first.scores[4].logprobs[0] == pytest.approx(row["logprob"], abs=0.05)


def test_a_token_that_is_no_whole_character_still_has_its_distribution(
    backend: OpenAIBackend, llama_server: str
) -> None:
    [choice] = complete(llama_server, prompt=EMOJI, max_tokens=1, temperature=0, logprobs=1)[
        "choices"
    ]
    assert choice["logprobs"] is None  # what the server says when it is asked plainly
    sequence = backend.start(backend.encode(EMOJI))
    for _ in range(3):  # the three tokens of one character
        [[distribution]] = backend.score([ScoreQuery(sequence)])
        sequence.ids += (distribution.argmax(),)
    assert backend.decode(sequence.ids[-3:]) == "🎉"


def test_the_end_of_sequence_is_recognised(backend: OpenAIBackend) -> None:
    chat = backend.render_chat([{"role": "user", "content": "Say hi"}])
    assert chat.endswith("<|im_start|>assistant\n")
    sequence = backend.start(backend.encode(chat + "Hi! How can I help you today?"))
    [[distribution]] = backend.score([ScoreQuery(sequence)])
    assert distribution.argmax() in backend.end_ids
    params = SamplingParams(temperature=0.0, max_tokens=8)
    [[sample]] = backend.sample([SampleQuery(sequence, 1, params)])
    assert (sample.ids, sample.finished) == ((), True)


def test_a_prompt_that_is_too_long_overflows_the_context(backend: OpenAIBackend) -> None:
    ids = backend.encode("word " * 2500)
    with pytest.raises(ContextOverflowError) as raised:
        backend.score([ScoreQuery(backend.start(ids))])
    assert (raised.value.needed, raised.value.available) == (len(ids), 2048)
