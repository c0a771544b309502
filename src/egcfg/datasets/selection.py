"""Opens a data set by name or file, and picks problems from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import evolve

from egcfg.config.protocols import PROTOCOLS
from egcfg.config.schema import RunConfig
from egcfg.datasets.decoder_tests import with_decoder_tests
from egcfg.datasets.records import FILE_ENDINGS
from egcfg.errors import UnknownNameError, UsageError
from egcfg.interfaces.dataset import Dataset
from egcfg.interfaces.problem import Problem
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create, options_class

__all__ = ["dataset_label", "open_dataset", "open_problems", "select"]


def open_dataset(
    name_or_path: str, data: Path | None = None, options: Mapping[str, Any] | None = None
) -> Dataset:
    """Open the data set that ``--dataset NAME_OR_FILE [--data FILE]`` means.

    Args:
        name_or_path: a registered name, or a file (`egcfg.datasets.records.FILE_ENDINGS`).
        data: the file to read a named data set from.
        options: further options of the data set.

    Raises:
        UnknownNameError: nothing is registered under that name.
        UsageError: it is a protocol, the data set reads no file, or two files were given.
        ConfigError: an option is unknown or wrong.
        PluginError: the plugin that brings it is broken.
        MissingExtraError: a package that it needs is not installed.
    """
    values = dict(options or {})
    name = name_or_path
    protocol = PROTOCOLS.get(name)
    if protocol is not None and protocol.dataset != name:
        raise UsageError(
            f"{name!r} is a protocol, which says who sees which tests of {protocol.dataset!r}; "
            f"choose it with --protocol {name}; `egcfg datasets {protocol.dataset}` shows its "
            "problems"
        )
    if name_or_path.endswith(FILE_ENDINGS):
        if data is not None:
            raise UsageError(
                f"two files were given, {name_or_path} and {data}; give --dataset a name "
                "or leave out --data"
            )
        name, data = "file", Path(name_or_path)
    if data is not None:
        fields = attrs.fields(options_class(Kind.DATASET, name))
        if "path" not in {option.name for option in fields}:
            raise UsageError(f"the data set {name!r} reads no file; leave out --data")
        values["path"] = data
    dataset: Dataset = create(Kind.DATASET, name, values)
    return dataset


def open_problems(config: RunConfig) -> list[Problem]:
    """Read and select the problems of a run.

    Raises:
        DataError: the data cannot be read.
        UsageError: no such data set, scorer or task.
    """
    options = {o.name: o.value for o in config.options_for(Kind.DATASET, config.dataset).values()}
    if config.strict_data:
        options["strict"] = True
    dataset = open_dataset(config.dataset, config.data, options)
    problems = select(dataset.problems(), config.task, config.limit, config.start, config.end)
    problems = [with_decoder_tests(problem, config.decoder_tests) for problem in problems]
    if config.scorer is not None:
        problems = [evolve(problem, scorer=config.scorer) for problem in problems]
    return problems


def dataset_label(config: RunConfig) -> str:
    """Return how results name what a run works on: the protocol where there is one, else the data
    set's name, or its file's name without the ending."""
    name_or_path = config.protocol or config.dataset
    for ending in sorted(FILE_ENDINGS, key=len, reverse=True):
        if name_or_path.endswith(ending):
            return Path(name_or_path).name.removesuffix(ending)
    return name_or_path


def select(
    problems: Sequence[Problem],
    task_ids: Iterable[str] = (),
    limit: int | None = None,
    start: int | None = None,
    end: int | None = None,
) -> list[Problem]:
    """Return the problems to solve, in their order.

    Args:
        problems: all problems of a data set.
        task_ids: those wanted; ``"0"`` also means ``"HumanEval/0"``. None given: all.
        limit: how many at most, counted last.
        start: position of the first to consider, from 0.
        end: position after the last to consider.

    Raises:
        UnknownNameError: a task id is not in the data set.
        UsageError: nothing is left.
    """
    wanted = {_resolve(task_id, problems) for task_id in task_ids}
    chosen = [p for p in problems[start:end] if not wanted or p.task_id in wanted][:limit]
    if not chosen:
        raise UsageError(
            f"none of the {len(problems)} problems is left; widen the range, limit or task ids"
        )
    return chosen


def _resolve(task_id: str, problems: Sequence[Problem]) -> str:
    known = [problem.task_id for problem in problems]
    if task_id in known:
        return task_id
    by_tail = [name for name in known if name.rpartition("/")[2] == task_id]
    if len(by_tail) != 1:
        raise UnknownNameError("task", task_id, known)
    return by_tail[0]
