"""A checker that imagines runs decides what is repaired, rewritten or kept (QualityFlow)."""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import ClassVar

from attrs import field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Method, Need
from egcfg.interfaces.problem import AssertTest
from egcfg.interfaces.solution import LineStep
from egcfg.methods.dialogue import Dialogue, failure_text, program_in, whole_program
from egcfg.methods.own_tests import own_asserts
from egcfg.methods.reading import judgements, verdict
from egcfg.prompts.wording import code_block, task_text, tests_text

__all__ = ["CheckerKind", "QualityFlow"]

JUDGE = (
    "Judge every test: does the task want this value? One line per test, in the form "
    "`Test NUMBER: right` or `Test NUMBER: wrong, because ...`."
)


class CheckerKind(enum.StrEnum):
    """How a program is checked on the visible tests.

    ``IMAGINED``: the model goes through each run by hand, and says whether the test passes; nothing
    is run. ``EXECUTED``: they run.
    """

    IMAGINED = "imagined"
    EXECUTED = "executed"


class QualityFlow(Method):
    """Generator, checker, test designer, test checker, debugger and clarifier (2501.17167).

    A program that the checker accepts is the answer. Else it is repaired by asserts that the model
    makes and thinks right, with a look of the checker at each repair; then the task is worded anew,
    and solved from there. Where the checker accepts nothing, the first program stands. Without
    visible tests the imagining checker makes up an input, and one that executes accepts the first
    program.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CHAT})

    @frozen(kw_only=True)
    class Options:
        """How is checked, and how often repaired.

        Attributes:
            checker: how a program is checked.
            repairs: of the first program, at most.
            asserts: that the test designer makes.
        """

        checker: CheckerKind = field(default=CheckerKind.IMAGINED, converter=CheckerKind)
        repairs: int = field(default=3, validator=validators.ge(0))
        asserts: int = field(default=5, validator=validators.ge(1))

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the first program, and the one that the checker accepts if it is another."""
        [program] = await bench.draw(stage="generate")
        yield Attempt(program=program, stage="generate")
        if await self._accepts(bench, program):
            return
        async with aclosing(self._repairs(bench, program)) as repairs:
            async for repaired in repairs:
                if await self._accepts(bench, repaired):
                    yield Attempt(program=repaired, stage="debug")
                    return
        anew = await self._clarified(bench, program)
        if await self._accepts(bench, anew):
            yield Attempt(program=anew, stage="clarify")
        else:
            bench.note("nothing_accepted")

    async def _accepts(self, bench: Bench, program: str) -> bool:
        """Whether the checker takes a program for right; without a readable verdict it does not."""
        task, tests = bench.task, bench.task.visible_tests
        if not program.strip():
            return False
        if self.options.checker is CheckerKind.EXECUTED:
            [run] = await bench.run([program])
            return run.passed or not tests
        wordings = [tests_text([test]) for test in tests]
        for wording in wordings or ["Take an input of your own for which the task is clear."]:
            answer = await Dialogue(bench).ask(
                f"{task_text(task)}\n\nA program for it:\n{code_block(program)}\n\nGo through its "
                f"run by hand, line by line, as the computer does it.\n{wording}\n\nEnd with "
                "`verdict: right` if the program does here what is wanted, else with "
                "`verdict: wrong`.",
                stage="check",
            )
            said = verdict(answer)
            if said is None:
                bench.note("unreadable_verdict")
            if not said:
                return False
        return True

    async def _repairs(self, bench: Bench, program: str) -> AsyncGenerator[str, None]:
        """Yield the program as it is repaired, while it fails asserts that the model made."""
        tests = await self._own_tests(bench)
        if not tests:
            return
        [run] = await bench.run([program], tests)
        dialogue = Dialogue.about(bench, program)
        for _ in range(self.options.repairs):
            if run.passed:
                return
            answer = await dialogue.ask(
                f"{failure_text(run)}\n\nSay why, and repair the program where it is wrong. "
                f"{whole_program(bench)}",
                stage="debug",
            )
            repaired = program_in(bench, answer)
            if not repaired.strip():
                continue
            yield repaired
            [run] = await bench.run([repaired], tests)

    async def _own_tests(self, bench: Bench) -> list[AssertTest]:
        """Return asserts of the test designer that the test checker does not call wrong."""
        tests = await own_asserts(bench, self.options.asserts)
        if not tests:
            return []
        listed = "\n".join(f"Test {n}: {test.source}" for n, test in enumerate(tests, 1))
        answer = await Dialogue(bench).ask(
            f"{task_text(bench.task)}\n\nTests that somebody made for it:\n{listed}\n\n{JUDGE}",
            stage="test_check",
        )
        judged = judgements(answer, "test", [*(test.source for test in tests), JUDGE])
        if not judged:
            bench.note("unreadable_judgements")
        return [test for n, test in enumerate(tests, 1) if n not in judged or judged[n].right]

    async def _clarified(self, bench: Bench, program: str) -> str:
        """Return a program for the task as the model words it anew."""
        clearer = await Dialogue(bench).ask(
            f"{task_text(bench.task)}\n\nThis answer to it was not accepted:\n"
            f"{code_block(program)}\n\nIt may come from a misunderstanding. Say what that may be, "
            "then word the task anew, so that nobody can misunderstand it. Write no code.",
            stage="clarify",
        )
        answer = await Dialogue(bench).ask(
            f"{task_text(bench.task)}\n\nIn other words:\n{clearer}\n\n{whole_program(bench)}",
            stage="clarify",
        )
        return program_in(bench, answer)
