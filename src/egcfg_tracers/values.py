"""Text for any value of a watched program, without running a line of the program's code.

No ``__repr__``, ``__eq__``, ``__len__`` or ``__iter__`` of the program, and no attribute look-up
that one of its classes could intercept: exact builtin types are rendered, subclasses of them by the
base type's own methods, everything else by the name of its class and the plain data in its
instance. Bounded in length, items, nesting and nodes; cycles end; sets come in a stable order;
memory addresses are scrubbed where an object's own `repr` has put them.

Runs inside the watched program's process: standard library only, knows nothing about tracing.
"""

from __future__ import annotations

import builtins
import collections
import datetime
import decimal
import enum
import itertools
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = [
    "ATOMS",
    "DELETED",
    "FIELD",
    "MAX_TEXT",
    "attributes_of",
    "class_attributes",
    "clean",
    "describe",
    "fields_of",
    "keep_addresses_of",
    "may_change",
    "message_of",
    "scrubbed",
    "type_name",
]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

FIELD = "\x1f"
"""Separates the type from the text in what `describe` returns; neither contains it."""

DELETED = "<deleted>"
"""Stands, without a type, for the value of a variable that is no longer bound."""

MAX_TEXT = 160
"""Characters of one value."""

_MAX_STRING = 100
_ENDS = (70, 30), (20, 8), (5, 3)  # characters of a longer one that are shown
_MAX_INT_BITS = 480
_MAX_ITEMS = 20
_MAX_NESTING = 5
_MAX_NODES = 200
_MAX_NAME = 60
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement or by a C module at run time

# The slots of `type` and `BaseException` themselves: no class can stand in their way.
_name_of_type = type.__dict__["__name__"].__get__
_mro_of_type = type.__dict__["__mro__"].__get__
_dict_of_type = type.__dict__["__dict__"].__get__
_flags_of_type = type.__dict__["__flags__"].__get__
_subclass = type.__subclasscheck__  # (base, class): `issubclass` without a metaclass's say
_args_of_exception = BaseException.__dict__["args"].__get__
_dict_of_function = types.FunctionType.__dict__["__dict__"].__get__
_dict_of_module = vars(types.ModuleType)["__dict__"].__get__
_odict_items = collections.OrderedDict.items

_LIBRARY = frozenset(sys.stdlib_module_names) - {"__main__"}
_OPEN_MODULES = frozenset({"fractions"})
_ADDRESS = re.compile(r" at 0x([0-9a-f]{5,16})(?=[>,])")  # as an object's own `repr` has it
_PLACES = (id(object()), id(object), id([None] * 5_000))
_NEARBY = 1 << 31  # bytes; the memory of one process is hardly larger
_own_texts: list[str] = []


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return `text` on one line, bounded, without control characters and surrogates."""
    text = str.__str__(text)
    if len(text) > limit:
        text = f"{text[: limit - 3]}..."
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text


def keep_addresses_of(source: str) -> None:
    """Take what looks like an address in the program's source for none, from now on."""
    _own_texts[:] = [source]


def scrubbed(text: str, known: str | None = None) -> str:
    """Return `text` without the memory addresses that an object's own `repr` has put there.

    What only looks like one stays, such as a string that the program's source holds.

    Args:
        text: whatever the program has made.
        known: text of the program, whose addresses are none; None where `text` is of this process,
            so that its own addresses can be told.
    """

    def replace(match: re.Match[str]) -> str:
        address = int(match[1], 16)
        real = not any(match[1] in text for text in ([*_own_texts] if known is None else [known]))
        if known is None:
            real &= not address % 16 and any(abs(address - near) < _NEARBY for near in _PLACES)
        return " at 0x..." if real else match[0]

    return _ADDRESS.sub(replace, text) if " at 0x" in text else text


def type_name(value: object) -> str:
    """Return the name of the class of `value`."""
    return clean(_name_of_type(type(value)), _MAX_NAME)


def describe(value: object) -> str:
    """Return ``TYPE FIELD TEXT`` for any value; never raises."""
    atom = ATOMS.get(id(type(value)))
    if atom is not None:
        prefix, to_text = atom
        return prefix + to_text(value)
    text = _render(value, 0, _Budget())
    if len(text) > MAX_TEXT:
        text = f"{text[: MAX_TEXT - 3]}..."
    return f"{type_name(value)}{FIELD}{text}"


