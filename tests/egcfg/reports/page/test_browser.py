"""The page in headless Chromium: what scripts do, what is seen, and that nothing is loaded."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from egcfg.reports.aggregate import no_prices
from egcfg.reports.page.overview import overview
from egcfg.reports.page.render import page
from egcfg.reports.page.serving import PageServer

from .conftest import HOSTILE

playwright = pytest.importorskip("playwright.sync_api", reason="make test-browser installs it")
pytestmark = pytest.mark.browser

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None
)
SHOTS = os.environ.get("EGCFG_TEST_SCREENSHOTS")
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    assert CHROMIUM is not None, "no Chromium: apt-get install chromium-headless-shell"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open the page of a folder from a file, and see that it says and asks for nothing odd."""
    odd: list[str] = []
    contexts: list[Any] = []

    def opened(folder: Path | None, address: str = "", **options: Any) -> Any:
        if folder is not None:
            file = tmp_path / "page.html"
            file.write_text(page(overview(folder, no_prices)), encoding="utf-8")
            address = file.as_uri()
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: odd.append(message.text))
        tab.on("pageerror", lambda error: odd.append(str(error)))
        tab.on("dialog", lambda dialog: odd.append(dialog.message))
        origin = address.partition("#")[0]
        tab.on(
            "request",
            lambda request: None if request.url.startswith(origin) else odd.append(request.url),
        )
        tab.goto(address)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert odd == []


def shoot(tab: Any, name: str) -> None:
    """Keep a picture for a person to look at, where one is wanted."""
    if SHOTS:
        tab.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


def shown_tasks(tab: Any) -> list[str]:
    return [row.inner_text() for row in tab.locator("table.tasks tbody tr:visible th").all()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_overview_follows_the_systems_colours(
    open_page: Callable[..., Any], make_folder: Callable[..., Path], scheme: str
) -> None:
    tab = open_page(make_folder(6), color_scheme=scheme)
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(20, 23, 26)") is (scheme == "dark")
    shoot(tab, f"overview-{scheme}")
    tab.locator("#theme").click()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != paper


def test_tasks_are_found_filtered_and_sorted(
    open_page: Callable[..., Any], make_folder: Callable[..., Path]
) -> None:
    tab = open_page(make_folder(12))
    assert shown_tasks(tab) == [f"t/{n}" for n in range(12)]
    tab.locator("form.filter input").fill("T/1")
    assert shown_tasks(tab) == ["t/1", "t/10", "t/11"]
    assert tab.locator("form.filter output").inner_text() == "3 of 12 tasks"
    tab.locator("form.filter input").fill("")
    tab.locator("form.filter select").select_option("gained")
    assert shown_tasks(tab) == ["t/0", "t/3", "t/6", "t/9"]
    tab.locator("form.filter select").select_option("")
    heading = tab.locator("table.tasks thead button").first
    heading.click()
    heading.click()
    assert shown_tasks(tab)[:3] == ["t/11", "t/10", "t/9"]
    assert tab.locator("table.tasks thead th").first.get_attribute("aria-sort") == "descending"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_details_are_unpacked_and_shown(
    open_page: Callable[..., Any], make_folder: Callable[..., Path], scheme: str
) -> None:
    tab = open_page(make_folder(3), color_scheme=scheme)
    tab.locator("table.tasks tbody tr").nth(1).locator("a").nth(1).click()
    tab.locator("#unit h2").wait_for()
    assert tab.locator("#unit h2").inner_text() == "t/1 passed"
    assert tab.locator("#overview").is_hidden()
    assert tab.locator("#unit mark").inner_text() == " x * x"
    tab.locator("#unit summary:has-text('program 2')").first.click(force=True)
    for details in tab.locator("#unit details").all():
        details.evaluate("each => { each.open = true; }")
    assert tab.locator("#unit .values .error").first.inner_text() == "ValueError: no"
    shoot(tab, f"unit-{scheme}")
    tab.go_back()
    tab.locator("#overview").wait_for()


def test_everything_is_done_by_keys(
    open_page: Callable[..., Any], make_folder: Callable[..., Path]
) -> None:
    tab = open_page(make_folder(4))
    tab.keyboard.press("/")
    tab.keyboard.type("t/2")
    assert shown_tasks(tab) == ["t/2"]
    tab.keyboard.press("Escape")
    tab.keyboard.press("j")
    tab.keyboard.press("Enter")
    tab.locator("#unit h2").wait_for()
    assert tab.locator("#unit h2").inner_text().startswith("t/2")
    tab.keyboard.press("n")
    tab.wait_for_function("location.hash === '#u5'")
    tab.keyboard.press("p")
    tab.wait_for_function("location.hash === '#u4'")
    tab.keyboard.press("Escape")
    tab.locator("#overview").wait_for()


def test_it_fits_a_phone(open_page: Callable[..., Any], make_folder: Callable[..., Path]) -> None:
    tab = open_page(make_folder(4), viewport=PHONE, device_scale_factor=2)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert tab.evaluate(wide) <= 0
    shoot(tab, "overview-phone")
    tab.locator("table.tasks td a").nth(3).click()
    tab.locator("#unit h2").wait_for()
    for details in tab.locator("#unit details").all():
        details.evaluate("each => { each.open = true; }")
    assert tab.evaluate(wide) <= 0
    shoot(tab, "unit-phone")


def test_without_scripts_tables_read(
    open_page: Callable[..., Any], make_folder: Callable[..., Path]
) -> None:
    tab = open_page(make_folder(4), java_script_enabled=False)
    assert tab.locator("table.tasks tbody tr").count() == 4
    assert tab.locator("svg.chart").first.is_visible()
    assert "egcfg show FILE" in tab.locator("body").inner_text()
    assert tab.locator("form.filter").is_hidden()
    shoot(tab, "no-script")


def test_hostile_text_does_nothing(
    open_page: Callable[..., Any], make_folder: Callable[..., Path]
) -> None:
    tab = open_page(make_folder(2, odd=HOSTILE))
    for number in range(4):
        tab.goto(tab.url.partition("#")[0] + f"#u{number}")
        tab.locator("#unit h2").wait_for()
        assert "alert(1)" in tab.locator("#unit").inner_text()
    assert tab.locator("script:not([type])").count() == 1
    shoot(tab, "hostile")


def test_view_serves_the_same(
    open_page: Callable[..., Any], make_folder: Callable[..., Path]
) -> None:
    with PageServer(overview(make_folder(3), no_prices)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            tab = open_page(None, server.address)
            tab.locator("table.tasks td a").nth(3).click()
            tab.locator("#unit h2").wait_for()
            assert tab.locator("#unit h2").inner_text() == "t/1 passed"
            tab.close()
        finally:
            server.shutdown()
            thread.join()
