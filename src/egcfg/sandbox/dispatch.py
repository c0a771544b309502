"""Gives jobs to staged processes, as many at a time as there are slots, and awaits the answers.

Calls that wait for slots take turns, so that one with thousands of jobs holds up no other.

A job is one execution, or two that talk to each other over a channel: first the program, then its
judge. A job whose answer never came, or that the sandbox itself failed, is tried once more. If that
fails, too, an empty program takes the place of its program: where even that cannot be run, nothing
can, and that is an error; else it is this program that the sandbox cannot run, and an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from egcfg.errors import SandboxError
from egcfg.sandbox.pool import Pool
from egcfg.sandbox.slots import Slots
from egcfg.sandbox.watch import Answer, Watch

__all__ = ["Dispatcher"]

Job = tuple[dict[str, Any], ...]

ATTEMPTS = 2
# How many processes that are gone before they have their program are replaced, for one job.
REPLACEMENTS = 20
# Answers that say nothing about the program.
FAILURES = ("lost", "sandbox_error")
# What an execution, or a judge, is asked for to do nothing.
NOTHING: dict[str, Any] = {
    **dict.fromkeys(("source", "setup", "given", "test"), ""),
    "call": None,
    "modules": [],
    "assigned": (),
    "builtins": (),
    "call_check": False,
}


class Dispatcher:
    """Runs the jobs of one event loop. Several tasks of that loop may use it at the same time.

    Attributes:
        loop: the event loop.
        trial: held while known programs are run, which happens once.
        jobs: how many jobs are at work or wait for a slot.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        slots: int,
        ready_pool: Callable[[], Awaitable[Pool]],
    ) -> None:
        """Prepare for jobs.

        Args:
            loop: the event loop that runs now.
            slots: how many jobs are at work at the same time.
            ready_pool: returns the processes of a live server; never called twice at the same time.
        """
        self.loop = loop
        self.trial = asyncio.Lock()
        self.jobs = 0
        self._slots = Slots(slots)
        self._turn = asyncio.Lock()  # to start the server or to take processes from it
        self._ready_pool = ready_pool
        self._over: list[Watch] = []  # executions that are, and are still to be closed

    async def pool(self) -> Pool:
        """Return the processes of a live server.

        Raises:
            SandboxError: it does not start.
        """
        async with self._turn:
            return await self._ready_pool()

    async def run(self, jobs: Sequence[Job]) -> list[tuple[Answer, ...]]:
        """Run every job and return its answers, in order.

        If one fails, or if this is cancelled, all processes of these jobs are ended.

        Raises:
            SandboxError: the sandbox fails on an empty program.
        """
        self.jobs += len(jobs)
        try:
            if len(jobs) == 1:  # no task of its own, which takes a moment to start and to end
                return [await self._answer(jobs[0], jobs)]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(job, jobs)) for job in jobs]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            self.jobs -= len(jobs)
        return [task.result() for task in tasks]

    async def _answer(self, job: Job, jobs: Sequence[Job]) -> tuple[Answer, ...]:
        async with self._slots.one(id(jobs)):
            for _ in range(ATTEMPTS):
                answers = await self._attempt(job)
                cause = _failure(answers)
                if cause is None:
                    return answers
            in_its_place = tuple({**request, **NOTHING} for request in job)
            if _failure(await self._attempt(in_its_place)) is not None:
                log = (await self.pool()).server.log_tail()
                raise SandboxError(
                    f"the sandbox failed {ATTEMPTS} times on a program, and on an empty one in its "
                    f"place: {cause}{f'; its server says: {log}' if log else ''}; "
                    "`egcfg doctor` checks the sandbox"
                )
        failed = Answer(how="sandbox_error", detail=f"the sandbox failed {ATTEMPTS} times: {cause}")
        return (failed,) * len(job)

    async def _attempt(self, job: Job) -> tuple[Answer, ...]:
        for _ in range(REPLACEMENTS):
            watches: list[Watch] = []
            answered = False
            try:
                try:
                    pool = await self._start(job, watches)
                except OSError as error:
                    # A process or the server was gone before the program was there.
                    cause = error
                    continue
                # While the program runs, so that whoever waits for its answer does not wait for it.
                pool.replenish()
                answers = await self._answers(watches)
                if any(answer.how == "lost" for answer in answers):
                    await pool.server.settle()
                answered = True
                return answers
            finally:
                self._over += watches
                if answered:
                    # Whoever waits for the answer goes first: closing wakes the server up.
                    self.loop.call_soon(self.close)
                else:
                    self.close()
        return (Answer(how="lost", detail=str(cause)),)

    def close(self) -> None:
        """Close what is over, which otherwise happens when its event loop comes to it."""
        while self._over:
            self._over.pop().close()

    async def _answers(self, watches: Sequence[Watch]) -> tuple[Answer, ...]:
        """Return the answers of a job; when its judge has answered, its program soon has to."""
        *programs, last = watches
        answer = await last.answer
        for program in programs:
            program.hurry()
        return (*[await program.answer for program in programs], answer)

    async def _start(self, job: Job, watches: list[Watch]) -> Pool:
        """Start a job, and add what watches it to a list.

        Raises:
            OSError: a process or the server is gone, or there is no room for one.
        """
        async with self._turn:
            pool = await self._ready_pool()
            processes = await pool.take(job)
        watches += [
            Watch(process, request, ends_at_once=pool.server.ends_at_once)
            for process, request in zip(processes, job, strict=True)
        ]
        for watch in watches[:-1]:
            watch.judge = watches[-1]
        for watch in watches:
            await watch.start()
        return pool


def _failure(answers: Sequence[Answer]) -> str | None:
    """Return why the sandbox failed, None where it did not."""
    return next((answer.detail for answer in answers if answer.how in FAILURES), None)
