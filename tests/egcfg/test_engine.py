"""Everything together: real tokens and caches, real programs in the sandbox, real traces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

import egcfg
from egcfg import AssertTest, DecodingSettings, Engine, Problem, Sandbox
from egcfg.decoding.feedback import SignalBuilder
from egcfg.errors import BudgetError, ConfigError, UnknownNameError
from egcfg.interfaces.backend import Usage
from egcfg.interfaces.prompt import ChatTemplate, Prompt, PromptBuilder
from egcfg.interfaces.solution import FinishReason
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.testing.reference import reference_decode
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions


@frozen
class ForcedStart(PromptBuilder):
    """Makes even a random model write inside a function, so that there is something to run."""

    @frozen
    class Options:
        """None."""

    options: Options = Options()

    def build(self, problem: Problem, chat_template: ChatTemplate) -> Prompt:  # noqa: ARG002
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


@pytest.fixture(scope="module")
def engine(tiny_llama: Path) -> Iterator[Engine]:
    options = {"model": str(tiny_llama), "dtype": "float64"}
    with Engine(
        backend=create(Kind.BACKEND, "hf", options),
        tracer=create(Kind.TRACER, "full"),
        prompt=ForcedStart(),
        sandbox=Sandbox(),
    ) as opened:
        yield opened


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("number", range(4))
def test_the_tokens_are_those_of_the_reference_loop(
    engine: Engine, number: int, gamma: float
) -> None:
    task = problem(number)
    settings = DecodingSettings(gamma=gamma, temperature=0.3, max_tokens=40, seed=number)
    signals = SignalBuilder(engine.tracer, engine.sandbox, engine.backend.count_tokens)
    prompt = engine.prompt.build(task, engine.backend.render_chat)
    expected = reference_decode(engine.backend, signals, task, prompt, settings)
    assert engine.solve(task, settings).generation.ids == expected


def test_gamma_0_is_the_models_own_greedy_text(engine: Engine, tiny_llama: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float64)
    task = problem(1)
    prompt = engine.prompt.build(task, engine.backend.render_chat).unconditional()
    ids = torch.tensor([engine.backend.encode(prompt)])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False
    )
    generation = engine.solve(task, DecodingSettings(gamma=0, max_tokens=30)).generation
    assert generation.ids == tuple(out[0, ids.shape[1] :].tolist())[: len(generation.ids)]
    assert len(generation.ids) == 30 or generation.finish is not FinishReason.MAX_TOKENS


def test_drafts_change_the_cost_and_nothing_else(engine: Engine) -> None:
    with_drafts, without = (
        engine.solve(
            problem(2),
            DecodingSettings(gamma=0.05, temperature=0.05, drafts=drafts, max_tokens=60),
        ).generation
        for drafts in (True, False)
    )
    assert with_drafts.ids == without.ids
    assert with_drafts.signals > 0
    assert with_drafts.tokens_drafted > 0
    passes = [g.total_usage.forward_passes for g in (with_drafts, without)]
    assert passes[0] < passes[1]


def test_a_second_run_gives_the_same_solution(engine: Engine) -> None:
    first, second = (engine.solve(problem(3), DecodingSettings(max_tokens=40)) for _ in range(2))
    assert first.code == second.code
    assert first.generation.ids == second.generation.ids


def test_steps_can_be_left_at_any_line(engine: Engine) -> None:
    steps = engine.solve_steps(problem(1), DecodingSettings(max_tokens=40))
    first = next(steps)
    assert first.signal is not None
    steps.close()
    again = next(engine.solve_steps(problem(1), DecodingSettings(max_tokens=40)))
    assert again.text == first.text


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
        egcfg.solve(problem(1), gamma=-1.0)


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
        ({"options": {"scorer": {"nope": 1}}}, "scorer.asserts has no option 'nope'"),
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


def test_a_call_ends_at_its_budget_whatever_the_backend_did_before() -> None:
    options = ScriptedOptions(script=lambda text: " x + 1\n```"[len(text) % 9 :])
    backend = ScriptedBackend(options, usage=Usage(requests=1, output_tokens=1000))

    def solve(limit: int) -> egcfg.Solution:
        budget = egcfg.Budget(max_tokens=limit)
        return egcfg.solve(
            problem(1), backend=backend, prompt=ForcedStart(), budget=budget, max_tokens=20
        )

    with pytest.raises(BudgetError, match="--max-tokens-total 3 is used up"):
        solve(3)
    assert solve(10_000).code


@pytest.mark.model
def test_the_embedded_model_solves_an_easy_problem_with_and_without_guidance() -> None:
    task = Problem(
        task_id="double",
        description="Write a function double(x) that returns twice x.",
        entry_point="double",
        visible_tests=[AssertTest("assert double(3) == 6")],
        hidden_tests=[AssertTest("assert double(-4) == -8")],
    )
    with Engine(
        backend=create(Kind.BACKEND, "hf"),
        tracer=create(Kind.TRACER, "full"),
        prompt=create(Kind.PROMPT, "chat"),
        sandbox=Sandbox(),
    ) as engine:
        for gamma in (0.0, 1.0):
            solution = engine.solve(task, DecodingSettings(gamma=gamma, max_tokens=120))
            assert solution.passed, solution.code
            assert (solution.generation.signals > 0) == (gamma > 0)
