from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg_backends_fireworks.responses import (
    Choice,
    MalformedResponseError,
    Piece,
    Row,
    Spelling,
    continued_text,
    parse_completion,
    parse_json_object,
    respelt,
)

LOGPROBS = st.floats(-30, -1.5)  # a few of them add up to less than 1
TOKENS = st.text(max_size=4).filter(lambda token: not token.startswith("token_id:"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def body(logprobs: object, text: str = "", **fields: Any) -> bytes:
    choice = {"text": text, "logprobs": logprobs, **fields}
    return json.dumps({"choices": [choice]}).encode()


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    def piece() -> Piece:
        token = draw(TOKENS)
        return Piece(draw(st.none() | st.integers(0, 10**6)), token.encode(), token)

    found = []
    for _ in range(draw(st.integers(1, 4))):
        logprobs = sorted(draw(st.lists(LOGPROBS, max_size=4)), reverse=True)
        found.append(Row(piece(), draw(LOGPROBS), tuple((piece(), p) for p in logprobs)))
    return found


def content_row(piece: Piece, logprob: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "token": piece.text,
        "logprob": logprob,
        "bytes": list(piece.data or b""),
    }
    return row if piece.id is None else row | {"id": piece.id}


@given(rows())
def test_content_rows_are_read_as_they_were_written(written: list[Row]) -> None:
    content = [
        content_row(row.token, row.logprob)
        | {"top_logprobs": [content_row(piece, p) for piece, p in row.alternatives]}
        for row in written
    ]
    [choice] = parse_completion(body({"content": content})).choices
    assert list(choice.rows) == written


@given(st.lists(st.tuples(TOKENS, LOGPROBS, st.dictionaries(TOKENS, LOGPROBS, max_size=4))))
def test_legacy_arrays_are_read_as_they_were_written(
    written: list[tuple[str, float, dict[str, float]]],
) -> None:
    table = {
        "tokens": [token for token, _, _ in written],
        "token_logprobs": [logprob for _, logprob, _ in written],
        "top_logprobs": [top for _, _, top in written],
    }
    [choice] = parse_completion(body(table)).choices
    assert [row.token.text for row in choice.rows] == table["tokens"]
    assert [row.logprob for row in choice.rows] == table["token_logprobs"]
    for row, top in zip(choice.rows, table["top_logprobs"], strict=True):
        assert {piece.text: p for piece, p in row.alternatives} == top
        values = [p for _, p in row.alternatives]
        assert values == sorted(values, reverse=True)


@given(JSON)
def test_any_json_is_read_or_called_malformed(value: object) -> None:
    for raw in (value, {"choices": value}, {"choices": [{"text": "a", "logprobs": value}]}):
        with contextlib.suppress(MalformedResponseError):
            assert parse_completion(json.dumps(raw).encode()).choices


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_called_malformed(value: bytes) -> None:
    with pytest.raises(MalformedResponseError):
        parse_completion(value)


@pytest.mark.parametrize(
    "raw",
    [b"", b"  \n", b"null", b"[]", b"<html>busy</html>", b'{"choices": [{"te', b'"text"'],
    ids=["empty", "blank", "null", "list", "html", "truncated", "string"],
)
def test_bodies_that_are_no_object_are_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedResponseError, match="body"):
        parse_json_object(raw)


def test_an_error_with_status_200_is_malformed_and_quoted() -> None:
    raw = b'{"error": {"message": "overloaded"}, "choices": null}'
    with pytest.raises(MalformedResponseError, match="overloaded"):
        parse_completion(raw)


@pytest.mark.parametrize(
    "logprobs",
    [
        {"tokens": ["a", "b"], "token_logprobs": [-1.0], "top_logprobs": [{}, {}]},
        {"tokens": ["a", "b"], "token_logprobs": [-1.0, -1.0], "top_logprobs": [{}]},
        {"tokens": ["a"], "token_logprobs": [math.nan], "top_logprobs": [{}]},
        {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": math.nan}]},
        {"tokens": ["a"], "token_logprobs": ["-1"], "top_logprobs": [{}]},
        {"tokens": ["a"], "token_logprobs": [2.0], "top_logprobs": [{}]},
        {"tokens": [1], "token_logprobs": [-1.0], "top_logprobs": [{}]},
        {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{}], "token_ids": [1, 2]},
        {"content": [{"token": "a", "logprob": math.nan}]},
        {"content": [{"token": "a", "logprob": True}]},
        {"content": [{"logprob": -1.0}]},
        {"content": [{"token": "a", "logprob": -1.0, "bytes": [300]}]},
        {"content": [{"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "b"}]}]},
        {"content": "a"},
    ],
)
def test_rows_that_do_not_fit_are_malformed(logprobs: object) -> None:
    with pytest.raises(MalformedResponseError):
        parse_completion(body(logprobs))


def test_ids_beside_the_rows_become_the_rows_ids() -> None:
    table = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0}]}
    [choice] = parse_completion(body(table, "a", token_ids=[7])).choices
    assert choice.rows[0].token == Piece(7, None, "a")


def test_ids_that_contradict_each_other_are_malformed() -> None:
    content = [{"token": "a", "id": 8, "logprob": -1.0, "top_logprobs": []}]
    with pytest.raises(MalformedResponseError, match="7"):
        parse_completion(body({"content": content}, "a", token_ids=[7]))


def test_a_prompts_first_row_has_no_logprob() -> None:
    table = {"tokens": ["a", "b"], "token_logprobs": [None, -1.0], "top_logprobs": [None, {}]}
    [choice] = parse_completion(body(table)).choices
    assert [row.logprob for row in choice.rows] == [None, -1.0]


def test_ids_written_as_text_are_ids() -> None:
    table = {
        "tokens": ["token_id:5"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"token_id:5": -0.5, "token_id:6": -1.5}],
    }
    [choice] = parse_completion(body(table)).choices
    assert [piece for piece, _ in choice.rows[0].alternatives] == [Piece(5), Piece(6)]


