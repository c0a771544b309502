"""The decode loop on scripted models, where every distribution is known.

What a real model adds (caches, real tokens, real programs) is in test_engine.py.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from types import coroutine
from typing import Any

import pytest
from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st

from egcfg.decoding import loop
from egcfg.decoding.feedback import Feedback
from egcfg.decoding.sampling import Sampler
from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.errors import ContextOverflowError
from egcfg.interfaces.backend import Logprobs, SampleRequest, ScoreRequest
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import CodeLayout, Prompt
from egcfg.interfaces.solution import FinishReason, Generation, LineStep, Stage
from egcfg.interfaces.tracer import Trace, Tracer, TraceRequest
from egcfg.interfaces.usage import FREE
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.testing.reference import reference_decode
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.model import Model

from ...add_one import PROBLEM, PROMPT, RIGHT, WRONG, ProgramLength

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Decode = Callable[..., tuple[list[LineStep], Generation]]

BARE = tuple(PROMPT.unconditional().text.encode())
BARE_LENGTH = len(BARE)


def answers(unguided: str, guided: str) -> Callable[[str], str]:
    """A script that answers by the text of `guided` where a signal is in sight."""

    def script(text: str) -> str:
        prompt, _, response = text.partition("```python\n")
        if "Signal:" in prompt:
            # The signal holds fenced programs; the response comes after the last prompt part.
            response = text.rpartition("Answer:\n```python\n")[2]
            return guided[len(response) :]
        return unguided[len(response) :]

    return script


def backend(**options: object) -> ScriptedBackend:
    base = ScriptedOptions(script=answers(WRONG, RIGHT))
    return ScriptedBackend(evolve(base, **options))


def opened(
    scripted: ScriptedBackend, tracer: Tracer | None = None
) -> tuple[Model, Feedback, OpenComponent]:
    model = Model(OpenComponent(Kind.BACKEND, scripted, "the backend"), PROBLEM.task_id)
    component = OpenComponent(Kind.TRACER, tracer or ProgramLength(), "the tracer")
    rule = OpenComponent(Kind.GUIDANCE, create(Kind.GUIDANCE, "cfg"), "the rule")
    return model, Feedback(component, Sandbox(), model), rule


def steps_of(
    scripted: ScriptedBackend,
    prompt: Prompt = PROMPT,
    problem: Problem = PROBLEM,
    tracer: Tracer | None = None,
    **values: Any,
) -> AsyncGenerator[LineStep | Generation, None]:
    return loop.decode(*opened(scripted, tracer), problem, prompt, DecodingSettings(**values))


@pytest.fixture(scope="module")
def decode(run: Run) -> Decode:
    """Decode to the end; return the lines and the generation."""

    async def decode_all(*arguments: Any, **values: Any) -> tuple[list[LineStep], Generation]:
        *lines, generation = [step async for step in steps_of(*arguments, **values)]
        assert isinstance(generation, Generation)
        assert all(isinstance(line, LineStep) for line in lines)
        return lines, generation  # type: ignore[return-value]

    return lambda *arguments, **values: run(decode_all(*arguments, **values))


@pytest.fixture(scope="module")
def reference(run: Run) -> Callable[[ScriptedBackend, DecodingSettings], tuple[int, ...]]:
    """Decode as the method's description reads."""
    return lambda scripted, chosen: run(
        reference_decode(*opened(scripted), PROBLEM, PROMPT, chosen)
    )


def test_gamma_0_is_greedy_decoding_of_the_unconditional_prompt(decode: Decode) -> None:
    _, generation = decode(backend(), gamma=0)
    assert generation.response == "```python\n" + WRONG[:-1]
    assert generation.code == "def f(x):\n    y = x - 1\n    return y\n"
    assert generation.finish is FinishReason.CODE_END


def test_gamma_0_asks_for_no_candidate_and_makes_no_signal(decode: Decode) -> None:
    steps, generation = decode(backend(), gamma=0)
    assert generation.usage.keys() == {Stage.PREFIX}
    assert generation.total_usage.output_tokens == 0
    assert generation.signals == 0
    assert all(step.signal is None for step in steps)


