"""Arms as files to keep: what a comparison needs of a results folder, gzipped, a line per task.

The first line tells of the arm, each further one of a task. They hold no program, no test and no
response: verdicts, counts and fingerprints alone. The same arm gives the same bytes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import attrs
import cattrs

from egcfg.comparison.arms import Arm, Outcome
from egcfg.errors import RunError, UsageError
from egcfg.plugins.options import strict_converter
from egcfg.runs.files import gzip_lines, write_atomically
from egcfg.runs.store import file_name

__all__ = ["ARM_SUFFIX", "is_saved", "lines_of", "load_arm", "save_arm"]

ARM_SUFFIX = ".jsonl.gz"
FORMAT = "egcfg_arm"
VERSION = 1
MALFORMED = (cattrs.BaseValidationError, cattrs.ForbiddenExtraKeysError)


def save_arm(arm: Arm, folder: Path) -> Path:
    """Write an arm into a folder, under its label; return the file.

    Raises:
        UsageError: a file is there that has tasks which this arm lacks, or that cannot be read.
        RunError: the file system refused, or the label is too long for a file name.
    """
    path = folder / f"{file_name(arm.label)}{ARM_SUFFIX}"
    if path.exists():
        try:
            kept = load_arm(path).outcomes
        except RunError as error:
            raise UsageError(f"{error}, or save into another folder") from error
        if lost := [task for task in kept if task not in arm.outcomes]:
            raise UsageError(
                f"{path} has {len(lost)} tasks that {arm.label} now lacks, such as {lost[0]}; "
                "save into another folder, or remove that file first"
            )
    head = attrs.asdict(arm, filter=lambda attribute, _: attribute.name != "outcomes")
    head["unreadable"] = {}  # their paths are of this machine
    lines = [{FORMAT: VERSION, **head}]
    lines += [
        attrs.asdict(each, filter=lambda attribute, value: value != attribute.default)
        for each in arm.outcomes.values()
    ]
    # In ASCII: names of folders may hold bytes that are no text.
    content = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    write_atomically(path, gzip.compress(content.encode(), mtime=0))
    return path


def is_saved(path: Path) -> bool:
    """Whether a file is a saved arm, by its first line.

    Raises:
        RunError: it cannot be read.
    """
    try:
        head = json.loads(next(lines_of(path), b""))
    except ValueError:
        return False
    return isinstance(head, dict) and FORMAT in head


def load_arm(path: Path) -> Arm:
    """Read a saved arm.

    Raises:
        RunError: it cannot be read, or is not whole.
    """
    try:
        head, *rows = map(json.loads, lines_of(path))
        if head.pop(FORMAT) != VERSION:
            raise RunError(
                f"{path} is of another version of egcfg; remove it, and save the arm again"
            )
        outcomes = [_CONVERTER.structure(row, Outcome) for row in rows]
        arm = _CONVERTER.structure({**head, "outcomes": {}}, Arm)
    except (*MALFORMED, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(
            f"{path} is no whole arm ({error}); remove it, and save the arm again"
        ) from error
    return attrs.evolve(arm, outcomes={each.task_id: each for each in outcomes})


_CONVERTER = strict_converter(detailed_validation=False, forbid_extra_keys=True)


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, which is gzipped where its name ends in .gz.

    Raises:
        RunError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from gzip_lines(file) if path.suffix == ".gz" else file
    except OSError as error:
        raise RunError(
            f"cannot read {path}: {error}; give a results folder, or another file"
        ) from error
