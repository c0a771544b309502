"""A comparison as a figure: the share of solved tasks over what a task may take, a line per arm."""

from __future__ import annotations

import io
from typing import Any

from egcfg.comparison.comparison import Comparison, Row, curve
from egcfg.comparison.tables import MEANINGS, budget_name
from egcfg.errors import MissingExtraError

__all__ = ["as_svg"]

# Told apart also in print and by who sees few colours (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")


def as_svg(comparison: Comparison) -> bytes:
    """Return the figure as SVG; the same comparison gives the same bytes.

    Arms whose costs are not known are dotted level lines. Bars are 95 % intervals at the budgets.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "figures need the package 'matplotlib'; run: pip install 'egcfg[compare]'"
        ) from error
    with mpl.rc_context({"svg.hashsalt": "egcfg", "font.size": 9}):
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        axes = figure.add_subplot()
        ends = [_draw(axes, number, row, comparison) for number, row in enumerate(comparison.rows)]
        _label(axes, comparison, max([1, *ends]))
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _draw(axes: Any, number: int, row: Row, comparison: Comparison) -> int:
    """Draw an arm; return where its line ends."""
    colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]
    look: dict[str, Any] = {"color": colour, "linestyle": style, "label": _name(row)}
    points = curve(row.arm, comparison.axis)
    if not points:
        if not comparison.budgets or row.shares[0] is None:  # else no task has an answer
            look |= {"linestyle": ":", "label": f"{_name(row)} (cost not known)"}
        if (share := row.shares[-1]) is not None:
            axes.axhline(share.percent, linewidth=1, **look)
        return 1
    costs, solved = zip(*points, strict=True)
    last = max(costs[-1], *comparison.budgets, 1)
    shares = [100 * each / row.done for each in solved]
    axes.step([*costs, last], [*shares, shares[-1]], where="post", linewidth=1.4, **look)
    spread = 1 + 0.02 * (number - len(comparison.rows) / 2)  # so that bars do not hide each other
    for budget, share in zip(comparison.budgets, row.shares, strict=False):
        if share is not None:
            low, high = (100 * each for each in share.interval)
            axes.vlines(budget * spread, low, high, color=colour, linewidth=0.7, alpha=0.6)
    return int(last)


def _label(axes: Any, comparison: Comparison, end: int) -> None:
    axes.set_xscale("log", base=2)
    budgets = comparison.budgets or (1, end)
    axes.set_xlim(min(budgets) / 1.5, max(end, *budgets) * 1.1)
    axes.set_xticks(budgets, [budget_name(budget) for budget in budgets])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(MEANINGS[comparison.axis.value])
    axes.set_ylabel(f"solved, % of {len(comparison.tasks)} tasks")
    axes.grid(linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _name(row: Row) -> str:
    label = row.arm.label.replace("$", r"\$")
    return label if row.done == row.tasks else f"{label} ({row.done} of {row.tasks} tasks)"