def message_of(error: BaseException) -> str:
    """Return an exception's text, made of its arguments only."""
    args = _args_of_exception(error)
    if not args:
        return ""
    if type(args[0]) is str and type(error) is not KeyError:
        return clean(scrubbed(args[0]))
    if len(args) == 2 and type(args[0]) is int and type(args[1]) is str:  # as OSError has it
        return clean(f"[Errno {_int(args[0])}] {args[1]}")
    return clean(", ".join(describe(argument).partition(FIELD)[2] for argument in args[:5]))


class _Budget:
    """What one value may still use, and the containers that it is inside of."""

    __slots__ = ("characters", "nodes", "path")

    def __init__(self) -> None:
        self.characters = MAX_TEXT
        self.nodes = _MAX_NODES
        self.path: list[int] = []


def _render(value: Any, nesting: int, budget: _Budget) -> str:
    budget.nodes -= 1
    kind = id(type(value))
    atom = ATOMS.get(kind)
    if atom is not None:
        text = atom[1](value)
        budget.characters -= len(text)
        return text
    if nesting >= _MAX_NESTING or budget.nodes <= 0 or budget.characters <= 0:
        return "..."
    if id(value) in budget.path:
        return "<cycle>"
    budget.path.append(id(value))
    try:
        return _CONTAINERS.get(kind, _object)(value, nesting, budget)
    except (RuntimeError, MemoryError):  # changed by another thread; stack or memory at their end
        return "..."
    finally:
        budget.path.pop()


def _join(parts: Iterator[str], size: int, budget: _Budget) -> str:
    """Join what the limits allow of `parts`, of which there are `size`."""
    shown = []
    for part in itertools.islice(parts, _MAX_ITEMS):
        shown.append(part)
        budget.characters -= 2
        if budget.characters <= 0 or budget.nodes <= 0:
            break
    if size > len(shown):
        shown.append(f"... {size - len(shown)} more")
    return ", ".join(shown)


def _sequence(items: Iterable[Any], size: int, nesting: int, budget: _Budget) -> str:
    return _join((_render(item, nesting + 1, budget) for item in items), size, budget)


def _short_and_plain(items: list[Any]) -> bool:
    """Whether `repr` of this exact list or tuple is safe and short: small ints or short strings."""
    kinds = {*map(id, map(type, items))}
    if kinds == _ONLY_INT:
        return bool(min(items) > -1_000_000 and max(items) < 1_000_000)
    if kinds == _ONLY_STR:
        return sum(map(len, items)) < _MAX_STRING and not any(map(_risky, items))
    return False


def _risky(text: str) -> bool:
    return " at 0x" in text or not text.isprintable()


def _list(value: list[Any], nesting: int, budget: _Budget) -> str:
    if len(value) <= _MAX_ITEMS:
        copy = value[:]  # another thread may change it between the look and `repr`
        if _short_and_plain(copy):
            text = repr(copy)
            budget.characters -= len(text)
            budget.nodes -= len(copy)
            return text
    return f"[{_sequence(value[:_MAX_ITEMS], len(value), nesting, budget)}]"


def _tuple(value: tuple[Any, ...], nesting: int, budget: _Budget) -> str:
    inner = _sequence(value, len(value), nesting, budget)
    return f"({inner},)" if len(value) == 1 else f"({inner})"


def _dict(value: dict[Any, Any], nesting: int, budget: _Budget) -> str:
    ordered = type(value) is collections.OrderedDict
    items: Iterable[tuple[Any, Any]] = _odict_items(value) if ordered else dict.items(value)  # type: ignore[arg-type] # an OrderedDict here
    pairs = (
        f"{_render(key, nesting + 1, budget)}: {_render(item, nesting + 1, budget)}"
        for key, item in items
    )
    text = f"{{{_join(pairs, dict.__len__(value), budget)}}}"
    return text if type(value) is dict else f"{type_name(value)}({text})"


def _set(value: Any, nesting: int, budget: _Budget) -> str:
    base = set if _subclass(set, type(value)) else frozenset
    size = base.__len__(value)
    members = list(itertools.islice(base.__iter__(value), _MAX_NODES))
    kinds = {*map(id, map(type, members))}
    if kinds in (_ONLY_INT, _ONLY_STR):
        inner = _sequence(sorted(members), size, nesting, budget)
    else:
        # Every member has the whole width, so that which ones are shown does not hang on chance.
        texts = []
        for member in members:
            left, budget.characters = budget.characters, MAX_TEXT
            texts.append(_render(member, nesting + 1, budget))
            budget.characters = left
        inner = _join(iter(sorted(texts)), size, budget)
        budget.characters -= len(inner)
    if type(value) is set:
        return f"{{{inner}}}" if size else "set()"
    return f"{type_name(value)}({{{inner}}})" if size else f"{type_name(value)}()"


