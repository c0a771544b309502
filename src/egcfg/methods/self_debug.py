"""Repair in a dialogue, after what execution shows (Self-Debugging; Chen et al., 2304.05128)."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from typing import ClassVar

from attrs import field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Method, Need, ProgramRun
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import BestSoFar, nearest_run
from egcfg.methods.dialogue import Dialogue, failure_text, program_in, whole_program
from egcfg.prompts.wording import code_block

__all__ = ["FeedbackKind", "SelfDebugging"]


class FeedbackKind(enum.StrEnum):
    """What the model is told, or asked, before it repairs its program.

    ``SIMPLE``: that it is wrong. ``UNIT_TEST``: the tests that fail and what came. ``EXPLANATION``:
    it first explains the program line by line. ``TRACE``: it first simulates the run that fails.
    The last two show the tests as well.
    """

    SIMPLE = "simple"
    UNIT_TEST = "unit_test"
    EXPLANATION = "explanation"
    TRACE = "trace"


_FIRST = {
    FeedbackKind.EXPLANATION: (
        "explain",
        "Explain your program line by line: what each line does, and what it is there for.",
    ),
    FeedbackKind.TRACE: (
        "simulate",
        "Go through the first of these runs by hand: line by line in the order of execution, "
        "with the value of each variable after it.",
    ),
}


class SelfDebugging(Method):
    """The greedy program, then repairs of it in a dialogue that stays in the prompt.

    Exceptions are told before wrong values. The best program so far is kept, and a repair that made
    it worse is taken back. Without visible tests nothing shows what is wrong, and the greedy
    program stands.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CHAT})

    @frozen(kw_only=True)
    class Options:
        """What is told, and how often.

        Attributes:
            feedback: what the model is told before it repairs.
            turns: repairs at most. Small models gain from the first two alone (2604.21950).
        """

        feedback: FeedbackKind = field(default=FeedbackKind.UNIT_TEST, converter=FeedbackKind)
        turns: int = field(default=2, validator=validators.ge(1))

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the greedy program, and the best one so far after each repair."""
        [program] = await bench.draw(stage="greedy")
        best = BestSoFar(nearest_run)
        yield best.add(await bench.run([program]), "greedy")
        if not bench.task.visible_tests:
            return
        dialogue = Dialogue.about(bench, program)
        remark = ""
        for _ in range(self.options.turns):
            if best.passed:
                return
            repaired = program_in(bench, await self._repair(dialogue, best.best, remark))
            before = best.answer
            if not repaired.strip():
                remark = "I found no program in your answer. "
            elif best.add(await bench.run([repaired]), "repair") is not before:
                remark = ""
            else:
                kept = code_block(before.program) if before.program.strip() else ""
                remark = f"That is no better. Go on from the earlier program:\n{kept}\n"
            yield best.answer

    async def _repair(self, dialogue: Dialogue, best: ProgramRun, remark: str) -> str:
        """Return the answer to a request for a better program."""
        told = f"{remark}The program is not right."
        if self.options.feedback is not FeedbackKind.SIMPLE:
            told = f"{told} {failure_text(best)}"
        if self.options.feedback in _FIRST:
            stage, request = _FIRST[self.options.feedback]
            await dialogue.ask(f"{told}\n\n{request}", stage=stage)
            told = "Now you see what is wrong."
        return await dialogue.ask(
            f"{told}\n\nRepair it. {whole_program(dialogue.bench)}", stage="repair"
        )
