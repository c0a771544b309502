from __future__ import annotations

import asyncio
import gc
import json
import logging
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from egcfg.errors import BackendError, ContextOverflowError
from egcfg.interfaces.backend import (
    Continuation,
    Logprobs,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
)
from egcfg.interfaces.prompt import TextPrompt
from egcfg.interfaces.usage import Usage
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.engine import causal_model, evaluator
from egcfg_backends_hf.engine.causal_model import CausalModel
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.testing import CONTEXT_LENGTH

Naive = Callable[[Sequence[int]], NDArray[np.float64]]
Run = Callable[[Coroutine[Any, Any, Any]], Any]
Ids = tuple[int, ...]
PROMPT = "def add(first, second):\n    return"
DISTINCT = tuple(range(10, 30))
"""A prompt in which nothing repeats, so that nothing is speculated."""


class Asker:
    """Asks a backend, and notes what the last question cost."""

    def __init__(self, backend: HFBackend) -> None:
        self.backend = backend
        self.spent = Usage()

    async def encode(self, text: str) -> Ids:
        return (await self.backend.encode(TextPrompt((text,)))).value

    async def score(self, ids: Ids, *drafts: Ids) -> list[list[Logprobs]]:
        return await self.score_all([ScoreRequest(ids, draft) for draft in drafts or [()]])

    async def score_all(self, requests: Sequence[ScoreRequest]) -> list[list[Logprobs]]:
        answer = await self.backend.score(requests)
        self.spent = answer.usage
        return answer.value

    async def sample(self, ids: Ids, count: int, params: SamplingParams) -> list[Continuation]:
        return (await self.sample_all([SampleRequest(ids, count, params)]))[0]

    async def sample_all(self, requests: Sequence[SampleRequest]) -> list[list[Continuation]]:
        answer = await self.backend.sample(requests)
        self.spent = answer.usage
        return answer.value

    @property
    def cost(self) -> tuple[int, int, int, int, int]:
        return (
            self.spent.forward_passes,
            self.spent.forward_tokens,
            self.spent.input_tokens,
            self.spent.cached_tokens,
            self.spent.output_tokens,
        )


NOTHING = (0, 0, 0, 0, 0)


def size(parts: Sequence[tuple[Any, Sequence[Any]]]) -> int:
    """Return how many tokens a pass runs."""
    return sum(len(nodes) for _, nodes in parts)


@pytest.fixture
def ask(backend: HFBackend) -> Asker:
    return Asker(backend)


def assert_same(scores: Sequence[Logprobs], naive: Naive, ids: Ids) -> None:
    """Compare the distributions after the last ``len(scores)`` prefixes of `ids`."""
    first = len(ids) - len(scores) + 1
    for end, found in zip(range(first, len(ids) + 1), scores, strict=True):
        np.testing.assert_allclose(found.values, naive(ids[:end]), rtol=0, atol=1e-9)


def greedy(max_tokens: int, **more: Any) -> SamplingParams:
    return SamplingParams(temperature=0.0, max_tokens=max_tokens, **more)


tokens = st.lists(st.integers(3, 383), max_size=6).map(tuple)
questions = st.lists(
    st.tuples(
        st.sampled_from(["score", "sample"]),
        st.integers(0, 1),  # which of two sequences
        st.integers(0, 12),  # how many tokens to take off its end
        tokens | st.just((70, 71, 72, 73) * 3),  # what to put there instead
        tokens,  # the draft
    ),
    min_size=1,
    max_size=8,
)


async def check_answers(ask: Asker, naive: Naive, asked: Any) -> None:
    sequences = [await ask.encode(PROMPT) for _ in range(2)]
    for question, which, cut, extension, draft in asked:
        ids = sequences[which][: max(1, len(sequences[which]) - cut)] + extension
        sequences[which] = ids
        if question == "score":
            [scores] = await ask.score(ids, draft)
            assert_same(scores, naive, ids + draft)
        else:
            found = await ask.sample(ids, 2, SamplingParams(max_tokens=4, seed=cut))
            drafts = [continuation.ids[:-1] for continuation in found if continuation.ids]
            for draft, scores in zip(drafts, await ask.score(ids, *drafts), strict=True):
                assert_same(scores, naive, ids + draft)


