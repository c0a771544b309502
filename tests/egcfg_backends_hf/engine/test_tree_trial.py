from __future__ import annotations

import copy
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.engine import causal_model, tree_trial
from egcfg_backends_hf.engine.causal_model import CausalModel
from egcfg_backends_hf.engine.tree_trial import enable_trees
from egcfg_backends_hf.loading.load import load_model
from egcfg_backends_hf.options import HFOptions


def mistral(**changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 384,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,
    }
    return MistralForCausalLM(MistralConfig(**(sizes | changes))).eval()


def load(folder: Path, **options: Any) -> PreTrainedModel:
    return load_model(HFOptions(model=str(folder), device="cpu", **options)).model


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_a_model_runs_trees_whatever_its_numbers_are(tiny_llama: Path, dtype: str) -> None:
    inner = load(tiny_llama, dtype=dtype)
    model = CausalModel(inner)
    assert enable_trees(model) is None
    assert (model.passes, model.tokens) == (0, 0)
    layers, numbers = 2, 2 * 2 * 16  # keys and values of two heads
    assert model.token_bytes == layers * numbers * inner.dtype.itemsize
    assert inner.dtype == getattr(torch, dtype)


@pytest.mark.model
def test_the_embedded_model_runs_trees_in_bfloat16_and_warns_of_nothing(
    run: Callable[[Coroutine[Any, Any, Any]], Any], caplog: pytest.LogCaptureFixture
) -> None:
    backend = HFBackend(HFOptions(device="cpu", dtype="bfloat16"))
    try:
        run(backend.open())
        assert backend.resolved["dtype"] == "bfloat16"
        assert backend._open_model.model.masks
    finally:
        run(backend.close())
    assert [record.getMessage() for record in caplog.records] == []


def test_the_trial_computes_in_float32_with_the_models_own_weights(tiny_llama: Path) -> None:
    half, ids = load(tiny_llama, dtype="bfloat16"), [(5, 6, 7, 8)]
    exact = CausalModel(copy.deepcopy(half).float()).run_whole(ids, 1)
    rounded = CausalModel(half).run_whole(ids, 1)
    with tree_trial._precise(half):
        widened = CausalModel(half).run_whole(ids, 1)
    assert abs(rounded - exact).max() > 1e-3
    assert abs(widened - exact).max() < 1e-5


def test_a_model_that_shows_a_token_more_than_its_prefix_is_found_out(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visibility = causal_model.visibility
    monkeypatch.setattr(causal_model, "visibility", lambda *given: visibility(*given) | True)
    model = CausalModel(load(tiny_llama, dtype="bfloat16"))
    usual = model.model.config._attn_implementation
    assert "off by" in str(enable_trees(model))
    assert model.model.config._attn_implementation == usual
    assert not model.masks


def test_a_window_is_crossed_in_the_trial_and_is_its_own_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    windows = []
    record = CausalModel.record

    def noting(self: CausalModel) -> Any:
        windows.append(self.model.config.sliding_window)
        return record(self)

    monkeypatch.setattr(CausalModel, "record", noting)
    assert enable_trees(CausalModel(mistral(sliding_window=100))) is None
    assert windows == [tree_trial.WINDOW, 100]


def test_a_window_that_the_masks_leave_out_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        causal_model, "masks_by_kind", lambda _, visible, *__: [visible[None, None]]
    )
    assert "off by" in str(enable_trees(CausalModel(mistral(sliding_window=100))))


def test_a_recurrent_state_is_named_without_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    config = MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4)
    model = CausalModel(MambaForCausalLM(config).eval())
    monkeypatch.setattr(CausalModel, "run_whole", None)
    assert "a recurrent state" in str(enable_trees(model))


def test_an_attention_of_the_models_own_is_restored_where_the_trial_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = GPTNeoConfig(
        vocab_size=64,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        max_position_embeddings=32,
        window_size=4,
    )
    inner = GPTNeoForCausalLM(config).eval()
    ids = torch.arange(20)[None]
    expected = inner(ids).logits
    monkeypatch.setattr(tree_trial, "TOLERANCE", -1.0)
    assert enable_trees(CausalModel(inner)) is not None
    torch.testing.assert_close(inner(ids).logits, expected)
    monkeypatch.setattr(tree_trial, "TOLERANCE", 1e-4)
    assert enable_trees(CausalModel(inner)) is None


def test_out_of_memory_in_the_trial_is_no_reason_to_be_slow(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(CausalModel, "run_tree", full)
    with pytest.raises(torch.OutOfMemoryError):
        enable_trees(CausalModel(load(tiny_llama)))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"max_position_embeddings": 512}, 512),
        ({"max_position_embeddings": -1}, None),
        ({"max_seq_len": 99}, 99),
        ({}, None),
    ],
)
def test_the_context_is_what_the_config_says(config: dict[str, int], expected: int | None) -> None:
    assert causal_model._context_length(type("Config", (), config)()) == expected
