"""The backends over a scripted model: Fireworks-shaped with ids, and a server of plain text."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from egcfg.errors import BackendError, CapabilityError, ConfigError, UsageError
from egcfg.interfaces.backend import (
    Continuation,
    LogprobRequest,
    Logprobs,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
)
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt
from egcfg.interfaces.solution import Stage
from egcfg.interfaces.usage import Usage
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions
from egcfg.usage.model import Model
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.services import FireworksBackend, OpenAIBackend
from egcfg_backends_fireworks.testing import ServedModel, Shape

from .tiny_model import TinyModel

pytestmark = pytest.mark.usefixtures("no_keys")
PROMPT = "def add(a,b):\n"
FAST = {"backoff_s": 0.001, "attempt_timeout_s": 10.0}
Open = Callable[..., Any]


def several_prompts(request: dict[str, Any]) -> str:
    """As a server refuses them that takes one prompt per request."""
    return "one prompt per request" if isinstance(request["prompt"][0], list) else ""


def echo(request: dict[str, Any]) -> str:
    """As a server refuses it that does not echo."""
    return "echo is not supported" if "echo_last" in request else ""


def openai_alone(request: dict[str, Any]) -> str:
    """As servers refuse that know OpenAI's fields alone."""
    beyond = request.keys() & {"top_k", "min_p", "return_token_ids", "return_tokens_as_token_ids"}
    return f"unrecognized request argument: {min(beyond)}" if beyond else ""


ECHOING = Shape(takes_bias=True, counts_first=True)
FIREWORKS = evolve(ECHOING, refuses=echo)
TEXT_ALONE = Shape(
    completions="number",
    names="text",
    takes_ids="",
    echoes=False,
    counts_first=True,
    refuses=openai_alone,
)
MODEL = TinyModel()


def tiny_server(shape: Shape, **changes: Any) -> ServedModel:
    return ServedModel(TinyModel(), evolve(shape, **changes))


def backend_of(endpoint: ServedModel, address: str, **options: Any) -> Any:
    """The backend for the shape of a server."""
    if endpoint.shape.takes_ids:
        chosen = EndpointOptions(model="m", base_url=address, **FAST, **options)
        return FireworksBackend(chosen)
    return OpenAIBackend(EndpointOptions(model="m", base_url=f"{address}/v1", **FAST, **options))


@pytest.fixture
def start(serve: Any, opened: Any) -> Iterator[Open]:
    """Open a backend in front of a scripted endpoint; all are closed at the end."""
    with ExitStack() as backends:
        yield lambda endpoint, **options: backends.enter_context(
            opened(backend_of(endpoint, serve(endpoint).address, **options))
        )


@pytest.fixture(params=[FIREWORKS, TEXT_ALONE], ids=["fireworks", "legacy"])
def endpoint(request: pytest.FixtureRequest) -> ServedModel:
    return tiny_server(request.param)


def score(backend: Any, text: str) -> Logprobs:
    [[distribution]] = backend.score([ScoreRequest(backend.ids(text))])
    result: Logprobs = distribution
    return result


def listed(backend: Any, distribution: Logprobs) -> dict[str, float]:
    assert distribution.ids is not None
    texts = [backend.decode([int(token)]) for token in distribution.ids]
    return dict(zip(texts, distribution.values.tolist(), strict=True))


def expected(text: str, model: TinyModel = MODEL) -> Any:
    pairs = model.distribution(text).top(Shape().most_alternatives)
    return pytest.approx({model.decode([token]).value: logprob for token, logprob in pairs})


def continuations(params: SamplingParams) -> list[Continuation]:
    """The model's own continuations of the prompt."""
    [found] = MODEL.sample([SampleRequest(MODEL.tokenize(PROMPT), 3, params)]).value
    return found


def test_the_probe_finds_what_fireworks_does(start: Open) -> None:
    profile = start(tiny_server(FIREWORKS)).profile
    assert (profile.form.top_k, profile.multiple) == (5, True)
    assert {"top_k": 0, "min_p": 0.0}.items() <= profile.form.fields.items()
    assert (profile.token_ids, profile.prompt_ids, profile.tokenizes) == (True, True, False)
    assert profile.raw
    assert profile.logit_bias_id is not None
    assert not profile.echo_last
    assert profile.context_length is None


def test_the_probe_finds_what_a_text_server_does(start: Open) -> None:
    profile = start(tiny_server(TEXT_ALONE, most_choices=1)).profile
    # Twenty alternatives and the further sampling parameters were refused, then left out.
    assert (profile.form.top_k, profile.form.fields, profile.multiple) == (5, {}, False)
    assert (profile.token_ids, profile.prompt_ids, profile.logit_bias_id) == (False, False, None)