def test_gamma_1_is_greedy_decoding_of_the_conditional_prompt(decode: Decode) -> None:
    _, generation = decode(backend(noise=0.05), gamma=1)
    assert generation.code == "def f(x):\n    y = x + 1\n    return y\n"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"signal_interval": 2},
        {"horizon": 1, "candidates": 1},
        {"horizon": None, "candidates": 2},
        {"unit": GuidanceUnit.PREFIX},
        {"unit": GuidanceUnit.TOKEN, "max_tokens": 40},
        {"temperature": 2.0, "candidates": 5},
        {"max_tokens": 33},
        {"reuse_candidates": False},
        {"guided_temperature": 0.7},
        {"signal_interval": 2, "reuse_candidates": False, "guided_temperature": 1.2},
    ],
    ids=str,
)
@pytest.mark.parametrize(("gamma", "noise"), [(0.5, 0.05), (1.0, 0.45), (3.0, 0.05), (3.0, 0.45)])
def test_drafting_gives_the_tokens_of_the_reference_loop(
    decode: Decode,
    reference: Callable[..., tuple[int, ...]],
    gamma: float,
    noise: float,
    values: dict[str, object],
) -> None:
    chosen = DecodingSettings(gamma=gamma, **values)
    expected = reference(backend(noise=noise), chosen)
    for drafts in (True, False):
        _, generation = decode(backend(noise=noise), gamma=gamma, drafts=drafts, **values)
        assert generation.ids == expected


@pytest.mark.parametrize("values", [{}, {"max_tokens": 33}, {"guided_temperature": 0.7}], ids=str)
def test_without_guidance_the_tokens_are_those_of_the_reference_loop(
    decode: Decode, reference: Callable[..., tuple[int, ...]], values: dict[str, Any]
) -> None:
    expected = reference(backend(noise=0.45), DecodingSettings(gamma=0.0, **values))
    _, generation = decode(backend(noise=0.45), gamma=0.0, **values)
    assert generation.ids == expected


