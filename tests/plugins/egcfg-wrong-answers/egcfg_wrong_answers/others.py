"""A tracer, a guidance rule, a prompt builder and a scorer that answer wrongly on request."""

from attrs import frozen

from egcfg import (
    GuidanceRule,
    Guided,
    Logprobs,
    Prompt,
    PromptBuilder,
    Score,
    Scorer,
    TestResult,
    TestStatus,
    Trace,
    Tracer,
)


@frozen
class Options:
    """Options of each of them.

    Attributes:
        fault: what is wrong with its answers: none, raises, few, text or nan.
    """

    fault: str = ""


class _Wrong:
    Options = Options

    def __init__(self, options):
        self.fault = options.fault

    def spoilt(self, answer):
        match self.fault:
            case "none":
                return None
            case "raises":
                raise RuntimeError("out of\nideas")
            case "few":
                return answer[:-1]
            case "text":
                return str(answer)
        return answer


class WrongTracer(_Wrong, Tracer):
    """Runs nothing."""

    def trace(self, requests, sandbox):
        """Say that every request ran."""
        return self.spoilt([Trace(source=r.source, call=r.call) for r in requests])

    def render(self, trace, max_chars):
        """Say nothing."""
        return ""


class WrongGuidance(_Wrong, GuidanceRule):
    """Guides nothing."""

    def mix(self, unconditional, conditional, gamma):
        """Return the unconditional distribution."""
        if self.fault == "nan":
            return Guided(Logprobs(unconditional.values * float("nan")))
        return self.spoilt(Guided(unconditional))


class WrongPrompt(_Wrong, PromptBuilder):
    """Words a problem in its own words."""

    def build(self, problem):
        """Return the description and an open fence."""
        return self.spoilt(
            Prompt(before=problem.description, after="\n", response_prefix="```python\n")
        )


class WrongScorer(_Wrong, Scorer):
    """Passes everything."""

    async def score(self, problem, code, sandbox):
        """Say that every test passed."""
        results = [
            TestResult(name=test.name, status=TestStatus.PASSED, seconds=0.0)
            for test in problem.scoring_tests
        ]
        return self.spoilt(Score(results=results))