@pytest.mark.parametrize("status", [500, 404, 403])
def test_a_server_that_breaks_over_what_it_does_not_know_is_used_without_it(
    serve: Any, answer: Any, opened: Any, status: int
) -> None:
    endpoint = tiny_server(TEXT_ALONE)

    def respond(request: dict[str, Any]) -> Any:
        odd = isinstance(request["prompt"], list) or request.get("n") or request.get("echo")
        return answer(b"no", status) if odd else endpoint(request)

    with opened(backend_of(endpoint, serve(respond).address)) as backend:
        profile = backend.profile
        assert (profile.batches, profile.multiple, profile.echo_last) == (False, False, False)
        assert listed(backend, score(backend, PROMPT)) == expected(PROMPT)


def test_a_key_that_is_refused_in_the_middle_of_a_probe_ends_it(
    endpoint: ServedModel, serve: Any, answer: Any, run: Any
) -> None:
    def respond(request: dict[str, Any]) -> Any:
        return answer(b"no credit", 402) if len(endpoint.requests) == 6 else endpoint(request)

    with pytest.raises(UsageError, match="status 402"):
        run(backend_of(endpoint, serve(respond).address).open())


def test_a_score_is_the_models_own_distribution(endpoint: ServedModel, start: Open) -> None:
    backend = start(endpoint)
    distribution = score(backend, PROMPT)
    assert listed(backend, distribution) == expected(PROMPT)
    assert distribution.ids is not None
    assert len(set(distribution.ids.tolist())) == 5
    assert np.all(np.diff(distribution.values) <= 0)


def test_several_prefixes_are_asked_for_at_once(endpoint: ServedModel, start: Open) -> None:
    backend = start(endpoint)
    texts = [PROMPT, PROMPT + "    return", PROMPT + "    "]
    requests = [ScoreRequest(backend.ids(text)) for text in texts]
    for text, [distribution] in zip(texts, backend.score(requests), strict=True):
        assert listed(backend, distribution) == expected(text)


def test_a_greedy_text_is_the_models_own(endpoint: ServedModel, start: Open) -> None:
    backend = start(endpoint)
    prefix = backend.ids(PROMPT)
    for _ in range(12):
        [[distribution]] = backend.score([ScoreRequest(prefix)])
        token = distribution.argmax()
        if token in backend.end_ids:
            break
        prefix += (token,)
    written = backend.decode(prefix[len(backend.ids(PROMPT)) :])
    assert written == continuations(SamplingParams(max_tokens=12, temperature=0.0))[0].text


def test_a_prompts_ids_stay_the_same(endpoint: ServedModel, start: Open) -> None:
    backend = start(endpoint)
    before = backend.ids(PROMPT)
    score(backend, PROMPT)
    requests = len(endpoint.requests)
    assert backend.ids(PROMPT) == before
    assert len(endpoint.requests) == requests
    if endpoint.shape.takes_ids:
        assert before == MODEL.tokenize(PROMPT)
    else:  # pieces, which only this backend knows
        assert backend.decode(before) == PROMPT


def test_a_prompts_ids_are_asked_for_again_where_they_are_missing(
    serve: Any, answer: Any, opened: Any
) -> None:
    endpoint = tiny_server(FIREWORKS)
    server = serve(endpoint)
    with opened(backend_of(endpoint, server.address)) as backend:
        without = b'{"choices": [{"text": "a", "logprobs": null, "finish_reason": "length"}]}'
        server.faults = [answer(without)] * 2
        ids = backend.ids(PROMPT)
    assert not server.faults
    assert ids == MODEL.tokenize(PROMPT)


def test_counting_tokens_asks_no_server_that_would_have_to_answer_for_it(
    endpoint: ServedModel, start: Open
) -> None:
    backend = start(endpoint)
    requests = len(endpoint.requests)
    assert 0 < backend.count_tokens(PROMPT * 3) < len(PROMPT * 3)
    assert len(endpoint.requests) == requests


def test_prompts_go_out_as_ids_and_keep_the_generated_ones(start: Open) -> None:
    endpoint = tiny_server(FIREWORKS)
    backend = start(endpoint)
    prefix = backend.ids(PROMPT)
    prefix += (int(backend.score([ScoreRequest(prefix)])[0][0].ids[1]),)  # not the likeliest
    backend.score([ScoreRequest(prefix)])
    sent = endpoint.requests[-1]["prompt"]
    assert sent[-1] == prefix[-1]
    assert MODEL.decode(sent[:-1]).value == PROMPT


