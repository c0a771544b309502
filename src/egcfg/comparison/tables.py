"""A comparison as text for people: tables for a terminal, or as markdown."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from attrs import frozen
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from egcfg.comparison.arms import COUNTS
from egcfg.comparison.comparison import Comparison, Duel, Share

__all__ = ["MEANINGS", "as_markdown", "as_text", "budget_name"]

UNKNOWN = "-"
MOST_TASKS_NAMED = 40
WIDEST = 10_000
"""Columns that any table fits into."""
MEANINGS = {
    "tokens": "tokens per task (prompt tokens that no cache answered, and generated ones)",
    "all-tokens": "tokens per task (prompt tokens, cached ones included, and generated ones)",
    "output": "generated tokens per task",
    "calls": "model calls per task",
    "passes": "passes through the model per task",
    "requests": "requests per task",
    "executions": "executed programs per task",
}


@frozen
class Table:
    """A table of texts.

    Attributes:
        title: what it shows.
        header: names of its columns; the first one is aligned to the left.
        rows: its cells.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def as_text(comparison: Comparison) -> str:
    """Return tables as wide as they are, and what they mean."""
    parts = [_headline(comparison)]
    parts += [f"{table.title}\n{_aligned(table)}" for table in _tables(comparison, _percent)]
    return "\n\n".join([*parts, "\n".join(_lines(comparison))]) + "\n"


def as_markdown(comparison: Comparison) -> str:
    """Return the same as markdown, with the interval of every share."""
    parts = [_headline(comparison)]
    for table in _tables(comparison, _percent_and_interval, with_interval=False):
        rule = ["---", *["---:"] * (len(table.header) - 1)]
        rows = [table.header, rule, *table.rows]
        parts += [
            f"**{_escaped(table.title)}**",
            "\n".join("| " + " | ".join(map(_escaped, row)) + " |" for row in rows),
        ]
    parts.append("\n".join(f"- {_escaped(line)}" for line in _lines(comparison)))
    return "\n\n".join(parts) + "\n"


def budget_name(budget: int | None) -> str:
    """Return a budget as a column is called: 250, 1k, 16k; ``end`` for no limit."""
    if budget is None:
        return "end"
    return f"{budget // 1000}k" if budget >= 1000 and budget % 1000 == 0 else str(budget)


def _headline(comparison: Comparison) -> str:
    arms = [row.arm for row in comparison.rows]
    names = [
        " and ".join(dict.fromkeys(name for name in each if name is not None))
        for each in ([arm.dataset for arm in arms], [arm.model for arm in arms])
    ]
    tests = [] if _tests_differ(comparison) else dict.fromkeys(arm.tests.words() for arm in arms)
    done, planned = len(comparison.tasks), comparison.planned
    tasks = f"{done if done == planned else f'{done} of {planned}'} task{'s' * (planned != 1)}"
    return " · ".join([*filter(None, names), tasks, *tests])


def _tests_differ(comparison: Comparison) -> bool:
    """Whether the arms were told, or scored by, different numbers of tests: then a column says."""
    return len({row.arm.tests.short for row in comparison.rows}) > 1


def _tables(
    comparison: Comparison, cell: Callable[[Share | None], str], *, with_interval: bool = True
) -> list[Table]:
    """Return the tables; `with_interval` adds a column with the interval of the last share."""
    columns = (*comparison.budgets, None)
    interval = ["95 %"] if with_interval else []
    tests = ["seen/scored"] if _tests_differ(comparison) else []
    header = [
        "arm",
        *tests,
        "tasks",
        *map(budget_name, columns),
        *interval,
        "oracle",
        "false accepts",
    ]
    solved = Table(
        f"Solved, in %, within so many {MEANINGS[comparison.axis.value]}",
        header,
        [
            [
                row.arm.label,
                *(row.arm.tests.short for _ in tests),
                str(row.done) if row.done == row.tasks else f"{row.done} of {row.tasks}",
                *map(cell, row.shares),
                *(_interval(row.shares[-1]) for _ in interval),
                f"{100 * row.reachable / row.done:.1f}",
                f"{row.false_accepts}/{row.accepted}" if row.accepted else UNKNOWN,
            ]
            for row in comparison.rows
        ],
    )
    costs = Table(
        "What a task took, mean; cached are prompt tokens that a cache answered",
        ["arm", *COUNTS, "seconds"],
        [
            [
                row.arm.label,
                *(_number(row.arm.mean(count)) for count in COUNTS),
                _number(row.arm.mean_seconds),
            ]
            for row in comparison.rows
        ],
    )
    return [solved, *_without_unknown(costs), *_duel_tables(comparison)]