@settings(max_examples=settings.default.max_examples // 2)
@example(unguided="11", guided="1", gamma=1.0, seed=0)
@example(unguided="a", guided="11", gamma=0.5, seed=63)
@given(
    unguided=st.text("abc=1\n x", max_size=30),
    guided=st.text("abc=1\n x", max_size=30),
    gamma=st.sampled_from([0.5, 1.0, 3.0]),
    seed=st.integers(0, 99),
)
def test_drafting_never_changes_the_text_whatever_the_model_wants(
    decode: Decode,
    reference: Callable[..., tuple[int, ...]],
    unguided: str,
    guided: str,
    gamma: float,
    seed: int,
) -> None:
    script = answers(f"def f(x):\n    {unguided}\n```", f"def f(x):\n    {guided}\n```")
    chosen = DecodingSettings(gamma=gamma, seed=seed, max_tokens=60)
    expected = reference(backend(script=script), chosen)
    _, generation = decode(backend(script=script), gamma=gamma, seed=seed, max_tokens=60)
    assert generation.ids == expected


def test_drafts_save_questions(decode: Decode) -> None:
    drafted, single = backend(noise=0.02), backend(noise=0.02)
    decode(drafted, gamma=0.5)
    decode(single, gamma=0.5, drafts=False)
    assert len(drafted.scored) < 0.6 * len(single.scored)


class Watched(ScriptedBackend):
    """Keeps the requests of each call apart."""

    calls: list[Sequence[ScoreRequest]]

    async def score(self, requests: Sequence[ScoreRequest]) -> Any:
        self.calls.append(requests)
        return await super().score(requests)


@pytest.mark.parametrize("max_tokens", [512, 30])
def test_drafts_are_the_distinct_first_lines_of_the_candidates(
    decode: Decode, max_tokens: int
) -> None:
    model = Watched(ScriptedOptions(script=answers(WRONG, RIGHT), noise=0.3))
    model.calls = []
    decode(model, candidates=5, max_tokens=max_tokens)
    several = 0
    for call in model.calls:
        for ids in {request.ids for request in call}:
            drafts = [request.draft for request in call if request.ids == ids]
            several += len(drafts) > 1
            assert len(set(drafts)) == len(drafts)
            for draft in drafts:
                assert not any(o != draft and o[: len(draft)] == draft for o in drafts)
                assert ord("\n") not in draft[:-1]
    assert several
    unguided = [r for call in model.calls for r in call if r.ids[: len(BARE)] == BARE]
    assert len(unguided) > 5
    assert max(len(r.ids) - len(BARE) + len(r.draft) for r in unguided) < max_tokens


def test_a_backend_without_drafts_is_sent_none(decode: Decode) -> None:
    model = backend(scores_drafts=False)
    decode(model, gamma=1)
    assert {request.draft for request in model.scored} == {()}


def test_top_k_lists_decide_as_dense_ones_where_they_are_certain(decode: Decode) -> None:
    certain = 0
    for top_k in (5, 20, 60):
        for max_tokens in (6, 12, 18, 24, 200):
            values: dict[str, Any] = {"gamma": 0.5, "max_tokens": max_tokens}
            _, dense = decode(backend(noise=0.05), **values)
            _, cut = decode(backend(noise=0.05, top_k=top_k), **values)
            if cut.uncertain_choices == 0:
                assert cut.ids == dense.ids
                certain += len(cut.ids)
    assert certain > 100


@pytest.mark.parametrize("gamma", [0.3, 0.8])
def test_exact_values_make_short_lists_decide_as_dense_distributions_do(
    decode: Decode, gamma: float
) -> None:
    dense_steps, dense = decode(backend(noise=0.4), gamma=gamma)
    cut_steps, cut = decode(backend(noise=0.4, top_k=3, exact_logprobs=True), gamma=gamma)
    _, short = decode(backend(noise=0.4, top_k=3), gamma=gamma)
    assert short.uncertain_choices > 0
    assert cut.uncertain_choices < short.uncertain_choices
    assert cut.ids == dense.ids
    assert cut.total_usage.requests > 0
    # What was asked for is what is told.
    exact, told = (
        [token.logprob_unconditional for step in steps if step.signal for token in step.tokens]
        for steps in (dense_steps, cut_steps)
    )
    assert told == pytest.approx(exact)


@pytest.mark.parametrize("gamma", [0.3, 0.8, 1.3, 1.5, 3.0])
@pytest.mark.parametrize("guided_temperature", [0.0, 0.3])
def test_the_unresolved_tokens_of_a_drafted_line_are_resolved_together_and_as_one_by_one(
    decode: Decode, gamma: float, guided_temperature: float
) -> None:
    values: dict[str, object] = {"gamma": gamma, "guided_temperature": guided_temperature}
    options: dict[str, object] = {"noise": 0.2, "top_k": 3, "exact_logprobs": True}
    steps, together = decode(backend(**options), **values)
    steps_alone, alone = decode(backend(**options), drafts=False, **values)
    drafted, single = together.total_usage.requests, alone.total_usage.requests
    assert together.ids == alone.ids
    assert together.uncertain_choices == alone.uncertain_choices
    told, told_alone = (
        [token.logprob_guided for step in some for token in step.tokens]
        for some in (steps, steps_alone)
    )
    assert told == pytest.approx(told_alone)
    # This backend counts as requests how often it is asked for exact values. Without drafts that is
    # along with those of the one token after, which has to be scored anyway.
    if gamma == 1.5:  # nearly every token is unresolved
        assert len(alone.ids) / 3 < single <= len(alone.ids) / 2
        assert drafted < single / 2
    assert drafted <= single


def test_each_line_has_its_own_signal_and_every_token_its_account(decode: Decode) -> None:
    steps, generation = decode(backend(noise=0.05), gamma=1)
    assert "".join(step.text for step in steps) == generation.response.removeprefix("```python\n")
    guided = [step for step in steps if step.signal is not None]
    assert all(step.fresh for step in guided)
    assert guided[0].text == "x):\n"  # from behind `def f(`, where guidance starts
    changed = [t for step in guided for t in step.tokens if t.changed]
    assert [(t.unconditional_text, t.text) for t in changed] == [("-", "+")]
    assert generation.tokens_changed == 1
    assert generation.signals == len(guided)


def test_lines_between_signals_keep_the_signal(decode: Decode) -> None:
    steps, _ = decode(backend(noise=0.05), gamma=1, signal_interval=2)
    assert [step.fresh for step in steps if step.signal] == [True, False, True, False]


def test_a_blank_line_does_not_call_for_a_new_signal(decode: Decode) -> None:
    script = answers(WRONG, "def f(x):\n\n\n    return x\n```")
    steps, _ = decode(backend(script=script, noise=0.05), gamma=1)
    by_text = {step.text: step.fresh for step in steps if step.signal}
    assert [step.fresh for step in steps if step.text == "\n"] == [True, False]
    assert by_text["    return x\n"] is False


def test_hidden_tests_never_reach_the_model(decode: Decode) -> None:
    model = backend(noise=0.4)
    decode(model, gamma=1, candidates=5)
    assert model.scored
    for request in model.scored:
        text = bytes(request.ids + request.draft).decode()
        assert "41" not in text
        assert "42" not in text


def test_expected_values_never_reach_a_trace_request(decode: Decode) -> None:
    seen: list[TraceRequest] = []

    class Spy(ProgramLength):
        async def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> list[Trace]:
            seen.extend(requests)
            return await super().trace(requests, sandbox)

    decode(backend(), tracer=Spy(), gamma=1)
    assert seen
    assert {request.call for request in seen} == {"f(1)"}


def test_the_same_seed_gives_the_same_text_and_signals(decode: Decode) -> None:
    first, second = (decode(backend(noise=0.45), gamma=0.5, seed=7)[0] for _ in range(2))
    assert [(s.text, s.signal) for s in first] == [(s.text, s.signal) for s in second]


def test_another_seed_gives_other_candidates(decode: Decode) -> None:
    first, second = (decode(backend(noise=0.45), gamma=0.5, seed=n)[0] for n in (7, 8))
    assert [s.signal.text for s in first if s.signal] != [s.signal.text for s in second if s.signal]


def test_prose_before_the_code_is_decoded_without_guidance(decode: Decode) -> None:
    prompt = evolve(PROMPT, response_prefix="")

    def script(text: str) -> str:
        answer = "Sure:\n```python\nimport math\ndef f(x):\n    return x\n```\nDone."
        return answer[len(text.rpartition("Answer:\n")[2]) :]

    steps, generation = decode(backend(script=script), prompt=prompt, gamma=1)
    prose = [step for step in steps if step.signal is None]
    begins = ["Sure:\n", "```python\n", "import math\n", "def f("]
    assert [s.text for s in prose] == [*begins, "Done."]
    assert generation.code == "import math\ndef f(x):\n    return x\n"


FENCED_RIGHT = "```python\ndef f(x):\n    return x + 1\n```\n"
FENCED_WRONG = "```python\ndef f(x):\n    return x\n```\n"


@pytest.mark.parametrize(
    "answer",
    [
        f"<think>\nTry:\n{FENCED_WRONG}no.\n</think>\n{FENCED_RIGHT}",
        f"A first attempt:\n{FENCED_WRONG}It misses one. Better:\n{FENCED_RIGHT}",
        f"```bash\npip install it\n```\n{FENCED_RIGHT}",
        f"It is used so:\n```python\nprint(f(1))\n```\nWhere:\n{FENCED_RIGHT}Done.",
        f"{FENCED_RIGHT}Test:\n```python\nfrom solution import f\nassert f(1) == 2\n```\n",
        "def f(x):\n    return x + 1\n",
    ],
)
@pytest.mark.parametrize("gamma", [0, 1])
def test_the_answer_is_found_among_drafts_and_other_blocks(
    decode: Decode, answer: str, gamma: float
) -> None:
    prompt = evolve(PROMPT, response_prefix="")

    def script(text: str) -> str:
        return answer[len(text.rpartition("Answer:\n")[2]) :]

    steps, generation = decode(backend(script=script, noise=0.01), prompt=prompt, gamma=gamma)
    assert generation.code == "def f(x):\n    return x + 1\n"
    guided = "".join(step.text for step in steps if step.signal)
    assert ("return x + 1" in guided) is (gamma == 1)
    for unguided in ("Try", "pip", "print", "Where", "It misses"):
        assert unguided not in guided


def test_a_fresh_start_gets_the_given_imports(decode: Decode) -> None:
    given_code = 'from typing import List\n\n\ndef f(x: List[int]) -> int:\n    """One."""\n'
    layout = CodeLayout.COMPLETION
    prompt = Prompt(before="", after=given_code, layout=layout, given_code=given_code)
    body = "def f(x: List[int]) -> int:\n    return 1\n"

    def script(text: str) -> str:
        answer = f"Sure:\n```python\n{body}```\nIt returns one.\n"
        return answer[len(text.rpartition('One."""\n')[2]) :]

    _, generation = decode(backend(script=script), prompt=prompt, gamma=0)
    assert generation.code == f"from typing import List\n\n\n{body}"
    assert generation.finish is FinishReason.CODE_END


def test_an_answer_is_over_when_its_function_begins_again(decode: Decode) -> None:
    script = answers("def f(x):\n    return x\n\n" * 9, "")
    _, generation = decode(backend(script=script), gamma=0)
    assert generation.code == "def f(x):\n    return x\n"
    assert generation.response.count("def f(") == 2
    assert generation.finish is FinishReason.CODE_END


def test_reasoning_that_the_template_opened_is_waited_for(decode: Decode) -> None:
    class Thinks(ScriptedBackend):
        @property
        def capabilities(self) -> Any:
            return evolve(super().capabilities, reasons=True)

    def script(text: str) -> str:
        answer = f"Try:\n{FENCED_WRONG}no.\n</think>\n{FENCED_RIGHT}"
        return answer[len(text.rpartition("<assistant>\n")[2]) :]

    prompt = evolve(PROMPT, response_prefix="", chat=True)
    model = Thinks(ScriptedOptions(script=script, noise=0.01))
    steps, generation = decode(model, prompt=prompt, gamma=1)
    assert generation.code == "def f(x):\n    return x + 1\n"
    assert "return x\n" not in "".join(step.text for step in steps if step.signal)


def test_a_continuation_ends_where_its_function_does(decode: Decode) -> None:
    prompt = Prompt(
        before="",
        after="def f(x):\n",
        layout=CodeLayout.COMPLETION,
        given_code="def f(x):\n",
    )

    def script(text: str) -> str:
        answer = "    return x + 1\n\n\ndef g(y):\n    return y\n"
        return answer[len(text.rpartition("def f(x):\n")[2]) :]

    _, generation = decode(backend(script=script), prompt=prompt, gamma=0)
    assert generation.code.rstrip() == "def f(x):\n    return x + 1"
    assert generation.finish is FinishReason.CODE_END


def test_the_token_limit_ends_the_response(decode: Decode) -> None:
    _, generation = decode(backend(), gamma=0, max_tokens=12)
    assert generation.finish is FinishReason.MAX_TOKENS
    assert len(generation.ids) == 12


def test_end_of_sequence_ends_the_response(decode: Decode) -> None:
    script = answers("def f(x):\n    return x", "")
    _, generation = decode(backend(script=script), gamma=0)
    assert generation.finish is FinishReason.END_OF_SEQUENCE
    assert generation.code == "def f(x):\n    return x"


def test_a_signal_is_shortened_to_what_the_context_leaves_and_says_so_once(
    decode: Decode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = BARE_LENGTH + len(PROMPT.signal_header)
    _, generation = decode(backend(context_length=context + 60 + 50), gamma=1, max_tokens=60)
    assert generation.signals_cut > 1
    assert [record.message for record in caplog.records] == [caplog.messages[0]]
    assert "the model's context has room for 50 tokens of the signal" in caplog.text
    assert generation.response.startswith("```python\ndef f(")


def test_a_bare_prompt_that_does_not_fit_is_refused(decode: Decode) -> None:
    with pytest.raises(ContextOverflowError, match="the prompt needs"):
        decode(backend(context_length=BARE_LENGTH))


def test_a_context_that_is_not_told_beforehand_halves_the_signal_until_it_fits(
    decode: Decode,
) -> None:
    context = BARE_LENGTH + len(PROMPT.signal_header) + 140
    model = backend(context_length=context, tells_context=False, noise=0.05)
    _, generation = decode(model, gamma=1, candidates=8, temperature=1.0)
    assert generation.finish is FinishReason.CODE_END
    assert generation.signals_cut > 0
    assert generation.code.startswith("def f(x):\n")


def test_a_context_that_fills_up_unannounced_ends_the_response(decode: Decode) -> None:
    context = BARE_LENGTH + 20
    for gamma in (0.0, 1.0):
        model = backend(context_length=context, tells_context=False)
        _, generation = decode(model, gamma=gamma)
        assert generation.finish is FinishReason.MAX_TOKENS
        assert 0 < len(generation.ids) <= 21


def test_an_unannounced_context_that_lacks_room_for_the_bare_prompt_is_an_error(
    decode: Decode,
) -> None:
    model = backend(context_length=BARE_LENGTH - 1, tells_context=False)
    with pytest.raises(ContextOverflowError, match="the prompt needs"):
        decode(model, gamma=1)


def test_a_problem_without_visible_calls_is_decoded_without_a_signal(decode: Decode) -> None:
    bare = evolve(PROBLEM, visible_tests=())
    _, generation = decode(backend(), problem=bare, gamma=1)
    _, unguided = decode(backend(), gamma=0)
    assert generation.ids == unguided.ids


def test_the_solution_so_far_is_shown_on_request(decode: Decode) -> None:
    steps, _ = decode(backend(noise=0.05), gamma=1, partial=True)
    last = [step.signal for step in steps if step.signal][-1]
    assert last.entries[0].samples == 0
    assert "The code so far" in last.text


def test_what_is_spent_is_booked_on_the_line_and_the_stage_that_spent_it(decode: Decode) -> None:
    for values in ({}, {"signal_interval": 2}, {"drafts": False}):
        steps, generation = decode(backend(noise=0.4, top_k=3, exact_logprobs=True), **values)
        assert generation.usage.keys() == set(Stage)
        for stage, usage in generation.usage.items():
            booked = sum((step.usage.get(stage, FREE) for step in steps), FREE)
            assert evolve(booked, seconds=0.0) == evolve(usage, seconds=0.0)
            assert booked.seconds == pytest.approx(usage.seconds)
        assert steps[0].usage.keys() <= {Stage.PREFIX}
        reading = [step for step in steps if step.usage.get(Stage.SIGNAL, FREE).forward_passes]
        assert reading
        assert all(step.fresh for step in reading)


def test_what_is_counted_is_a_whole_number(decode: Decode) -> None:
    """Even where there was one thing to count, which was or was not so."""
    prompt = Prompt(before="", after="def f(x):\n", layout=CodeLayout.COMPLETION)
    prompt = evolve(prompt, given_code="def f(x):\n", signal_header="Signal:\n")
    script = lambda text: "    return x\n\n\nprint()"[len(text.rpartition("):\n")[2]) :]  # noqa: E731
    for values in ({"gamma": 1, "unit": "prefix"}, {"gamma": 0, "max_tokens": 1}):
        _, generation = decode(backend(script=script), prompt=prompt, **values)
        counts = ("signals", "signals_cut", "tokens_changed", "tokens_drafted")
        counts += ("uncertain_choices", "near_ties")
        assert {type(getattr(generation, name)) for name in counts} == {int}


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_choices_that_rounding_may_turn_are_counted_the_last_one_included(
    decode: Decode, gamma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    choose = Sampler.choose

    def watched(sampler: Sampler, distribution: Logprobs, position: int) -> int:
        first, second = sorted(distribution.values)[-1:-3:-1]
        seen.append(float(first - second))
        return choose(sampler, distribution, position)

    monkeypatch.setattr(Sampler, "choose", watched)
    script = answers(WRONG[:-5], RIGHT[:-5])
    _, generation = decode(backend(script=script, noise=0.45), gamma=gamma)
    assert generation.finish is FinishReason.END_OF_SEQUENCE
    assert generation.near_ties == 0
    margins = seen.copy()
    middle = sorted(margins)[len(margins) // 2]
    # Each log-probability may be off by so much, in both branches, which guidance weighs.
    rounding = middle / 2 / (abs(1 - gamma) + gamma)
    _, generation = decode(backend(script=script, noise=0.45, rounding=rounding), gamma=gamma)
    guided = sum(margin <= middle * 1.000001 for margin in margins)
    # Before the code both branches are one.
    before = sum(margin <= rounding * 2 for margin in margins)
    assert min(before, guided) <= generation.near_ties <= guided
    assert generation.near_ties > len(margins) // 4


# --- without an event loop ----------------------------------------------------------------------


def test_decoding_awaits_nothing_but_its_seams(decode: Decode) -> None:
    """Driven by hand: no event loop, no thread, and the text is the same."""
    _, expected = decode(backend(noise=0.3), gamma=0.5)
    steps = steps_of(backend(noise=0.3), gamma=0.5)
    found: list[LineStep | Generation] = []
    while not (found and isinstance(found[-1], Generation)):
        with pytest.raises(StopIteration) as stop:
            steps.__anext__().send(None)
        found.append(stop.value.value)
    assert found[-1].ids == expected.ids
    with pytest.raises(StopAsyncIteration):
        steps.__anext__().send(None)


class Patient(ScriptedBackend):
    """Waits once before each answer, for whoever drives it."""

    async def score(self, requests: Sequence[ScoreRequest]) -> Any:
        await pause()
        return await super().score(requests)

    async def sample(self, requests: Sequence[SampleRequest]) -> Any:
        await pause()
        return await super().sample(requests)


@coroutine
def pause() -> Generator[str, None, None]:
    yield "waiting"


@settings(max_examples=settings.default.max_examples // 4)
@given(order=st.lists(st.booleans(), max_size=60))
def test_two_decodings_in_any_order_give_the_texts_of_each_alone(
    decode: Decode, order: list[bool]
) -> None:
    script = answers(WRONG, RIGHT)
    shared = Patient(ScriptedOptions(script=script, noise=0.3))
    chosen = ({"gamma": 0.5, "seed": 1}, {"gamma": 2.0, "seed": 2})
    running = [all_of(steps_of(shared, **values)) for values in chosen]
    finished: dict[int, Generation] = {}
    for which in [*map(int, order), *[0] * 500, *[1] * 500]:
        if which not in finished:
            try:
                assert running[which].send(None) == "waiting"
            except StopIteration as stop:
                finished[which] = stop.value
    for which, values in enumerate(chosen):
        _, alone = decode(backend(noise=0.3), **values)
        assert finished[which].ids == alone.ids
        spent, spent_alone = finished[which].total_usage, alone.total_usage
        assert evolve(spent, seconds=0.0) == evolve(spent_alone, seconds=0.0)


async def all_of(steps: AsyncGenerator[LineStep | Generation, None]) -> Generation:
    async for step in steps:
        last = step
    assert isinstance(last, Generation)
    return last