def test_requests_whose_prompts_begin_alike_share_a_cache_key(start: Open) -> None:
    endpoint = tiny_server(FIREWORKS)
    backend, other_session = start(endpoint), start(endpoint)
    task = PROMPT * 12  # more than the tokens that name a cache
    params = SamplingParams(max_tokens=3)
    for text in (task, f"{task}x", f"x{task}"):
        backend.sample([SampleRequest(backend.ids(text), 2, params)])
    one, longer, other = (r["prompt_cache_key"] for r in endpoint.requests[-5::2])
    assert one == longer != other
    other_session.sample([SampleRequest(other_session.ids(task), 2, params)])
    assert endpoint.requests[-1]["prompt_cache_key"] != one


def test_a_request_of_both_branches_meets_the_candidates_prompt_cache(start: Open) -> None:
    endpoint = tiny_server(FIREWORKS)
    backend = start(endpoint)
    task = PROMPT * 12  # more than the tokens that name a cache
    unconditional, conditional = backend.ids(f"{task}\n"), backend.ids(f"{task}x\n")
    backend.sample([SampleRequest(unconditional, 2, SamplingParams(max_tokens=3))])
    sampled = endpoint.requests[-1]
    branches = [unconditional + unconditional[:1], conditional + unconditional[:1]]
    backend.score([ScoreRequest(branch) for branch in branches])
    assert len(endpoint.requests[-1]["prompt"]) == 2
    assert endpoint.requests[-1]["prompt_cache_key"] == sampled["prompt_cache_key"]


def test_sampling_parameters_are_always_explicit(endpoint: ServedModel, start: Open) -> None:
    backend = start(endpoint)
    score(backend, PROMPT)
    request = endpoint.requests[-1]
    assert (request["temperature"], request["top_p"]) == (0.0, 1.0)
    if endpoint.shape.takes_ids:
        assert (request["top_k"], request["min_p"]) == (0, 0.0)
        assert request["context_length_exceeded_behavior"] == "error"


def test_samples_end_where_their_lines_do(endpoint: ServedModel, start: Open) -> None:
    backend = start(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=60, max_lines=2, seed=5)
    [samples] = backend.sample([SampleRequest(backend.ids(PROMPT), 4, params)])
    assert len(samples) == 4
    for sample in samples:
        assert backend.decode(sample.ids) == sample.text
        assert sample.text.count("\n") <= 2
        if sample.text.count("\n") == 2:
            assert backend.decode(sample.ids[:-1]).count("\n") == 1  # the last token ends it
        else:
            assert sample.finished or len(sample.ids) == 60
    assert any(sample.text.count("\n") == 2 for sample in samples)


def test_scoring_a_sample_as_a_draft_sends_nothing(start: Open) -> None:
    endpoint = tiny_server(ECHOING)
    backend = start(endpoint)
    params = SamplingParams(temperature=1.3, max_tokens=60, max_lines=1, seed=1)
    prefix = backend.ids(PROMPT)
    [samples] = backend.sample([SampleRequest(prefix, 3, params)])
    before, usage = len(endpoint.requests), backend.usage
    answers = backend.score([ScoreRequest(prefix, sample.ids) for sample in samples])
    assert len(endpoint.requests) == before
    assert backend.usage == usage
    for sample, distributions in zip(samples, answers, strict=True):
        assert len(distributions) == len(sample.ids) + 1
        for i, distribution in enumerate(distributions):
            text = PROMPT + backend.decode(sample.ids[:i])
            assert listed(backend, distribution) == expected(text)


def test_the_distributions_along_a_sample_are_known_token_by_token(
    endpoint: ServedModel, start: Open
) -> None:
    backend = start(endpoint)
    params = SamplingParams(temperature=1.3, max_tokens=5, seed=1)
    prefix, text = backend.ids(PROMPT), PROMPT
    [[sample]] = backend.sample([SampleRequest(prefix, 1, params)])
    assert len(sample.ids) == 5
    before = len(endpoint.requests)
    for token in sample.ids:
        [[distribution]] = backend.score([ScoreRequest(prefix)])
        assert listed(backend, distribution) == expected(text)
        prefix += (token,)
        text += backend.decode([token])
    assert len(endpoint.requests) == before


def test_what_temperature_and_nucleus_made_of_a_distribution_is_no_score(
    start: Open, endpoint: ServedModel
) -> None:
    endpoint = tiny_server(endpoint.shape, raw=False)
    backend = start(endpoint)
    assert not backend.profile.raw
    assert backend.profile.form.top_k == 5
    # What came with a sample is not believed: a single token is asked for as it is.
    params = SamplingParams(temperature=0.7, top_p=0.9, max_tokens=5, seed=1)
    [[sample]] = backend.sample([SampleRequest(backend.ids(PROMPT), 1, params)])
    assert sample.ids
    assert listed(backend, score(backend, PROMPT)) == expected(PROMPT)