def _deque(value: collections.deque[Any], nesting: int, budget: _Budget) -> str:
    return f"deque([{_sequence(value, len(value), nesting, budget)}])"


def _view(value: Any, nesting: int, budget: _Budget) -> str:
    return f"{type_name(value)}([{_sequence(value, len(value), nesting, budget)}])"


def _range(value: range, nesting: int, budget: _Budget) -> str:
    parts = [value.start, value.stop] + ([value.step] if value.step != 1 else [])
    return f"range({_sequence(parts, len(parts), nesting, budget)})"


def _object(value: Any, nesting: int, budget: _Budget) -> str:
    kind = type(value)
    name = type_name(value)
    if _subclass(type, kind):
        return f"<class {clean(_name_of_type(value), _MAX_NAME)}>"
    if _subclass(BaseException, kind):
        return f"<{name}: {message_of(value)}>"
    fields = attributes_of(value)
    if _subclass(enum.Enum, kind):
        member = next((held for field, held in fields if field == "_name_"), None)
        return f"<{name}.{member}>" if type(member) is str else f"<{name}>"
    names = fields_of(kind)
    if names:
        held = zip(names, tuple.__iter__(value), strict=False)
        pairs = (f"{field}={_render(item, nesting + 1, budget)}" for field, item in held)
        return f"<{name} {_join(pairs, len(names), budget)}>"
    for base, reduce in _REDUCIBLE:
        if _subclass(base, kind):
            return f"<{name} {_render(reduce(value), nesting, budget)}>"
    for base, render in _READABLE:
        if _subclass(base, kind):
            return render(value, nesting, budget)
    shown = (f"{field}={_render(held, nesting + 1, budget)}" for field, held in fields)
    text = _join(shown, 0, budget)
    return f"<{name} {text}>" if text else f"<{name}>"


def fields_of(kind: type) -> tuple[str, ...]:
    """Return the names of a named tuple's fields; nothing of any other class."""
    if not _subclass(tuple, kind):
        return ()
    for owner in _mro_of_type(kind):
        names = _dict_of_type(owner).get("_fields")
        if type(names) is tuple and all(type(name) is str for name in names):
            return tuple(clean(name, _MAX_NAME) for name in names)
    return ()


def attributes_of(value: object) -> Iterator[tuple[str, Any]]:
    """Yield names and values of what an instance of a class of the program holds."""
    kind = type(value)
    return _attributes(value, kind) if _is_open(kind) else iter(())


def class_attributes(value: type) -> Iterator[tuple[str, Any]]:
    """Yield names and values of what a class of the program holds besides its methods."""
    for name, held in list(_dict_of_type(value).items()):
        if type(name) is str and name[:2] != "__" and id(type(held)) not in _METHODS:
            yield clean(name, _MAX_NAME), held


def may_change(value: object, by_attributes: bool) -> bool:
    """Whether a global with this value is worth a look: no bare function, class or module.

    `by_attributes`: whether the code in question sets attributes of anything.
    """
    kind = type(value)
    if kind is types.FunctionType:
        return by_attributes or bool(_dict_of_function(value))
    if _subclass(type, kind):
        return by_attributes or any(True for _ in class_attributes(value))  # type: ignore[arg-type] # a class here
    return kind is not types.ModuleType and kind is not types.BuiltinFunctionType


def _is_open(kind: type) -> bool:
    """Whether the attributes of a class's instances are worth showing.

    Those of library classes are locks, thread numbers and caches, which change from run to run.
    """
    module = _dict_of_type(kind).get("__module__")
    if type(module) is not str:
        return False
    return module in _OPEN_MODULES or module.partition(".")[0] not in _LIBRARY


def _attributes(value: object, kind: type) -> Iterator[tuple[str, Any]]:
    """Yield names and values from an instance's `__dict__` and slots, through C descriptors."""
    for owner in _mro_of_type(kind):
        if not _flags_of_type(owner) & _HEAP_TYPE:
            continue
        for name, entry in list(_dict_of_type(owner).items()):
            if type(entry) is types.MemberDescriptorType:
                try:
                    yield clean(name, _MAX_NAME), types.MemberDescriptorType.__get__(entry, value)
                except AttributeError:  # an empty slot
                    continue
            elif type(entry) is types.GetSetDescriptorType and name == "__dict__":
                held = types.GetSetDescriptorType.__get__(entry, value)
                if type(held) is dict:
                    for key, item in list(held.items()):
                        if type(key) is str:
                            yield clean(key, _MAX_NAME), item


