"""One sandbox for all tests of this folder, and a short way to run a program in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from egcfg.sandbox import LAYERS, Call, Execution, ExecutionResult, Limits, Sandbox

# Without these two, a program could take the machine down.
BUT_LIMITS = tuple(name for name in LAYERS if name not in ("rlimits", "memory limit"))
Run = Callable[..., ExecutionResult]


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    # More workers than cores: many programs here do nothing but wait for a limit.
    with Sandbox(workers=8) as service:
        yield service


@pytest.fixture(scope="package")
def bare_sandbox() -> Iterator[Sandbox]:
    """Return a sandbox without any layer of the kernel's but limits."""
    with Sandbox(disabled=BUT_LIMITS) as service:
        yield service


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    """Return a function that runs one program, a call of it by source."""

    def run_one(source: str, call: str | None = None, **settings: Any) -> ExecutionResult:
        expression = Call(call) if call is not None else None
        (result,) = sandbox.run([Execution(source=source, call=expression, **settings)])
        return result

    return run_one


@pytest.fixture(scope="session")
def short() -> Limits:
    """Return limits that a hang hits soon."""
    return Limits(cpu_seconds=0.3, wall_seconds=1.0)