def test_all_samples_come_in_one_request_where_the_server_allows(start: Open) -> None:
    endpoint = tiny_server(FIREWORKS)
    backend = start(endpoint)
    prefix = backend.ids(PROMPT)
    backend.score([ScoreRequest(prefix)])
    before = len(endpoint.requests)
    backend.sample([SampleRequest(prefix, 5, SamplingParams(max_tokens=4))])
    assert [r.get("n") for r in endpoint.requests[before:]] == [5]


def test_more_samples_than_the_server_allows_take_a_request_each(start: Open) -> None:
    endpoint = tiny_server(TEXT_ALONE, most_choices=2)
    backend = start(endpoint)
    request = SampleRequest(backend.ids(PROMPT), 3, SamplingParams(max_tokens=4, temperature=1.0))
    [samples] = backend.sample([request])
    before = len(endpoint.requests)
    [again] = backend.sample([request])
    assert len(samples) == len(again) == 3
    assert len(endpoint.requests) - before == 3  # what was refused once is not tried again
    assert [s.ids for s in samples] == [s.ids for s in again]


def test_the_same_seed_gives_the_same_samples(endpoint: ServedModel, start: Open) -> None:
    backend = start(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=80, max_lines=3, seed=2)
    request = SampleRequest(backend.ids(PROMPT), 3, params)
    first, second = backend.sample([request]), backend.sample([request])
    assert [s.ids for s in first[0]] == [s.ids for s in second[0]]


def test_a_stop_text_ends_a_sample(endpoint: ServedModel, start: Open) -> None:
    backend = start(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=80, stop=("a",), seed=4)
    [samples] = backend.sample([SampleRequest(backend.ids(PROMPT), 4, params)])
    stopped = [sample for sample in samples if "a" in sample.text]
    assert stopped
    for sample in stopped:
        assert "a" not in backend.decode(sample.ids[:-1])


@pytest.mark.parametrize("shows_end", [True, False])
def test_an_end_of_sequence_is_recognised(
    start: Open, endpoint: ServedModel, shows_end: bool
) -> None:
    endpoint = tiny_server(endpoint.shape, shows_end=shows_end)
    endpoint.backend = model = TinyModel(ends=lambda text: text.endswith("x"))
    backend = start(endpoint)
    distribution = score(backend, PROMPT + "x")
    if shows_end or endpoint.shape.takes_ids:  # there, another token is forced in its place
        assert listed(backend, distribution) == expected(PROMPT + "x", model)
    if shows_end or not endpoint.shape.takes_ids:
        assert distribution.argmax() in backend.end_ids
    params = SamplingParams(temperature=0.0, max_tokens=40)
    [[sample]] = backend.sample([SampleRequest(backend.ids(PROMPT + "x"), 1, params)])
    assert (sample.ids, sample.text, sample.finished) == ((), "", True)


@pytest.mark.parametrize(
    ("changes", "right"),
    [({}, True), ({"shifts": True}, False), ({"echoes": False}, False), ({"refuses": echo}, False)],
    ids=["right", "shifted", "ignored", "refused"],
)
def test_the_probe_tells_right_echoes_from_wrong_ones(
    start: Open, changes: dict[str, Any], right: bool
) -> None:
    backend = start(tiny_server(ECHOING, **changes))
    assert backend.profile.echo_last is right
    assert backend.capabilities.scores_drafts is right


def test_a_draft_scores_as_its_tokens_one_by_one(start: Open) -> None:
    endpoint = tiny_server(ECHOING)
    backend = start(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=7, seed=3)
    prefix = backend.ids(PROMPT)
    [[candidate]] = backend.sample([SampleRequest(prefix, 1, params)])
    draft = candidate.ids
    assert len(draft) > 2
    other = backend.ids(PROMPT + PROMPT)
    before = backend.usage.requests
    drafted = backend.score([ScoreRequest(prefix, draft), ScoreRequest(other, draft)])
    assert backend.usage.requests - before == 1  # for the whole line
    for branch, distributions in zip((prefix, other), drafted, strict=True):
        assert len(distributions) == len(draft) + 1
        text = PROMPT if branch is prefix else PROMPT + PROMPT
        for i, distribution in enumerate(distributions):
            assert listed(backend, distribution) == expected(text + backend.decode(draft[:i]))


def test_the_drafts_of_a_line_take_one_request_and_none_twice(start: Open) -> None:
    endpoint = tiny_server(ECHOING)
    backend = start(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=6, seed=3)
    prefix = backend.ids(PROMPT)
    [[first, second]] = backend.sample([SampleRequest(prefix, 2, params)])
    drafts = [first.ids, first.ids[:2], second.ids, (), first.ids]
    before = len(endpoint.requests)
    answers = backend.score([ScoreRequest(prefix, draft) for draft in drafts])
    assert len(endpoint.requests) - before == 1
    assert len(endpoint.requests[-1]["prompt"]) == 2  # what begins another draft is not sent
    assert endpoint.requests[-1]["max_tokens"] == 1
    for draft, distributions in zip(drafts, answers, strict=True):
        assert len(distributions) == len(draft) + 1
        for i, distribution in enumerate(distributions):
            text = PROMPT + backend.decode(draft[:i])
            assert listed(backend, distribution) == expected(text)


