"""How the cost grows: with the prompt's length, the candidates s and their lines d.

Each point is the median over the tasks of milliseconds per token of the response, beside plain
``generate`` on the same tokens, in turns. Writes a table in CSV, and a plot where matplotlib is
installed (``pip install 'egcfg[compare]'``).
"""

from __future__ import annotations

import csv
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from attrs import evolve
from naive import BareModel
from peers import generate
from speed import warm_up
from tables import Report, spread
from workbench import Workbench, model_options

from egcfg.interfaces.prompt import Prompt
from egcfg_backends_hf.options import HFOptions

__all__ = ["add_arguments", "run"]

COLUMNS = (
    "varied",
    "value",
    "prompt tokens",
    "forward tokens per token",
    "ms per token",
    "ms per token, the prompt's reading apart",
    "generate, ms per token",
    "egcfg : generate",
)
NOTE = "# note {}: this line of the task's history was kept for the record and may be skipped.\n"


def add_arguments(parser: ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--lengths", type=int, nargs="*", default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--candidate-counts", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--horizons", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--csv", type=Path, default=Path("bench/figures/growth.csv"))
    parser.add_argument("--plot", type=Path, default=Path("bench/figures/growth.svg"))


async def run(options: Namespace, report: Report) -> None:
    """Measure every point."""
    async with Workbench.opened(options) as bench:
        bare = BareModel(HFOptions(**model_options(options)))
        await warm_up(bench, {"": bare})
        points: list[tuple[str, int, dict[str, int]]] = [
            *(("prompt", length, {}) for length in options.lengths),
            *(("s", count, {"candidates": count}) for count in options.candidate_counts),
            *(("d", lines, {"horizon": lines}) for lines in options.horizons),
        ]
        rows = []
        for varied, value, changes in points:
            report.progress(f"{varied} {value}")
            rows.append(await _point(bench, bare, varied, value, **changes))
    report.table("growth, medians over the tasks", COLUMNS, rows)
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    with options.csv.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    report.say(_plot(rows, options.plot))


async def _point(
    bench: Workbench, bare: BareModel, varied: str, value: int, **changes: Any
) -> tuple[Any, ...]:
    measured = []
    for problem in bench.problems:
        prompt = bench.prompts.build(problem)
        if varied == "prompt":
            prompt = await _lengthened(bench, prompt, value)
        decoded = await bench.decode(problem, prompt=prompt, **changes)
        ids = await bench.model.encode(prompt.unconditional())
        answer = decoded.generation.ids
        _, took = generate(bare.model, ids, len(answer), forced=answer)
        usage = decoded.generation.usage
        # The first step reads the prompt.
        reading = sum(used.seconds for used in decoded.steps[0].usage.values())
        each = max(1, len(answer))
        measured.append(
            (
                len(ids),
                sum(used.forward_tokens for used in usage.values()) / each,
                decoded.seconds / each * 1e3,
                (decoded.seconds - reading) / each * 1e3,
                took / each * 1e3,
                decoded.seconds / took,
            )
        )
    middles = [round(spread(column)[0], 3) for column in zip(*measured, strict=True)]
    return (varied, value, *middles)


async def _lengthened(bench: Workbench, prompt: Prompt, tokens: int) -> Prompt:
    """Return `prompt` with more text: about `tokens`, or as many as the model takes."""
    context = bench.model.capabilities.context_length
    if context is not None:
        room = bench.settings.signal_tokens + bench.settings.max_tokens + 64
        tokens = min(tokens, context - room)
    missing = tokens - len(await bench.model.encode(prompt.unconditional()))
    each = await bench.model.count_tokens(NOTE.format(100))
    notes = "".join(NOTE.format(number) for number in range(max(0, missing // each)))
    return evolve(prompt, before=(*prompt.before, notes))


def _plot(rows: list[tuple[Any, ...]], path: Path) -> str:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return "no plot: matplotlib is not installed"
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    labels = {"prompt": "tokens of the prompt", "s": "candidates s", "d": "lines d"}
    shown = [name for name in labels if any(row[0] == name for row in rows)]
    for place, name in enumerate(shown, start=1):
        points = [row for row in rows if row[0] == name]
        axes = figure.add_subplot(1, len(shown), place)
        at = [row[2] if name == "prompt" else row[1] for row in points]
        axes.plot(at, [row[4] for row in points], "o-", label="guided")
        axes.plot(at, [row[6] for row in points], "s--", label="plain generate")
        axes.set_xlabel(labels[name])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if place == 1:
            axes.set_ylabel("ms per token")
            axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return f"plot: {path}"
