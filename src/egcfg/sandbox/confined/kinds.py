"""The classes that both processes have, and how values of classes are laid out.

An object's *layout* says what of it is plain: which builtin value is beneath it, or its attributes.
What has the layout `OPAQUE` has nothing plain but its identity.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import math
import operator
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from . import arrays

__all__ = [
    "ARRAY",
    "ATTRIBUTES",
    "CONTAINERS",
    "EXCEPTION",
    "FROZEN",
    "IMMUTABLE",
    "LAYOUTS",
    "NAMED",
    "NANS",
    "OPAQUE",
    "PLAIN",
    "SHARED",
    "SHARED_KINDS",
    "attributes",
    "content",
    "exception_parts",
    "fill",
    "global_name",
    "is_nan",
    "is_plain",
    "is_remembered",
    "is_shared",
    "make_exception",
    "name_of_nan",
    "named_nan",
    "pure_name",
    "pure_named",
    "shared_named",
]

# Layouts: one letter, as it is sent.
OPAQUE: Final = "h"
EXCEPTION: Final = "x"
IMMUTABLE: Final = "v"
ATTRIBUTES: Final = "d"
FROZEN: Final = "i"
ARRAY: Final = "a"
CONTAINERS: Final[dict[type, str]] = {
    list: "l",
    deque: "q",
    dict: "o",
    set: "S",
    bytearray: "B",
}
"""Of mutable builtin classes, subclasses included."""
LAYOUTS: Final = frozenset({ATTRIBUTES, ARRAY, *CONTAINERS.values()})
"""Of what can change, and so is kept equal on both sides."""

_SCALARS: Final = (
    type(None),
    type(Ellipsis),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    tuple,
    frozenset,
    range,
    slice,
    Fraction,
    Decimal,
    datetime,
    date,
    time,
    timedelta,
)
PLAIN: Final[frozenset[type]] = frozenset(
    (*_SCALARS, type({}.keys()), type({}.values()), type({}.items()))
)
"""Exact types that travel by value, without an identity."""

SHARED: Final[dict[tuple[str, str], type]] = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (
        *(object, bool, int, float, complex, str, bytes, bytearray, range, slice),
        *(list, tuple, dict, set, frozenset, Counter, OrderedDict, defaultdict, deque),
        *(Fraction, Decimal, datetime, date, time, timedelta, timezone),
        *(type(None), type(Ellipsis)),
        *(
            item
            for item in vars(builtins).values()
            if isinstance(item, type) and issubclass(item, BaseException)
        ),
    )
}
"""Classes that travel by name: the same class on both sides."""
SHARED_KINDS: Final = frozenset(SHARED.values())

_PURE: Final = """
abs all any ascii bin callable chr divmod format hex isinstance issubclass iter len max min next
oct ord pow repr round sorted sum
"""
NAMED: Final[dict[tuple[str, str], Any]] = {
    ("builtins", "NotImplemented"): NotImplemented,
} | {
    (module.__name__, name): function
    for module, names in ((builtins, _PURE.split()), (math, dir(math)), (operator, dir(operator)))
    for name in names
    if type(function := getattr(module, name)) is types.BuiltinFunctionType and name[0] != "_"
}
"""What travels by name, apart from classes: functions that go by nothing but their arguments."""

# What is in them goes by nothing but its arguments.
_PURE_MODULES: Final = """
base64 binascii bisect calendar cmath collections collections.abc colorsys copy dataclasses datetime
difflib enum fractions functools heapq html itertools json keyword math numbers operator posixpath
re statistics string struct textwrap types typing unicodedata
""".split()  # noqa: SIM905 - a paragraph, not 30 lines
_FUNCTIONS: Final = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
)

_TYPES: Final = {
    (kind.__module__, kind.__qualname__): kind
    for kind in vars(types).values()
    if isinstance(kind, type)
}


def shared_named(module: str, name: str) -> type | None:
    """Return this process's class of the standard library of a name, if it is loaded here."""
    found = SHARED.get((module, name)) or _TYPES.get((module, name))
    if found is not None:
        return found
    if module.partition(".")[0] not in sys.stdlib_module_names:
        return None
    value: Any = sys.modules.get(module)
    for part in name.split("."):
        value = getattr(value, "__dict__", {}).get(part)
    return value if isinstance(value, type) else None


def global_name(value: Any) -> tuple[str, str] | None:
    """Return where another process finds the same function or class, if it is the library's."""
    owner = getattr(value, "__objclass__", None) or value
    module, name = getattr(owner, "__module__", None), getattr(value, "__qualname__", None)
    if type(module) is not str or type(name) is not str:
        return None
    if module.partition(".")[0] not in sys.stdlib_module_names:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return (module, name) if found is value else None


