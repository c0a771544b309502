"""Where arms come from: results folders, saved arms, and the verdict files of ``egcfg score``."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from attrs import evolve, frozen

from egcfg.comparison.arms import Answer, Arm, Axis, Outcome, counts_of
from egcfg.comparison.saved import ARM_SUFFIX, is_saved, lines_of, load_arm
from egcfg.errors import RunError, UsageError
from egcfg.interfaces.scorer import TestStatus
from egcfg.reports.aggregate import natural_order
from egcfg.reports.progress import planned_units
from egcfg.reports.rows import ResultRow, RowState
from egcfg.runs.config_string import METHOD_MARK
from egcfg.runs.folder import read_folder
from egcfg.runs.result_file import MalformedResultError, load_usage
from egcfg.runs.results import Result
from egcfg.runs.store import PROVENANCE_NAME, ResultFile, flat

__all__ = ["Tried", "outcome_of", "read_arms"]


def read_arms(sources: Sequence[str]) -> list[Arm]:
    """Return the arms of all sources, in their order, with distinct labels.

    What was made with the same settings on different tasks is one arm, in however many folders.

    Args:
        sources: each a results folder or a part of one, a folder of saved arms, a saved arm, or a
            verdict file; with a name of one's own as ``NAME=PATH``.

    Raises:
        RunError: there is no such file, or it holds none of these.
        UsageError: two arms of the same tasks cannot be told apart.
    """
    arms: list[Arm] = []
    for source in sources:
        name, path = _named(source)
        found = _read(path)
        if name is not None:
            found = [
                evolve(arm, label=name if len(found) == 1 else f"{name}: {arm.label}")
                for arm in found
            ]
        arms += found
    return _joined(_distinct(arms))


def _named(source: str) -> tuple[str | None, Path]:
    """Split ``NAME=PATH``; the folder of a method has such a sign in its own name."""
    name, equals, path = source.partition("=")
    if not equals or not name or "/" in name or os.path.exists(source):
        return None, Path(source)
    return name, Path(path)


def _read(path: Path) -> list[Arm]:
    if path.is_file():
        return [load_arm(path) if is_saved(path) else _verdict_arm(path)]
    saved = sorted(path.glob(f"*{ARM_SUFFIX}")) if path.is_dir() else []
    arms = [load_arm(file) for file in saved if is_saved(file)]
    try:
        return [*arms, *_result_arms(read_folder(path, Tried.of))]
    except RunError:
        if not arms:
            raise
        return arms


def _distinct(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms with what tells them apart added to equal labels."""
    by_label: dict[str, list[Arm]] = defaultdict(list)
    for arm in arms:
        by_label[arm.label].append(arm)
    settings = {id(arm): flat(arm.provenance) if arm.provenance else {} for arm in arms}
    distinct = []
    for arm in arms:
        alike = [settings[id(each)] for each in by_label[arm.label]]
        own = settings[id(arm)]
        names = sorted({name for each in alike for name in each if each.get(name) != own.get(name)})
        text = ", ".join(f"{name.rpartition('.')[2]}={own.get(name, 'not set')}" for name in names)
        distinct.append(evolve(arm, label=f"{arm.label} ({text})") if text else arm)
    return distinct


