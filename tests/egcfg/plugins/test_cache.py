from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from egcfg.cli.program import invoke
from egcfg.plugins.cache import ORIGIN, cached


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two models, the newer one called b, and what a killed process left."""
    monkeypatch.setenv("EGCFG_CACHE_DIR", str(tmp_path))
    for age, name in enumerate(("bbb", "aaa")):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(bytes(3 * 2**20))
        if name == "bbb":
            (folder / ORIGIN).write_text('{"file": "tiny.gguf"}')
        os.utime(folder, (10**9 - age, 10**9 - age))
    (tmp_path / "models" / "ccc.unfinished").mkdir()
    (tmp_path / "models" / "ccc.lock").touch()
    return tmp_path / "models"


def test_what_is_kept_is_listed_with_its_origin_and_size(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["cache"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "bbb        3 MiB  2001-09-09  tiny.gguf",
        "aaa        3 MiB  2001-09-09  (an earlier version's)",
    ]
    assert "in all: 6 MiB" in shown.err
    assert len(list(cache.iterdir())) == 4


def test_one_entry_or_all_are_deleted(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["cache", "--clear", "a"]) == 0
    assert "deleted: 3 MiB" in capsys.readouterr().err
    assert [entry.folder.name for entry in cached()] == ["bbb"]
    assert invoke(["cache", "--clear"]) == 0
    assert list(cache.iterdir()) == []


def test_what_a_live_process_converts_is_not_deleted(cache: Path) -> None:
    with FileLock(cache / "ccc.lock"):
        assert invoke(["cache", "--clear"]) == 0
        assert sorted(path.name for path in cache.iterdir()) == ["ccc.lock", "ccc.unfinished"]


def test_an_entry_that_is_not_there_is_no_reason_to_delete_others(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["cache", "--clear", "aaa", "zzz"]) == 2
    assert "no entries of the cache begin with 'zzz'" in capsys.readouterr().err
    assert len(list(cache.iterdir())) == 4


def test_an_empty_cache_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EGCFG_CACHE_DIR", str(tmp_path / "none"))
    assert invoke(["cache"]) == 0
    assert capsys.readouterr().out == ""