def test_impossible_alternatives_are_left_out() -> None:
    top = {"a": -0.1, "b": -math.inf}
    table = {"tokens": ["a"], "token_logprobs": [-0.1], "top_logprobs": [top]}
    [choice] = parse_completion(body(table)).choices
    assert choice.rows[0].alternatives == ((Piece(text="a"), -0.1),)


def test_the_ids_after_an_echo_are_those_of_the_generated_tokens() -> None:
    content = [content_row(Piece(id=n, text="a"), -1.0) for n in (5, 6, 7)]

    def read(ids: list[int]) -> list[int | None]:
        choice = {"text": "aaa", "logprobs": {"content": content}, "token_ids": ids}
        [parsed] = parse_completion(json.dumps({"choices": [choice]}).encode()).choices
        return [row.token.id for row in parsed.rows]

    assert read([7]) == read([]) == read([5, 6, 7]) == [5, 6, 7]
    for other in ([8], [6], [4, 5, 6, 7]):
        with pytest.raises(MalformedResponseError, match="ids"):
            read(other)


def test_missing_logprobs_are_no_rows() -> None:
    for logprobs in (None, {}, {"content": None}):
        [choice] = parse_completion(body(logprobs, "a")).choices
        assert choice.rows == ()


def test_choices_come_in_the_order_of_their_index() -> None:
    choices = [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}]
    completion = parse_completion(json.dumps({"choices": choices}).encode())
    assert [choice.text for choice in completion.choices] == ["a", "b"]


@pytest.mark.parametrize("indices", [(0, 0), (1, 2), (0, 2)])
def test_choices_that_are_not_numbered_one_by_one_are_malformed(indices: tuple[int, int]) -> None:
    choices = [{"index": index, "text": "a"} for index in indices]
    with pytest.raises(MalformedResponseError, match="numbered"):
        parse_completion(json.dumps({"choices": choices}).encode())


def test_odd_usage_is_no_fault() -> None:
    for usage in (None, 3, {"prompt_tokens": "many"}, {"prompt_tokens_details": 1}):
        raw = json.dumps({"choices": [{"text": ""}], "usage": usage}).encode()
        assert parse_completion(raw).usage.input_tokens == 0


