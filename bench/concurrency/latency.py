"""A server that is far away: every answer takes 200 ms on its way.

A Fireworks-shaped server on loopback, in a process of its own, serves the model. Its answers are
recorded in a first flight and replayed from then on: the model's own time is left out, as far as
the table says that it answered nothing. Processor time is that of this process: client and decoder,
the server and candidates' programs not included.
"""

from __future__ import annotations

import multiprocessing
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from attrs import frozen
from recorded import Recorded
from rounds import Flight, compare
from served import requested
from tables import Report
from workbench import Workbench, model_options

from egcfg_backends_fireworks.options import EndpointOptions
from egcfg_backends_fireworks.services import FireworksBackend
from egcfg_backends_fireworks.testing import LoopbackServer, ServedModel
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.loading.gguf import converted_folder
from egcfg_backends_hf.loading.source import find_model
from egcfg_backends_hf.options import HFOptions

__all__ = ["add_arguments", "run"]

PATIENCE_S = 3600.0
"""For an answer: while they are recorded, the model gives one after another."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add this part's options."""
    latency = parser.add_argument_group("latency")
    latency.add_argument("--latency", type=float, default=0.2, help="seconds")
    latency.add_argument("--latency-tasks", type=int, default=32)
    latency.add_argument("--latency-tokens", type=int, default=32, help="of each response")
    latency.add_argument("--latency-in-flight", type=int, nargs="+", default=[1, 4, 16, 32])


async def run(options: Namespace, report: Report) -> None:
    """Measure."""
    model = find_model(options.model)
    folder = converted_folder(Path(model.location)) if model.is_file else Path(model.location)
    fewer = {"tasks": options.latency_tasks, "max_tokens": options.latency_tokens}
    most = max(options.latency_in_flight)
    with _far_away(model_options(options), options.latency) as server:

        async def way(in_flight: int) -> Flight:
            settings = EndpointOptions(
                model=model.name,
                base_url=server.address,
                tokenizer=str(folder),
                max_concurrency=most,
                timeout_s=PATIENCE_S,
                attempt_timeout_s=PATIENCE_S,
            )
            recorded = server.recorded()
            backend = FireworksBackend(settings)  # anew: one remembers what it was told
            async with Workbench.opened(Namespace(**vars(options) | fewer), backend) as bench:
                flight = await requested(bench, bench.problems, in_flight)
            return flight.counting(**{"answered by the model": server.recorded() - recorded})

        found = await way(2)
        report.progress(f"{found.counts['answered by the model']} answers are recorded")
        ways = {f"{n} in flight": partial(way, n) for n in options.latency_in_flight}
        title = f"{options.latency * 1e3:g} ms away, {len(found.answers)} tasks"
        await compare(report, title, ways, options.rounds)


@frozen
class _FarAway:
    """The process of a server.

    Attributes:
        address: where it listens.
    """

    address: str
    _connection: Connection

    def recorded(self) -> int:
        """Return how many answers are recorded."""
        self._connection.send(True)
        return int(self._connection.recv())


@contextmanager
def _far_away(model: dict[str, Any], latency_s: float) -> Iterator[_FarAway]:
    """Serve a model in a process of its own."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(model, latency_s, there))
    process.start()
    try:
        yield _FarAway(here.recv(), here)
    finally:
        here.send(False)
        process.join()


def _serve(model: dict[str, Any], latency_s: float, connection: Connection) -> None:
    served = ServedModel(HFBackend(HFOptions(**model)))
    recorded = Recorded(served)
    with LoopbackServer(recorded, latency_s=latency_s) as server:
        connection.send(server.address)
        while connection.recv():
            connection.send(len(recorded.answers))
    served.close()
