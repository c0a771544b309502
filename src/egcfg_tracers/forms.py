"""Values in a form that can be kept and compared, without running a line of the program's code.

The form of a container of plain values (exact builtin types without attributes) is what `marshal`
makes of it, in a fraction of the time that any Python code would take. Everything else becomes a
*graph* first: one node for each container and instance, with what it holds, and this is what is
serialised. Equal forms mean that nothing changed, whatever the size.

What forms may cost is limited for a whole run (`Effort`); of a value that there is no effort left
for, there is no form.

Runs inside the watched program's process: standard library only, knows nothing about tracing.
"""

from __future__ import annotations

import builtins
import collections
import itertools
import marshal
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from egcfg_tracers import values

__all__ = ["Effort", "Form", "Graph", "Node", "earlier_graph", "form_of", "graph_of"]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

_ATOMS = values.ATOMS
_dumps, _loads = marshal.dumps, marshal.loads
_FREE = 2_000  # bytes of a form that count as no effort
_NODE_BYTES = 100  # what a value in a graph costs, counted in bytes of a serialised form
_MAX_DEPTH = 12  # containers inside each other that are serialised directly
_LARGE = 400  # values; an effort that has been spent allows no larger one
_MAX_GRAPH = 20_000  # values of one graph
_EFFORT = 32 << 20
_MAX_HOPELESS = 1_000
_hopeless: set[int] = set()
"""Ids of containers that hold more than plain values. A wrong entry, of a container that is gone
and whose id is used again, only costs time."""

Form = tuple[Any, ...]
"""The serialised value, or that of its graph with a second item; or the text of a value of which no
more can be told, with a third one that tells it from another. Compared by ``==``."""


class Effort:
    """What forms may still cost in this run.

    Args:
        on_missed: called when a large value is not looked at for that.

    Attributes:
        left: bytes to serialise; those of small values are not counted.
    """

    __slots__ = ("left", "on_missed")

    def __init__(self, on_missed: Callable[[], None] = lambda: None) -> None:
        self.left = _EFFORT
        self.on_missed = on_missed


Node = tuple[str, str, tuple[Any, ...], Sequence[Any]]
"""A container or an instance in a graph: its kind, class, keys and what it holds.

Kinds are ``sequence``, ``mapping``, ``set``, ``attributes`` and ``opaque``, which has a text in the
place of its class. Keys are those of a mapping or the names of attributes. What is held is an atom
as it is, or a tuple of the number of its node; of a set's members and of keys, of their text.
"""


class Graph(NamedTuple):
    """A value's nodes, its own first, and what each stands for."""

    nodes: list[Node]
    alive: list[Any]


