"""Messages between a test and a program: whatever the bytes, the judge reads them or refuses."""

from __future__ import annotations

import contextlib
import socket
import threading
import types
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egcfg.sandbox.confined import remote, serving
from egcfg.sandbox.confined.bounds import DecodeError
from egcfg.sandbox.confined.mirrors import Mirror
from egcfg.sandbox.confined.objects import Objects

PROGRAM = """
import enum
from collections import namedtuple
from dataclasses import dataclass
@dataclass
class P:
    x: int
    def twice(self): return 2 * self.x
@dataclass(frozen=True)
class F:
    x: int
N = namedtuple('N', 'a b')
class C(enum.Enum):
    RED = 1
class L(list):
    def second(self): return self[1]
class E(ValueError):
    def __init__(self, code): self.code = code
class O:
    def __eq__(self, other): return True
kept = [[1], {'k': (2, [3])}]
def echo(x): return x
def values():
    return [P(1), F(2), N(1, 2), C.RED, L([1, 2]), E(4), O(), C, P, kept, {F(2): N(1, [3])}]
def change(a): a.append(a)
def boom(): raise E(5)
"""


def load() -> types.ModuleType:
    """Return a module of the program."""
    module = types.ModuleType("program")
    exec(compile(PROGRAM, "<program>", "exec", dont_inherit=True), module.__dict__)
    return module


@pytest.fixture
def program() -> Iterator[tuple[remote.Remote, types.ModuleType]]:
    """Serve a program from a thread of this process, and return the judge's end."""
    ours, theirs = socket.socketpair()
    module = load()
    side = threading.Thread(target=serving.serve, args=(theirs, module, None, "<program>"))
    side.start()
    try:
        yield remote.Remote(ours), module
    finally:
        ours.close()
        side.join()
        theirs.close()


def test_values_keep_their_class_and_what_they_can_do(
    program: tuple[remote.Remote, types.ModuleType],
) -> None:
    judge, _ = program
    point, frozen, pair, red, items, error, own, colors, kind, kept, table = judge.ask(
        "call", judge.ask("name", "values"), (), ()
    )
    assert point == kind(1)
    assert (point.twice(), frozen.x, pair.b, red.value, items.second()) == (2, 2, 2, 1, 2)
    assert (error.code, isinstance(error, ValueError), colors.RED is red) == (4, True, True)
    assert (kept, table[frozen]) == ([[1], {"k": (2, [3])}], (1, [3]))
    with pytest.raises(remote.Unsupported, match="__eq__ of O would decide"):
        _ = own == 4


def test_the_same_object_is_the_same_object_both_ways(
    program: tuple[remote.Remote, types.ModuleType],
) -> None:
    judge, module = program
    echo, change = judge.ask("name", "echo"), judge.ask("name", "change")
    for value in ([1], {1: 2}, {3}, bytearray(b"4"), deque([5], 2), Counter("6"), OrderedDict(a=7)):
        assert echo(value) is value
    cycle: list[Any] = [1]
    change(cycle)
    assert cycle[1] is cycle
    kept = judge.ask("name", "kept")
    kept[0].append(2)
    module.kept[1]["new"] = kept[0] is kept[0]
    assert judge.ask("name", "kept") is kept
    assert module.kept[0] == [1, 2]
    assert kept[1]["new"] is True


def test_what_nobody_holds_is_forgotten_on_both_sides(
    program: tuple[remote.Remote, types.ModuleType],
) -> None:
    judge, _ = program
    echo = judge.ask("name", "echo")
    for number in range(50):
        assert echo([[number]]) == [[number]]
    assert len(judge.objects) < 20


def test_an_objects_number_is_its_owners_to_give() -> None:
    ours, theirs = Objects(1), Objects(-1)
    number = ours.add([], "l")
    theirs.adopt(number, [], "l")
    assert (ours.is_foreign(number), theirs.is_foreign(number)) == (False, True)
    with pytest.raises(KeyError):
        theirs.adopt(number, [], "l")


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damaged_messages_are_values_or_refused(data: st.DataObject) -> None:
    module = load()
    end, other = socket.socketpair()
    try:
        judge = remote.Remote(end)
        service = serving._Service(other, module, "<program>")
        message = serving._ProgramSender(service).message(("value", module.values(), "", (), ()))
        damaged = bytearray(message)
        for _ in range(data.draw(st.integers(1, 3))):
            position = data.draw(st.integers(0, len(damaged) - 1))
            damaged[position] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, 9)) == 0
        with contextlib.suppress(DecodeError, remote.Unsupported, RecursionError):
            remote._JudgeReceiver(
                bytes(damaged[: len(damaged) // 2] if cut else damaged), judge
            ).message()
    finally:
        end.close()
        other.close()
        Mirror.described.clear()
