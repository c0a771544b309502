"""The one service that runs untrusted programs, for tracing and for scoring.

Every execution is a process of its own, forked from a warm server and killed with everything that
it started before its result is returned; it is taken apart right after. What this does *not* cover:

- bugs of the kernel, and side channels (timing, caches);
- a layer that the system does not give to ordinary users: `Sandbox.report` says which;
- macOS: programs are limited and cannot forge verdicts there, but reach files and the network;
- packages: programs import the standard library only;
- processes: a program starts threads but, with seccomp, no other process; with a pid namespace it
  is the first process in it, so that a signal which it sends itself without a handler is ignored;
- a machine that is short of memory: the limits hold for each execution, not for all together.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Self

from egcfg.errors import SandboxError, UnknownNameError
from egcfg.sandbox.dispatch import dispatch
from egcfg.sandbox.judging import Judgement, Verdict, read_verdict
from egcfg.sandbox.report import LAYERS, SandboxReport
from egcfg.sandbox.server_process import ServerProcess
from egcfg.sandbox.translate import stretch, to_request, to_result
from egcfg.sandbox.types import Execution, ExecutionResult, Pace

__all__ = ["Sandbox", "usable_cores"]


class Sandbox:
    """Runs programs in fresh, limited processes. Starts lazily; a context manager ends it.

    Before the first program, known ones are judged and timed (see `canary`).

    Safe to use from several threads. After a fork, the child process gets a server of its own.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        strict: bool = False,
        disabled: Collection[str] = (),
    ) -> None:
        """Prepare a sandbox.

        Args:
            workers: executions that run side by side; by default one per core.
            strict: whether to refuse to work where an isolation layer is missing.
            disabled: layers to switch off (names of `egcfg.sandbox.LAYERS`), to see what holds
                without them.

        Raises:
            UsageError: `disabled` holds an unknown name.
        """
        for name in disabled:
            if name not in LAYERS:
                raise UnknownNameError("sandbox layer", name, LAYERS)
        self.strict = strict
        self._disabled = frozenset(disabled)
        self.workers = workers or usable_cores()
        self._slots = threading.BoundedSemaphore(self.workers)
        self._lock = threading.Lock()
        self._server: ServerProcess | None = None
        self._owner = os.getpid()
        # Reentrant: known programs are run by the same methods as all others.
        self._trial = threading.RLock()
        self._trying = False
        self._tried = False
        self._pace = Pace()

    def run(self, executions: Sequence[Execution]) -> list[ExecutionResult]:
        """Run every execution in a process of its own; results are in the order of the requests.

        Raises:
            SandboxError: the sandbox failed twice on the same execution; or as `canary`.
        """
        self.canary()
        jobs = [(stretch(to_request(execution), self._pace),) for execution in executions]
        answers = dispatch(jobs, self._slots, self._ready_server)
        return [
            to_result(execution, answer)
            for execution, (answer,) in zip(executions, answers, strict=True)
        ]

    def judge(self, judgements: Sequence[Judgement]) -> list[Verdict]:
        """Decide about programs by tests that run in other processes than they do.

        Raises:
            SandboxError: the sandbox failed twice on the same judgement; or as `canary`.
        """
        self.canary()
        jobs = [
            (
                stretch(
                    {**to_request(judgement.execution()), "setup": judgement.setup}, self._pace
                ),
                stretch(judgement.judge_request(), self._pace),
            )
            for judgement in judgements
        ]
        answers = dispatch(jobs, self._slots, self._ready_server)
        return [
            read_verdict(to_result(judgement.execution(), program), judge)
            for judgement, (program, judge) in zip(judgements, answers, strict=True)
        ]

    def report(self) -> SandboxReport:
        """Return which isolation layers work here; starts the service.

        Raises:
            SandboxError: the service does not start, or is strict and lacks a layer.
        """
        return SandboxReport(self._ready_server().layers)

    def canary(self) -> None:
        """Time and judge known programs: once, before the first other program at the latest.

        Raises:
            SandboxError: a verdict is wrong: no other one here can be trusted. Or a known program
                cannot be run.
        """
        if self._tried:
            return
        # It judges through a scorer, and scorers import this module.
        from egcfg.sandbox.canary import check_verdicts, measure_pace

        with self._trial:
            if self._tried or self._trying:
                return
            self._trying = True
            try:
                self._pace = measure_pace(self)
                check_verdicts(self)
                self._tried = True
            finally:
                self._trying = False

    @property
    def pace(self) -> Pace:
        """How far limits of time are stretched; runs the canary.

        Raises:
            SandboxError: as `canary`.
        """
        self.canary()
        return self._pace

    def close(self) -> None:
        """End the service and everything that it started."""
        with self._lock:
            if self._server is not None and self._owner == os.getpid():
                self._server.close()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ready_server(self) -> ServerProcess:
        """Return a live server, a new one where there is none."""
        with self._lock:
            if self._owner != os.getpid():
                if self._server is not None:
                    self._server.abandon()
                self._server, self._owner = None, os.getpid()
            if self._server is not None and not self._server.alive:
                self._server.close()
                self._server = None
            if self._server is None:
                self._server = self._start()
            return self._server

    def _start(self) -> ServerProcess:
        server = ServerProcess(self._disabled)
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