@settings(
    max_examples=settings.default.max_examples // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(questions)
def test_answers_from_the_cache_equal_uncached_passes(
    ask: Asker, naive_logprobs: Naive, run: Run, asked: Any
) -> None:
    run(check_answers(ask, naive_logprobs, asked))


def test_a_draft_is_scored_as_single_steps_are(ask: Asker, run: Run) -> None:
    async def check() -> None:
        ids, draft = await ask.encode(PROMPT), await ask.encode(" first + second\n    return first")
        [drafted] = await ask.score(ids, draft)
        [apart] = await ask.score((ids[0] + 1, *ids[1:]), draft)  # another prompt comes between
        assert len(apart) == len(drafted)
        for position, scores in enumerate(drafted):
            [[single]] = await ask.score(ids + draft[:position])
            np.testing.assert_allclose(single.values, scores.values, rtol=0, atol=1e-9)

    run(check())


def test_several_requests_are_answered_in_order(
    ask: Asker, naive_logprobs: Naive, run: Run
) -> None:
    async def check() -> None:
        prompts = [await ask.encode(text) for text in (PROMPT, "x = 1\n", PROMPT + " 1")]
        drafts: list[Ids] = [(5, 6), (), (7, 8, 9)]
        requests = [ScoreRequest(p, d) for p, d in zip(prompts, drafts, strict=True)]
        answers = await ask.score_all(requests)
        for scores, ids, draft in zip(answers, prompts, drafts, strict=True):
            assert len(scores) == len(draft) + 1
            assert_same(scores, naive_logprobs, ids + draft)

    run(check())


def test_log_probabilities_are_normalised(ask: Asker, run: Run) -> None:
    [[scores]] = run(ask.score(DISTINCT))
    assert scores.dense
    assert np.exp(scores.values).sum() == pytest.approx(1.0, abs=1e-12)


# --- what runs and what is kept ---------------------------------------------------------------


def test_counters_tell_exactly_what_ran(ask: Asker, run: Run) -> None:
    async def check() -> None:
        ids = DISTINCT
        await ask.score(ids)
        assert ask.cost == (1, 20, 20, 0, 1)
        await ask.score(ids)
        assert ask.cost == NOTHING
        await ask.score(ids, (40, 41, 42))
        assert ask.cost == (1, 3, 23, 20, 3)
        ids += (40, 41)  # of the draft
        await ask.score(ids)
        assert ask.cost == NOTHING
        ids += (50,)  # not the draft's third token
        await ask.score(ids)
        assert ask.cost == (1, 1, 23, 22, 1)
        ids = (*ids[:5], 60, *ids[6:])
        await ask.score(ids)
        assert ask.cost == (1, 18, 23, 5, 1)

    run(check())


def test_each_request_counts_what_was_not_known_before_the_call(ask: Asker, run: Run) -> None:
    async def check() -> None:
        await ask.score(DISTINCT, (40, 41), (40, 42))
        assert ask.cost == (1, 23, 44, 21, 6)  # three nodes of the draft, wanted five times
        await ask.score(DISTINCT, (40, 41), (40, 43))
        assert ask.cost == (1, 1, 22, 21, 1)  # the first draft needs nothing

    run(check())


def test_sampling_reads_the_prefix_once_and_leaves_it_cached(ask: Asker, run: Run) -> None:
    async def check() -> None:
        found = await ask.sample(DISTINCT, 3, greedy(5))
        assert [len(c.ids) for c in found] == [5, 5, 5]
        # Rows that agree are one row, and the last token is sampled but never run.
        assert ask.cost == (1 + 4, 20 + 4, 20, 0, 15)
        await ask.score(DISTINCT, (40,))
        assert ask.cost == (1, 1, 21, 20, 1)

    run(check())


def test_rows_leave_the_batch_as_they_end(ask: Asker, run: Run) -> None:
    async def check() -> None:
        params = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=12, stop=("n", "o"), seed=3)
        found = await ask.sample(DISTINCT, 4, params)
        sampled = [len(c.ids) + c.finished for c in found]
        assert len(set(sampled)) > 1
        assert ask.spent.forward_passes == max(sampled)
        prefixes = {c.ids[:end] for c in found for end in range(1, len(c.ids) + c.finished)}
        assert ask.spent.forward_tokens == len(DISTINCT) + len(prefixes)
        assert ask.spent.output_tokens == sum(sampled)

    run(check())


