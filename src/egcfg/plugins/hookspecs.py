"""The hook that a plugin package implements; `plugins.md` is its tutorial."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import pluggy
from attrs import frozen

__all__ = ["Component", "Kind", "egcfg_components", "hookimpl"]

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
    """

    kind: Kind
    name: str
    target: str
    summary: str
    options: str | None = None
    extra: str | None = None


@hookspec
def egcfg_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return the components that this plugin brings."""
