"""Repair after a judgement of each basic block of a failing run (LDB; Zhong et al., 2402.16906)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from attrs import field, frozen, validators

from egcfg.interfaces.method import Attempt, Bench, Method, Need, ProgramRun
from egcfg.interfaces.solution import LineStep
from egcfg.methods.blocks import executed_blocks, shown_blocks
from egcfg.methods.choice import BestSoFar, nearest_run
from egcfg.methods.dialogue import (
    Dialogue,
    failure_text,
    failures,
    program_in,
    trace_of,
    whole_program,
)
from egcfg.methods.reading import judgements

__all__ = ["BlockDebugging"]

JUDGE = (
    "Judge every block: does it do what the task needs with these values? One line per block, in "
    "the form `Block NUMBER: right` or `Block NUMBER: wrong, because ...`."
)


class BlockDebugging(Method):
    """The greedy program, then rounds: a failing run block by block, each judged, a new program.

    Each round takes the newest program in a dialogue of its own, and of its failing tests the next
    one in turn; the answer is the best program of all. Without visible tests nothing can be traced,
    and the greedy program stands.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.CHAT})

    @frozen(kw_only=True)
    class Options:
        """How long, and how much is shown.

        Attributes:
            rounds: at most.
            blocks: shown at most; of more, the first and the last ones.
            temperature: of all rounds after the first, which is greedy.
        """

        rounds: int = field(default=10, validator=validators.ge(1))
        blocks: int = field(default=10, validator=validators.ge(2))
        temperature: float = field(default=0.8, converter=float, validator=validators.ge(0))

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield the greedy program, and the best one so far after each round."""
        best = BestSoFar(nearest_run)
        [newest] = await bench.run(await bench.draw(stage="greedy"), traces=True)
        yield best.add([newest], "greedy")
        if not bench.task.visible_tests:
            return
        for number in range(self.options.rounds):
            if best.passed:
                return
            repaired = program_in(bench, await self._round(bench, newest, number))
            if repaired.strip():
                [newest] = await bench.run([repaired], traces=True)
                best.add([newest], "repair")
            yield best.answer

    async def _round(self, bench: Bench, run: ProgramRun, number: int) -> str:
        """Return the answer to one round of judging and asking for a new program."""
        temperature = self.options.temperature if number else 0.0
        dialogue = Dialogue.about(bench, run.program)
        told = failure_text(run)
        failing = failures(run)
        if failing:
            place = failing[number % len(failing)]
            told = failure_text(run, [place])
            trace = trace_of(run, place)
            blocks = [] if trace is None else executed_blocks(trace)
            if trace is not None and blocks:
                shown = shown_blocks(blocks, self.options.blocks)
                texts = {n: block.text(trace.source) for n, block in shown}
                listed = "\n\n".join(f"[Block {n}]\n{text}" for n, text in texts.items())
                answer = await dialogue.ask(
                    f"{told}\n\nThis is what ran, block by block, with the variables before and "
                    f"after each:\n\n{listed}\n\n{JUDGE}",
                    stage="judge",
                    temperature=temperature,
                )
                judged = judgements(answer, "block", [*texts.values(), JUDGE])
                if not judged:  # the answer is part of the dialogue, read or not
                    bench.note("unreadable_judgements")
                wrong = [f"block {n}" for n, _ in shown if n in judged and not judged[n].right]
                told = f"You judged {', '.join(wrong)} to be wrong." if wrong else told
        return await dialogue.ask(
            f"{told}\n\nRepair the program. {whole_program(bench)}",
            stage="repair",
            temperature=temperature,
        )
