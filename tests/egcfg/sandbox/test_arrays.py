"""Arrays and scalars of numpy across the codec: whole, or refused; and hostile bytes for them."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.sandbox.confined import arrays, codec

VALUES = {
    "matrix": np.arange(6).reshape(2, 3),
    "transposed": np.arange(6).reshape(2, 3).T,
    "strided": np.arange(10)[::3],
    "no items": np.zeros((0, 5)),
    "no dimensions": np.array(3),
    "not a number": np.array([np.nan, np.inf, -0.0]),
    "big-endian": np.array([1, 2], dtype=">i4"),
    "half": np.float16(1.5),
    "double": np.float64(2.5),
    "complex": np.complex64(1 - 2j),
    "integer": np.int8(-3),
    "truth": np.bool_(True),
    "truths": np.array([True, False]),
    "text": np.array(["a", "bcé"]),
    "one text": np.str_("hé"),
    "bytes": np.array([b"x", b"yz"]),
    "dates": np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
    "duration": np.timedelta64(3, "s"),
}


@pytest.mark.parametrize("name", VALUES)
def test_an_array_arrives_as_it_was(name: str) -> None:
    value: Any = VALUES[name]
    for found in (codec.decode(codec.encode(value)), *codec.decode(codec.encode([value]))):
        assert type(found) is type(value)
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        assert found.tobytes() == value.tobytes()


def test_an_array_that_arrived_can_be_changed() -> None:
    found = codec.decode(codec.encode(np.arange(3)))
    found[0] = 7
    assert found.tolist() == [7, 1, 2]


def test_a_subclass_is_reduced_to_the_array_beneath() -> None:
    class Equal(np.ndarray):
        def __eq__(self, other: object) -> Any:
            return np.True_

        def tobytes(self, *_: Any) -> bytes:  # type: ignore[override]
            return b"forged"

    found = codec.decode(codec.encode(np.arange(3).view(Equal)))
    assert type(found) is np.ndarray
    assert found.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.ma.array([1, 2], mask=[True, False]),
        np.array([(1, 2)], dtype=[("a", int), ("b", int)]),
    ],
    ids=["objects", "masked", "records"],
)
def test_what_is_not_all_there_in_its_bytes_is_refused(value: object) -> None:
    with pytest.raises(codec.EncodeError, match="cannot be carried over"):
        codec.encode(value)


def test_an_array_is_bounded_as_other_values_are() -> None:
    with pytest.raises(codec.EncodeError, match="bytes"):
        codec.encode(np.zeros(codec.DEFAULT.size, dtype=np.uint8))


def test_a_process_without_numpy_imports_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "numpy")
    assert arrays.to_parts(object()) is None
    assert "numpy" not in sys.modules


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (("|O", (1,), b"\0" * 8), "parts expected"),
        (("|V8", (1,), b"\0" * 8), "parts expected"),
        (("<i8", [1], b"\0" * 8), "shape expected"),
        (("<i8", (True,), b"\0" * 8), "shape expected"),
        (("<i8", (-1,), b""), "as many as"),
        (("<i8", (-1, -1), b"\0" * 8), "as many as"),
        (("<i8", (2,), b"\0" * 8), "as many as"),
        (("<i8", (1,) * 100, b"\0" * 8), "malformed"),
        (("<i8", (0, 1 << 62, 1 << 62), b""), "malformed|as many"),
        (("<U0", (1 << 40,), b""), "as many as"),
        (("<i7", (1,), b"\0" * 7), "malformed"),
        (("|b1", (1,), b"\2"), "neither true nor false"),
        (("<U1", (1,), b"\xff\xff\xff\xff"), "a character is none"),
        (("<M8[1000000000000Y]", (1,), b"\0" * 8), "expected|malformed"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: tuple[Any, ...], reason: str) -> None:
    body = b"A" + b"".join(map(codec.encode, parts))
    with pytest.raises(codec.DecodeError, match=reason):
        codec.decode(body)


@given(
    st.from_regex(r"[<>|=][biufcSUmMOV?]\d{1,3}(\[[a-zA-Z]{1,2}\])?", fullmatch=True),
    st.none() | st.lists(st.integers(-2, 4), max_size=3).map(tuple),
    st.binary(max_size=64),
)
def test_any_parts_are_an_array_or_an_error_of_the_codec(
    dtype: str, shape: tuple[int, ...] | None, data: bytes
) -> None:
    try:
        found = codec.decode(b"A" + b"".join(map(codec.encode, (dtype, shape, data))))
    except codec.DecodeError:
        return
    assert isinstance(found, np.ndarray | np.generic)
    assert found.nbytes == len(data)
