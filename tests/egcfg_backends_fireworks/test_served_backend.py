"""A Fireworks-shaped server over another backend: through it, the same texts come out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import define, field, frozen

from egcfg.backend import LogprobBackend, SampleQuery, SamplingParams, ScoreQuery, TokenLogprobs
from egcfg.decoder import Decoder
from egcfg.problem import AssertTest, Problem
from egcfg.prompt import Prompt
from egcfg.sandbox import Sandbox
from egcfg.settings import DecodingSettings
from egcfg.signal import SignalBuilder
from egcfg.solution import Generation
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.tracer import Trace, Tracer, TraceRequest
from egcfg_backends_fireworks.fireworks import FireworksBackend, FireworksOptions

PROBLEM = Problem(
    task_id="t/1",
    description="Add one.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(1) == 2")],
)
PROMPT = Prompt(
    before="Add one.\n",
    after="Answer:\n",
    signal_header="Signal:\n",
    response_prefix="```python\n",
)
PLAIN = "def f(x):\n    y = x - 1\n    return y\n```\n"
SHOWN = "def f(x):\n    y = x + 1\n    return y\n```\n"


@define
class Served:
    """Answers Fireworks' completion requests by asking a dense backend.

    Attributes:
        backend: the model.
        answer: what the loopback server wants answers wrapped in.
        requests: every request so far.
    """

    backend: LogprobBackend
    answer: Callable[..., Any]
    requests: list[dict[str, Any]] = field(factory=list)

    def __call__(self, request: dict[str, Any]) -> Any:
        self.requests.append(request)
        backend, prompt = self.backend, request["prompt"]
        ids = backend.encode(prompt) if isinstance(prompt, str) else tuple(prompt)
        if request.get("logit_bias"):
            return self.answer(b'{"error": {"message": "logit_bias is not taken"}}', 400)
        params = SamplingParams(
            temperature=request["temperature"],
            top_p=request["top_p"],
            max_tokens=request["max_tokens"],
            seed=request.get("seed", 0),
        )
        query = SampleQuery(backend.start(ids), request.get("n", 1), params)
        [continuations] = backend.sample([query])
        last = request.get("echo_last", len(ids) - 1 if request.get("echo") else 0)
        prefix, echoed = ids[: len(ids) - last], ids[len(ids) - last :]
        choices = []
        for index, drawn in enumerate(continuations):
            end = (min(backend.end_ids),) if drawn.finished else ()
            tokens = (*echoed, *drawn.ids, *end)
            draft = ScoreQuery(backend.start(prefix), tokens[:-1])
            [distributions] = backend.score([draft])
            rows = [
                self.row(token, distribution, request["top_logprobs"])
                for token, distribution in zip(tokens, distributions, strict=True)
            ]
            choice: dict[str, Any] = {
                "index": index,
                "text": backend.decode((*echoed, *drawn.ids)),
                "finish_reason": "stop" if drawn.finished else "length",
                "logprobs": {"content": rows},
            }
            if request.get("return_token_ids"):
                choice |= {"token_ids": [*drawn.ids, *end], "prompt_token_ids": list(ids)}
            choices.append(choice)
        usage = {"prompt_tokens": len(ids), "completion_tokens": 1}
        return self.answer(json.dumps({"choices": choices, "usage": usage}).encode())

    def row(self, token: int, distribution: TokenLogprobs, k: int) -> dict[str, Any]:
        top = np.argsort(-distribution.logprobs, kind="stable")[:k]
        return self.piece(token, distribution) | {
            "top_logprobs": [self.piece(int(other), distribution) for other in top]
        }

    def piece(self, token: int, distribution: TokenLogprobs) -> dict[str, Any]:
        return {
            "token": self.backend.decode([token]),
            "token_id": token,
            "logprob": distribution.logprob(token),
        }


@frozen
class ProgramLength(Tracer):
    """Words each program by its length: deterministic, different for different programs."""

    @frozen
    class Options:
        """None."""

    def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> list[Trace]:  # noqa: ARG002
        return [Trace(source=r.source, call=r.call) for r in requests]

    def render(self, trace: Trace, max_chars: int) -> str:
        return f"{trace.call} after {len(trace.source)}"[:max_chars]


def script(text: str) -> str:
    """What the scripted model wants to write, with and without a signal in sight."""
    shown = "Signal:" in text
    response = text.rpartition("Answer:\n```python\n")[2]
    return (SHOWN if shown else PLAIN)[len(response) :]


def decode(model: LogprobBackend, gamma: float) -> Generation:
    signals = SignalBuilder(ProgramLength(), Sandbox(), model.count_tokens)
    settings = DecodingSettings(gamma=gamma, max_tokens=80, candidates=2)
    run = Decoder(model, signals, PROBLEM, PROMPT, settings).run()
    while True:
        try:
            next(run)
        except StopIteration as stop:
            generation: Generation = stop.value
            return generation


def scripted() -> ScriptedBackend:
    return ScriptedBackend(ScriptedOptions(script=script, noise=0.1))


@pytest.mark.parametrize("gamma", [0.0, 0.7, 1.0, 1.3])
def test_the_text_is_the_same_as_in_process_with_drafts_and_without(
    serve: Any, answer: Any, gamma: float
) -> None:
    expected = decode(scripted(), gamma)
    requests = {}
    for policy in ("line_echo", "per_token"):
        server = serve(Served(scripted(), answer))
        options = FireworksOptions(model="m", base_url=server.address, drafts=policy)
        with FireworksBackend(options) as model:
            assert model.capabilities.scores_drafts is (policy == "line_echo")
            generation = decode(model, gamma)
        assert generation.response == expected.response
        assert generation.code == expected.code
        requests[policy] = generation.total_usage.requests
    assert expected.code == (SHOWN if gamma > 0 else PLAIN).removesuffix("```\n")
    if gamma > 0:
        assert requests["line_echo"] < requests["per_token"] / 2


@pytest.mark.model
def test_a_transformers_model_behind_a_server_scores_and_writes_the_same(
    serve: Any, answer: Any, tiny_llama: Path
) -> None:
    hf = pytest.importorskip("egcfg_backends_hf.backend", reason="transformers is not installed")
    text = "def add(first, second):\n    "
    with hf.HFBackend(hf.HFOptions(model=str(tiny_llama))) as local:
        server = serve(Served(local, answer))
        options = FireworksOptions(model="m", base_url=server.address)
        with FireworksBackend(options) as remote:
            ids = local.encode(text)
            here, there = local.start(ids), remote.start(remote.encode(text))
            for _ in range(12):
                [[dense]] = local.score([ScoreQuery(here)])
                [[cut]] = remote.score([ScoreQuery(there)])
                assert cut.argmax() == dense.argmax()
                assert cut.ids is not None
                for token, logprob in zip(cut.ids, cut.logprobs, strict=True):
                    assert math.isclose(logprob, dense.logprob(int(token)), abs_tol=1e-6)
                here.ids += (dense.argmax(),)
                there.ids += (cut.argmax(),)
            draft = here.ids[len(ids) :]
            drafted = ScoreQuery(remote.start(remote.encode(text)), draft)
            [distributions] = remote.score([drafted])
            assert [d.argmax() for d in distributions[:-1]] == list(draft)