def pure_name(value: Any) -> tuple[str, str] | None:
    """Return where the other process finds the same function or module; None where it is not pure.

    Of a module the second part is empty.
    """
    if type(value) is types.ModuleType:
        name: Any = value.__dict__.get("__name__")
        return (name, "") if pure_named(name, "") is value else None
    if type(value) not in _FUNCTIONS or (found := global_name(value)) is None:
        return None
    # Some are of a module in C beneath.
    found = (found[0].removeprefix("_"), found[1])
    return found if pure_named(*found) is value else None


def is_shared(value: Any) -> bool:
    """Return whether another process has the same module, function or class of the library."""
    if type(value) is types.ModuleType:
        return any(module is value for module in sys.modules.values())
    return isinstance(value, (type, *_FUNCTIONS)) and global_name(value) is not None


def pure_named(module: Any, name: Any) -> Any:
    """Return what `pure_name` names, or a class of such a module; None where it names nothing.

    What a module has imported itself is not its own, and so is named nothing here.
    """
    if type(module) is not str or type(name) is not str:
        return None
    found: Any = importlib.import_module(module) if module in _PURE_MODULES else builtins
    if found is not builtins and not name:
        return found
    for part in name.split("."):
        if part.startswith("_"):
            return None
        found = getattr(found, part, None)
    if not isinstance(found, (type, *_FUNCTIONS)):
        return None
    # Of the builtins, some functions see more than their arguments.
    if module == "builtins" and type(found) is types.BuiltinFunctionType:
        return None
    own = global_name(found)
    return found if own and (own[0].removeprefix("_"), own[1]) == (module, name) else None


def is_plain(value: object) -> bool:
    """Return whether a value holds nothing but what travels by value."""
    kind = type(value)
    if kind in (tuple, frozenset):
        return all(map(is_plain, value))  # type: ignore[call-overload]
    return kind in _SCALARS


def is_remembered(value: object) -> bool:
    """Return whether a plain result is small, and of a kind whose equals are different objects."""
    kind = type(value)
    if kind is float:
        return True
    if kind is str or kind is bytes:
        return len(value) <= 1000  # type: ignore[arg-type]
    return (kind is tuple or kind is frozenset) and len(value) <= 16 and is_plain(value)  # type: ignore[arg-type]


NANS: Final = frozenset((float, complex, Decimal))
"""Plain types with values that are not equal to themselves: their identity shows, in a list."""


def is_nan(value: object) -> bool:
    """Return whether a value of `NANS` is not equal to itself."""
    return value.is_nan() if type(value) is Decimal else value != value


# Constants that a program and its test share in one process.
_NAMED_NANS: Final = (("math", "nan"), ("cmath", "nan"), ("numpy", "nan"), ("json.decoder", "NaN"))
_made_nans: Final[dict[tuple[str, str], float]] = {}


def name_of_nan(value: object) -> tuple[str, str] | None:
    """Return where another process finds the same constant that is no number; None: nowhere."""
    for module, name in _NAMED_NANS:
        if getattr(sys.modules.get(module), name, None) is value:
            return module, name
    return None


def named_nan(module: str, name: str) -> float | None:
    """Return the constant of a module, or what stands for it where the module is not loaded."""
    if (module, name) not in _NAMED_NANS:
        return None
    found = getattr(sys.modules.get(module), name, None)
    return found if type(found) is float else _made_nans.setdefault((module, name), float("nan"))


def attributes(value: object) -> dict[str, Any]:
    """Return an object's own attributes, without running any code of its class."""
    found: dict[str, Any] = {}
    for kind in type(value).__mro__:
        for name, slot in type.__dict__["__dict__"].__get__(kind).items():
            if type(slot) is types.MemberDescriptorType and slot.__objclass__ is kind:
                try:
                    found[name] = slot.__get__(value)
                except AttributeError:
                    continue
            elif name == "__dict__" and type(slot) is types.GetSetDescriptorType:
                found |= slot.__get__(value)
    return {name: item for name, item in found.items() if type(name) is str}


def _dict_content(value: Any) -> list[Any]:
    flat = [part for item in dict.items(value) for part in item]
    if isinstance(value, defaultdict):
        flat.append(defaultdict.__dict__["default_factory"].__get__(value))
    return flat


def _attributes_content(value: Any) -> list[Any]:
    return [part for item in attributes(value).items() for part in item]


