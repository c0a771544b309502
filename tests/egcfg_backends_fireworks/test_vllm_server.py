"""The real vLLM server with the embedded model in float32, on loopback: ``make test-vllm``."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from egcfg.interfaces.backend import (
    LogprobRequest,
    Logprobs,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
)
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt
from egcfg_backends_fireworks.options import EndpointOptions, Route
from egcfg_backends_fireworks.services import OpenAIBackend

pytestmark = pytest.mark.vllm
VENV = Path(__file__).parents[2] / ".venv-vllm"
TEXT = "def add(a, b):\n    return"
SHOWN = "# Adds two numbers.\ndef add(a, b):\n    return"
STARTED_S = 600


@pytest.fixture(scope="module")
def local(opened: Any) -> Iterator[Any]:
    """The same model in this process, its weights in float32 as well: not rounded to float16."""
    hf = pytest.importorskip("egcfg_backends_hf.backend", reason="transformers is not installed")
    options = hf.HFBackend.Options(dtype="float32", weights="plain")
    with opened(hf.HFBackend(options)) as waiting:
        yield waiting


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """vLLM's server: its address with the API version."""
    from egcfg_backends_hf.loading.gguf import converted_folder
    from egcfg_backends_hf.loading.source import find_model

    if not (VENV / "bin/python").exists():
        pytest.skip("vLLM is not installed: run make test-vllm")
    log = tmp_path_factory.mktemp("vllm") / "server.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(str(VENV / "bin/python"), "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(converted_folder(Path(find_model(None).location)))),
        *("--served-model-name", "smollm2"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--max-model-len", "2048", "--enforce-eager"),
        "--enable-prompt-tokens-details",
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + STARTED_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"vLLM's server did not start: {log.read_text(errors='replace')[-3000:]}")


@pytest.fixture
def backend(address: str, opened: Any) -> Iterator[Any]:
    with opened(OpenAIBackend(EndpointOptions(model="smollm2", base_url=address))) as waiting:
        yield waiting


def same(cut: Logprobs, dense: Logprobs, tolerance: float = 2e-3) -> None:
    assert cut.ids is not None
    assert cut.argmax() == dense.argmax()
    expected = [dense.logprob(int(token)) for token in cut.ids]
    assert cut.values.tolist() == pytest.approx(expected, abs=tolerance)


def greedy(backend: Any, ids: Sequence[int], count: int) -> tuple[int, ...]:
    prefix = tuple(ids)
    for _ in range(count):
        [[distribution]] = backend.score([ScoreRequest(prefix)])
        prefix += (distribution.argmax(),)
    return prefix[len(ids) :]


def test_the_probe_finds_what_vllm_does(backend: Any) -> None:
    profile = backend.profile
    assert (profile.form.top_k, profile.multiple) == (20, True)
    assert (profile.token_ids, profile.prompt_ids, profile.tokenizes) == (True, True, True)
    assert (profile.raw, profile.batches, profile.token_logprobs) == (True, True, True)
    assert (profile.context_length, profile.template) == (2048, True)
    assert not backend.capabilities.scores_drafts  # it echoes whole prompts only, evaluated anew
    assert backend.capabilities.exact_logprobs


def test_prompts_and_greedy_texts_are_those_of_the_model_in_process(
    backend: Any, local: Any
) -> None:
    for text in (TEXT, SHOWN):
        ids = local.ids(text)
        assert backend.ids(text) == ids
        tokens = greedy(local, ids, 16)
        assert greedy(backend, ids, 16) == tokens
        assert backend.decode(tokens) == local.decode(tokens)


def test_the_value_of_an_unlikely_token_is_exact(backend: Any, local: Any) -> None:
    [[dense]] = local.score([ScoreRequest(local.ids(TEXT))])
    tokens = (253, 5000, 1000)
    [values] = backend.logprobs([LogprobRequest(backend.ids(TEXT), tokens)])
    assert values == pytest.approx([dense.logprob(token) for token in tokens], abs=2e-3)


def test_samples_bring_true_distributions_along(backend: Any, local: Any) -> None:
    params = SamplingParams(temperature=0.8, top_p=0.9, max_tokens=24, max_lines=2, seed=3)
    ids = backend.ids(TEXT)
    [samples] = backend.sample([SampleRequest(ids, 3, params)])
    before = backend.usage
    for sample in samples:
        assert sample.text == local.decode(sample.ids)
        [dense] = local.score([ScoreRequest(local.ids(TEXT), sample.ids)])
        for length, other in enumerate(dense[:-1]):
            [[one]] = backend.score([ScoreRequest(ids + sample.ids[:length])])
            same(one, other)
    assert backend.usage == before


def test_a_chat_and_its_end_are_those_of_the_model_in_process(backend: Any, local: Any) -> None:
    chat = ChatPrompt((ChatMessage("user", "Say hi"),), "Hi! How can I help you today?")
    ids = backend.encode(chat)
    assert ids == local.encode(chat)
    assert local.end_ids <= backend.end_ids
    [[distribution]] = backend.score([ScoreRequest(ids)])
    assert distribution.argmax() in backend.end_ids


@pytest.mark.parametrize("text", ["", "def add", "def add(a, b):\n", "def add(a, b):\n    "])
def test_distributions_after_a_chats_answer_begins_are_those_of_the_model_in_process(
    address: str, opened: Any, local: Any, text: str
) -> None:
    chat = ChatPrompt((ChatMessage("user", "Write `add`."),), f"```python\n{text}")
    options = EndpointOptions(model="smollm2", base_url=address, route=Route.CHAT)
    with opened(OpenAIBackend(options)) as backend:
        assert backend.profile.form.prefill is not None
        [[found]] = backend.score([ScoreRequest(backend.encode(chat))])
        [[dense]] = local.score([ScoreRequest(local.encode(chat))])
        assert backend.decode([found.argmax()]) == local.decode([dense.argmax()])
        likeliest = sorted(dense.values, reverse=True)[: len(found.values)]
        assert found.values.tolist() == pytest.approx(likeliest, abs=2e-3)


def test_what_was_cached_is_told(address: str) -> None:
    prompt = list(range(300, 700))
    body = {"model": "smollm2", "prompt": prompt, "max_tokens": 1}
    for _ in range(2):
        asked = urllib.request.Request(
            f"{address}/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked) as answer:
            usage = json.load(answer)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 200
