"""A sandbox as one task uses it: it counts what runs."""

from __future__ import annotations

from collections.abc import Sequence

from egcfg.sandbox.judging import Judgement, Verdict
from egcfg.sandbox.report import SandboxReport
from egcfg.sandbox.service import Sandbox
from egcfg.sandbox.types import Execution, ExecutionResult

__all__ = ["CountingSandbox"]


class CountingSandbox(Sandbox):
    """Runs and judges programs in another sandbox, which it neither starts nor closes.

    Attributes:
        executions: how many programs ran so far, once per execution and per judgement.
    """

    def __init__(self, inner: Sandbox) -> None:
        self._inner = inner
        self.strict = inner.strict
        self.workers = inner.workers
        self.executions = 0

    async def run(self, executions: Sequence[Execution]) -> list[ExecutionResult]:
        """Run every execution; see `Sandbox.run`."""
        self.executions += len(executions)
        return await self._inner.run(executions)

    async def judge(self, judgements: Sequence[Judgement]) -> list[Verdict]:
        """Decide about programs; see `Sandbox.judge`."""
        self.executions += len(judgements)
        return await self._inner.judge(judgements)

    async def report(self) -> SandboxReport:
        """Return which isolation layers work; see `Sandbox.report`."""
        return await self._inner.report()

    async def canary(self) -> None:
        """Run and judge known programs; see `Sandbox.canary`."""
        await self._inner.canary()

    def close(self) -> None:
        """Leave the other sandbox to whoever opened it."""
