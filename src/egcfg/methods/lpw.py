"""A plan that is worked by hand on the tests, then code held against it (LPW; 2411.14503)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from attrs import field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Method, Need, ProgramRun
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import BestSoFar, nearest_run
from egcfg.methods.dialogue import (
    Dialogue,
    cut,
    failure_text,
    failures,
    program_in,
    trace_of,
    whole_program,
)
from egcfg.methods.reading import verdict
from egcfg.prompts.wording import task_text, tests_text

__all__ = ["PlanDrivenProgramming"]


class PlanDrivenProgramming(Method):
    """Plans, works the visible tests by hand along the plan, then codes and compares.

    A plan that does not lead to what the tests want is written anew, and a second answer checks
    what was worked by hand. Where the program fails a visible test, the model puts prints into it,
    and repairs it by what they print and what was worked by hand. The answer is the best program of
    all. Without visible tests nothing can be worked, and the plan's first program stands.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CHAT})

    @frozen(kw_only=True)
    class Options:
        """How often, and how much is worked by hand.

        Attributes:
            revisions: of the plan, or of what was worked by hand, at most.
            repairs: of the program, at most.
            tests: visible tests that are worked by hand, the first ones.
            temperature: of all repairs after the first, which is greedy.
        """

        revisions: int = field(default=12, validator=validators.ge(0))
        repairs: int = field(default=12, validator=validators.ge(0))
        tests: int = field(default=3, validator=validators.ge(1))
        temperature: float = field(default=0.8, converter=float, validator=validators.ge(0))

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the plan's program, and the best one so far after each repair."""
        plan, worked = await self._plan(bench)
        written = await Dialogue(bench).ask(
            f"{task_text(bench.task)}\n\nFollow this plan:\n{plan}\n\n{worked}"
            f"{whole_program(bench)}",
            stage="code",
        )
        best = BestSoFar(nearest_run)
        [newest] = await bench.run([program_in(bench, written)])
        yield best.add([newest], "code")
        if not bench.task.visible_tests:
            return
        for number in range(self.options.repairs):
            if best.passed:
                return
            repaired = program_in(bench, await self._repair(bench, newest, worked, number))
            if repaired.strip():
                [newest] = await bench.run([repaired])
                best.add([newest], "repair")
            yield best.answer

    async def _plan(self, bench: Bench) -> tuple[str, str]:
        """Return a plan, and what was worked by hand along it, as a part of a prompt."""
        task = task_text(bench.task)
        plan = await Dialogue(bench).ask(
            f"{task}\n\nWrite a plan for it, step by step, without code.", stage="plan"
        )
        tests = bench.task.visible_tests[: self.options.tests]
        if not tests:
            return plan, ""
        worked, mistakes = "", ""
        for number in range(self.options.revisions + 1):
            planned = f"{task}\n\nA plan for it:\n{plan}\n\n"
            worked = await Dialogue(bench).ask(
                f"{planned}{mistakes}Work by hand, step by step along the plan, what it comes to "
                "here, with every value in between:\n"
                f"{tests_text(tests)}\n\nEnd with `verdict: right` if the plan leads to what is "
                "wanted each time, else with `verdict: wrong`.",
                stage="work",
            )
            if number == self.options.revisions:
                break
            if self._is_wrong(bench, worked):
                plan = await Dialogue(bench).ask(
                    f"{planned}Worked by hand, it does not lead to what is wanted:\n{worked}\n\n"
                    "Write a better plan, step by step, without code.",
                    stage="plan",
                )
                mistakes = ""
                continue
            checked = await Dialogue(bench).ask(
                f"{planned}This was worked by hand along it:\n{worked}\n\nCheck each value: does "
                "it follow from the ones before it? Do not work it anew. End with "
                "`verdict: right` or `verdict: wrong`.",
                stage="check",
            )
            if not self._is_wrong(bench, checked):
                break
            mistakes = f"An earlier try had mistakes:\n{checked}\n\n"
        return plan, f"Worked by hand, it goes so:\n{worked}\n\n"

    def _is_wrong(self, bench: Bench, answer: str) -> bool:
        """Whether an answer ends in such a verdict; one that has none holds nothing up."""
        said = verdict(answer)
        if said is None:
            bench.note("unreadable_verdict")
        return said is False

    async def _repair(self, bench: Bench, run: ProgramRun, worked: str, number: int) -> str:
        """Return the answer to a request for a better program."""
        temperature = self.options.temperature if number else 0.0
        printed = await self._printed(bench, run, temperature) if run.program.strip() else ""
        return await Dialogue.about(bench, run.program).ask(
            f"{failure_text(run)}\n\n{printed}{worked}Say at which step the program first departs "
            f"from what is right, and repair it. {whole_program(bench)}",
            stage="repair",
            temperature=temperature,
        )

    async def _printed(self, bench: Bench, run: ProgramRun, temperature: float) -> str:
        """Return what a program prints on the first test that fails, once it has prints in it."""
        answer = await Dialogue.about(bench, run.program).ask(
            "Put `print` calls into this program that show the value of each step by its name. "
            f"Change nothing else. {whole_program(bench)}",
            stage="print",
            temperature=temperature,
        )
        program = program_in(bench, answer)
        if not program.strip():
            return ""
        [shown] = await bench.run([program], traces=True)
        place = next(iter(failures(run)), 0)
        trace = trace_of(shown, place)
        if trace is None or not trace.stdout.strip():
            bench.note("nothing_printed")
            return ""
        return f"With prints in it, it shows in the first of these runs:\n{cut(trace.stdout)}\n\n"
