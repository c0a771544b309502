"""Charts: they take the page's colours, and any names."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from egcfg.reports.page import charts

ODD = "$x_1$ <b>&\x1b 数 \u202e"


def draw() -> list[str]:
    rows = [(f"{n}: {ODD}", 50.0, 40.0, 60.0) for n in range(40)]
    series = {f"{n}: {ODD}": [(0.0, 0.0), (90.0, 40.0)] for n in range(charts.SERIES)}
    return [
        charts.intervals(rows),
        charts.curves(series, "tokens", "curves"),
        charts.curves({"none": [(0.0, 0.0)]}, "tokens", "empty"),
        charts.unions([10.0, 20.0]),
    ]


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    return draw()


@pytest.mark.parametrize("number", range(4))
def test_a_chart_is_whole_and_takes_the_pages_colours(drawn: list[str], number: int) -> None:
    text = drawn[number]
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    assert root.get("width") is None
    assert root.get("viewBox")
    assert "currentColor" in text
    assert "var(--series-" in text
    assert charts.INK not in text
    assert not any(colour in text for colour in charts.COLOURS)


def test_names_are_letters_not_formulas(drawn: list[str]) -> None:
    text = drawn[1]
    assert "$x_1$ &lt;b&gt;&amp;\\x1b 数 \\u202e" in text


def test_the_same_numbers_give_the_same_chart(drawn: list[str]) -> None:
    assert draw() == drawn