def test_a_new_prefix_starts_from_what_another_has_computed(
    ask: Asker, naive_logprobs: Naive, run: Run
) -> None:
    async def check() -> None:
        await ask.score(DISTINCT)
        other = (*DISTINCT[:15], 50, 51)
        [scores] = await ask.score(other)
        assert ask.cost == (1, 2, 17, 15, 1)
        assert_same(scores, naive_logprobs, other)
        [again] = await ask.score(DISTINCT, (40,))
        assert_same(again, naive_logprobs, (*DISTINCT, 40))

    run(check())


def test_a_failed_pass_leaves_nothing_wrong_behind(
    ask: Asker, naive_logprobs: Naive, plain_model: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        await ask.score(DISTINCT)
        # The second layer: the first one's cache has grown by then.
        layer = type(plain_model.model.layers[1])
        forward = layer.forward

        def broken(self: Any, *args: Any, **more: Any) -> Any:
            if self.self_attn.layer_idx == 1:
                raise ValueError("broken")
            return forward(self, *args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(layer, "forward", broken)
            with pytest.raises(ValueError, match="broken"):
                await ask.score(DISTINCT, (40, 41))
        [scores] = await ask.score(DISTINCT, (40, 41))
        assert_same(scores, naive_logprobs, (*DISTINCT, 40, 41))

    run(check())


def test_closing_frees_the_model_and_may_be_repeated(
    ask: Asker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[Any]] = []
    logprobs = CausalModel._logprobs

    def noting(self: CausalModel, **more: object) -> Any:
        models.append(weakref.ref(self.model))
        return logprobs(self, **more)

    monkeypatch.setattr(CausalModel, "_logprobs", noting)
    run(ask.score(DISTINCT))
    run(ask.backend.close())
    gc.collect()
    assert [model() for model in models] == [None]
    run(ask.backend.close())


# --- sampling -----------------------------------------------------------------------------------


def test_greedy_sampling_is_the_chain_of_likeliest_tokens(
    ask: Asker, naive_logprobs: Naive, run: Run
) -> None:
    async def check() -> None:
        ids = await ask.encode(PROMPT)
        [found] = await ask.sample(ids, 1, greedy(12))
        chain = ids
        for _ in found.ids:
            chain += (int(np.argmax(naive_logprobs(chain))),)
        assert found.ids == chain[len(ids) :]
        assert found.text == (await ask.backend.decode(found.ids)).value

    run(check())


def test_greedy_sampling_equals_generate(ask: Asker, plain_model: Any, run: Run) -> None:
    ids = run(ask.encode(PROMPT))
    prompt = torch.tensor([ids])
    expected = plain_model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=60
    )
    [found] = run(ask.sample(ids, 1, greedy(60)))
    assert list(found.ids) == expected[0, len(ids) :].tolist()[: len(found.ids)]
    assert len(found.ids) == 60 or found.finished


def test_a_row_depends_on_its_seed_and_number_only(ask: Asker, run: Run) -> None:
    ids = run(ask.encode(PROMPT))

    def texts(count: int, seed: int) -> list[str]:
        params = SamplingParams(temperature=1.0, max_tokens=8, seed=seed)
        return [c.text for c in run(ask.sample(ids, count, params))]

    assert texts(4, seed=1) == texts(4, seed=1)
    assert texts(2, seed=1) == texts(4, seed=1)[:2]
    assert len(set(texts(4, seed=1))) == 4
    assert texts(4, seed=1) != texts(4, seed=2)


def test_a_row_stops_after_its_lines(ask: Asker, run: Run) -> None:
    ids = run(ask.encode(PROMPT))
    params = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=200, max_lines=2, seed=0)
    stopped = [c for c in run(ask.sample(ids, 8, params)) if not c.finished]
    assert len(stopped) >= 4
    for continuation in stopped:
        assert continuation.text.count("\n") >= 2
        assert run(ask.backend.decode(continuation.ids[:-1])).value.count("\n") < 2


