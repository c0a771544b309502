"""Requests per generated line of code, for each kind of server.

    python bench/endpoint_requests.py [--gamma 0.5 1 1.5 3] [--tasks 12] [--kind llama.cpp chat]

The embedded model is served by llama.cpp's own server. That is the first kind; the others are
played in front of it, each in the shape that its documentation or source has. Every request is
counted, those of the probe apart. *Changed* are the tokens that guidance changed.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from egcfg.decoding.feedback import Feedback
from egcfg.decoding.loop import decode
from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.backend import Answer, Continuation, SampleRequest, Usage
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import Generation
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.usage.model import Model
from egcfg_backends_fireworks.endpoint import EndpointBackend
from egcfg_backends_fireworks.options import FireworksOptions, OpenAIOptions
from egcfg_backends_fireworks.services import FireworksBackend, OpenAIBackend
from egcfg_backends_fireworks.testing import LoopbackServer, ServedModel, Shape, llama_server
from egcfg_backends_fireworks.wire import Prefill
from egcfg_backends_hf.loading.source import find_model

GAMMAS = (0.5, 1.0, 1.5, 3.0)
PATIENCE = {"timeout_s": 3600.0, "attempt_timeout_s": 3600.0}
CHAT = Shape(
    completions="ignored",
    chat="boolean",
    most_alternatives=20,
    prefill=Prefill.LAST,
    names="text",
    takes_ids="",
    echoes=False,
)


@frozen
class Kindred:
    """A kind of server.

    Attributes:
        name: as the table has it.
        shape: how it is played; None: it is llama.cpp's own server.
        options: the client's.
        prompt: the prompt builder.
    """

    name: str
    shape: Shape | None = None
    options: dict[str, Any] = field(factory=dict)
    prompt: str = "chat"


KINDS = (
    Kindred("llama.cpp, completions"),
    Kindred("llama.cpp, chat", options={"route": "chat"}),
    Kindred("Fireworks: echo, batches", Shape(), prompt="long_code"),
    Kindred(
        "vLLM: ids, batches",
        Shape(completions="coerced", most_alternatives=20, routes=True, echoes=False),
    ),
    Kindred("vLLM, gateways: chat, n", CHAT),
    Kindred("Ollama, DeepSeek: chat", evolve(CHAT, several=False)),
    Kindred(
        "mlx-lm: text completions",
        Shape(
            completions="boolean",
            most_alternatives=11,
            names="text",
            takes_ids="",
            several=False,
            echoes=False,
        ),
        prompt="long_code",
    ),
)


class Remembering(OpenAIBackend):
    """The model behind what is played: what it sampled once, for any of them, it need not again."""

    def __init__(self, options: OpenAIOptions) -> None:
        super().__init__(options)
        self._sampled: dict[tuple[SampleRequest, ...], Answer[list[list[Continuation]]]] = {}

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        """Return the continuations of each request."""
        key = tuple(requests)
        if key not in self._sampled:
            self._sampled[key] = await super().sample(requests)
        return self._sampled[key]


@contextmanager
def _served(kind: Kindred, address: str, played: ServedModel) -> Iterator[EndpointBackend]:
    """Give a backend in front of one kind of server."""
    options = {"model": "m", **PATIENCE, **kind.options}
    if kind.shape is None:
        yield OpenAIBackend(OpenAIOptions(base_url=f"{address}/v1", fresh=True, **options))
        return
    played.shape = kind.shape
    with LoopbackServer(played, others=played.others) as server:
        if kind.shape.completions == "either":
            yield FireworksBackend(FireworksOptions(base_url=server.address, **options))
        else:
            yield OpenAIBackend(OpenAIOptions(base_url=f"{server.address}/v1", **options))


async def _row(
    backend: EndpointBackend, problems: Sequence[Problem], gamma: float, prompt: str
) -> str:
    probe = (await backend.open()).requests
    lines = changed = 0
    spent = Usage()
    try:
        async with Sandbox() as sandbox:
            for problem in problems:
                generation = await _solved(backend, sandbox, problem, gamma, prompt)
                lines += generation.response.count("\n") + 1
                changed += generation.tokens_changed
                spent += generation.total_usage
    finally:
        await backend.close()
    cells = [lines, changed / lines, probe, spent.requests / lines, spent.output_tokens / lines]
    return f"{cells[0]:6d}{cells[1]:9.2f}{cells[2]:7d}{cells[3]:10.2f}{cells[4]:9.0f}"


async def _solved(
    backend: EndpointBackend, sandbox: Sandbox, problem: Problem, gamma: float, prompt: str
) -> Generation:
    tracer = OpenComponent(Kind.TRACER, create(Kind.TRACER, "minimal"), "tracer minimal")
    model = Model(OpenComponent(Kind.BACKEND, backend, "the endpoint"), problem.task_id)
    feedback = Feedback(tracer, sandbox, model)
    rule = OpenComponent(Kind.GUIDANCE, create(Kind.GUIDANCE, "cfg"), "the rule")
    settings = DecodingSettings(gamma=gamma, max_tokens=96)
    worded = create(Kind.PROMPT, prompt).build(problem)
    *_, last = [s async for s in decode(model, feedback, rule, problem, worded, settings)]
    assert isinstance(last, Generation)
    return last


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gamma", type=float, nargs="+", default=GAMMAS)
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--kind", nargs="+", default=[""], help="parts of names")
    parser.add_argument("-o", dest="options", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    problems = list(create(Kind.DATASET, "quickstart").problems())[: arguments.tasks]
    given = dict(option.split("=", 1) for option in arguments.options)
    print(f"{len(problems)} tasks, 96 tokens each at most; per line of code")
    print(f"{'server':30}gamma {'lines':>6}{'changed':>9}{'probe':>7}{'requests':>10}{'tokens':>9}")
    with llama_server(Path(find_model(None).location)) as address:
        real = OpenAIOptions(model="m", base_url=f"{address}/v1", speculated_tokens=1, **PATIENCE)
        played = ServedModel(Remembering(real))
        for gamma, kind in product(arguments.gamma, KINDS):
            if not any(part in kind.name for part in arguments.kind):
                continue
            kind.options.update({k: int(v) if v.isdigit() else v for k, v in given.items()})
            with _served(kind, address, played) as backend:
                row = asyncio.run(_row(backend, problems, gamma, kind.prompt))
                print(f"{kind.name:30}{gamma:5}{row}", flush=True)
        played.close()


if __name__ == "__main__":
    main()