def _without_unknown(table: Table) -> list[Table]:
    """Return a table without columns that say nothing in any row; none if no other is left."""
    kept = [
        at
        for at in range(len(table.header))
        if at == 0 or any(row[at] not in (UNKNOWN, "0") for row in table.rows)
    ]
    header, rows = [table.header[at] for at in kept], [[r[at] for at in kept] for r in table.rows]
    return [Table(table.title, header, rows)] if len(kept) > 1 else []


def _duel_tables(comparison: Comparison) -> list[Table]:
    tables = []
    for baseline in dict.fromkeys(duel.baseline for duel in comparison.duels):
        duels = [duel for duel in comparison.duels if duel.baseline == baseline]
        budgets = tuple(dict.fromkeys(duel.budget for duel in duels))
        by_arm = {
            label: {duel.budget: duel for duel in duels if duel.label == label}
            for label in dict.fromkeys(duel.label for duel in duels)
        }
        rows = [
            [label, str(next(iter(found.values())).tasks), *(_duel(found.get(b)) for b in budgets)]
            for label, found in by_arm.items()
        ]
        title = (
            f"Against {baseline} at equal cost (end: whatever each took): tasks gained and lost, "
            "and p of McNemar's exact test"
        )
        tables.append(Table(title, ["arm", "tasks", *map(budget_name, budgets)], rows))
    return tables


def _lines(comparison: Comparison) -> list[str]:
    lines = []
    for duel in comparison.duels:
        if duel.budget is None:
            low_high = (
                ""
                if duel.interval is None
                else f" (95 %: {100 * duel.interval[0]:+.1f} to {100 * duel.interval[1]:+.1f})"
            )
            lines.append(
                f"{duel.label} against {duel.baseline}: {100 * duel.difference:+.1f} "
                f"points{low_high}; gained {_tasks(duel.gained)}; lost {_tasks(duel.lost)}"
            )
    tasks = len(comparison.tasks)
    if len(comparison.rows) > 1:
        lines.append(
            f"union {len(comparison.union)}/{tasks} = {100 * len(comparison.union) / tasks:.1f} %, "
            f"oracle over all arms {len(comparison.reachable)}/{tasks}: the scoring tests pick, "
            "so this is what no user without them would see"
        )
    if _tests_differ(comparison):
        lines.append(
            "seen/scored: how many tests of a task its decoder saw, and how many decided; ?: not "
            "written down"
        )
    lines.append(
        "oracle: tasks that any answer solved which stood at some time; false accepts: answers "
        "that passed all visible tests, but not the scoring ones"
    )
    return [*lines, *comparison.notes]


def _aligned(table: Table) -> str:
    shown = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for number, name in enumerate(table.header):
        shown.add_column(Text(name), justify="right" if number else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*map(Text, row))
    console = Console(file=io.StringIO(), width=WIDEST, color_system=None)
    with console.capture() as capture:
        console.print(shown)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _percent(share: Share | None) -> str:
    return UNKNOWN if share is None else f"{share.percent:.1f}"


def _percent_and_interval(share: Share | None) -> str:
    return UNKNOWN if share is None else f"{_percent(share)} ({_interval(share)})"


def _interval(share: Share | None) -> str:
    if share is None:
        return UNKNOWN
    low, high = share.interval
    return f"{100 * low:.0f}-{100 * high:.0f}"


def _duel(duel: Duel | None) -> str:
    if duel is None:
        return UNKNOWN
    return f"+{len(duel.gained)} -{len(duel.lost)} {_p(duel.p)}"


def _p(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.2f}" if p >= 0.095 else f"{p:.3f}"


def _tasks(tasks: Sequence[str]) -> str:
    if not tasks:
        return "none"
    more = len(tasks) - MOST_TASKS_NAMED
    return ", ".join(tasks[:MOST_TASKS_NAMED]) + (f" and {more} more" if more > 0 else "")


def _number(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.1f}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