def test_a_bare_prefix_beside_drafts_is_scored_as_it_is(start: Open) -> None:
    endpoint = tiny_server(ECHOING)
    backend = start(endpoint)
    prefix, other = backend.ids(PROMPT), backend.ids(PROMPT + PROMPT)
    [[sample]] = backend.sample([SampleRequest(prefix, 1, SamplingParams(max_tokens=3))])
    drafted, [bare] = backend.score([ScoreRequest(prefix, sample.ids), ScoreRequest(other)])
    assert listed(backend, drafted[0]) == expected(PROMPT)
    assert listed(backend, bare) == expected(PROMPT + PROMPT)


def test_where_prompts_cannot_be_batched_they_are_asked_side_by_side(start: Open) -> None:
    endpoint = tiny_server(ECHOING, refuses=several_prompts)
    backend = start(endpoint)
    assert (backend.profile.batches, backend.profile.batched_echo) == (False, False)
    prefix = backend.ids(PROMPT)
    [[candidate]] = backend.sample([SampleRequest(prefix, 1, SamplingParams(max_tokens=4))])
    other = prefix + candidate.ids[:1]
    before = len(endpoint.requests)
    backend.score([ScoreRequest(prefix, candidate.ids), ScoreRequest(other, candidate.ids)])
    assert len(endpoint.requests) - before == 2
    backend.sample([SampleRequest(ids, 1, SamplingParams(max_tokens=1)) for ids in (prefix, other)])
    assert len(endpoint.requests) - before == 4
    assert not any(several_prompts(request) for request in endpoint.requests[before:])


def test_several_prompts_are_never_asked_for_several_continuations(start: Open) -> None:
    endpoint = tiny_server(ECHOING)
    backend = start(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=80, max_lines=2, seed=8)
    backend.sample([SampleRequest(backend.ids(PROMPT * n), 3, params) for n in (1, 2)])
    assert any(isinstance(r["prompt"][0], list) for r in endpoint.requests)
    for request in endpoint.requests:
        assert request.get("n", 1) == 1 or not isinstance(request["prompt"][0], list)


def test_what_the_server_generated_at_once_is_asked_for_once(start: Open) -> None:
    endpoint = tiny_server(FIREWORKS)
    backend = start(endpoint, speculated_tokens=6)
    prefix = backend.ids(PROMPT)
    [[first]] = backend.score([ScoreRequest(prefix)])
    before, usage = len(endpoint.requests), backend.usage
    text = PROMPT
    for _ in range(5):
        prefix += (first.argmax(),)
        text += backend.decode(prefix[-1:])
        [[first]] = backend.score([ScoreRequest(prefix)])
        assert listed(backend, first) == expected(text)
    assert len(endpoint.requests) == before
    assert backend.usage == usage  # what was not asked for is free
    prefix += (first.argmax(),)
    backend.score([ScoreRequest(prefix)])
    assert len(endpoint.requests) == before + 1


def test_what_follows_one_branch_is_the_draft_of_the_other(start: Open) -> None:
    endpoint = tiny_server(ECHOING)
    backend = start(endpoint, speculated_tokens=6)
    known, other = backend.ids(PROMPT), MODEL.tokenize(PROMPT + PROMPT)
    backend.score([ScoreRequest(known)])
    before = len(endpoint.requests)
    texts = [PROMPT, PROMPT + PROMPT]
    for _ in range(6):
        pair = backend.score([ScoreRequest(known), ScoreRequest(other)])
        for text, [distribution] in zip(texts, pair, strict=True):
            assert listed(backend, distribution) == expected(text)
        token = pair[0][0].argmax()  # where the server went on after the first one
        known, other = (*known, token), (*other, token)
        texts = [text + backend.decode([token]) for text in texts]
    assert len(endpoint.requests) == before + 1
    assert endpoint.requests[-1]["prompt"] == list(other[:-1])


def test_a_draft_of_the_backends_own_is_cut_to_the_context(start: Open) -> None:
    endpoint = tiny_server(ECHOING)
    other = MODEL.tokenize(PROMPT + PROMPT)
    backend = start(endpoint, context_length=len(other) + 3)
    backend.score([ScoreRequest(backend.ids(PROMPT))])
    backend.score([ScoreRequest(backend.ids(PROMPT)), ScoreRequest(other)])
    assert len(endpoint.requests[-1]["prompt"]) == len(other) + 2


