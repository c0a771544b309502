"""Good components pass their suite; wrong ones fail at the right check, with what to mend."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from attrs import evolve, frozen

from egcfg.guidance.mixture import mix
from egcfg.interfaces.backend import Answer, Completion, Logprobs
from egcfg.interfaces.dataset import Dataset
from egcfg.interfaces.guidance import GuidanceRule, Guided
from egcfg.interfaces.method import Attempt, Method
from egcfg.interfaces.problem import AssertTest, Problem, Program
from egcfg.interfaces.prompt import Prompt, PromptBuilder
from egcfg.interfaces.scorer import Score, TestStatus
from egcfg.interfaces.tracer import RaisedValue, Trace, Tracer, Value
from egcfg.interfaces.usage import Usage
from egcfg.plugins.hookspecs import Kind
from egcfg.sandbox import Call, Execution, Outcome
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.judged import ScorerOptions
from egcfg.testing.answering import AnsweringBackend
from egcfg.testing.checking import Verdict, check_component, run_suite, suite_of
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.testing.suite import Suite


@frozen
class NoOptions:
    """Nothing to choose."""


def failures(kind: Kind, make: Any) -> dict[str, str]:
    """Return the checks that a component fails, each with what it says."""
    results = list(check_component(kind, make, type(make())))
    assert len(results) > 4
    assert all(bool(r.detail) == (r.verdict is not Verdict.OK) for r in results)
    return {r.name: r.detail for r in results if r.verdict is Verdict.FAILED}


# --- backends -----------------------------------------------------------------------------------


def poem(text: str) -> str:
    """Go on with whole lines after any prompt."""
    line = "    return first + second\n"
    return line[min(len(text.rpartition("\n")[2]), len(line) - 1) :]


class Scripted(ScriptedBackend):
    def __init__(self) -> None:
        super().__init__(ScriptedOptions(script=poem, noise=0.3, context_length=2000))


class Unnormalised(Scripted):
    async def score(self, requests: Any) -> Any:
        answer = await super().score(requests)
        halved = [[Logprobs(each.values - 1.0) for each in found] for found in answer.value]
        return evolve(answer, value=halved)


class DraftShifted(Scripted):
    async def score(self, requests: Any) -> Any:
        answer = await super().score(requests)
        return evolve(answer, value=[[found[0], *found[:-1]] for found in answer.value])


class Reversed(Scripted):
    async def score(self, requests: Any) -> Any:
        answer = await super().score(requests)
        return evolve(answer, value=answer.value[::-1])


class Seedless(Scripted):
    number = 0

    async def sample(self, requests: Any) -> Any:
        self.number += 1
        params = evolve(requests[0].params, seed=self.number)
        return await super().sample([evolve(requests[0], params=params)])


class PastItsLine(Scripted):
    async def sample(self, requests: Any) -> Any:
        params = evolve(requests[0].params, max_lines=None)
        return await super().sample([evolve(requests[0], params=params)])


class PastItsStop(Scripted):
    async def sample(self, requests: Any) -> Any:
        params = evolve(requests[0].params, stop=())
        return await super().sample([evolve(requests[0], params=params)])


class Boundless(Scripted):
    def _check_length(self, needed: int) -> None:
        del needed


class Free(Scripted):
    async def score(self, requests: Any) -> Any:
        return evolve(await super().score(requests), usage=Usage())


class Timed(Scripted):
    async def score(self, requests: Any) -> Any:
        answer = await super().score(requests)
        return evolve(answer, usage=evolve(answer.usage, seconds=1.0))


class Dotted(Scripted):
    async def decode(self, ids: Any) -> Any:
        return Answer((await super().decode(ids)).value + ".")


class Stripping(Scripted):
    async def decode(self, ids: Any) -> Any:
        return Answer((await super().decode(ids)).value.strip())


WRONG_BACKENDS = [
    (Unnormalised, "log_probabilities_are_normalised", "log_softmax"),
    (DraftShifted, "a_draft_is_scored_as_single_steps_are", "the distribution after draft[:"),
    (Reversed, "requests_are_answered_in_their_order", "another one when asked alone"),
    (Seedless, "equal_seeds_give_equal_continuations", "SamplingParams.seed"),
    (PastItsLine, "a_continuation_stops_after_its_lines", "stop after the token that completes"),
    (PastItsStop, "a_continuation_stops_after_a_stop_text", "stop after the token that completes"),
    (Boundless, "what_does_not_fit_the_context_is_refused", "raise ContextOverflowError"),
    (Free, "each_answer_says_what_it_cost", "return Answer(value, Usage(...))"),
    (Timed, "each_answer_says_what_it_cost", "leave them to egcfg"),
    (Dotted, "text_only_grows_with_its_tokens", "without stripping spaces"),
    (Stripping, "a_continuation_keeps_its_limits", "but its ids decode to"),
]


def test_a_good_backend_passes() -> None:
    assert failures(Kind.BACKEND, Scripted) == {}


@pytest.mark.parametrize(("made", "check", "mend"), WRONG_BACKENDS)
def test_a_wrong_backend_fails_at_the_right_check(made: Any, check: str, mend: str) -> None:
    assert mend in failures(Kind.BACKEND, made)[check]


class Talking(AnsweringBackend):
    def __init__(self) -> None:
        super().__init__(AnsweringBackend.Options(["def f(x):\n    return 2 * x\n"]))


class Moody(Talking):
    async def complete(self, prompt: Any, params: Any) -> Any:
        answer = await super().complete(prompt, params)
        return evolve(answer, value=Completion(text=f"{len(self.asked)}", finished=True))


class Gratis(Talking):
    async def complete(self, prompt: Any, params: Any) -> Any:
        return Answer((await super().complete(prompt, params)).value)


@pytest.mark.parametrize(
    ("made", "check", "mend"),
    [
        (Moody, "without_temperature_the_answer_is_the_same", "repeats = False"),
        (Gratis, "each_answer_says_what_it_cost", "Answer(completion, Usage(...))"),
    ],
)
def test_a_wrong_text_backend_fails_at_the_right_check(made: Any, check: str, mend: str) -> None:
    assert failures(Kind.BACKEND, Talking) == {}
    assert mend in failures(Kind.BACKEND, made)[check]


# --- tracers ------------------------------------------------------------------------------------


class Plain(Tracer):
    """Tells what a call returned or raised, or what was printed."""

    Options = NoOptions

    def execution(self, request: Any) -> Execution:
        return Execution(
            source=request.source,
            setup=request.setup,
            call=None if request.call is None else Call(request.call),
            stdin=request.stdin,
            run_as_main=request.call is None,
            limits=request.limits,
        )

    async def trace(self, requests: Any, sandbox: Any) -> list[Trace]:
        found = await sandbox.run([self.execution(request) for request in requests])
        return [self.told(*pair) for pair in zip(requests, found, strict=True)]

    def told(self, request: Any, result: Any) -> Trace:
        raised = result.raised
        return Trace(
            source=request.source,
            call=request.call,
            stdin=request.stdin,
            outcome=result.outcome,
            raised=raised and RaisedValue(type=raised.type, message=raised.message),
            result=Value("", repr(result.value)) if result.has_value else None,
            stdout=result.stdout,
        )

    def render(self, trace: Trace, max_chars: int) -> str:
        end = trace.result.text if trace.result else trace.raised or trace.stdout
        return f"{trace.call} gave {end} ({trace.outcome})"[:max_chars]


class DropsFailures(Plain):
    async def trace(self, requests: Any, sandbox: Any) -> list[Trace]:
        found = await super().trace(requests, sandbox)
        return [trace for trace in found if trace.outcome is Outcome.OK]


class Unordered(Plain):
    async def trace(self, requests: Any, sandbox: Any) -> list[Trace]:
        return (await super().trace(requests, sandbox))[::-1]


class Optimistic(Plain):
    def told(self, request: Any, result: Any) -> Trace:
        return evolve(super().told(request, result), outcome=Outcome.OK)


class WithoutSetup(Plain):
    def execution(self, request: Any) -> Execution:
        return evolve(super().execution(request), setup="")


class NeverMain(Plain):
    def execution(self, request: Any) -> Execution:
        return evolve(super().execution(request), run_as_main=False)


class InOurProcess(Plain):
    async def trace(self, requests: Any, sandbox: Any) -> list[Trace]:
        for request in requests:
            if "sys.modules" in request.source:
                exec(request.source, {})
        return await super().trace(requests, sandbox)


class TooLong(Plain):
    def render(self, trace: Trace, max_chars: int) -> str:
        return super().render(trace, max_chars) + " and so on" * 10


class Mute(Plain):
    def render(self, trace: Trace, max_chars: int) -> str:
        return f"it ran ({trace.outcome})"[:max_chars]


class Repeating(Plain):
    def render(self, trace: Trace, max_chars: int) -> str:
        return f"{trace.source}\n{super().render(trace, max_chars)}"[:max_chars]


class Restless(Plain):
    number = 0

    def render(self, trace: Trace, max_chars: int) -> str:
        self.number += 1
        return f"{self.number}: {super().render(trace, max_chars)}"[:max_chars]


class NeedsAResult(Plain):
    def render(self, trace: Trace, max_chars: int) -> str:
        if trace.result is None and trace.raised is None and trace.outcome is not Outcome.TIMEOUT:
            raise AttributeError("no result")
        return super().render(trace, max_chars)


WRONG_TRACERS = [
    (DropsFailures, "each_request_gets_its_trace_in_order", "return one each"),
    (Unordered, "each_request_gets_its_trace_in_order", "keep the order"),
    (Optimistic, "a_trace_says_how_its_program_ended", "copy ExecutionResult.outcome"),
    (WithoutSetup, "setup_runs_before_the_program_and_is_no_part_of_it", "Execution.setup"),
    (NeverMain, "a_whole_program_runs_as_main_on_its_input", "run_as_main=True"),
    (InOurProcess, "programs_run_in_the_sandbox_alone", "sandbox.run"),
    (TooLong, "a_text_keeps_within_its_limit", "shorten the text"),
    (Mute, "a_text_tells_what_happened", "have the same text"),
    (Repeating, "a_text_tells_what_happened", "leave it out"),
    (Restless, "the_same_run_has_the_same_text", "leave times and addresses out"),
    (NeedsAResult, "a_failure_of_the_sandbox_has_a_text", "no result"),
]


def test_a_good_tracer_passes() -> None:
    assert failures(Kind.TRACER, Plain) == {}


@pytest.mark.parametrize(("made", "check", "mend"), WRONG_TRACERS)
def test_a_wrong_tracer_fails_at_the_right_check(made: Any, check: str, mend: str) -> None:
    assert mend in failures(Kind.TRACER, made)[check]


# --- prompts ------------------------------------------------------------------------------------


class Terse(PromptBuilder):
    Options = NoOptions

    def build(self, problem: Any) -> Prompt:
        return Prompt(
            before=f"{problem.description}\n{self.tests(problem)}\n",
            after="",
            signal_header="What happened:\n",
            signal_footer="\n",
            response_prefix=f"```python\n{problem.given_code}",
        )

    def tests(self, problem: Any) -> str:
        program = Program("", problem.entry_point)
        runs = [run for test in problem.visible_tests for run in test.executions(program)]
        seen = [run.call or run.stdin for run in runs]
        return "\n".join(text for text in seen if text not in problem.description)


class Telling(Terse):
    def tests(self, problem: Any) -> str:
        return "\n".join(str(test) for test in problem.scoring_tests)


class Naming(Terse):
    def build(self, problem: Any) -> Prompt:
        return evolve(super().build(problem), after=f"Task {problem.task_id}:\n")


class Silent(Terse):
    def build(self, problem: Any) -> Prompt:
        return evolve(super().build(problem), before="Write Python.\n")


class Twice(Terse):
    def tests(self, problem: Any) -> str:
        return f"{super().tests(problem)}\n" * 2


class HeaderBefore(Terse):
    def build(self, problem: Any) -> Prompt:
        prompt = super().build(problem)
        return evolve(prompt, before=(*prompt.before, "What happened:\n"))


class Closed(Terse):
    def build(self, problem: Any) -> Prompt:
        return evolve(super().build(problem), response_prefix="```python\n```\n")


def test_a_good_prompt_passes() -> None:
    assert failures(Kind.PROMPT, Terse) == {}


WRONG_PROMPTS = [
    (Telling, "no_hidden_test_is_in_a_prompt", "visible_tests only"),
    (Naming, "the_text_depends_on_what_is_visible_only", "nothing random"),
    (Silent, "the_task_is_told_once", "told 0 times"),
    (Twice, "the_visible_tests_are_told_once", "tells_tests = False"),
    (HeaderBefore, "an_empty_signal_gives_the_unconditional_prompt", "signal_header"),
    (Closed, "the_code_is_not_over_where_the_answer_begins", "inside the code"),
]


@pytest.mark.parametrize(("made", "check", "mend"), WRONG_PROMPTS)
def test_a_wrong_prompt_fails_at_the_right_check(made: Any, check: str, mend: str) -> None:
    assert mend in failures(Kind.PROMPT, made)[check]


# --- scorers ------------------------------------------------------------------------------------


class Asserts(AssertsScorer):
    def __init__(self) -> None:
        super().__init__(ScorerOptions(cpu_seconds=0.2, wall_seconds=5.0))


class Generous(Asserts):
    """Lets everything pass."""

    async def score(self, problem: Any, code: str, sandbox: Any) -> Score:
        score = await super().score(problem, code, sandbox)
        passed = [evolve(r, status=TestStatus.PASSED) for r in score.results]
        return Score(results=passed)


class Strict(Asserts):
    async def score(self, problem: Any, code: str, sandbox: Any) -> Score:
        score = await super().score(problem, code, sandbox)
        return evolve(score, results=[evolve(r, status=TestStatus.FAILED) for r in score.results])


class Backwards(Asserts):
    async def score(self, problem: Any, code: str, sandbox: Any) -> Score:
        score = await super().score(problem, code, sandbox)
        return evolve(score, results=score.results[::-1])


class Wordless(Asserts):
    async def score(self, problem: Any, code: str, sandbox: Any) -> Score:
        score = await super().score(problem, code, sandbox)
        return evolve(score, results=[evolve(r, error=None) for r in score.results])


WRONG_SCORERS = [
    (Generous, "a_wrong_program_fails_every_test", "compare what it gives"),
    (Generous, "a_program_that_leaves_does_not_pass", "values that came back"),
    (Generous, "a_program_cannot_say_that_it_is_right", "forgeable=True"),
    (Strict, "a_right_program_passes", "does not pass"),
    (Backwards, "each_test_has_its_verdict_in_order", "in their order"),
    (Wordless, "a_wrong_program_fails_every_test", "say in one line"),
]


@pytest.mark.parametrize(("made", "check", "mend"), WRONG_SCORERS)
def test_a_wrong_scorer_fails_at_the_right_check(made: Any, check: str, mend: str) -> None:
    assert mend in failures(Kind.SCORER, made)[check]


# --- data sets ----------------------------------------------------------------------------------


class Two(Dataset):
    Options = NoOptions
    changes: ClassVar[dict[str, Any]] = {}

    def problems(self) -> list[Problem]:
        tests = [AssertTest("assert f(1) == 2"), AssertTest("assert f(2) == 4")]
        first = Problem(task_id="1", description="Double.", entry_point="f", visible_tests=tests)
        return [first, evolve(first, **{"task_id": "2", **self.changes})]


class SameIds(Two):
    changes: ClassVar[dict[str, Any]] = {"task_id": "1"}


class Untold(Two):
    changes: ClassVar[dict[str, Any]] = {"description": " "}


class OtherScorer(Two):
    changes: ClassVar[dict[str, Any]] = {"scorer": "stdio"}


class Empty(Two):
    def problems(self) -> list[Problem]:
        return []


class Shuffled(Two):
    def problems(self) -> list[Problem]:
        self.times = getattr(self, "times", 0) + 1
        return super().problems()[:: (-1) ** self.times]


WRONG_DATASETS = [
    (SameIds, "task_ids_differ", "make them differ"),
    (Untold, "each_problem_asks_something", "neither description nor given_code"),
    (OtherScorer, "its_scorer_takes_its_tests", "name another scorer"),
    (Empty, "it_holds_problems", "of no problem"),
    (Shuffled, "it_is_the_same_each_time", "keep their order"),
]


@pytest.mark.parametrize(("made", "check", "mend"), WRONG_DATASETS)
def test_a_wrong_data_set_fails_at_the_right_check(made: Any, check: str, mend: str) -> None:
    assert failures(Kind.DATASET, Two) == {}
    assert mend in failures(Kind.DATASET, made)[check]


# --- guidance rules -----------------------------------------------------------------------------


class Mixture(GuidanceRule):
    Options = NoOptions

    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        return mix(unconditional, conditional, gamma)


class AlwaysGuided(Mixture):
    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        return mix(unconditional, conditional, gamma + 0.1)


class WithoutSum(Mixture):
    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        guided = mix(unconditional, conditional, gamma)
        if gamma == 0:
            return guided
        return evolve(guided, distribution=Logprobs(guided.distribution.values + 0.5))


class WrongSign(Mixture):
    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        return mix(unconditional, conditional, -3 * gamma)


class Certain(Mixture):
    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        return Guided(mix(unconditional, conditional, gamma).distribution)


class Remembering(Mixture):
    seen = 0

    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        self.seen += 1
        return mix(unconditional, conditional, gamma / self.seen)


class NumpyOnly(Mixture):
    def mix(self, unconditional: Logprobs, conditional: Logprobs, gamma: float) -> Guided:
        if unconditional.ids is None:
            unconditional = Logprobs(np.asarray(unconditional.values))
            conditional = Logprobs(np.asarray(conditional.values))
        return mix(unconditional, conditional, gamma)


WRONG_RULES = [
    (AlwaysGuided, "gamma_0_is_the_unconditional_distribution", "return it as it is"),
    (WithoutSum, "a_guided_distribution_adds_up_to_1", "logarithm of their sum"),
    (WrongSign, "up_to_gamma_1_a_token_that_both_branches_prefer_stays", "the sign"),
    (Certain, "a_choice_called_certain_is_the_dense_choice", "certain=False"),
    (Remembering, "the_same_question_has_the_same_answer", "keep no state"),
    (NumpyOnly, "tensors_are_mixed_as_arrays_are", "array_namespace"),
]


@pytest.mark.parametrize(("made", "check", "mend"), WRONG_RULES)
def test_a_wrong_rule_fails_at_the_right_check(made: Any, check: str, mend: str) -> None:
    if check.startswith("tensors"):
        pytest.importorskip("torch")
    assert mend in failures(Kind.GUIDANCE, made)[check]


# --- methods ------------------------------------------------------------------------------------


class Answers(Method):
    """The first answer, and another one where it fails."""

    Options = NoOptions

    async def solve(self, bench: Any) -> Any:
        for _ in range(2):
            [reply] = await bench.ask(self.question(bench), stage="answer")
            program = bench.program(bench.prompt.response_prefix + reply.text)
            yield Attempt(program=program, stage="answer")
            [run] = await bench.run([program])
            if run.passed or not run.results:
                return

    def question(self, bench: Any) -> Any:
        return bench.prompt.unconditional()


class Raw(Answers):
    async def solve(self, bench: Any) -> Any:
        [reply] = await bench.ask(self.question(bench), stage="answer")
        yield Attempt(program=reply.text, stage="answer")


class Fragile(Answers):
    async def solve(self, bench: Any) -> Any:
        async for attempt in super().solve(bench):
            if "def f(x)" not in attempt.program:
                raise ValueError("no program in the answer")
            yield attempt


class Choosy(Answers):
    async def solve(self, bench: Any) -> Any:
        async for attempt in super().solve(bench):
            [run] = await bench.run([attempt.program])
            if run.passed:
                yield attempt


class Insisting(Answers):
    async def solve(self, bench: Any) -> Any:
        yield Attempt(program="", stage="answer")
        for _ in range(1000):
            try:
                await bench.ask(self.question(bench), stage="answer")
            except Exception:  # noqa: BLE001 - what nobody should do
                continue


class Tiring(Answers):
    times = 0

    async def solve(self, bench: Any) -> Any:
        self.times += 1
        async for attempt in super().solve(bench):
            yield evolve(attempt, program=f"{attempt.program}# {self.times}\n")


WRONG_METHODS = [
    (Raw, "right_answers_lead_to_a_right_program", "bench.program"),
    (Fragile, "answers_without_a_program_are_no_error", "no program in the answer"),
    (Choosy, "a_wrong_program_is_not_the_end", "yield one after each try"),
    (Choosy, "it_works_without_visible_tests", "yield the first answer"),
    (Insisting, "it_ends_where_its_budget_does", "let TaskBudgetError pass"),
    (Tiring, "the_same_task_has_the_same_attempts", "keep nothing in the instance"),
]


@pytest.mark.parametrize(("made", "check", "mend"), WRONG_METHODS)
def test_a_wrong_method_fails_at_the_right_check(made: Any, check: str, mend: str) -> None:
    assert mend in failures(Kind.METHOD, made)[check]


def test_a_good_method_passes() -> None:
    assert failures(Kind.METHOD, Answers) == {}


# --- the suites themselves ----------------------------------------------------------------------


def test_a_check_is_skipped_for_a_reason_only() -> None:
    suite = suite_of(Kind.DATASET, Two)
    given = {"skips": {"test_task_ids_differ": "they come from a registry"}}
    skipping: Any = type("Skipping", (suite,), {**given, "make": classmethod(lambda _: Two())})
    results = {result.name: result for result in run_suite(skipping)}
    assert results["task_ids_differ"].verdict is Verdict.SKIPPED
    assert results["task_ids_differ"].detail == "they come from a registry"
    with pytest.raises(TypeError, match="say in a few words why"):
        type("Mute", (suite,), {"skips": {"test_task_ids_differ": ""}})
    with pytest.raises(TypeError, match="no check of it"):
        type("Wrong", (suite,), {"skips": {"test_nothing": "it is not there"}})


def test_a_component_that_cannot_be_made_is_one_failed_check() -> None:
    def make() -> Any:
        raise OSError("no such model")

    [result] = check_component(Kind.DATASET, make, Two)
    assert (result.name, result.verdict) == ("setup_class", Verdict.FAILED)
    assert result.detail == "OSError: no such model"


@pytest.mark.parametrize("kind", list(Kind))
def test_every_check_of_every_kind_says_its_rule(kind: Kind) -> None:
    suite = suite_of(kind, object)
    checks = [value for name, value in vars(suite).items() if name.startswith("test_")]
    assert len(checks) > 4
    assert all((check.__doc__ or "").partition("\n")[0].endswith(".") for check in checks)
    assert issubclass(suite, Suite)
    assert suite.kind is kind
