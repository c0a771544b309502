"""Everything that solving needs, opened once: backend, tracer, prompt builder, sandbox."""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import TracebackType
from typing import Self

from attrs import frozen

from egcfg.backend import LogprobBackend
from egcfg.problem import Problem
from egcfg.prompt import PromptBuilder
from egcfg.sandbox import Sandbox
from egcfg.settings import DecodingSettings
from egcfg.solution import Generation, LineStep, Solution
from egcfg.tracer import Tracer

__all__ = ["Engine"]


@frozen
class Engine:
    """Solves problems with one model, one tracer and one way of wording."""

    backend: LogprobBackend
    tracer: Tracer
    prompt: PromptBuilder
    sandbox: Sandbox

    def steps(
        self, problem: Problem, settings: DecodingSettings
    ) -> Generator[LineStep, None, Generation]:
        """Decode `problem`, yielding each line as it is decided; the generation is returned."""
        raise NotImplementedError

    def solve(
        self,
        problem: Problem,
        settings: DecodingSettings,
        on_step: Callable[[LineStep], None] | None = None,
    ) -> Solution:
        """Decode and judge `problem`; `on_step` sees each line as it is decided."""
        raise NotImplementedError

    def close(self) -> None:
        """End the backend and the sandbox."""
        self.backend.close()
        self.sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
