"""An analyst, a coder and a tester, all of them the model (Self-Collaboration; 2304.07590)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from attrs import field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Method, Need
from egcfg.interfaces.problem import AssertTest
from egcfg.interfaces.solution import LineStep
from egcfg.methods.dialogue import Dialogue, cut, failure_text, program_in, whole_program
from egcfg.methods.reading import made_calls
from egcfg.prompts.wording import code_block, task_text

__all__ = ["SelfCollaboration"]


class SelfCollaboration(Method):
    """The analyst plans, the coder writes, the tester calls what was written and reports.

    The coder repairs after each report; its last program is the answer. The visible tests are part
    of the task's words, but choose nothing: without them the method goes just the same. A whole
    program has no function to call, and the tester reports on the visible tests instead.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CHAT})

    @frozen(kw_only=True)
    class Options:
        """How often, and how much is tried.

        Attributes:
            rounds: reports of the tester, at most.
            calls: that the tester tries in a round, at most.
        """

        rounds: int = field(default=2, validator=validators.ge(0))
        calls: int = field(default=5, validator=validators.ge(1))

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the coder's program, and each later one that differs."""
        task = task_text(bench.task)
        plan = await Dialogue(bench).ask(
            f"{task}\n\nYou are the analyst of a team. Split the task into parts that are easy to "
            "solve, and write a plan for your coder: what to do in which order. Write no code.",
            stage="analyst",
        )
        coder = Dialogue(bench)
        answer = await coder.ask(
            f"{task}\n\nYou are the coder of a team. Your analyst's plan:\n{plan}\n\n"
            f"{whole_program(bench)}",
            stage="coder",
        )
        program = program_in(bench, answer)
        yield Attempt(program=program, stage="coder")
        for _ in range(self.options.rounds):
            report = await self._report(bench, program)
            if not report:
                return
            answer = await coder.ask(
                f"Your tester reports:\n{report}\n\nIf all of this is as the task wants it, say "
                f"so and write no code. Else repair your program. {whole_program(bench)}",
                stage="repair",
            )
            repaired = bench.program(answer)
            if repaired.strip() and repaired != program:
                program = repaired
                yield Attempt(program=program, stage="repair")
            elif program.strip():
                return  # the coder stands by it

    async def _report(self, bench: Bench, program: str) -> str:
        """Return what calls of the tester gave; empty where there is nothing to tell."""
        function = bench.task.entry_point
        if not program.strip():
            return "No program could be found in the answer."
        if function is None:
            bench.note("no_function_to_call")
            [run] = await bench.run([program])
            return failure_text(run) if run.results and not run.passed else ""
        answer = await Dialogue(bench).ask(
            f"{task_text(bench.task)}\n\nYou are the tester of a team. Your coder wrote:\n"
            f"{code_block(program)}\n\nWrite {self.options.calls} lines that show what it gives, "
            f"for usual inputs and for border cases, each in the form `print({function}(...))` "
            "with all values written out.",
            stage="tester",
        )
        calls = made_calls(answer, function)[: self.options.calls]
        if not calls:
            bench.note("unreadable_calls")
            return ""
        # Only what the calls give is of interest: nobody says what they should.
        [run] = await bench.run([program], [AssertTest(f"assert {call}") for call in calls])
        told = zip(calls, run.outcomes, strict=True)
        return "\n".join(f"- {cut(call)} {cut(outcome)}" for call, outcome in told)
