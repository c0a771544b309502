"""Time on a GPU: a model of 1.3B shape in bfloat16, plain and guided, one task and many.

Speed does not depend on the weights, but how often drafts are accepted depends on the text, and a
random model writes no code. So a small real model (the embedded one) is put into a frame of the
large shape: its weights in the corner of the large ones, zeros elsewhere. It computes with all of
them, and writes what the small one writes.

Plain ``generate`` and transformers' guidance processor write the text that egcfg wrote alone. Of
each way: tokens and passes per second, the device's time per pass (CUDA events around the model's
own code) and what is left of the time, in which the device waits for the host; and which share of
the memory's bandwidth, as a copy of a large tensor reaches it, reading all weights once per pass
comes to. After ``--minutes`` nothing new begins: what there is no time for is named.

Without a GPU the command says so and ends. ``--hidden 640 --intermediate 1600`` runs it on the CPU,
in float32: that shows that it works, and nothing else. It has never run on a GPU.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from typing import Any

import torch
from attrs import evolve
from peers import generate
from speed import FixedFeedback
from tables import Report
from transformers import LlamaConfig, LlamaForCausalLM
from workbench import Stopwatch, Workbench, model_options

from egcfg.decoding.settings import GuidanceUnit
from egcfg.errors import UsageError
from egcfg_backends_hf.loading.gguf import quiet_transformers
from egcfg_backends_hf.loading.load import load_model
from egcfg_backends_hf.options import HFOptions

__all__ = ["add_arguments", "framed", "run"]

HIDDEN, INTERMEDIATE = 2048, 4096  # with the embedded model's 30 layers: 1.36 billion weights

COPIED = 2**28
"""Numbers of the tensor whose copy says what the memory's bandwidth is: 1 GiB of float32."""

