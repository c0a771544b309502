"""Speed changes nothing: the fast decoder's tokens are those of the naive loop, one by one.

The naive side runs every prefix whole, for every token, with no cache and no draft; the tiny model
computes in float64, so that the order of sums cannot decide between two tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from egcfg.decoding.code import CandidateProgram
from egcfg.decoding.feedback import Feedback
from egcfg.decoding.loop import decode
from egcfg.decoding.settings import PAPER, DecodingSettings, GuidanceUnit, Policies
from egcfg.interfaces.backend import Answer, Continuation, Logprobs, SampleRequest, ScoreRequest
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.solution import Generation, Signal, SignalEntry
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox.service import Sandbox
from egcfg.testing.reference import reference_decode
from egcfg.usage.model import Model
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.engine import causal_model
from egcfg_backends_hf.engine.sampling import SamplingState
from egcfg_backends_hf.options import HFOptions
from egcfg_tracers.tracers import MinimalTracer

Run = Callable[[Coroutine[Any, Any, Any]], Any]
PROBLEMS = 200
WORDS = ("add", "first", "second", "number", "text", "rows", "items", "result", "return", "for")
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"horizon": 1, "candidates": 2},
    {"reuse_candidates": False},
    {"temperature": 1.5},
    {"unit": GuidanceUnit.TOKEN, "candidates": 2},
    {"signal_interval": 2},
    {"unit": GuidanceUnit.PREFIX},
    {"guided_temperature": 1.0},
)


class NumberedSignals(Feedback):
    """Says something else each time: what a random model writes seldom runs."""

    async def signal(
        self,
        problem: Problem,
        programs: Sequence[CandidateProgram],  # noqa: ARG002
        budget: int,  # noqa: ARG002
        known: Sequence[SignalEntry] = (),
        policies: Policies = PAPER,  # noqa: ARG002
    ) -> Signal:
        number = len(known) + 1
        entries = tuple(SignalEntry(program=str(n), samples=1, traces=()) for n in range(number))
        text = f"Candidate {number} of {problem.task_id}: {WORDS[number % len(WORDS)]}\n" * 2
        return Signal(entries=entries, text=text, tokens=await self.model.count_tokens(text))


class NaiveBackend(HFBackend):
    """Runs each prefix whole by transformers itself, but not again for another gamma."""

    def __init__(
        self, options: HFOptions, logprobs: Callable[[Sequence[int]], NDArray[np.float64]]
    ) -> None:
        super().__init__(options)
        self.logprobs_after = logprobs
        self.known: dict[tuple[int, ...], Logprobs] = {}

    def after(self, ids: tuple[int, ...]) -> Logprobs:
        if ids not in self.known:
            self.known[ids] = Logprobs(self.logprobs_after(ids))
        return self.known[ids]

    async def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        assert not any(request.draft for request in requests)
        return Answer([[self.after(request.ids)] for request in requests])

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        return Answer([[self.continuation(r, n) for n in range(r.count)] for r in requests])

    def continuation(self, request: SampleRequest, number: int) -> Continuation:
        decode = self._open_model.text.decode
        state = SamplingState(request, number, request.params.max_tokens, self.end_ids, decode)
        while not state.done:
            state.extend((), state.chosen([self.after(state.sequence)]))
        return state.continuation()


def problem(number: int) -> tuple[Problem, Prompt]:
    words = [WORDS[(number * step) % len(WORDS)] for step in (1, 3, 7)]
    asked = Problem(
        task_id=f"t/{number}",
        description=" ".join(words),
        entry_point="f",
        visible_tests=[AssertTest("assert f(1) == 2")],
        hidden_tests=[],
    )
    prompt = Prompt(
        before=f"Write {asked.description} ({number}).\n",
        after="Answer:\n",
        signal_header="What happened:\n",
        response_prefix="```python\ndef f(x):\n",
    )
    return asked, prompt


def model_of(backend: HFBackend, number: int) -> tuple[Model, Feedback, OpenComponent]:
    model = Model(OpenComponent(Kind.BACKEND, backend, "the backend"), f"t/{number}")
    tracer = OpenComponent(Kind.TRACER, MinimalTracer(MinimalTracer.Options()), "the tracer")
    rule = OpenComponent(Kind.GUIDANCE, create(Kind.GUIDANCE, "cfg"), "the rule")
    return model, NumberedSignals(tracer, Sandbox(), model), rule


@pytest.fixture(scope="module")
def on_device(tiny_llama: Path, run: Run) -> Iterator[HFBackend]:
    """A backend that takes the host's memory for another device's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causal_model, "HOST", ())
        backend = HFBackend(HFOptions(model=str(tiny_llama), device="cpu"))
        run(backend.open())
    yield backend
    run(backend.close())


async def fast_decode(backend: HFBackend, number: int, settings: DecodingSettings) -> Generation:
    asked, prompt = problem(number)
    async for step in decode(*model_of(backend, number), asked, prompt, settings):
        last = step
    assert isinstance(last, Generation)
    return last


@pytest.fixture(scope="module")
def fast(tiny_llama: Path, run: Run) -> Iterator[HFBackend]:
    backend = HFBackend(HFOptions(model=str(tiny_llama), device="cpu"))
    run(backend.open())
    yield backend
    run(backend.close())


@pytest.fixture(scope="module")
def naive(tiny_llama: Path, naive_logprobs: Any, run: Run) -> Iterator[NaiveBackend]:
    backend = NaiveBackend(HFOptions(model=str(tiny_llama), device="cpu"), naive_logprobs)
    run(backend.open())
    yield backend
    run(backend.close())


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_drafts_and_token_trees_give_the_naive_loops_tokens(
    fast: HFBackend, naive: NaiveBackend, run: Run, gamma: float
) -> None:
    async def check() -> int:
        drafted = 0
        for number in range(PROBLEMS):
            settings = DecodingSettings(
                gamma=gamma, seed=number, max_tokens=6, **SETTINGS[number % len(SETTINGS)]
            )
            expected = await reference_decode(*model_of(naive, number), *problem(number), settings)
            found = await fast_decode(fast, number, settings)
            assert found.ids == expected, (number, settings)
            drafted += found.tokens_drafted
        return drafted

    assert run(check()) > 0


def test_distributions_that_stay_on_a_device_give_the_same_tokens(
    fast: HFBackend, on_device: HFBackend, run: Run
) -> None:
    async def check() -> None:
        for number in range(12):
            chosen = SETTINGS[number % len(SETTINGS)]
            settings = DecodingSettings(
                gamma=(0.5, 1.0, 3.0)[number % 3],
                seed=number,
                max_tokens=12,
                **(chosen | {"guided_temperature": 0.8 * (number % 2)}),
            )
            expected = await fast_decode(fast, number, settings)
            assert (await fast_decode(on_device, number, settings)).ids == expected.ids

    run(check())
