"""Does once, ahead of time and in this process alone, what a program or a test is going to do.

Memory that a process shares with the one it was forked from is copied when it is written to, and
reference counts are written to by all that runs: that takes longer than the work itself. And the
interpreter makes code faster that has run often, so the server runs it often, for all its forks.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from . import judge, program
from .interpreter import FILENAME, new_module
from .mirrors import Mirror
from .packages import PackageFinder
from .serving import Service

__all__ = ["rehearse", "rehearse_conversation", "warm_up"]

# So often, that the interpreter has adapted the code.
TIMES = 30
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


def warm_up(packages: PackageFinder) -> None:
    """Rehearse all of it, so often that the interpreter makes the code faster."""
    for _ in range(TIMES):
        rehearse(packages)
        rehearse_conversation()


def rehearse(packages: PackageFinder) -> None:
    """Do once what every execution does, but for its end."""
    report = os.open(os.devnull, os.O_WRONLY)
    program.run(RUN, report, None, None, packages, ends=False)
    os.close(report)
    del sys.modules["program"]


def rehearse_conversation() -> None:
    """Do once what a judge and a program that it asks do, both of them here."""
    module = new_module(main=False)
    exec(PROGRAM, module.__dict__)
    channel = _Channel()
    channel.service = Service(channel, module, FILENAME, PROGRAM)  # type: ignore[arg-type]
    report = os.open(os.devnull, os.O_WRONLY)
    judge.run_judge(JUDGEMENT, report, channel)  # type: ignore[arg-type]
    os.close(report)
    Mirror.described.clear()
    del sys.modules["program"]


class _Channel:
    """Both ends of a channel: what the judge sends is answered at once.

    Attributes:
        service: what answers.
    """

    service: Service

    def __init__(self) -> None:
        self._sent = bytearray()
        self._answers = False  # whether the service reads and writes now, or the judge

    def sendall(self, data: bytes) -> None:
        """Take a message: the judge's is answered at once."""
        self._sent += data
        if not self._answers:
            self._answers = True
            self.service.step(None)
            self._answers = False

    def recv(self, count: int) -> bytes:
        """Return the next bytes that the other end has sent."""
        data = bytes(self._sent[:count])
        del self._sent[:count]
        return data

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
