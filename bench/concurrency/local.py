"""A local model: passes that tasks share, beside one task at a time and transformers' batches.

Three kinds of work on the same tasks: guided decoding; unguided decoding beside greedy ``generate``
(the same weights, each row ended where egcfg's text is over, so that all decode the same tokens);
and sampling alone, as many continuations of each prompt as there are candidates. Before each way
the backend forgets all that it computed. Peaks are those of the process, above what it holds once
the model is loaded and has worked.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from itertools import chain
from typing import Any

from attrs import evolve
from memory import MIB, peak, resident, start_peak
from peers import generate_batch
from rounds import Flight, Way, compare, fly
from tables import Report
from workbench import Decoded, Workbench, model_options

from egcfg.interfaces.backend import SampleRequest, SamplingParams
from egcfg.interfaces.problem import Problem
from egcfg_backends_hf.loading.load import load_model
from egcfg_backends_hf.options import HFOptions

__all__ = ["add_arguments", "run"]

Ids = tuple[int, ...]


def add_arguments(parser: ArgumentParser) -> None:
    """Add this part's options."""
    local = parser.add_argument_group("local")
    local.add_argument("--guided-rounds", type=int, default=1, help="they take minutes each")
    local.add_argument("--in-flight", type=int, nargs="+", default=[1, 4, 8, 16])
    local.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="of generate")
    local.add_argument("--larger-model", help="a second model: hub id, folder or .gguf file")
    local.add_argument("--larger-tasks", type=int, default=8)
    local.add_argument("--larger-tokens", type=int, default=40, help="of each response")
    local.add_argument("--larger-in-flight", type=int, nargs="+", default=[1, 8])


async def run(options: Namespace, report: Report) -> None:
    """Measure all three kinds with the model, and guided decoding with the larger one."""
    settings = HFOptions(**model_options(options))
    of_model = f"{settings.model_name}, {options.tasks} tasks"
    some = [n for n in options.in_flight if n in (min(options.in_flight), 8)]
    async with Workbench.opened(options) as bench:
        local = await _guided(bench, of_model, options, report)
        sampled = {f"{n} in flight": partial(local.sampled, n) for n in some}
        await compare(report, f"sampling alone, {of_model}", sampled, options.rounds)

        bare = load_model(settings).model
        local.rest()
        expected = (await local.decoded(8, gamma=0.0)).answers
        unguided: dict[str, Way] = {
            f"{n} in flight": partial(local.decoded, n, gamma=0.0) for n in some
        }
        for size in options.batches:
            unguided[f"generate, batch {size}"] = partial(local.generated, bare, size, expected)
        await compare(report, f"unguided, {of_model}", unguided, options.rounds)
        del bare, unguided
    if options.larger_model:
        larger = {
            "model": options.larger_model,
            "tasks": options.larger_tasks,
            "max_tokens": options.larger_tokens,
            "in_flight": options.larger_in_flight,
        }
        options = Namespace(**vars(options) | larger)
        settings = HFOptions(**model_options(options))
        of_model = f"{settings.model_name}, {options.tasks} tasks, {options.max_tokens} tokens"
        async with Workbench.opened(options) as bench:
            await _guided(bench, of_model, options, report)


async def _guided(bench: Workbench, of_model: str, options: Namespace, report: Report) -> _Local:
    # Kernels, working memory and the sandbox's server are made on first use.
    await bench.decode(bench.problems[0], max_tokens=24)
    local = _Local(bench)
    guided = {f"{n} in flight": partial(local.decoded, n) for n in options.in_flight}
    await compare(report, f"guided, {of_model}", guided, options.guided_rounds)
    return local


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
