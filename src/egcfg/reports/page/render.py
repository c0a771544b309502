"""Makes the page: templates filled in, with details of units packed or left to be asked for."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from attrs import frozen
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from egcfg.errors import RunError
from egcfg.records.reading import MalformedRecordError, read_record_of, record_beside
from egcfg.reports.page.overview import Overview, Unit
from egcfg.reports.page.unit_view import UnitView, unit_view
from egcfg.reports.printable import printable
from egcfg.reports.table import short_count
from egcfg.runs.result_file import MalformedResultError, load_result
from egcfg.runs.results import Result
from egcfg.usage.budget import count_text

__all__ = ["LARGEST_PAGE", "page", "policy", "unit_page"]

LARGEST_PAGE = 19_500_000
"""Bytes of a file: details of units have the room that the tables leave."""

TAG = len('<script type="text/plain" id="d100000"></script>\n')

SMALLEST_SHARE = 4000
"""Bytes for the steps of one unit; of more units than have so many, the first ones count."""

MOST_NAMED = 1000
"""Files named of those that are left out for one reason."""

LEXER, FORMATTER = PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)

TEMPLATES = resources.files("egcfg.reports.page") / "templates"


@frozen
class Packed:
    """Details of a unit inside the page.

    Attributes:
        number: of the unit.
        data: gzip data, in base64.
    """

    number: int
    data: str


def page(
    overview: Overview, *, live: bool = False, on_packed: Callable[[int], None] = lambda _: None
) -> str:
    """Return the page of a folder.

    Args:
        overview: the folder.
        live: whether details are asked for one by one, rather than packed into the page.
        on_packed: is told how many units are packed so far.
    """
    template = _environment().get_template("page.html").render
    fixed = {
        "overview": overview,
        "live": live,
        "script": _text("page.js"),
        "style": _text("page.css"),
        "policy": policy(live=live),
        "most_named": MOST_NAMED,
    }
    if live:
        return template(fixed, packed=(), without=0)
    tables = template(fixed, packed=(), without=len(overview.units))
    room = LARGEST_PAGE - len(tables.encode("utf-8", "replace"))
    packed = list(_packed(overview.units, room, on_packed))
    return template(fixed, packed=packed, without=len(overview.units) - len(packed))


def unit_page(unit: Unit, *, with_record: bool = True) -> str:
    """Return the details of a unit: part of a page, without a frame of its own.

    Whatever is wrong with its files is said in it.
    """
    return (
        _environment()
        .get_template("unit.html")
        .render(unit=unit, view=_view(unit.path, with_record=with_record))
    )


def policy(*, live: bool) -> str:
    """Return the page's content security policy: its own script and nothing from elsewhere."""
    digest = base64.b64encode(hashlib.sha256(_text("page.js").encode()).digest()).decode()
    asks = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        f"connect-src {asks}; base-uri 'none'; form-action 'none'"
    )


def _packed(units: Sequence[Unit], left: int, on_packed: Callable[[int], None]) -> Iterator[Packed]:
    """Yield the details of units: first of recorded ones, with their steps as far as there is room
    for them, where one may take what others leave; then of the others, as long as there is any."""
    recorded = [unit for unit in units if unit.recorded][: max(0, left) // SMALLEST_SHARE]
    for number, unit in enumerate(recorded):
        room = min(left, 2 * left // (len(recorded) - number))
        for with_record in (True, False):
            data = _pack(unit_page(unit, with_record=with_record))
            if len(data) + TAG <= room:
                left -= len(data) + TAG
                yield Packed(unit.number, data)
                break
        on_packed(number + 1)
    others = (unit for unit in units if not unit.recorded)
    for number, unit in enumerate(others, start=len(recorded)):
        data = _pack(unit_page(unit))
        if len(data) + TAG > left:
            return
        left -= len(data) + TAG
        yield Packed(unit.number, data)
        on_packed(number + 1)


def _pack(text: str) -> str:
    """Return a text as a script of the page unpacks it."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), mtime=0)).decode()


def _view(path: Path, *, with_record: bool) -> UnitView:
    try:
        data = path.read_bytes()
        result = load_result(data) if data.strip() else None
    except OSError as error:
        return unit_view(Result(), None, f"its result cannot be read: {error.strerror}")
    except MalformedResultError as error:
        return unit_view(Result(), None, f"its result is broken: {error}")
    if result is None:
        return unit_view(Result(), None, "its result is empty: a run that was killed left it")
    if result.record is None:
        return unit_view(result, None, "no steps were recorded; egcfg run --record keeps them")
    if not with_record:
        why = "its steps are left out to keep this file small: egcfg view and egcfg show have them"
        return unit_view(result, None, why)
    record = record_beside(path, result)
    if record is None:
        return unit_view(result, None, f"its record {result.record} is missing")
    try:
        return unit_view(result, read_record_of(record))
    except MalformedRecordError as error:
        return unit_view(result, None, str(error).partition("; delete")[0])
    except RunError as error:
        return unit_view(result, None, str(error))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("egcfg.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Of what models and programs wrote, nothing reorders or hides the page's text.
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {
        "count": count_text,
        "python": _python,
        "number": _number,
        "short": short_count,
        "visible": _visible,
    }
    return environment


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:z.{digits}f}"


def _python(source: str) -> Markup:
    """Return a program in colours, as the page's style names them."""
    return Markup(highlight(printable(source), LEXER, FORMATTER).rstrip("\n"))


def _visible(text: Any) -> str:
    """Return a token's text with its blanks to be seen."""
    return re.sub(r"\n", "⏎", str(text)).replace(" ", "·").replace("\t", "⇥") or "∅"


@cache
def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
