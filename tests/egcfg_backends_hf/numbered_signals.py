"""Guided decoding by the untrained tiny model, whose programs seldom run: signals are made up.

For what many decodings have in common; that the text is the naive loop's is `test_guided_text`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from egcfg.decoding.code import CandidateProgram
from egcfg.decoding.feedback import Feedback
from egcfg.decoding.loop import decode
from egcfg.decoding.settings import PAPER, DecodingSettings, GuidanceUnit, Policies
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.solution import Generation, Signal, SignalEntry
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox.service import Sandbox
from egcfg.usage.model import Model
from egcfg_backends_hf.backend import HFBackend
from egcfg_tracers.tracers import MinimalTracer

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


async def fast_decode(backend: HFBackend, number: int, settings: DecodingSettings) -> Generation:
    asked, prompt = problem(number)
    async for step in decode(*model_of(backend, number), asked, prompt, settings):
        last = step
    assert isinstance(last, Generation)
    return last
