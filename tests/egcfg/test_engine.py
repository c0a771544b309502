"""Everything together: real tokens and caches, real programs in the sandbox, real traces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, closing
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve, frozen

import egcfg
from egcfg import AssertTest, DecodingSettings, Engine, Problem, RunConfig, Sandbox
from egcfg.config.schema import OptionValue
from egcfg.decoding.feedback import Feedback
from egcfg.errors import (
    BackendError,
    BudgetError,
    CapabilityError,
    ConfigError,
    PluginError,
    UnknownNameError,
)
from egcfg.interfaces.backend import (
    Answer,
    Backend,
    Capabilities,
    Completion,
    Logprobs,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    TextBackend,
)
from egcfg.interfaces.prompt import ChatPrompt, Prompt, PromptBuilder, TextPrompt
from egcfg.interfaces.scorer import Scorer
from egcfg.interfaces.solution import FinishReason, Generation, LineStep, Solution
from egcfg.interfaces.tracer import Trace, Tracer, TraceRequest
from egcfg.interfaces.usage import Usage
from egcfg.plugins import registry as registry_module
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Component, Kind
from egcfg.plugins.registry import PluginReport, Registry, create
from egcfg.testing.reference import reference_decode
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.budget import Meter
from egcfg.usage.model import Model

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@frozen
class ForcedStart(PromptBuilder):
    """Makes even a random model write inside a function, so that there is something to run."""

    @frozen
    class Options:
        """None."""

    options: Options = Options()

    def build(self, problem: Problem) -> Prompt:
        return Prompt(
            before=f"{problem.description}\n",
            after="Answer:\n",
            signal_header="What happened:\n",
            response_prefix=f"```python\ndef {problem.entry_point}(x):\n    y = x\n    return ",
        )


def problem(number: int) -> Problem:
    return Problem(
        task_id=f"t/{number}",
        description=f"Return {number} more.",
        entry_point="f",
        visible_tests=[AssertTest(f"assert f(7) == {7 + number}")],
        hidden_tests=[AssertTest(f"assert f(5) == {5 + number}")],
    )


def scripted(answer: str, cls: type[ScriptedBackend] = ScriptedBackend, **options: Any) -> Any:
    """Return a model that wants `answer` after the forced start, whatever the signal says."""

    def script(text: str) -> str:
        written = text.rpartition("    y = x\n    return ")[2]
        return answer[len(written) :]

    return cls(ScriptedOptions(script=script, **options))


# --- a tiny real model --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(tiny_llama: Path, run: Run) -> Iterator[Engine]:
    opened = Engine(
        backend=create(Kind.BACKEND, "hf", {"model": str(tiny_llama), "dtype": "float64"}),
        tracer=create(Kind.TRACER, "full"),
        prompt=ForcedStart(),
    )
    yield opened
    run(opened.close())


@pytest.mark.parametrize(("number", "gamma"), [(0, 0.0), (1, 0.5), (2, 1.0), (3, 3.0)])
def test_the_tokens_are_those_of_the_reference_loop(
    engine: Engine, sandbox: Sandbox, run: Run, number: int, gamma: float
) -> None:
    task = problem(number)
    settings = DecodingSettings(gamma=gamma, temperature=0.3, max_tokens=40, seed=number)

    async def reference() -> tuple[int, ...]:
        backend = OpenComponent(Kind.BACKEND, await engine.open(), "the backend")
        model = Model(backend, task.task_id)
        tracer = OpenComponent(Kind.TRACER, engine.tracer, "the tracer")
        feedback = Feedback(tracer, sandbox, model)
        rule = OpenComponent(Kind.GUIDANCE, create(Kind.GUIDANCE, "cfg"), "the rule")
        prompt = engine.prompt(task)
        return await reference_decode(model, feedback, rule, task, prompt, settings)

    assert run(engine.solve(task, settings)).generation.ids == run(reference())


def test_a_run_that_nothing_guides_says_so_once(
    sandbox: Sandbox, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    unguided = evolve(problem(1), visible_tests=[AssertTest("assert list(map(f, [1])) == [2]")])
    settings = DecodingSettings(gamma=1.0, max_tokens=20)
    given = {"backend": scripted("x + 1\n```"), "prompt": ForcedStart(), "sandbox": sandbox}

    async def solve_twice() -> list[Solution]:
        async with Engine(**given) as engine:
            return [await engine.solve(unguided, settings) for _ in range(2)]

    with caplog.at_level("WARNING", "egcfg.engine"):
        solutions = run(solve_twice())
    for solution in solutions:
        assert solution.generation.signals_empty == solution.generation.signals > 0
    (record,) = [record for record in caplog.records if record.name == "egcfg.engine"]
    assert "no visible test has a call of f" in record.getMessage()


def test_gamma_0_is_the_models_own_greedy_text(engine: Engine, run: Run, tiny_llama: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float64)
    task = problem(1)
    backend = OpenComponent(Kind.BACKEND, run(engine.open()), "the backend")
    prompt = run(Model(backend, "t").encode(engine.prompt(task).unconditional()))
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False
    )
    generation = run(engine.solve(task, DecodingSettings(gamma=0, max_tokens=30))).generation
    assert generation.ids == tuple(out[0, ids.shape[1] :].tolist())[: len(generation.ids)]
    assert len(generation.ids) == 30 or generation.finish is not FinishReason.MAX_TOKENS


def test_drafts_change_the_cost_and_nothing_else(engine: Engine, run: Run) -> None:
    with_drafts, without = (
        run(
            engine.solve(
                problem(2),
                DecodingSettings(gamma=0.05, temperature=0.05, drafts=drafts, max_tokens=60),
            )
        ).generation
        for drafts in (True, False)
    )
    assert with_drafts.ids == without.ids
    assert with_drafts.signals > 0
    assert with_drafts.tokens_drafted > 0
    passes = [g.total_usage.forward_passes for g in (with_drafts, without)]
    assert passes[0] < passes[1]


def test_a_second_run_gives_the_same_solution(engine: Engine, run: Run) -> None:
    settings = DecodingSettings(max_tokens=40)
    first, second = (run(engine.solve(problem(3), settings)) for _ in range(2))
    assert first.code == second.code
    assert first.generation.ids == second.generation.ids


def test_steps_can_be_left_at_any_line(engine: Engine, run: Run) -> None:
    async def first() -> LineStep | Solution:
        settings = DecodingSettings(max_tokens=40)
        async with aclosing(engine.solve_steps(problem(1), settings)) as steps:
            return await anext(steps)

    one, again = run(first()), run(first())
    assert one.signal is not None
    assert again.text == one.text


Alone = Callable[[float], list[tuple[int, ...]]]


def guided(gamma: float) -> DecodingSettings:
    return DecodingSettings(gamma=gamma, temperature=0.3, max_tokens=40)


@pytest.fixture(scope="module")
def alone(engine: Engine, run: Run) -> Alone:
    """Return what gives the tokens of each of four tasks, solved one after the other."""

    @cache
    def ids(gamma: float) -> list[tuple[int, ...]]:
        settings = guided(gamma)
        return [run(engine.solve(problem(n), settings)).generation.ids for n in range(4)]

    return ids


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_solving_at_the_same_time_gives_the_texts_of_solving_in_turn(
    engine: Engine, alone: Alone, run: Run, gamma: float
) -> None:
    async def at_once() -> list[Solution]:
        solving = (engine.solve(problem(n), guided(gamma)) for n in range(4))
        return await asyncio.gather(*solving)

    assert [solution.generation.ids for solution in run(at_once())] == alone(gamma)


def test_solving_line_by_line_in_turns_gives_the_texts_of_each_alone(
    engine: Engine, alone: Alone, run: Run
) -> None:
    async def line_by_line() -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        solving = [engine.solve_steps(problem(n), guided(0.5)) for n in range(4)]
        while solving:
            steps = solving.pop(0)
            if isinstance(step := await anext(steps), Solution):
                found[step.task_id] = step.generation.ids
                await steps.aclose()
            else:
                solving.append(steps)
        return found

    assert run(line_by_line()) == {problem(n).task_id: ids for n, ids in enumerate(alone(0.5))}


@pytest.mark.parametrize(
    ("number", "strength", "drafted", "expected"),
    [
        (0, {"gamma": 0.5, "temperature": 0.3}, 1, (81, 498, 263)),
        # Guided so little, it mostly writes what its candidates do.
        (0, {"gamma": 0.05, "temperature": 0.05}, 22, (66, 277, 199)),
        (2, {"gamma": 0.05, "temperature": 0.05}, 32, (54, 317, 221)),
    ],
)
def test_work_for_a_fixed_task_is_known_to_the_pass_and_token(
    tiny_llama: Path,
    run: Run,
    number: int,
    strength: dict[str, float],
    drafted: int,
    expected: tuple[int, ...],
) -> None:
    """A draft, a prefix or a shared pass that is lost costs more, and changes no text."""

    async def work() -> Generation:
        backend = create(Kind.BACKEND, "hf", {"model": str(tiny_llama), "dtype": "float64"})
        async with Engine(backend=backend, prompt=ForcedStart()) as fresh:
            settings = DecodingSettings(max_tokens=40, **strength)
            return (await fresh.solve(problem(number), settings)).generation

    generation = run(work())
    usage = generation.total_usage
    assert (usage.forward_passes, usage.forward_tokens, usage.output_tokens) == expected
    assert (generation.tokens_drafted, len(generation.ids)) == (drafted, 40)


def test_solve_by_names_opens_and_closes_what_it_needs(tiny_llama: Path) -> None:
    solution = egcfg.solve(
        problem(1),
        prompt=ForcedStart(),
        tracer="minimal",
        options={"backend": {"model": str(tiny_llama), "dtype": "float64"}},
        gamma=1.0,
        max_tokens=20,
    )
    assert solution.code.startswith("def f(x):")
    assert [r.name for r in solution.score.results] == ["assert f(5) == 6"]
    assert solution.started <= solution.ended


def test_a_wrong_name_is_told_before_a_model_is_loaded() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'minimal'"):
        egcfg.solve(problem(1), tracer="minimum")


def test_a_wrong_setting_is_told_before_a_model_is_loaded() -> None:
    with pytest.raises(ConfigError, match="did you mean 'gamma'"):
        egcfg.solve(problem(1), gama=1.0)
    with pytest.raises(ConfigError, match="gamma"):
        egcfg.solve(problem(1), gamma=float("nan"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": {"bakend": {}}}, "no options for 'bakend'; did you mean 'backend'?"),
        ({"options": {"dataset": {"path": "x"}}}, "no options for 'dataset'; choose from: backend"),
        (
            {"prompt": ForcedStart(), "options": {"prompt": {"opening": "x"}}},
            "the prompt is handed over as an instance, .* give them to ForcedStart",
        ),
        ({"options": {"tracer": {"layuot": "paper"}}}, "did you mean 'layout'"),
        ({"options": {"scorer": {"nope": 1}}}, "the scorer 'asserts' has no option 'nope'"),
    ],
)
def test_options_that_nothing_would_read_are_refused_before_a_model_is_loaded(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        egcfg.solve(problem(1), backend="hf", **arguments)


@pytest.mark.parametrize(("megabytes", "passes"), [(900, True), (200, False)])
def test_options_of_the_scorer_reach_it(megabytes: int, passes: bool) -> None:
    answer = " return len(bytes(400_000_000)) * 0 + x + 1\n```"
    options = ScriptedOptions(script=lambda text: answer[len(text.rpartition("y = x\n   ")[2]) :])

    solution = egcfg.solve(
        problem(1),
        backend=ScriptedBackend(options),
        prompt=ForcedStart(),
        options={"scorer": {"memory_bytes": str(megabytes * 10**6)}},
        gamma=0,
    )

    assert solution.passed is passes, solution


def test_a_call_ends_at_its_budget_whatever_was_spent_before() -> None:
    backend = scripted(" x + 1\n```")

    def solve(limit: int) -> Solution:
        budget = egcfg.Budget(max_tokens=limit)
        return egcfg.solve(
            problem(1), backend=backend, prompt=ForcedStart(), budget=budget, max_tokens=20
        )

    assert solve(10_000).code
    with pytest.raises(BudgetError, match="--max-tokens-total 3 is used up"):
        solve(3)
    assert solve(10_000).code


# --- several tasks in flight --------------------------------------------------------------------


class Unhurried(ScriptedBackend):
    """Counts requests and prompt tokens, and lets others go first at every question."""

    async def score(self, requests: Sequence[ScoreRequest]) -> Any:
        sent = await self._wait(requests)
        return self._counted(await super().score(requests), sent)

    async def sample(self, requests: Sequence[SampleRequest]) -> Any:
        sent = await self._wait(requests)
        return self._counted(await super().sample(requests), sent)

    async def _wait(self, requests: Sequence[ScoreRequest] | Sequence[SampleRequest]) -> int:
        sent = sum(len(request.ids) for request in requests)
        for _ in range(sent % 4):
            await asyncio.sleep(0)
        return sent

    def _counted(self, answer: Answer[Any], sent: int) -> Answer[Any]:
        return evolve(answer, usage=answer.usage + Usage(requests=1, input_tokens=sent))


def counts(solution: Solution) -> dict[Any, Usage]:
    """Return what a solution cost, but for the time."""
    return {s: evolve(usage, seconds=0.0) for s, usage in solution.generation.usage.items()}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(Sandbox()) as opened:
        yield opened


ANSWERS = "x + 1\n```", "x + 2\n```", "abs(x)\n    return x + 3\n```"


def answering(text: str) -> str:
    """A script that has another answer for each problem."""
    number = int(text.partition("Return ")[2].partition(" more.")[0])
    written = text.rpartition("    y = x\n    return ")[2]
    return ANSWERS[number % 3][len(written) :]


def unhurried(sandbox: Sandbox, meter: Meter | None = None) -> Engine:
    backend = Unhurried(ScriptedOptions(script=answering, noise=0.3))
    return Engine(backend=backend, prompt=ForcedStart(), sandbox=sandbox, meter=meter)


def test_tasks_in_flight_have_the_texts_and_the_costs_of_each_alone(
    run: Run, sandbox: Sandbox
) -> None:
    settings = DecodingSettings(gamma=0.5, max_tokens=40)

    async def alone(number: int) -> Solution:
        async with unhurried(sandbox) as engine:
            return await engine.solve(problem(number), settings)

    async def at_once(meter: Meter) -> list[Solution]:
        async with unhurried(sandbox, meter) as engine:
            return await asyncio.gather(*(engine.solve(problem(n), settings) for n in range(6)))

    meter = Meter()
    together, single = run(at_once(meter)), [run(alone(n)) for n in range(6)]
    for one, other in zip(together, single, strict=True):
        assert one.task_id == other.task_id
        assert one.generation.ids == other.generation.ids
        assert counts(one) == counts(other)
        assert one.passed is other.passed
    assert len({s.generation.total_usage.input_tokens for s in together}) > 1
    spent = sum((s.generation.total_usage for s in together), Usage())
    assert evolve(meter.spending.here, seconds=0.0) == evolve(spent, seconds=0.0)


@pytest.mark.parametrize(
    ("number", "drafted", "expected"),
    [(0, 9, (4, 1173, 67, 31)), (1, 8, (3, 893, 54, 28)), (2, 27, (6, 3095, 256, 108))],
)
def test_a_scripted_answer_is_drafted_in_requests_and_tokens_that_are_known(
    run: Run, sandbox: Sandbox, number: int, drafted: int, expected: tuple[int, ...]
) -> None:
    async def work() -> Generation:
        async with unhurried(sandbox) as engine:
            settings = DecodingSettings(gamma=0.5, max_tokens=40)
            return (await engine.solve(problem(number), settings)).generation

    generation = run(work())
    usage = generation.total_usage
    spent = (usage.requests, usage.input_tokens, usage.forward_tokens, usage.output_tokens)
    assert (generation.tokens_drafted, spent) == (drafted, expected)


def test_cancelling_one_task_leaves_the_others_untouched(run: Run, sandbox: Sandbox) -> None:
    settings = DecodingSettings(gamma=0.5, max_tokens=40)

    async def alone(number: int) -> Solution:
        async with unhurried(sandbox) as engine:
            return await engine.solve(problem(number), settings)

    async def some() -> list[Solution | BaseException]:
        async with unhurried(sandbox) as engine:
            reached = asyncio.Event()
            doomed = asyncio.create_task(
                engine.solve(problem(1), settings, on_step=lambda _: reached.set())
            )
            others = [asyncio.create_task(engine.solve(problem(n), settings)) for n in (0, 2, 3)]
            await reached.wait()
            doomed.cancel()
            return await asyncio.gather(doomed, *others, return_exceptions=True)

    cancelled, *others = run(some())
    assert isinstance(cancelled, asyncio.CancelledError)
    for other, number in zip(others, (0, 2, 3), strict=True):
        expected = run(alone(number))
        assert other.generation.ids == expected.generation.ids
        assert counts(other) == counts(expected)


def test_a_task_that_fails_leaves_the_others_untouched(run: Run, sandbox: Sandbox) -> None:
    class Picky(Unhurried):
        async def score(self, requests: Sequence[ScoreRequest]) -> Any:
            if b"Return 1 more" in bytes(requests[0].ids):
                raise BackendError("not this one; ask another model")
            return await super().score(requests)

    async def some() -> list[Solution | BaseException]:
        backend = Picky(ScriptedOptions(script=answering))
        async with Engine(backend=backend, prompt=ForcedStart(), sandbox=sandbox) as engine:
            solving = (engine.solve(problem(n), DecodingSettings(gamma=0)) for n in range(3))
            return await asyncio.gather(*solving, return_exceptions=True)

    first, failed, last = run(some())
    assert isinstance(failed, BackendError)
    assert str(failed) == "not this one; ask another model"
    assert [s.task_id for s in (first, last)] == ["t/0", "t/2"]


def test_the_backend_is_opened_once_for_all_tasks_and_closed_at_the_end(
    run: Run, sandbox: Sandbox
) -> None:
    events: list[str] = []

    class Watched(Unhurried):
        async def open(self) -> Usage:
            events.append("opens")
            await asyncio.sleep(0)
            events.append("open")
            return Usage(requests=2)

        async def close(self) -> None:
            events.append("closed")

    meter = Meter()

    async def some() -> None:
        backend = Watched(ScriptedOptions(script=answering))
        async with Engine(
            backend=backend, prompt=ForcedStart(), sandbox=sandbox, meter=meter
        ) as engine:
            solving = (engine.solve(problem(n), DecodingSettings(gamma=0)) for n in range(3))
            solutions = await asyncio.gather(*solving)
            assert events == ["opens", "open"]
            requests = sum(s.generation.total_usage.requests for s in solutions)
            assert meter.spending.here.requests == requests + 2
            await engine.close()
            assert events == ["opens", "open", "closed"]

    run(some())
    assert events == ["opens", "open", "closed"]


# --- components that answer wrongly -------------------------------------------------------------


class OddBackend(ScriptedBackend):
    """Answers one method by what it is told to answer."""

    method: str
    answer: Any

    def __getattribute__(self, name: str) -> Any:
        if name != object.__getattribute__(self, "method"):
            return object.__getattribute__(self, name)

        async def answered(*_: object) -> Any:
            answer = object.__getattribute__(self, "answer")
            return answer() if callable(answer) else answer

        return answered


def fails() -> None:
    raise ZeroDivisionError("division by zero")


def row(*values: float) -> Answer[list[list[Logprobs]]]:
    return Answer([[Logprobs(np.array(values))]])


BACKEND_FAULTS = [
    ("open", None, "open gave NoneType, not its Usage"),
    ("open", fails, "open raised ZeroDivisionError: division by zero"),
    ("encode", None, "encode gave NoneType, not an Answer"),
    ("encode", Answer("text"), "encode gave str, not token ids"),
    ("decode", Answer(None), "decode gave NoneType, not text"),
    ("count_tokens", Answer("9"), "count_tokens gave str, not a number"),
    ("score", None, "score gave NoneType, not an Answer"),
    ("score", [[]], "score gave list, not an Answer"),
    ("score", fails, "score raised ZeroDivisionError: division by zero"),
    ("score", Answer([]), "score gave 0 answers to 1 requests"),
    ("score", Answer([[]]), "score gave 0 distributions for a draft of 0 tokens, not 1"),
    ("score", Answer([[None]]), "score gave NoneType, not Logprobs"),
    ("score", row(np.nan, -1.0), "score gave nan as a log-probability"),
    ("score", row(np.inf, -1.0), "score gave inf as a log-probability"),
    ("score", row(1.5, -1.0), "score gave 1.5 as a log-probability"),
    ("score", row(0.7, 0.3), "score gave 0.7 as a log-probability"),
    ("score", row(*[np.log(0.3)] * 10), "score gave probabilities that add up to 3"),
    ("score", row(-np.inf, -np.inf), "score gave -inf as a log-probability"),
    ("score", row(), "score gave an array of float64 of shape (0,)"),
    ("score", Answer([[Logprobs(np.zeros((2, 2)))]]), "score gave an array of float64 of shape"),
    ("sample", None, "sample gave NoneType, not an Answer"),
    ("sample", Answer([[]]), "sample gave 0 continuations, not 3"),
    ("sample", Answer([["a", "b", "c"]]), "sample gave something else than a Continuation"),
]


@pytest.mark.parametrize(("method", "answer", "said"), BACKEND_FAULTS)
def test_a_backend_that_answers_wrongly_is_an_error_and_no_result(
    run: Run, sandbox: Sandbox, method: str, answer: object, said: str
) -> None:
    backend = scripted("x + 1\n```", OddBackend)
    backend.method, backend.answer = method, answer

    async def solve() -> None:
        async with Engine(backend=backend, prompt=ForcedStart(), sandbox=sandbox) as engine:
            gamma = 0.0 if method == "score" else 0.5  # one question at a time
            await engine.solve(problem(1), DecodingSettings(gamma=gamma, max_tokens=30))

    with pytest.raises(PluginError) as caught:
        run(solve())
    message = str(caught.value)
    where = "" if method == "open" else " on task t/1"
    assert message.startswith(
        f"the backend {OddBackend.__module__}.OddBackend is broken{where}: {said}"
    )
    assert message.endswith("; report it to its authors")
    assert "\n" not in message


class OddTracer(Tracer):
    """Runs nothing; says what it is told to say."""

    @frozen
    class Options:
        """None."""

    def __init__(self, traces: Callable[[list[Trace]], object], text: object = "") -> None:
        self.traces = traces
        self.text = text

    def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> Any:  # noqa: ARG002
        return self.traces([Trace(source=r.source, call=r.call) for r in requests])

    def render(self, trace: Trace, max_chars: int) -> Any:  # noqa: ARG002
        return self.text() if callable(self.text) else self.text


class OddPrompt(PromptBuilder):
    """Words nothing."""

    @frozen
    class Options:
        """None."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def build(self, problem: Problem) -> Any:  # noqa: ARG002
        return self.answer() if callable(self.answer) else self.answer