def form_of(value: Any, effort: Effort) -> Form | None:
    """Return the form of a value that is no atom; None where none is to be had."""
    kind = id(type(value))
    if kind in _PLAIN and id(value) not in _hopeless:
        size = len(value)
        if size:
            if kind == _LIST:
                first = value[0]
            elif kind == _DICT:
                first = next(iter(value.values()), None)
            else:
                first = None
            inner = id(type(first))
            if inner == _LIST and (not first or id(type(first[0])) in _ATOMS):
                size *= len(first)  # a table
            elif inner not in _ATOMS or kind == _TUPLE:
                size = _size(value, kind)
        if size > _LARGE and effort.left < size:
            effort.on_missed()
            return None
        if size >= 0:
            try:
                if _MARSHAL_RUNS_NOTHING or _is_plain(value, kind):
                    data = _dumps(value, 2)  # later formats depend on reference counts
                    if len(data) > _FREE:
                        effort.left -= len(data)
                    return (data,)
            except (ValueError, MemoryError):  # what it cannot hold
                pass
        if len(_hopeless) > _MAX_HOPELESS:
            _hopeless.clear()
        _hopeless.add(id(value))
    elif kind == _FUNCTION and not _dict_of_function(value):
        return (id(value.__code__),)
    elif kind in _BY_TEXT:
        return (_text(value),)
    try:
        most = max(_LARGE // 8, min(_MAX_GRAPH, effort.left // _NODE_BYTES))
        graph = graph_of(value, most)
        if graph is not None:
            cost = _NODE_BYTES * sum(1 + len(node[3]) for node in graph.nodes)
            if cost > _FREE:
                effort.left -= cost
            if graph.nodes[0][0] == "opaque":
                return graph.nodes[0][1], None, id(value)
            return _dumps(graph.nodes, 2), True
    except (RuntimeError, ValueError, MemoryError):  # changed by another thread; at a limit
        pass
    effort.on_missed()
    return None


def earlier_graph(form: Form) -> Graph | None:
    """Return the graph of the value that a form was made of."""
    if type(form[0]) is int:  # a function without attributes
        return Graph([("attributes", "function", ("",), form)], [])
    if type(form[0]) is str:
        return Graph([("opaque", form[0], (), ())], [])
    held = _loads(form[0])
    return graph_of(held) if len(form) == 1 else Graph(held, [])


def _size(value: Any, kind: int) -> int:
    """Return about how many values a container holds, or -1 if it is nested too deeply.

    Looks at one value of each level: lists that hold the same list many times are small in memory
    and would be large when serialised.
    """
    size = 1
    for _ in range(_MAX_DEPTH):
        count = len(value)
        size *= count
        if not count or size > _EFFORT:
            return size
        if kind == _DICT:
            value = next(iter(value.values()), None)
        elif kind in _NESTED:
            value = value[0]
        else:
            return size
        kind = id(type(value))
        if kind not in _PLAIN:
            return size
    return -1


# From 3.12 on, a class can have a `__buffer__` that `marshal` would run.
_MARSHAL_RUNS_NOTHING = sys.version_info < (3, 12)
_DICT, _LIST, _TUPLE, _FUNCTION = map(id, (dict, list, tuple, types.FunctionType))
_BY_TEXT = {
    id(kind) for kind in (*(types.ModuleType, types.BuiltinFunctionType, types.CodeType, range),)
}
_NESTED = {id(list), id(tuple)}
_PLAIN = {id(list), id(dict), id(tuple), id(set), id(frozenset)}
_ATOMS_AND_NESTED = _ATOMS.keys() | _NESTED


def _is_plain(value: Any, kind: int) -> bool:
    """Whether a container, and the lists and tuples in it, hold values that cannot change only."""
    items = [*value, *value.values()] if kind == _DICT else [*value]
    kinds = {*map(id, map(type, items))}
    if kinds <= _ATOMS.keys():
        return True
    if not kinds <= _ATOMS_AND_NESTED:
        return False
    nested = itertools.chain.from_iterable(item for item in items if id(type(item)) in _NESTED)
    return {*map(id, map(type, nested))} <= _ATOMS.keys()


def graph_of(value: Any, limit: int | None = None) -> Graph | None:
    """Return a value taken apart, level by level, so that neither depth nor cycles matter.

    None where it holds more than `limit` values.

    Raises:
        RuntimeError: another thread has changed it meanwhile.
    """
    numbers: dict[int, int] = {}
    alive: list[Any] = []

    def refer(held: Any) -> Any:
        if id(type(held)) in _ATOMS:
            return held
        number = numbers.get(id(held))
        if number is None:
            number = numbers[id(held)] = len(alive)
            alive.append(held)
        return (number,)

    refer(value)
    nodes: list[Node] = []
    size = 0
    for held in alive:  # grows meanwhile
        kind, name, keys, parts = _apart(held)
        size += 1 + len(parts)
        if limit is not None and size > limit:
            return None
        if not {*map(id, map(type, parts))} <= _ATOMS.keys():
            parts = list(map(_by_text if kind == "set" else refer, parts))
        if kind == "set":
            parts = sorted(parts, key=_serialised)
        nodes.append((kind, name, tuple(map(_by_text, keys)), parts))
    return Graph(nodes, alive)


def _text(value: Any) -> str:
    return values.describe(value).partition(values.FIELD)[2]


def _by_text(member: Any) -> Any:
    return member if id(type(member)) in _ATOMS else (_text(member),)


def _serialised(atom: Any) -> bytes:
    return _dumps(atom, 2)


def _apart(value: Any) -> tuple[str, str, Any, Any]:
    """Return the kind, class, keys and parts of a container or instance."""
    kind = type(value)
    reader = _READERS.get(id(kind))
    name = values.type_name(value)
    if reader is not None:
        return (reader[0], name, *reader[1](value))
    subclass = type.__subclasscheck__  # (base, class): without a metaclass's say
    fields = values.fields_of(kind)
    if fields:
        return "attributes", name, fields, list(tuple.__iter__(value))[: len(fields)]
    if subclass(type, kind):
        return "attributes", f"class {name}", *_pairs(values.class_attributes(value))
    attributes = _pairs(values.attributes_of(value))
    for base, (shape, read) in _BASES:
        if subclass(base, kind) and not attributes[0]:
            return (shape, name, *read(value))
    if attributes[0]:
        for base, _ in _BASES:
            if subclass(base, kind):  # what it holds as a container, by its text
                attributes[0].append("")
                attributes[1].append(_text(value))
                break
        return "attributes", name, *attributes
    return "opaque", _text(value), (), ()


def _pairs(items: Any) -> tuple[list[str], list[Any]]:
    pairs = list(items)
    return [name for name, _ in pairs], [held for _, held in pairs]


def _read_function(value: Any) -> tuple[list[str], list[Any]]:
    named = {key: held for key, held in _dict_of_function(value).items() if type(key) is str}
    return [*named, ""], [*named.values(), id(value.__code__)]


_dict_of_function = types.FunctionType.__dict__["__dict__"].__get__
_Reader = Callable[[Any], tuple[Any, Any]]


def _items(base: Any) -> _Reader:
    return lambda value: ((), list(base.__iter__(value)))


def _entries(value: Any) -> tuple[list[Any], list[Any]]:
    ordered = type(value) is collections.OrderedDict
    items: Any = collections.OrderedDict.items if ordered else dict.items
    pairs = list(items(value))
    return [key for key, _ in pairs], [held for _, held in pairs]


_BASES: tuple[tuple[type, tuple[str, _Reader]], ...] = (
    (list, ("sequence", _items(list))),
    (tuple, ("sequence", _items(tuple))),
    (collections.deque, ("sequence", _items(collections.deque))),
    (dict, ("mapping", _entries)),
    (set, ("set", _items(set))),
    (frozenset, ("set", _items(frozenset))),
)
_READERS: dict[int, tuple[str, _Reader]] = {
    **{id(base): reader for base, reader in _BASES},
    id(collections.OrderedDict): ("mapping", _entries),
    id(collections.defaultdict): ("mapping", _entries),
    id(collections.Counter): ("mapping", _entries),
    **{
        view: ("sequence", lambda value: ((), list(value)))
        for view in map(id, map(type, ({}.keys(), {}.values(), {}.items())))
    },
    id(types.FunctionType): ("attributes", _read_function),
    id(bytearray): ("sequence", lambda value: ((), list(bytearray.__iter__(value)))),
}
