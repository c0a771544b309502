"""The backends over a scripted model: Fireworks-shaped with ids, and a server of plain text."""

from __future__ import annotations

import asyncio
import math
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest

from egcfg.cli.diagnosis import look_at_backend
from egcfg.config import RunConfig
from egcfg.errors import BackendError, CapabilityError, ConfigError, UsageError
from egcfg.interfaces.backend import (
    LogprobQuery,
    SampleQuery,
    SamplingParams,
    ScoreQuery,
    TokenLogprobs,
)
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg_backends_fireworks.endpoint import EndpointBackend
from egcfg_backends_fireworks.fireworks import FireworksBackend
from egcfg_backends_fireworks.likeness import Echo
from egcfg_backends_fireworks.openai import OpenAIBackend
from egcfg_backends_fireworks.options import FireworksOptions, OpenAIOptions
from egcfg_backends_fireworks.probe import ServerProfile

pytestmark = pytest.mark.usefixtures("no_keys")
PROMPT = "def add(a,b):\n"
FAST = {"backoff_s": 0.001, "attempt_timeout_s": 10.0}
Open = Callable[..., EndpointBackend]


@pytest.fixture
def opened(serve: Any) -> Any:
    """Open a backend in front of a scripted endpoint; all are closed at the end."""
    backends: list[EndpointBackend] = []

    def start(endpoint: Any, **options: Any) -> EndpointBackend:
        server = serve(endpoint)
        backend: EndpointBackend
        if endpoint.shape == "fireworks":
            chosen = FireworksOptions(model="m", base_url=server.address, **FAST, **options)
            backend = FireworksBackend(chosen)
        else:
            url = f"{server.address}/v1"
            backend = OpenAIBackend(OpenAIOptions(model="m", base_url=url, **FAST, **options))
        backends.append(backend)
        return backend

    yield start
    for backend in backends:
        backend.close()


@pytest.fixture(params=["fireworks", "legacy"])
def endpoint(request: pytest.FixtureRequest, tiny_endpoint: Any) -> Any:
    return tiny_endpoint(request.param)


def sequence(backend: EndpointBackend, text: str = PROMPT, role: str = "") -> Any:
    return backend.start(backend.encode(text), role)


def score(backend: EndpointBackend, text: str) -> TokenLogprobs:
    [[distribution]] = backend.score([ScoreQuery(sequence(backend, text))])
    return distribution


def listed(backend: EndpointBackend, distribution: TokenLogprobs) -> dict[str, float]:
    assert distribution.ids is not None
    texts = [backend.decode([int(token)]) for token in distribution.ids]
    return dict(zip(texts, distribution.logprobs.tolist(), strict=True))


def expected(endpoint: Any, text: str) -> Any:
    pairs = endpoint.model.distribution(text)[: endpoint.most_alternatives]
    return pytest.approx({endpoint.pieces[token]: logprob for token, logprob in pairs})


def test_the_probe_finds_what_fireworks_does(tiny_endpoint: Any, opened: Open) -> None:
    profile = opened(tiny_endpoint("fireworks")).probe()
    assert (profile.top_k, profile.extras, profile.multiple) == (5, True, True)
    assert (profile.token_ids, profile.prompt_ids, profile.tokenizes) == (True, True, False)
    assert (profile.seeded, profile.raw) == (True, True)
    assert profile.steering_id is not None
    assert profile.echo is Echo.REFUSED
    assert profile.context_length is None


def test_the_probe_finds_what_a_text_server_does(tiny_endpoint: Any, opened: Open) -> None:
    profile = opened(tiny_endpoint("legacy", most_choices=1)).probe()
    # Twenty alternatives and the further sampling parameters were refused, then left out.
    assert (profile.top_k, profile.extras, profile.multiple) == (5, False, False)
    assert (profile.token_ids, profile.prompt_ids, profile.steering_id) == (False, False, None)


