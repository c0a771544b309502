"""From what costs little to what costs more, as long as the visible tests fail."""

from __future__ import annotations

from collections.abc import AsyncIterator

from attrs import field, frozen, validators

from egcfg.decoding.settings import Policies
from egcfg.interfaces.method import Attempt, Bench, Configuration, Method, Need
from egcfg.interfaces.solution import LineStep
from egcfg.methods.choice import BestSoFar, best_run
from egcfg.methods.dialogue import Dialogue, failure_text, program_in, whole_program

__all__ = ["Cascade"]

GATED = Policies(gate=True, accept=True)
"""Guide only where running candidates tells something, and stop at one that passes."""


class Cascade(Method):
    """The greedy answer, samples, a guided answer, and one repair, until the visible tests pass.

    Of the greedy answer and the samples, the best is chosen: what passes most visible tests, of
    several one of the largest cluster of programs that do the same. The guided answer is decoded
    with the policies ``gate`` and ``accept``, in the first configuration whose gamma is not 0; the
    repair is of the best program so far, in a dialogue that shows which tests fail. A model that
    tells no log-probabilities guides nothing, and one that takes no chats repairs nothing. Without
    visible tests the greedy answer stands.
    """

    @frozen(kw_only=True)
    class Options:
        """What to do.

        Attributes:
            n: samples at most.
            temperature: of the samples.
            guided: whether to decode an answer with guidance.
            repair: whether to ask for a repair.
        """

        n: int = field(default=4, validator=validators.ge(0))
        temperature: float = field(default=0.8, converter=float, validator=validators.gt(0))
        guided: bool = True
        repair: bool = True

    def __init__(self, options: Options) -> None:
        self.options = options

    async def solve(self, bench: Bench) -> AsyncIterator[Attempt | LineStep]:
        """Yield each line of the guided answer, and the best program so far after each answer."""
        best = BestSoFar(best_run)
        for number in range(1 + self.options.n):
            stage, temperature = ("sample", self.options.temperature) if number else ("greedy", 0.0)
            programs = await bench.draw(stage=stage, temperature=temperature)
            yield best.add(await bench.run(programs), stage)
            if best.passed or not bench.task.visible_tests:
                return
        chosen = best.best
        agree = sum(run.outcomes == chosen.outcomes for run in best.runs)
        bench.note("chosen", of=len(best.runs), agree=agree, passing=f"{chosen.share:.0%}")

        configuration = self._guided(bench)
        if configuration is not None:
            async for step in bench.decode(configuration, policies=GATED):
                if isinstance(step, LineStep):
                    yield step
                else:
                    yield best.add(await bench.run([step.code]), "decode", step)
            if best.passed:
                return

        if self.options.repair and Need.CHAT in bench.offers:
            dialogue = Dialogue.about(bench, best.best.program)
            request = f"The program is not right. {failure_text(best.best)}\n\nRepair it. "
            answer = await dialogue.ask(request + whole_program(bench), stage="repair")
            repaired = program_in(bench, answer)
            if repaired.strip():
                yield best.add(await bench.run([repaired]), "repair")

    def _guided(self, bench: Bench) -> Configuration | None:
        """Return how to decode with guidance; None where that cannot be."""
        if not self.options.guided or Need.LOGPROBS not in bench.offers:
            return None
        return next((each for each in bench.configurations if each.settings.gamma != 0.0), None)
