from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from egcfg.interfaces.backend import Logprobs, ScoreRequest
from egcfg_backends_hf.engine import evaluator as evaluator_module
from egcfg_backends_hf.engine.causal_model import CausalModel
from egcfg_backends_hf.engine.evaluator import (
    Evaluator,
    PendingScore,
    TreeEvaluator,
    WholePrefixEvaluator,
    look_up,
)
from egcfg_backends_hf.engine.lanes import Lane
from egcfg_backends_hf.engine.tree_trial import enable_trees
from egcfg_backends_hf.loading.load import load_model
from egcfg_backends_hf.options import HFOptions

Naive = Callable[[Sequence[int]], NDArray[np.float64]]
Ids = tuple[int, ...]
BOTH = pytest.mark.parametrize("kind", [TreeEvaluator, WholePrefixEvaluator])


@pytest.fixture(scope="module")
def models(tiny_llama: Path) -> dict[type[Evaluator], CausalModel]:
    """The tiny model, once with tree attention and once as it was loaded."""
    tree, whole = (
        CausalModel(load_model(HFOptions(model=str(tiny_llama), device="cpu")).model)
        for _ in range(2)
    )
    assert enable_trees(tree) is None
    return {TreeEvaluator: tree, WholePrefixEvaluator: whole}


def new_lane(number: int = 0) -> Lane:
    return Lane(number)


def score(evaluator: Evaluator, lane: Lane, ids: Ids, draft: Ids = ()) -> list[Logprobs]:
    pending = PendingScore(ScoreRequest(ids, draft))
    while pending.missing:
        evaluator.run_pass({lane: [pending]}, [lane])
    return pending.answer()


def evict(lane: Lane, active: Sequence[Ids]) -> None:
    """Forget everything but `active`."""
    lane.in_flight = list(active)
    lane.evict()


def assert_same(found: Sequence[Logprobs], naive: Naive, ids: Ids, draft: Ids) -> None:
    for end, distribution in enumerate(found):
        expected = naive(ids + draft[:end])
        np.testing.assert_allclose(distribution.values, expected, rtol=0, atol=1e-9)


tokens = st.lists(st.integers(3, 6), min_size=1, max_size=6).map(tuple)
calls = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.tuples(tokens, tokens), min_size=1, max_size=3)),
    min_size=1,
    max_size=5,
)