def test_a_server_that_breaks_over_what_it_does_not_know_is_used_without_it(
    tiny_endpoint: Any, serve: Any, answer: Any
) -> None:
    endpoint = tiny_endpoint("legacy")

    def respond(request: dict[str, Any]) -> Any:
        odd = isinstance(request["prompt"], list) or request.get("n") or request.get("echo")
        return answer(b"Internal Server Error", 500) if odd else endpoint(request)

    url = f"{serve(respond).address}/v1"
    with OpenAIBackend(OpenAIOptions(model="m", base_url=url, **FAST)) as backend:
        profile = backend.probe()
        assert (profile.batches, profile.multiple, profile.echo) == (False, False, Echo.REFUSED)
        assert listed(backend, score(backend, PROMPT)) == expected(endpoint, PROMPT)


def test_doctor_tells_what_the_probe_found(tiny_endpoint: Any, serve: Any) -> None:
    server = serve(tiny_endpoint("legacy", most_choices=1))
    config = RunConfig(backend="openai", model="m", base_url=f"{server.address}/v1")
    findings = {(f.subject, f.name): f.detail for f in look_at_backend(config)}
    probed = "backend openai, as probed"
    assert findings["backend openai", "model"] == "m"
    assert (findings[probed, "top_k"], findings[probed, "multiple"]) == ("5", "no")
    assert (findings[probed, "steering_id"], findings[probed, "raw"]) == ("none found", "yes")
    assert {name for subject, name in findings if subject == probed} == {
        field.name for field in attrs.fields(ServerProfile)
    }


def test_a_server_without_logprobs_is_refused(serve: Any, answer: Any) -> None:
    server = serve(lambda _: answer(b'{"choices": [{"text": "a", "logprobs": null}]}'))
    options = OpenAIOptions(model="m", base_url=f"{server.address}/v1", **FAST)
    with OpenAIBackend(options) as backend, pytest.raises(CapabilityError, match="logprobs"):
        backend.probe()


