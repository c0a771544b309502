"""Hands jobs to the fork server, as many at a time as there are slots, and collects the answers.

A job is one execution, or two that talk to each other over a channel: first the program, then its
judge. A job whose answer never came, or that the sandbox itself failed, is tried once more.
"""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field, frozen

from egcfg.errors import SandboxError
from egcfg.sandbox.confined.frames import HEADER
from egcfg.sandbox.server_process import ServerProcess

__all__ = ["Answer", "Job", "dispatch"]

Job = tuple[dict[str, Any], ...]

ATTEMPTS = 2
# How many servers are tried until one takes a job.
SERVERS = 3
# A supervisor ends its program at the wall limit; this is for one that does not answer at all.
GRACE_SECONDS = 30.0
CHUNK = 1 << 18


@frozen(kw_only=True)
class Answer:
    """What a supervisor says about one execution.

    Attributes:
        how: how it ended, in the supervisor's words.
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

    @classmethod
    def parse(cls, data: bytes) -> Answer | None:
        """Return the answer, or None if it is not complete."""
        if len(data) < HEADER.size:
            return None
        (length,) = HEADER.unpack_from(data)
        end = HEADER.size + length
        if len(data) < end:
            return None
        header = json.loads(data[HEADER.size : end])
        sections = []
        for size in header.pop("lengths"):
            sections.append(data[end : end + size])
            end += size
        if len(data) != end:
            return None
        report, stdout, stderr, memory = sections
        return cls(**header, report=report, stdout=stdout, stderr=stderr, memory=memory)


@define
class _Running:
    """A job that the server works on."""

    index: int
    attempt: int
    deadline: float
    streams: list[socket.socket] = field(factory=list)
    received: list[bytearray] = field(factory=list)
    open: int = 0


def dispatch(
    jobs: Sequence[Job],
    slots: threading.BoundedSemaphore,
    ready_server: Callable[[], ServerProcess],
) -> list[tuple[Answer, ...]]:
    """Run every job and return its answers, in order.

    Args:
        jobs: the requests.
        slots: one is held for each job at work.
        ready_server: gives a live server; called for every attempt.

    Raises:
        SandboxError: the sandbox failed twice on the same job.
    """
    return _Dispatch(jobs, slots, ready_server).run()


class _Dispatch:
    def __init__(
        self,
        jobs: Sequence[Job],
        slots: threading.BoundedSemaphore,
        ready_server: Callable[[], ServerProcess],
    ) -> None:
        self.jobs = jobs
        self.slots = slots
        self.ready_server = ready_server
        self.waiting = deque((index, 1) for index in range(len(jobs)))
        self.running: dict[int, _Running] = {}
        self.answers: dict[int, tuple[Answer, ...]] = {}

    def run(self) -> list[tuple[Answer, ...]]:
        with selectors.DefaultSelector() as self.selector:
            try:
                while self.waiting or self.running:
                    # Wait for a slot only with empty hands: else go on collecting.
                    while self.waiting and self.slots.acquire(blocking=not self.running):
                        self._start(*self.waiting.popleft())
                    if self.running:
                        self._collect()
            finally:
                # Closing an execution's socket makes its supervisor end it.
                for job in list(self.running.values()):
                    self._drop(job)
        return [self.answers[index] for index in range(len(self.jobs))]

    def _start(self, index: int, attempt: int) -> None:
        requests = self.jobs[index]
        wall = max(request["limits"]["wall_seconds"] for request in requests)
        job = _Running(index, attempt, time.monotonic() + wall + GRACE_SECONDS)
        self.running[index] = job
        for _ in range(SERVERS):
            server = self.ready_server()
            try:
                self._submit(server, job, requests)
            except OSError as error:
                # The server died before it had the whole job: no attempt at the program.
                self._close_streams(job)
                cause = f"the server does not take requests ({error})"
            else:
                return
        self._failed(job, cause)

    def _submit(self, server: ServerProcess, job: _Running, requests: Job) -> None:
        channels = socket.socketpair() if len(requests) > 1 else ()
        try:
            for part, request in enumerate(requests):
                stream = server.submit(request, channels[part] if channels else None)
                self.selector.register(stream, selectors.EVENT_READ, (job, part))
                job.streams.append(stream)
                job.received.append(bytearray())
                job.open += 1
        finally:
            for channel in channels:
                channel.close()

    def _collect(self) -> None:
        deadline = min(job.deadline for job in self.running.values())
        for key, _ in self.selector.select(max(0.0, deadline - time.monotonic())):
            job, part = key.data
            stream = job.streams[part]
            if stream.fileno() < 0:
                continue
            try:
                piece = stream.recv(CHUNK)
            except OSError:
                piece = b""
            if piece:
                job.received[part] += piece
                continue
            self.selector.unregister(stream)
            stream.close()
            job.open -= 1
            if not job.open:
                self._ended(job)
        now = time.monotonic()
        for job in list(self.running.values()):
            if now >= job.deadline:
                self._failed(job, "no answer came in time")

    def _ended(self, job: _Running) -> None:
        answers = [Answer.parse(bytes(data)) for data in job.received]
        complete = tuple(answer for answer in answers if answer is not None)
        if len(complete) < len(answers):
            self.ready_server().settle()
            self._failed(job, "an execution ended without an answer")
            return
        broken = [answer for answer in complete if answer.how == "sandbox_error"]
        if broken:
            self._failed(job, broken[0].detail)
            return
        self._drop(job)
        self.answers[job.index] = complete

    def _failed(self, job: _Running, cause: str) -> None:
        self._drop(job)
        if job.attempt < ATTEMPTS:
            self.waiting.appendleft((job.index, job.attempt + 1))
            return
        log = self.ready_server().log_tail()
        raise SandboxError(
            f"the sandbox failed {ATTEMPTS} times on the same program: {cause}"
            + (f"; its server says: {log}" if log else "")
            + "; `egcfg doctor` checks the sandbox"
        )

    def _drop(self, job: _Running) -> None:
        if self.running.pop(job.index, None) is None:
            return
        self._close_streams(job)
        self.slots.release()

    def _close_streams(self, job: _Running) -> None:
        for stream in job.streams:
            if stream.fileno() >= 0:
                self.selector.unregister(stream)
                stream.close()
        job.streams, job.received, job.open = [], [], 0
