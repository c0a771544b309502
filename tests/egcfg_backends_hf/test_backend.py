from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from egcfg.errors import BackendError, ContextOverflowError
from egcfg.interfaces.backend import SampleQuery, SamplingParams, ScoreQuery, TokenLogprobs, Usage
from egcfg_backends_hf import backend as backend_module
from egcfg_backends_hf import causal_model
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.evaluator import TreeEvaluator, WholePrefixEvaluator
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.testing import CONTEXT_LENGTH

Naive = Callable[[Sequence[int]], NDArray[np.float64]]
PROMPT = "def add(first, second):\n    return"


def assert_same(scores: Sequence[TokenLogprobs], naive: Naive, ids: tuple[int, ...]) -> None:
    """Compare the distributions after the last ``len(scores)`` prefixes of `ids`."""
    first = len(ids) - len(scores) + 1
    for end, found in zip(range(first, len(ids) + 1), scores, strict=True):
        np.testing.assert_allclose(found.logprobs, naive(ids[:end]), rtol=0, atol=1e-9)


def greedy(max_tokens: int, **more: Any) -> SamplingParams:
    return SamplingParams(temperature=0.0, max_tokens=max_tokens, **more)


tokens = st.lists(st.integers(3, 383), max_size=6).map(tuple)
questions = st.lists(
    st.tuples(
        st.sampled_from(["score", "sample"]),
        st.integers(0, 1),  # which of two sequences
        st.integers(0, 12),  # how many tokens to take off its end
        tokens,  # what to put there instead
        tokens,  # the draft
    ),
    min_size=1,
    max_size=8,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(questions)
def test_answers_from_the_cache_equal_uncached_passes(
    backend: HFBackend, naive_logprobs: Naive, asked: Any
) -> None:
    sequences = [backend.start(backend.encode(PROMPT)) for _ in range(2)]
    for question, which, cut, extension, draft in asked:
        sequence = sequences[which]
        sequence.ids = sequence.ids[: max(1, len(sequence.ids) - cut)] + extension
        ids = sequence.ids
        if question == "score":
            [scores] = backend.score([ScoreQuery(sequence, draft)])
            assert_same(scores, naive_logprobs, ids + draft)
        else:
            params = SamplingParams(max_tokens=4, seed=cut)
            for continuation in backend.sample([SampleQuery(sequence, 2, params)])[0]:
                known = continuation.scores or ()
                assert_same(known, naive_logprobs, (ids + continuation.ids)[: len(ids + known) - 1])
        assert sequence.ids == ids


def test_a_draft_is_scored_as_single_steps_are(backend: HFBackend) -> None:
    ids = backend.encode(PROMPT)
    draft = backend.encode(" first + second\n    return first")
    [drafted] = backend.score([ScoreQuery(backend.start(ids), draft)])
    stepped = backend.start(ids)
    for position, scores in enumerate(drafted):
        stepped.ids = ids + draft[:position]
        [[single]] = backend.score([ScoreQuery(stepped)])
        np.testing.assert_allclose(single.logprobs, scores.logprobs, rtol=0, atol=1e-9)


def test_several_queries_are_answered_in_order(backend: HFBackend, naive_logprobs: Naive) -> None:
    prompts = [backend.encode(PROMPT), backend.encode("x = 1\n"), backend.encode(PROMPT + " 1")]
    drafts = [(5, 6), (), (7, 8, 9)]
    queries = [ScoreQuery(backend.start(p), d) for p, d in zip(prompts, drafts, strict=True)]
    for scores, ids, draft in zip(backend.score(queries), prompts, drafts, strict=True):
        assert len(scores) == len(draft) + 1
        assert_same(scores, naive_logprobs, ids + draft)


def test_log_probabilities_are_normalised(backend: HFBackend) -> None:
    [[scores]] = backend.score([ScoreQuery(backend.start(backend.encode(PROMPT)))])
    assert scores.dense
    assert np.exp(scores.logprobs).sum() == pytest.approx(1.0, abs=1e-12)


# --- what runs and what is kept ---------------------------------------------------------------


def cost(before: Usage, after: Usage) -> tuple[int, int, int, int, int]:
    spent = after - before
    return (
        spent.forward_passes,
        spent.forward_tokens,
        spent.input_tokens,
        spent.cached_tokens,
        spent.output_tokens,
    )


def test_counters_tell_exactly_what_ran(backend: HFBackend) -> None:
    sequence = backend.start(tuple(range(10, 30)))

    def ask(draft: tuple[int, ...] = ()) -> tuple[int, int, int, int, int]:
        before = backend.usage
        backend.score([ScoreQuery(sequence, draft)])
        return cost(before, backend.usage)

    assert ask() == (1, 20, 20, 0, 1)
    assert ask() == (0, 0, 20, 20, 1)
    assert ask((40, 41, 42)) == (1, 3, 23, 20, 4)
    sequence.ids += (40, 41)  # of the draft
    assert ask() == (0, 0, 22, 22, 1)
    sequence.ids += (50,)  # not the draft's third token
    assert ask() == (1, 1, 23, 22, 1)
    sequence.ids = (*sequence.ids[:5], 60, *sequence.ids[6:])
    assert ask() == (1, 18, 23, 5, 1)


def test_sampling_reads_the_prefix_once_and_leaves_it_cached(backend: HFBackend) -> None:
    sequence = backend.start(tuple(range(10, 30)))
    before = backend.usage
    [found] = backend.sample([SampleQuery(sequence, 3, greedy(5))])
    assert [len(c.ids) for c in found] == [5, 5, 5]
    # Rows that agree are one row, and the last token is drawn but never run.
    assert cost(before, backend.usage) == (1 + 4, 20 + 4, 20, 0, 15)
    before = backend.usage
    backend.score([ScoreQuery(sequence, (40,))])
    assert cost(before, backend.usage) == (1, 1, 21, 20, 2)


def test_rows_leave_the_batch_as_they_end(backend: HFBackend) -> None:
    sequence = backend.start(backend.encode(PROMPT))
    params = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=12, stop=("n", "o"), seed=3)
    before = backend.usage
    [found] = backend.sample([SampleQuery(sequence, 4, params)])
    drawn = [len(c.ids) + c.finished for c in found]
    assert len(set(drawn)) > 1
    spent = backend.usage - before
    assert spent.forward_passes == max(drawn)
    prefixes = {c.ids[:end] for c in found for end in range(1, len(c.ids) + c.finished)}
    assert spent.forward_tokens == len(sequence.ids) + len(prefixes)
    assert spent.output_tokens == sum(drawn)


