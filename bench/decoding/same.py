"""Whether drafts and shared passes change the text, and by what margin if they do.

Every problem is decoded four ways: as always; without drafts; with every prefix asked for in a pass
of its own; and with neither. Floating-point sums depend on how many tokens run together, so two
tokens that are all but equally likely may change places: where ids differ, the margin between the
two likeliest tokens at that place tells whether that was it.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Sequence
from unittest.mock import patch

from tables import Report, common_length
from workbench import Workbench

from egcfg.decoding.sampling import Sampler
from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.problem import Problem
from egcfg_backends_hf.engine.evaluator import TreeEvaluator, Work
from egcfg_backends_hf.engine.lanes import Lane

__all__ = ["add_arguments", "run"]

WAYS = {
    "drafts, shared passes": (True, True),
    "no drafts": (False, True),
    "no shared passes": (True, False),
    "neither": (False, False),
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--gammas", type=float, nargs="+", default=[0.5, 1.5])


async def run(options: Namespace, report: Report) -> None:
    """Compare."""
    async with Workbench.opened(options) as bench:
        rows, closest = [], float("inf")
        for gamma in options.gammas:
            equal = dict.fromkeys(WAYS, 0)
            tokens = 0
            for problem in bench.problems:
                texts = {
                    name: await _decode(bench, problem, gamma, *way) for name, way in WAYS.items()
                }
                expected, margins = texts["neither"]
                tokens += len(expected)
                closest = min([closest, *margins])
                for name, (ids, _) in texts.items():
                    equal[name] += ids == expected
                    if ids != expected:
                        place = common_length(ids, expected)
                        margin = margins[place] if place < len(margins) else float("nan")
                        report.say(
                            f"{problem.task_id}, gamma {gamma:g}, {name}: token {place} differs; "
                            f"margin of the two likeliest {margin:.2e} nats"
                        )
                report.progress(f"gamma {gamma:g}, task {problem.task_id}: {tokens} tokens")
            rows += [
                (gamma, name, f"{count} of {len(bench.problems)}", tokens)
                for name, count in equal.items()
            ]
        report.table(
            "the same token ids as with neither drafts nor shared passes",
            ("gamma", "way", "problems", "tokens"),
            rows,
        )
        report.say(f"the closest choice of all was decided by {closest:.2e} nats")


async def _decode(
    bench: Workbench, problem: Problem, gamma: float, drafts: bool, shared: bool
) -> tuple[tuple[int, ...], list[float]]:
    """Return the ids, and by how much each token was likelier than the next likely one."""
    margins: list[float] = []
    choose, run_pass = Sampler.choose, TreeEvaluator.run_pass

    def watched(sampler: Sampler, distribution: Logprobs, position: int) -> int:
        first, second = sorted(distribution.values)[-1:-3:-1]
        margins.append(float(first - second))
        return choose(sampler, distribution, position)

    def alone(evaluator: TreeEvaluator, work: Work, lanes: Sequence[Lane]) -> dict[Lane, int]:
        ran: Counter[Lane] = Counter()
        for lane, pending in work.items():
            for each in pending:
                ran.update(run_pass(evaluator, {lane: [each]}, lanes))
        return ran

    with (
        patch.object(Sampler, "choose", watched),
        patch.object(TreeEvaluator, "run_pass", run_pass if shared else alone),
    ):
        found = await bench.decode(problem, gamma=gamma, drafts=drafts)
    return found.generation.ids, margins