def test_a_score_is_the_models_own_distribution(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    distribution = score(backend, PROMPT)
    assert listed(backend, distribution) == expected(endpoint, PROMPT)
    assert distribution.ids is not None
    assert len(set(distribution.ids.tolist())) == 5
    assert np.all(np.diff(distribution.logprobs) <= 0)


def test_several_sequences_are_asked_for_at_once(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    texts = [PROMPT, PROMPT + "    return", PROMPT + "    "]
    queries = [ScoreQuery(sequence(backend, text, f"role {i}")) for i, text in enumerate(texts)]
    for text, [distribution] in zip(texts, backend.score(queries), strict=True):
        assert listed(backend, distribution) == expected(endpoint, text)


def test_a_greedy_text_is_the_models_own(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    prefix = sequence(backend)
    for _ in range(12):
        [[distribution]] = backend.score([ScoreQuery(prefix)])
        token = distribution.argmax()
        if token in backend.end_ids:
            break
        prefix.ids += (token,)
    written = backend.decode(prefix.ids[len(backend.encode(PROMPT)) :])
    tokens, _ = endpoint.model.generate(PROMPT, {"max_tokens": 12, "temperature": 0}, 0)
    texts = [endpoint.pieces[token] for token in tokens]
    assert written == "".join(texts[:-1] if texts[-1] == "<end>" else texts)


def test_a_prompts_ids_stay_the_same(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    before = backend.encode(PROMPT)
    score(backend, PROMPT)
    requests = len(endpoint.requests)
    assert backend.encode(PROMPT) == before
    assert len(endpoint.requests) == requests
    if endpoint.shape == "fireworks":
        assert list(before) == [100 + token for token in endpoint.model.tokenize(PROMPT)]
    else:  # pieces, which only this backend knows
        assert backend.decode(before) == PROMPT


def test_a_prompts_ids_are_asked_for_again_where_they_are_missing(
    tiny_endpoint: Any, serve: Any, answer: Any
) -> None:
    endpoint = tiny_endpoint("fireworks")
    server = serve(endpoint)
    options = FireworksOptions(model="m", base_url=server.address, **FAST)
    with FireworksBackend(options) as backend:
        backend.probe()
        without = b'{"choices": [{"text": "a", "logprobs": null, "finish_reason": "length"}]}'
        server.faults = [answer(without)] * 2
        ids = backend.encode(PROMPT)
    assert not server.faults
    assert list(ids) == [100 + token for token in endpoint.model.tokenize(PROMPT)]


def test_counting_tokens_asks_no_server_that_would_have_to_answer_for_it(
    endpoint: Any, opened: Open
) -> None:
    backend = opened(endpoint)
    backend.probe()
    requests = len(endpoint.requests)
    assert 0 < backend.count_tokens(PROMPT * 3) < len(PROMPT * 3)
    assert len(endpoint.requests) == requests


def test_prompts_go_out_as_ids_and_keep_the_generated_ones(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks")
    backend = opened(endpoint)
    prefix = sequence(backend)
    prefix.ids += (int(backend.score([ScoreQuery(prefix)])[0][0].ids[1]),)  # not the likeliest
    backend.score([ScoreQuery(prefix)])
    sent = endpoint.requests[-1]["prompt"]
    assert sent[-1] == prefix.ids[-1]
    assert "".join(endpoint.pieces[i - 100] for i in sent[:-1]) == PROMPT


def test_requests_of_one_branch_share_a_cache_key(tiny_endpoint: Any, opened: Open) -> None:
    endpoint = tiny_endpoint("fireworks")
    backend = opened(endpoint)
    params = SamplingParams(max_tokens=3)
    for role in ("unconditional", "conditional", "unconditional"):
        backend.sample([SampleQuery(sequence(backend, PROMPT, role), 2, params)])
    plain, conditional, again = (r["prompt_cache_key"] for r in endpoint.requests[-3:])
    assert plain == again != conditional


def test_a_request_of_both_branches_meets_the_candidates_prompt_cache(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks")
    backend = opened(endpoint)
    plain = sequence(backend, PROMPT, "unconditional")
    conditional = sequence(backend, PROMPT + PROMPT, "conditional")
    backend.sample([SampleQuery(plain, 2, SamplingParams(max_tokens=3))])
    sampled = endpoint.requests[-1]
    backend.score([ScoreQuery(plain), ScoreQuery(conditional)])
    assert len(endpoint.requests[-1]["prompt"]) == 2
    assert endpoint.requests[-1]["prompt_cache_key"] == sampled["prompt_cache_key"]


def test_sampling_parameters_are_always_explicit(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    score(backend, PROMPT)
    request = endpoint.requests[-1]
    assert (request["temperature"], request["top_p"]) == (0.0, 1.0)
    if endpoint.shape == "fireworks":
        assert (request["top_k"], request["min_p"]) == (0, 0.0)
        assert request["context_length_exceeded_behavior"] == "error"


def test_samples_end_where_their_lines_do(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=60, max_lines=2, seed=5)
    [samples] = backend.sample([SampleQuery(sequence(backend), 4, params)])
    assert len(samples) == 4
    for sample in samples:
        assert backend.decode(sample.ids) == sample.text
        assert sample.text.count("\n") <= 2
        if sample.text.count("\n") == 2:
            assert backend.decode(sample.ids[:-1]).count("\n") == 1  # the last token ends it
        else:
            assert sample.finished or len(sample.ids) == 60
    assert any(sample.text.count("\n") == 2 for sample in samples)


def test_samples_carry_the_distributions_they_were_drawn_from(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    params = SamplingParams(temperature=1.3, max_tokens=5, seed=1)
    [[sample]] = backend.sample([SampleQuery(sequence(backend), 1, params)])
    assert sample.scores is not None
    assert len(sample.scores) == len(sample.ids)
    text = PROMPT
    for token, distribution in zip(sample.ids, sample.scores, strict=True):
        assert listed(backend, distribution) == expected(endpoint, text)
        text += backend.decode([token])


def test_what_temperature_and_nucleus_made_of_a_distribution_is_no_score(
    tiny_endpoint: Any, opened: Open, endpoint: Any
) -> None:
    endpoint = tiny_endpoint(endpoint.shape, raw=False)
    backend = opened(endpoint)
    assert not backend.probe().raw
    assert backend.probe().top_k == 5
    # A single token is asked for as it is; candidates come without their distributions.
    assert listed(backend, score(backend, PROMPT)) == expected(endpoint, PROMPT)
    params = SamplingParams(temperature=0.7, top_p=0.9, max_tokens=5, seed=1)
    [[sample]] = backend.sample([SampleQuery(sequence(backend), 1, params)])
    assert sample.ids
    assert sample.scores is None


def test_all_samples_come_in_one_request_where_the_server_allows(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks")
    backend = opened(endpoint)
    prefix = sequence(backend)
    backend.score([ScoreQuery(prefix)])
    before = len(endpoint.requests)
    backend.sample([SampleQuery(prefix, 5, SamplingParams(max_tokens=4))])
    assert [r.get("n") for r in endpoint.requests[before:]] == [5]


def test_more_samples_than_the_server_allows_take_a_request_each(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("legacy", most_choices=2)
    backend = opened(endpoint)
    query = SampleQuery(sequence(backend), 3, SamplingParams(max_tokens=4, temperature=1.0))
    [samples] = backend.sample([query])
    before = len(endpoint.requests)
    [again] = backend.sample([query])
    assert len(samples) == len(again) == 3
    assert len(endpoint.requests) - before == 3  # what was refused once is not tried again
    assert [s.ids for s in samples] == [s.ids for s in again]


def test_the_same_seed_gives_the_same_samples(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=80, max_lines=3, seed=2)
    query = SampleQuery(sequence(backend), 3, params)
    first, second = backend.sample([query]), backend.sample([query])
    assert [s.ids for s in first[0]] == [s.ids for s in second[0]]


def test_a_stop_text_ends_a_sample(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=80, stop=("a",), seed=4)
    [samples] = backend.sample([SampleQuery(sequence(backend), 4, params)])
    stopped = [sample for sample in samples if "a" in sample.text]
    assert stopped
    for sample in stopped:
        assert "a" not in backend.decode(sample.ids[:-1])


@pytest.mark.parametrize("shows_end", [True, False])
def test_an_end_of_sequence_is_recognised(
    tiny_endpoint: Any, opened: Open, endpoint: Any, shows_end: bool
) -> None:
    endpoint = tiny_endpoint(endpoint.shape, shows_end=shows_end)

    class EndsAfterTwo(type(endpoint.model)):  # type: ignore[misc]
        def distribution(self, text: str) -> Any:
            pairs = super().distribution(text)
            if not text.endswith("x"):
                return pairs
            end = len(endpoint.pieces) - 1
            rest = [(token, p - 3.0) for token, p in pairs if token != end]
            left = 1.0 - sum(math.exp(p) for _, p in rest)
            return [(end, math.log(left)), *rest]

    endpoint.model = EndsAfterTwo()
    backend = opened(endpoint)
    distribution = score(backend, PROMPT + "x")
    if shows_end or endpoint.shape == "fireworks":  # there, another token is drawn in its place
        assert listed(backend, distribution) == expected(endpoint, PROMPT + "x")
    if shows_end or endpoint.shape == "legacy":
        assert distribution.argmax() in backend.end_ids
    params = SamplingParams(temperature=0.0, max_tokens=40)
    [[sample]] = backend.sample([SampleQuery(sequence(backend, PROMPT + "x"), 1, params)])
    assert (sample.ids, sample.text, sample.finished) == ((), "", True)


@pytest.mark.parametrize(
    ("echoes", "found", "last"),
    [
        ("right", Echo.RIGHT, True),
        ("shifted", Echo.SHIFTED, False),
        ("ignored", Echo.IGNORED, False),
    ],
)
def test_the_probe_tells_right_echoes_from_wrong_ones(
    tiny_endpoint: Any, opened: Open, echoes: str, found: Echo, last: bool
) -> None:
    backend = opened(tiny_endpoint("fireworks", echoes=echoes))
    assert (backend.probe().echo, backend.probe().echo_last) == (found, last)
    assert backend.capabilities.scores_drafts is last


def test_a_draft_scores_as_its_tokens_one_by_one(tiny_endpoint: Any, opened: Open) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right")
    backend = opened(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=7, seed=3)
    prefix = sequence(backend)
    [[candidate]] = backend.sample([SampleQuery(prefix, 1, params)])
    draft = candidate.ids
    assert len(draft) > 2
    other = sequence(backend, PROMPT + PROMPT, "conditional")
    before = backend.usage.requests
    drafted = backend.score([ScoreQuery(prefix, draft), ScoreQuery(other, draft)])
    assert backend.usage.requests - before == 1  # for the whole line
    for branch, distributions in zip((prefix, other), drafted, strict=True):
        assert len(distributions) == len(draft) + 1
        text = PROMPT if branch is prefix else PROMPT + PROMPT
        for i, distribution in enumerate(distributions):
            assert listed(backend, distribution) == expected(
                endpoint, text + backend.decode(draft[:i])
            )


def test_the_drafts_of_a_line_take_one_request_and_none_twice(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right")
    backend = opened(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=6, seed=3)
    prefix = sequence(backend)
    [[first, second]] = backend.sample([SampleQuery(prefix, 2, params)])
    drafts = [first.ids, first.ids[:2], second.ids, (), first.ids]
    before = len(endpoint.requests)
    answers = backend.score([ScoreQuery(prefix, draft) for draft in drafts])
    assert len(endpoint.requests) - before == 1
    assert len(endpoint.requests[-1]["prompt"]) == 2  # what begins another draft is not sent
    assert endpoint.requests[-1]["max_tokens"] == 1
    for draft, distributions in zip(drafts, answers, strict=True):
        assert len(distributions) == len(draft) + 1
        for i, distribution in enumerate(distributions):
            text = PROMPT + backend.decode(draft[:i])
            assert listed(backend, distribution) == expected(endpoint, text)


def spelt(endpoint: Any, backend: EndpointBackend, *pieces: str) -> tuple[int, ...]:
    """Return the ids of some pieces, which the backend is to know as if they had been seen."""
    ids = tuple(endpoint.read(piece)[0] for piece in pieces)
    for token, piece in zip(ids, pieces, strict=True):
        backend._session().server.reader.vocabulary.learn(token, piece.encode())
    return ids


def test_a_new_prompt_is_named_by_the_request_that_scores_its_drafts(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right")
    backend = opened(endpoint)
    assert backend.probe().named_echo
    first = spelt(endpoint, backend, "    ", "return", " x", "\n")
    second = spelt(endpoint, backend, "a", "=", "b")
    plain = sequence(backend)
    backend.score([ScoreQuery(plain)])
    shown = f"x = 1\n{PROMPT}"
    conditional = sequence(backend, shown, "conditional")
    before = len(endpoint.requests)
    queries = [ScoreQuery(s, draft) for s in (conditional, plain) for draft in (first, second)]
    answers = backend.score(queries)
    assert [r["prompt"][0] for r in endpoint.requests[before:]] == [shown]
    for query, distributions in zip(queries, answers, strict=True):
        text = shown if query.sequence is conditional else PROMPT
        for i, distribution in enumerate(distributions):
            written = text + backend.decode(query.draft[:i])
            assert listed(backend, distribution) == expected(endpoint, written)
    # From now on its ids are known, so they are what is sent.
    conditional.ids += first
    backend.score([ScoreQuery(conditional, second)])
    assert endpoint.requests[-1]["prompt"] == [*endpoint.read(shown), *first, *second]


def test_tokens_that_text_does_not_bring_back_are_sent_as_ids(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right")
    backend = opened(endpoint)
    odd = spelt(endpoint, backend, " ", "x")  # " x" is a token of its own
    before = len(endpoint.requests)
    for line in range(3):
        prompt = "a\n" * (line + 1)
        branch = backend.start(backend.encode(prompt) + odd * line)
        [distributions] = backend.score([ScoreQuery(branch, odd)])
        for i, distribution in enumerate(distributions):
            written = prompt + " x" * line + ["", " ", " x"][i]
            assert listed(backend, distribution) == expected(endpoint, written)
        # An answer that went wrong once would go wrong again: it is guessed no more.
        asked = [prompt, prompt + " x" * (line + 1)] if line < 2 else prompt
        meant = [*endpoint.read(prompt), *odd * (line + 1)]
        assert [r["prompt"] for r in endpoint.requests[before:]] == [asked, meant]
        before = len(endpoint.requests)


def test_prompts_have_their_ids_at_once_where_the_context_is_known(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right")
    backend = opened(endpoint, context_length=500)
    assert list(backend.encode(PROMPT)) == endpoint.read(PROMPT)


def test_where_text_is_echoed_without_its_ids_no_prompt_is_guessed(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right")

    def nameless(request: Any) -> Any:
        if "echo_last" in request:
            request.pop("return_token_ids", None)
        return endpoint(request)

    nameless.shape = "fireworks"
    backend = opened(nameless)
    assert (backend.probe().batched_echo, backend.probe().named_echo) == (True, False)
    assert list(backend.encode(PROMPT)) == endpoint.read(PROMPT)


def test_a_bare_sequence_beside_drafts_is_scored_as_it_is(tiny_endpoint: Any, opened: Open) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right")
    backend = opened(endpoint)
    prefix, other = sequence(backend), sequence(backend, PROMPT + PROMPT, "conditional")
    [[sample]] = backend.sample([SampleQuery(prefix, 1, SamplingParams(max_tokens=3))])
    drafted, [bare] = backend.score([ScoreQuery(prefix, sample.ids), ScoreQuery(other)])
    assert listed(backend, drafted[0]) == expected(endpoint, PROMPT)
    assert listed(backend, bare) == expected(endpoint, PROMPT + PROMPT)


def test_where_prompts_cannot_be_batched_they_are_asked_side_by_side(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right", batches=False)
    backend = opened(endpoint)
    assert (backend.probe().batches, backend.probe().batched_echo) == (False, False)
    prefix = sequence(backend)
    [[candidate]] = backend.sample([SampleQuery(prefix, 1, SamplingParams(max_tokens=4))])
    other = backend.start(prefix.ids + candidate.ids[:1])
    before = len(endpoint.requests)
    backend.score([ScoreQuery(prefix, candidate.ids), ScoreQuery(other, candidate.ids)])
    assert len(endpoint.requests) - before == 2


def test_several_prompts_are_never_asked_for_several_continuations(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right")
    backend = opened(endpoint)
    params = SamplingParams(temperature=1.0, max_tokens=80, max_lines=2, seed=8)
    queries = [SampleQuery(sequence(backend, PROMPT * n), 3, params) for n in (1, 2)]
    backend.sample(queries)
    assert any(isinstance(r["prompt"][0], list) for r in endpoint.requests)
    for request in endpoint.requests:
        assert request.get("n", 1) == 1 or not isinstance(request["prompt"][0], list)


def test_the_servers_own_way_is_asked_for_once(tiny_endpoint: Any, opened: Open) -> None:
    endpoint = tiny_endpoint("fireworks")
    backend = opened(endpoint, lookahead=6)
    prefix = sequence(backend)
    [[first]] = backend.score([ScoreQuery(prefix)])
    before = len(endpoint.requests)
    text = PROMPT
    for _ in range(5):
        prefix.ids += (first.argmax(),)
        text += backend.decode(prefix.ids[-1:])
        [[first]] = backend.score([ScoreQuery(prefix)])
        assert listed(backend, first) == expected(endpoint, text)
    assert len(endpoint.requests) == before
    prefix.ids += (first.argmax(),)
    backend.score([ScoreQuery(prefix)])
    assert len(endpoint.requests) == before + 1


def test_where_the_server_went_on_by_itself_is_told_without_asking(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks")
    backend = opened(endpoint, lookahead=6)
    prefix = sequence(backend)
    assert backend.ahead(prefix) == ((), [])
    backend.score([ScoreQuery(prefix)])
    before = len(endpoint.requests)
    way, distributions = backend.ahead(prefix)
    assert len(endpoint.requests) == before
    assert len(distributions) == len(way) + 1 == 6
    for i, distribution in enumerate(distributions):
        assert listed(backend, distribution) == expected(endpoint, PROMPT + backend.decode(way[:i]))
        assert i == len(way) or distribution.argmax() == way[i]


def test_what_was_drawn_beyond_a_line_is_given_when_it_is_wanted(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks")
    backend = opened(endpoint)
    prefix = sequence(backend)
    line = SamplingParams(temperature=1.0, max_tokens=60, max_lines=1, seed=5)
    [drawn] = backend.sample([SampleQuery(prefix, 3, line)])
    first = next(sample for sample in drawn if sample.rest is not None and "\n" in sample.text)
    before = len(endpoint.requests)
    longer = backend.start(prefix.ids + first.ids)
    [[second]] = backend.sample([SampleQuery(longer, 1, line, rest=first.rest)])
    assert len(endpoint.requests) == before
    assert second.text.endswith("\n")
    assert second.text.count("\n") == 1
    assert second.scores is not None
    text = PROMPT + first.text
    for token, distribution in zip(second.ids, second.scores, strict=True):
        assert listed(backend, distribution) == expected(endpoint, text)
        text += backend.decode([token])
    whole = endpoint.model.generate(
        PROMPT, {"max_tokens": 24, "temperature": 1.0, "seed": 5}, drawn.index(first)
    )
    assert [100 + token for token in whole[0][: len(first.ids + second.ids)]] == [
        *first.ids,
        *second.ids,
    ]


def test_the_exact_value_of_any_token_is_told_by_an_echo(tiny_endpoint: Any, opened: Open) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right")
    backend = opened(endpoint)
    assert backend.capabilities.exact_logprobs
    exact_values_are_the_models(endpoint, backend, requests=1)


def test_the_exact_value_of_any_token_is_told_by_forcing_it(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks")
    backend = opened(endpoint)
    assert backend.capabilities.exact_logprobs
    exact_values_are_the_models(endpoint, backend, requests=5)


def exact_values_are_the_models(endpoint: Any, backend: EndpointBackend, requests: int) -> None:
    prefix, other = sequence(backend), sequence(backend, PROMPT + PROMPT, "conditional")
    backend.score([ScoreQuery(prefix), ScoreQuery(other)])  # tells the prompts' ids
    tokens = (100, 105, 117)
    queries = [LogprobQuery(prefix, tokens), LogprobQuery(other, tokens[:2])]
    before = len(endpoint.requests)
    values = backend.logprobs(queries)
    assert len(endpoint.requests) - before == requests
    for query, text, found in zip(queries, (PROMPT, PROMPT + PROMPT), values, strict=True):
        true = dict(endpoint.model.distribution(text))
        assert found == pytest.approx([true[token - 100] for token in query.tokens])


def test_without_echo_and_without_bias_no_single_token_is_told(
    tiny_endpoint: Any, opened: Open
) -> None:
    backend = opened(tiny_endpoint("legacy"))
    assert not backend.capabilities.exact_logprobs
    with pytest.raises(CapabilityError, match="echo: refused"):
        backend.logprobs([LogprobQuery(sequence(backend), (1,))])


def test_a_hidden_end_behind_an_echoed_draft_is_recognised(
    tiny_endpoint: Any, opened: Open
) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right", shows_end=False)
    backend = opened(endpoint)
    prefix = sequence(backend)
    [[candidate]] = backend.sample([SampleQuery(prefix, 1, SamplingParams(max_tokens=3))])

    class EndsThere(type(endpoint.model)):  # type: ignore[misc]
        def distribution(self, text: str) -> Any:
            pairs = super().distribution(text)
            if text != PROMPT + candidate.text:
                return pairs
            end = len(endpoint.pieces) - 1
            return [(end, -0.01), *((t, p - 5.0) for t, p in pairs if t != end)]

    endpoint.model = EndsThere()
    [distributions] = backend.score([ScoreQuery(prefix, candidate.ids)])
    assert len(distributions) == 4
    assert distributions[-1].argmax() in backend.end_ids
    assert distributions[0].argmax() not in backend.end_ids


def test_an_echo_of_other_tokens_is_not_believed(tiny_endpoint: Any, serve: Any) -> None:
    endpoint = tiny_endpoint("fireworks", echoes="right")
    lying = False

    def respond(request: dict[str, Any]) -> Any:
        if lying and request.get("echo_last"):
            request = request | {"prompt": request["prompt"][:-1]}
        return endpoint(request)

    options = FireworksOptions(model="m", base_url=serve(respond).address, max_attempts=2, **FAST)
    with FireworksBackend(options) as backend:
        prefix = sequence(backend)
        [[candidate]] = backend.sample([SampleQuery(prefix, 1, SamplingParams(max_tokens=3))])
        lying = True
        with pytest.raises(BackendError, match="other tokens"):
            backend.score([ScoreQuery(prefix, candidate.ids)])


def test_a_fifth_of_all_answers_may_be_faulty(
    endpoint: Any, serve: Any, answer: Any, tiny_endpoint: Any
) -> None:
    rng = random.Random(5)
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

    def respond(request: dict[str, Any]) -> Any:
        return rng.choice(faults) if rng.random() < 0.2 else endpoint(request)

    def texts(address: str) -> list[str]:
        chosen: Any
        if endpoint.shape == "fireworks":
            chosen = FireworksOptions(model="m", base_url=address, **FAST)
            backend: EndpointBackend = FireworksBackend(chosen)
        else:
            chosen = OpenAIOptions(model="m", base_url=f"{address}/v1", **FAST)
            backend = OpenAIBackend(chosen)
        found = []
        with backend:
            for task in range(50):
                prefix = sequence(backend, PROMPT + "x" * task)
                params = SamplingParams(temperature=1.0, max_tokens=40, max_lines=2, seed=task)
                [samples] = backend.sample([SampleQuery(prefix, 3, params)])
                found.extend(sample.text for sample in samples)
                for _ in range(5):
                    [[distribution]] = backend.score([ScoreQuery(prefix)])
                    prefix.ids += (distribution.argmax(),)
                found.append(backend.decode(prefix.ids))
        return found

    faulty = serve(respond)
    assert texts(faulty.address) == texts(serve(tiny_endpoint(endpoint.shape)).address)
    assert faulty.paths["/v1/completions"] > len(endpoint.requests)  # faults did happen


def test_drafts_are_not_scored_without_a_right_echo(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    assert not backend.capabilities.scores_drafts
    with pytest.raises(CapabilityError, match="draft"):
        backend.score([ScoreQuery(sequence(backend), (1, 2))])


def test_usage_counts_requests_and_every_choices_tokens(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    prefix = sequence(backend)
    backend.score([ScoreQuery(prefix)])
    before, requests = backend.usage, len(endpoint.requests)
    params = SamplingParams(temperature=1.0, max_tokens=3, seed=9)
    [samples] = backend.sample([SampleQuery(prefix, 3, params)])
    spent = backend.usage - before
    assert spent.requests == len(endpoint.requests) - requests
    assert spent.output_tokens >= sum(len(sample.ids) for sample in samples) > 3
    assert spent.input_tokens == len(endpoint.model.tokenize(PROMPT))
    assert spent.cached_tokens == spent.input_tokens // 2
    assert spent.seconds > 0


def test_a_chat_needs_a_template(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    assert not backend.capabilities.chat
    with pytest.raises(CapabilityError, match=r"deepseek_instruct.*long_code"):
        backend.render_chat([{"role": "user", "content": "hi"}])


def test_it_works_inside_a_running_event_loop(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)

    async def inside() -> TokenLogprobs:
        return score(backend, PROMPT)

    assert listed(backend, asyncio.run(inside())) == expected(endpoint, PROMPT)


@pytest.mark.parametrize(
    ("name", "variable"), [("fireworks", "FIREWORKS_API_KEY"), ("openai", "OPENAI_API_KEY")]
)
def test_a_missing_key_is_one_clear_line(name: str, variable: str) -> None:
    with pytest.raises(UsageError, match=f"set the environment variable {variable}") as raised:
        create(Kind.BACKEND, name, {"model": "m"})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["fireworks", "openai"])
def test_a_missing_model_is_one_clear_line(name: str) -> None:
    with pytest.raises(UsageError, match="--model"):
        create(Kind.BACKEND, name, {})


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://host/v1", "http://me:secret@host/v1"])
def test_an_address_that_is_none_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(ConfigError) as raised:
        create(Kind.BACKEND, "openai", {"model": "m", "base_url": url})
    assert "secret" not in str(raised.value)


def test_no_option_takes_a_key() -> None:
    with pytest.raises(ConfigError, match="no option 'api_key'"):
        create(Kind.BACKEND, "openai", {"model": "m", "api_key": "k"})


def test_a_process_that_forgets_to_close_still_ends(serve: Any, tiny_endpoint: Any) -> None:
    server = serve(tiny_endpoint("legacy"))
    code = (
        "from egcfg_backends_fireworks.openai import OpenAIBackend\n"
        "from egcfg_backends_fireworks.options import OpenAIOptions\n"
        f"options = OpenAIOptions(model='m', base_url='{server.address}/v1')\n"
        "backend = OpenAIBackend(options)\n"
        "print(backend.probe().top_k)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "5\n"


def test_a_closed_backend_can_be_asked_again(endpoint: Any, opened: Open) -> None:
    backend = opened(endpoint)
    first = listed(backend, score(backend, PROMPT))
    requests = backend.usage.requests
    backend.close()
    assert listed(backend, score(backend, PROMPT)) == first
    assert backend.usage.requests > requests  # what was counted before is kept
