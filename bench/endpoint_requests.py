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
import json
import platform
import threading
import time
from collections.abc import Sequence
from typing import Any

from attrs import define, field, frozen

from egcfg.decoding.feedback import SignalBuilder
from egcfg.decoding.loop import Decoder
from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.backend import Usage
from egcfg.interfaces.problem import Problem
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.testing.reference import reference_decode
from egcfg_backends_fireworks.fireworks import FireworksBackend
from egcfg_backends_fireworks.options import FireworksOptions
from egcfg_backends_fireworks.testing import Answer, LoopbackServer, ServedModel
from egcfg_backends_hf.backend import HFBackend, HFOptions
from egcfg_backends_hf.model_source import find_model

LATENCIES_S = (0.0, 0.05, 0.2)
RUNS = 2
"""Per latency; the faster one counts."""
MAX_TOKENS = 96
PROMPT = "long_code"


@frozen
class Way:
    """One way of asking.

    Attributes:
        name: as the table has it.
        options: the client's options.
        naive: whether one token of one branch is asked for at a time, as the method reads.
    """

    name: str
    options: dict[str, Any]
    naive: bool = False


WAYS = (
    Way("as the reference", {"drafts": "per_token", "lookahead": 1}, naive=True),
    Way("both branches at once", {"drafts": "per_token", "lookahead": 1}),
    Way("and looking ahead", {"drafts": "per_token"}),
    Way("and drafts by echo", {}),
    Way("and a local tokenizer", {"tokenizer": ""}),
)

HEADER = """\
per line of code          requests    bytes   tokens  cached   tokens   seconds at latency   round
                                       sent     sent        generated   0     50    200 ms   trips\
"""


@define
class Recorded:
    """Answers what was asked before as it was answered then, without the model."""

    model: ServedModel
    answers: dict[str, Answer] = field(factory=dict)
    lock: threading.Lock = field(factory=threading.Lock)

    def __call__(self, request: dict[str, Any]) -> Answer:
        """Answer one request."""
        # A cache key is made anew by every client.
        key = json.dumps({k: v for k, v in request.items() if k != "prompt_cache_key"})
        with self.lock:
            if key not in self.answers:
                self.answers[key] = self.model(request)
            return self.answers[key]


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


def solve(way: Way, server: LoopbackServer, problems: Sequence[Problem], gamma: float) -> Cost:
    """Solve all problems one way."""
    options = dict(way.options)
    if "tokenizer" in options:
        options["tokenizer"] = find_model(None).location
    chosen = FireworksOptions(model="m", base_url=server.address, **options)
    with FireworksBackend(chosen) as backend, Sandbox() as sandbox:
        backend.probe()
        before, bytes_before = backend.usage, server.received
        started = time.perf_counter()
        texts = [_text(way, backend, sandbox, problem, gamma) for problem in problems]
        seconds = time.perf_counter() - started
        sent_bytes = server.received - bytes_before
        return Cost(texts, backend.usage - before, sent_bytes, seconds)


def _text(
    way: Way, backend: FireworksBackend, sandbox: Sandbox, problem: Problem, gamma: float
) -> str:
    prompt = create(Kind.PROMPT, PROMPT).build(problem, backend.render_chat)
    signals = SignalBuilder(create(Kind.TRACER, "minimal"), sandbox, backend.count_tokens)
    settings = DecodingSettings(gamma=gamma, max_tokens=MAX_TOKENS)
    if way.naive:
        ids = reference_decode(backend, signals, problem, prompt, settings)
    else:
        steps = Decoder(backend, signals, problem, prompt, settings).run()
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                ids = stop.value.ids
                break
    return backend.decode(ids)


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
    with HFBackend(HFOptions()) as model:
        recorded = Recorded(ServedModel(model))
        for way in WAYS:
            with LoopbackServer(recorded) as server:
                solve(way, server, problems, arguments.gamma)  # records what is new
                costs = []
                for server.latency_s in LATENCIES_S:
                    runs = [solve(way, server, problems, arguments.gamma) for _ in range(RUNS)]
                    costs.append(min(runs, key=lambda run: run.seconds))
            texts = texts or costs[0].texts
            same = all(cost.texts == texts for cost in costs)
            print(_row(way.name, costs) + ("" if same else "  OTHER TEXTS"), flush=True)


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
