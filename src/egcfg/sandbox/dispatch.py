"""Gives jobs to waiting processes, as many at a time as there are slots, and collects the answers.

A job is one execution, or two that talk to each other over a channel: first the program, then its
judge. A job whose answer never came, or that the sandbox itself failed, is tried once more.
"""

from __future__ import annotations

import math
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field

from egcfg.errors import SandboxError
from egcfg.sandbox.server_process import ServerProcess
from egcfg.sandbox.watch import Answer, Watch

__all__ = ["Job", "dispatch"]

Job = tuple[dict[str, Any], ...]

ATTEMPTS = 2
# How many processes that are gone before they have their program are replaced, for one job.
REPLACEMENTS = 20
# How long a process may take to end, from its last limit on.
GRACE_SECONDS = 30.0


@define
class _Running:
    """A job at work."""

    index: int
    attempt: int
    deadline: float
    watches: list[Watch] = field(factory=list)


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
        self.poll = select.poll()
        self.watches: dict[int, Watch] = {}  # by each descriptor that is polled
        self.polled: dict[Watch, set[int]] = {}

    def run(self) -> list[tuple[Answer, ...]]:
        try:
            while self.waiting or self.running:
                # Wait for a slot only with empty hands: else go on collecting.
                while self.waiting and self.slots.acquire(blocking=not self.running):
                    self._start(*self.waiting.popleft())
                if self.running:
                    self._collect()
        finally:
            for job in list(self.running.values()):
                self._drop(job)
        return [self.answers[index] for index in range(len(self.jobs))]

    def _start(self, index: int, attempt: int) -> None:
        requests = self.jobs[index]
        wall = max(request["limits"]["wall_seconds"] for request in requests)
        job = _Running(index, attempt, time.monotonic() + wall + GRACE_SECONDS)
        self.running[index] = job
        for _ in range(REPLACEMENTS):
            try:
                self._hand_over(job, requests)
            except OSError as error:
                # A process or the server is gone before the program was there: no attempt at it.
                self._close(job)
                cause = f"the server does not take requests ({error})"
            else:
                return
        self._failed(job, cause)

    def _hand_over(self, job: _Running, requests: Job) -> None:
        server = self.ready_server()
        processes = server.take(requests)
        try:
            for process, request in zip(processes, requests, strict=True):
                process.start(request)
                watch = Watch(process, request["limits"], ends_at_once=server.ends_at_once)
                job.watches.append(watch)
        except BaseException:
            for process in processes[len(job.watches) :]:
                process.close()
            raise
        for watch in job.watches:
            self.polled[watch] = set(watch.open)
            for descriptor in watch.open:
                self.poll.register(descriptor, select.POLLIN)
                self.watches[descriptor] = watch
        # Now that the programs are at work; it takes no time of theirs.
        server.tell_taken()

    def _collect(self) -> None:
        """Wait for something to happen, and see to it."""
        until = min(job.deadline for job in self.running.values()) - time.monotonic()
        patience = min(watch.patience for job in self.running.values() for watch in job.watches)
        milliseconds = math.ceil(1000 * max(0.0, min(until, patience))) + 1
        for descriptor, _ in self.poll.poll(milliseconds):
            watch = self.watches.get(descriptor)
            if watch is not None:
                watch.receive(descriptor)
                self._follow(watch)
        for job in list(self.running.values()):
            for watch in job.watches:
                watch.check_limits()
                self._follow(watch)
            if all(watch.over for watch in job.watches):
                self._ended(job)
            elif time.monotonic() >= job.deadline:
                self._failed(job, "no answer came in time")

    def _follow(self, watch: Watch) -> None:
        """Poll no descriptor from which nothing more is to come."""
        gone = self.polled[watch] - watch.open
        for descriptor in gone:
            self.poll.unregister(descriptor)
            del self.watches[descriptor]
        self.polled[watch] -= gone

    def _ended(self, job: _Running) -> None:
        watches = job.watches
        if any(watch.dismissed for watch in watches):
            # It waited too long, and was ended just when its program came: no attempt at that.
            self._drop(job)
            self.waiting.appendleft((job.index, job.attempt))
        elif any(watch.lost for watch in watches):
            self.ready_server().settle()
            self._failed(job, "an execution ended without an answer")
        else:
            answers = tuple(watch.answer for watch in watches if watch.answer is not None)
            broken = [answer for answer in answers if answer.how == "sandbox_error"]
            if broken:
                self._failed(job, broken[0].detail)
                return
            # In this order, so that the server wakes up once.
            self.ready_server().replenish()
            self._drop(job)
            self.answers[job.index] = answers

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
        self._close(job)
        self.slots.release()

    def _close(self, job: _Running) -> None:
        for watch in job.watches:
            for descriptor in self.polled.pop(watch, ()):
                self.poll.unregister(descriptor)
                del self.watches[descriptor]
            watch.close()
        job.watches = []
