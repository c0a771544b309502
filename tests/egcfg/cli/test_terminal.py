"""Text of models and programs cannot drive the terminal."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.cli.terminal import console, printable, printable_json, printable_line

ANY_TEXT = st.text(st.characters())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("größer ≠ 数", "größer ≠ 数"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("back\b\rspace", "back\\x08\\rspace"),
        ("c1 \x9b31m", "c1 \\x9b31m"),
        ("right\u202eto left", "right\\u202eto left"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028break", "line\\u2028break"),
        ("half \ud800", "half \\ud800"),
        ("delete\x7f", "delete\\x7f"),
    ],
)
def test_what_could_drive_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY_TEXT)
def test_nothing_that_is_shown_is_a_control_character(text: str) -> None:
    shown = printable(text)

    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in shown if c not in "\n\t")
    shown.encode()


@given(ANY_TEXT, st.booleans())
def test_json_keeps_its_values_and_drives_no_terminal(text: str, ascii_only: bool) -> None:
    shown = printable_json(json.dumps({text: [text]}, ensure_ascii=ascii_only))

    assert json.loads(shown) == {text: [text]}
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in shown)


@given(ANY_TEXT)
def test_a_line_stays_one_line(text: str) -> None:
    assert len(printable_line(text).splitlines()) <= 1


def test_the_console_takes_markup_and_emoji_as_text() -> None:
    stream = io.StringIO()

    console(stream).print("[bold]x[/bold] :smile: [/]")

    assert stream.getvalue() == "[bold]x[/bold] :smile: [/]\n"
