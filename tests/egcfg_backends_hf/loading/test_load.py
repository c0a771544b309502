from __future__ import annotations

import asyncio
import json
import logging
import shutil
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)
from transformers.utils import logging as transformers_logging

from egcfg.errors import BackendError, CapabilityError, UsageError
from egcfg.interfaces.backend import SampleRequest, SamplingParams, ScoreRequest
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt
from egcfg_backends_hf import backend
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.engine.linear_layers import PackedLinear
from egcfg_backends_hf.loading import load
from egcfg_backends_hf.loading.gguf import quiet_transformers
from egcfg_backends_hf.loading.load import LoadedModel, load_model, settings_left_out
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.testing import build_tiny_tokenizer

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Open = Callable[..., HFBackend]


def load_folder(folder: Path, **options: Any) -> LoadedModel:
    return load_model(HFOptions(model=str(folder), **({"device": "cpu"} | options)))


def fail(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def save(model: Any, folder: Path) -> Path:
    with quiet_transformers():
        model.save_pretrained(folder)
        build_tiny_tokenizer().save_pretrained(folder)
    return folder


# --- broken models ------------------------------------------------------------------------------


@pytest.fixture
def broken(tiny_llama: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to break."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "broken"))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b'{"model_type": "nonesuch"}'),
        ("config.json", b'{"model_type": "vit"}'),
        ("model.safetensors", b"\x00" * 100),
        ("model.safetensors", None),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", None),
    ],
)
def test_a_broken_folder_is_one_clear_line(broken: Path, file: str, content: bytes | None) -> None:
    if content is None:
        (broken / file).unlink()
    else:
        (broken / file).write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot load the model|holds no weights") as caught:
        load_folder(broken)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "nonesuch"}, r"'nonesuch' is unknown to transformers 5"),
        ({"model_type": "vit"}, r"'vit' is no causal language model"),
        (
            {"model_type": "nonesuch", "auto_map": {"AutoConfig": "code.Config"}},
            r"code of its own, which -o backend\.trust_remote_code=true lets run",
        ),
    ],
)
def test_an_architecture_that_cannot_be_loaded_is_named(
    broken: Path, config: dict[str, Any], message: str
) -> None:
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=message):
        load_folder(broken)


def test_generation_settings_that_are_left_out_are_told(
    broken: Path, open_folder: Open, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"repetition_penalty": 1.1, "temperature": 0.7, "do_sample": True, "min_length": 0}
    (broken / "generation_config.json").write_text(json.dumps(settings))
    open_folder(broken)
    assert "ask for repetition_penalty=1.1, which is left out" in caplog.text
    assert "temperature" not in caplog.text


@pytest.mark.parametrize(
    "setting",
    [
        {"num_beams": 4},
        {"penalty_alpha": 0.6},
        {"stop_strings": ["\n\n"]},
        {"encoder_no_repeat_ngram_size": 3},
        {"watermarking_config": {"bias": 2.5}},
        {"token_healing": True},
        {"suppress_tokens": [5]},
        {"dola_layers": "high"},
    ],
    ids=str,
)
def test_every_setting_that_changes_greedy_texts_is_told_in_one_line(
    broken: Path, open_folder: Open, caplog: pytest.LogCaptureFixture, setting: dict[str, Any]
) -> None:
    (broken / "generation_config.json").write_text(json.dumps(setting))
    open_folder(broken)
    [told] = [r.getMessage() for r in caplog.records if r.name == "egcfg_backends_hf.backend"]
    assert f"ask for {next(iter(setting))}=" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    "setting",
    [
        {"num_beams": 1, "penalty_alpha": 0.0, "encoder_no_repeat_ngram_size": 0},
        {"bad_words_ids": [], "suppress_tokens": [], "sequence_bias": {}, "stop_strings": []},
        {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "max_new_tokens": 99},
    ],
    ids=str,
)
def test_settings_that_change_no_greedy_text_are_not_told(setting: dict[str, Any]) -> None:
    model: Any = SimpleNamespace(generation_config=GenerationConfig(**setting))
    assert settings_left_out(model) == {}


def test_missing_weights_are_refused_rather_than_made_up(broken: Path) -> None:
    weights = load_file(broken / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"lacks 1 weights, such as lm_head\.weight"):
        load_folder(broken)


def test_a_model_too_large_for_the_memory_is_a_backend_error(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(load.AutoModelForCausalLM, "from_pretrained", fail(error))
    with pytest.raises(BackendError, match="does not fit the memory of cpu"):
        load_folder(tiny_llama)


@pytest.mark.parametrize("device", ["nonsense", "meta:x", "cuda:99"])
def test_a_device_that_is_not_there_is_one_clear_line(tiny_llama: Path, device: str) -> None:
    with pytest.raises(UsageError, match=r"-o backend\.device=cpu"):
        load_folder(tiny_llama, device=device)


def test_options_refuse_what_they_cannot_mean() -> None:
    with pytest.raises(ValueError, match="dtype"):
        HFOptions(dtype="int3")
    with pytest.raises(ValueError, match="threads"):
        HFOptions(threads=0)


# --- what is loaded -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected"), [("auto", "float64"), ("float32", "float32"), ("bfloat16", "float32")]
)
def test_log_probabilities_are_at_least_float32(
    tiny_llama: Path, open_folder: Open, run: Run, asked: str, expected: str
) -> None:
    backend = open_folder(tiny_llama, dtype=asked)
    [[scores]] = run(backend.score([ScoreRequest((5, 6, 7))])).value
    assert scores.values.dtype == expected


