"""What has changed in a value, told place by place: ``dp[25]=3``, ``del d[4]``, ``seen.add(7)``.

Runs inside the watched program's process: standard library only, knows nothing about tracing.
"""

from __future__ import annotations

import builtins
import marshal
from collections.abc import Sequence
from typing import Any

from egcfg_tracers import values
from egcfg_tracers.forms import Form, Graph, earlier_graph, graph_of

__all__ = ["differences", "differing_text"]

# Functions look builtins up here, so a program that patches `builtins` does not reach us.
globals()["__builtins__"] = dict(vars(builtins))

_MAX_PLACES = 3
_MAX_VISITED = 20_000
_SHOWN = 20  # items that the text of a value tells at most
_BLOCK = 64
_ATOMS = values.ATOMS
_dumps = marshal.dumps


def differences(name: str, form: Form, value: Any) -> tuple[list[str], bool]:
    """Return the first few places where `value` differs from what `form` was made of.

    None where they do not differ, or in ways only that a text cannot tell. And whether these are
    all of them, with all that they hold.

    Raises:
        RuntimeError: another thread changes the value.
    """
    before, after = earlier_graph(form), graph_of(value)
    if before is None or after is None:
        return [], True
    comparison = _Comparison(before, after)
    return comparison.places(name), comparison.complete


def differing_text(name: str, before: Any, after: Any) -> list[str]:
    """Return where a long string, or bytes, differs from an earlier one; empty if nearly all of it.

    Args:
        name: of the variable.
        before: the earlier value.
        after: the later one, of the same type.
    """
    start, end, other = _unlike_part(before, after)
    if other - start > len(after) // 2:
        return []
    return [_segment(name, start, end, other, len(before), after, _text(after[start:other]))]


class _Comparison:
    """Walks along two graphs, side by side from their roots."""

    def __init__(self, before: Graph, after: Graph) -> None:
        self._before, self._after = before, after
        self.complete = True
        self._found: list[str] = []
        self._todo: list[tuple[str, Any, Any]] = []
        self._visited: set[tuple[int, int]] = set()

    def places(self, name: str) -> list[str]:
        self._todo.append((name, (0,), (0,)))
        while self._todo and len(self._visited) < _MAX_VISITED:
            path, before, after = self._todo.pop()
            if type(before) is tuple and type(after) is tuple:
                pair = before[0], after[0]
                if pair not in self._visited:
                    self._visited.add(pair)
                    self._compare(path, *pair)
            elif not _same(before, after):
                self._found.append(f"{path}={self._text(after)}")
            if len(self._found) > _MAX_PLACES:
                break
        if len(self._found) > _MAX_PLACES or self._todo:
            self.complete = False
            return [*self._found[:_MAX_PLACES], f"... more in {name}"]
        return self._found

    def _compare(self, path: str, number: int, other: int) -> None:
        kind, name, keys, held = self._before.nodes[number]
        new_kind, new_name, new_keys, new_held = self._after.nodes[other]
        if (kind, name) != (new_kind, new_name):
            self._found.append(f"{path}={self._text((other,))}")
        elif kind == "sequence":
            self._compare_sequences(path, held, new_held)
        elif kind == "set":
            self._compare_sets(path, held, new_held)
        elif kind != "opaque":
            shape = f"{path}.{{}}" if kind == "attributes" else f"{path}[{{}}]"
            to_text = str if kind == "attributes" else _key_text
            old = dict(zip(map(to_text, keys), held, strict=False))
            new = dict(zip(map(to_text, new_keys), new_held, strict=False))
            self._compare_entries(path, shape, old, new)

    def _compare_sequences(self, path: str, old: Sequence[Any], new: Sequence[Any]) -> None:
        if len(old) == len(new):
            unlike = _unlike_places(old, new)
            if len(unlike) <= _MAX_PLACES or any(type(new[at]) is tuple for at in unlike):
                # The last one is taken from the end of the list first.
                self._todo += [(f"{path}[{at}]", old[at], new[at]) for at in reversed(unlike)]
                return
            start, end = unlike[0], unlike[-1] + 1
            other = end
        else:
            olds = [_key(self._before, item) for item in old]
            news = [_key(self._after, item) for item in new]
            start, end, other = _unlike_part(olds, news)
        part = new[start:other]
        shown = ", ".join(map(self._text, part[:_MAX_PLACES]))
        more = f", ... {len(part) - _MAX_PLACES} more" if len(part) > _MAX_PLACES else ""
        if more and start < _SHOWN:
            self.complete = False  # the text of the whole value tells more
        text = shown if len(part) == 1 else f"[{shown}{more}]"
        self._found.append(_segment(path, start, end, other, len(old), new, text))

    def _compare_sets(self, path: str, old: Sequence[Any], new: Sequence[Any]) -> None:
        was, now = ({_dumps(item, 2): item for item in side} for side in (old, new))
        gone = [item for form, item in was.items() if form not in now]
        came = [item for form, item in now.items() if form not in was]
        for word, items in (("add", came), ("remove", gone)):
            for item in items[: _MAX_PLACES + 1]:
                self._found.append(f"{path}.{word}({_key_text(item)})")

    def _compare_entries(
        self, path: str, shape: str, old: dict[str, Any], new: dict[str, Any]
    ) -> None:
        found = len(self._found)
        places = []
        for key, held in new.items():
            place = shape.format(key) if key else path
            if key not in old:
                self._found.append(f"{place}={self._text(held)}")
            elif type(held) is tuple or not _same(old[key], held):
                places.append((place, old[key], held))
            if len(self._found) > _MAX_PLACES:
                return
        self._found += [f"del {shape.format(key)}" for key in old if key not in new]
        if len(self._found) == found and [*old] != [*new]:
            self._found.append(f"{path} reordered")
        self._todo += reversed(places)

    def _text(self, held: Any) -> str:
        return _text(self._after.alive[held[0]] if type(held) is tuple else held)


