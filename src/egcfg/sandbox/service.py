"""The one service that runs untrusted programs, for tracing and for scoring.

Every execution is a process of its own, forked from a warm server and killed with everything that
it started before its result is returned; it is taken apart right after. What this does *not* cover:

- bugs of the kernel, and side channels (timing, caches);
- a layer that the system does not give to ordinary users: `Sandbox.report` says which;
- other systems than Linux: programs are limited in time, output and files, and cannot forge
  verdicts, but reach files, the network and, as on macOS, all of the memory;
- frames: those of this package are below a program's own, where `inspect.stack` shows them;
- processes: a program starts threads but, with seccomp, no other process; with a pid namespace it
  is the first process in it, so that a signal which it sends itself without a handler is ignored;
- a machine that is short of memory: the limits hold for each execution, not for all together;
- time that a program spends in processes of its own, which it can start without seccomp only.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Self

from egcfg.errors import SandboxError, UnknownNameError, UsageError
from egcfg.sandbox.canary import check_verdicts, reaches_process
from egcfg.sandbox.dispatch import Dispatcher
from egcfg.sandbox.judging import Judgement, Verdict, read_verdict
from egcfg.sandbox.packages import find_packages
from egcfg.sandbox.pool import Pool
from egcfg.sandbox.report import LAYERS, SandboxReport
from egcfg.sandbox.server_process import ServerProcess
from egcfg.sandbox.translate import to_request, to_result
from egcfg.sandbox.types import Execution, ExecutionResult

__all__ = ["Sandbox", "usable_cores"]


class Sandbox:
    """Runs programs in fresh, limited processes. Starts when first used; ``async with`` ends it.

    Before the first program, known ones are run and judged (see `canary`).

    Any number of tasks of one event loop may use it at the same time, and other event loops before
    and after. It starts no thread, and is not for several threads at once. A process that is forked
    from this one gets a server of its own.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        strict: bool = False,
        disabled: Collection[str] = (),
        packages: Collection[str] | None = None,
    ) -> None:
        """Prepare a sandbox; no process is started yet.

        Args:
            workers: executions that run side by side; by default one per core.
            strict: whether to refuse to work where an isolation layer is missing.
            disabled: layers to switch off (names of `egcfg.sandbox.LAYERS`), to see what holds
                without them.
            packages: distributions that programs and tests may import besides the standard library,
                each with what it needs; None: `egcfg.sandbox.DEFAULT_PACKAGES`, where installed.

        Raises:
            UsageError: `disabled` holds an unknown name, or one of `packages` is not installed.
        """
        for name in disabled:
            if name not in LAYERS:
                raise UnknownNameError("sandbox layer", name, LAYERS)
        self.strict = strict
        self._names = packages
        if packages is not None:
            find_packages(packages)
        self._disabled = frozenset(disabled)
        self.workers = workers or usable_cores()
        self._dispatcher: Dispatcher | None = None
        self._pool: Pool | None = None
        self._owner = os.getpid()
        # None: the known programs were not run yet.
        self._reaches_others: bool | None = None

    async def run(self, executions: Sequence[Execution]) -> list[ExecutionResult]:
        """Run every execution in a process of its own; results are in the order of the requests.

        What the sandbox fails on, though it runs an empty program in its place, has the outcome
        `Outcome.SANDBOX_ERROR`. Cancelled, it ends the processes of all of them.

        Raises:
            SandboxError: the sandbox fails on an empty program, too; or as `canary`.
        """
        await self.canary()
        return await self._run(executions)

    async def judge(self, judgements: Sequence[Judgement]) -> list[Verdict]:
        """Decide about programs by tests that run in other processes than they do.

        What the sandbox fails on is `Finding.SANDBOX_ERROR`, as in `run`. Cancelled, it ends the
        processes of all of them.

        Raises:
            SandboxError: the sandbox fails on an empty program, too; or as `canary`.
        """
        await self.canary()
        return await self._judge(judgements)

    async def report(self) -> SandboxReport:
        """Return which isolation layers work here; starts the service, and runs the canary.

        Raises:
            SandboxError: the service does not start, or is strict and lacks a layer; or as
                `canary`.
        """
        await self.canary()
        server = (await self._here().pool()).server
        return SandboxReport(
            server.layers, self._packages(), reaches_others=bool(self._reaches_others)
        )

    async def canary(self) -> None:
        """Run and judge known programs: once, before the first other program at the latest.

        Raises:
            SandboxError: a verdict is wrong: no other one here can be trusted. Or a known program
                cannot be run; or the sandbox is strict, and one reaches another process.
        """
        if self._reaches_others is not None:
            return
        async with self._here().trial:
            if self._reaches_others is None:
                await check_verdicts(self._judge)
                server = (await self._here().pool()).server
                reaches = await reaches_process(self._run, server.pid)
                if reaches and self.strict:
                    raise SandboxError(
                        "a strict sandbox keeps programs from other processes, and here a program "
                        "can send them signals; `egcfg doctor` shows the layers that are active"
                    )
                self._reaches_others = reaches

    def close(self) -> None:
        """End the service and everything that it started. Cancel first what is still to run."""
        if self._owner == os.getpid():
            if self._dispatcher is not None:
                self._dispatcher.close()
            if self._pool is not None:
                self._pool.server.close()
        self._pool = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def _run(self, executions: Sequence[Execution]) -> list[ExecutionResult]:
        jobs = [(to_request(execution),) for execution in executions]
        answers = await self._here().run(jobs)
        packages = self._packages()
        return [
            to_result(execution, answer, packages)
            for execution, (answer,) in zip(executions, answers, strict=True)
        ]

    async def _judge(self, judgements: Sequence[Judgement]) -> list[Verdict]:
        jobs = [
            (to_request(judgement.execution()), judgement.judge_request())
            for judgement in judgements
        ]
        answers = await self._here().run(jobs)
        packages = self._packages()
        return [
            read_verdict(to_result(judgement.execution(), program, packages), judge)
            for judgement, (program, judge) in zip(judgements, answers, strict=True)
        ]

    def _packages(self) -> tuple[str, ...]:
        """Return what programs may import, as they and results name it."""
        return tuple(map(str, find_packages(self._names)))

    def _here(self) -> Dispatcher:
        """Return what runs jobs on the running event loop.

        Raises:
            UsageError: another event loop has jobs here at this moment.
        """
        loop = asyncio.get_running_loop()
        last = self._dispatcher
        if last is not None and last.loop is loop:
            return last
        if last is not None and last.jobs and last.loop.is_running() and self._owner == os.getpid():
            raise UsageError(
                "a sandbox serves one event loop at a time, and another one has executions in it; "
                "make a Sandbox for each"
            )
        if last is not None and self._owner == os.getpid():
            last.close()
        self._dispatcher = Dispatcher(loop, self.workers, self._ready_pool)
        return self._dispatcher

    async def _ready_pool(self) -> Pool:
        """Return the processes of a live server, a new one where there is none."""
        if self._owner != os.getpid():
            if self._pool is not None:
                self._pool.server.abandon()
            self._pool, self._owner = None, os.getpid()
        if self._pool is not None and not self._pool.server.alive:
            self._pool.server.close()
            self._pool = None
        if self._pool is None:
            self._pool = Pool(await self._start())
        return self._pool

    async def _start(self) -> ServerProcess:
        server = await ServerProcess.start(self._disabled, find_packages(self._names))
        missing = SandboxReport(server.layers).missing
        if self.strict and missing:
            server.close()
            reasons = "; ".join(f"{name}: {server.layers.get(name)}" for name in missing)
            raise SandboxError(
                f"a strict sandbox needs every isolation layer, and here are missing: {reasons}; "
                "enable them or do without strict"
            )
        return server


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
