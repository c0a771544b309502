"""Speed changes nothing: the fast decoder's tokens are those of the naive loop, one by one.

The naive side runs every prefix whole, for every token, with no cache and no draft; the tiny model
computes in float64, so that the order of sums cannot decide between two tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from egcfg.decoding.feedback import SignalBuilder
from egcfg.decoding.loop import Decoder
from egcfg.decoding.programs import Program
from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.interfaces.backend import TokenLogprobs
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.solution import Generation, Signal, SignalEntry
from egcfg.sandbox import Sandbox
from egcfg.testing.reference import reference_decode
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.causal_model import CausalModel
from egcfg_backends_hf.evaluator import Question, WholePrefixEvaluator
from egcfg_backends_hf.options import HFOptions
from egcfg_tracers.tracers import MinimalTracer

PROBLEMS = 200
WORDS = ("add", "first", "second", "number", "text", "rows", "items", "result", "return", "for")
SETTINGS = (
    {},
    {"horizon": 1, "candidates": 2},
    {"reuse_candidates": False},
    {"temperature": 1.5},
    {"unit": GuidanceUnit.TOKEN, "candidates": 2},
    {"refresh": 2},
    {"unit": GuidanceUnit.PREFIX},
    {"guided_temperature": 1.0},
)


class NumberedSignals(SignalBuilder):
    """Says something else each time: what a random model writes seldom runs."""

    def build(
        self,
        problem: Problem,
        programs: Sequence[Program],  # noqa: ARG002
        budget: int,  # noqa: ARG002
        known: Sequence[SignalEntry] = (),
    ) -> Signal:
        number = len(known) + 1
        entries = tuple(SignalEntry(program=str(n), samples=1, traces=()) for n in range(number))
        text = f"Candidate {number} of {problem.task_id}: {WORDS[number % len(WORDS)]}\n" * 2
        return Signal(entries=entries, text=text, tokens=self.count_tokens(text))


class Remembering(WholePrefixEvaluator):
    """Runs each prefix whole, but not again for another gamma."""

    def __init__(self, model: CausalModel) -> None:
        super().__init__(model)
        self.known: dict[tuple[int, ...], list[TokenLogprobs]] = {}

    def distributions(self, questions: Sequence[Question]) -> list[list[TokenLogprobs]]:
        assert all(len(ids) == first for ids, first in questions)  # nothing is drafted here
        new = list(dict.fromkeys(q for q in questions if q[0] not in self.known))
        for (ids, _), answer in zip(new, super().distributions(new), strict=True):
            self.known[ids] = answer
        return [self.known[ids] for ids, _ in questions]


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


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as opened:
        yield opened


@pytest.fixture(scope="module")
def fast(tiny_llama: Path) -> Iterator[HFBackend]:
    with HFBackend(HFOptions(model=str(tiny_llama), device="cpu")) as opened:
        yield opened


@pytest.fixture(scope="module")
def naive(tiny_llama: Path) -> Iterator[HFBackend]:
    with HFBackend(HFOptions(model=str(tiny_llama), device="cpu")) as opened:
        opened._evaluator = Remembering(opened._model)
        yield opened


def decode(
    backend: HFBackend, sandbox: Sandbox, number: int, settings: DecodingSettings
) -> Generation:
    asked, prompt = problem(number)
    signals = NumberedSignals(MinimalTracer(MinimalTracer.Options()), sandbox, backend.count_tokens)
    run = Decoder(backend, signals, asked, prompt, settings).run()
    while True:
        try:
            next(run)
        except StopIteration as stop:
            generation: Generation = stop.value
            return generation


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_drafts_and_token_trees_give_the_naive_loops_tokens(
    fast: HFBackend, naive: HFBackend, sandbox: Sandbox, gamma: float
) -> None:
    drafted = 0
    for number in range(PROBLEMS):
        settings = DecodingSettings(
            gamma=gamma, seed=number, max_tokens=6, **SETTINGS[number % len(SETTINGS)]
        )
        asked, prompt = problem(number)
        signals = NumberedSignals(
            MinimalTracer(MinimalTracer.Options()), sandbox, naive.count_tokens
        )
        expected = reference_decode(naive, signals, asked, prompt, settings)
        found = decode(fast, sandbox, number, settings)
        assert found.ids == expected, (number, settings)
        drafted += found.tokens_drafted
    assert drafted > 0
