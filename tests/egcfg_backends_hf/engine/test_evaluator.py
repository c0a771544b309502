from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
)
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
    assert tree.enable_tree_attention()
    return {TreeEvaluator: tree, WholePrefixEvaluator: whole}


def score(evaluator: Evaluator, ids: Ids, draft: Ids = ()) -> list[Logprobs]:
    pending = PendingScore(ScoreRequest(ids, draft))
    while not evaluator.advance([pending]):
        pass
    return pending.answer()


def assert_same(found: Sequence[Logprobs], naive: Naive, ids: Ids, draft: Ids) -> None:
    for end, distribution in enumerate(found):
        expected = naive(ids + draft[:end])
        np.testing.assert_allclose(distribution.values, expected, rtol=0, atol=1e-9)


tokens = st.lists(st.integers(3, 6), min_size=1, max_size=6).map(tuple)
calls = st.lists(
    st.lists(st.tuples(tokens, tokens), min_size=1, max_size=3), min_size=1, max_size=4
)


@BOTH
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), calls=calls)
def test_calls_may_take_turns_and_things_be_evicted_between_their_passes(
    kind: type[Any],
    models: dict[type[Evaluator], CausalModel],
    naive_logprobs: Naive,
    monkeypatch: pytest.MonkeyPatch,
    data: st.DataObject,
    calls: list[list[tuple[Ids, Ids]]],
) -> None:
    monkeypatch.setattr(evaluator_module, "PASS_TOKENS", 3)
    monkeypatch.setattr(evaluator_module, "REMEMBERED_BYTES", 5 * 384 * 8)
    evaluator: Evaluator = kind(models[kind])
    open_calls = [[PendingScore(ScoreRequest(*request)) for request in call] for call in calls]
    everything = [each for call in open_calls for each in call]
    for _ in range(200):
        if not open_calls:
            break
        number = data.draw(st.integers(0, len(open_calls) - 1))
        if evaluator.advance(open_calls[number]):
            open_calls.pop(number)
        if data.draw(st.booleans()):
            active = [each.ids for call in open_calls for each in call]
            evaluator.evict(active if data.draw(st.booleans()) else active[:1])
    assert not open_calls
    for each in everything:
        assert each.missing == 0
        assert_same(each.answer(), naive_logprobs, each.request.ids, each.request.draft)


@BOTH
def test_what_is_remembered_is_looked_up_without_a_pass(
    kind: type[Any], models: dict[type[Evaluator], CausalModel]
) -> None:
    evaluator: Evaluator = kind(models[kind])
    assert evaluator.look_up(ScoreRequest((5, 6), (7,))).missing == 2
    found = score(evaluator, (5, 6), (7, 8))
    known = evaluator.look_up(ScoreRequest((5, 6), (7, 8, 9)))
    assert known.missing == 1
    assert known.distributions[:3] == found
    passes = models[kind].passes
    assert score(evaluator, (5, 6, 7), (8,)) == found[1:]
    assert models[kind].passes == passes
    evaluator.evict([(5, 6, 7)])
    assert evaluator.look_up(ScoreRequest((5, 6), (7, 8))).missing == 1


@BOTH
def test_the_oldest_distributions_go_first_and_no_call_loses_its_own(
    kind: type[Any],
    models: dict[type[Evaluator], CausalModel],
    naive_logprobs: Naive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluator_module, "REMEMBERED_BYTES", 3 * 384 * 8)
    evaluator: Evaluator = kind(models[kind])
    draft = (7, 8, 9, 10)
    for _ in range(2):
        assert_same(score(evaluator, (5, 6), draft), naive_logprobs, (5, 6), draft)
        known = evaluator.look_up(ScoreRequest((5, 6), draft)).distributions
        assert [distribution is not None for distribution in known].count(True) == 3


def test_what_is_evicted_gives_its_slots_back(
    models: dict[type[Evaluator], CausalModel],
) -> None:
    evaluator = TreeEvaluator(models[TreeEvaluator])
    kept = (5, 6, 7)
    score(evaluator, kept)
    score(evaluator, (50,) * 900)
    large = evaluator.cache_bytes
    assert evaluator.slots == 903
    evaluator.evict([(*kept, 8)])
    score(evaluator, (*kept, 9))
    assert evaluator.slots == 4
    assert evaluator.cache_bytes < large / 2


def test_nothing_of_what_was_evicted_is_held(
    models: dict[type[Evaluator], CausalModel],
) -> None:
    evaluator = TreeEvaluator(models[TreeEvaluator])
    for number in range(20):
        score(evaluator, (10 + number, 5, 6, 7), (8, 9))
        evaluator.evict([])
        assert not evaluator._remembered
    assert evaluator.slots == 0


def test_a_prefill_is_cut_into_passes(
    models: dict[type[Evaluator], CausalModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator_module, "PASS_TOKENS", 16)
    model = models[TreeEvaluator]
    evaluator, passes = TreeEvaluator(model), model.passes
    pending = PendingScore(ScoreRequest(tuple(range(10, 50))))
    assert [evaluator.advance([pending]) for _ in range(3)] == [False, False, True]
    assert model.passes == passes + 3