def test_what_was_sampled_beyond_a_line_is_given_when_it_is_wanted(start: Open) -> None:
    endpoint = tiny_server(FIREWORKS)
    backend = start(endpoint)
    prefix = backend.ids(PROMPT)
    line = SamplingParams(temperature=1.0, max_tokens=60, max_lines=1, seed=5)
    [samples] = backend.sample([SampleRequest(prefix, 3, line)])
    before, usage = len(endpoint.requests), backend.usage
    number, first = next((i, sample) for i, sample in enumerate(samples) if "\n" in sample.text)
    longer = prefix + first.ids
    [[second]] = backend.sample([SampleRequest(longer, 1, line)])
    assert len(endpoint.requests) == before
    assert backend.usage == usage
    assert second.text.endswith("\n")
    assert second.text.count("\n") == 1
    whole = continuations(SamplingParams(max_tokens=24, temperature=1.0, seed=5))[number]
    ids = first.ids + second.ids
    assert whole.ids[: len(ids)] == ids
    # It is given once, in the manner in which it was sampled, and to no request for several.
    hot = SamplingParams(temperature=1.5, max_tokens=2)
    for request in (
        SampleRequest(longer, 1, line),
        SampleRequest(longer + second.ids, 1, hot),
        SampleRequest(longer + second.ids, 2, line),
    ):
        before = len(endpoint.requests)
        backend.sample([request])
        assert len(endpoint.requests) > before


def test_unused_tokens_of_an_earlier_call_give_way_to_newer_ones(serve: Any, opened: Any) -> None:
    """What one run left over does not decide what another one with the same prompt samples."""
    script = "x = 1\ny = 2\nz = 3\n"
    scripted = ScriptedOptions(script=lambda text: script[len(text) - 1 :], noise=1e-9)
    served = ServedModel(ScriptedBackend(scripted))
    options = EndpointOptions(model="m", base_url=serve(served).address, **FAST)
    with opened(FireworksBackend(options)) as backend:
        prefix, line = backend.ids("#"), SamplingParams(max_lines=1)
        for _ in range(3):
            [samples] = backend.sample([SampleRequest(prefix, 2, line)])
            assert [sample.text for sample in samples] == ["x = 1\n"] * 2
        longer = SampleRequest(prefix + samples[0].ids, 1, line)
        for kept in (True, True, False):  # one for each of the two
            before = len(served.requests)
            [[sample]] = backend.sample([longer])
            assert sample.text == "y = 2\n"
            assert (len(served.requests) == before) is kept


def test_the_exact_value_of_any_token_is_told_by_an_echo(start: Open) -> None:
    endpoint = tiny_server(ECHOING)
    backend = start(endpoint)
    assert backend.capabilities.exact_logprobs
    exact_values_are_the_models(endpoint, backend, requests=1)


def test_the_exact_value_of_any_token_is_told_by_forcing_it(start: Open) -> None:
    endpoint = tiny_server(FIREWORKS)
    backend = start(endpoint)
    assert backend.capabilities.exact_logprobs
    exact_values_are_the_models(endpoint, backend, requests=5)


def exact_values_are_the_models(endpoint: ServedModel, backend: Any, requests: int) -> None:
    prefix, other = backend.ids(PROMPT), backend.ids(PROMPT + PROMPT)
    backend.score([ScoreRequest(prefix), ScoreRequest(other)])  # tells the prompts' ids
    tokens = (100, 105, 117)
    wanted = [LogprobRequest(prefix, tokens), LogprobRequest(other, tokens[:2])]
    before = len(endpoint.requests)
    values = backend.logprobs(wanted)
    assert len(endpoint.requests) - before == requests
    for request, text, found in zip(wanted, (PROMPT, PROMPT + PROMPT), values, strict=True):
        true = MODEL.distribution(text)
        assert found == pytest.approx([true.logprob(token) for token in request.tokens])


def test_without_echo_and_without_bias_no_single_token_is_told(start: Open) -> None:
    backend = start(tiny_server(TEXT_ALONE))
    assert not backend.capabilities.exact_logprobs
    with pytest.raises(CapabilityError, match="an echo, nor logit_bias"):
        backend.logprobs([LogprobRequest(backend.ids(PROMPT), (1,))])


def test_a_hidden_end_after_an_echoed_draft_is_recognised(start: Open) -> None:
    endpoint = tiny_server(ECHOING, shows_end=False)
    backend = start(endpoint)
    prefix = backend.ids(PROMPT)
    [[candidate]] = backend.sample([SampleRequest(prefix, 1, SamplingParams(max_tokens=3))])
    endpoint.backend = TinyModel(ends=lambda text: text == PROMPT + candidate.text)
    [distributions] = backend.score([ScoreRequest(prefix, candidate.ids)])
    assert len(distributions) == 4
    assert distributions[-1].argmax() in backend.end_ids
    assert distributions[0].argmax() not in backend.end_ids


