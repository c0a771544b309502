"""The line policies: their decisions alone, and in the loop on scripted models."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from egcfg.decoding import loop
from egcfg.decoding.code import CandidateProgram, distinct_programs
from egcfg.decoding.feedback import Feedback
from egcfg.decoding.policies import choose, guided_among_plausible, is_confident, is_whole, marks
from egcfg.decoding.settings import Comments, DecodingSettings, Order, Policies, Verdicts
from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.problem import AssertTest, Problem, StdioTest
from egcfg.interfaces.scorer import Score, TestResult, TestStatus
from egcfg.interfaces.solution import FinishReason, Generation, LineStep, SignalEntry, Stage
from egcfg.interfaces.tracer import RaisedValue, Trace, Tracer, TraceRequest, Value
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.sandbox.types import Outcome
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.model import Model

from ...add_one import PROMPT, RIGHT, WRONG

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Decode = Callable[..., tuple[list[LineStep], Generation]]
Script = Callable[[str], str]

PROBLEM = Problem(
    task_id="t/1",
    description="Add one.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(1) == 2"), AssertTest("assert f(0) == 1")],
)
BARE = PROMPT.unconditional().text


def value_of(program: str, call: str) -> Any:
    """Run one of the programs of these tests, which are our own."""
    names: dict[str, Any] = {}
    try:
        exec(program, names)
        return eval(call, names)
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
        chosen = DecodingSettings(**values)
        steps = loop.decode(model, feedback, rule, PROBLEM, PROMPT, chosen, policies)
        *lines, generation = [step async for step in steps]
        text = ""
        for line in lines:
            assert text.endswith(line.taken_back)
            text = text.removesuffix(line.taken_back) + line.text
        assert text == generation.response.removeprefix("```python\n")
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


# --- confident ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("top", "confident"), [(0.71, True), (0.69, False)])
@pytest.mark.parametrize("cut", [False, True])
def test_confident_is_a_likeliest_token_above_the_threshold(
    top: float, confident: bool, cut: bool
) -> None:
    values = np.log([top, 1 - top])
    distribution = Logprobs(values, np.array([7, 3])) if cut else Logprobs(values)
    assert is_confident(distribution, 0.7) is confident


def test_nothing_is_above_threshold_1() -> None:
    assert not is_confident(Logprobs(np.array([1e-7, -40.0])), 1.0)


@pytest.mark.parametrize("options", [{}, {"top_k": 3, "exact_logprobs": True}], ids=str)
@pytest.mark.parametrize("noise", [1e-9, 0.2, 0.45])
@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_confident_at_threshold_1_changes_no_text(
    decode: Decode, gamma: float, noise: float, options: dict[str, Any]
) -> None:
    steps, sure = decode(backend(noise=noise, **options), Policies(confident=1.0), gamma=gamma)
    _, without = decode(backend(noise=noise, **options), Policies(), gamma=gamma)
    assert sure.ids == without.ids
    assert decisions(steps, "confident") == []


def test_a_confident_line_is_the_unconditional_one_and_costs_no_candidate(decode: Decode) -> None:
    steps, generation = decode(backend(noise=0.05), Policies(confident=0.9), gamma=1.0)
    assert generation.code == WRONG[:-4]
    assert len(decisions(steps, "confident")) == sum(step.in_code for step in steps) - 1
    assert generation.signals == 0
    assert Stage.SAMPLING not in generation.usage
    assert all(step.signal is None for step in steps)


def test_a_line_that_is_not_confident_throughout_is_guided(decode: Decode) -> None:
    """Only the line on which the model hesitates asks for candidates."""
    model = Hesitant(ScriptedOptions(script=following(WRONG, RIGHT), noise=0.05))
    steps, generation = decode(model, Policies(confident=0.9), gamma=1.0)
    assert generation.code == RIGHT[:-4]
    guided = [step for step in steps if step.signal]
    assert [step.text for step in guided] == ["    y = x + 1\n"]
    assert generation.signals == 1
    after = steps[steps.index(guided[0]) + 1]
    assert after.decisions == ("confident: each likeliest token is above 0.9",)
    assert after.text == "    return y\n"


class Hesitant(ScriptedBackend):
    """Is unsure about the sign."""

    def _shares(self, ids: tuple[int, ...]) -> Any:
        shares = super()._shares(ids)
        if not bytes(ids).endswith(b"y = x "):
            return shares
        return np.log(0.5 * np.exp(shares) + 0.5 / 128)


def test_what_was_scored_to_see_whether_a_line_is_confident_is_not_asked_for_again(
    decode: Decode,
) -> None:
    model = Hesitant(ScriptedOptions(script=following(WRONG, RIGHT), noise=0.05))
    decode(model, Policies(confident=0.9), gamma=1.0, drafts=False)
    bare = [r.ids for r in model.scored if bytes(r.ids).decode().startswith(BARE)]
    assert len(set(bare)) == len(bare)


# --- gate ---------------------------------------------------------------------------------------


def entry(*results: str, **parts: Any) -> SignalEntry:
    traces = tuple(Trace(source="", result=Value("int", result), **parts) for result in results)
    return SignalEntry(program="", samples=1, traces=traces)


@pytest.mark.parametrize(
    ("entries", "different"),
    [
        ([], False),
        ([entry("1")], False),
        ([entry("1", "2"), entry("1", "2")], False),
        ([entry("1", "2"), entry("1", "3")], True),
        ([entry("1"), entry("1", stdout="1")], True),
        ([entry("1"), entry("1", outcome=Outcome.TIMEOUT)], True),
        ([entry("1"), entry("1", raised=RaisedValue(type="KeyError", message="1"))], True),
        ([entry("1"), entry("1", events_seen=7)], False),
    ],
)
def test_the_gate_is_open_where_programs_led_to_different_results(
    entries: list[SignalEntry], different: bool
) -> None:
    choice = choose(entries, Policies(gate=True))
    assert choice.guides is different
    assert choice.entries == tuple(entries)
    [decision] = choice.decisions
    assert decision.startswith("gate: guided" if different else "gate: unguided")


def test_a_line_whose_candidates_do_not_differ_is_unguided_and_reads_no_signal(
    decode: Decode,
) -> None:
    steps, generation = decode(backend(noise=0.0001), Policies(gate=True), gamma=1.0)
    assert generation.code == WRONG[:-4]
    assert len(decisions(steps, "gate")) == generation.signals > 0
    signals = [step.signal for step in steps if step.signal]
    assert {signal.text for signal in signals} == {""}
    assert not any(each.shown for signal in signals for each in signal.entries)
    assert Stage.SIGNAL not in generation.usage


class Torn(ScriptedBackend):
    """Takes either sign for as likely."""

    def _shares(self, ids: tuple[int, ...]) -> Any:
        shares = super()._shares(ids)
        if bytes(ids).endswith(b"y = x "):
            shares[[ord("+"), ord("-")]] = np.log(0.499)
        return shares


def test_a_gate_changes_nothing_before_it_first_closes(decode: Decode) -> None:
    compared = 0
    for seed in range(3):
        values: dict[str, Any] = {"gamma": 1.0, "candidates": 6, "horizon": None, "seed": seed}
        model = Torn(ScriptedOptions(script=following(WRONG, RIGHT), noise=0.001))
        steps, _ = decode(model, Policies(gate=True), **values)
        without, _ = decode(model, Policies(), **values)
        for one, other in zip(steps, without, strict=False):
            if any("unguided" in decision for decision in one.decisions):
                break
            assert one.text == other.text
            compared += bool(one.decisions)
    assert compared > 1


# --- comments -----------------------------------------------------------------------------------


def test_comments_are_kept_where_wanted_and_tell_no_programs_apart(decode: Decode) -> None:
    commented = 'def f(x):\n    """Two."""\n    y = x + 1  # one\n    return y\n```\n'
    model = {"unguided": commented, "guided": commented, "noise": 0.001}
    shown = {}
    for comments in Comments:
        steps, _ = decode(backend(**model), Policies(comments=comments), gamma=1.0)
        shown[comments] = [step.signal for step in steps if step.signal][-1].entries[0].program
    assert shown[Comments.KEEP] == commented[:-5]
    assert shown[Comments.DROP] == "def f(x):\n    y = x + 1\n    return y"


def test_programs_that_differ_in_comments_count_as_one_the_first_as_it_was_written() -> None:
    texts = ["def f(x):\n    return x  # a\n", "def f(x):\n    # b\n    return x\n    y ="]
    [kept] = distinct_programs(texts, "f", Comments.KEEP)
    assert kept == CandidateProgram("def f(x):\n    return x  # a", 2)
    [dropped] = distinct_programs(texts, "f")
    assert dropped == CandidateProgram("def f(x):\n    return x", 2)


# --- verdicts and order -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (Verdicts.OFF, ()),
        (Verdicts.MARK, ("-> satisfied", "-> not satisfied")),
        (
            Verdicts.VALUES,
            (
                "-> satisfied, the test wants: assert f(1) == 2",
                "-> not satisfied, the test wants: assert f(0) == 1",
            ),
        ),
    ],
)
def test_each_run_is_marked_by_its_visible_test(
    run: Run, verdicts: Verdicts, expected: tuple[str, ...]
) -> None:
    program = "def f(x):\n    return 2 * x"
    [score] = run(judge([program]))
    assert marks(PROBLEM, program, score, verdicts) == expected


def test_marks_fit_runs_where_a_test_has_none_and_where_nobody_judged() -> None:
    task = evolve(
        PROBLEM,
        visible_tests=[AssertTest("assert list(map(f, [1])) == [2]"), *PROBLEM.visible_tests],
    )
    assert len(task.executions("")) == 2
    passed = TestResult(name="", status=TestStatus.PASSED, seconds=0.0)
    score = Score(results=[passed, passed])
    assert marks(task, "", score, Verdicts.MARK) == ("-> satisfied", "-> not satisfied")
    assert marks(task, "", Score(results=[passed] * 9), Verdicts.MARK) == ("-> satisfied",) * 2


def test_what_a_program_should_print_is_a_value_too() -> None:
    task = Problem(
        task_id="t/2", description="", entry_point=None, visible_tests=[StdioTest("1", "2\n")]
    )
    told = marks(task, "", Score(results=()), Verdicts.VALUES)
    assert told == ("-> not satisfied, the test wants: output '2\\n'",)


def test_verdicts_are_told_below_each_run_of_each_candidate(decode: Decode) -> None:
    values: dict[str, Any] = {"gamma": 1.0, "horizon": None}
    steps, _ = decode(backend(noise=0.01), Policies(verdicts=Verdicts.VALUES), **values)
    first = next(step.signal for step in steps if step.signal)
    assert "Run 1 gave 0\n-> not satisfied, the test wants: assert f(1) == 2\n" in first.text
    last = [step.signal for step in steps if step.signal][-1]
    assert "Run 1 gave 2\n-> satisfied, the test wants: assert f(1) == 2\n" in last.text
    steps, _ = decode(backend(noise=0.01), Policies(), **values)
    assert "satisfied" not in "".join(step.signal.text for step in steps if step.signal)


def judged(program: str, share: float, result: str, samples: int = 1) -> SignalEntry:
    return evolve(entry(result), program=program, share=share, samples=samples)


def test_best_first_shows_what_passes_most_first_and_each_failure_once() -> None:
    entries = [
        judged("a", 0.0, "1"),
        judged("b", 0.5, "2"),
        judged("c", 0.0, "1"),
        judged("d", 1.0, "3"),
        judged("e", 1.0, "3"),
        judged("so far", 0.0, "9", samples=0),
    ]
    choice = choose(entries, Policies(order=Order.BEST_FIRST))
    assert [each.program for each in choice.entries] == ["so far", "d", "e", "b", "a"]
    assert choice.decisions == (
        "order: passing 0 %, 100 %, 100 %, 50 %, 0 % of the visible tests, "
        "1 failing duplicates dropped",
    )


# --- signed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "shown", "against", "decision"),
    [
        ([judged("a", 1.0, "1"), judged("b", 1.0, "1")], "ab", "", "towards what is shown"),
        ([judged("a", 0.0, "1"), judged("b", 0.0, "2")], "ab", "", "away from what is shown"),
        ([judged("a", 0.5, "1")], "a", "", "away from what is shown"),
        ([judged("a", 1.0, "1"), judged("b", 0.0, "2", 2)], "a", "b", "towards 1 of 2 programs"),
        ([judged("a", 0.5, "1"), judged("b", 0.0, "2")], "a", "b", "towards 1 of 2 programs"),
        (
            [judged("b", 0.0, "2"), judged("a", 1.0, "1"), judged("c", 0.5, "3")],
            "a",
            "bc",
            "towards 1 of 3 programs, passing 100 % of the visible tests, away from the others",
        ),
    ],
)
def test_guidance_leads_away_from_failures_and_towards_what_passes(
    entries: list[SignalEntry], shown: str, against: str, decision: str
) -> None:
    choice = choose(entries, Policies(signed=True))
    assert "".join(each.program for each in choice.entries) == shown
    assert "".join(each.program for each in choice.against) == against
    assert choice.away is decision.startswith("away")
    [told] = choice.decisions
    assert told.startswith(f"signed: {decision}")


def test_each_side_has_its_order() -> None:
    entries = [judged("a", 0.5, "1"), judged("e", 1.0, "5")]
    entries += [judged(name, 0.0, "2") for name in "bc"]
    choice = choose(entries, Policies(signed=True, order=Order.BEST_FIRST))
    assert [each.program for each in choice.entries] == ["e"]
    assert [each.program for each in choice.against] == ["a", "b"]
    assert choice.decisions[-1].endswith("1 failing duplicates dropped")


def test_with_nothing_to_show_there_is_no_side() -> None:
    assert not choose([], Policies(signed=True)).away


def test_away_from_a_signal_only_plausible_tokens_may_be_chosen() -> None:
    unconditional = Logprobs(np.log([0.6, 0.35, 0.05]))
    conditional = Logprobs(np.log([0.9, 0.0999, 0.0001]))
    guided = guided_among_plausible(unconditional, conditional, -1.0)
    assert guided.distribution.argmax() == 1
    assert guided.distribution.logprob(2) == -np.inf
    assert np.exp(guided.distribution.values).sum() == pytest.approx(1.0)


@given(
    seed=st.integers(0, 10**6),
    top_k=st.integers(1, 7),
    gamma=st.sampled_from([-0.1, -0.3, -1.0, -3.0]),
    flat=st.sampled_from([0.2, 1.0, 5.0]),
)
def test_a_certain_choice_away_from_a_signal_is_that_of_the_dense_distributions(
    seed: int, top_k: int, gamma: float, flat: float
) -> None:
    random = np.random.default_rng(seed)
    dense = [Logprobs(np.log(random.dirichlet(np.full(8, flat)) + 1e-12)) for _ in range(2)]
    orders = [np.argsort(-d.values, kind="stable")[:top_k] for d in dense]
    cut = [Logprobs(d.values[order], order) for d, order in zip(dense, orders, strict=True)]
    found = guided_among_plausible(cut[0], cut[1], gamma)
    if found.certain:
        expected = guided_among_plausible(dense[0], dense[1], gamma)
        assert found.distribution.argmax() == expected.distribution.argmax()


@pytest.mark.parametrize("gamma", [0.3, -0.3, 1.5])
def test_exact_values_make_short_lists_decide_as_dense_distributions_do(
    decode: Decode, gamma: float
) -> None:
    """The sign of gamma is the policy's."""
    texts = {}
    for name, options in {
        "dense": {},
        "exact": {"top_k": 4, "exact_logprobs": True},
        "without drafts": {"top_k": 4, "exact_logprobs": True, "scores_drafts": False},
    }.items():
        model = backend(noise=0.3, **options)
        steps, generation = decode(model, Policies(signed=True), gamma=gamma)
        texts[name] = generation.response
        assert any("away from" in each for each in decisions(steps, "signed"))
    assert len(set(texts.values())) == 1
    _, other_sign = decode(backend(noise=0.3), Policies(signed=True), gamma=-gamma)
    assert other_sign.response == texts["dense"]


