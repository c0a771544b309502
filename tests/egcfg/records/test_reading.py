"""Reading records: what is broken is told, whatever it is, and nothing else is raised."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from egcfg.errors import RunError
from egcfg.records.entries import KINDS, UnitEntry, from_json, to_json
from egcfg.records.reading import (
    MalformedRecordError,
    load_record,
    read_record_of,
    record_beside,
)
from egcfg.records.recorder import Recorder
from egcfg.runs.result_file import dump_result
from egcfg.runs.results import Result
from egcfg.runs.store import SUFFIX_OF_RECORDS


def packed(*lines: Any) -> bytes:
    return gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


UNIT = {"kind": "unit", "format": "egcfg-record-1", "task_id": "t"}
END = {"kind": "end"}


BROKEN = [
    (b"", "it is empty"),
    (b"no gzip", "not whole gzip data"),
    (packed(), "it is empty"),
    (packed(END), "not the beginning"),
    (packed(UNIT), "it has no end"),
    (packed({**UNIT, "format": "egcfg-record-9"}, END), "another version of egcfg"),
    (gzip.compress(b"{\n"), "line 1: "),
    (packed(UNIT, [1], END), "line 2: not an object with a kind"),
    (packed(UNIT, {"kind": "note"}, END), "line 2: no note: "),
    (packed(UNIT, {"kind": "call", "stage": "s", "prompt": 0}, END), "names the PromptEntry 0"),
    (packed(UNIT, {"kind": "run", "program": -1}, END), "names the ProgramEntry -1"),
    (
        packed(UNIT, {"kind": "step", "decoding": 0, "index": 0, "in_code": True, "text": ""}),
        "it has no end",
    ),
    (
        packed(UNIT, {"kind": "step", "decoding": 3, "index": 0, "in_code": True, "text": ""}, END),
        "names the DecodingEntry 3",
    ),
    (gzip.compress(b"[" * 100_000), "line 1: "),
]


@pytest.mark.parametrize(("content", "why"), BROKEN, ids=[why for _, why in BROKEN])
def test_what_is_wrong_is_told(content: bytes, why: str) -> None:
    with pytest.raises(MalformedRecordError, match=why) as raised:
        load_record(content)
    assert "\n" not in str(raised.value)


def test_a_line_of_a_later_version_is_passed_over() -> None:
    record = load_record(packed(UNIT, {"kind": "dream", "about": "sheep"}, END))
    assert record.unit.task_id == "t"
    assert len(record.entries) == 1


def test_a_record_that_says_it_is_larger_than_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("egcfg.runs.files.LARGEST_LINES", 1 << 20)
    bomb = gzip.compress(b" " * (50 << 20))
    assert len(bomb) < 100_000
    with pytest.raises(MalformedRecordError, match="more than 1 MiB"):
        load_record(bomb)


@given(data=st.data())
def test_a_damaged_record_is_malformed_or_reads(data: st.DataObject, recorded: Any) -> None:
    content = bytearray(recorded.content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    with contextlib.suppress(MalformedRecordError):
        load_record(bytes(content[:cut]))


@given(data=st.data())
def test_damaged_lines_are_malformed_or_read(data: st.DataObject, recorded: Any) -> None:
    lines = [json.loads(line) for line in gzip.decompress(recorded.content).splitlines()]
    place = data.draw(st.integers(0, len(lines) - 1))
    key = data.draw(st.sampled_from(sorted(lines[place])))
    lines[place][key] = data.draw(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({})
    )
    try:
        record = load_record(packed(*lines))
    except MalformedRecordError:
        return
    assert list(record.steps()) is not None


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_refuses_what_it_is_not(kind: str) -> None:
    if kind != "end":  # which needs nothing
        with pytest.raises(ValueError, match=f"no {kind}"):
            from_json({"kind": kind, **{each.name: 3.5 for each in fields(KINDS[kind])}})


def test_the_form_is_always_told() -> None:
    assert to_json(UnitEntry(task_id="t"))["format"] == "egcfg-record-1"


# --- files --------------------------------------------------------------------------------------


@pytest.fixture
def content() -> bytes:
    return Recorder(UnitEntry(task_id="t")).content()


def test_a_record_is_found_by_its_own_file_and_by_its_result(
    tmp_path: Path, content: bytes
) -> None:
    record = tmp_path / f"task_id=t{SUFFIX_OF_RECORDS}"
    result = tmp_path / "task_id=t.json"
    record.write_bytes(content)
    result.write_bytes(dump_result(Result(general_error="x", record=record.name)))
    assert read_record_of(record).unit == read_record_of(result).unit


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (b"{}", "neither a record nor a result file"),
        (b"", "has no record"),
        (dump_result(Result(general_error="x")), "egcfg run --record writes one"),
        (dump_result(Result(general_error="x", record="../secret.record.jsonl.gz")), "is missing"),
        (dump_result(Result(general_error="x", record="/etc/passwd")), "is missing"),
        (dump_result(Result(general_error="x", record="gone.record.jsonl.gz")), "is missing"),
    ],
)
def test_a_result_without_a_record_is_told(tmp_path: Path, written: bytes, why: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.record.jsonl.gz").write_bytes(b"secret")
    result = folder / "task_id=t.json"
    result.write_bytes(written)
    with pytest.raises(RunError, match=why):
        read_record_of(result)


def test_a_link_to_elsewhere_is_no_record(tmp_path: Path, content: bytes) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(content)
    name = f"task_id=t{SUFFIX_OF_RECORDS}"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)
    assert record_beside(folder / "task_id=t.json", Result(record=name)) is None


def test_a_broken_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    broken = tmp_path / f"task_id=t{SUFFIX_OF_RECORDS}"
    broken.write_bytes(b"x")
    with pytest.raises(MalformedRecordError, match=r"task_id=t.*delete it and its result"):
        read_record_of(broken)
    with pytest.raises(RunError, match="cannot read"):
        read_record_of(tmp_path / "gone")
