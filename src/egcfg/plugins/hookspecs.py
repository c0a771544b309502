"""The hooks that a plugin package implements; `plugins.md` is their tutorial."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy
from attrs import frozen

if TYPE_CHECKING:
    from egcfg.interfaces.solution import LineStep
    from egcfg.reports.rows import ResultRow

__all__ = [
    "Component",
    "Kind",
    "RunInfo",
    "egcfg_components",
    "egcfg_line_decided",
    "egcfg_run_finished",
    "egcfg_run_started",
    "egcfg_unit_finished",
    "hookimpl",
]

hookspec = pluggy.HookspecMarker("egcfg")
hookimpl = pluggy.HookimplMarker("egcfg")
"""Marks a function of a plugin as the implementation of a hook."""


class Kind(enum.StrEnum):
    """What a component is: one per interface of the core."""

    BACKEND = "backend"
    TRACER = "tracer"
    PROMPT = "prompt"
    SCORER = "scorer"
    DATASET = "dataset"
    GUIDANCE = "guidance"
    METHOD = "method"


@frozen(kw_only=True)
class Component:
    """What a plugin registers: data only, so that listing it imports nothing.

    Attributes:
        kind: the interface that it implements.
        name: what users select it by; unique within its kind.
        target: the class, as ``"package.module:Class"``; imported when it is selected. It is a
            subclass of the kind's interface, has an attrs class ``Options``, and is constructed
            with one instance of it.
        summary: one line for listings.
        options: the class ``Options`` of the target, as ``"package.module:Class"``, where it can
            be imported without what the target imports: reading options then loads no model's
            library. None: it is taken from the target.
        extra: what to install where the target's import lacks a package, such as ``"egcfg[hf]"``.
        variables: names of the environment variables without which it cannot be opened, such as
            that of an API key.
    """

    kind: Kind
    name: str
    target: str
    summary: str
    options: str | None = None
    extra: str | None = None
    variables: tuple[str, ...] = ()


@frozen(kw_only=True)
class RunInfo:
    """A run of ``egcfg run``, as observers are told of it.

    Attributes:
        dataset: name of the data set.
        model: name of the model.
        method: name of the method.
        folder: the results of this model on this data set.
        units: tasks times rows of the table.
        done: how many of them were done when the run started.
    """

    dataset: str
    model: str
    method: str
    folder: Path
    units: int
    done: int


@hookspec
def egcfg_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return the components that this plugin brings."""


# Observers. Each is called on the event loop, so it must be quick, and may return why the run is to
# stop: units in flight go on to their end, and nothing more is started.


@hookspec
def egcfg_run_started(run: RunInfo) -> str | None:
    """A run starts; its model is not open yet."""


@hookspec
def egcfg_line_decided(
    run: RunInfo, task_id: str, config: str, gamma: float | None, step: LineStep
) -> str | None:
    """A line of a task's solution was decided, in the row `config` of the table at `gamma`."""


@hookspec
def egcfg_unit_finished(run: RunInfo, row: ResultRow) -> str | None:
    """A unit's result is there: made now, or meanwhile by another process."""


@hookspec
def egcfg_run_finished(run: RunInfo) -> None:
    """A run ends, however it ends."""
