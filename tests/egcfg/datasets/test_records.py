from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.datasets.records import Record, load_json, read_records
from egcfg.errors import DataError, MissingExtraError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def read(path: Path) -> list[Record]:
    """Return the records of a file; raise what is wrong with its first bad line."""
    records = []
    for record in read_records(path):
        if isinstance(record, DataError):
            raise record
        records.append(record)
    return records


def test_lines_keep_their_numbers_across_blank_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}')
    assert [(r.line, r.values["a"]) for r in read(path)] == [(1, 1), (4, 2)]


def test_gzip_is_known_by_its_content_not_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(gzip.compress(b'{"a": 1}'))
    assert read(path)[0].values == {"a": 1}


def test_a_line_separator_inside_a_text_splits_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "x\u2028y\x85z"}', encoding="utf-8")
    assert read(path)[0].text("a") == "x\u2028y\x85z"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds no problem"),
        (b'{"a": 1}\n{"a"', "line 2: no JSON"),
        (b'{"a": 1}\n[1]', "line 2: a list instead of an object"),
        (b"null", "line 1: null instead of an object"),
        (b'{"a": "\xff"}', "line 1: no JSON"),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-9], "cannot read"),
        (b"\x1f\x8bnonsense", "cannot read"),
    ],
)
def test_a_broken_file_is_named_with_the_line(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.jsonl", tmp_path):
        with pytest.raises(DataError, match=f"cannot read {path}: .*check the path"):
            read_records(path)


@given(st.binary())
def test_any_bytes_give_records_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    try:
        records = read_records(path)
    except DataError:
        return
    assert records


def test_a_line_that_is_no_record_stands_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a"\n{"a": 3}')
    first, fault, last = read_records(path)
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert (first.line, last.line) == (1, 3)
    assert "line 2: no JSON" in str(fault)


def test_numbers_that_only_python_writes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": [NaN, Infinity, -Infinity, ' + "9" * 20_000 + "]}")
    nan, high, low, huge = read(path)[0].values["a"]
    assert nan != nan
    assert (high, low) == (float("inf"), float("-inf"))
    assert huge == 10**20_000 - 1


def test_a_pointer_of_git_lfs_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DataError, match="git lfs pull"):
        read_records(path)


def test_a_parquet_file_is_read_by_rows(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    rows = [{"task_id": 1, "tests": ["a", "b"]}, {"task_id": 2, "tests": []}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert [(r.line, dict(r.values)) for r in read(path)] == list(enumerate(rows, start=1))
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="cannot read"):
        read_records(path)


def test_without_the_package_for_parquet_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'egcfg\[datasets\]'"):
        read_records(tmp_path / "a.parquet")


@given(json_values)
def test_json_is_read_as_it_was_written(value: object) -> None:
    assert load_json(json.dumps(value)) == value


class TestRecord:
    def record(self, **values: object) -> Record:
        return Record("a.jsonl", 7, values)

    def test_text_takes_the_first_field_that_is_there(self) -> None:
        assert self.record(b="x\r\ny", a=None).text("a", "b") == "x\ny"

    def test_complaints_name_file_line_and_field(self) -> None:
        with pytest.raises(DataError, match=r"a\.jsonl, line 7, field 'tests\[1\]': must be text"):
            self.record(tests=["x", 3]).texts("tests")

    @pytest.mark.parametrize("value", [1, True, ["x"], {"x": 1}])
    def test_text_of_another_kind_is_refused(self, value: object) -> None:
        with pytest.raises(DataError, match="must be text, not"):
            self.record(a=value).text("a", default="")

    def test_a_missing_field_is_named_with_the_one_that_looks_like_it(self) -> None:
        with pytest.raises(DataError, match="is missing; add it; did you mean 'task-id'"):
            self.record(**{"task-id": 3}).name("task_id")
        with pytest.raises(DataError, match=r"is missing; add it$"):
            self.record().name("task_id")

    def test_a_name_is_text_or_a_whole_number(self) -> None:
        assert self.record(task_id=3).name("task_id") == "3"
        for value in (True, 1.5, "", " "):
            with pytest.raises(DataError, match="task_id"):
                self.record(task_id=value).name("task_id")

    def test_a_text_is_no_list(self) -> None:
        with pytest.raises(DataError, match="must be a list, not text"):
            self.record(tests="assert f()").items("tests")
