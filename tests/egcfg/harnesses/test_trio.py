"""Another library's event loop is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

import egcfg
from egcfg.errors import UsageError
from egcfg.testing.answering import AnsweringBackend

trio = pytest.importorskip("trio", reason="make test-harnesses installs trio")

SAID = "egcfg's coroutines run on asyncio alone; elsewhere, as under trio, call egcfg.solve"
PROBLEM = egcfg.Problem(
    task_id="t",
    description="Double it.",
    entry_point="f",
    visible_tests=[egcfg.AssertTest("assert f(2) == 4")],
)
PROGRAM = "def f(x):\n    return 2 * x\n"


def backend() -> Any:
    return AnsweringBackend(AnsweringBackend.Options([f"```python\n{PROGRAM}```"]))


def test_trio_is_told_in_one_line() -> None:
    engine = egcfg.Engine(backend=backend())
    with pytest.raises(UsageError, match=SAID):
        trio.run(engine.solve, PROBLEM, egcfg.DecodingSettings(gamma=0))
    with pytest.raises(UsageError, match=SAID):
        trio.run(egcfg.reward, [PROGRAM], PROBLEM)


def test_a_thread_under_trio_may_block() -> None:
    async def main() -> Any:
        return await trio.to_thread.run_sync(egcfg.reward_blocking, [PROGRAM], PROBLEM)

    [reward] = trio.run(main)
    assert reward.passed
