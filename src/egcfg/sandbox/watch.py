"""Watches one execution from outside its process: its limits, its output, its end.

It never runs a line of the program, and takes what comes from there as bytes, no more of them than
the limits allow.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any

from attrs import frozen

from egcfg.sandbox.confined import frames
from egcfg.sandbox.confined.program import READY
from egcfg.sandbox.processes import ProgramProcess

__all__ = ["Answer", "Watch"]

PIPE_CHUNK = 1 << 16
REPORT_ROOM = 16 << 20
REPORT_START = len(READY) + frames.HEADER.size
END_BYTES = 1 << 12


@frozen(kw_only=True)
class Answer:
    """What came of one execution.

    Attributes:
        how: how it ended, in one word.
        detail: more about it, for people.
        seconds: wall time.
        cpu_seconds: processor time.
        report: the program's own report, untrusted.
        stdout: bytes, untrusted.
        stderr: bytes, untrusted.
        memory: the instrument's memory without its trailing zeros, untrusted.
    """

    how: str
    detail: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    report: bytes = b""
    stdout: bytes = b""
    stderr: bytes = b""
    memory: bytes = b""


class Watch:
    """One execution: the program's process, the pipes from it, and the account of its end.

    Attributes:
        open: the descriptors from which something may come yet.
        answer: what came of it, once it is over.
        lost: whether it is over without an account of its end: the sandbox failed.
        dismissed: whether it is over because its process had waited too long for it.
    """

    def __init__(
        self, process: ProgramProcess, limits: dict[str, Any], *, ends_at_once: bool
    ) -> None:
        """Watch a process that has its request.

        Args:
            process: the process.
            limits: of its execution.
            ends_at_once: whether killing it ends everything that it started, and leaves no file.
        """
        self._process = process
        self._limits = limits
        self._ends_at_once = ends_at_once
        self._started = time.monotonic()
        self._seconds = 0.0
        self._cpu_seconds = 0.0
        self._status = 0
        self._ended: str | None = None
        self._detail = ""
        self._ending = False
        self._output = 0
        self._report = bytearray()
        self._stdout: list[bytes] = []
        self._stderr: list[bytes] = []
        self._pipes = {process.stdout, process.stderr, process.report}
        self._leash = process.leash.fileno()
        self.open = {*self._pipes, self._leash}
        self.answer: Answer | None = None
        self.lost = False
        self.dismissed = False

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        return self.answer is not None or self.lost or self.dismissed

    @property
    def patience(self) -> float:
        """How many seconds may pass before a limit can be hit."""
        if self._ending or self.over:
            return math.inf
        wall = self._started + self._limits["wall_seconds"] - time.monotonic()
        cpu = self._limits["cpu_seconds"] - _cpu_seconds(self._process.pid)
        return float(min(wall, cpu))

    def receive(self, descriptor: int) -> None:
        """Take what has come from one of the open descriptors.

        A report that is complete is all that is wanted of a process: how it would have ended makes
        no difference to the answer, so it is not waited for where killing it is enough.
        """
        if descriptor == self._leash:
            self._receive_end()
        elif not self._ending:
            self._read(descriptor)
            if self._complete and self._ends_at_once:
                self._seconds = time.monotonic() - self._started
                self._cpu_seconds = _cpu_seconds(self._process.pid)
                self._process.kill()
                self._conclude()
            elif self._complete or self._process.report not in self._pipes:
                # Without a report to write to, it has nothing left to say.
                self._end()

    def check_limits(self) -> None:
        """End the process if it has used too much of anything."""
        if self._ending or self.over:
            return
        if time.monotonic() - self._started >= self._limits["wall_seconds"]:
            self._force("timeout", "it took too much wall time")
        elif _cpu_seconds(self._process.pid) >= self._limits["cpu_seconds"]:
            self._force("timeout", "it took too much processor time")
        elif self._output > self._limits["output_bytes"]:
            self._force("output", "it wrote too much output")
        elif len(self._report) > REPORT_ROOM:
            self._force("killed", "its report is too long")

    def close(self) -> None:
        """End the process, if it is not over, and close all that leads to it."""
        self._process.close()

    @property
    def _complete(self) -> bool:
        """Whether the whole report is there."""
        if len(self._report) < REPORT_START or not self._report.startswith(READY):
            return False
        return len(self._report) >= self._report_end()

    def _report_end(self) -> int:
        (length,) = frames.HEADER.unpack_from(self._report, len(READY))
        return REPORT_START + int(length)

    def _read(self, descriptor: int) -> None:
        while True:
            try:
                piece = os.read(descriptor, PIPE_CHUNK)
            except BlockingIOError:
                return
            if not piece:
                self._pipes.discard(descriptor)
                self.open.discard(descriptor)
                return
            if descriptor == self._process.report:
                self._report += piece
                if len(self._report) > REPORT_ROOM or self._complete:
                    return
            else:
                self._output += len(piece)
                is_stdout = descriptor == self._process.stdout
                (self._stdout if is_stdout else self._stderr).append(piece)
                if self._output > self._limits["output_bytes"]:
                    return

    def _force(self, how: str, detail: str) -> None:
        self._ended, self._detail = how, detail
        self._end()

    def _end(self) -> None:
        """Have the process ended; what is over once all of it is gone."""
        self._seconds = time.monotonic() - self._started
        self._ending = True
        self._process.end()
        self.open = {self._leash}

    def _receive_end(self) -> None:
        """Take the account of how the process ended: everything that it started is gone now."""
        if not self._ending:
            self._seconds = time.monotonic() - self._started
        try:
            body = frames.receive(self._process.leash, END_BYTES)
        except (OSError, frames.FrameError):
            body = None
        self.open = set()
        if body is None:
            self.lost = True
            return
        end = json.loads(body)
        self._status, self._cpu_seconds = end["status"], end["cpu_seconds"]
        if end["reason"] == "memory":
            self._ended, self._detail = "memory", "it took too much memory"
        self._conclude()
        self.dismissed = end["reason"] == "dismissed"

    def _conclude(self) -> None:
        for descriptor in list(self._pipes):
            self._read(descriptor)
        self.open = set()
        how, detail = self._verdict()
        stderr = b"".join(self._stderr)[: self._limits["output_bytes"]]
        if how == "sandbox_error":
            detail = f"{detail}: {stderr.decode('utf-8', 'replace')[-2000:]}"
        self.answer = Answer(
            how=how,
            detail=detail,
            seconds=self._seconds,
            cpu_seconds=self._cpu_seconds,
            report=bytes(self._report[REPORT_START : self._report_end()])
            if how == "reported"
            else b"",
            stdout=b"".join(self._stdout)[: self._limits["output_bytes"]],
            stderr=stderr,
            memory=self._process.used_memory(),
        )

    def _verdict(self) -> tuple[str, str]:
        """Return (how, detail): a forced end first, then the report, then the kernel's account."""
        if not self._report.startswith(READY):
            return "sandbox_error", self._detail or _status_text(self._status)
        if self._output > self._limits["output_bytes"]:
            return "output", "it wrote too much output"
        if self._ended is not None:
            return self._ended, self._detail
        if self._complete:
            return "reported", ""
        if os.WIFSIGNALED(self._status):
            if self._cpu_seconds >= self._limits["cpu_seconds"]:
                return "timeout", "it took too much processor time"
            return "killed", _status_text(self._status)
        if len(self._report) == len(READY):
            return "killed", f"it left by itself, {_status_text(self._status)}"
        return "killed", "its report is cut off"


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of another process, 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0.0  # RLIMIT_CPU is left to count whole seconds
    try:
        # The kernel's number of a process's clock: inverted id, then 2 for "scheduler".
        return float(time.clock_gettime((~pid << 3) | 2))
    except OSError:
        return 0.0


def _status_text(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"