def test_a_chats_answer_is_read_from_its_message() -> None:
    content = [content_row(Piece(None, b"a", "a"), -0.5) | {"top_logprobs": []}]
    message = {"message": {"content": "a"}, "logprobs": {"content": content}}
    answered = parse_completion(json.dumps({"model": "m", "choices": [message]}).encode())
    assert answered.model == "m"
    assert answered.choices[0].text == "a"
    assert [row.token.text for row in answered.choices[0].rows] == ["a"]
    empty = {"message": {"content": None}, "logprobs": None}
    assert parse_completion(json.dumps({"choices": [empty]}).encode()).choices[0].text == ""


@pytest.mark.parametrize(
    "choice",
    [
        {"text": "a", "finish_reason": "error"},
        {"text": "\ud83e", "logprobs": None},
        {"text": "a", "logprobs": {"content": [{"token": "\ud83e", "logprob": -1}]}},
        {"text": "a", "logprobs": {"content": [{"token": "a", "logprob": -(10**400)}]}},
        {
            "text": "a",
            "logprobs": {
                "tokens": ["a"],
                "token_logprobs": [-0.1],
                "top_logprobs": [{"a": -0.1, "b": -0.2}],
            },
        },
    ],
    ids=["error", "half a text", "half a token", "400 digits", "mass above 1"],
)
def test_what_no_sound_server_says_is_malformed(choice: dict[str, Any]) -> None:
    with pytest.raises(MalformedResponseError):
        parse_completion(json.dumps({"choices": [choice]}).encode())


@given(st.text(min_size=1, max_size=8))
def test_any_text_is_read_from_a_byte_level_vocabulary(text: str) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    spell = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    [(spelt, _)] = spell.pre_tokenize_str(text)
    rows = (Row(Piece(3, None, spelt), -1.0),)
    [row] = respelt(Choice(text="", rows=rows), Spelling.BYTE_LEVEL, named=True).rows
    assert (row.token.id, row.token.data) == (3, text.encode())


@pytest.mark.parametrize(
    ("spelling", "token", "data"),
    [
        (Spelling.SENTENCEPIECE, "\u2581return", b" return"),
        (Spelling.SENTENCEPIECE, "<0x0A>", b"\n"),
        (Spelling.BYTE_LEVEL, "\u0120return\u010a", b" return\n"),
        (Spelling.BYTE_LEVEL, "\u4e2d", None),  # no character of such a vocabulary
    ],
)
def test_spellings_of_vocabularies_stand_for_text(
    spelling: Spelling, token: str, data: bytes | None
) -> None:
    [row] = respelt(
        Choice(text="", rows=(Row(Piece(text=token), -1.0),)), spelling, named=True
    ).rows
    assert row.token.data == data


def test_a_row_that_is_not_named_after_its_token_gets_the_likeliest() -> None:
    listed = ((Piece(text="b"), -0.1), (Piece(text="a"), -3.0))
    [row] = respelt(
        Choice(text="b", rows=(Row(listed[1][0], -3.0, listed),)), Spelling.TEXT, named=False
    ).rows
    assert (row.token.text, row.logprob) == ("b", -0.1)


@pytest.mark.parametrize(
    ("said", "tokens", "text"),
    [
        ("x = 1", ["x", " = ", "1"], "x = 1"),
        ("def f():\n    x = 1", ["x", " = ", "1"], "x = 1"),  # repeats the beginning
        ("def f():\n    x = 1", ["x", " = ", "1", "<end>"], "x = 1"),
        ("def f():", ["\n", "   "], "\n   "),  # and trims the end
        ("", ["<end>"], ""),
        ("other", ["x"], "other"),
    ],
)
def test_a_continued_text_is_what_its_rows_spell(said: str, tokens: list[str], text: str) -> None:
    rows = tuple(Row(Piece(text=token), -0.1) for token in tokens)
    assert continued_text(Choice(text=said, rows=rows), "def f():\n    ").text == text