@BOTH
@settings(
    max_examples=settings.default.max_examples // 4,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), calls=calls)
def test_calls_may_share_passes_or_take_turns_and_things_be_evicted_between_them(
    kind: type[Any],
    models: dict[type[Evaluator], CausalModel],
    naive_logprobs: Naive,
    monkeypatch: pytest.MonkeyPatch,
    data: st.DataObject,
    calls: list[tuple[int, list[tuple[Ids, Ids]]]],
) -> None:
    monkeypatch.setattr(evaluator_module, "PASS_TOKENS", 3)
    monkeypatch.setattr(evaluator_module, "PIECE", 2)
    monkeypatch.setattr(evaluator_module, "SHARED_PROMPT", 2)
    monkeypatch.setattr(evaluator_module, "REMEMBERED", 5)
    monkeypatch.setattr(evaluator_module, "REMEMBERED_FOR", 1)
    evaluator: Evaluator = kind(models[kind])
    lanes = [new_lane(number) for number in range(3)]
    open_calls: dict[Lane, list[list[PendingScore]]] = {}  # a lane's calls come one by one
    for number, requests in calls:
        pending = [PendingScore(ScoreRequest(*request)) for request in requests]
        open_calls.setdefault(lanes[number], []).append(pending)
    everything = [each for of_lane in open_calls.values() for call in of_lane for each in call]
    for _ in range(300):
        open_calls = {lane: of_lane for lane, of_lane in open_calls.items() if of_lane}
        if not open_calls:
            break
        chosen = data.draw(st.sets(st.sampled_from(list(open_calls)), min_size=1))
        work = {lane: open_calls[lane][0] for lane in lanes if lane in chosen}
        ran = evaluator.run_pass(work, lanes)
        assert ran.keys() <= work.keys()
        assert all(ran.values())
        for lane, call in work.items():
            if not any(each.missing for each in call):
                del open_calls[lane][0]
        if data.draw(st.booleans()):
            lane = data.draw(st.sampled_from(lanes))
            active = [each.ids for call in open_calls.get(lane, ()) for each in call]
            evict(lane, active if data.draw(st.booleans()) else active[:1])
    assert not open_calls
    for each in everything:
        assert each.missing == 0
        assert_same(each.answer(), naive_logprobs, each.request.ids, each.request.draft)


@BOTH
def test_what_is_remembered_is_looked_up_without_a_pass(
    kind: type[Any], models: dict[type[Evaluator], CausalModel]
) -> None:
    evaluator: Evaluator = kind(models[kind])
    lane = new_lane()
    assert look_up(lane, ScoreRequest((5, 6), (7,))).missing == 2
    found = score(evaluator, lane, (5, 6), (7, 8))
    known = look_up(lane, ScoreRequest((5, 6), (7, 8, 9)))
    assert known.missing == 1
    assert known.distributions[:3] == found
    passes = models[kind].passes
    assert score(evaluator, lane, (5, 6, 7), (8,)) == found[1:]
    assert models[kind].passes == passes
    evict(lane, [(5, 6, 7)])
    assert look_up(lane, ScoreRequest((5, 6), (7, 8))).missing == 1


@BOTH
def test_the_oldest_distributions_go_first_and_no_call_loses_its_own(
    kind: type[Any],
    models: dict[type[Evaluator], CausalModel],
    naive_logprobs: Naive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluator_module, "REMEMBERED", 3)
    monkeypatch.setattr(evaluator_module, "REMEMBERED_FOR", 1)
    evaluator: Evaluator = kind(models[kind])
    lane = new_lane()
    draft = (7, 8, 9, 10)
    for _ in range(2):
        assert_same(score(evaluator, lane, (5, 6), draft), naive_logprobs, (5, 6), draft)
        known = look_up(lane, ScoreRequest((5, 6), draft)).distributions
        assert [distribution is not None for distribution in known].count(True) == 3


def test_what_is_evicted_gives_its_slots_back(
    models: dict[type[Evaluator], CausalModel],
) -> None:
    evaluator = TreeEvaluator(models[TreeEvaluator])
    lane = new_lane()
    kept = (5, 6, 7)
    score(evaluator, lane, kept)
    score(evaluator, lane, (50,) * 900)
    large = lane.buffers.bytes
    assert large >= 903 * evaluator.model.token_bytes > 0
    assert lane.tree.used == 903
    evict(lane, [(*kept, 8)])
    score(evaluator, lane, (*kept, 9))
    assert lane.tree.used == 4
    assert lane.buffers.bytes < large / 2


def test_nothing_of_what_was_evicted_is_held(
    models: dict[type[Evaluator], CausalModel],
) -> None:
    evaluator = TreeEvaluator(models[TreeEvaluator])
    lane = new_lane()
    for number in range(20):
        score(evaluator, lane, (10 + number, 5, 6, 7), (8, 9))
        assert len(evaluator._remembered) == 3  # of this call alone
        evict(lane, [])
    assert lane.tree.used == 0


def test_a_prefill_is_cut_into_passes(
    models: dict[type[Evaluator], CausalModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator_module, "PASS_TOKENS", 16)
    model = models[TreeEvaluator]
    evaluator, passes, lane = TreeEvaluator(model), model.passes, new_lane()
    pending = PendingScore(ScoreRequest(tuple(range(10, 50))))
    ran = []
    while pending.missing:
        ran += evaluator.run_pass({lane: [pending]}, [lane]).values()
    assert ran == [16, 16, 8]
    assert model.passes == passes + 3


@pytest.mark.parametrize("limit", ["PASS_TOKENS", "HOST_TOKENS"])
def test_whoever_was_left_out_of_a_pass_comes_first_in_the_next(
    models: dict[type[Evaluator], CausalModel],
    naive_logprobs: Naive,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:
    monkeypatch.setattr(evaluator_module, limit, 6)
    monkeypatch.setattr(evaluator_module, "PIECE", 4)
    evaluator = TreeEvaluator(models[TreeEvaluator])
    lanes = [new_lane(number) for number in range(3)]
    prompts: list[Ids] = [(20 + n, *range(30, 40)) for n in range(3)]
    work = {
        lane: [PendingScore(ScoreRequest(ids))] for lane, ids in zip(lanes, prompts, strict=True)
    }
    shares = []
    while waiting := {lane: each for lane, each in work.items() if each[0].missing}:
        ran = evaluator.run_pass(waiting, lanes)
        assert list(ran) == [lane for lane in lanes if lane in ran]  # in their order, whoever waits
        shares.append([ran.get(lane, 0) for lane in lanes])
    assert shares == [[4, 2, 0], [2, 0, 4], [2, 4, 0], [2, 0, 4], [1, 4, 1], [0, 1, 2]]
    for [each], ids in zip(work.values(), prompts, strict=True):
        assert_same(each.answer(), naive_logprobs, ids, ())


def test_of_two_lanes_that_begin_alike_one_computes_and_the_other_copies(
    models: dict[type[Evaluator], CausalModel],
    naive_logprobs: Naive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluator_module, "SHARED_PROMPT", 8)
    evaluator = TreeEvaluator(models[TreeEvaluator])
    first, second, other = lanes = [new_lane(number) for number in range(3)]
    few_shot = tuple(range(10, 40))
    prompts: list[Ids] = [(*few_shot, 50), (*few_shot, 51), (60, *few_shot)]
    work = {
        lane: [PendingScore(ScoreRequest(ids))] for lane, ids in zip(lanes, prompts, strict=True)
    }
    assert evaluator.run_pass(work, lanes) == {first: 31, other: 31}
    assert evaluator.run_pass({second: work[second]}, lanes) == {second: 1}
    assert second.last_pass == first.last_pass + 1 == evaluator.model.passes
    for [each], ids in zip(work.values(), prompts, strict=True):
        assert_same(each.answer(), naive_logprobs, ids, ())


@BOTH
def test_idle_lanes_are_forgotten_before_a_pass_shrinks_and_a_pass_before_a_call_fails(
    kind: type[Any],
    models: dict[type[Evaluator], CausalModel],
    naive_logprobs: Naive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluator: Evaluator = kind(models[kind])
    idle, *lanes = (new_lane(number) for number in range(3))
    score(evaluator, idle, (90, 91))
    idle.idle = True
    method = "run_tree" if kind is TreeEvaluator else "run_whole"
    run, most, sizes = getattr(CausalModel, method), 1, []

    def limited(self: CausalModel, rows: Sequence[Any], *more: Any) -> Any:
        size = sum(len(nodes) for _, nodes in rows) if kind is TreeEvaluator else len(rows)
        sizes.append(size)
        if size > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, rows, *more)

    monkeypatch.setattr(CausalModel, method, limited)
    prompts: list[Ids] = [(5, 6), (7, 8)]
    work = {
        lane: [PendingScore(ScoreRequest(ids))] for lane, ids in zip(lanes, prompts, strict=True)
    }
    while waiting := {lane: each for lane, each in work.items() if each[0].missing}:
        evaluator.run_pass(waiting, [idle, *lanes])
    expected = [4, 4, 2, 1, 1, 1, 1] if kind is TreeEvaluator else [2, 1, 1]
    assert sizes == expected
    assert idle.buffers.bytes == 0
    for [each], ids in zip(work.values(), prompts, strict=True):
        assert_same(each.answer(), naive_logprobs, ids, ())
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        score(evaluator, lanes[0], (50,))
