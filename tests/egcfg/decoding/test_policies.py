"""The line policies: their decisions alone, and in the loop on scripted models."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from attrs import evolve, frozen

from egcfg.decoding import loop
from egcfg.decoding.feedback import Feedback
from egcfg.decoding.policies import is_whole
from egcfg.decoding.settings import DecodingSettings, Policies
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.interfaces.solution import FinishReason, Generation, LineStep, Stage
from egcfg.interfaces.tracer import Trace, Tracer, TraceRequest, Value
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.model import Model

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Decode = Callable[..., tuple[list[LineStep], Generation]]
Script = Callable[[str], str]

PROBLEM = Problem(
    task_id="t/1",
    description="Add one.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(1) == 2"), AssertTest("assert f(0) == 1")],
)
PROMPT = Prompt(
    before="Add one.\n",
    after="Answer:\n",
    signal_header="Signal:\n",
    response_prefix="```python\n",
)
BARE = PROMPT.unconditional().text
WRONG = "def f(x):\n    y = x - 1\n    return y\n```\n"
RIGHT = "def f(x):\n    y = x + 1\n    return y\n```\n"


def value_of(program: str, call: str) -> Any:
    """Run one of the programs of these tests, which are our own."""
    names: dict[str, Any] = {}
    try:
        exec(program, names)  # noqa: S102
        return eval(call, names)  # noqa: S307
    except Exception as error:  # noqa: BLE001 - a value like any other here
        return error


@frozen
class Runs(Tracer):
    """Runs programs right here, and words each by its value."""

    @frozen
    class Options:
        """None."""

    async def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> list[Trace]:  # noqa: ARG002
        return [
            Trace(
                source=r.source,
                call=r.call,
                result=Value("", repr(value_of(r.source, r.call or ""))),
            )
            for r in requests
        ]

    def render(self, trace: Trace, max_chars: int) -> str:
        assert trace.result is not None
        return f"{trace.call} gave {trace.result.text}"[:max_chars]


async def judge(programs: Sequence[str]) -> list[Score]:
    """Judge as a scorer does."""
    return [
        Score(results=[_verdict(program, test) for test in PROBLEM.visible_tests])
        for program in programs
    ]


def _verdict(program: str, test: Any) -> TestResult:
    call, _, wanted = test.source.removeprefix("assert ").partition(" == ")
    passed = value_of(program, call) == int(wanted)
    status = TestStatus.PASSED if passed else TestStatus.FAILED
    return TestResult(name=test.name, status=status, seconds=0.0)


def following(unguided: str, guided: str) -> Script:
    """A script that answers by the text of `guided` where a signal is in sight."""

    def script(text: str) -> str:
        response = text.rpartition("Answer:\n```python\n")[2]
        signal = "Signal:" in text.partition("Answer:\n")[0]
        return (guided if signal else unguided)[len(response) :]

    return script


def backend(unguided: str = WRONG, guided: str = RIGHT, **options: Any) -> ScriptedBackend:
    return ScriptedBackend(ScriptedOptions(script=following(unguided, guided), **options))


@pytest.fixture(scope="module")
def decode(run: Run) -> Decode:
    """Decode with policies; return the lines and the generation."""

    async def decode_all(
        scripted: ScriptedBackend, policies: Policies, **values: Any
    ) -> tuple[list[LineStep], Generation]:
        model = Model(OpenComponent(Kind.BACKEND, scripted, "the backend"), PROBLEM.task_id)
        tracer = OpenComponent(Kind.TRACER, Runs(), "the tracer")
        rule = OpenComponent(Kind.GUIDANCE, create(Kind.GUIDANCE, "cfg"), "the rule")
        feedback = Feedback(tracer, Sandbox(), model, judge)
        settings = DecodingSettings(**values)
        steps = loop.decode(model, feedback, rule, PROBLEM, PROMPT, settings, policies)
        *lines, generation = [step async for step in steps]
        assert "".join(s.text for s in lines) == generation.response.removeprefix("```python\n")
        return lines, generation

    return lambda *arguments, **values: run(decode_all(*arguments, **values))


def decisions(steps: Sequence[LineStep], policy: str) -> list[str]:
    return [d for step in steps for d in step.decisions if d.startswith(f"{policy}: ")]


def passed(run: Run, generation: Generation) -> int:
    [score] = run(judge([generation.code]))
    return sum(result.status is TestStatus.PASSED for result in score.results)


def test_with_all_policies_off_no_line_has_a_decision(decode: Decode) -> None:
    steps, _ = decode(backend(noise=0.3), Policies())
    assert steps
    assert all(step.decisions == () for step in steps)


# --- accept -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "entry_point", "whole"),
    [
        ("def f(x):\n    return x\n", "f", True),
        ("def f(x):\n    if x:\n        return 1\n    raise ValueError\n", "f", True),
        ("async def f(x):\n    return x\n", "f", True),
        ("f = lambda x: x\n", "f", True),
        ("def f(x):\n    return g(x)\n\ndef g(x):\n    pass\n", "f", True),
        ("def f(x):\n    if x:\n        return 1\n", "f", False),
        ("def f(x):\n    y = x\n", "f", False),
        ("def f(x):\n    return (x\n", "f", False),
        ("def g(x):\n    return x\n", "f", False),
        ("class f:\n    pass\n", "f", False),
        ("", "f", False),
        ("n = int(input())\nprint(n)\n", None, True),
        ("n = int(input())\n", None, False),
    ],
)
def test_a_program_is_whole_when_its_function_is_left(
    program: str, entry_point: str | None, whole: bool
) -> None:
    assert is_whole(program, entry_point) is whole


def test_a_candidate_that_passes_all_visible_tests_ends_the_response(decode: Decode) -> None:
    model = backend(unguided=RIGHT, guided=WRONG, noise=0.01)
    steps, generation = decode(model, Policies(accept=True), gamma=1.0, horizon=None)
    assert generation.code == RIGHT[:-4]
    assert generation.finish is FinishReason.ACCEPTED
    assert steps[-1].decisions == ("accept: candidate 1 passes all visible tests",)
    assert steps[-1].tokens == ()
    assert generation.signals == 0
    assert bytes(generation.ids).decode() == "".join(step.text for step in steps)


def test_a_solution_so_far_that_passes_ends_the_response(decode: Decode) -> None:
    longer = RIGHT[:-4] + "    y = 0\n```\n"
    # One signal for all: no candidate is looked at after the first line.
    values = {"gamma": 1.0, "unit": "prefix"}
    model = backend(guided=longer, noise=0.01)
    steps, generation = decode(model, Policies(accept=True), **values)
    assert generation.code == RIGHT[:-4]
    assert generation.finish is FinishReason.ACCEPTED
    assert decisions(steps, "accept") == ["accept: the solution so far passes all visible tests"]


def test_programs_that_fail_are_not_accepted_and_change_nothing(decode: Decode) -> None:
    wrong = WRONG.replace("- 1", "- 2")
    model = {"unguided": WRONG, "guided": wrong, "noise": 0.01}
    steps, generation = decode(backend(**model), Policies(accept=True), gamma=1.0)
    _, without = decode(backend(**model), Policies(), gamma=1.0)
    assert generation == evolve(
        without, usage=generation.usage, execution_seconds=generation.execution_seconds
    )
    assert decisions(steps, "accept") == []


@pytest.mark.parametrize("noise", [0.05, 0.45])
@pytest.mark.parametrize("seed", range(3))
def test_accept_never_passes_fewer_visible_tests(
    decode: Decode, run: Run, noise: float, seed: int
) -> None:
    for unguided, guided in ((RIGHT, WRONG), (WRONG, RIGHT), (WRONG, WRONG)):
        model = {"unguided": unguided, "guided": guided, "noise": noise}
        _, with_it = decode(backend(**model), Policies(accept=True), seed=seed, max_tokens=60)
        _, without = decode(backend(**model), Policies(), seed=seed, max_tokens=60)
        assert passed(run, with_it) >= passed(run, without)


def test_at_gamma_0_no_policy_acts(decode: Decode) -> None:
    steps, generation = decode(backend(unguided=RIGHT), Policies(accept=True), gamma=0)
    assert generation.usage.keys() == {Stage.PREFIX}
    assert generation.finish is FinishReason.CODE_END
    assert all(step.decisions == () for step in steps)
