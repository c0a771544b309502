"""Gives jobs to staged processes, as many at a time as there are slots, and awaits the answers.

A job is one execution, or two that talk to each other over a channel: first the program, then its
judge. A job whose answer never came, or that the sandbox itself failed, is tried once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from egcfg.errors import SandboxError
from egcfg.sandbox.server_process import ServerProcess
from egcfg.sandbox.watch import Answer, Watch

__all__ = ["Dispatcher"]

Job = tuple[dict[str, Any], ...]

ATTEMPTS = 2
# How many processes that are gone before they have their program are replaced, for one job.
REPLACEMENTS = 20
# Answers that say nothing about the program.
FAILURES = ("lost", "sandbox_error")


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
        ready_server: Callable[[], Awaitable[ServerProcess]],
    ) -> None:
        """Prepare for jobs.

        Args:
            loop: the event loop that runs now.
            slots: how many jobs are at work at the same time.
            ready_server: returns a live server; never called twice at the same time.
        """
        self.loop = loop
        self.trial = asyncio.Lock()
        self.jobs = 0
        self._slots = asyncio.Semaphore(slots)
        self._turn = asyncio.Lock()  # to start the server or to take processes from it
        self._ready_server = ready_server

    async def server(self) -> ServerProcess:
        """Return a live server.

        Raises:
            SandboxError: it does not start.
        """
        async with self._turn:
            return await self._ready_server()

    async def run(self, jobs: Sequence[Job]) -> list[tuple[Answer, ...]]:
        """Run every job and return its answers, in order.

        If one fails, or if this is cancelled, all processes of these jobs are ended.

        Raises:
            SandboxError: the sandbox failed twice on the same job.
        """
        self.jobs += len(jobs)
        try:
            if len(jobs) == 1:  # no task of its own, which takes a moment to start and to end
                return [await self._answer(jobs[0])]
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(job)) for job in jobs]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            self.jobs -= len(jobs)
        return [task.result() for task in tasks]

    async def _answer(self, job: Job) -> tuple[Answer, ...]:
        causes: list[str] = []
        async with self._slots:
            while len(causes) < ATTEMPTS:
                answers = await self._attempt(job)
                if any(answer.how == "dismissed" for answer in answers):
                    continue  # the program never ran: that was no attempt at it
                failures = [answer.detail for answer in answers if answer.how in FAILURES]
                if not failures:
                    return answers
                causes.append(failures[0])
            log = (await self.server()).log_tail()
        raise SandboxError(
            f"the sandbox failed {ATTEMPTS} times on the same program: {causes[-1]}"
            + (f"; its server says: {log}" if log else "")
            + "; `egcfg doctor` checks the sandbox"
        )

    async def _attempt(self, job: Job) -> tuple[Answer, ...]:
        for _ in range(REPLACEMENTS):
            watches: list[Watch] = []
            try:
                try:
                    server = await self._start(job, watches)
                except OSError as error:
                    # A process or the server was gone before the program was there.
                    cause = error
                    continue
                answers = tuple([await watch.answer for watch in watches])
                if any(answer.how == "lost" for answer in answers):
                    await server.settle()
                else:
                    # Before the processes are closed, so that the server wakes up once.
                    server.replenish()
                return answers
            finally:
                for watch in watches:
                    watch.close()
        return (Answer(how="lost", detail=f"the server does not take requests ({cause})"),)

    async def _start(self, job: Job, watches: list[Watch]) -> ServerProcess:
        """Start a job, and add what watches it to a list.

        Raises:
            OSError: a process or the server is gone.
        """
        async with self._turn:
            server = await self._ready_server()
            processes = await server.take(job)
        watches += [
            Watch(process, request, ends_at_once=server.ends_at_once, lasts=server.tell_taken)
            for process, request in zip(processes, job, strict=True)
        ]
        for watch in watches:
            await watch.start()
        return server