def test_a_row_stops_after_a_stop_text(ask: Asker, run: Run) -> None:
    ids = run(ask.encode(PROMPT))
    [free] = run(ask.sample(ids, 1, greedy(30)))
    stop = run(ask.backend.decode(free.ids[10:12])).value
    [found] = run(ask.sample(ids, 1, greedy(30, stop=("nowhere", stop))))
    assert not found.finished
    assert stop in found.text
    assert stop not in run(ask.backend.decode(found.ids[:-1])).value
    assert free.ids[: len(found.ids)] == found.ids


def test_an_end_token_ends_a_row_and_is_not_part_of_it(
    ask: Asker, tiny_llama: Path, tmp_path: Path, run: Run
) -> None:
    ids = run(ask.encode(PROMPT))
    [free] = run(ask.sample(ids, 1, greedy(30)))
    end = free.ids[7]
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "other_end"))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [end]}))

    async def check() -> None:
        other = Asker(HFBackend(HFOptions(model=str(folder), device="cpu")))
        await other.backend.open()
        assert end in other.backend.end_ids
        [found] = await other.sample(ids, 1, greedy(30))
        assert found.finished
        assert found.ids == free.ids[: free.ids.index(end)]
        assert other.spent.output_tokens == len(found.ids) + 1
        await other.backend.close()

    run(check())


# --- speculated tokens --------------------------------------------------------------------------


def test_tokens_that_came_before_are_scored_ahead_and_then_free(
    ask: Asker, naive_logprobs: Naive, run: Run
) -> None:
    async def check() -> None:
        ids = (*DISTINCT, 50, 51, 10, 11, 12)
        assert_same((await ask.score(ids))[0], naive_logprobs, ids)
        assert ask.cost == (1, 25 + 4, 25 + 4, 0, 1 + 4)
        for token in (13, 14, 15, 16):
            ids += (token,)
            [scores] = await ask.score(ids)
            assert_same(scores, naive_logprobs, ids)
            assert ask.cost == NOTHING
        await ask.score((*ids, 17))
        assert ask.cost == (1, 1 + 4, 30 + 4, 29, 1 + 4)

    run(check())


def test_both_branches_speculate_what_the_longer_one_repeats(
    ask: Asker, naive_logprobs: Naive, run: Run
) -> None:
    async def check() -> None:
        short, long = (90, 91), (*DISTINCT, 92)
        answer = (11, 12, 13)
        await ask.score_all([ScoreRequest(short + answer), ScoreRequest(long + answer)])
        assert ask.cost == (1, 5 + 24 + 2 * 4, 5 + 24 + 2 * 4, 0, 2 + 2 * 4)
        answer += (14, 15)
        requests = [ScoreRequest(short + answer), ScoreRequest(long + answer)]
        for request, scores in zip(requests, await ask.score_all(requests), strict=True):
            assert_same(scores, naive_logprobs, request.ids)
        assert ask.cost == NOTHING

    run(check())


def test_speculation_saves_passes_of_sampling_and_changes_nothing(ask: Asker, run: Run) -> None:
    async def check() -> None:
        [found] = await ask.sample(DISTINCT, 1, greedy(24))
        assert ask.spent.forward_passes > 18
        # What was sampled last is looked up: it comes again.
        [again] = await ask.sample(DISTINCT + found.ids[:6], 1, greedy(18))
        assert again.ids == found.ids[6:]
        assert ask.spent.forward_passes <= 6
        assert ask.spent.output_tokens == len(again.ids)

    run(check())


def test_nothing_is_speculated_beyond_the_context(ask: Asker, run: Run) -> None:
    ids = (10,) * (CONTEXT_LENGTH - 2)
    run(ask.score(ids))
    assert ask.spent.forward_tokens <= CONTEXT_LENGTH
    assert ask.spent.output_tokens <= 3


# --- limits -------------------------------------------------------------------------------------


def test_what_does_not_fit_the_context_is_refused_before_it_runs(ask: Asker, run: Run) -> None:
    assert ask.backend.capabilities.context_length == CONTEXT_LENGTH
    ids = (10,) * CONTEXT_LENGTH
    with pytest.raises(ContextOverflowError) as caught:
        run(ask.score(ids, (11, 12)))
    assert (caught.value.needed, caught.value.available) == (CONTEXT_LENGTH + 2, CONTEXT_LENGTH)
    assert caught.value.usage is None
    with pytest.raises(ContextOverflowError):
        run(ask.sample(ids, 1, greedy(1)))


