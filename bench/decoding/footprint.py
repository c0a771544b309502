"""Memory: the peak beside what the live branches need, and whether it grows over many problems.

The need is computed: one set of keys and values for every distinct token of the prefixes that the
decoder asked about last (both branches, their drafts) and of the living candidates. The peak holds
in addition what a pass works with, distributions, and programs' traces. The second table has the
same for many tasks in flight, each of which counts its prompt. The third runs a tiny random model
over many problems: everything that is kept from one to the next would show.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from attrs import evolve
from memory import MIB, peak, resident, start_peak
from rounds import fly
from tables import Report, common_length
from transformers import AutoConfig
from workbench import Workbench, model_options

from egcfg.decoding.feedback import Feedback
from egcfg.interfaces.backend import Answer, Continuation, Logprobs, SampleRequest, ScoreRequest
from egcfg.interfaces.solution import Signal
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.loading.gguf import converted_folder
from egcfg_backends_hf.loading.source import find_model
from egcfg_backends_hf.options import HFOptions
from egcfg_backends_hf.testing import build_tiny_llama

__all__ = ["add_arguments", "run"]

PROGRAM = """Candidate {0}:
```python
def solve(items):
    total = {0}
    return total + len(items)
```
Execution of solve([1, 2, 3]):
items = [1, 2, 3]; total = {0}; returned {0} + 3
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--problems", type=int, default=100, help="of the tiny model")
    parser.add_argument("--in-flight", type=int, nargs="*", default=[8], help="tasks at once")


class ChangingFeedback(Feedback):
    """Shows one program, counting up; a random model writes none that could be run."""

    shown = 0

    async def signal(self, *_: object) -> Signal:
        """Return the next signal."""
        ChangingFeedback.shown += 1
        text = PROGRAM.format(self.shown)
        return Signal(entries=(), text=text, tokens=await self.model.count_tokens(text))


class WatchedBackend(HFBackend):
    """egcfg's backend, with a look at what it is asked about.

    Attributes:
        most: the most distinct tokens of each task whose keys and values were needed at once.
        held: the most bytes of keys and values, room for more included.
        remembered: the most bytes of distributions.
    """

    def __init__(self, options: HFOptions) -> None:
        super().__init__(options)
        self._needed: dict[Any, int] = {}  # tokens, by task
        self._candidates: dict[Any, list[tuple[int, ...]]] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self.most = self.held = self.remembered = 0

    async def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        """See `HFBackend.score`."""
        self._need(request.ids + request.draft for request in requests)
        answer = await super().score(requests)
        self._hold()
        return answer

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        """See `HFBackend.sample`."""
        answer = await super().sample(requests)
        self._hold()
        self._candidates[asyncio.current_task()] = [
            request.ids + continuation.ids
            for request, continuations in zip(requests, answer.value, strict=True)
            for continuation in continuations
        ]
        self._need(request.ids for request in requests)
        return answer

    def _hold(self) -> None:
        opened = self._open_model
        self.held = max(self.held, opened.lanes.bytes)
        nodes = opened.runner._evaluator._remembered
        kept = sum(node.scores.values.nbytes for node in nodes if node.scores)
        self.remembered = max(self.remembered, kept)

    def _need(self, prefixes: Iterable[tuple[int, ...]]) -> None:
        task = asyncio.current_task()
        self._needed[task] = tree_size([*prefixes, *self._candidates.get(task, ())])
        for done in [each for each in self._needed if each.done()]:
            del self._needed[done]
            self._candidates.pop(done, None)
        self.most = max(self.most, sum(self._needed.values()))


def tree_size(prefixes: Iterable[Sequence[int]]) -> int:
    """Return how many tokens there are, those of common beginnings counted once."""
    size, last = 0, ()
    for prefix in sorted(prefixes):  # neighbours have the longest beginnings in common
        size += len(prefix) - common_length(last, prefix)
        last = prefix
    return size


