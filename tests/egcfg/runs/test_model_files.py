from __future__ import annotations

from pathlib import Path

import pytest

from egcfg.errors import ConfigError
from egcfg.runs.model_files import PIECE_BYTES, PIECES, model_fingerprint

LARGE = 2 * PIECES * PIECE_BYTES


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
