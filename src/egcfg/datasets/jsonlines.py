"""Reads JSON-lines files, plain or gzipped, and names file, line and field in every complaint."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from attrs import frozen

from egcfg.errors import DataError, did_you_mean

__all__ = ["Record", "read_records"]

_GZIP_MAGIC = b"\x1f\x8b"


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


def read_records(path: Path) -> list[Record]:
    """Return the objects of a JSON-lines file; blank lines are skipped.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.
    """
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP_MAGIC):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot read {path}: {reason}; check the path and the file") from error
    records = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {number}: no JSON ({error.msg}); write one JSON object per line"
            ) from error
        if not isinstance(value, dict):
            raise DataError(
                f"{path}, line {number}: {_kind(value)} instead of an object; "
                "write one JSON object per line"
            )
        records.append(Record(str(path), number, value))
    if not records:
        raise DataError(f"{path} holds no problem; write one JSON object per line")
    return records


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    names |= {list: "a list", dict: "an object", type(None): "null"}
    return names[type(value)]
