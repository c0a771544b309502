"""A method that tells the model which tests its answer failed."""

from attrs import frozen

from egcfg import Attempt, Method, TestStatus


class Retell(Method):
    """The likeliest answer, then others that know which visible tests the last one failed."""

    @frozen
    class Options:
        """How long to try.

        Attributes:
            times: how often to ask again.
        """

        times: int = 2

    def __init__(self, options):
        self.options = options

    async def solve(self, bench):
        """Yield the program that passes most visible tests so far after each answer."""
        question, best, answer = bench.prompt.unconditional(), -1.0, None
        for number in range(1 + self.options.times):
            [reply] = await bench.ask(question, stage="retell" if number else "answer")
            program = bench.program(bench.prompt.response_prefix + reply.text)
            [run] = await bench.run([program])
            if run.share > best:
                best = run.share
                answer = Attempt(program=program, stage="retell" if number else "answer")
            yield answer
            failed = [r.name for r in run.results if r.status is not TestStatus.PASSED]
            if not failed:  # also where there is no visible test to go by
                return
            bench.note("told", tests=len(failed))
            question = bench.prompt.conditional("An answer failed:\n" + "\n".join(failed))