_CONTENTS: Final[dict[str, Callable[[Any], list[Any]]]] = {
    "l": lambda value: list(list.__iter__(value)),
    "q": lambda value: [deque.__dict__["maxlen"].__get__(value), *deque.__iter__(value)],
    "o": _dict_content,
    "S": lambda value: list(set.__iter__(value)),
    "B": lambda value: [bytes(bytearray.__getitem__(value, slice(None)))],
    ATTRIBUTES: _attributes_content,
    ARRAY: arrays.content,
}


def content(value: object, layout: str) -> list[Any]:
    """Return what an object of a mutable layout holds, one level deep."""
    return _CONTENTS[layout](value)


def _fill_deque(value: Any, items: list[Any]) -> None:
    deque.clear(value)
    deque.extend(value, items[1:])


def _fill_dict(value: Any, items: list[Any]) -> None:
    if isinstance(value, defaultdict):
        *items, factory = items
        defaultdict.__dict__["default_factory"].__set__(value, factory)
    # An OrderedDict keeps an order of its own, which dict's methods do not know.
    base: Any = OrderedDict if isinstance(value, OrderedDict) else dict
    base.clear(value)
    for key, item in zip(items[::2], items[1::2], strict=True):
        base.__setitem__(value, key, item)


def _fill_set(value: Any, items: list[Any]) -> None:
    set.clear(value)
    set.update(value, items)


def _fill_attributes(value: Any, items: list[Any]) -> None:
    new = dict(zip(items[::2], items[1::2], strict=True))
    for name in attributes(value).keys() - new.keys():
        object.__delattr__(value, name)
    for name, item in new.items():
        object.__setattr__(value, name, item)


_FILLS: Final[dict[str, Callable[[Any, list[Any]], None]]] = {
    "l": lambda value, items: list.__setitem__(value, slice(None), items),
    "q": _fill_deque,
    "o": _fill_dict,
    "S": _fill_set,
    "B": lambda value, items: bytearray.__setitem__(value, slice(None), items[0]),
    ATTRIBUTES: _fill_attributes,
    ARRAY: arrays.fill,
}


def fill(value: object, layout: str, items: list[Any]) -> None:
    """Give an object of a mutable layout what another one of it holds."""
    _FILLS[layout](value, items)


# Beside their arguments, what the interpreter's exceptions hold.
_FIELDS: Final[dict[type[BaseException], tuple[str, ...]]] = {
    OSError: ("filename", "filename2"),
    ImportError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name", "obj"),
}
Pairs = tuple[tuple[str, Any], ...]


def exception_parts(
    error: BaseException,
) -> tuple[Any, ...]:
    """Return an exception's arguments, its fields, its own attributes, its cause and context.

    The last part is whether the context is not shown, as after ``raise ... from``.
    """
    fields = []
    for base, names in _FIELDS.items():
        if isinstance(error, base):
            for name in names:
                try:
                    fields.append((name, base.__dict__[name].__get__(error)))
                except AttributeError:
                    continue
    own = BaseException.__dict__["__dict__"].__get__(error)
    arguments = tuple(BaseException.__dict__["args"].__get__(error))
    if isinstance(error, BaseExceptionGroup):
        # A list would be filled after the group is made of it.
        inner = BaseExceptionGroup.__dict__["exceptions"].__get__(error)
        arguments = (BaseExceptionGroup.__dict__["message"].__get__(error), inner)
    cause = BaseException.__dict__["__cause__"].__get__(error)
    state = tuple((name, item) for name, item in own.items() if type(name) is str)
    context = BaseException.__dict__["__context__"].__get__(error)
    hidden = BaseException.__dict__["__suppress_context__"].__get__(error)
    return arguments, tuple(fields), state, cause, context, hidden


def make_exception(
    kind: type[BaseException],
    arguments: tuple[Any, ...],
    fields: Pairs,
    state: Pairs,
    cause: BaseException | None,
    context: BaseException | None,
    hidden: bool,
) -> BaseException:
    """Return an exception as `exception_parts` took it apart, without the code of its class.

    Raises:
        TypeError: no exception of this class can be made of them.
    """
    base: Any = next(item for item in kind.__mro__ if item in SHARED_KINDS)
    error: BaseException = base.__new__(kind, *arguments)
    with contextlib.suppress(TypeError):  # a class whose own __init__ takes other arguments
        base.__init__(error, *arguments)
    error.args = arguments
    for owner, names in _FIELDS.items():
        if isinstance(error, owner):
            for name, item in fields:
                if name in names:
                    owner.__dict__[name].__set__(error, item)
    error.__dict__.update(state)
    error.__cause__, error.__context__ = cause, context
    error.__suppress_context__ = hidden
    return error
