"""The local variables of one frame, told as what has changed since they were last looked at.

A value that cannot change is compared by identity. A container of plain values is compared by its
serialised form first, which takes a fraction of the time that its text does; everything else is
rendered anew. Nothing of the program's own code is run.

Runs inside the watched program's process: standard library only.
"""

from __future__ import annotations

import builtins
import itertools
import marshal
import sys
from collections.abc import Mapping
from typing import Any

from egcfg_tracers import journal, values

__all__ = ["MAX_NAMES", "Variables", "snapshot"]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

MAX_NAMES = 60
"""Variables of one frame that are looked at."""

_FIELD, _ROW = values.FIELD, journal.ROW
_ATOMS, _describe = values.ATOMS, values.describe
_UNSEEN = object()
_MAX_SERIALISED = 2_000  # bytes; for longer values the bounded text is cheaper
_MAX_HOPELESS = 1_000
_dumps = marshal.dumps
# From 3.12 on, a class can have a `__buffer__` that `marshal` would run.
_PLAIN = (
    {id(list), id(dict), id(tuple), id(set), id(frozenset)}
    if sys.version_info < (3, 12)
    else frozenset[int]()
)
_hopeless: set[int] = set()
"""Ids of containers that are too long or hold more than plain values. A wrong entry, of a container
that is gone and whose id is used again, only costs time."""


class Variables:
    """What was last told about the variables of one frame."""

    __slots__ = ("_known", "_size", "_texts")

    def __init__(self) -> None:
        # An atom itself, or the serialised form of a container within a tuple, which no atom is.
        self._known: dict[str, Any] = {}
        self._texts: dict[str, str] = {}
        self._size = 0

    def changes(self, variables: Mapping[str, Any]) -> str:
        """Return rows for the variables that are new, changed or deleted, in their order."""
        known, texts = self._known, self._texts
        size = len(variables)
        rows = []
        try:
            for name, value in variables.items():
                last = known.get(name, _UNSEEN)
                if last is value:
                    continue
                old = texts.get(name)
                if old is None and not (len(texts) < MAX_NAMES and _is_shown(name)):
                    continue
                kind = id(type(value))
                atom = _ATOMS.get(kind)
                if atom is not None:
                    known[name] = value
                    prefix, to_text = atom
                    text = prefix + to_text(value)
                else:
                    if kind in _PLAIN:
                        form = _serialised(value)
                        if form == last:
                            continue
                        known[name] = form
                    else:
                        known[name] = _UNSEEN
                    text = _describe(value)
                if text != old:
                    texts[name] = text
                    rows.append(f"{name}{_FIELD}{text}")
        except RuntimeError:  # the module's variables changed in another thread meanwhile
            pass
        if size < self._size:
            rows += self._forget_deleted(variables)
        self._size = size
        return _ROW.join(rows)

    def _forget_deleted(self, variables: Mapping[str, Any]) -> list[str]:
        deleted = [name for name in self._texts if name not in variables]
        for name in deleted:
            del self._texts[name], self._known[name]
        return [f"{name}{_FIELD}{_FIELD}{values.DELETED}" for name in deleted]


def snapshot(variables: Mapping[str, Any]) -> str:
    """Return rows for all variables."""
    shown = ((name, value) for name, value in list(variables.items()) if _is_shown(name))
    return _ROW.join(
        f"{name}{_FIELD}{_describe(value)}" for name, value in itertools.islice(shown, MAX_NAMES)
    )


def _is_shown(name: object) -> bool:
    """Whether a name stands for something of the program's; a module's dict may hold any key."""
    return type(name) is str and name[:2] != "__" and name.isidentifier()


def _serialised(value: Any) -> tuple[bytes] | object:
    """Return a form of a container that is equal to another's only if their contents are."""
    if id(value) in _hopeless:
        return object()  # equal to nothing
    try:
        form = _dumps(value, 2)  # later formats depend on reference counts
    except (ValueError, MemoryError):
        form = None
    if form is None or len(form) > _MAX_SERIALISED:
        if len(_hopeless) > _MAX_HOPELESS:
            _hopeless.clear()
        _hopeless.add(id(value))
        return object()
    return (form,)