@pytest.mark.parametrize(
    ("component", "said"),
    [
        ({"tracer": OddTracer(lambda _: [])}, "trace gave 0 for "),
        ({"tracer": OddTracer(lambda traces: traces * 2)}, "trace gave "),
        ({"tracer": OddTracer(lambda _: None)}, "trace gave NoneType for "),
        (
            {"tracer": OddTracer(lambda traces: [trace.call for trace in traces])},
            "trace gave something else than a Trace",
        ),
        ({"tracer": OddTracer(lambda _: fails())}, "trace raised ZeroDivisionError: division by"),
        ({"tracer": OddTracer(list, None)}, "render gave NoneType, not text"),
        ({"tracer": OddTracer(list, fails)}, "render raised ZeroDivisionError: division by zero"),
        ({"prompt": OddPrompt(None)}, "build gave NoneType"),
        ({"prompt": OddPrompt("Write a function.")}, "build gave str"),
        ({"prompt": OddPrompt(fails)}, "build raised ZeroDivisionError: division by zero"),
    ],
)
def test_another_component_that_answers_wrongly_is_an_error_and_no_result(
    run: Run, sandbox: Sandbox, component: dict[str, Any], said: str
) -> None:
    given = {"backend": scripted("x + 1\n```"), "prompt": ForcedStart(), "sandbox": sandbox}

    async def solve() -> None:
        async with Engine(**(given | component)) as engine:
            await engine.solve(problem(1), DecodingSettings(max_tokens=30))

    with pytest.raises(PluginError) as caught:
        run(solve())
    [(kind, instance)] = component.items()
    title = f"the {kind} {type(instance).__module__}.{type(instance).__name__}"
    assert str(caught.value).startswith(f"{title} is broken on task t/1: {said}")
    assert str(caught.value).endswith("; report it to its authors")
    assert "\n" not in str(caught.value)


