"""The one service that runs untrusted programs, for tracing and for scoring."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from egcfg.sandbox.types import Execution, ExecutionResult

__all__ = ["Sandbox"]


class Sandbox:
    """Runs programs in fresh, limited processes. Starts lazily; a context manager ends it."""

    def run(self, executions: Sequence[Execution]) -> list[ExecutionResult]:
        """Run every execution in a process of its own; results are in the order of the requests.

        Raises:
            SandboxError: the sandbox failed twice on the same execution.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the service and everything that it started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