def _int(value: int) -> str:
    bits = value.bit_length()
    return repr(value) if bits <= _MAX_INT_BITS else f"<int of {bits} bits>"


def _str(value: str) -> str:
    return _quoted(value, lambda part: repr(scrubbed(part)))


def _bytes(value: bytes) -> str:
    return _quoted(value, repr)


def _quoted(value: Any, to_text: Callable[[Any], str]) -> str:
    """Return a string whole, or its head and its tail."""
    size = len(value)
    if size <= _MAX_STRING:
        text = to_text(value)
        if len(text) <= MAX_TEXT - 20:
            return text
    for head, tail in _ENDS:
        more = size - head - tail
        if more > 0:
            text = f"{to_text(value[:head])}... {more} more ...{to_text(value[-tail:])}"
            if len(text) <= MAX_TEXT:
                return text
    return f"{to_text(value)[: MAX_TEXT - 3]}..."


def _module_name(value: types.ModuleType) -> str:
    name = dict.get(_dict_of_module(value), "__name__")
    return f" {clean(name, _MAX_NAME)}" if type(name) is str else ""


def _named(word: str) -> Callable[[Any, int, _Budget], str]:
    return lambda value, _nesting, _budget: f"<{word} {clean(value.__name__, _MAX_NAME)}>"


def _atoms() -> dict[int, tuple[str, Callable[[Any], str]]]:
    texts: dict[type, Callable[[Any], str]] = {
        int: _int,
        str: _str,
        bytes: _bytes,
        bool: repr,
        float: repr,
        complex: repr,
        types.NoneType: repr,
        types.EllipsisType: repr,
        types.NotImplementedType: repr,
    }
    return {id(kind): (f"{kind.__name__}{FIELD}", text) for kind, text in texts.items()}


# Keyed by id, as hashing a class would run its metaclass's `__hash__`; these types never die.
ATOMS = _atoms()
"""By the id of a type: what precedes a value's text, and its text. Of these types no value changes,
or holds one that can: the same object has the same text."""

_METHODS = {
    id(kind)
    for kind in (
        *(types.FunctionType, types.GetSetDescriptorType, types.MemberDescriptorType),
        *(property, staticmethod, classmethod),
    )
}
_ONLY_INT, _ONLY_STR = {id(int)}, {id(str)}
_CONTAINERS: dict[int, Callable[[Any, int, _Budget], str]] = {
    id(list): _list,
    id(tuple): _tuple,
    id(dict): _dict,
    id(collections.OrderedDict): _dict,
    id(collections.defaultdict): _dict,
    id(collections.Counter): _dict,
    id(set): _set,
    id(frozenset): _set,
    id(collections.deque): _deque,
    id(type({}.keys())): _view,
    id(type({}.values())): _view,
    id(type({}.items())): _view,
    id(range): _range,
    id(decimal.Decimal): lambda value, _nesting, _budget: clean(repr(value)),
    id(datetime.date): lambda value, _nesting, _budget: repr(value),
    id(datetime.timedelta): lambda value, _nesting, _budget: repr(value),
    id(bytearray): lambda value, _nesting, _budget: f"bytearray({_bytes(bytes(value))})",
    id(types.FunctionType): _named("function"),
    id(types.BuiltinFunctionType): _named("function"),
    id(types.GeneratorType): _named("generator"),
    id(types.CoroutineType): _named("coroutine"),
    id(types.ModuleType): lambda value, _nesting, _budget: f"<module{_module_name(value)}>",
    id(types.CodeType): lambda value, _nesting, _budget: f"<code {clean(value.co_name)}>",
}
# Subclasses of builtin types, by the base type's own methods: first those that become a plain
# value, then those that are read in place, as a copy would run the `__hash__` of what they hold.
_REDUCIBLE: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (int, int.__int__),
    (str, str.__str__),
    (float, float.__float__),
    (list, lambda value: list.__getitem__(value, slice(None))),
    (tuple, lambda value: tuple.__getitem__(value, slice(None))),
)
_READABLE: tuple[tuple[type, Callable[[Any, int, _Budget], str]], ...] = (
    (dict, _dict),
    (set, _set),
    (frozenset, _set),
)