def _joined(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms, those of one label as one: the parts of a run that was split by tasks."""
    joined: dict[str, Arm] = {}
    for arm in arms:
        first = joined.setdefault(arm.label, arm)
        if first is arm:
            continue
        if _kind(first) != _kind(arm):
            raise UsageError(
                f"two arms are called {arm.label!r}, of different data sets, models or methods; "
                "give them names: NAME=DIR"
            )
        if first.outcomes.keys() & arm.outcomes.keys():
            raise UsageError(
                f"two arms are called {arm.label!r} and have tasks in common, with the same "
                "settings; give each folder once, or names: NAME=DIR"
            )
        joined[arm.label] = evolve(
            first,
            outcomes={**first.outcomes, **arm.outcomes},
            planned=tuple(dict.fromkeys([*first.planned, *arm.planned])),
            skipped=first.skipped + arm.skipped,
            unreadable={**first.unreadable, **arm.unreadable},
        )
    return list(joined.values())


def _kind(arm: Arm) -> tuple[object, ...]:
    return arm.dataset, arm.model, arm.config, arm.gamma


# --- results ------------------------------------------------------------------------------------


@frozen
class Tried:
    """A unit that was tried: what a comparison keeps of its result file, which has no texts.

    Attributes:
        row: its numbers.
        outcome: the course of its answers; None: it has none of its own that can be read.
        problem: why not.
        recorded: whether there is a record of how they came about.
    """

    row: ResultRow
    outcome: Outcome | None
    problem: str
    recorded: bool

    @classmethod
    def of(cls, file: ResultFile) -> Tried:
        """Return what to keep of a result file."""
        row, result = ResultRow.of(file), file.result
        if result is None or result.global_cached:
            return cls(row, None, row.error or row.state.value, recorded=False)
        outcome, problem = None, ""
        try:
            outcome = outcome_of(file.task_id, result)
        except MalformedResultError as error:
            problem = str(error)
        return cls(row, outcome, problem, recorded=result.record is not None)


def _result_arms(units: Iterable[Tried]) -> list[Arm]:
    rows: dict[tuple[Path, float | None], list[Tried]] = defaultdict(list)
    for each in units:
        rows[Path(each.row.path).parent, each.row.gamma].append(each)
    planned: dict[tuple[Path, float | None], list[str]] = defaultdict(list)
    for parent in {folder.parent for folder, _ in rows}:
        for config, gamma, task_id in planned_units(parent) or ():
            planned[parent / config, gamma].append(task_id)
    arms = [_result_arm(*key, units, planned[key]) for key, units in rows.items()]
    return sorted(arms, key=lambda arm: (natural_order(arm.config or ""), arm.gamma or 0.0))


def _result_arm(
    folder: Path, gamma: float | None, units: Sequence[Tried], planned: Iterable[str]
) -> Arm:
    first = units[0].row
    name = first.config.removeprefix(METHOD_MARK)
    ordered = sorted(units, key=lambda each: natural_order(each.row.task_id))
    skipped = sum(each.row.state is RowState.SKIPPED for each in units)
    return Arm(
        label=name if gamma is None else f"{name} gamma {gamma:g}",
        dataset=first.dataset,
        model=first.model,
        config=first.config,
        gamma=gamma,
        outcomes={each.row.task_id: each.outcome for each in ordered if each.outcome is not None},
        planned=tuple(sorted(planned, key=natural_order)),
        skipped=skipped,
        unreadable={
            each.row.path: each.problem
            for each in ordered
            if each.outcome is None and each.row.state is not RowState.SKIPPED
        },
        provenance=_provenance(folder),
    )


def _provenance(folder: Path) -> dict[str, Any]:
    try:
        found = orjson.loads((folder / PROVENANCE_NAME).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}  # as in folders of other tools
    return found if isinstance(found, dict) else {}


def outcome_of(task_id: str, result: Result) -> Outcome:
    """Return what a result tells of its task.

    Raises:
        MalformedResultError: an attempt is none.
    """
    stats, seen, scored = result.stats, result.tests_seen, set(result.tests)
    counts: dict[str, int] = {}
    if stats is not None and stats.usage:
        counts = counts_of(stats.total_usage, stats.calls, stats.executions)
    elif stats is not None:
        counts = {
            Axis.ALL_TOKENS.value: stats.input_tokens + stats.output_tokens,
            "output": stats.output_tokens,
        }
    passed_visible = None
    if seen and scored.issuperset(seen):
        passed_visible = all(result.tests[name].passed for name in seen)
    answers = [_answer(attempt, counts) for attempt in result.attempts]
    if answers and answers[-1].visible is None:
        answers[-1] = evolve(answers[-1], visible=passed_visible)
    elif not answers and result.general_error is None:
        answers = [Answer(passed=result.passed, visible=passed_visible, counts=counts)]
    return Outcome(
        task_id=task_id,
        answers=tuple(answers),
        counts=counts,
        seconds=stats.seconds if stats is not None and stats.concurrency == 1 else None,
        problem_sha256=result.problem_sha256,
        seen=None if seen is None else len({*seen}),
        scored=len(scored) or None,
        both=None if seen is None else len({*seen} & scored),
        sandbox_error=result.has_sandbox_error,
    )


def _answer(attempt: Any, end: Mapping[str, int]) -> Answer:
    """Read an attempt of a result file; those of earlier versions say less.

    Args:
        attempt: the JSON value.
        end: what the whole work cost: that is known of an attempt which was its end.
    """
    match attempt:
        case {"passed": bool(passed), **rest}:
            pass
        case _:
            raise MalformedResultError("an attempt does not say whether it passed")
    counts: dict[str, int] = {}
    if "usage" in rest:
        usage = load_usage(rest["usage"], "the usage of an attempt")
        calls: Any = rest.get("calls")
        executions: Any = rest.get("executions")
        counts = counts_of(usage, calls, executions)
    elif isinstance(tokens := rest.get("tokens"), int):
        at_the_end = tokens == Axis.ALL_TOKENS.cost(end)
        counts = dict(end) if at_the_end else {Axis.ALL_TOKENS.value: tokens}
    if not all(isinstance(count, int) for count in counts.values()):
        raise MalformedResultError("an attempt counts in something else than whole numbers")
    visible = rest.get("visible")
    return Answer(
        passed=passed, visible=visible if isinstance(visible, bool) else None, counts=counts
    )


# --- other tools --------------------------------------------------------------------------------


def _verdict_arm(path: Path) -> Arm:
    """Read a file of ``egcfg score --out``: another tool's samples, whose costs nobody knows."""
    verdicts: dict[str, list[bool]] = defaultdict(list)
    scored: dict[str, int] = {}
    failed: set[str] = set()
    for number, line in enumerate([*lines_of(path)] or [b""], start=1):
        match _json(line):
            case {"task_id": str(task), "passed": bool(passed), "tests": list(tests)} as row:
                verdicts[task].append(passed)
                scored[task] = len(tests)
                if row.get("status") == TestStatus.SANDBOX_ERROR:
                    failed.add(task)
            case _:
                raise RunError(
                    f"{path}, line {number}, holds no verdict; give a results folder, a saved arm, "
                    "or what `egcfg score --out FILE` wrote"
                )
    outcomes = {
        task: Outcome(
            task_id=task,
            rate=sum(passed) / len(passed),
            scored=scored[task],
            sandbox_error=task in failed,
        )
        for task, passed in sorted(verdicts.items(), key=lambda item: natural_order(item[0]))
    }
    return Arm(label=path.name.partition(".")[0], outcomes=outcomes)


def _json(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
