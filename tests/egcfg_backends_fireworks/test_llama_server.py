"""The real llama.cpp server with the embedded model, on loopback."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from egcfg.errors import ContextOverflowError
from egcfg.interfaces.backend import LogprobRequest, SampleRequest, SamplingParams, ScoreRequest
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, Template
from egcfg_backends_fireworks.client import counted
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.services import OpenAIBackend
from egcfg_backends_fireworks.testing.llama_server import llama_server as real_server

pytestmark = pytest.mark.server
PROMPT = "def add(a, b):\n    return"
EMOJI = "Copy: " + "🦄🎉" * 5 + "🦄"


@pytest.fixture(scope="module")
def backend(llama_server: str, opened: Any) -> Iterator[Any]:
    options = EndpointOptions(model="smollm2", base_url=f"{llama_server}/v1")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY", raising=False)
        with opened(OpenAIBackend(options)) as waiting:
            yield waiting


def complete(address: str, **request: Any) -> dict[str, Any]:
    """Ask the server directly, so that nothing under test is in between."""
    body = {"model": "m", "top_p": 1, "top_k": 0, "min_p": 0, **request}
    asked = urllib.request.Request(
        f"{address}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def sent(backend: Any, ids: tuple[int, ...]) -> Any:
    """Return what goes out for a prefix."""
    wire = backend.run(backend.backend._server.prompts.wire(ids))
    return wire if isinstance(wire, str) else list(wire)


def test_the_probe_finds_what_llama_cpp_does(backend: Any) -> None:
    profile = backend.profile
    assert (profile.form.top_k, profile.multiple, profile.mixed_prompts) == (200, True, True)
    assert (profile.token_ids, profile.prompt_ids, profile.tokenizes) == (True, True, True)
    assert (profile.raw, profile.template) == (True, True)
    assert profile.logit_bias_id is not None
    assert (profile.batches, profile.echo_last, profile.batched_echo) == (True, False, False)
    assert (profile.context_length, profile.end_id) == (2048, 2)
    assert backend.capabilities.chat


def test_a_distribution_is_sensible(backend: Any) -> None:
    ids = backend.ids(PROMPT)
    [[distribution]] = backend.score([ScoreRequest(ids)])
    assert backend.decode([distribution.argmax()]) == " a"
    assert distribution.ids is not None
    assert distribution.values.shape == distribution.ids.shape == (200,)
    assert 0.9 < np.exp(distribution.values).sum() <= 1.0


def test_token_by_token_is_the_servers_own_greedy_text(backend: Any, llama_server: str) -> None:
    ids = backend.ids("def is_even(n):\n")
    start = len(ids)
    for _ in range(16):
        [[distribution]] = backend.score([ScoreRequest(ids)])
        ids += (distribution.argmax(),)
    answer = complete(
        llama_server, prompt="def is_even(n):\n", max_tokens=16, temperature=0, logprobs=1
    )
    [choice] = answer["choices"]
    assert backend.decode(ids[start:]) == choice["text"]
    assert list(ids[start:]) == [row["id"] for row in choice["logprobs"]["content"]]


def test_both_branches_are_answered_together(backend: Any) -> None:
    unconditional = backend.ids("def subtract(a, b):\n")
    conditional = backend.ids("# a - b\ndef subtract(a, b):\n")
    before = backend.usage
    answers = backend.score([ScoreRequest(unconditional), ScoreRequest(conditional)])
    spent = backend.usage - before
    assert spent.requests == 1
    # The server counts the first prompt only; what it reads the texts as is an estimate.
    assert spent.input_tokens == len(unconditional) + len(conditional)
    assert not np.array_equal(answers[0][0].values, answers[1][0].values)


def test_the_value_of_an_unlikely_token_is_exact(backend: Any, llama_server: str) -> None:
    ids = backend.ids(PROMPT)
    answer = complete(
        llama_server, prompt=sent(backend, ids), max_tokens=1, temperature=0, logprobs=500
    )
    [row] = answer["choices"][0]["logprobs"]["content"]
    listed = [(other["id"], other["logprob"]) for other in row["top_logprobs"]]
    tokens, expected = zip(*(listed[rank] for rank in (0, 30, 499)), strict=True)
    [values] = backend.logprobs([LogprobRequest(ids, tokens)])
    assert values == pytest.approx(expected, abs=0.05)


def test_prompt_ids_round_trip(backend: Any) -> None:
    text = "def f(x):\n    return '🦄'\n<|im_end|>\n"
    ids = backend.ids(Template(text))
    assert backend.decode(ids) == sent(backend, ids) == text  # the server reads it
    literal = backend.ids(text)
    assert backend.decode(literal) == text
    assert backend.profile.end_id not in literal


def test_samples_end_at_their_lines_and_keep_their_ids(backend: Any, llama_server: str) -> None:
    ids = backend.ids("def primes(n):\n")
    params = SamplingParams(temperature=0.8, max_tokens=96, max_lines=2, seed=3)
    [samples] = backend.sample([SampleRequest(ids, 3, params)])
    assert len(samples) == 3
    for sample in samples:
        assert sample.ids
        assert backend.decode(sample.ids) == sample.text
        assert sample.text.count("\n") == 2 or sample.finished or len(sample.ids) == 96
    prefix = ids + samples[0].ids[:4]
    before = backend.usage
    [[distribution]] = backend.score([ScoreRequest(prefix)])
    assert backend.usage == before  # it came with the sample
    answer = complete(
        llama_server,
        prompt=sent(backend, prefix),
        max_tokens=1,
        temperature=0,
        logprobs=1,
    )
    [row] = answer["choices"][0]["logprobs"]["content"]
    assert distribution.argmax() == row["id"]
    assert distribution.values[0] == pytest.approx(row["logprob"], abs=0.05)


def test_a_token_that_is_no_whole_character_still_has_its_distribution(
    backend: Any, llama_server: str
) -> None:
    [choice] = complete(llama_server, prompt=EMOJI, max_tokens=1, temperature=0, logprobs=1)[
        "choices"
    ]
    assert choice["logprobs"] is None  # what the server says when it is asked plainly
    ids = backend.ids(EMOJI)
    for _ in range(3):  # the three tokens of one character
        [[distribution]] = backend.score([ScoreRequest(ids)])
        ids += (distribution.argmax(),)
    assert backend.decode(ids[-3:]) == "🎉"


def test_the_end_of_sequence_is_recognised(backend: Any) -> None:
    chat = ChatPrompt((ChatMessage("user", "Say hi"),), "Hi! How can I help you today?")
    ids = backend.encode(chat)
    assert backend.decode(ids).endswith(f"<|im_start|>assistant\n{chat.assistant_prefix}")
    [[distribution]] = backend.score([ScoreRequest(ids)])
    assert distribution.argmax() in backend.end_ids
    params = SamplingParams(temperature=0.0, max_tokens=8)
    [[sample]] = backend.sample([SampleRequest(ids, 1, params)])
    assert (sample.ids, sample.finished) == ((), True)


def test_a_chat_that_differs_in_its_last_message_takes_no_further_rendering(
    backend: Any, run: Any
) -> None:
    prompts, requests = backend._server.prompts, []
    for content in ("Say hi", "Say\n\n  hi <b>", "é 🦄"):
        messages = (ChatMessage("system", "Be brief."), ChatMessage("user", content))
        answer = run(counted(prompts.text(ChatPrompt(messages))))
        assert answer.value == run(counted(prompts.routes.render_chat(messages))).value
        requests.append(answer.usage.requests)
    assert requests == [1, 0, 0]


def test_a_prompt_that_is_too_long_overflows_the_context(backend: Any) -> None:
    ids = backend.ids("word " * 2500)
    with pytest.raises(ContextOverflowError) as raised:
        backend.score([ScoreRequest(ids)])
    assert (raised.value.needed, raised.value.available) == (2501, 2048)


def test_a_server_that_ends_at_once_is_told_of_with_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    with (
        pytest.raises(RuntimeError, match=r"ended at once(?s:.*)broken\.gguf"),
        real_server(tmp_path / "broken.gguf"),
    ):
        pass
