"""Forward tokens and passes per guided token, beside the naive reference loop's.

The problems are decoded one after another, as in a run: the first one starts cold.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from attrs import evolve
from naive import BareModel, NaiveBackend
from tables import Report
from workbench import Workbench, model_options

from egcfg.decoding.feedback import Feedback
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import Stage
from egcfg.interfaces.usage import Usage
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.testing.reference import reference_decode
from egcfg.usage.model import Model
from egcfg_backends_hf.options import HFOptions

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument(
        "--check",
        type=int,
        default=1,
        metavar="N",
        help="tasks on which the naive loop really runs, to check the counted work (slow)",
    )
    parser.add_argument("--check-tokens", type=int, default=24, help="of each of them")


async def run(options: Namespace, report: Report) -> None:
    """Count."""
    async with Workbench.opened(options) as bench:
        rows, totals, stages, differing = [], [0] * 6, dict.fromkeys(Stage, Usage()), 0
        runs = [await bench.decode(problem, cold=not n) for n, problem in enumerate(bench.problems)]
        for problem, decoded in zip(bench.problems, runs, strict=True):
            used = decoded.generation.total_usage
            for stage, usage in decoded.generation.usage.items():
                stages[stage] += usage
            naive = NaiveBackend(bench.model.backend, None)
            ids = await reference(bench, naive, problem)
            differing += ids != decoded.generation.ids
            counts = [
                decoded.guided_tokens,
                used.forward_tokens,
                used.forward_passes,
                naive.tokens,
                naive.passes,
                naive.published_tokens,
            ]
            totals = [a + b for a, b in zip(totals, counts, strict=True)]
            rows.append((problem.task_id, *counts, *_per_token(counts)))
            report.progress(f"task {problem.task_id}: {counts[0]} guided tokens")
        report.table(
            "forward tokens and passes (naive and published: counted from the reference loop's "
            "calls)",
            (
                "task",
                "guided tokens",
                "tokens",
                "passes",
                "naive tokens",
                "naive passes",
                "published tokens",
                "tokens/guided",
                "passes/guided",
                "naive : egcfg",
                "published : egcfg",
            ),
            [*rows, ("all", *totals, *_per_token(totals))],
        )
        guided = max(1, totals[0])
        report.table(
            "egcfg by stage, per guided token",
            ("stage", "forward tokens", "forward passes"),
            [
                (stage.value, usage.forward_tokens / guided, usage.forward_passes / guided)
                for stage, usage in stages.items()
            ],
        )
        report.say(
            f"{len(rows) - differing} of {len(rows)} tasks: the reference loop gives the same ids "
            "(it ran on egcfg's backend, every distribution asked for alone)"
        )
        if options.check:
            await _check(bench, options, report)


async def reference(
    bench: Workbench, naive: NaiveBackend, problem: Problem, max_tokens: int | None = None
) -> tuple[int, ...]:
    """Run the reference loop on `naive`; return the response's ids."""
    settings = evolve(bench.settings, max_tokens=max_tokens or bench.settings.max_tokens)
    prompt = bench.prompts.build(problem)
    naive.begin(await bench.model.encode(prompt.unconditional()))
    model = Model(OpenComponent(Kind.BACKEND, naive, "the naive loop"), problem.task_id)
    feedback = Feedback(bench.tracer, bench.sandbox, model)
    return await bench.run(reference_decode(model, feedback, bench.rule, problem, prompt, settings))


async def _check(bench: Workbench, options: Namespace, report: Report) -> None:
    """Let the naive loop really run, and compare what ran with what was counted."""
    bare = BareModel(HFOptions(**model_options(options)))
    rows = []
    for problem in bench.problems[: options.check]:
        bare.tokens = bare.passes = 0
        naive = NaiveBackend(bench.model.backend, bare)
        ids = await reference(bench, naive, problem, options.check_tokens)
        decoded = await bench.decode(problem, max_tokens=options.check_tokens)
        rows.append(
            (
                problem.task_id,
                len(ids),
                naive.tokens,
                bare.tokens,
                naive.passes,
                bare.passes,
                ids == decoded.generation.ids,
            )
        )
    report.table(
        "the naive loop, really run",
        (
            "task",
            "tokens",
            "counted tokens",
            "tokens that ran",
            "counted passes",
            "passes that ran",
            "same ids as egcfg",
        ),
        rows,
    )


def _per_token(counts: list[int]) -> tuple[float, float, float, float]:
    guided, tokens, passes, naive, _, published = counts
    each, least = max(1, guided), max(1, tokens)
    return tokens / each, passes / each, naive / least, published / least
