"""Roles that hand documents on, then tests of their own that run (MetaGPT; 2308.00352)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from attrs import field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Method, Need
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import BestSoFar, nearest_run
from egcfg.methods.dialogue import Dialogue, failure_text, program_in, whole_program
from egcfg.methods.own_tests import own_asserts
from egcfg.prompts.wording import task_text

__all__ = ["MetaGPT"]


class MetaGPT(Method):
    """A product manager's requirements, an architect's design, an engineer's program.

    The program is then run on asserts that the model makes, and repaired by what fails; the answer
    is the one that passes most of them. The visible tests are part of the task's words, but choose
    nothing: without them the method goes just the same. Where no assert can be read, and for a
    whole program, which has no function to call, the first program stands.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CHAT})

    @frozen(kw_only=True)
    class Options:
        """How many of what.

        Attributes:
            fixes: of the program, at most.
            asserts: that it has to pass.
        """

        fixes: int = field(default=3, validator=validators.ge(0))
        asserts: int = field(default=5, validator=validators.ge(1))

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the engineer's program, and the best one so far after each repair."""
        task = task_text(bench.task)
        required = await Dialogue(bench).ask(
            f"{task}\n\nYou are the product manager. Write down what is required: the purpose, "
            "each requirement in one line, and the border cases. Write no code.",
            stage="require",
        )
        documents = f"The requirements:\n{required}"
        design = await Dialogue(bench).ask(
            f"{task}\n\nYou are the architect. {documents}\n\nWrite the design: the data "
            "structures, each function with its arguments and what it gives, and which calls "
            "which. Write no function bodies.",
            stage="design",
        )
        documents += f"\n\nThe design:\n{design}"
        engineer = Dialogue(bench)
        written = await engineer.ask(
            f"{task}\n\nYou are the engineer. {documents}\n\n{whole_program(bench)}", stage="code"
        )
        program = program_in(bench, written)
        yield Attempt(program=program, stage="code")
        tests = await own_asserts(bench, self.options.asserts)
        if not tests:
            return
        best = BestSoFar(nearest_run)
        [newest] = await bench.run([program], tests)
        best.add([newest], "code")
        for _ in range(self.options.fixes):
            if best.passed:
                return
            written = await engineer.ask(
                f"Your program was run on tests of the team's own. {failure_text(newest)}\n\n"
                f"Repair it where it is wrong. {whole_program(bench)}",
                stage="repair",
            )
            repaired = program_in(bench, written)
            if repaired.strip():
                [newest] = await bench.run([repaired], tests)
                best.add([newest], "repair")
            yield best.answer
