"""The decode loop on scripted models, where every distribution is known.

What a real model adds (caches, real tokens, real programs) is in test_engine.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from egcfg.decoding.feedback import SignalBuilder
from egcfg.decoding.loop import Decoder
from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.errors import ContextOverflowError, UnknownNameError
from egcfg.interfaces.backend import Continuation, SampleQuery, SamplingParams, ScoreQuery
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.prompt import CodeLayout, Prompt
from egcfg.interfaces.solution import FinishReason, Generation, LineStep
from egcfg.interfaces.tracer import Trace, Tracer, TraceRequest
from egcfg.sandbox import Sandbox
from egcfg.testing.reference import reference_decode
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

PROBLEM = Problem(
    task_id="t/1",
    description="Add one.",
    entry_point="f",
    visible_tests=[AssertTest("assert f(1) == 2")],
    hidden_tests=[AssertTest("assert f(41) == 42")],
)
PROMPT = Prompt(
    before="Add one.\n",
    after="Answer:\n",
    signal_header="Signal:\n",
    response_prefix="```python\n",
)
PLAIN_ANSWER = "def f(x):\n    y = x - 1\n    return y\n```\n"
SHOWN_ANSWER = "def f(x):\n    y = x + 1\n    return y\n```\n"


@frozen
class ProgramEcho(Tracer):
    """Words each program by its own length: deterministic, different for different programs."""

    @frozen
    class Options:
        """None."""

    def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> list[Trace]:  # noqa: ARG002
        return [Trace(source=r.source, call=r.call) for r in requests]

    def render(self, trace: Trace, max_chars: int) -> str:
        return f"{trace.call} after {len(trace.source)}"[:max_chars]


def answers(plain: str, shown: str) -> Callable[[str], str]:
    """A script that answers by the text of `plain`, or of `shown` where a signal is in sight."""

    def script(text: str) -> str:
        prompt, _, response = text.partition("```python\n")
        if "Signal:" in prompt:
            # The signal holds fenced programs; the response is behind the last prompt part.
            response = text.rpartition("Answer:\n```python\n")[2]
            return shown[len(response) :]
        return plain[len(response) :]

    return script


def backend(**options: object) -> ScriptedBackend:
    base = ScriptedOptions(script=answers(PLAIN_ANSWER, SHOWN_ANSWER))
    return ScriptedBackend(evolve(base, **options))


def signals(model: ScriptedBackend) -> SignalBuilder:
    return SignalBuilder(ProgramEcho(), Sandbox(), model.count_tokens)


def decode(
    model: ScriptedBackend, prompt: Prompt = PROMPT, problem: Problem = PROBLEM, **values: object
) -> tuple[list[LineStep], Generation]:
    steps: list[LineStep] = []
    run = Decoder(model, signals(model), problem, prompt, DecodingSettings(**values)).run()
    while True:
        try:
            steps.append(next(run))
        except StopIteration as stop:
            return steps, stop.value


def test_gamma_0_is_greedy_decoding_of_the_unconditional_prompt() -> None:
    _, generation = decode(backend(), gamma=0)
    assert generation.response == "```python\n" + PLAIN_ANSWER[:-1]
    assert generation.code == "def f(x):\n    y = x - 1\n    return y\n"
    assert generation.finish is FinishReason.CODE_END


def test_gamma_0_asks_for_no_candidate_and_makes_no_signal() -> None:
    model = backend()
    steps, generation = decode(model, gamma=0)
    assert model.usage.output_tokens == 0
    assert generation.signals == 0
    assert all(step.signal is None for step in steps)


def test_gamma_1_is_greedy_decoding_of_the_conditional_prompt() -> None:
    _, generation = decode(backend(noise=0.05), gamma=1)
    assert generation.code == "def f(x):\n    y = x + 1\n    return y\n"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"refresh": 2},
        {"horizon": 1, "candidates": 1},
        {"horizon": None, "candidates": 2},
        {"unit": GuidanceUnit.PREFIX},
        {"unit": GuidanceUnit.TOKEN, "max_tokens": 40},
        {"temperature": 2.0, "candidates": 5},
        {"max_tokens": 33},
        {"reuse_candidates": False},
        {"guided_temperature": 0.7},
        {"refresh": 2, "reuse_candidates": False, "guided_temperature": 1.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("noise", [0.05, 0.45])
def test_drafting_gives_the_tokens_of_the_reference_loop(
    gamma: float, noise: float, values: dict[str, object]
) -> None:
    chosen = DecodingSettings(gamma=gamma, **values)
    naive = backend(noise=noise)
    expected = reference_decode(naive, signals(naive), PROBLEM, PROMPT, chosen)
    for drafts in (True, False):
        _, generation = decode(backend(noise=noise), gamma=gamma, drafts=drafts, **values)
        assert generation.ids == expected


@settings(max_examples=60, deadline=None)
@given(
    plain=st.text("abc=1\n x", max_size=30),
    shown=st.text("abc=1\n x", max_size=30),
    gamma=st.sampled_from([0.5, 1.0, 3.0]),
    seed=st.integers(0, 99),
)
def test_drafting_never_changes_the_text_whatever_the_model_wants(
    plain: str, shown: str, gamma: float, seed: int
) -> None:
    script = answers(f"def f(x):\n    {plain}\n```", f"def f(x):\n    {shown}\n```")
    chosen = DecodingSettings(gamma=gamma, seed=seed, max_tokens=60)
    naive = backend(script=script)
    expected = reference_decode(naive, signals(naive), PROBLEM, PROMPT, chosen)
    _, generation = decode(backend(script=script), gamma=gamma, seed=seed, max_tokens=60)
    assert generation.ids == expected


def test_drafts_save_questions() -> None:
    drafted, single = backend(noise=0.02), backend(noise=0.02)
    decode(drafted, gamma=0.5)
    decode(single, gamma=0.5, drafts=False)
    assert len(drafted.scored) < 0.6 * len(single.scored)


def test_a_backend_without_drafts_is_sent_none() -> None:
    model = backend(scores_drafts=False)
    decode(model, gamma=1)
    assert {query.draft for query in model.scored} == {()}


def test_top_k_lists_decide_as_dense_ones_where_they_are_certain() -> None:
    _, dense = decode(backend(noise=0.05), gamma=0.5)
    _, cut = decode(backend(noise=0.05, top_k=5), gamma=0.5)
    assert cut.uncertain_choices > 0 or cut.ids == dense.ids
    assert cut.finish is FinishReason.CODE_END


@pytest.mark.parametrize("gamma", [0.3, 0.8])
def test_exact_values_make_short_lists_decide_as_dense_distributions_do(gamma: float) -> None:
    dense_steps, dense = decode(backend(noise=0.4), gamma=gamma)
    cut_steps, cut = decode(backend(noise=0.4, top_k=3, exact_logprobs=True), gamma=gamma)
    _, short = decode(backend(noise=0.4, top_k=3), gamma=gamma)
    assert short.uncertain_choices > 0
    assert cut.uncertain_choices < short.uncertain_choices
    assert cut.ids == dense.ids
    assert cut.total_usage.requests > 0
    # What was asked for is what is told.
    exact, told = (
        [token.logprob_plain for step in steps if step.signal for token in step.tokens]
        for steps in (dense_steps, cut_steps)
    )
    assert told == pytest.approx(exact)


@pytest.mark.parametrize("gamma", [0.3, 0.8, 1.3, 1.5, 3.0])
@pytest.mark.parametrize("guided_temperature", [0.0, 0.3])
def test_the_doubts_of_a_drafted_line_are_settled_together_and_as_one_by_one(
    gamma: float, guided_temperature: float
) -> None:
    values: dict[str, object] = {"gamma": gamma, "guided_temperature": guided_temperature}
    options: dict[str, object] = {"noise": 0.2, "top_k": 3, "exact_logprobs": True}
    drafted, single = backend(**options), backend(**options)
    steps, together = decode(drafted, **values)
    steps_alone, alone = decode(single, drafts=False, **values)
    assert together.ids == alone.ids
    assert together.uncertain_choices == alone.uncertain_choices
    told, told_alone = (
        [token.logprob_guided for step in some for token in step.tokens]
        for some in (steps, steps_alone)
    )
    assert told == pytest.approx(told_alone)
    # This backend counts as requests how often it is asked for exact values.
    if gamma == 1.5:  # nearly every token is in doubt
        assert single.usage.requests > len(alone.ids) / 2
        assert drafted.usage.requests < single.usage.requests / 3
    assert drafted.usage.requests <= single.usage.requests


def test_a_candidate_whose_distributions_are_known_is_scored_on_one_branch_only() -> None:
    model = backend(noise=0.02)
    model_sample = model.sample

    def with_scores(queries: Sequence[SampleQuery]) -> list[list[Continuation]]:
        return [
            [
                evolve(
                    c,
                    scores=tuple(
                        model._distribution(q.sequence.ids + c.ids[:n]) for n in range(len(c.ids))
                    ),
                )
                for c in found
            ]
            for q, found in zip(queries, model_sample(queries), strict=True)
        ]

    model.sample = with_scores  # type: ignore[method-assign]
    _, known = decode(model, gamma=0.5)
    plain = backend(noise=0.02)
    _, asked = decode(plain, gamma=0.5)
    assert known.ids == asked.ids
    few, many = (
        sum(len(query.draft) for query in m.scored if query.sequence.role == "unconditional")
        for m in (model, plain)
    )
    assert few < many / 2


def test_each_line_has_its_own_signal_and_every_token_its_account() -> None:
    steps, generation = decode(backend(noise=0.05), gamma=1)
    assert "".join(step.text for step in steps) == generation.response.removeprefix("```python\n")
    guided = [step for step in steps if step.signal is not None]
    assert all(step.fresh for step in guided)
    assert guided[0].text == "x):\n"  # from behind `def f(`, where guidance starts
    changed = [t for step in guided for t in step.tokens if t.changed]
    assert [(t.plain_text, t.text) for t in changed] == [("-", "+")]
    assert generation.tokens_changed == 1
    assert generation.signals == len(guided)


def test_lines_between_refreshes_keep_the_signal() -> None:
    steps, _ = decode(backend(noise=0.05), gamma=1, refresh=2)
    assert [step.fresh for step in steps if step.signal] == [True, False, True, False]


def test_a_blank_line_does_not_call_for_a_new_signal() -> None:
    script = answers(PLAIN_ANSWER, "def f(x):\n\n\n    return x\n```")
    steps, _ = decode(backend(script=script, noise=0.05), gamma=1)
    by_text = {step.text: step.fresh for step in steps if step.signal}
    assert [step.fresh for step in steps if step.text == "\n"] == [True, False]
    assert by_text["    return x\n"] is False


def test_hidden_tests_never_reach_the_model() -> None:
    model = backend(noise=0.4)
    decode(model, gamma=1, candidates=5)
    for query in model.scored:
        assert "41" not in model.decode(query.sequence.ids)
        assert "42" not in model.decode(query.sequence.ids)


def test_expected_values_never_reach_a_trace_request() -> None:
    seen: list[TraceRequest] = []

    class Spy(ProgramEcho):
        def trace(self, requests: Sequence[TraceRequest], sandbox: Sandbox) -> list[Trace]:
            seen.extend(requests)
            return super().trace(requests, sandbox)

    model = backend()
    builder = SignalBuilder(Spy(), Sandbox(), model.count_tokens)
    list(Decoder(model, builder, PROBLEM, PROMPT, DecodingSettings(gamma=1)).run())
    assert seen
    assert {request.call for request in seen} == {"f(1)"}


def test_the_same_seed_gives_the_same_text_and_signals() -> None:
    first, second = (decode(backend(noise=0.45), gamma=0.5, seed=7)[0] for _ in range(2))
    assert [(s.text, s.signal) for s in first] == [(s.text, s.signal) for s in second]


def test_another_seed_gives_other_candidates() -> None:
    first, second = (decode(backend(noise=0.45), gamma=0.5, seed=n)[0] for n in (7, 8))
    assert [s.signal.text for s in first if s.signal] != [s.signal.text for s in second if s.signal]


def test_prose_before_the_code_is_decoded_without_guidance() -> None:
    prompt = evolve(PROMPT, response_prefix="")

    def script(text: str) -> str:
        answer = "Sure:\n```python\nimport math\ndef f(x):\n    return x\n```\nDone."
        return answer[len(text.rpartition("Answer:\n")[2]) :]

    steps, generation = decode(backend(script=script), prompt=prompt, gamma=1)
    prose = [step for step in steps if step.signal is None]
    assert [s.text for s in prose] == ["Sure:\n", "```python\n", "import math\n", "def f("]
    assert generation.code == "import math\ndef f(x):\n    return x\n"


def test_a_continuation_ends_where_its_function_does() -> None:
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


def test_the_token_limit_ends_the_response() -> None:
    _, generation = decode(backend(), gamma=0, max_tokens=12)
    assert generation.finish is FinishReason.MAX_TOKENS
    assert len(generation.ids) == 12


def test_end_of_sequence_ends_the_response() -> None:
    script = answers("def f(x):\n    return x", "")
    _, generation = decode(backend(script=script), gamma=0)
    assert generation.finish is FinishReason.END_OF_SEQUENCE
    assert generation.code == "def f(x):\n    return x"


def test_a_signal_is_shortened_to_what_the_context_leaves_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = len(PROMPT.unconditional()) + len(PROMPT.signal_header)
    _, generation = decode(backend(context_length=room + 60 + 50), gamma=1, max_tokens=60)
    assert generation.signals_cut > 1
    assert [record.message for record in caplog.records] == [caplog.messages[0]]
    assert "the model's context has room for 50 tokens of the signal" in caplog.text
    assert generation.response.startswith("```python\ndef f(")


def test_a_bare_prompt_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ContextOverflowError, match="the prompt needs"):
        decode(backend(context_length=len(PROMPT.unconditional())))


def test_a_context_that_is_not_told_beforehand_halves_the_signal_until_it_fits() -> None:
    room = len(PROMPT.unconditional()) + len(PROMPT.signal_header) + 140
    model = backend(context_length=room, tells_context=False, noise=0.05)
    _, generation = decode(model, gamma=1, candidates=8, temperature=1.0)
    assert generation.finish is FinishReason.CODE_END
    assert generation.signals_cut > 0
    assert generation.code.startswith("def f(x):\n")


def test_a_context_that_fills_up_unannounced_ends_the_response() -> None:
    room = len(PROMPT.unconditional()) + 20
    for gamma in (0.0, 1.0):
        model = backend(context_length=room, tells_context=False)
        _, generation = decode(model, gamma=gamma)
        assert generation.finish is FinishReason.MAX_TOKENS
        assert 0 < len(generation.ids) <= 21


def test_an_unannounced_context_that_lacks_room_for_the_bare_prompt_is_an_error() -> None:
    model = backend(context_length=len(PROMPT.unconditional()) - 1, tells_context=False)
    with pytest.raises(ContextOverflowError, match="the prompt needs"):
        decode(model, gamma=1)


def test_a_problem_without_visible_calls_is_decoded_without_a_signal() -> None:
    bare = evolve(PROBLEM, visible_tests=())
    _, generation = decode(backend(), problem=bare, gamma=1)
    _, plain = decode(backend(), gamma=0)
    assert generation.ids == plain.ids


def test_the_solution_so_far_is_shown_on_request() -> None:
    steps, _ = decode(backend(noise=0.05), gamma=1, partial=True)
    last = [step.signal for step in steps if step.signal][-1]
    assert last.entries[0].samples == 0
    assert "The code so far" in last.text


def test_an_unknown_rule_is_refused_before_the_model_is_asked() -> None:
    model = backend()
    with pytest.raises(UnknownNameError):
        decode(model, rule="nonsense")
    assert not model.scored


def test_scripted_sampling_follows_its_seed_and_stops_at_its_horizon() -> None:
    model = backend(noise=0.3)
    sequence = model.start(model.encode(PROMPT.unconditional()))
    params = SamplingParams(max_lines=1, seed=3)
    first, second = (model.sample([SampleQuery(sequence, 3, params)]) for _ in range(2))
    assert first == second
    assert all(c.text.count("\n") <= 1 for c in first[0])
    [[distribution]] = model.score([ScoreQuery(sequence)])
    assert distribution.argmax() == ord("d")
