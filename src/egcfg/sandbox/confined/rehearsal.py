"""Does once, ahead of time and in this process alone, what a program or a test is going to do.

A judge, and the program that it asks, each hear what the other one once said in the server.
Memory that a process shares with the one it was forked from is copied when it is written to, and
reference counts are written to by all that runs: that takes longer than the work itself. And the
interpreter makes code faster that has run often, so the server runs it often, for all its forks.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from . import frames, judge, program
from .interpreter import FILENAME, new_module
from .mirrors import Mirror
from .packages import PackageFinder
from .serving import Service

__all__ = ["Recorded", "rehearse", "rehearse_conversation", "rehearse_judge", "warm_up"]

# Often enough for the interpreter to adapt the code: after six rounds it changes no more of it.
TIMES = 10
PROGRAM = """
from typing import List

def f(values: List[int]) -> list:
    for i, x in enumerate(values):
        if not x % 2:
            return [x + 1]
"""
RUN: dict[str, Any] = {
    "source": PROGRAM,
    "call": "f([1, 2])",
    "main": False,
    "setup": "",
    "keep_output": True,
}
JUDGEMENT: dict[str, Any] = {
    "test": "assert f([1, 2]) == [3]",
    "entry_point": "f",
    "call_check": False,
    "setup": "",
    "given": "",
    "modules": {},
    "assigned": (),
    "builtins": (),
    "keep_output": True,
}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a judge and a program said to each other, in frames.

    Attributes:
        requests: of the judge.
        answers: of the program.
    """

    requests: list[bytes]
    answers: list[bytes]


def warm_up(packages: PackageFinder) -> Recorded:
    """Rehearse all of it, so often that the interpreter makes the code faster.

    Returns:
        What judge and program said to each other.
    """
    for _ in range(TIMES):
        rehearse(packages)
        recorded = rehearse_conversation()
        rehearse(packages, recorded)
        rehearse_judge(recorded)
    return recorded


def rehearse(packages: PackageFinder, recorded: Recorded | None = None) -> None:
    """Do once what every execution does, but for its end.

    Args:
        packages: those that programs may import.
        recorded: a conversation, for a program that a judge is going to ask.
    """
    report = os.open(os.devnull, os.O_WRONLY)
    program.run(_received(RUN), report, None, None, packages, ends=False)
    os.close(report)
    if recorded is not None:
        channel: Any = _Channel(recorded.requests)
        service = Service(channel, sys.modules["program"], FILENAME, PROGRAM)
        while service.step(None):
            pass
    del sys.modules["program"]


def rehearse_judge(recorded: Recorded) -> None:
    """Do once what a judge does, with what a program answered once."""
    _judge(_Channel(recorded.answers))


def rehearse_conversation() -> Recorded:
    """Do once what a judge and the program that it asks do, both here; return what they said."""
    module = new_module(main=False)
    exec(PROGRAM, module.__dict__)
    program_end, judge_end = _Channel(), _Channel()
    judge_end.asks(program_end, Service(program_end, module, FILENAME, PROGRAM))  # type: ignore[arg-type]
    _judge(judge_end)
    del sys.modules["program"]
    return Recorded(requests=judge_end.sent, answers=program_end.sent)


def _received(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request as it comes out of a socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(frames.pack_json(request))
        body = frames.receive(theirs)
    assert body is not None
    received: dict[str, Any] = json.loads(body)
    return received


def _judge(channel: _Channel) -> None:
    report = os.open(os.devnull, os.O_WRONLY)
    judge.run_judge(_received(JUDGEMENT), report, channel)  # type: ignore[arg-type]
    os.close(report)
    Mirror.described.clear()


class _Channel:
    """One end of a channel within this process.

    Attributes:
        sent: the messages that were sent at this end.
    """

    def __init__(self, received: Iterable[bytes] = ()) -> None:
        self.sent: list[bytes] = []
        self._received = list(received)[::-1]  # the next one is the last
        self._answering: Callable[[], None] | None = None

    def asks(self, other: _Channel, service: Service) -> None:
        """Have a service answer at the other end whatever is sent at this one."""

        def answer() -> None:
            other._received.append(self.sent[-1])
            service.step(None)
            self._received.append(other.sent[-1])

        self._answering = answer

    def sendall(self, data: bytes) -> None:
        """Take a message."""
        self.sent.append(data)
        if self._answering is not None:
            self._answering()

    def recv(self, _: int) -> bytes:
        """Return the next message of the other end; nothing where there is none."""
        return self._received.pop() if self._received else b""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
