"""Files that a test and a program make for each other, from one scratch folder to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from egcfg.sandbox.confined.bounds import DecodeError, EncodeError
from egcfg.sandbox.confined.files import BYTES, FILES, Files


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Files, Files]:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    return Files(str(tmp_path / "here"), apart="program.py"), Files(str(tmp_path / "there"))


def test_what_is_new_changed_or_gone_goes_over_once(sides: tuple[Files, Files]) -> None:
    here, there = sides
    folder, other = Path(here.folder), Path(there.folder)
    assert here.changes() == ()
    (folder / "a").write_bytes(b"1")
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "deep" / "b").write_text("two")
    (folder / "program.py").write_text("not this")
    (folder / "link").symlink_to("a")
    there.apply(here.changes())
    assert sorted(str(p.relative_to(other)) for p in other.rglob("*")) == [
        *("a", "sub", "sub/deep", "sub/deep/b")
    ]
    assert here.changes() == there.changes() == ()
    (other / "a").write_bytes(b"changed")
    here.apply(there.changes())
    assert (folder / "a").read_bytes() == b"changed"
    (folder / "sub" / "deep" / "b").unlink()
    (folder / "sub" / "deep").rmdir()
    there.apply(here.changes())
    assert not (other / "sub" / "deep").exists()


@pytest.mark.parametrize(
    "change",
    [
        ("../x", b""),
        ("/etc/x", b""),
        ("a/../../x", b""),
        ("..", None),
        ("", b""),
        ("a\0b", b""),
        ("a", "text"),
        ("a",),
        "a",
        ("missing/a", b""),
    ],
)
def test_nothing_is_made_elsewhere(sides: tuple[Files, Files], change: Any) -> None:
    with pytest.raises(DecodeError):
        sides[1].apply((change,))
    assert list(Path(sides[1].folder).iterdir()) == []


def test_a_link_is_not_written_through(sides: tuple[Files, Files], tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (Path(sides[1].folder) / "a").symlink_to(tmp_path / "target")
    with pytest.raises(DecodeError):
        sides[1].apply((("a", b"lost"),))
    assert (tmp_path / "target").read_text() == "kept"


def test_too_much_is_refused(sides: tuple[Files, Files]) -> None:
    folder = Path(sides[0].folder)
    (folder / "large").write_bytes(bytes(BYTES + 1))
    with pytest.raises(EncodeError, match="files of more than"):
        sides[0].changes()
    (folder / "large").unlink()
    for number in range(FILES + 1):
        (folder / str(number)).touch()
    with pytest.raises(EncodeError, match="more than 200 files"):
        sides[0].changes()