def test_an_echo_of_other_tokens_is_not_believed(serve: Any, opened: Any) -> None:
    endpoint = tiny_server(ECHOING)
    lying = False

    def respond(request: dict[str, Any]) -> Any:
        if lying and request.get("echo_last"):
            request = request | {"prompt": request["prompt"][:-1]}
        return endpoint(request)

    with opened(backend_of(endpoint, serve(respond).address, max_attempts=2)) as backend:
        prefix = backend.ids(PROMPT)
        [[candidate]] = backend.sample([SampleRequest(prefix, 1, SamplingParams(max_tokens=3))])
        lying = True
        with pytest.raises(BackendError, match="other tokens") as raised:
            backend.score([ScoreRequest(prefix, candidate.ids)])
    assert raised.value.usage == Usage(requests=2)  # what could not be used has no tokens


def test_a_fifth_of_all_answers_may_be_faulty(
    endpoint: ServedModel, serve: Any, answer: Any, opened: Any
) -> None:
    faults = [
        answer(b"{}", 429, {"Retry-After": "0.001"}),
        answer(b"{}", 429),
        *(answer(b"oops", status) for status in (500, 502, 503)),
        answer(b'{"choices": [{"text": "a', fault="reset"),
        answer(b'{"choices": [{"te'),
        answer(b"<html>busy</html>", headers={"Content-Type": "text/html"}),
        answer(b"null"),
        answer(b'{"error": {"message": "overloaded"}}'),
        answer(b'{"choices": [{"text": "a", "logprobs": null, "finish_reason": "length"}]}'),
        answer(
            b'{"choices": [{"text": "a", "finish_reason": "length", "logprobs": {"tokens": ["a"],'
            b' "token_logprobs": [NaN], "top_logprobs": [{"a": NaN}]}}]}'
        ),
    ]

    asked = itertools.count()

    def respond(request: dict[str, Any]) -> Any:
        turn, others = divmod(next(asked), 5)
        return endpoint(request) if others else faults[turn % len(faults)]

    def texts(address: str) -> list[str]:
        found = []
        with opened(backend_of(endpoint, address)) as backend:
            for task in range(20):
                prefix = backend.ids(PROMPT + "x" * task)
                params = SamplingParams(temperature=1.0, max_tokens=40, max_lines=2, seed=task)
                [samples] = backend.sample([SampleRequest(prefix, 3, params)])
                found.extend(sample.text for sample in samples)
                for _ in range(5):
                    [[distribution]] = backend.score([ScoreRequest(prefix)])
                    prefix += (distribution.argmax(),)
                found.append(backend.decode(prefix))
        return found

    faulty = serve(respond)
    assert texts(faulty.address) == texts(serve(tiny_server(endpoint.shape)).address)
    assert next(asked) > 5 * len(faults)  # each of them happened


def test_drafts_are_not_scored_without_a_right_echo(endpoint: ServedModel, start: Open) -> None:
    backend = start(endpoint)
    assert not backend.capabilities.scores_drafts
    with pytest.raises(CapabilityError, match="draft"):
        backend.score([ScoreRequest(backend.ids(PROMPT), (1, 2))])


def test_usage_counts_requests_and_every_choices_tokens(endpoint: ServedModel, start: Open) -> None:
    backend = start(endpoint)
    prefix = backend.ids(PROMPT)
    backend.score([ScoreRequest(prefix)])
    before, requests = backend.usage, len(endpoint.requests)
    params = SamplingParams(temperature=1.0, max_tokens=3, seed=9)
    [samples] = backend.sample([SampleRequest(prefix, 3, params)])
    spent = backend.usage - before
    assert spent.requests == len(endpoint.requests) - requests
    assert spent.output_tokens >= sum(len(sample.ids) for sample in samples) > 3
    assert spent.input_tokens == len(MODEL.tokenize(PROMPT))
    assert spent.cached_tokens == spent.input_tokens - 1  # the score asked about the same prompt
    assert spent.seconds == 0.0  # measured by whoever waits


