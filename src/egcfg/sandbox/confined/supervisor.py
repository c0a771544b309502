"""Watches one execution from outside its process: its limits, its output, its end.

A supervisor is a fork of the server. It reads the request from the parent, hands it to the
program's process, and answers once everything that the program started is gone. It never runs a
line of the program, and the program cannot reach it.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import socket
import sys
import tempfile
import time
from typing import Any

from . import confinement, frames, linux, program
from .staging import Staged

__all__ = ["supervise"]

PIPE_CHUNK = 1 << 16
REPORT_ROOM = 16 << 20


class Supervisor:
    """One execution: the program's process, the pipes from it, and the verdict on its end."""

    def __init__(self, request: dict[str, Any], parent: socket.socket, proc: int | None) -> None:
        self.proc = proc
        self.parent = parent
        self.limits = request["limits"]
        self.pid = 0
        self.ended: str | None = None
        self.detail = ""
        self.output = 0
        self.pieces: dict[int, list[bytes]] = {}
        self.report_size = 0

    def watch(self, pid: int, stdout: int, stderr: int, report: int) -> None:
        """Collect what the process writes until it ends, or is ended for a limit."""
        self.pid = pid
        self.report_fd = report
        self.pieces = {stdout: [], stderr: [], report: []}
        self.open = {stdout, stderr, report}
        self.started = time.monotonic()
        poll = select.poll()
        for descriptor in self.open:
            os.set_blocking(descriptor, False)
            poll.register(descriptor, select.POLLIN)
        poll.register(self.parent, select.POLLIN)
        exit_fd = _watch_exit(pid, poll)
        try:
            while True:
                events = dict(poll.poll(self._patience(exit_fd is None)))
                for descriptor in self.open & events.keys():
                    self._read(descriptor, poll)
                if self.parent.fileno() in events:
                    self._end("abandoned", "the parent is gone")
                if self.ended is None:
                    self._check_limits()
                if self.ended is not None or exit_fd in events or _is_zombie(pid):
                    break
        finally:
            if exit_fd is not None:
                os.close(exit_fd)
        self.seconds = time.monotonic() - self.started
        self.status, self.usage = confinement.end_tree(pid, self.proc)
        for descriptor in list(self.open):
            self._read(descriptor, poll)

    def _patience(self, polling: bool) -> float:
        """Return how many milliseconds may pass before a limit can be hit."""
        wall = self.started + self.limits["wall_seconds"] - time.monotonic()
        cpu = self.limits["cpu_seconds"] - _cpu_seconds(self.pid)
        # Without a descriptor for the process's end, look for it often.
        longest = 0.002 if polling else 60.0
        return float(max(0.0, min(wall, cpu, longest)) * 1000 + 1)

    def _check_limits(self) -> None:
        if time.monotonic() - self.started >= self.limits["wall_seconds"]:
            self._end("timeout", "it took too much wall time")
        elif _cpu_seconds(self.pid) >= self.limits["cpu_seconds"]:
            self._end("timeout", "it took too much processor time")
        elif self.output > self.limits["output_bytes"]:
            self._end("output", "it wrote too much output")
        elif self.report_size > REPORT_ROOM:
            self._end("killed", "its report is too long")

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
            if descriptor == self.report_fd:
                self.report_size += len(piece)
                if self.report_size > REPORT_ROOM:
                    return
            else:
                self.output += len(piece)
                if self.output > self.limits["output_bytes"]:
                    self.pieces[descriptor].append(piece)
                    return
            self.pieces[descriptor].append(piece)

    def verdict(self, report: bytes) -> tuple[str, str]:
        """Return (how, detail): a forced end first, then the kernel's account of the end."""
        if not report.startswith(program.READY):
            return "sandbox_error", self.detail or _status_text(self.status)
        if self.output > self.limits["output_bytes"]:
            return "output", "it wrote too much output"
        if self.ended is not None:
            return self.ended, self.detail
        if os.WIFSIGNALED(self.status):
            used = self.usage.ru_utime + self.usage.ru_stime
            if used >= self.limits["cpu_seconds"]:
                return "timeout", "it took too much processor time"
            return "killed", _status_text(self.status)
        if len(report) == len(program.READY):
            return "killed", f"it left by itself, {_status_text(self.status)}"
        return "reported", ""


def supervise(parent: socket.socket, channel: socket.socket | None, staged: Staged) -> None:
    """Run one execution as the parent asks through `parent`, and answer there."""
    try:
        body = frames.receive(parent)
        if body is None:
            confinement.end_tree(staged.pid, staged.proc)
            return
        request = json.loads(body)
        supervisor = Supervisor(request, parent, staged.proc)
        staged.start(body, _stdin_file(request["stdin"]), channel)
        supervisor.watch(staged.pid, staged.stdout, staged.stderr, staged.report)
    finally:
        staged.remove_scratch()
    answer = b"".join(supervisor.pieces[staged.report])
    how, detail = supervisor.verdict(answer)
    if how == "abandoned":
        return
    sections = [
        answer[len(program.READY) + frames.HEADER.size :] if how == "reported" else b"",
        b"".join(supervisor.pieces[staged.stdout])[: request["limits"]["output_bytes"]],
        b"".join(supervisor.pieces[staged.stderr])[: request["limits"]["output_bytes"]],
        _used(staged.memory) if staged.memory is not None else b"",
    ]
    if how == "sandbox_error":
        detail = f"{detail}: {sections[2].decode('utf-8', 'replace')[-2000:]}"
    header = {
        "how": how,
        "detail": detail,
        "seconds": supervisor.seconds,
        "cpu_seconds": supervisor.usage.ru_utime + supervisor.usage.ru_stime,
        "lengths": [len(section) for section in sections],
    }
    parent.sendall(frames.pack_json(header) + b"".join(sections))
    # Closed by hand, so that the parent need not wait until this process is taken apart.
    parent.shutdown(socket.SHUT_WR)


def _used(memory: mmap.mmap) -> bytes:
    """Return a shared memory without its trailing zeros.

    Pages that nobody has touched are not looked at: that would make the kernel provide them.
    """
    return memory[: linux.touched_bytes(memory)].rstrip(b"\0")


def _stdin_file(text: str) -> int:
    if not text:
        return os.open(os.devnull, os.O_RDONLY)
    if sys.platform == "linux":
        descriptor = os.memfd_create("stdin")
    else:
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(text.encode("utf-8", "surrogatepass"))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _watch_exit(pid: int, poll: select.poll) -> int | None:
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
    poll.register(descriptor, select.POLLIN)
    return descriptor


def _is_zombie(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


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