def _text(value: Any) -> str:
    return values.describe(value).partition(values.FIELD)[2]


def _key_text(key: Any) -> str:
    """Return the text of a key or a member as graphs have them."""
    return key[0] if type(key) is tuple else _text(key)


def _same(before: Any, after: Any) -> bool:
    """Whether two atoms, or places in graphs, are alike; exact where ``==`` is not."""
    return type(before) is type(after) and _dumps(before, 2) == _dumps(after, 2)


def _key(graph: Graph, held: Any, nesting: int = 3) -> bytes:
    """Return what is equal for equal values as far down as `nesting` levels."""
    if type(held) is not tuple:
        return _dumps(held, 2)
    kind, name, keys, parts = graph.nodes[held[0]]
    inner = [_key(graph, part, nesting - 1) for part in parts] if nesting else []
    return _dumps((kind, name, keys, inner), 2)


def _unlike_places(old: Any, new: Any) -> list[int]:
    """Return the indices at which two sequences of one length differ, or hold containers."""
    places: list[int] = []
    for start in range(0, len(new), _BLOCK):
        olds, news = old[start : start + _BLOCK], new[start : start + _BLOCK]
        if _dumps(olds, 2) != _dumps(news, 2) or any(type(item) is tuple for item in news):
            places += [
                start + at
                for at, (before, after) in enumerate(zip(olds, news, strict=True))
                if type(after) is tuple or not _same(before, after)
            ]
    return places


def _unlike_part(old: Any, new: Any) -> tuple[int, int, int]:
    """Return where two sequences begin to differ, and where either is as the other again."""
    start, most = 0, min(len(old), len(new))
    while start < most and old[start] == new[start]:
        start += 1
    same = 0
    while same < most - start and old[-1 - same] == new[-1 - same]:
        same += 1
    return start, len(old) - same, len(new) - same


def _segment(path: str, start: int, end: int, other: int, size: int, new: Any, text: str) -> str:
    """Tell that items `start` to `end`, of `size`, have become `start` to `other` of `new`."""
    if start == other:
        if start == len(new):
            return f"len({path})={start}"
        return f"del {path}[{start}]" if end - start == 1 else f"del {path}[{start}:{end}]"
    single = other - start == 1
    if start == end == size:
        return f"{path}[{start}{'' if single else ':'}]={text}"
    if start == end and single:
        return f"{path}.insert({start}, {text})"
    if single and end - start == 1:
        return f"{path}[{start}]={text}"
    return f"{path}[{start}:{end}]={text if not single or type(new) is not list else f'[{text}]'}"