def test_each_of_several_calls_at_once_counts_its_own_requests_only(
    serve: Any, opened: Any, run: Any
) -> None:
    endpoint = tiny_server(ECHOING, echoes=False, refuses=several_prompts)
    server = serve(endpoint, latency_s=0.01)
    with opened(backend_of(endpoint, server.address)) as waiting:
        assert waiting.usage.requests == server.paths.total()  # what opening it took
        backend = waiting.backend
        texts = [PROMPT * n for n in range(1, 7)]
        prefixes = [waiting.ids(text) for text in texts]
        before = server.paths.total()

        async def at_once() -> Any:
            params = SamplingParams(temperature=1.0, max_tokens=4)
            return await asyncio.gather(
                *(backend.score([ScoreRequest(ids)] * 2) for ids in prefixes),
                backend.score([ScoreRequest(ids + ids[:2]) for ids in prefixes]),
                backend.sample([SampleRequest(prefixes[0], 3, params)]),
            )

        *single, several, sampled = run(at_once())
    assert [answer.usage.requests for answer in (*single, several, sampled)] == [
        *[1] * len(texts),
        len(texts),
        1,
    ]
    assert server.paths.total() - before == 2 * len(texts) + 1
    for text, answer in zip(texts, single, strict=True):
        assert answer.usage.input_tokens == len(MODEL.tokenize(text))


def test_a_cancelled_call_leaves_no_request_running_and_pays_for_those_sent(
    serve: Any, opened: Any, run: Any
) -> None:
    endpoint = tiny_server(ECHOING, echoes=False, refuses=several_prompts)
    server = serve(endpoint)
    with opened(backend_of(endpoint, server.address, max_concurrency=2)) as backend:
        prefixes = [backend.ids(PROMPT * n) for n in (1, 2, 3)]
        server.latency_s, before = 5.0, server.paths.total()
        model = Model(OpenComponent(Kind.BACKEND, backend.backend, "the endpoint"), "t/1")

        async def cancelled() -> set[Any]:
            requests = [ScoreRequest(ids) for ids in prefixes]
            call = asyncio.create_task(model.score(requests, Stage.GUIDED))
            while server.paths.total() < before + 2:  # the third one waits for its turn
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            return asyncio.all_tasks() - {asyncio.current_task()}

        assert run(cancelled()) == set()
        assert server.paths.total() == before + 2
        assert model.usage[Stage.GUIDED].requests == 2  # they were sent, whatever came of them
        server.latency_s = 0.0
        for text, ids in zip((PROMPT, PROMPT * 2), prefixes, strict=False):  # their turns are free
            [[distribution]] = backend.score([ScoreRequest(ids)])
            assert listed(backend, distribution) == expected(text)


def test_a_chat_needs_a_template(endpoint: ServedModel, start: Open) -> None:
    backend = start(endpoint)
    assert not backend.capabilities.chat
    with pytest.raises(CapabilityError, match=r"deepseek_instruct.*long_code"):
        backend.encode(ChatPrompt((ChatMessage("user", "hi"),)))


@pytest.mark.parametrize(
    ("name", "variable"), [("fireworks", "FIREWORKS_API_KEY"), ("openai", "OPENAI_API_KEY")]
)
def test_a_missing_key_is_one_clear_line(name: str, variable: str) -> None:
    with pytest.raises(UsageError, match=f"set the environment variable {variable}") as raised:
        create(Kind.BACKEND, name, {"model": "m", "base_url": "https://example.org/v1"})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["fireworks", "openai"])
def test_a_missing_model_is_one_clear_line(name: str) -> None:
    with pytest.raises(UsageError, match="--model"):
        create(Kind.BACKEND, name, {})


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8080",
        "ftp://host/v1",
        "http://me:secret@host/v1",
        "https://host/v1?key=secret",
        "host/v1?k=secret",
    ],
)
def test_an_address_that_is_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(ConfigError) as raised:
        create(Kind.BACKEND, "openai", {"model": "m", "base_url": url})
    assert "secret" not in str(raised.value)


def test_no_option_takes_a_key() -> None:
    with pytest.raises(ConfigError, match="no option 'api_key'"):
        create(Kind.BACKEND, "openai", {"model": "m", "api_key": "k"})


def test_a_process_that_forgets_to_close_still_ends(serve: Any) -> None:
    server = serve(tiny_server(TEXT_ALONE))
    code = (
        "import asyncio\n"
        "from egcfg_backends_fireworks.services import OpenAIBackend\n"
        "from egcfg_backends_fireworks.options import EndpointOptions\n"
        f"options = EndpointOptions(model='m', base_url='{server.address}/v1')\n"
        "backend = OpenAIBackend(options)\n"
        "asyncio.run(backend.open())\n"
        "print(backend.profile.form.top_k)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert (done.stdout, done.stderr) == ("5\n", "")


def test_closing_again_does_nothing(endpoint: ServedModel, serve: Any, run: Any) -> None:
    backend = backend_of(endpoint, serve(endpoint).address)
    run(backend.close())
    run(backend.open())
    for _ in range(2):
        run(backend.close())


def test_the_models_name_is_known_without_opening() -> None:
    assert EndpointOptions(model="m").model_name == "m"