class OddScorer(Scorer):
    """Judges nothing."""

    @frozen
    class Options:
        """Whether it raises, and where."""

        fails_in: str = ""

    def __init__(self, options: Options) -> None:
        self.options = options

    def check(self, problem: Problem) -> None:  # noqa: ARG002
        if self.options.fails_in == "check":
            fails()

    async def score(self, problem: Problem, code: str, sandbox: Sandbox) -> Any:  # noqa: ARG002
        if self.options.fails_in == "score":
            fails()


@pytest.mark.parametrize(
    ("fails_in", "said"),
    [
        ("", "score gave NoneType"),
        ("score", "score raised ZeroDivisionError: division by zero"),
        ("check", "check raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_scorer_that_answers_wrongly_is_an_error_and_no_result(
    run: Run, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, fails_in: str, said: str
) -> None:
    own = Component(
        kind=Kind.SCORER, name="odd", target=f"{__name__}:OddScorer", summary="judges nothing"
    )
    report = PluginReport(name="odd", distribution="odd-scorers", version="1.0", components=(own,))
    known = Registry((*registry_module.registry().reports, report))
    monkeypatch.setattr(registry_module, "registry", lambda: known)
    monkeypatch.setattr("egcfg.config.components.registry", lambda: known)
    option = OptionValue(
        kind=Kind.SCORER, component="odd", name="fails_in", value=fails_in or "x", origin="here"
    )

    async def solve() -> None:
        async with Engine(
            RunConfig(options=(option,)),
            backend=scripted("x + 1\n```"),
            prompt=ForcedStart(),
            sandbox=sandbox,
        ) as engine:
            await engine.solve(evolve(problem(1), scorer="odd"), DecodingSettings(gamma=0))

    with pytest.raises(PluginError) as caught:
        run(solve())
    assert str(caught.value) == (
        f"the scorer 'odd' of odd-scorers 1.0 is broken on task t/1: {said}; "
        "report it to its authors"
    )


# --- what a backend can do ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lacks", "chat", "said"),
    [
        ("chat", True, "no chat template; choose another prompt: --prompt long_code or"),
        ("text", False, "takes chats only; choose another prompt: --prompt chat"),
        ("logprobs", False, "tells no log-probabilities, which guidance needs; "),
    ],
)
def test_what_a_backend_lacks_is_told_before_the_model_is_asked(
    run: Run, sandbox: Sandbox, lacks: str, chat: bool, said: str
) -> None:
    class Lacking(ScriptedBackend):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(**{lacks: False})

    class Prompted(PromptBuilder):
        Options = ForcedStart.Options

        def build(self, problem: Problem) -> Prompt:
            return Prompt(before=problem.description, after="", chat=chat)

    backend = scripted("x", Lacking)

    async def solve() -> None:
        async with Engine(backend=backend, prompt=Prompted(), sandbox=sandbox) as engine:
            await engine.solve(problem(1))

    with pytest.raises(CapabilityError, match=said):
        run(solve())
    assert backend.scored == []


class TextOnly(TextBackend):
    """Answers whole prompts, as a server of chats does."""

    @frozen
    class Options:
        """None."""

    def __init__(self, answer: object, logprobs: bool = False) -> None:
        self.answer = answer
        self.logprobs = logprobs
        self.asked: list[tuple[Any, SamplingParams]] = []

    @property
    def model_name(self) -> str:
        return "text-only"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(logprobs=self.logprobs)

    async def open(self) -> Usage:
        self.asked.append(("open", SamplingParams()))
        return Usage()

    async def complete(self, prompt: TextPrompt | ChatPrompt, params: SamplingParams) -> Any:
        self.asked.append((prompt, params))
        return self.answer


def solve_by_text(run: Run, sandbox: Sandbox, backend: Backend, **values: Any) -> Solution:
    async def solve() -> Solution:
        async with Engine(backend=backend, prompt=ForcedStart(), sandbox=sandbox) as engine:
            return await engine.solve(problem(1), DecodingSettings(**values))

    solution: Solution = run(solve())
    return solution


@pytest.mark.parametrize(
    ("text", "finished", "finish", "passes"),
    [
        ("x + 1\n```\nThat is it.", True, FinishReason.CODE_END, True),
        ("x + 1\n", True, FinishReason.END_OF_SEQUENCE, True),
        ("x + 2", False, FinishReason.MAX_TOKENS, False),
    ],
)
def test_a_backend_of_text_alone_is_decoded_without_guidance(
    run: Run, sandbox: Sandbox, text: str, finished: bool, finish: FinishReason, passes: bool
) -> None:
    spent = Usage(requests=1, input_tokens=9, output_tokens=4)
    backend = TextOnly(Answer(Completion(text=text, finished=finished), spent))
    solution = solve_by_text(run, sandbox, backend, gamma=0, max_tokens=77)
    assert solution.passed is passes
    assert solution.generation.finish is finish
    assert solution.generation.response.endswith(f"return {text}")
    assert evolve(solution.generation.total_usage, seconds=0.0) == spent
    (_, _), (prompt, params) = backend.asked
    assert prompt == ForcedStart().build(problem(1)).unconditional()
    assert (params.temperature, params.max_tokens) == (0.0, 77)


def test_a_backend_of_text_alone_is_refused_for_guidance_before_it_is_opened(
    run: Run, sandbox: Sandbox
) -> None:
    backend = TextOnly(Answer(None))
    with pytest.raises(CapabilityError, match="TextOnly tells no log-probabilities, which guid"):
        solve_by_text(run, sandbox, backend, gamma=1)
    assert backend.asked == []


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (TextOnly(None), "complete gave NoneType, not an Answer"),
        (TextOnly(Answer("text")), "complete gave str, not a Completion"),
        # It promises what it is not.
        (TextOnly(Answer("text"), logprobs=True), "it promises log-probabilities, but is no"),
    ],
)
def test_a_backend_of_text_alone_that_answers_wrongly_is_an_error_and_no_result(
    run: Run, sandbox: Sandbox, backend: TextOnly, said: str
) -> None:
    with pytest.raises(PluginError, match=f"TextOnly is broken( on task t/1)?: {said}"):
        solve_by_text(run, sandbox, backend, gamma=0)
