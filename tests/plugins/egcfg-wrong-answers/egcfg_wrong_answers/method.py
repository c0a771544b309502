"""A method that works, or answers wrongly on request."""

from attrs import frozen

from egcfg import Attempt, Method
from egcfg.errors import BudgetError


class WrongMethod(Method):
    """Draws one program, or does what a method must not."""

    @frozen
    class Options:
        """Options of the method.

        Attributes:
            fault: none (yields nothing), raises, text, attempt (without a program), empty (with an
                empty one), plain (no generator), swallows (a refusal), insists (asks for ever), all_at_once or group
                (asks for much side by side).
        """

        fault: str = ""

    def __init__(self, options):
        self.fault = options.fault
        if options.fault == "plain":
            self.solve = lambda bench: Attempt(program="", stage=bench.task.task_id)

    async def solve(self, bench):
        """Yield an attempt, or something else."""
        match self.fault:
            case "none":
                return
            case "raises":
                raise RuntimeError("out of\nideas")
            case "text":
                yield "def f(x): ..."
            case "attempt":
                yield Attempt(program=None, stage="wrong")
            case "empty":
                yield Attempt(program="", stage="wrong")
                return
        [program] = await bench.draw(stage="draw")
        yield Attempt(program=program, stage="draw")
        while self.fault in ("swallows", "insists"):
            try:
                await bench.draw(stage="more")
            except BudgetError:
                if self.fault == "swallows":
                    return
        if self.fault in ("group", "all_at_once"):
            await _side_by_side(bench, 3 if self.fault == "group" else 300)


async def _side_by_side(bench, count):
    import asyncio

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(bench.draw(stage="more"))
