"""The page as a file: what it says, what it never does, and how large it gets."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egcfg.reports.aggregate import no_prices
from egcfg.reports.page import overview as overview_module
from egcfg.reports.page import render
from egcfg.reports.page.overview import Overview, overview
from egcfg.reports.page.render import page, unit_page
from egcfg.reports.printable import printable

from .conftest import HOSTILE
from .pages import Page

Make = Callable[..., Path]


def text_of(folder: Path) -> str:
    return page(overview(folder, no_prices))


def test_the_overview_tells_accuracies_intervals_unions_gains_and_losses(make_folder: Make) -> None:
    found = Page(text_of(make_folder(6)))
    # Tasks 1, 2, 4, 5 at gamma 0; 0, 1, 3, 4 at gamma 1.
    assert "mbpp · org_tiny" in found.text
    # Of resampled tasks: the quantiles of a binomial distribution, n = 6 and p = 2/3.
    assert "66.7 33.3 to 100.0" in found.text
    assert "+2 -2" in found.text
    assert "1: ns2t0.75d2_chat_ln, gamma 0" in found.text.partition("solved by any row")[0]  # a tie
    assert "Any row solved 6 of 6 tasks (100.0 %, RSR 100.00)" in found.text
    assert "on the 6 tasks that all 2 rows have" in found.text
    assert "rows 1 2 solved, % 66.7 100.0" in found.text
    assert {"gained", "lost", "same"} == {
        each["data-kind"] for each in found.named("tr") if "data-kind" in each
    }


def test_it_is_one_file_that_loads_nothing(three_tasks: Overview) -> None:
    text = page(three_tasks)
    found = Page(text)
    assert len(found.scripts) == 1
    for tag, attributes in found.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "img"}
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in {"src", "href", "xlink:href", "action"}:
                assert (value or "").startswith("#"), (tag, value)
    assert "url(" not in re.sub(r"url\(#\w+\)", "", text)
    assert "@import" not in text
    [policy] = [m["content"] for m in found.named("meta") if "http-equiv" in m]
    digest = base64.b64encode(hashlib.sha256(found.scripts[0].encode()).digest()).decode()
    assert policy is not None
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_without_a_script_tables_and_charts_are_there(three_tasks: Overview) -> None:
    found = Page(page(three_tasks))
    hidden = [tag for tag, attributes in found.tags if "hidden" in attributes]
    assert sorted(hidden) == ["button", "form", "main", "p"]  # what only scripts use
    assert len([a for a in found.named("svg") if a.get("role") == "img"]) == 3
    assert "egcfg show FILE" in found.text
    assert found.text.count("✓") > 3


def test_the_details_tell_lines_candidates_values_tokens_and_tests(three_tasks: Overview) -> None:
    unit = next(
        each for each in three_tasks.units if each.task_id == "t/1" and "gamma 1" in each.title
    )
    found = Page(unit_page(unit))
    assert "t/1 passed" in found.text
    assert "guidance chose ·x·*·x over ·x·+·x" in found.text
    assert "log-probability -2.25 without the signal, -0.25 with it, -0.50 guided" in found.text
    assert "·x·+·x -0.12" in found.text or "·x·+·x -0.13" in found.text
    assert "✓ program 1 (2 candidates)" in found.text
    assert "✗ program 2 (1 candidate)" in found.text
    assert "total = 9" in found.text
    assert "f(3) → ValueError: no" in found.text
    assert "seen by the decoder" in found.text
    classes = [each.get("class") or "" for each in found.named("tr")]
    assert "raised" in classes
    assert "not-run" not in classes or "ran" in classes
    assert [each.get("title") for each in found.named("mark")] == [
        "without guidance: ·x·+·x",
    ]


def test_packed_details_are_those_that_view_serves(three_tasks: Overview) -> None:
    found = Page(page(three_tasks))
    assert len(found.packed) == len(three_tasks.units) == 6
    for unit in three_tasks.units:
        assert found.details(unit.number) == unit_page(unit)


@pytest.mark.parametrize("records", [True, False])
def test_hostile_text_is_text(make_folder: Make, records: bool) -> None:
    folder = make_folder(2, odd=HOSTILE, records=records)
    shown = overview(folder, no_prices)
    text = page(shown)
    found = Page(text)
    pages = [found, *(Page(unit_page(unit)) for unit in shown.units)]
    assert len(pages) == 5
    for each in pages:
        assert len(each.scripts) == (1 if each is found else 0)
        assert not each.named("img")
        for _, attributes in each.tags:
            assert not [name for name in attributes if name.startswith("on")]
    raw = text + "".join(unit_page(unit) for unit in shown.units)
    assert not re.search("[\x00\x1b\u202e]", raw)
    assert printable(HOSTILE)[:60] in "".join(each.text for each in pages)


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda _, record: record.write_bytes(b"x"), "is no whole record"),
        (lambda _, record: record.unlink(), "is missing"),
        (lambda result, _: result.write_bytes(b"{"), "its result is broken"),
        (lambda result, _: result.write_bytes(b""), "its result is empty"),
        (lambda result, _: result.unlink(), "its result cannot be read"),
    ],
)
def test_what_is_broken_is_told_in_its_place(
    make_folder: Make, break_it: Callable[[Path, Path], Any], why: str
) -> None:
    folder = make_folder(1)
    shown = overview(folder, no_prices)
    unit = shown.units[-1]
    break_it(unit.path, unit.path.with_name(unit.path.name[:-5] + ".record.jsonl.gz"))
    assert why in Page(unit_page(unit)).text


def test_broken_and_empty_results_are_counted_and_named(make_folder: Make) -> None:
    folder = make_folder(3)
    [*others, broken] = sorted(folder.rglob("task_id=*gamma=1.0.json"))
    broken.write_bytes(b"{")
    others[0].write_bytes(b"")
    found = Page(text_of(folder))
    assert "1 result file cannot be understood" in found.text
    assert broken.name in found.text
    assert found.text.count("unreadable") >= 1


def test_files_that_are_left_out_are_counted_and_named(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(3)
    path = next(folder.rglob("task_id=*gamma=1.0.json"))
    for name in ("1e3", "inf"):
        path.with_name(f"task_id=odd_gamma={name}.json").write_bytes(path.read_bytes())
    found = Page(text_of(folder))
    assert "2 files left out" in found.text
    assert "2: no number after _gamma=" in found.text
    assert "task_id=odd_gamma=1e3.json" in found.text
    assert "6 results of egcfg" in found.text
    monkeypatch.setattr(render, "MOST_NAMED", 1)
    found = Page(text_of(folder))
    assert "task_id=odd_gamma=inf.json" not in found.text
    assert "and 1 more" in found.text


def test_a_folder_that_grows_is_read_as_far_as_it_was_listed(make_folder: Make) -> None:
    folder = make_folder(2)
    assert overview(folder, no_prices, lambda _: make_folder(4)).results == 4
    assert overview(folder, no_prices).results == 8


def test_more_tasks_than_are_listed_are_told(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview_module, "MOST_CELLS", 4)
    found = Page(text_of(make_folder(5)))
    assert "The first 2 of 5 tasks are listed; the numbers above are of all." in found.text
    assert "5 tasks;" in found.text


@pytest.mark.parametrize(("share", "left_out"), [(0.85, False), (0.05, True)])
def test_details_have_the_room_that_there_is(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch, share: float, left_out: bool
) -> None:
    shown = overview(make_folder(6), no_prices)
    packed = Page(page(shown)).packed.values()
    details = int(share * sum(map(len, packed))) + len(packed) * render.TAG
    monkeypatch.setattr(render, "LARGEST_PAGE", 0)
    room = len(page(shown).encode()) + details
    monkeypatch.setattr(render, "LARGEST_PAGE", room)
    monkeypatch.setattr(render, "SMALLEST_SHARE", 1)
    text = page(shown)
    assert len(text.encode()) <= room
    found = Page(text)
    small = [number for number in range(12) if f"d{number}" in found.packed]
    texts = [found.details(number) for number in small]
    assert left_out is ("have no details in here" in found.text)
    assert left_out or any("to keep this file small" in each for each in texts)


def test_500_tasks_take_less_than_20_megabytes(
    make_folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has a limit, which the tables alone could pass."""
    monkeypatch.setattr(render, "LARGEST_PAGE", 0)
    tables = len(text_of(make_folder(100, records=False)).encode())
    assert 5 * tables < 1_000_000


def test_a_folder_without_results_is_an_error(tmp_path: Path) -> None:
    from egcfg.errors import RunError

    with pytest.raises(RunError, match="holds no result files"):
        overview(tmp_path, no_prices)
