"""A plugin whose backend answers what its options say: the command line without a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from egcfg import Component, Kind, hookimpl
from egcfg.errors import BackendError
from egcfg.interfaces.backend import Answer, Continuation, Logprobs, SampleRequest, ScoreRequest
from egcfg.testing.answering import AnsweringBackend
from egcfg.testing.scripted import ScriptedBackend, ScriptedOptions

FENCE = "```python\n"


@hookimpl
def egcfg_components() -> list[Component]:
    """Return the backend."""
    return [
        Component(
            kind=Kind.BACKEND,
            name="scripted",
            target="egcfg_scripted:Answering",
            summary="answers what it is told to answer",
        ),
        Component(
            kind=Kind.BACKEND,
            name="textual",
            target="egcfg_scripted:Textual",
            summary="the same, as text alone",
        ),
    ]


@frozen(kw_only=True)
class Options:
    r"""What to answer.

    Attributes:
        code: the answer's code, with ``\n`` spelt out.
        model: name of the model.
        fails: whether every question fails.
        seconds_per_question: how long each takes.
        noisy: whether the backend prints to standard output, as libraries do.
        stubborn: whether a question holds the event loop, so that it cannot be cancelled.
    """

    code: str = "def f(x):\\n    return x * x"
    model: str | None = None
    fails: bool = False
    seconds_per_question: float = 0.0
    noisy: bool = False
    stubborn: bool = False

    @property
    def model_name(self) -> str | None:
        """As local backends have it: a folder by its own name, wherever it is."""
        return None if self.model is None else Path(self.model).name


class Answering(ScriptedBackend):
    """Continues the last open fence with the code of its options."""

    Options = Options

    def __init__(self, options: Options) -> None:
        super().__init__(ScriptedOptions(script=self._next, noise=0.05))
        self.answer = options.code.replace("\\n", "\n") + "\n```"
        self.given = options

    @property
    def model_name(self) -> str:
        return self.given.model_name or "scripted"

    def _next(self, text: str) -> str:
        so_far = text.rpartition(FENCE)[2]
        return self.answer[len(so_far) :] if self.answer.startswith(so_far) else ""

    async def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        await self._be_asked()
        return await super().score(requests)

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        await self._be_asked()
        return await super().sample(requests)

    async def _be_asked(self) -> None:
        if self.given.fails:
            raise BackendError("the model is out to lunch; try again later")
        if self.given.noisy:
            print("a library says hello", flush=True)  # noqa: T201 - what is tested
        if self.given.stubborn:
            time.sleep(self.given.seconds_per_question)
        await asyncio.sleep(self.given.seconds_per_question)


class Textual(AnsweringBackend):
    """Answers every question with the code of its options, and tells no log-probabilities."""

    Options = Options

    def __init__(self, options: Options) -> None:
        code = options.code.replace("\\n", "\n")
        super().__init__(AnsweringBackend.Options([f"{FENCE}{code}\n```\n"]))
