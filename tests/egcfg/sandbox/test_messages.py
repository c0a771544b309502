"""Messages between a test and a program: whatever the bytes, the judge reads them or refuses."""

from __future__ import annotations

import contextlib
import copy
import inspect
import math
import os
import socket
import threading
import types
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.sandbox.confined import frames, rehearsal, remote, serving
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
def noted():
    error = KeyError(1)
    error.code = [2]
    error.add_note('n')
    return error
def code(error): return error.code
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
    arguments = (theirs, module, None, "<program>", PROGRAM)
    side = threading.Thread(target=serving.serve, args=arguments)
    side.start()
    try:
        yield remote.Remote(ours, (), ()), module
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


def test_the_parameters_of_a_function_are_told(
    program: tuple[remote.Remote, types.ModuleType],
) -> None:
    judge, _ = program
    assert str(inspect.signature(judge.ask("name", "echo"))) == "(x)"


def test_what_an_exception_was_given_goes_with_it_both_ways(
    program: tuple[remote.Remote, types.ModuleType],
) -> None:
    judge, _ = program
    told = judge.ask("name", "noted")()
    assert (type(told), told.args, vars(told)) == (
        KeyError,
        (1,),
        {"code": [2], "__notes__": ["n"]},
    )
    own = ValueError()
    own.code = 3  # type: ignore[attr-defined]
    assert judge.ask("name", "code")(own) == 3


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


@given(st.data())
def test_damaged_messages_are_values_or_refused(data: st.DataObject) -> None:
    module = load()
    end, other = socket.socketpair()
    try:
        judge = remote.Remote(end, (), ())
        service = serving.Service(other, module, "<program>", "")
        message = serving._ProgramSender(service).message(("value", module.values()))
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


def received(message: bytes) -> Any:
    """Return what a judge reads of bytes that a program sent."""
    end, other = socket.socketpair()
    try:
        return remote._JudgeReceiver(message, remote.Remote(end, (), ())).message()
    finally:
        end.close()
        other.close()


@pytest.mark.parametrize("length", [b"T", b"f" + bytes(8), b"s\x00\x00\x00\x01x"])
def test_a_deque_has_a_whole_number_as_its_length(length: bytes) -> None:
    # Anything else might be an object of the program's, whose code would be asked for a number.
    end, other = socket.socketpair()
    with end, other:
        service = serving.Service(other, load(), "<program>", PROGRAM)
        message = serving._ProgramSender(service).message(deque(["y"], 77))
    assert received(message).maxlen == 77
    number = b"i\x00\x00\x00\x01M"
    assert message.count(number) == 1
    with pytest.raises(DecodeError, match="a length expected"):
        received(message.replace(number, length))


def test_objects_within_objects_end_as_deep_as_values_do() -> None:
    # An exception whose arguments hold one, and so on: without its own end it is Python's stack.
    with pytest.raises(DecodeError, match="nested too deep"):
        received(bytes(8) + (b"#" + bytes(8) + b"x") * 1000)


def test_what_is_not_equal_to_itself_is_the_same_object_both_ways(
    program: tuple[remote.Remote, types.ModuleType],
) -> None:
    judge, module = program
    echo = judge.ask("name", "echo")
    for value in (float("nan"), complex("nan"), Decimal("nan"), Decimal("snan")):
        assert echo((value, 1))[0] is value
        assert echo([value]) == [value]
        assert echo([[value], {1: value}])[1][1] is value
    module.kept = [float("nan"), math.nan, 1.0]
    kept = judge.ask("name", "kept")
    assert judge.ask("name", "kept") is kept
    assert echo([kept[0]])[0] is kept[0]
    assert kept[1] is math.nan
    assert kept[0] is not math.nan
    assert echo(math.nan) is math.nan
    assert echo((math.nan, float("nan")))[0] is math.nan


@pytest.mark.parametrize("number", [b"f" + bytes(8), b"N", b"s\x00\x00\x00\x011"])
def test_a_number_of_its_own_is_only_what_is_not_equal_to_itself(number: bytes) -> None:
    kind = b"G\x00\x00\x00\x0ebuiltins:float"
    own = b"#" + (-1).to_bytes(8, "big", signed=True) + b"v"
    with pytest.raises(DecodeError, match="not equal to itself"):
        received(bytes(8) + own + kind + number)


@pytest.mark.parametrize(
    "name",
    [
        *("posixpath:os.system", "re:enum.sys.exit", "random:", "os:getcwd", "builtins:exec"),
        *(
            "collections.abc:Set",
            "types:SimpleNamespace",
            "functools:_make_key",
            "builtins:int.__add__",
        ),
    ],
)
def test_a_name_of_the_library_is_of_nothing_but_pure_functions_and_modules(name: str) -> None:
    end, other = socket.socketpair()
    try:
        judge = remote.Remote(end, (), ())
        for named, known in (("copy:deepcopy", copy.deepcopy), ("math:", math), (name, None)):
            data = named.encode()
            message = bytes(8) + b"G" + len(data).to_bytes(4, "big") + data
            receiver = remote._JudgeReceiver(message, judge)
            if known is not None:
                assert receiver.message() is known
                continue
            with pytest.raises(DecodeError):
                receiver.message()
    finally:
        end.close()
        other.close()


def test_frames_are_read_whole_however_they_come() -> None:
    bodies = [b"", b"a", b"b" * 100_000, b"c" * 70_000, b"d"]
    end, other = socket.socketpair()
    reader = frames.Reader(other)

    def send(size: int) -> None:
        data = b"".join(frames.HEADER.pack(len(body)) + body for body in bodies)
        for start in range(0, len(data), size):
            end.sendall(data[start : start + size])

    for size in (1 << 20, 65_537, 1009, 7):
        side = threading.Thread(target=send, args=(size,))
        side.start()
        assert [reader.receive() for _ in bodies] == bodies
        side.join()
    end.sendall(frames.HEADER.pack(9))
    with pytest.raises(frames.FrameError, match="longer than 8"):
        reader.receive(8)
    end.close()
    other.close()
    for cut in (b"\0" * 5, frames.HEADER.pack(3) + b"ab"):
        end, other = socket.socketpair()
        end.sendall(cut)
        end.close()
        with pytest.raises(frames.FrameError, match="ends within"):
            frames.Reader(other).receive()
        other.close()


def test_a_rehearsed_conversation_ends_in_a_pass_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    report.touch()
    monkeypatch.setattr(os, "devnull", str(report))
    rehearsal.rehearse_conversation()
    assert b"passed" in report.read_bytes()
    assert Mirror.described == {}
