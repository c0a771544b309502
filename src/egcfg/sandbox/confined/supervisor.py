"""Watches one execution from outside its process: its limits, its output, its end.

A supervisor is a fork of the server. It reads the request from the parent, hands it to the
program's process, and answers once that is killed and nothing that it started can run any more. It
never runs a line of the program, and the program cannot reach it.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from typing import Any

from . import confinement, frames, program
from .staging import Staged

__all__ = ["rehearse", "supervise"]

PIPE_CHUNK = 1 << 16
REPORT_ROOM = 16 << 20
REPORT_START = len(program.READY) + frames.HEADER.size


class Supervisor:
    """One execution: the program's process, the pipes from it, and the verdict on its end.

    Attributes:
        reaped: whether the process is gone and was waited for.
        status: its wait status, once it was.
        cpu_seconds: processor time that it took.
        seconds: wall time from its request to its end, or to the end of its report.
    """

    def __init__(self, request: dict[str, Any], parent: socket.socket, staged: Staged) -> None:
        self.parent = parent
        self.staged = staged
        self.limits = request["limits"]
        self.ended: str | None = None
        self.detail = ""
        self.output = 0
        self.report = bytearray()
        self.stdout: list[bytes] = []
        self.stderr: list[bytes] = []
        self.reaped = False
        self.status = 0
        self.cpu_seconds = 0.0
        self.seconds = 0.0

    def watch(self) -> None:
        """Collect what the process writes until its report is complete or it ends; kill it then.

        A report that is complete is all that is wanted of a process: how it would have ended makes
        no difference to the answer, so it is not waited for where killing it is enough.
        """
        staged = self.staged
        self.open = {staged.stdout, staged.stderr, staged.report}
        self.started = time.monotonic()
        poll = select.poll()
        for descriptor in self.open:
            os.set_blocking(descriptor, False)
            poll.register(descriptor, select.POLLIN)
        poll.register(self.parent, select.POLLIN)
        exit_fd = _watch_exit(staged.pid, poll)
        while True:
            events = dict(poll.poll(self._patience()))
            for descriptor in self.open & events.keys():
                self._read(descriptor, poll)
            if self.complete:
                break
            if self.parent.fileno() in events:
                self._end("abandoned", "the parent is gone")
            if self.ended is None:
                self._check_limits()
            # Without a report to write to, it has nothing left to say.
            if self.ended is not None or exit_fd in events or staged.report not in self.open:
                break
        if exit_fd is not None:
            os.close(exit_fd)
        self.seconds = time.monotonic() - self.started
        if self.complete and staged.ends_at_once:
            self.cpu_seconds = _cpu_seconds(staged.pid)
            confinement.kill_tree(staged.pid)
        else:
            self.reap()
        for descriptor in list(self.open):
            self._read(descriptor, poll)

    def reap(self) -> None:
        """Wait until everything that the process started is gone; it is killed first."""
        self.status, usage = confinement.end_tree(self.staged.pid, self.staged.proc)
        self.reaped = True
        self.cpu_seconds = usage.ru_utime + usage.ru_stime

    @property
    def complete(self) -> bool:
        """Whether the whole report is there."""
        if len(self.report) < REPORT_START or not self.report.startswith(program.READY):
            return False
        return len(self.report) >= self._report_end()

    def _report_end(self) -> int:
        (length,) = frames.HEADER.unpack_from(self.report, len(program.READY))
        return REPORT_START + int(length)

    def _patience(self) -> float:
        """Return how many milliseconds may pass before a limit can be hit."""
        wall = self.started + self.limits["wall_seconds"] - time.monotonic()
        cpu = self.limits["cpu_seconds"] - _cpu_seconds(self.staged.pid)
        longest = 60.0 if self.staged.memory_used is None else 0.02
        return float(max(0.0, min(wall, cpu, longest)) * 1000 + 1)

    def _check_limits(self) -> None:
        if time.monotonic() - self.started >= self.limits["wall_seconds"]:
            self._end("timeout", "it took too much wall time")
        elif _cpu_seconds(self.staged.pid) >= self.limits["cpu_seconds"]:
            self._end("timeout", "it took too much processor time")
        elif self._memory_used() > self.limits["memory_bytes"]:
            self._end("memory", "it took too much memory")
        elif self.output > self.limits["output_bytes"]:
            self._end("output", "it wrote too much output")
        elif len(self.report) > REPORT_ROOM:
            self._end("killed", "its report is too long")

    def _memory_used(self) -> int:
        """Return how much memory the process has, 0 where the kernel looks after that."""
        if self.staged.memory_used is None:
            return 0
        try:
            return self.staged.memory_used(self.staged.pid)
        except OSError:
            return 0  # it has just ended

    def _end(self, how: str, detail: str) -> None:
        self.ended, self.detail = how, detail

    def _read(self, descriptor: int, poll: select.poll) -> None:
        while True:
            try:
                piece = os.read(descriptor, PIPE_CHUNK)
            except BlockingIOError:
                return
            if not piece:
                self.open.discard(descriptor)
                poll.unregister(descriptor)
                return
            if descriptor == self.staged.report:
                self.report += piece
                if len(self.report) > REPORT_ROOM or self.complete:
                    return
            else:
                self.output += len(piece)
                (self.stdout if descriptor == self.staged.stdout else self.stderr).append(piece)
                if self.output > self.limits["output_bytes"]:
                    return

    def verdict(self) -> tuple[str, str]:
        """Return (how, detail): a forced end first, then the report, then the kernel's account."""
        if not self.report.startswith(program.READY):
            return "sandbox_error", self.detail or _status_text(self.status)
        if self.output > self.limits["output_bytes"]:
            return "output", "it wrote too much output"
        if self.ended is not None:
            return self.ended, self.detail
        if self.complete:
            return "reported", ""
        if os.WIFSIGNALED(self.status):
            if self.cpu_seconds >= self.limits["cpu_seconds"]:
                return "timeout", "it took too much processor time"
            return "killed", _status_text(self.status)
        if len(self.report) == len(program.READY):
            return "killed", f"it left by itself, {_status_text(self.status)}"
        return "killed", "its report is cut off"

    def answer(self) -> bytes:
        """Return what the parent is told."""
        how, detail = self.verdict()
        staged = self.staged
        sections = [
            bytes(self.report[REPORT_START : self._report_end()]) if how == "reported" else b"",
            b"".join(self.stdout)[: self.limits["output_bytes"]],
            b"".join(self.stderr)[: self.limits["output_bytes"]],
            staged.used_memory(),
        ]
        if how == "sandbox_error":
            detail = f"{detail}: {sections[2].decode('utf-8', 'replace')[-2000:]}"
        header = {
            "how": how,
            "detail": detail,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "lengths": [len(section) for section in sections],
        }
        return frames.pack_json(header) + b"".join(sections)


