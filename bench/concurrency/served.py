"""llama.cpp's own server: how it fares with several tasks in flight.

The server has a place for each of eight sequences. It runs in a process of its own, started anew
for each way, since it remembers prompts. Processor time is that of this process, the server and
candidates' programs not included.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Hashable, Sequence
from functools import partial
from pathlib import Path

from rounds import Flight, compare, fly
from tables import Report
from workbench import Workbench

from egcfg.errors import UsageError
from egcfg.interfaces.problem import Problem
from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.services import OpenAIBackend
from egcfg_backends_fireworks.testing import llama_server
from egcfg_backends_hf.loading.source import find_model

__all__ = ["add_arguments", "requested", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Add this part's options."""
    served = parser.add_argument_group("served")
    served.add_argument("--served-tasks", type=int, default=8)
    served.add_argument("--served-in-flight", type=int, nargs="+", default=[1, 8])
    served.add_argument("--parallel", type=int, default=8, help="sequences of the server")
    served.add_argument("--server-threads", type=int, default=1, help="they spin as they wait")


async def run(options: Namespace, report: Report) -> None:
    """Measure."""
    model = find_model(options.model)
    if not model.is_file:
        raise UsageError("llama.cpp serves .gguf files; choose one with --model")
    # One more than is measured, to warm up with.
    more = Namespace(**vars(options) | {"tasks": options.served_tasks + 1})

    async def way(in_flight: int) -> Flight:
        serving = llama_server(
            Path(model.location), parallel=options.parallel, threads=options.server_threads
        )
        with serving as address:
            backend = OpenAIBackend(EndpointOptions(model=model.name, base_url=f"{address}/v1"))
            async with Workbench.opened(more, backend) as bench:
                *problems, other = bench.problems
                await bench.decode(other, cold=False, max_tokens=24)
                return await requested(bench, problems, in_flight)

    ways = {f"{n} in flight": partial(way, n) for n in options.served_in_flight}
    title = f"llama.cpp, {model.name}, {options.served_tasks} tasks"
    await compare(report, title, ways, options.rounds)


async def requested(bench: Workbench, problems: Sequence[Problem], in_flight: int) -> Flight:
    """Decode problems through an endpoint."""
    requests = 0

    async def one(problem: Problem) -> Hashable:
        nonlocal requests
        generation = (await bench.decode(problem, cold=False)).generation
        requests += generation.total_usage.requests
        return generation.response

    flight = await fly([partial(one, problem) for problem in problems], in_flight)
    each = flight.counts["processor s"] / max(1, requests) * 1e3
    return flight.counting(requests=requests, **{"processor ms/request": each})