def test_the_model_is_led_away_from_programs_that_fail(decode: Decode) -> None:
    """The signal makes it likelier to write what fails, so that away from it something else is."""
    model = Hesitant(ScriptedOptions(script=following(RIGHT, WRONG), noise=0.05))
    values: dict[str, Any] = {"gamma": 1.0, "temperature": 0.1, "horizon": 1}
    _, towards = decode(model, Policies(), **values)
    steps, away = decode(model, Policies(signed=True), **values)
    assert towards.code == WRONG[:-4]
    assert away.code == RIGHT[:-4]
    assert decisions(steps, "signed")[0].startswith("signed: away from what is shown")


class Imitates(ScriptedBackend):
    """Writes the sign that is shown, and rather the wrong one where none is, or both are."""

    def _shares(self, ids: tuple[int, ...]) -> Any:
        shares = super()._shares(ids)
        text = bytes(ids).decode()
        if text.endswith("y = x "):
            signal = text.partition("Answer:\n")[0]
            right, wrong = ("y = x + 1" in signal), ("y = x - 1" in signal)
            plus, minus = (0.45, 0.55) if right == wrong else (0.9, 0.1) if right else (0.1, 0.9)
            shares = np.full(128, np.log(1e-9))
            shares[[ord("+"), ord("-")]] = np.log([plus, minus])
        return shares