def rehearse(staged: Staged) -> None:
    """Do once what every supervisor does, for the reason that programs are rehearsed."""
    limits = {"cpu_seconds": 1.0, "wall_seconds": 1.0, "memory_bytes": 1, "output_bytes": 1}
    request = json.loads(frames.pack_json({"limits": limits})[frames.HEADER.size :])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        supervisor = Supervisor(request, ours, staged)
        supervisor.started = time.monotonic()
        supervisor.report += program.READY + frames.HEADER.pack(0)
        supervisor.open = {staged.report}
        poll = select.poll()
        os.set_blocking(staged.report, False)
        supervisor._read(staged.report, poll)
        supervisor._check_limits()
        poll.poll(min(supervisor._patience(), 0))
        frames.send(theirs, supervisor.answer())
        frames.receive(ours)


def supervise(parent: socket.socket, channel: socket.socket | None, staged: Staged) -> None:
    """Run one execution as the parent asks through `parent`, and answer there."""
    supervisor = None
    try:
        body = frames.receive(parent)
        if body is None:
            return
        request = json.loads(body)
        supervisor = Supervisor(request, parent, staged)
        staged.start(body, request["stdin"], channel)
        supervisor.watch()
        if supervisor.ended != "abandoned":
            parent.sendall(supervisor.answer())
            # Closed by hand: the parent need not wait until two processes are taken apart.
            parent.shutdown(socket.SHUT_WR)
    finally:
        if supervisor is None or not supervisor.reaped:
            confinement.end_tree(staged.pid, staged.proc)
        staged.remove_scratch()


def _watch_exit(pid: int, poll: select.poll) -> int | None:
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
    poll.register(descriptor, select.POLLIN)
    return descriptor


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