def test_auto_is_float32_on_the_cpu_unless_the_model_is_finer(broken: Path) -> None:
    half = LlamaForCausalLM.from_pretrained(broken, dtype=torch.bfloat16)
    save(half, broken)
    assert load_folder(broken).model.dtype == torch.float32


def test_loading_leaves_the_settings_of_transformers_as_they_were(
    tiny_llama: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load_folder(tiny_llama)
    after = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    assert after == before
    assert capfd.readouterr() == ("", "")


def test_a_model_without_a_chat_template_says_so(broken: Path, open_folder: Open, run: Run) -> None:
    (broken / "chat_template.jinja").unlink()
    backend = open_folder(broken)
    assert not backend.capabilities.chat
    with pytest.raises(CapabilityError, match=r"broken has no chat template.*--prompt long_code"):
        run(backend.encode(ChatPrompt((ChatMessage("user", "hi"),))))


def test_several_end_tokens_all_end(tmp_path: Path, open_folder: Open) -> None:
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=[7, 9],
    )
    assert open_folder(save(LlamaForCausalLM(config), tmp_path)).end_ids == {0, 2, 7, 9}


def test_a_sliding_window_is_a_mask_over_positions(
    tmp_path: Path, open_folder: Open, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    config = MistralConfig(
        vocab_size=384,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=8,
        initializer_range=0.3,
    )
    model = MistralForCausalLM(config).double().eval()
    with caplog.at_level(logging.WARNING):
        backend = open_folder(save(model, tmp_path))
    assert "whole prompt" not in caplog.text
    ids = tuple(range(10, 40))

    def naive(prefix: tuple[int, ...]) -> torch.Tensor:
        with torch.inference_mode():
            logits = model(torch.tensor([prefix]), use_cache=False).logits[0, -1]
        return torch.log_softmax(logits, dim=-1)

    [scores] = run(backend.score([ScoreRequest(ids, (50, 51))])).value
    assert run(backend.score([ScoreRequest((*ids, 50), (52,))])).usage.forward_tokens <= 2
    for position, found in enumerate(scores):
        expected = naive((*ids, 50, 51)[: len(ids) + position])
        torch.testing.assert_close(torch.from_numpy(found.values), expected, atol=1e-9, rtol=0)
    params = SamplingParams(temperature=0.0, max_tokens=4)
    [[first, second]] = run(backend.sample([SampleRequest(ids[:20], 2, params)])).value
    assert first.ids == second.ids
    chain = ids[:20]
    for token in first.ids:
        assert token == int(naive(chain).argmax())
        chain += (token,)


def test_a_model_that_does_not_run_with_packed_weights_stays_plain_unless_they_are_asked_for(
    tiny_llama: Path,
    open_folder: Open,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    models: list[weakref.ref[Any]] = []

    def noting(options: HFOptions) -> LoadedModel:
        assert not [model for model in models if model()]  # there may be no memory for two
        loaded = load_model(options)
        models.append(weakref.ref(loaded.model))
        return loaded

    def needs_its_weight(*_: object) -> None:
        raise TypeError("needs its weight")

    monkeypatch.setattr(backend, "load_model", noting)
    monkeypatch.setattr(PackedLinear, "forward", needs_its_weight)
    with pytest.raises(UsageError, match=r"needs its weight; use -o backend\.weights=plain"):
        open_folder(tiny_llama, dtype="float32", weights="packed")
    models.clear()
    assert open_folder(tiny_llama, dtype="float32").resolved["weights"] == "plain"
    assert len(models) == 2
    [told] = caplog.records
    reason = "backend.weights=packed cannot be had here: TypeError: needs its weight"
    assert told.getMessage() == f"{tiny_llama.name} is loaded again: {reason}"


# --- compiled models ----------------------------------------------------------------------------


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Return what was compiled so far: traced as ever, but run as it is, without a compiler."""
    graphs: list[Any] = []

    def trace(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=trace))
    yield graphs
    torch.compiler.reset()


def test_a_model_is_compiled_twice_whatever_its_passes_contain(
    compiled: list[Any],
    open_folder: Open,
    tiny_llama: Path,
    naive_logprobs: Callable[[Sequence[int]], Any],
    run: Run,
) -> None:
    backend = open_folder(tiny_llama, compile=True)

    async def ask(ids: tuple[int, ...], *drafts: tuple[int, ...]) -> None:
        answer = await backend.score([ScoreRequest(ids, draft) for draft in drafts])
        for draft, scores in zip(drafts, answer.value, strict=True):
            for end, found in enumerate(scores):
                expected = naive_logprobs(ids + draft[:end])
                np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-9)

    async def grow(number: int, step: int) -> None:
        prompt = tuple(range(10 + number, 40 + 3 * number))
        for length in range(1, len(prompt), step):
            await ask(prompt[:length], (), (60, 61)[: length % 3])
        await backend.sample([SampleRequest(prompt, 3, SamplingParams(max_tokens=6))])

    async def check() -> None:
        await asyncio.create_task(grow(0, 1))
        await asyncio.gather(*(grow(number, number) for number in range(1, 6)))

    run(check())
    assert backend._open_model.model.passes > 40
    # For passes of more tokens, such as the first attempt, and for passes of one.
    assert len(compiled) == 2
