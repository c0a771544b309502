"""Opens what every measurement needs, decodes one problem, and describes the machine."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import time
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from attrs import evolve, frozen

from egcfg.datasets.selection import open_dataset
from egcfg.decoding.feedback import Feedback
from egcfg.decoding.loop import decode
from egcfg.decoding.settings import DecodingSettings
from egcfg.interfaces.backend import LogprobBackend
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.prompt import Prompt, PromptBuilder
from egcfg.interfaces.solution import Generation, LineStep
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox import Sandbox
from egcfg.usage.model import Model

__all__ = ["Decoded", "Stopwatch", "Workbench", "add_options", "machine"]

T = TypeVar("T")


def add_options(parser: ArgumentParser) -> None:
    """Add the options that every measurement takes."""
    model = parser.add_argument_group("model")
    model.add_argument("--model", help="hub id, folder or .gguf file (default: the embedded one)")
    model.add_argument("--device", default="auto")
    model.add_argument("--dtype", default="auto")
    model.add_argument("--weights", default="auto", help="of egcfg's backend (backend.weights)")
    model.add_argument("--threads", type=int)
    tasks = parser.add_argument_group("problems")
    tasks.add_argument("--data", type=Path, help="mbpp.jsonl[.gz] (default: the quickstart set)")
    tasks.add_argument("--tasks", type=int, default=6, help="how many, from the first")
    guidance = parser.add_argument_group("guidance")
    guidance.add_argument("--prompt", default="chat")
    guidance.add_argument("--tracer", default="full")
    guidance.add_argument("--gamma", type=float, default=1.5)
    guidance.add_argument("-s", "--candidates", type=int, default=3)
    guidance.add_argument("-d", "--horizon", type=int, default=2)
    guidance.add_argument("-t", "--temperature", type=float, default=0.7)
    guidance.add_argument("--max-tokens", type=int, default=120)
    guidance.add_argument("--signal-tokens", type=int, default=DecodingSettings().signal_tokens)
    guidance.add_argument("--no-reuse", action="store_true", help="sample every candidate anew")


class Stopwatch:
    """Seconds of one piece of work: CUDA events on a GPU, the clock elsewhere.

    Attributes:
        seconds: set once the work is over.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what happens inside."""
        if torch.cuda.is_available():
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            first.record()
            yield
            last.record()
            torch.cuda.synchronize()
            self.seconds = first.elapsed_time(last) / 1e3
        else:
            started = time.perf_counter()
            yield
            self.seconds = time.perf_counter() - started


@frozen
class Decoded:
    """One decoding, and how long it took from the prompt's text on."""

    prompt: Prompt
    steps: tuple[LineStep, ...]
    generation: Generation
    seconds: float

    @property
    def guided_lines(self) -> int:
        """Lines that a signal guided."""
        return sum(step.signal is not None for step in self.steps)

    @property
    def guided_tokens(self) -> int:
        """Their tokens."""
        return sum(len(step.tokens) for step in self.steps if step.signal is not None)


@frozen
class Workbench:
    """A model and everything around it.

    Attributes:
        model: egcfg's own backend, asked for no task in particular.
        sandbox: where candidates run.
        tracer: watches them.
        prompts: words the problems.
        problems: what is solved.
        settings: how.
    """

    model: Model
    sandbox: Sandbox
    tracer: OpenComponent
    prompts: PromptBuilder
    problems: tuple[Problem, ...]
    settings: DecodingSettings

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, options: Namespace, backend: LogprobBackend | None = None
    ) -> AsyncIterator[Workbench]:
        """Open what `options` (see `add_options`) name, and close it afterwards.

        Args:
            options: the command's.
            backend: the model; None: what `options` name.
        """
        data = open_dataset("mbpp" if options.data else "quickstart", options.data, {})
        settings = DecodingSettings(
            gamma=options.gamma,
            candidates=options.candidates,
            horizon=options.horizon,
            temperature=options.temperature,
            signal_tokens=options.signal_tokens,
            max_tokens=options.max_tokens,
            reuse_candidates=not options.no_reuse,
        )
        backend = backend or create(Kind.BACKEND, "hf", model_options(options))
        component = OpenComponent(Kind.BACKEND, backend, "the model")
        tracer = create(Kind.TRACER, options.tracer)
        await component.call("open")
        try:
            async with Sandbox() as sandbox:
                await sandbox.canary()  # its server takes a while to start
                yield cls(
                    model=Model(component, "bench"),
                    sandbox=sandbox,
                    tracer=OpenComponent(Kind.TRACER, tracer, "the tracer"),
                    prompts=create(Kind.PROMPT, options.prompt),
                    problems=tuple(data.problems()[: options.tasks]),
                    settings=settings,
                )
        finally:
            await component.call("close")

    async def run(self, decoding: Coroutine[Any, Any, T], *, cold: bool = True) -> T:
        """Run a decoding in a task of its own: with the task, the backend is done with it.

        Args:
            decoding: what to run.
            cold: whether the backend forgets every earlier problem first; in a run it does not, and
                what the problems' prompts begin with alike is read once.
        """
        if cold:
            await self.forget()
        return await asyncio.create_task(decoding)

    async def forget(self) -> None:
        """Let the backend forget every earlier problem, so that the next one starts cold."""
        gc.collect()
        await asyncio.sleep(0)  # so that the backend, too, knows of a task that it is done
        self.model.backend.instance._open_model.lanes.forget_idle()

    async def decode(
        self,
        problem: Problem,
        *,
        prompt: Prompt | None = None,
        feedback: Callable[[OpenComponent, Sandbox, Model], Feedback] = Feedback,
        cold: bool = True,
        **changes: Any,
    ) -> Decoded:
        """Decode a problem.

        Args:
            problem: what is asked.
            prompt: its wording; None: as the prompt builder words it.
            feedback: makes what makes the signals.
            cold: see `run`.
            changes: to the settings.
        """
        settings = evolve(self.settings, **changes)
        prompt = prompt or self.prompts.build(problem)
        model = Model(self.model.backend, problem.task_id)
        signals = feedback(self.tracer, self.sandbox, model)
        running = decode(model, signals, problem, prompt, settings)
        return await self.run(_decoded(prompt, running), cold=cold)


async def _decoded(prompt: Prompt, running: AsyncIterator[Any]) -> Decoded:
    watch = Stopwatch()
    with watch.running():
        *steps, generation = [step async for step in running]
    return Decoded(prompt, tuple(steps), generation, watch.seconds)


def model_options(options: Namespace, **changes: Any) -> dict[str, Any]:
    """Return the options of the backend ``hf``."""
    names = ("model", "device", "dtype", "weights", "threads")
    return {name: getattr(options, name) for name in names} | changes


def machine() -> dict[str, Any]:
    """Return what the figures depend on, besides the command."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load before": [round(load, 1) for load in os.getloadavg()],
        "torch": torch.__version__,
        "torch threads": torch.get_num_threads(),
        "transformers": transformers.__version__,
        "Python": platform.python_version(),
    }
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
