"""Recalled exemplars, plans with confidences, code, repairs (MapCoder; 2405.11403)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from attrs import field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Method, Need
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import BestSoFar, nearest_run
from egcfg.methods.dialogue import Dialogue, failure_text, program_in, whole_program
from egcfg.methods.reading import items, number, part
from egcfg.prompts.wording import task_text

__all__ = ["MapCoder"]


@frozen
class _Plan:
    """A plan, and from 0 to 100 how sure the model is that it is right."""

    text: str
    confidence: float


class MapCoder(Method):
    """Recalls similar problems, plans after each, and codes the plans, the surest first.

    Each program is repaired with what its run showed; the first that passes the visible tests is
    the answer, else the best of all. Without visible tests the first program of the surest plan
    stands.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CHAT})

    @frozen(kw_only=True)
    class Options:
        """How many of what.

        Attributes:
            exemplars: similar problems to recall, which is how many plans there are.
            repairs: of each program, at most.
        """

        exemplars: int = field(default=3, validator=validators.ge(1))
        repairs: int = field(default=5, validator=validators.ge(0))

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the best program so far after each one."""
        best = BestSoFar(nearest_run)
        for plan in await self._plans(bench):
            dialogue = Dialogue(bench)
            asked = (
                f"{task_text(bench.task)}\n\nFollow this plan:\n{plan.text}\n\n"
                f"{whole_program(bench)}"
            )
            for number_of_repairs in range(self.options.repairs + 1):
                stage = "repair" if number_of_repairs else "code"
                program = program_in(bench, await dialogue.ask(asked, stage=stage))
                [run] = await bench.run([program])
                yield best.add([run], stage)
                if run.passed or not bench.task.visible_tests:
                    return
                asked = (
                    f"{failure_text(run)}\n\nSay what is wrong, in the plan or in the code, and "
                    f"repair it. {whole_program(bench)}"
                )

    async def _plans(self, bench: Bench) -> list[_Plan]:
        """Return a plan after each exemplar, the surest first; of equally sure ones, the first."""
        exemplars, tutorial = await self._exemplars(bench)
        plans = []
        for exemplar in exemplars:
            told = f"A similar problem, solved:\n{exemplar}\n\n" if exemplar else ""
            hint = f"What may help:\n{tutorial}\n\n" if tutorial else ""
            text = await Dialogue(bench).ask(
                f"{told}{hint}The problem to solve:\n{task_text(bench.task)}\n\nWrite a plan for "
                "it, step by step, without code.",
                stage="plan",
            )
            rated = await Dialogue(bench).ask(
                f"{task_text(bench.task)}\n\nA plan for it:\n{text}\n\nIs it right? Answer with "
                "your confidence from 0 to 100, in the form `confidence: NUMBER`.",
                stage="rate",
            )
            confidence = number(rated, "confidence")
            if confidence is None:
                bench.note("unreadable_confidence")
                confidence = 0.0
            plans.append(_Plan(text, confidence))
        return sorted(plans, key=lambda plan: -plan.confidence)

    async def _exemplars(self, bench: Bench) -> tuple[list[str], str]:
        """Return similar problems as the model recalls them, and its advice.

        Of an answer that names no problem apart, all of it is one; of none, the plan goes without.
        """
        count = self.options.exemplars
        answer = await Dialogue(bench).ask(
            f"{task_text(bench.task)}\n\nDo not solve this yet. Recall {count} problems like it, "
            "each another one, and solve them: under the headings `## Problem 1`, `## Problem 2` "
            "and so on, each with its statement, its code in Python and a plan that leads there. "
            "Then, under `## Advice`, say which technique solves problems of this kind, and how.",
            stage="recall",
        )
        advice = part(answer, "advice") or ""
        found = items(answer.replace(advice, "") if advice else answer, "problem")[:count]
        if not found:
            bench.note("unreadable_exemplars")
            found = [answer.strip()]
        return found, advice