def test_sampling_stops_where_the_context_ends(ask: Asker, run: Run) -> None:
    [found] = run(ask.sample((10,) * (CONTEXT_LENGTH - 3), 1, greedy(50)))
    assert len(found.ids) == 3


def test_an_empty_prompt_is_refused(ask: Asker, run: Run) -> None:
    with pytest.raises(BackendError, match="no tokens"):
        run(ask.score(()))


@pytest.fixture
def limit_tokens(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes larger passes run out of memory."""
    run_tree = CausalModel.run_tree

    def limit(most: int) -> None:
        def limited(self: CausalModel, parts: Sequence[Any], *more: Any) -> Any:
            if size(parts) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return run_tree(self, parts, *more)

        monkeypatch.setattr(CausalModel, "run_tree", limited)

    return limit


def test_out_of_memory_runs_smaller_passes_and_says_so(
    ask: Asker, limit_tokens: Callable[[int], None], run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    params = SamplingParams(temperature=1.0, max_tokens=8, seed=1)

    async def check() -> None:
        ids = await ask.encode(PROMPT)
        expected = await ask.sample(ids, 5, params)
        await ask.sample(DISTINCT, 1, greedy(1))  # the other prompt is forgotten
        limit_tokens(2)
        with caplog.at_level(logging.WARNING):
            assert await ask.sample(ids, 5, params) == expected
        assert "running 2 at a time" in caplog.text or "running 1 at a time" in caplog.text

    run(check())


def test_out_of_memory_with_a_single_token_is_an_error(
    ask: Asker, limit_tokens: Callable[[int], None], run: Run
) -> None:
    limit_tokens(0)
    with pytest.raises(BackendError, match="out of memory") as caught:
        run(ask.sample(DISTINCT, 2, greedy(4)))
    assert caught.value.usage == Usage()
    with pytest.raises(BackendError, match="out of memory"):
        run(ask.score(DISTINCT))


def test_an_error_carries_what_was_spent_before_it(
    ask: Asker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_tree = CausalModel.run_tree

    def limited(self: CausalModel, *more: Any) -> Any:
        if self.passes == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run_tree(self, *more)

    monkeypatch.setattr(CausalModel, "run_tree", limited)
    with pytest.raises(BackendError, match="out of memory with 23 tokens") as caught:
        run(ask.sample(DISTINCT, 1, greedy(8)))
    assert caught.value.usage == Usage(
        forward_passes=3, forward_tokens=22, input_tokens=20, output_tokens=3
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_no_numbers_end_the_call_and_say_why(
    ask: Asker, naive_logprobs: Naive, run: Run, value: float
) -> None:
    weight = ask.backend._open_model.model.model.lm_head.weight
    kept = weight[77].clone()

    async def check() -> None:
        await ask.score(DISTINCT)
        with torch.inference_mode():
            weight[77] = value
        for question in (ask.score(DISTINCT, (40,)), ask.sample((*DISTINCT, 50), 2, greedy(4))):
            with pytest.raises(BackendError, match=r"no numbers .* float64, so its weights are"):
                await question
        assert ask.spent.forward_passes == 1
        with torch.inference_mode():
            weight[77] = kept
        [scores] = await ask.score(DISTINCT, (40,))
        assert_same(scores, naive_logprobs, (*DISTINCT, 40))

    run(check())


# --- token trees --------------------------------------------------------------------------------


def test_both_branches_and_all_their_drafts_run_in_one_pass(
    ask: Asker, naive_logprobs: Naive, run: Run
) -> None:
    async def check() -> None:
        prompts = [await ask.encode(text) for text in (PROMPT, "# hint\n" + PROMPT)]
        await ask.score_all([ScoreRequest(ids) for ids in prompts])
        drafts: list[Ids] = [(5, 6, 7), (5, 6, 8, 9), (10,)]
        requests = [ScoreRequest(ids, draft) for ids in prompts for draft in drafts]
        answers = await ask.score_all(requests)
        # Shared beginnings run once.
        assert (ask.spent.forward_passes, ask.spent.forward_tokens) == (1, 2 * 6)
        for request, scores in zip(requests, answers, strict=True):
            assert len(scores) == len(request.draft) + 1
            assert_same(scores, naive_logprobs, request.ids + request.draft)

    run(check())


def test_a_continuation_of_the_last_call_costs_nothing_again(ask: Asker, run: Run) -> None:
    async def check() -> None:
        params = SamplingParams(temperature=1.0, max_tokens=8, seed=1)
        found = await ask.sample(DISTINCT, 3, params)
        await ask.score(DISTINCT, *(continuation.ids[:-1] for continuation in found))
        assert ask.cost == NOTHING
        # Its last token was sampled, but nothing was asked after it.
        await ask.score(DISTINCT, next(c.ids for c in found if not c.finished))
        assert (ask.spent.forward_tokens, ask.spent.output_tokens) == (1, 1)

    run(check())


def test_continuations_of_several_requests_are_sampled_side_by_side(ask: Asker, run: Run) -> None:
    async def check() -> None:
        prompts = [await ask.encode(PROMPT), await ask.encode("x = 1\n")]
        params = SamplingParams(temperature=1.0, max_tokens=6, seed=5)
        alone = [await ask.sample(ids, 2, params) for ids in prompts]
        together = await ask.sample_all([SampleRequest(ids, 2, params) for ids in prompts])
        assert ask.spent.forward_passes <= max(
            len(c.ids) + c.finished for found in alone for c in found
        )
        assert together == alone

    run(check())


def test_a_task_keeps_its_two_branches_and_its_last_continuations(ask: Asker, run: Run) -> None:
    async def costs(ids: Ids) -> int:
        await ask.score(ids)
        return ask.spent.forward_tokens

    async def check() -> None:
        first, second = (10, *range(100, 130)), (10, *range(140, 170))
        assert [await costs(ids) for ids in (first, second)] == [31, 30]
        [found] = await ask.sample((12,), 1, greedy(8))
        assert [await costs(ids) for ids in (first, second)] == [0, 0]
        # Another prefix takes the place of the one that it has most in common with.
        assert await costs((*second[:20], 60)) == 1
        assert await costs((*first, 61)) == 1
        assert await costs(second) == 11
        assert await costs((12, *found.ids[:-1])) == 0

    run(check())


def test_a_task_begins_with_what_finished_ones_know_until_memory_is_short(
    ask: Asker, open_folder: Callable[..., HFBackend], tiny_llama: Path, run: Run
) -> None:
    async def check(ask: Asker, costs: list[int]) -> None:
        # Eight at once, so that two are kept, the last ones; referred to, but done.
        prompts = (*((number,) for number in range(60, 53, -1)), DISTINCT)
        finished = [asyncio.create_task(ask.score(ids)) for ids in prompts]
        await asyncio.wait(finished)
        for ids in (DISTINCT, (*DISTINCT, 50), (*DISTINCT, 51), (52, *DISTINCT), DISTINCT):
            await asyncio.create_task(ask.score(ids))
            costs.append(ask.spent.forward_tokens)
        await ask.score((52, *DISTINCT, 53))
        costs.append(ask.spent.forward_tokens)

    costs: list[int] = []
    run(check(ask, costs))
    assert costs == [0, 1, 1, 21, 0, 1]
    costs.clear()
    run(check(Asker(open_folder(tiny_llama, cache_bytes=1)), costs))
    assert costs == [20, 21, 21, 21, 20, 22]


def test_a_task_takes_over_the_answer_of_an_earlier_one_to_the_same_prompt(
    ask: Asker, naive_logprobs: Naive, run: Run
) -> None:
    async def follow(ids: Ids, answer: Ids) -> list[int]:
        """Ask for one token after another, and sample half-way; return what each token cost."""
        costs = []
        for place in range(len(answer) + 1):
            [scores] = await ask.score(ids + answer[:place])
            assert_same(scores, naive_logprobs, ids + answer[:place])
            costs.append(ask.spent.forward_tokens)
            if place == len(answer) // 2:
                await ask.sample(ids + answer[:place], 2, greedy(2))
        return costs

    async def check() -> None:
        answer, other = (60, 70, 80, 90, 100, 110), (60, 70, 80, 90, 120, 130)
        first = await asyncio.create_task(follow(DISTINCT, answer))
        assert (first[0], first[1]) == (20, 1)
        assert sum(await asyncio.create_task(follow(DISTINCT, answer))) == 0
        again = await asyncio.create_task(follow(DISTINCT, other))
        assert (sum(again[:5]), sum(again) > 0) == (0, True)

    run(check())


def test_distributions_are_forgotten_above_their_budget_but_never_wrong(
    ask: Asker, naive_logprobs: Naive, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "REMEMBERED", 4)
    monkeypatch.setattr(evaluator, "REMEMBERED_FOR", 1)

    async def check() -> None:
        draft = (40, 41, 42, 43, 44, 45)
        for _ in range(2):
            [scores] = await ask.score(DISTINCT, draft)
            assert_same(scores, naive_logprobs, DISTINCT + draft)
        assert ask.spent.output_tokens == 3  # the oldest of seven
        assert ask.spent.forward_tokens == 3

    run(check())


def test_a_long_prompt_runs_in_bounded_passes(
    tiny_llama: Path, naive_logprobs: Naive, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "PASS_TOKENS", 16)

    async def check() -> None:
        ask = Asker(HFBackend(HFOptions(model=str(tiny_llama), device="cpu")))
        await ask.backend.open()
        ids = await ask.encode(PROMPT) * 7
        [scores] = await ask.score(ids[:50], ids[50:60])
        assert ask.spent.forward_passes == 4
        assert_same(scores, naive_logprobs, ids[:60])
        await ask.backend.close()

    run(check())


def test_a_model_that_ignores_masks_runs_whole_prefixes_instead(
    tiny_llama: Path,
    naive_logprobs: Naive,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def check() -> None:
        ask = Asker(HFBackend(HFOptions(model=str(tiny_llama), device="cpu")))
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            everything = lambda nodes, used, _: np.ones((len(nodes), used), dtype=bool)  # noqa: E731
            patch.setattr(causal_model, "visibility", everything)
            await ask.backend.open()
        assert "for every question, which is slow: what it gives for token trees" in caplog.text
        [first, second] = await ask.score(DISTINCT, (5, 6), (7, 8))
        assert ask.cost == (1, 44, 44, 0, 6)
        assert_same(first, naive_logprobs, (*DISTINCT, 5, 6))
        assert_same(second, naive_logprobs, (*DISTINCT, 7, 8))
        found = await ask.sample(DISTINCT, 2, greedy(4))
        assert found[0].ids == found[1].ids
        # It remembers distributions all the same.
        await ask.score(DISTINCT, found[0].ids[:-1])
        assert ask.cost == NOTHING
        await ask.backend.close()

    run(check())


# --- several tasks ------------------------------------------------------------------------------


def test_calls_of_several_tasks_interleave_and_stay_right(
    ask: Asker, naive_logprobs: Naive, run: Run
) -> None:
    async def one(number: int) -> list[Continuation]:
        own = Asker(ask.backend)
        ids: Ids = (*DISTINCT[:10], 30 + number, *DISTINCT[10:])
        found = []
        for turn in range(6):
            params = SamplingParams(temperature=1.0, max_tokens=6, seed=turn)
            found += await own.sample(ids, 2, params)
            ids += found[-1].ids[:3]
            other = (60 + turn, *ids)
            requests = [ScoreRequest(i, d) for i in (ids, other) for d in ((5, 6), ())]
            for request, scores in zip(requests, await own.score_all(requests), strict=True):
                assert_same(scores, naive_logprobs, request.ids + request.draft)
        return found

    async def check() -> None:
        together = await asyncio.gather(*(one(number) for number in range(5)))
        assert [await asyncio.create_task(one(number)) for number in range(5)] == list(together)

    run(check())


def test_what_runs_in_the_same_pass_moves_log_probabilities_by_the_told_rounding_at_most(
    open_folder: Callable[..., HFBackend], tiny_llama: Path, run: Run
) -> None:
    prompts = [(*DISTINCT, *range(40 + number, 50 + 7 * number)) for number in range(6)]

    async def scored(backend: HFBackend, ids: Ids) -> NDArray[Any]:
        [[found]] = (await backend.score([ScoreRequest(ids)])).value
        return np.asarray(found.values)

    async def alone() -> list[NDArray[Any]]:
        return [await asyncio.create_task(scored(coarse, ids)) for ids in prompts]

    async def together() -> list[NDArray[Any]]:
        return list(await asyncio.gather(*(scored(again, ids) for ids in prompts)))

    coarse, again = (open_folder(tiny_llama, dtype="float32") for _ in range(2))
    apart, shared = run(alone()), run(together())
    most = max(np.abs(a - b).max() for a, b in zip(apart, shared, strict=True))
    assert most <= coarse.capabilities.rounding < 1e-3
    assert open_folder(tiny_llama, dtype="bfloat16").capabilities.rounding > 0.1
    exact = open_folder(tiny_llama)
    assert exact.capabilities.rounding == 0.0
    assert exact.tasks_in_flight == 8


def test_a_cancelled_call_stops_after_its_pass_and_spoils_nothing(
    ask: Asker, naive_logprobs: Naive, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_tree = CausalModel.run_tree
    sizes: list[int] = []

    def noting(self: CausalModel, parts: Sequence[Any], *more: Any) -> Any:
        sizes.append(size(parts))
        return run_tree(self, parts, *more)

    monkeypatch.setattr(CausalModel, "run_tree", noting)

    async def check() -> None:
        task = asyncio.create_task(ask.sample(DISTINCT, 2, greedy(2000)))
        while len(sizes) < 3:
            await asyncio.sleep(0.001)
        before = len(sizes)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        [scores] = await ask.score(DISTINCT, (5, 6))  # the worker has done its last pass by then
        assert len(sizes) <= before + 2
        assert_same(scores, naive_logprobs, (*DISTINCT, 5, 6))

    run(check())


def test_the_event_loop_stays_free_while_the_model_runs(
    ask: Asker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_tree = CausalModel.run_tree
    started, released = threading.Event(), threading.Event()

    def waiting(self: CausalModel, *more: Any) -> Any:
        started.set()
        assert released.wait(60)  # for what happens on the event loop meanwhile
        return run_tree(self, *more)

    monkeypatch.setattr(CausalModel, "run_tree", waiting)

    async def check() -> None:
        task = asyncio.create_task(ask.score(DISTINCT))
        while not started.is_set():
            await asyncio.sleep(0.001)
        assert (await ask.backend.decode((5, 6))).value
        assert not task.done()
        released.set()
        await task

    run(check())


def test_one_thread_runs_everything_and_ends_with_the_backend(
    tiny_llama: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[threading.Thread] = set()
    logprobs = CausalModel._logprobs

    def noting(self: CausalModel, **more: object) -> Any:
        threads.add(threading.current_thread())
        return logprobs(self, **more)

    monkeypatch.setattr(CausalModel, "_logprobs", noting)

    async def check() -> None:
        ask = Asker(HFBackend(HFOptions(model=str(tiny_llama), device="cpu")))
        assert not threads  # nothing is loaded before it is opened
        await ask.backend.open()
        await ask.sample(DISTINCT, 2, greedy(3))
        await ask.backend.close()

    run(check())
    [thread] = threads
    assert thread is not threading.main_thread()
    assert thread.daemon
    thread.join(5)
    assert not thread.is_alive()


def test_a_process_may_end_during_a_pass(tiny_llama: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from egcfg.interfaces.backend import ScoreRequest\n"
        "from egcfg_backends_hf.backend import HFBackend\n"
        "from egcfg_backends_hf.engine import evaluator\n"
        "from egcfg_backends_hf.options import HFOptions\n"
        "evaluator.PASS_TOKENS = 4096\n"
        "async def main():\n"
        "    backend = HFBackend(HFOptions(model=sys.argv[1], device='cpu'))\n"
        "    await backend.open()\n"
        "    asyncio.create_task(backend.score([ScoreRequest((5,) * 4096)]))\n"
        "    await asyncio.sleep(0.05)\n"
        "    raise KeyboardInterrupt\n"
        "try:\n"
        "    asyncio.run(main())\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    command = [sys.executable, "-c", script, str(tiny_llama)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "interrupted\n", "")
