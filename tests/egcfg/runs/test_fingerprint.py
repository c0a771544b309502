from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from egcfg.config import RunConfig, load_config
from egcfg.errors import ConfigError, UsageError
from egcfg.plugins.hookspecs import Kind
from egcfg.runs.fingerprint import (
    PIECE_BYTES,
    PIECES,
    component_provenance,
    model_fingerprint,
)

LARGE = 2 * PIECES * PIECE_BYTES


def config(*options: str, file: Path | None = None, **flags: Any) -> RunConfig:
    return load_config({"backend": "openai", **flags}, options, file=file, environment={}).config


def backend_provenance(chosen: RunConfig) -> dict[str, Any]:
    provenance: dict[str, Any] = component_provenance(chosen, "chat")["backend"]
    return provenance


def test_a_default_is_told_as_if_it_had_been_given() -> None:
    assert backend_provenance(config())["route"] == "auto"
    assert backend_provenance(config("backend.route=auto")) == backend_provenance(config())
    assert backend_provenance(config("backend.route=chat")) != backend_provenance(config())


def test_of_values_only_the_meaning_is_told(tmp_path: Path) -> None:
    file = tmp_path / "egcfg.toml"
    file.write_text("[prompt.deepseek_instruct]\nprefill = false\n")
    spellings = [
        config(file=file),
        config("prompt.deepseek_instruct.prefill=no"),
        config("prompt.deepseek_instruct.prefill=false"),
    ]
    told = [component_provenance(spelt, "deepseek_instruct")["prompt"] for spelt in spellings]
    assert told[0]["prefill"] is False
    assert told[0] == told[1] == told[2]


def test_a_deadline_is_not_told_nor_an_address() -> None:
    one = config("backend.timeout_s=5", base_url="http://h:1/v1", model="m")
    other = config("backend.base_url=http://h:2/v1", model="m")
    assert backend_provenance(one) == backend_provenance(other)
    assert "h:1" not in str(component_provenance(one, "chat"))


def test_a_wrong_option_is_refused_where_the_provenance_is_made() -> None:
    for wrong in ("backend.top_k=0", "backend.topk=5"):
        with pytest.raises(ConfigError, match="top_k"):
            component_provenance(config(wrong), "chat")


def test_the_two_ways_to_name_a_model_tell_the_same(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF")
    by_option = config(f"backend.model={model}")
    assert backend_provenance(by_option) == backend_provenance(config(model=str(model)))
    assert backend_provenance(by_option)["model"].startswith("sha256:")
    assert backend_provenance(config(model="org/m"))["model"] == "org/m"


def test_checkpoints_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / name / "ck-100" for name in ("a", "b")]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(bytes([number]) * 8)
    first, second = (backend_provenance(config(model=str(folder))) for folder in folders)
    assert first != second


def test_a_scorer_is_told_where_it_was_chosen() -> None:
    assert Kind.SCORER.value not in component_provenance(config(), "chat")
    assert component_provenance(config(scorer="asserts"), "chat")["scorer"]["name"] == "asserts"


def test_packages_are_told_by_their_names_and_only_those_that_are_there() -> None:
    names = "sortedcontainers, numpy"
    chosen = component_provenance(config(sandbox_packages=names), "chat")
    assert chosen["packages"] == ["numpy", "sortedcontainers"]
    assert component_provenance(config(sandbox_packages="none"), "chat")["packages"] == []
    assert {"numpy", "sortedcontainers"} <= {*component_provenance(config(), "chat")["packages"]}
    with pytest.raises(UsageError, match="'no-such-package' for the sandbox is not installed"):
        component_provenance(config(sandbox_packages="no-such-package"), "chat")


# --- local models ---------------------------------------------------------------------------------


def fingerprint(path: Path) -> str:
    found = model_fingerprint(str(path))
    assert found is not None
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "tokenizer.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def test_a_hub_id_has_none_nor_a_folder_that_is_no_model(tmp_path: Path) -> None:
    assert model_fingerprint("org/name") is None
    assert model_fingerprint(str(tmp_path)) is None


def test_a_copy_elsewhere_has_the_same(folder: Path) -> None:
    before = fingerprint(folder)
    assert fingerprint(folder.rename(folder.with_name("elsewhere"))) == before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_whatever_of_a_folder_changes_the_model_changes_it(folder: Path, name: str) -> None:
    before = fingerprint(folder)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + b"?")
    assert fingerprint(folder) != before
    (folder / name).write_bytes(data)
    assert fingerprint(folder) == before
    (folder / name).rename(folder / f"x{name}")
    if name != "config.json":
        assert fingerprint(folder) != before


@pytest.mark.parametrize("name", ["README.md", "optimizer.pt", "trainer_state.json", ".cache.json"])
def test_what_is_not_of_the_model_does_not(folder: Path, name: str) -> None:
    before = fingerprint(folder)
    (folder / name).write_text("{}")
    assert fingerprint(folder) == before


def test_a_large_file_is_sampled_at_both_ends_and_between(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"")
    seen = set()
    for changed in (None, 0, LARGE // 2 + LARGE // 4, LARGE - 1):
        with file.open("r+b") as opened:
            opened.truncate(0)
            opened.truncate(LARGE)  # a hole: nothing is written to disk
            if changed is not None:
                opened.seek(max(0, changed - 2 * PIECE_BYTES))
                opened.write(b"x" * min(4 * PIECE_BYTES, LARGE - opened.tell()))
        assert file.stat().st_size == LARGE
        seen.add(fingerprint(file))
    assert len(seen) == 4


def test_an_unreadable_file_is_told(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "gone")
    assert fingerprint(folder)  # a dangling link is no file
    with pytest.raises(ConfigError, match="cannot be read"):
        model_fingerprint("/proc/self/mem")
