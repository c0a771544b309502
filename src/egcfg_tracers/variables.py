"""The variables of one scope, told as what has changed since they were last looked at.

A value that cannot change is compared by identity, any other by its form, whatever its size: where
the bounded text of a value does not show what changed, the places that did are told beside it.
Nothing of the program's own code is run.

Runs inside the watched program's process: standard library only.
"""

from __future__ import annotations

import builtins
import itertools
import marshal
import re
from collections.abc import Iterable, Mapping
from typing import Any

from egcfg_tracers import differences, forms, journal, values

__all__ = ["MAX_NAMES", "Globals", "Variables", "snapshot"]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

MAX_NAMES = 60
"""Variables of one scope that are looked at."""

_FIELD, _ROW = values.FIELD, journal.ROW
_ATOMS, _describe = values.ATOMS, values.describe
_form_of = forms.form_of
_UNSEEN, _UNBOUND = object(), object()
_MAX_QUICK_FORM = 250
_MAX_QUICK = 90  # characters; of a text this short no part is cut
_PREFIXES = {id(kind): f"{kind.__name__}{_FIELD}" for kind in (list, dict, tuple)}
_MAX_COMMAS, _MAX_BRACKETS = 19, 5
# In a serialised form: byte strings (which other types may have become), sets, or what looks so.
_UNCERTAIN = re.compile(rb"[s<>].\0\0\0", re.DOTALL).search
_loads = marshal.loads


class Variables:
    """What was last told about the variables of one scope.

    Args:
        effort: what looking at large values may still cost.
    """

    __slots__ = ("_effort", "_known", "_texts")

    def __init__(self, effort: forms.Effort | None = None) -> None:
        # An atom itself, or the form of another value, which is a tuple, as no atom is.
        self._known: dict[str, Any] = {}
        self._texts: dict[str, str] = {}
        self._effort = effort or forms.Effort()

    def changes(self, variables: Mapping[str, Any]) -> str:
        """Return rows for the variables that are new, changed or deleted, in their order."""
        known, texts = self._known, self._texts
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
                atom = _ATOMS.get(id(type(value)))
                if atom is not None:
                    prefix, to_text = atom
                    text = prefix + to_text(value)
                    if "..." not in text and text[-1] != ">":  # as in most cases: all is told
                        known[name] = value
                        if text != texts.get(name):
                            texts[name] = text
                            rows.append(f"{name}{_FIELD}{text}")
                        continue
                    row = self.change(name, value, last)
                else:
                    form = _form_of(value, self._effort)
                    if form == last and form is not None:
                        continue
                    row = self._change_of_form(name, value, last, form)
                if row:
                    rows.append(row)
        except RuntimeError:  # the module's variables changed in another thread meanwhile
            pass
        if shown < len(known):
            rows += self._forget_deleted(variables)
        return _ROW.join(rows)

    def change(self, name: str, value: Any, last: Any) -> str:
        """Return a row for one variable if it has changed, else nothing.

        Args:
            name: the variable.
            value: what it holds.
            last: what is known of it.
        """
        atom = _ATOMS.get(id(type(value)))
        if atom is None:
            form = _form_of(value, self._effort)
            if form == last and form is not None:
                return ""
            return self._change_of_form(name, value, last, form)
        self._known[name] = value
        text = atom[0] + atom[1](value)
        return self._row(name, value, last, text, type(last) is not type(value) or last != value)

    def _change_of_form(self, name: str, value: Any, last: Any, form: forms.Form | None) -> str:
        self._known[name] = _UNSEEN if form is None else form
        text = (form and _quick_text(form, id(type(value)))) or _describe(value)
        # Of an object of which nothing else can be told, it is told that it is another one.
        is_another = form is not None and len(form) == 3 and type(last) is tuple
        return self._row(name, value, last, text, is_another)

    def _row(self, name: str, value: Any, last: Any, text: str, is_new: bool) -> str:
        """Return a row, if there is anything to tell; `is_new`: even if that is the same text."""
        told = self._texts.get(name)
        self._texts[name] = text
        cut = "..." in text or "<int of " in text
        if told is None or (text != told and not cut):
            return f"{name}{_FIELD}{text}"
        if not cut and id(type(value)) in _ATOMS:
            return ""  # the text is the whole value
        places, complete = self._places(name, value, last)
        if text != told and not complete:
            places = []
        elif text == told and not places and not is_new:
            return ""
        return _FIELD.join((name, text, *places))

    def _places(self, name: str, value: Any, last: Any) -> tuple[list[str], bool]:
        """Return what has changed in a value whose text does not tell all; and if that is all."""
        kind = type(value)
        if (kind is str or kind is bytes) and type(last) is kind:
            return differences.differing_text(name, last, value), True
        if type(last) is not tuple or id(kind) in _ATOMS:
            return [], True
        try:
            return differences.differences(name, last, value)
        except (RuntimeError, MemoryError):  # changed by another thread; stack at its end
            return [], True

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


class Globals(Variables):
    """The globals that functions name; what changes is told once, wherever it is noticed."""

    __slots__ = ()

    def look(self, names: Iterable[str], namespace: dict[str, Any]) -> str:
        """Return rows for those of `names` that have changed since they were first looked at."""
        known, rows = self._known, []
        for name in names:
            value = dict.get(namespace, name, _UNBOUND)
            first = name not in known
            if first and len(known) >= MAX_NAMES:
                continue
            last = known.get(name)
            if last is value and not first:
                continue
            if value is _UNBOUND:
                known[name] = _UNBOUND
                if self._texts.pop(name, None) is not None:
                    rows.append(f"{name}{_FIELD}{_FIELD}{values.DELETED}")
            else:
                row = self.change(name, value, last)
                if row and not first:
                    rows.append(row)
        return _ROW.join(rows)


def snapshot(variables: Mapping[str, Any]) -> str:
    """Return rows for all variables."""
    shown = ((name, value) for name, value in list(variables.items()) if _is_shown(name))
    return _ROW.join(
        f"{name}{_FIELD}{_describe(value)}" for name, value in itertools.islice(shown, MAX_NAMES)
    )


def _is_shown(name: object) -> bool:
    """Whether a name stands for something of the program's; a module's dict may hold any key."""
    return type(name) is str and name[:2] != "__" and name.isidentifier()


def _quick_text(form: forms.Form, kind: int) -> str | None:
    """Return what `describe` does for a container, if it is short, from its serialised form."""
    if kind not in _PREFIXES or len(form) != 1:
        return None
    if len(form[0]) > _MAX_QUICK_FORM or _UNCERTAIN(form[0]):
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
