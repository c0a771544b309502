"""A local model: passes that tasks share, beside one task at a time and transformers' batches.

Three kinds of work on the same tasks: guided decoding; unguided decoding beside greedy ``generate``
(the same weights, each row ended where egcfg's text is over, so that all decode the same tokens);
and sampling alone, as many continuations of each prompt as there are candidates. Before each way
the backend forgets all that it computed. Peaks are those of the process, above what it holds once
the model is loaded and has worked.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain
from typing import Any

from attrs import evolve
from memory import MIB, peak, resident, start_peak
from peers import generate_batch, open_bare
from rounds import Flight, Way, compare, fly
from tables import Report
from workbench import Decoded, Workbench, model_options

from egcfg.interfaces.backend import SampleRequest, SamplingParams
from egcfg.interfaces.problem import Problem
from egcfg_backends_hf.options import HFOptions

__all__ = ["add_arguments", "run"]

Ids = tuple[int, ...]


def add_arguments(parser: ArgumentParser) -> None:
    """Add this part's options."""
    local = parser.add_argument_group("local")
    local.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    local.add_argument("--guided-rounds", type=int, default=1, help="they take minutes each")
    local.add_argument("--in-flight", type=int, nargs="+", default=[1, 4, 8, 16])
    local.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="of generate")
    local.add_argument("--larger-model", help="a second model: hub id, folder or .gguf file")
    local.add_argument("--larger-tasks", type=int, default=8)
    local.add_argument("--larger-tokens", type=int, default=40, help="of each response")
    local.add_argument("--larger-in-flight", type=int, nargs="+", default=[1, 8])


async def run(options: Namespace, report: Report) -> None:
    """Measure all kinds of work with the model, and guided decoding with the larger one."""
    async with _opened(options) as local:
        for kind in options.kinds:
            await KINDS[kind](local, options, report)
    if options.larger_model and "guided" in options.kinds:
        larger = {
            "model": options.larger_model,
            "tasks": options.larger_tasks,
            "max_tokens": options.larger_tokens,
            "in_flight": options.larger_in_flight,
        }
        options = Namespace(**vars(options) | larger)
        async with _opened(options) as local:
            await _guided(local, options, report)


@asynccontextmanager
async def _opened(options: Namespace) -> AsyncIterator[_Local]:
    async with Workbench.opened(options) as bench:
        # Kernels, working memory and the sandbox's server are made on first use.
        await bench.decode(bench.problems[0], max_tokens=24)
        yield _Local(bench)


async def _guided(local: _Local, options: Namespace, report: Report) -> None:
    ways = {f"{n} in flight": partial(local.decoded, n) for n in options.in_flight}
    await compare(report, _title("guided", options), ways, options.guided_rounds)


async def _sampling(local: _Local, options: Namespace, report: Report) -> None:
    ways = {f"{n} in flight": partial(local.sampled, n) for n in _some(options)}
    await compare(report, _title("sampling alone", options), ways, options.rounds)


async def _unguided(local: _Local, options: Namespace, report: Report) -> None:
    model = open_bare(HFOptions(**model_options(options)))
    local.rest()
    expected = (await local.decoded(max(options.in_flight), gamma=0.0)).answers
    ways: dict[str, Way] = {
        f"{n} in flight": partial(local.decoded, n, gamma=0.0) for n in _some(options)
    }
    for size in options.batches:
        ways[f"generate, batch {size}"] = partial(local.generated, model, size, expected)
    await compare(report, _title("unguided", options), ways, options.rounds)


KINDS = {"guided": _guided, "sampling": _sampling, "unguided": _unguided}


def _title(kind: str, options: Namespace) -> str:
    name = HFOptions(**model_options(options)).model_name
    return f"{kind}, {name}, {options.tasks} tasks of {options.max_tokens} tokens"


def _some(options: Namespace) -> list[int]:
    """Return the numbers in flight that `generate` has counterparts of."""
    return [n for n in options.in_flight if n in (min(options.in_flight), 8)]


class _Local:
    """The ways of a local model.

    Args:
        bench: the model, and what it is asked.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._model = bench.model.backend.instance._open_model.model
        self.rest()

    def rest(self) -> None:
        """Take what the process holds now for what it holds at rest."""
        self._at_rest = resident()

    async def decoded(self, in_flight: int, **changes: Any) -> Flight:
        """Decode all tasks."""
        near_ties = 0

        async def one(problem: Problem) -> Ids:
            nonlocal near_ties
            found: Decoded = await self._bench.decode(problem, cold=False, **changes)
            near_ties += found.generation.near_ties
            return found.generation.ids

        flight = await self._flown(one, in_flight)
        return flight.counting(**{"near-ties": near_ties})

    async def sampled(self, in_flight: int) -> Flight:
        """Sample continuations of all prompts."""
        settings = self._bench.settings
        params = SamplingParams(
            temperature=settings.temperature, max_tokens=settings.max_tokens, seed=settings.seed
        )

        async def one(problem: Problem) -> tuple[Ids, ...]:
            prompt = self._bench.prompts.build(problem).unconditional()
            ids = await self._bench.model.encode(prompt)
            request = SampleRequest(ids, settings.candidates, params)
            [found] = await self._bench.model.sample([request])
            return tuple(continuation.ids for continuation in found)

        return await self._flown(one, in_flight)

    async def generated(self, model: Any, size: int, expected: Sequence[Ids]) -> Flight:
        """Let transformers decode all tasks in batches of `size`, to the length of `expected`."""
        prompts = [
            await self._bench.model.encode(self._bench.prompts.build(problem).unconditional())
            for problem in self._bench.problems
        ]
        lengths = [len(ids) for ids in expected]
        batches = [slice(start, start + size) for start in range(0, len(prompts), size)]

        async def one(batch: slice) -> tuple[Ids, ...]:
            return generate_batch(model, prompts[batch], lengths[batch])

        await self._bench.forget()
        start_peak()
        flight = await fly([partial(one, batch) for batch in batches], 1)
        passes = sum(max(lengths[batch]) for batch in batches)
        return evolve(flight, answers=list(chain.from_iterable(flight.answers))).counting(
            passes=passes, **{"peak, MiB": self._peak()}
        )

    async def _flown(self, one: Callable[[Problem], Awaitable[Hashable]], in_flight: int) -> Flight:
        await self._bench.forget()
        start_peak()
        passes, tokens = self._model.passes, self._model.tokens
        jobs = [partial(one, problem) for problem in self._bench.problems]
        flight = await fly(jobs, in_flight)
        passes, tokens = self._model.passes - passes, self._model.tokens - tokens
        return flight.counting(
            passes=passes, **{"tokens/pass": tokens / passes, "peak, MiB": self._peak()}
        )

    def _peak(self) -> float:
        return (peak() - self._at_rest) / MIB
