"""Requests, bytes, tokens and seconds per generated line of code, through an endpoint.

    python bench/endpoint_requests.py [--gamma 0.7] [--tasks 2]

A Fireworks-shaped server on loopback serves the embedded model; every answer takes 0, 50 or 200 ms
on its way. The same tasks are solved in several ways with the same settings; a text that is not the
same is marked. *As the reference* asks for one token of one branch per request, one after the
other. The model's own time is left out: its answers are recorded in a first run, then replayed.
Round trips are seconds per line beyond those without latency, divided by the latency.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent / "measuring"))

from attrs import frozen
from recorded import Recorded

from egcfg.decoding.feedback import Feedback
from egcfg.decoding.loop import decode
from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.backend import Usage
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import Generation
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.testing.reference import reference_decode
from egcfg.usage.model import Model
from egcfg_backends_fireworks.fireworks_api import FireworksBackend
from egcfg_backends_fireworks.options import FireworksOptions
from egcfg_backends_fireworks.testing import LoopbackServer, ServedModel
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.loading.gguf import converted_folder
from egcfg_backends_hf.loading.source import find_model
from egcfg_backends_hf.options import HFOptions

LATENCIES_S = (0.0, 0.05, 0.2)
RUNS = 2
"""Per latency; the faster one counts."""
MAX_TOKENS = 96
PROMPT = "long_code"


@frozen
class Variant:
    """One way of asking.

    Attributes:
        name: as the table has it.
        options: the client's options.
        naive: whether one token of one branch is asked for at a time, as the method reads.
    """

    name: str
    options: dict[str, Any]
    naive: bool = False


SINGLE = {"drafts": "per_token", "speculated_tokens": 1}
VARIANTS = (
    Variant("as the reference", SINGLE, naive=True),
    Variant("both branches at once", SINGLE),
    Variant("and tokens speculated", {"drafts": "per_token"}),
    Variant("and drafts by echo", {}),
    Variant("and a local tokenizer", {"tokenizer": ""}),
)

HEADER = """\
per line of code          requests    bytes   tokens  cached   tokens   seconds at latency   round
                                       sent     sent        generated   0     50    200 ms   trips\
"""


@frozen
class Cost:
    """What some tasks took, executing candidates included; the probe is not in it."""

    texts: list[str]
    spent: Usage
    sent_bytes: int
    seconds: float

    @property
    def lines(self) -> int:
        """Lines of all texts."""
        return sum(text.count("\n") + 1 for text in self.texts)


async def solve(
    variant: Variant, server: LoopbackServer, problems: Sequence[Problem], gamma: float
) -> Cost:
    """Solve all problems one way."""
    options = dict(variant.options)
    if "tokenizer" in options:
        options["tokenizer"] = str(converted_folder(Path(find_model(None).location)))
    backend = FireworksBackend(FireworksOptions(model="m", base_url=server.address, **options))
    await backend.open()
    try:
        async with Sandbox() as sandbox:
            sent, started = server.received, time.perf_counter()
            solved = [await _solved(variant, backend, sandbox, p, gamma) for p in problems]
            seconds = time.perf_counter() - started
            texts, spent = zip(*solved, strict=True)
            return Cost(list(texts), sum(spent, Usage()), server.received - sent, seconds)
    finally:
        await backend.close()


async def _solved(
    variant: Variant, backend: FireworksBackend, sandbox: Sandbox, problem: Problem, gamma: float
) -> tuple[str, Usage]:
    """Return a response and what it cost."""
    prompt = create(Kind.PROMPT, PROMPT).build(problem)
    tracer = OpenComponent(Kind.TRACER, create(Kind.TRACER, "minimal"), "tracer minimal")
    model = Model(OpenComponent(Kind.BACKEND, backend, "backend fireworks"), problem.task_id)
    feedback = Feedback(tracer, sandbox, model)
    settings = DecodingSettings(gamma=gamma, max_tokens=MAX_TOKENS)
    if variant.naive:
        ids = await reference_decode(model, feedback, problem, prompt, settings)
    else:
        async for step in decode(model, feedback, problem, prompt, settings):
            if isinstance(step, Generation):
                ids = step.ids
    return await model.decode(ids), sum(model.usage.values(), Usage())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gamma", type=float, default=0.7)
    parser.add_argument("--tasks", type=int, default=2)
    arguments = parser.parse_args()
    problems = list(create(Kind.DATASET, "quickstart").problems())[: arguments.tasks]
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}")
    print(f"gamma {arguments.gamma}, {len(problems)} tasks, {MAX_TOKENS} tokens each at most\n")
    texts: list[str] | None = None
    print(HEADER)
    served = ServedModel(HFBackend(HFOptions()))
    recorded = Recorded(served)
    for variant in VARIANTS:
        with LoopbackServer(recorded) as server:

            def measured() -> Cost:
                return asyncio.run(solve(variant, server, problems, arguments.gamma))  # noqa: B023

            measured()  # records what is new
            costs = []
            for server.latency_s in LATENCIES_S:
                runs = [measured() for _ in range(RUNS)]
                costs.append(min(runs, key=lambda run: run.seconds))
        texts = texts or costs[0].texts
        same = all(cost.texts == texts for cost in costs)
        print(_row(variant.name, costs) + ("" if same else "  OTHER TEXTS"), flush=True)
    served.close()


def _row(name: str, costs: Sequence[Cost]) -> str:
    cost, lines, spent = costs[0], costs[0].lines, costs[0].spent
    cells = [
        f"{spent.requests / lines:9.1f}",
        f"{cost.sent_bytes / lines:9.0f}",
        f"{spent.input_tokens / lines:9.0f}",
        f"{spent.cached_tokens / max(1, spent.input_tokens):8.0%}",
        f"{spent.output_tokens / lines:9.0f}",
        *(f"{each.seconds / lines:8.2f}" for each in costs),
        f"{(costs[-1].seconds - costs[0].seconds) / lines / LATENCIES_S[-1]:8.1f}",
    ]
    return f"{name:24}" + "".join(cells)


if __name__ == "__main__":
    main()
