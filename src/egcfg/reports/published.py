"""Published figures, each with the protocol that it was reached by: cited, not measured here.

Two of them can be held against each other where tasks, tests seen and the kind of number are the
same, and nowhere else.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from itertools import groupby

from attrs import asdict, field, frozen
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from egcfg.reports import export

__all__ = ["FIGURES", "Figure", "NumberKind", "Protocol", "as_csv", "as_json", "figures_view"]

UNKNOWN = "-"


class NumberKind(enum.StrEnum):
    """What a share of solved tasks says.

    ``SINGLE``: one answer per task. ``UNION``: a task counts if one of several answers passes the
    tests that score, so an oracle picks.
    """

    SINGLE = "single run"
    UNION = "union"


@frozen
class Protocol:
    """How a method was run, by its own paper and code; what is not told is empty.

    Attributes:
        tasks: of the data set.
        tests_seen: which tests it sees of those that score.
        stops_on: what ends its tries.
    """

    tasks: int
    tests_seen: str = ""
    stops_on: str = ""


@frozen
class Figure:
    """A share of solved tasks, as it was published.

    Attributes:
        dataset: name of the data set here.
        model: what was asked.
        method: name of the method here; ``greedy`` is the unguided model.
        accuracy: solved tasks, in percent.
        protocol: how it was run.
        number: what that share says.
        note: what else one must know.
        source: where it was published.
        gamma: of guided decoding, where it is that of a single one.
    """

    dataset: str
    model: str
    method: str
    accuracy: float
    protocol: Protocol
    number: NumberKind = NumberKind.SINGLE
    note: str = field(default="", kw_only=True)
    source: str = field(default="arXiv:2506.10948", kw_only=True)
    gamma: float | None = field(default=None, kw_only=True)


_MBPP, _HUMANEVAL = Protocol(500), Protocol(164)
_EGCFG = Protocol(500, "3 of 3, the same that score", "tests that score")
_MAPCODER = Protocol(397, "1, in 394 of 397 tasks one that scores", "visible tests")
_MGDEBUGGER = Protocol(500, "1 of 3 for repair, all to stop its ten tries", "hidden tests")
_LPW = Protocol(500, "1 of 3", "visible tests")

_SINGLE, _UNION = NumberKind
_SMALL, _LARGE, _LLAMA = "DeepSeek-Coder-1.3B", "DeepSeek-V3-0324", "Llama-3.2-1B"
_CREDITED = "tasks count as solved whose tests the authors judged to be invalid"
_GRID = "over configurations and gammas"
_SUBSET = "by its own protocol, which has MultiPL-E's tasks"
_SEEDS = "by its own protocol, which begins from programs of which 336 are right"
_FILES = "arXiv:2506.10948, its authors' result files"
_SWEEP = "early sweep of the authors of arXiv:2506.10948"

FIGURES = (
    Figure("mbpp", _SMALL, "greedy", 49.4, _MBPP),
    Figure("mbpp", _SMALL, "greedy", 50.8, _MBPP, note=_CREDITED),
    Figure("mbpp", _SMALL, "mapcoder", 55.2, _MAPCODER, note=_SUBSET),
    Figure("mbpp", _SMALL, "mgdebugger", 70.4, _MGDEBUGGER, note=_SEEDS),
    Figure(
        *("mbpp", _SMALL, "egcfg_grid", 58.2, _EGCFG, _UNION),
        note="over six gammas of the best configuration",
        source=_FILES,
    ),
    Figure(
        *("mbpp", _SMALL, "egcfg_grid", 83.2, _EGCFG, _UNION),
        note="over up to 297 configurations and their gammas",
    ),
    Figure("mbpp", _SMALL, "egcfg_grid", 84.8, _EGCFG, _UNION, note=f"{_GRID}; {_CREDITED}"),
    Figure("mbpp", _LARGE, "greedy", 82.8, _MBPP),
    Figure("mbpp", _LARGE, "greedy", 84.2, _MBPP, note=_CREDITED),
    Figure("mbpp", _LARGE, "lpw", 84.0, _LPW),
    Figure("mbpp", _LARGE, "mgdebugger", 86.8, _MGDEBUGGER, note=_SEEDS),
    Figure("mbpp", _LARGE, "mapcoder", 87.2, _MAPCODER, note=_SUBSET),
    Figure("mbpp", _LARGE, "egcfg_grid", 96.6, _EGCFG, _UNION, note=_GRID),
    Figure("mbpp", _LARGE, "egcfg_grid", 98.4, _EGCFG, _UNION, note=f"{_GRID}; {_CREDITED}"),
    *(
        Figure("mbpp", _LLAMA, "egcfg", accuracy, _MBPP, source=_SWEEP, gamma=gamma)
        for gamma, accuracy in zip(
            (0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9),
            (23.8, 22.4, 20.2, 19.4, 17.2, 15.0, 14.0),
            strict=True,
        )
    ),
    Figure(
        *("mbpp", _LLAMA, "egcfg_grid", 31.2, _MBPP, _UNION),
        note="over these seven gammas",
        source=_SWEEP,
    ),
    Figure("humaneval", _LARGE, "greedy", 82.9, _HUMANEVAL),
    Figure("humaneval", _LARGE, "greedy", 87.2, _HUMANEVAL, source=_FILES),
    Figure("humaneval", _LARGE, "mgdebugger", 87.2, _HUMANEVAL),
    Figure("humaneval", _LARGE, "lpw", 95.12, _HUMANEVAL),
    Figure("humaneval", _LARGE, "mapcoder", 96.95, _HUMANEVAL),
    Figure("humaneval", _LARGE, "egcfg_grid", 99.4, _HUMANEVAL, _UNION, note=_GRID),
)
"""What was published, by data set and model. The tests that a method sees are told of MBPP."""


def figures_view(figures: Iterable[Figure]) -> RenderableType:
    """Return a table for each data set and model, with notes and sources below it."""
    parts: list[RenderableType] = []
    for (dataset, model), group in groupby(figures, key=lambda f: (f.dataset, f.model)):
        table = Table(
            title=f"{dataset} · {model}",
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
            show_edge=False,
        )
        table.add_column("method", no_wrap=True)
        for name in ("gamma", "acc %", "tasks"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("number", "tests seen", "stops on", ""):
            table.add_column(name)
        notes: dict[str, int] = {}
        for figure in group:
            told = [figure.note] if figure.note else []
            marks = [f"[{notes.setdefault(n, len(notes) + 1)}]" for n in (*told, figure.source)]
            protocol = figure.protocol
            table.add_row(
                figure.method,
                UNKNOWN if figure.gamma is None else f"{figure.gamma:g}",
                f"{figure.accuracy:g}",
                str(protocol.tasks),
                figure.number.value,
                protocol.tests_seen or UNKNOWN,
                protocol.stops_on or UNKNOWN,
                Text(" ".join(marks)),
            )
        parts += [table, *(Text(f"[{mark}] {note}") for note, mark in notes.items()), Text()]
    return Group(*parts[:-1])


def as_json(figures: Iterable[Figure]) -> str:
    """Return figures as a JSON array of flat objects."""
    return json.dumps([_flat(figure) for figure in figures], indent=2) + "\n"


def as_csv(figures: Iterable[Figure]) -> str:
    """Return one line per figure, below the names of the columns."""
    return export.as_csv([_flat(figure) for figure in figures])


def _flat(figure: Figure) -> dict[str, str | float | None]:
    values = asdict(figure)
    protocol: dict[str, str | float | None] = values.pop("protocol")
    return {**values, **protocol}