def test_the_contrast_leads_towards_the_better_programs_and_away_from_the_others(
    decode: Decode,
) -> None:
    options = ScriptedOptions(script=following(WRONG, WRONG), noise=0.001)
    values: dict[str, Any] = {"candidates": 6, "horizon": None}
    _, unsigned = decode(Imitates(options), Policies(), **values)
    assert unsigned.code == WRONG[:-4]
    model = Imitates(options)
    steps, signed = decode(model, Policies(signed=True), **values)
    assert signed.code == RIGHT[:-4]
    contrasts = [step.signal for step in steps if step.signal and step.signal.against]
    assert contrasts
    for signal in contrasts:
        assert signal.against is not None
        assert "y = x + 1" in signal.text
        assert "y = x - 1" in signal.against.text
        assert "y = x - 1" not in signal.text
        assert len(signal.all_entries) == 2
    asked = [bytes(r.ids).decode().partition("Answer:\n")[0] for r in model.scored]
    for sign in "+-":
        assert any(f"y = x {sign} 1" in text for text in asked)


def test_the_contrast_of_short_lists_is_that_of_dense_distributions(decode: Decode) -> None:
    texts = []
    for cut in ({}, {"top_k": 4, "exact_logprobs": True}):
        options = ScriptedOptions(script=following(WRONG, WRONG), noise=0.01, **cut)
        values: dict[str, Any] = {"candidates": 6, "horizon": None, "gamma": 0.7}
        steps, generation = decode(Imitates(options), Policies(signed=True), **values)
        assert any(step.signal and step.signal.against for step in steps)
        texts.append(generation.response)
    assert texts[0] == texts[1]