COLUMNS = (
    "way",
    "tokens",
    "seconds",
    "tokens/s",
    "passes",
    "passes/s",
    "device, ms/pass",
    "the rest, ms/pass",
    "share of the bandwidth, %",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--hidden", type=int, default=HIDDEN)
    parser.add_argument("--intermediate", type=int, default=INTERMEDIATE)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--minutes", type=float, default=8, help="after which nothing new begins")


async def run(options: Namespace, report: Report) -> None:
    """Measure."""
    cuda = torch.cuda.is_available()
    if not cuda and options.hidden == HIDDEN:
        report.say("torch sees no GPU here; nothing was measured")
        return
    over = time.monotonic() + 60 * options.minutes
    settings = HFOptions(model=options.model, device="cpu", weights="plain")
    small = load_model(settings)
    large = framed(small.model, options.hidden, options.intermediate)
    weights = sum(parameter.numel() for parameter in large.parameters())
    report.say(f"{settings.model_name} in a frame of {weights / 1e9:.2f} billion weights")
    with tempfile.TemporaryDirectory() as folder:
        with quiet_transformers():
            large.to(torch.bfloat16 if cuda else torch.float32).save_pretrained(folder)
            small.tokenizer.save_pretrained(folder)
        del small, large
        options.model, options.weights = folder, "plain"
        options.device = "cuda" if cuda else "cpu"
        async with Workbench.opened(options) as bench:
            ways = Ways(bench, options, report)
            try:
                await ways.alone()
                for count in options.in_flight:
                    if time.monotonic() < over:
                        await ways.in_flight(count)
                    else:
                        minutes = f"{options.minutes:g} minutes"
                        report.say(f"{count} in flight: left out, {minutes} are over")
            finally:  # what was measured before memory ran out is of use as well
                report.table("time per pass", COLUMNS, ways.rows)


class Ways:
    """The ways to decode that are measured.

    Args:
        bench: the model, and what it is asked.
        options: the command's.
        report: is told how far the work has come.

    Attributes:
        rows: what was found, see `COLUMNS`.
    """

    def __init__(self, bench: Workbench, options: Namespace, report: Report) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self._bench = bench
        self._report = report
        self._model = bench.model.backend.instance._open_model.model.model
        self._bare = load_model(HFOptions(**model_options(options))).model
        self._bandwidth = _bandwidth(self._model.device)
        self._bytes = sum(p.numel() * p.element_size() for p in self._model.parameters())
        report.say(f"a copy moves {self._bandwidth / 1e9:,.0f} GB/s")

    async def alone(self) -> None:
        """Measure transformers' ways on the text of one task, with a fixed signal where guided."""
        bench, problem = self._bench, self._bench.problems[0]
        guided = await bench.decode(problem)  # kernels and working memory are made on first use
        prompt = await bench.model.encode(guided.prompt.unconditional())
        ids = guided.generation.ids
        generate(self._bare, prompt, 4)
        with self._timed(self._bare, "generate, greedy", len(ids)):
            generate(self._bare, prompt, len(ids), forced=ids)
        signal = next((s.signal for s in guided.steps if s.signal and s.signal.text), None)
        if signal is None:
            self._report.say("no signal in the first task: nothing to hold guidance against")
            return
        conditional = await bench.model.encode(guided.prompt.conditional(signal.text))
        strength = bench.settings.gamma
        with self._timed(self._bare, "generate, guidance processor", len(ids)):
            generate(self._bare, conditional, len(ids), forced=ids, guidance=(strength, prompt))
        feedback = partial(FixedFeedback, fixed=signal)
        with self._timed(self._model, "egcfg, the same signal", None) as tokens:
            fixed = await bench.decode(problem, feedback=feedback, unit=GuidanceUnit.PREFIX)
            tokens.append(len(fixed.generation.ids))

    async def in_flight(self, count: int) -> None:
        """Measure guided decoding of so many tasks at once; problems repeat where they are few."""
        problems = list(islice(cycle(self._bench.problems), count))
        await self._bench.forget()
        with self._timed(self._model, f"egcfg, guided, {count} in flight", None) as tokens:
            found = await asyncio.gather(
                *(
                    self._bench.decode(
                        evolve(problem, task_id=f"{problem.task_id}/{number}"), cold=False
                    )
                    for number, problem in enumerate(problems)
                )
            )
            tokens.extend(len(each.generation.ids) for each in found)

    @contextmanager
    def _timed(self, model: Any, way: str, tokens: int | None) -> Iterator[list[int]]:
        """Measure what happens inside; the tokens are those that are added to the list."""
        self._report.progress(way)
        written = [] if tokens is None else [tokens]
        passes = PassTimes(model)
        watch = Stopwatch()
        with passes, watch.running():
            yield written
        count, spent = max(1, passes.count), passes.seconds
        limit = self._bytes / self._bandwidth
        self.rows.append(
            (
                way,
                sum(written),
                watch.seconds,
                sum(written) / watch.seconds,
                passes.count,
                passes.count / watch.seconds,
                1e3 * spent / count,
                1e3 * (watch.seconds - spent) / count,
                100 * limit * passes.count / watch.seconds,
            )
        )


class PassTimes:
    """Counts a model's passes, and the time that the device spends on them.

    Args:
        model: the transformers model.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._marks: list[Any] = []

    def __enter__(self) -> None:
        self._hooks = [
            self._model.register_forward_pre_hook(lambda *_: self._marks.append(_mark())),
            self._model.register_forward_hook(lambda *_: self._marks.append(_mark())),
        ]

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    @property
    def count(self) -> int:
        """How many passes there were."""
        return len(self._marks) // 2

    @property
    def seconds(self) -> float:
        """What the device spent on them; waits for it."""
        pairs = zip(self._marks[::2], self._marks[1::2], strict=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            return sum(first.elapsed_time(last) for first, last in pairs) / 1e3
        return sum(last - first for first, last in pairs)


def _mark() -> Any:
    """Return a moment: of the device where it is a GPU, which is not waited for."""
    if torch.cuda.is_available():
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
    return time.perf_counter()


def _bandwidth(device: torch.device) -> float:
    """Return the bytes per second that a copy reads and writes, the best of five."""
    source = torch.zeros(COPIED if device.type == "cuda" else COPIED // 16, device=device)
    target = torch.empty_like(source)
    took = []
    for _ in range(5):
        watch = Stopwatch()
        with watch.running():
            target.copy_(source)
        took.append(watch.seconds)
    return 2 * source.nbytes / min(took)


def framed(small: torch.nn.Module, hidden: int, intermediate: int) -> LlamaForCausalLM:
    """Return a Llama with the weights of `small` in its corner and zeros elsewhere.

    Args:
        small: a Llama without biases; gives the heads' size and the number of layers.
        hidden: the frame's width, a multiple of the heads' size.
        intermediate: the frame's width between its projections.

    Raises:
        UsageError: `small` is no such model.
    """
    config = small.config
    if config.model_type != "llama" or config.attention_bias or config.mlp_bias:
        raise UsageError("the frame is for Llama models without biases; choose another --model")
    size, heads = config.head_dim, config.num_attention_heads
    share = config.hidden_size / hidden
    larger = config.to_dict() | {
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_attention_heads": hidden // size,
        "num_key_value_heads": hidden // size,
        "rms_norm_eps": config.rms_norm_eps * share,
    }
    large = LlamaForCausalLM(LlamaConfig(**larger))
    mine = dict(small.named_parameters())
    with torch.no_grad():
        for name, parameter in large.named_parameters():
            weight = mine[name]
            if "norm" in name:  # the mean runs over the zeros as well
                weight = weight * math.sqrt(share)
            if "k_proj" in name or "v_proj" in name:  # keys of a group of heads: one set for each
                groups = weight.reshape(-1, size, weight.shape[1])
                weight = groups.repeat_interleave(heads // len(groups), dim=0).flatten(0, 1)
            parameter.zero_()
            parameter[tuple(slice(length) for length in weight.shape)] = weight
    large.generation_config = small.generation_config
    return large.eval()
