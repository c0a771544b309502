"""Charts as SVG that takes its colours from the page, so that they fit light and dark alike."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from egcfg.reports.printable import printable_line

__all__ = ["SERIES", "curves", "intervals", "unions"]

SERIES = 8
"""Series that have a colour of their own, as the page's style names them: ``--series-0`` and on."""

INK = "#010203"
COLOURS = [f"#aabb{number:02x}" for number in range(SERIES)]
MARKS = "osD^vP*X"

STYLE: Any = {
    "font.size": 9,
    "svg.fonttype": "none",  # letters stay letters: a screen reader reads them
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "legend.frameon": False,
}


def intervals(rows: Sequence[tuple[str, float, float, float]]) -> Markup:
    """Draw shares with their intervals.

    Args:
        rows: of each its name, its share and the ends of its interval, in percent.
    """

    def draw(axes: Any) -> None:
        for place, (_, share, low, high) in enumerate(rows):
            axes.plot([low, high], [place, place], color=COLOURS[0], linewidth=2, alpha=0.5)
            axes.plot([share], [place], color=COLOURS[0], marker="o", markersize=5, clip_on=False)
        axes.set_yticks(range(len(rows)), [_name(name) for name, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.set_xlabel("solved, % (with 95 % interval)")

    return _svg("accuracy", draw, height=0.9 + 0.28 * len(rows))


def curves(series: Mapping[str, Sequence[tuple[float, float]]], xlabel: str, title: str) -> Markup:
    """Draw steps: at each x, y holds from there on.

    Args:
        series: points of each curve by its name, at most `SERIES`.
        xlabel: what x counts.
        title: names the chart.
    """

    def draw(axes: Any) -> None:
        from matplotlib.ticker import EngFormatter, NullFormatter

        found = [x for points in series.values() for x, _ in points if x > 0] or [1.0]
        first, last = min(found) / 2, max(found)
        for number, (name, points) in enumerate(series.items()):
            xs = [max(x, first) for x, _ in points] + [last * 1.1]
            ys = [y for _, y in points] + [points[-1][1]]
            axes.step(
                *(xs, ys),
                where="post",
                color=COLOURS[number],
                marker=MARKS[number],
                markersize=3,
                markevery=max(1, len(xs) // 6),
                label=_name(name),
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(
            NullFormatter() if last > 10 * first else EngFormatter(sep="")
        )
        axes.set_ylim(0, None)
        axes.set_xlabel(xlabel)
        axes.set_ylabel("solved, %")
        axes.legend(loc="best", fontsize=8)

    return _svg(title, draw)


def unions(shares: Sequence[float]) -> Markup:
    """Draw the expected union, in percent, by the number of rows."""

    def draw(axes: Any) -> None:
        axes.plot(range(1, len(shares) + 1), shares, color=COLOURS[1], marker="o", clip_on=False)
        axes.set_ylim(0, 100)
        axes.set_xlabel("rows tried, over all orders")
        axes.set_ylabel("any of them solved, %")
        axes.xaxis.get_major_locator().set_params(integer=True)

    return _svg("union", draw, height=2.6)


def _name(name: str) -> str:
    return printable_line(name)


def _svg(title: str, draw: Any, height: float = 3.4) -> Markup:
    # Not pyplot, which would look for a display and keep state.
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({**STYLE, "svg.hashsalt": title}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that its own font lacks; the browser has others
        figure = Figure(figsize=(7.2, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    for number, colour in enumerate(COLOURS):
        text = text.replace(colour, f"var(--series-{number})")
    # As wide as the page lets it be.
    text = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.S)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{title}" class="chart" ', 1))
