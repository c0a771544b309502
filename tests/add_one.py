"""A task, and a scripted model that solves it where it sees a signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve, frozen

from egcfg.decoding.feedback import Feedback
from egcfg.decoding.loop import decode
from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.backend import LogprobBackend
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.solution import Generation
from egcfg.interfaces.tracer import Trace, Tracer, TraceRequest
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.model import Model

PROBLEM = Problem(
    task_id="t/1",
    description="Add one.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(1) == 2")],
    hidden_tests=[AssertTest("assert f(41) == 42")],
)
WRONG = "def f(x):\n    y = x - 1\n    return y\n```\n"
RIGHT = "def f(x):\n    y = x + 1\n    return y\n```\n"
PREFIX = "```python\n"
PROMPT = Prompt(
    before="Add one.\n",
    after="Answer:\n",
    signal_header="Signal:\n",
    response_prefix=PREFIX,
)


@frozen
class ProgramLength(Tracer):
    """Words each program by its length: deterministic, different for different programs."""

    @frozen
    class Options:
        """None."""

    async def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> list[Trace]:  # noqa: ARG002
        return [Trace(source=r.source, call=r.call) for r in requests]

    def render(self, trace: Trace, max_chars: int) -> str:
        return f"{trace.call} after {len(trace.source)}"[:max_chars]


def script(text: str) -> str:
    """What the model wants to write, with and without a signal in sight."""
    program = RIGHT if "Signal:" in text else WRONG
    _, chats, answer = text.rpartition("<assistant>\n")
    return (
        (PREFIX + program)[len(answer) :] if chats else program[len(text.rpartition(PREFIX)[2]) :]
    )


def scripted(context_length: int | None = None) -> ScriptedBackend:
    return ScriptedBackend(ScriptedOptions(script=script, noise=0.1, context_length=context_length))


async def decoded(
    backend: LogprobBackend, gamma: float, *, chat: bool = False, **changes: Any
) -> Generation:
    model = Model(OpenComponent(Kind.BACKEND, backend, "backend"), "t/1")
    feedback = Feedback(OpenComponent(Kind.TRACER, ProgramLength(), "tracer"), Sandbox(), model)
    values = {"max_tokens": 80, "candidates": 2} | changes
    settings = DecodingSettings(gamma=gamma, **values)
    rule = OpenComponent(Kind.GUIDANCE, create(Kind.GUIDANCE, "cfg"), "rule")
    prompt = evolve(PROMPT, chat=chat)
    *_, last = [step async for step in decode(model, feedback, rule, PROBLEM, prompt, settings)]
    assert isinstance(last, Generation)
    return last
