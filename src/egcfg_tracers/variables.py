"""The local variables of one frame, told as what has changed since they were last looked at.

A value that cannot change is compared by identity. A container of plain values is compared by its
serialised form first, which takes a fraction of the time that its text does, and a short one gets
its text from there; everything else is rendered anew. Nothing of the program's own code is run.

Runs inside the watched program's process: standard library only.
"""

from __future__ import annotations

import builtins
import itertools
import marshal
import re
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
_MAX_QUICK_FORM = 250
_MAX_QUICK = 90  # characters; of a text this short no part is cut
_PREFIXES = {id(kind): f"{kind.__name__}{_FIELD}" for kind in (list, dict, tuple)}
_MAX_COMMAS, _MAX_BRACKETS = 19, 5
_PLAIN = {id(list), id(dict), id(tuple), id(set), id(frozenset)}
# In a serialised form: byte strings (which other types may have become), sets, or what looks so.
_UNCERTAIN = re.compile(rb"[s<>].\0\0\0", re.DOTALL).search
_dumps, _loads = marshal.dumps, marshal.loads
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

    def changes(self, variables: Mapping[str, Any]) -> str:
        """Return rows for the variables that are new, changed or deleted, in their order."""
        known = self._known
        shown = len(variables)
        rows = []
        try:
            for name, value in variables.items():
                try:
                    last = known[name]
                except KeyError:
                    if len(known) >= MAX_NAMES or not _is_shown(name):
                        shown -= 1
                        continue
                    last = _UNSEEN
                if last is value:
                    continue
                kind = id(type(value))
                atom = _ATOMS.get(kind)
                if atom is not None:
                    known[name] = value
                    prefix, to_text = atom
                    text = prefix + to_text(value)
                elif kind in _PLAIN:
                    form = _serialised(value, kind)
                    if form == last:
                        continue
                    known[name] = form
                    text = _quick_text(form, kind) or _describe(value)
                else:
                    known[name] = _UNSEEN
                    text = _describe(value)
                texts = self._texts
                if text != texts.get(name):
                    texts[name] = text
                    rows.append(f"{name}{_FIELD}{text}")
        except RuntimeError:  # the module's variables changed in another thread meanwhile
            pass
        if shown < len(known):
            rows += self._forget_deleted(variables)
        return _ROW.join(rows)

    def changes_of_any(self, variables: Mapping[Any, Any]) -> str:
        """Do the same for a module or class, whose names may be objects of the program's own."""
        return self.changes({name: held for name, held in [*variables.items()] if _is_shown(name)})

    def all(self) -> str:
        """Return rows for all variables, as they were at the last look."""
        return _ROW.join(f"{name}{_FIELD}{text}" for name, text in self._texts.items())

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


def _serialised(value: Any, kind: int) -> tuple[bytes] | object:
    """Return a form of a container that is equal to another's only if their contents are.

    Args:
        value: the container.
        kind: id of its class.
    """
    if id(value) in _hopeless:
        return object()  # equal to nothing
    try:
        if _MARSHAL_RUNS_NOTHING or _is_plain(value, kind):
            form = _dumps(value, 2)  # later formats depend on reference counts
            if len(form) <= _MAX_SERIALISED:
                return (form,)
    except (ValueError, MemoryError):  # what it cannot hold
        pass
    if len(_hopeless) > _MAX_HOPELESS:
        _hopeless.clear()
    _hopeless.add(id(value))
    return object()


# From 3.12 on, a class can have a `__buffer__` that `marshal` would run.
_MARSHAL_RUNS_NOTHING = sys.version_info < (3, 12)
_NESTED = {id(list), id(tuple)}
_ATOMS_AND_NESTED = _ATOMS.keys() | _NESTED


def _is_plain(value: Any, kind: int) -> bool:
    """Whether a container, and the lists and tuples in it, hold values that cannot change only."""
    items = [*value, *value.values()] if kind == id(dict) else [*value]
    kinds = {*map(id, map(type, items))}
    if kinds <= _ATOMS.keys():
        return True
    if not kinds <= _ATOMS_AND_NESTED:
        return False
    nested = itertools.chain.from_iterable(item for item in items if id(type(item)) in _NESTED)
    return {*map(id, map(type, nested))} <= _ATOMS.keys()


def _quick_text(form: tuple[bytes] | object, kind: int) -> str | None:
    """Return what `describe` does for a container, if it is short, from its serialised form."""
    if type(form) is not tuple or len(form[0]) > _MAX_QUICK_FORM or _UNCERTAIN(form[0]):
        return None
    text = repr(_loads(form[0]))
    if (
        len(text) > _MAX_QUICK
        or "<" in text  # a class, a code object
        or " at 0x" in text
        or text.count(",") > _MAX_COMMAS
        or text.count("[") + text.count("(") + text.count("{") > _MAX_BRACKETS
    ):
        return None
    return _PREFIXES[kind] + text
