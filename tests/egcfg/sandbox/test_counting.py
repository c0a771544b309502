from __future__ import annotations

import asyncio

from egcfg.sandbox import Execution, Sandbox
from egcfg.sandbox.counting import CountingSandbox


def test_what_one_task_runs_is_counted_apart() -> None:
    async def use() -> tuple[int, int]:
        async with Sandbox(workers=1) as inner:
            one, other = CountingSandbox(inner), CountingSandbox(inner)
            await one.run([Execution(source="print(1)"), Execution(source="print(2)")])
            await other.run([Execution(source="print(3)")])
            one.close()
            [result] = await other.run([Execution(source="print(4)")])
            assert result.stdout == "4\n"
            assert (await one.report()).layers == (await inner.report()).layers
            return one.executions, other.executions

    assert asyncio.run(use()) == (2, 2)
