"""Reads files of records, JSON lines or Parquet; every complaint names file, line and field."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from attrs import frozen

from egcfg.errors import DataError, MissingExtraError, did_you_mean

__all__ = ["FILE_ENDINGS", "Record", "load_json", "read_records"]

PARQUET = ".parquet"
FILE_ENDINGS = (".jsonl", ".jsonl.gz", PARQUET)
_GZIP_MAGIC = b"\x1f\x8b"
_LFS_POINTER = b"version https://git-lfs"


@frozen
class Record:
    """One JSON object of a file, and where it stands there.

    Attributes:
        source: the file, as messages name it.
        line: its line, from 1; for records that come from no file, its number.
        values: the object.
    """

    source: str
    line: int
    values: Mapping[str, Any]

    def error(self, field: str, problem: str) -> DataError:
        """Return the complaint about a field; `problem` says what to do as well."""
        return DataError(f"{self.source}, line {self.line}, field {field!r}: {problem}")

    def has(self, field: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(field) is not None

    def text(self, *fields: str, default: str | None = None) -> str:
        """Return the first of `fields` that is there, with line ends as ``\\n``.

        Raises:
            DataError: it is no text, or none is there and there is no default.
        """
        for field in fields:
            if self.has(field):
                return self._as_text(field, self.values[field])
        if default is not None:
            return default
        near = did_you_mean(fields[0], self.values)
        raise self.error(fields[0], f"is missing; add it{near if 'did you' in near else ''}")

    def name(self, field: str) -> str:
        """Return an identifier, which may be written as text or as a whole number.

        Raises:
            DataError: it is neither, or missing, or empty.
        """
        value = self.values.get(field)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        name = self.text(field)
        if not name.strip():
            raise self.error(field, "is empty; give each problem a name of its own")
        return name

    def limit(self, field: str) -> float | None:
        """Return a number above zero; None where the field is missing.

        Raises:
            DataError: it is none.
        """
        value = self.values.get(field)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise self.error(
                field, f"must be a number above zero, not {value!r}; correct it or leave it out"
            )
        return float(value)

    def items(self, field: str) -> list[Any]:
        """Return a list, empty where the field is missing.

        Raises:
            DataError: it is no list.
        """
        value = self.values.get(field)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(field, f"must be a list, not {_kind(value)}; put it in brackets")
        return value

    def texts(self, field: str) -> list[str]:
        """Return a list of texts, empty where the field is missing.

        Raises:
            DataError: it is no list, or an item is no text.
        """
        return [
            self._as_text(f"{field}[{number}]", item)
            for number, item in enumerate(self.items(field))
        ]

    def _as_text(self, field: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.error(field, f"must be text, not {_kind(value)}; put it in quotes")
        return value.replace("\r\n", "\n")


def read_records(path: Path) -> list[Record | DataError]:
    """Return the objects of a file: JSON lines, plain or gzipped, or Parquet. Skips blank lines.

    What is wrong with a line that holds no object is returned in its place.

    Raises:
        DataError: the file cannot be read, or is empty.
        MissingExtraError: it is a Parquet file, and the package that reads these is not installed.
    """
    if path.name.endswith(PARQUET):
        return [Record(str(path), number, row) for number, row in enumerate(_rows(path), start=1)]
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP_MAGIC):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    if data.startswith(_LFS_POINTER):
        raise DataError(
            f"{path} is a pointer of Git LFS, not the file; run `git lfs pull` where it comes from"
        )
    lines = enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1)
    records = [_record(path, number, line) for number, line in lines if line.strip()]
    if not records:
        raise DataError(f"{path} holds no problem; write one JSON object per line")
    return records


def load_json(text: str | bytes) -> Any:
    """Return what JSON text says, Python's way: with NaN, Infinity and numbers of any length.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # a number longer than Python turns into an int
        return json.loads(text, parse_int=_whole_number)


def _record(path: Path, number: int, line: bytes) -> Record | DataError:
    try:
        value = load_json(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", None) or str(error)
        return DataError(
            f"{path}, line {number}: no JSON ({reason}); write one JSON object per line"
        )
    if not isinstance(value, dict):
        return DataError(
            f"{path}, line {number}: {_kind(value)} instead of an object; "
            "write one JSON object per line"
        )
    return Record(str(path), number, value)


def _whole_number(digits: str) -> int:
    return int(digits) if len(digits) < 4000 else int(Decimal(digits))


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"to read {path.name}, run: pip install 'egcfg[datasets]'; or give a .jsonl file"
        ) from error
    try:
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    except (OSError, ArrowException) as error:
        raise _unreadable(path, error) from error
    return rows


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"cannot read {path}: {reason}; check the path and the file")


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    names |= {list: "a list", dict: "an object", type(None): "null"}
    return names[type(value)]
