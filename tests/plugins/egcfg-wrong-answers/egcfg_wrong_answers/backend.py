"""A model that doubles a number, and answers wrongly on request."""

import numpy as np
from attrs import evolve, frozen

from egcfg.interfaces.backend import Answer, Logprobs
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

ANSWER = "def f(x):\n    return x * 2\n```"


def _script(text):
    so_far = text.rpartition("```python\n")[2]
    return ANSWER[len(so_far) :] if ANSWER.startswith(so_far) else ""


@frozen
class Options:
    """Options of the backend.

    Attributes:
        fault: what is wrong with its scores: none, raises, few, nan or probabilities.
    """

    fault: str = ""


class WrongBackend(ScriptedBackend):
    """Follows a script."""

    Options = Options

    def __init__(self, options):
        super().__init__(ScriptedOptions(script=_script, noise=0.05))
        self.fault = options.fault

    async def score(self, requests):
        """Answer, or not."""
        answer = await super().score(requests)
        match self.fault:
            case "none":
                return None
            case "raises":
                raise RuntimeError("cannot\nthink")
            case "few":
                return evolve(answer, value=answer.value[:-1])
            case "nan":
                return Answer([[_spoilt(d) for d in row] for row in answer.value], answer.usage)
            case "probabilities":
                value = [[Logprobs(np.exp(d.values)) for d in row] for row in answer.value]
                return evolve(answer, value=value)
        return answer


def _spoilt(distribution):
    values = distribution.values.copy()
    values[3] = np.nan
    return Logprobs(values)