def test_a_new_sequence_starts_from_what_another_has_computed(
    backend: HFBackend, naive_logprobs: Naive
) -> None:
    ids = tuple(range(10, 30))
    first = backend.start(ids)
    backend.score([ScoreQuery(first)])
    before = backend.usage
    second = backend.start((*ids[:15], 50, 51))
    [scores] = backend.score([ScoreQuery(second)])
    assert cost(before, backend.usage) == (1, 2, 17, 15, 1)
    assert_same(scores, naive_logprobs, second.ids)
    [again] = backend.score([ScoreQuery(first, (40,))])
    assert_same(again, naive_logprobs, (*ids, 40))


def test_a_failed_pass_leaves_nothing_wrong_behind(
    backend: HFBackend, naive_logprobs: Naive, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = backend.start(backend.encode(PROMPT))
    backend.score([ScoreQuery(sequence)])
    layer = backend._model._model.model.layers[1]  # the first layer's cache has grown by then
    with monkeypatch.context() as patch:
        patch.setattr(layer, "forward", _raise(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            backend.score([ScoreQuery(sequence, (40, 41))])
    [scores] = backend.score([ScoreQuery(sequence, (40, 41))])
    assert_same(scores, naive_logprobs, (*sequence.ids, 40, 41))


def test_closing_frees_the_model_and_may_be_repeated(backend: HFBackend) -> None:
    sequence = backend.start(backend.encode(PROMPT))
    backend.score([ScoreQuery(sequence)])
    model = weakref.ref(backend._model._model)
    backend.close()
    gc.collect()
    assert model() is None
    backend.close()


# --- sampling -----------------------------------------------------------------------------------


def test_greedy_sampling_is_the_chain_of_likeliest_tokens(
    backend: HFBackend, naive_logprobs: Naive
) -> None:
    ids = backend.encode(PROMPT)
    [[found]] = backend.sample([SampleQuery(backend.start(ids), 1, greedy(12))])
    chain = ids
    for _ in found.ids:
        chain += (int(np.argmax(naive_logprobs(chain))),)
    assert found.ids == chain[len(ids) :]
    assert found.text == backend.decode(found.ids)


def test_greedy_sampling_equals_generate(backend: HFBackend, plain_model: Any) -> None:
    ids = backend.encode(PROMPT)
    prompt = torch.tensor([ids])
    expected = plain_model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=60
    )
    [[found]] = backend.sample([SampleQuery(backend.start(ids), 1, greedy(60))])
    assert list(found.ids) == expected[0, len(ids) :].tolist()[: len(found.ids)]
    assert len(found.ids) == 60 or found.finished


def test_a_row_depends_on_its_seed_and_number_only(backend: HFBackend) -> None:
    ids = backend.encode(PROMPT)

    def texts(count: int, seed: int) -> list[str]:
        params = SamplingParams(temperature=1.0, max_tokens=8, seed=seed)
        return [c.text for c in backend.sample([SampleQuery(backend.start(ids), count, params)])[0]]

    assert texts(4, seed=1) == texts(4, seed=1)
    assert texts(2, seed=1) == texts(4, seed=1)[:2]
    assert len(set(texts(4, seed=1))) == 4
    assert texts(4, seed=1) != texts(4, seed=2)


def test_a_row_stops_behind_its_lines(backend: HFBackend) -> None:
    sequence = backend.start(backend.encode(PROMPT))
    params = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=200, max_lines=2, seed=0)
    [found] = backend.sample([SampleQuery(sequence, 8, params)])
    stopped = [c for c in found if not c.finished]
    assert len(stopped) >= 4
    for continuation in stopped:
        assert continuation.text.count("\n") >= 2
        assert backend.decode(continuation.ids[:-1]).count("\n") < 2


def test_a_row_stops_behind_a_stop_text(backend: HFBackend) -> None:
    sequence = backend.start(backend.encode(PROMPT))
    [[free]] = backend.sample([SampleQuery(sequence, 1, greedy(30))])
    stop = backend.decode(free.ids[10:12])
    [[found]] = backend.sample([SampleQuery(sequence, 1, greedy(30, stop=("nowhere", stop)))])
    assert not found.finished
    assert stop in found.text
    assert stop not in backend.decode(found.ids[:-1])
    assert free.ids[: len(found.ids)] == found.ids


def test_an_end_token_ends_a_row_and_is_not_part_of_it(
    backend: HFBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = backend.start(backend.encode(PROMPT))
    [[free]] = backend.sample([SampleQuery(sequence, 1, greedy(30))])
    end = free.ids[7]
    monkeypatch.setattr(backend, "_end_ids", frozenset([end]))
    before = backend.usage
    [[found]] = backend.sample([SampleQuery(sequence, 1, greedy(30))])
    assert found.finished
    assert found.ids == free.ids[: free.ids.index(end)]
    assert (backend.usage - before).output_tokens == len(found.ids) + 1


def test_scores_are_dropped_where_they_would_take_much_memory(
    backend: HFBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = backend.start(backend.encode(PROMPT))
    [[kept]] = backend.sample([SampleQuery(sequence, 1, greedy(4))])
    assert kept.scores is not None
    assert [s.argmax() for s in kept.scores] == list(kept.ids)
    monkeypatch.setattr(backend_module, "SCORES_BUDGET", 384 * 8 * 4 - 1)
    [[dropped]] = backend.sample([SampleQuery(sequence, 1, greedy(4))])
    assert dropped.scores is None
    assert dropped.ids == kept.ids


# --- limits -------------------------------------------------------------------------------------


def test_what_does_not_fit_the_context_is_refused_before_it_runs(backend: HFBackend) -> None:
    assert backend.capabilities.context_length == CONTEXT_LENGTH
    sequence = backend.start((10,) * CONTEXT_LENGTH)
    with pytest.raises(ContextOverflowError) as caught:
        backend.score([ScoreQuery(sequence, (11, 12))])
    assert (caught.value.needed, caught.value.available) == (CONTEXT_LENGTH + 2, CONTEXT_LENGTH)
    with pytest.raises(ContextOverflowError):
        backend.sample([SampleQuery(sequence, 1, greedy(1))])
    assert backend.usage.forward_passes == 0


def test_sampling_stops_where_the_context_ends(backend: HFBackend) -> None:
    sequence = backend.start((10,) * (CONTEXT_LENGTH - 3))
    [[found]] = backend.sample([SampleQuery(sequence, 1, greedy(50))])
    assert len(found.ids) == 3


def test_an_empty_prompt_is_refused(backend: HFBackend) -> None:
    with pytest.raises(BackendError, match="no tokens"):
        backend.score([ScoreQuery(backend.start(()))])


def _raise(error: BaseException) -> Callable[..., Any]:
    def forward(*_: Any, **__: Any) -> Any:
        raise error

    return forward


def _limit_tokens(backend: HFBackend, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run = backend._model.run_tree

    def limited(nodes: Sequence[Any], *more: Any) -> Any:
        if len(nodes) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(nodes, *more)

    monkeypatch.setattr(backend._model, "run_tree", limited)


def test_out_of_memory_runs_smaller_passes_and_says_so(
    backend: HFBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ids = backend.encode(PROMPT)
    params = SamplingParams(temperature=1.0, max_tokens=8, seed=1)
    [expected] = backend.sample([SampleQuery(backend.start(ids), 5, params)])
    backend._forget_the_dead()
    _limit_tokens(backend, 2, monkeypatch)
    with caplog.at_level(logging.WARNING):
        [found] = backend.sample([SampleQuery(backend.start(ids), 5, params)])
    assert [c.text for c in found] == [c.text for c in expected]
    assert "running 2 at a time" in caplog.text or "running 1 at a time" in caplog.text


def test_out_of_memory_with_a_single_token_is_an_error(
    backend: HFBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = backend.start(backend.encode(PROMPT))
    _limit_tokens(backend, 0, monkeypatch)
    with pytest.raises(BackendError, match="out of memory"):
        backend.sample([SampleQuery(sequence, 2, greedy(4))])
    with pytest.raises(BackendError, match="out of memory"):
        backend.score([ScoreQuery(sequence)])


# --- token trees --------------------------------------------------------------------------------


def test_both_branches_and_all_their_drafts_run_in_one_pass(
    backend: HFBackend, naive_logprobs: Naive
) -> None:
    plain, conditional = (backend.start(backend.encode(t)) for t in (PROMPT, "# hint\n" + PROMPT))
    backend.score([ScoreQuery(plain), ScoreQuery(conditional)])
    drafts = [(5, 6, 7), (5, 6, 8, 9), (10,)]
    queries = [ScoreQuery(s, draft) for s in (plain, conditional) for draft in drafts]
    before = backend.usage
    answers = backend.score(queries)
    spent = backend.usage - before
    assert (spent.forward_passes, spent.forward_tokens) == (1, 2 * 6)  # shared beginnings run once
    for query, scores in zip(queries, answers, strict=True):
        assert len(scores) == len(query.draft) + 1
        assert_same(scores, naive_logprobs, query.sequence.ids + query.draft)


def test_a_candidate_of_the_last_call_costs_nothing_again(backend: HFBackend) -> None:
    sequence = backend.start(backend.encode(PROMPT))
    params = SamplingParams(temperature=1.0, max_tokens=8, seed=1)
    [found] = backend.sample([SampleQuery(sequence, 3, params)])
    before = backend.usage
    backend.score([ScoreQuery(sequence, candidate.ids[:-1]) for candidate in found])
    assert (backend.usage - before).forward_tokens == 0
    # Its last token was drawn, but nothing was asked behind it.
    backend.score([ScoreQuery(sequence, found[0].ids)])
    assert (backend.usage - before).forward_tokens == 1


def test_continuations_of_several_queries_are_sampled_side_by_side(backend: HFBackend) -> None:
    prompts = [backend.encode(PROMPT), backend.encode("x = 1\n")]
    params = SamplingParams(temperature=1.0, max_tokens=6, seed=5)
    alone = [backend.sample([SampleQuery(backend.start(p), 2, params)])[0] for p in prompts]
    before = backend.usage
    together = backend.sample([SampleQuery(backend.start(p), 2, params) for p in prompts])
    assert (backend.usage - before).forward_passes == max(
        len(c.ids) + c.finished for found in alone for c in found
    )
    assert [[c.ids for c in found] for found in together] == [
        [c.ids for c in found] for found in alone
    ]


def test_what_no_living_sequence_needs_is_forgotten(backend: HFBackend) -> None:
    evaluator = backend._evaluator
    assert isinstance(evaluator, TreeEvaluator)
    sequence = backend.start(backend.encode(PROMPT))
    backend.score([ScoreQuery(sequence)])
    gone = backend.start((50,) * 900)
    backend.score([ScoreQuery(gone)])
    large = evaluator.cache_bytes
    del gone
    backend.sample([SampleQuery(sequence, 2, greedy(3))])
    assert evaluator._tree.used == len(sequence.ids) + 2
    assert evaluator.cache_bytes < large / 2
    sequence.ids = sequence.ids[:3]
    backend.score([ScoreQuery(sequence)])
    backend.sample([SampleQuery(sequence, 1, greedy(1))])
    assert evaluator._tree.used == 3


def test_nothing_is_remembered_of_what_was_forgotten(backend: HFBackend) -> None:
    evaluator = backend._evaluator
    assert isinstance(evaluator, TreeEvaluator)
    for number in range(20):
        sequence = backend.start((10 + number, *backend.encode(PROMPT)))
        backend.sample([SampleQuery(sequence, 2, greedy(4))])
        assert len(evaluator._remembered) <= 4


def test_a_long_prompt_runs_in_bounded_passes(backend: HFBackend, naive_logprobs: Naive) -> None:
    backend._evaluator._most = 16
    ids = backend.encode(PROMPT) * 7
    before = backend.usage
    [scores] = backend.score([ScoreQuery(backend.start(ids[:50]), ids[50:60])])
    assert (backend.usage - before).forward_passes == 4
    assert_same(scores, naive_logprobs, ids[:60])


def test_a_model_that_ignores_masks_runs_whole_prefixes_instead(
    tiny_llama: Path, naive_logprobs: Naive, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        everything = lambda nodes, used: np.ones((len(nodes), used), dtype=bool)  # noqa: E731
        patch.setattr(causal_model, "visibility", everything)
        backend = HFBackend(HFOptions(model=str(tiny_llama), device="cpu"))
    assert isinstance(backend._evaluator, WholePrefixEvaluator)
    sequence = backend.start(backend.encode(PROMPT))
    [first, second] = backend.score([ScoreQuery(sequence, (5, 6)), ScoreQuery(sequence, (7, 8))])
    assert_same(first, naive_logprobs, (*sequence.ids, 5, 6))
    assert_same(second, naive_logprobs, (*sequence.ids, 7, 8))
    [found] = backend.sample([SampleQuery(sequence, 2, greedy(4))])
    assert found[0].ids == found[1].ids