async def run(options: Namespace, report: Report) -> None:
    """Measure."""
    settings = HFOptions(**model_options(options))
    before = resident()
    backend = WatchedBackend(settings)
    async with Workbench.opened(options, backend) as bench:
        loaded = resident()
        # Kernels and their working memory are made on first use.
        await bench.decode(bench.problems[0])
        await bench.forget()
        warm = resident()
        size = token_bytes(settings)
        report.say(
            f"loading took {(loaded - before) / MIB:,.0f} MiB, the first decoding left "
            f"{(warm - loaded) / MIB:,.0f} MiB behind; keys and values take {size} bytes a token"
        )
        await _alone(bench, backend, report, size, warm)
        await _together(options, bench, backend, report, size, warm)
    await _growth(options, report)


async def _alone(
    bench: Workbench, backend: WatchedBackend, report: Report, size: int, warm: int
) -> None:
    rows = []
    for problem in bench.problems:
        backend.reset()
        start_peak()
        await bench.decode(problem)
        need, above = backend.most * size, peak() - warm
        rows.append(
            (
                problem.task_id,
                backend.most,
                need / MIB,
                backend.held / MIB,
                backend.held / need,
                backend.remembered / MIB,
                above / MIB,
                resident() / MIB,
            )
        )
    report.table(
        "peak beside what the live branches need",
        (
            "task",
            "live tokens",
            "their cache, MiB",
            "cache held, MiB",
            "held : needed",
            "distributions, MiB",
            "peak above the warm model, MiB",
            "after, MiB in all",
        ),
        rows,
    )


async def _together(
    options: Namespace,
    bench: Workbench,
    backend: WatchedBackend,
    report: Report,
    size: int,
    warm: int,
) -> None:
    rows = []
    for in_flight in options.in_flight:
        await bench.forget()
        backend.reset()
        start_peak()
        await fly([partial(bench.decode, each, cold=False) for each in bench.problems], in_flight)
        need, above = backend.most * size, peak() - warm
        rows.append(
            (
                in_flight,
                len(bench.problems),
                need / MIB,
                backend.held / MIB,
                backend.remembered / MIB,
                above / MIB,
                above / (need + backend.remembered),
            )
        )
    report.table(
        "many tasks in flight",
        (
            "in flight",
            "tasks",
            "cache of live branches, MiB",
            "cache held, MiB",
            "distributions, MiB",
            "peak above the warm model, MiB",
            "peak : live cache and distributions",
        ),
        rows,
    )


def token_bytes(settings: HFOptions) -> int:
    """Return what one token's keys and values take, by the model's config."""
    source = find_model(settings.model)
    folder = converted_folder(Path(source.location)) if source.is_file else source.location
    config = AutoConfig.from_pretrained(folder).get_text_config()
    heads = config.num_key_value_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bytes_of_all: int = 2 * config.num_hidden_layers * heads * size * number_size(settings)
    return bytes_of_all


def number_size(settings: HFOptions) -> int:
    """Return how many bytes one number of the model takes."""
    if settings.dtype != "auto":
        return torch.empty(0, dtype=getattr(torch, settings.dtype)).element_size()
    return 2 if torch.cuda.is_available() and settings.device != "cpu" else 4


async def _growth(options: Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tiny = Namespace(**vars(options))
        tiny.model = str(build_tiny_llama(Path(folder), dtype="float32"))
        tiny.data, tiny.prompt, tiny.max_tokens = None, "chat", min(options.max_tokens, 60)
        rows, guided = [], 0
        async with Workbench.opened(tiny) as bench:
            for number in range(options.problems):
                problem = bench.problems[number % len(bench.problems)]
                head = f"```python\ndef {problem.entry_point}(items):\n"
                prompt = evolve(bench.prompts.build(problem), response_prefix=head)
                decoded = await bench.decode(
                    evolve(problem, task_id=f"{problem.task_id}/{number}"),
                    prompt=prompt,
                    feedback=ChangingFeedback,
                )
                guided += decoded.guided_lines
                if (number + 1) % max(1, options.problems // 5) == 0:
                    gc.collect()
                    rows.append((number + 1, guided, resident() / MIB))
    report.table("memory in use, tiny model", ("problems", "guided lines", "MiB in all"), rows)