def test_only_the_policies_that_need_verdicts_ask_for_them() -> None:
    assert not Policies(accept=True, gate=True, confident=0.7, comments="keep").judges
    for values in (
        {"signed": True},
        {"verdicts": "mark"},
        {"order": "best_first"},
        {"rollback": 1},
    ):
        assert Policies(**values).judges


# --- rollback -----------------------------------------------------------------------------------


class Leaning(ScriptedBackend):
    """Takes the wrong sign for a little likelier, whatever it is shown."""

    def _shares(self, ids: tuple[int, ...]) -> Any:
        shares = super()._shares(ids)
        if bytes(ids).endswith(b"y = x "):
            shares = np.full(128, np.log(1e-9))
            shares[[ord("+"), ord("-")]] = np.log([0.45, 0.55])
        return shares


def test_a_dead_end_is_left_by_the_last_line_whose_outcomes_varied(decode: Decode) -> None:
    model = Leaning(ScriptedOptions(script=following(WRONG, WRONG), noise=0.001))
    values: dict[str, Any] = {"candidates": 6, "horizon": None}
    _, without = decode(model, Policies(), **values)
    assert (without.code, without.rollbacks) == (WRONG[:-4], 0)

    steps, generation = decode(model, Policies(rollback=2), **values)
    assert generation.code == RIGHT[:-4]
    assert generation.rollbacks == 1
    [(place, back)] = [(n, step) for n, step in enumerate(steps) if step.taken_back]
    assert back.taken_back == "    y = x - 1\n"
    assert back.text == ""
    assert back.decisions == (
        f"rollback: all candidates fail alike; back to step {place - 1}, now without '-'",
    )
    assert steps[place + 1].text == "    y = x + 1\n"
    # What is counted of tokens is that of the response.
    stay = [*steps[: place - 1], *steps[place + 1 :]]
    choices = [choice for step in stay for choice in step.tokens]
    assert len(choices) == len(generation.ids)
    assert generation.tokens_changed == sum(choice.changed for choice in choices) == 1
    assert generation.tokens_drafted == sum(choice.drafted for choice in choices)


def test_a_response_goes_back_as_often_as_it_may(decode: Decode) -> None:
    """Either sign is wrong here, so that every way is a dead end."""
    lost = WRONG.replace("1", "9")
    model = Leaning(ScriptedOptions(script=following(lost, lost), noise=0.001))
    values: dict[str, Any] = {"candidates": 6, "horizon": None}
    found = {
        most: decode(model, Policies(rollback=most), **values)[1].rollbacks for most in range(4)
    }
    assert found[0] == 0
    assert all(found[most] <= most for most in found)
    assert found[2] > found[0]
