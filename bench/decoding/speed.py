"""Time beside the reference loop, plain ``generate`` and transformers' own guidance.

All contestants take their turn on each task, so that a busy moment hits them alike; what counts is
the median of the tasks' ratios. ``generate`` is forced to the guided text's tokens, or free where
its greedy text must be egcfg's own at gamma 0; there it runs with its prompt look-up, too. The
reference loop would take hours: of each kind of its calls ``--reference-calls``, spread over the
task, are run and timed for all. How far such an estimate is off is shown on ``--whole`` tasks, on
which the whole loop runs.
"""

from __future__ import annotations

import math
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from typing import Any

from attrs import field, frozen
from counts import reference
from naive import BareModel, CallSeconds, NaiveBackend, NaiveCall, estimated_seconds
from peers import generate
from tables import Report, common_length, spread
from workbench import Decoded, Stopwatch, Workbench, model_options

from egcfg.decoding.feedback import Feedback
from egcfg.decoding.settings import GuidanceUnit
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import Signal, Stage
from egcfg_backends_hf.options import HFOptions

__all__ = ["add_arguments", "run"]

LOOKUP = 10
"""Tokens that ``generate``'s prompt look-up drafts at most, as its inventor has it."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--lines", type=int, default=30, help="guided lines to reach")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="after which no further task begins"
    )
    parser.add_argument(
        "--baseline-weights",
        nargs="+",
        default=["packed", "plain"],
        help="how the weights are kept for generate; the first also for the reference loop and "
        "transformers' guidance",
    )
    parser.add_argument(
        "--reference-calls",
        type=int,
        default=6,
        metavar="N",
        help="calls of each kind of the reference loop that are timed per task; 0: leave it out",
    )
    parser.add_argument(
        "--whole",
        type=int,
        default=1,
        metavar="N",
        help="tasks on which the whole reference loop is run, those with the fewest of its tokens",
    )
    parser.add_argument("--no-guidance-peer", action="store_true")


@frozen
class FixedFeedback(Feedback):
    """Shows the same signal whatever the candidates are; runs nothing."""

    fixed: Signal = field(kw_only=True)

    async def signal(self, *_: Any) -> Signal:
        """Return the fixed signal."""
        return self.fixed


class Ratios:
    """Ratios of two times by name, one per task."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[float, float]]] = {}

    def add(self, name: str, one: float, other: float) -> None:
        """Add the seconds of the two in one task."""
        self._found.setdefault(name, []).append((one, other))

    def rows(self) -> list[tuple[Any, ...]]:
        """Return name, tasks, median of the ratios, least, largest, median seconds of both."""
        return [
            (
                name,
                len(pairs),
                *spread([one / other for one, other in pairs]),
                spread([one for one, _ in pairs])[0],
                spread([other for _, other in pairs])[0],
            )
            for name, pairs in self._found.items()
        ]


async def run(options: Namespace, report: Report) -> None:
    """Measure."""
    async with Workbench.opened(options) as bench:
        names = list(dict.fromkeys(options.baseline_weights))
        device = str(options.device)
        models = {}
        for weights in names:
            of_peer = {} if device.startswith("cuda") else {"weights": weights}
            models[weights] = BareModel(HFOptions(**model_options(options, **of_peer)))
        ratios, notes = Ratios(), Same()
        seconds: dict[str, float] = dict.fromkeys([*Stage, "execution", "the rest"], 0.0)
        lines = tokens = 0
        references: list[Reference] = []
        await warm_up(bench, models)
        over = time.monotonic() + 60 * options.minutes
        for problem in bench.problems:
            guided = await bench.decode(problem)
            await _generate_peers(bench, models, problem, guided, ratios, notes)
            signal = next((s.signal for s in guided.steps if s.signal and s.signal.text), None)
            first = models[names[0]]
            if signal and not options.no_guidance_peer and options.gamma not in (0.0, 1.0):
                await _guidance_peer(bench, first, problem, signal, ratios, notes)
            if options.reference_calls:
                found = await Reference.of(bench, problem)
                took = found.estimate(first, options.reference_calls)
                ratios.add("reference loop (estimate) : egcfg", took, guided.seconds)
                references.append(found)
            for name, spent in _by_stage(guided).items():
                seconds[name] += spent
            lines += guided.guided_lines
            tokens += guided.guided_tokens
            report.progress(f"task {problem.task_id}: {lines} of {options.lines} guided lines")
            if lines >= options.lines or time.monotonic() >= over:
                break
        report.say(f"{lines} guided lines, {tokens} guided tokens")
        report.table(
            "ratios of times, per task",
            ("what", "tasks", "median", "least", "largest", "one, s", "other, s"),
            ratios.rows(),
        )
        references.sort(key=lambda reference: reference.naive.tokens)
        if shortest := references[: options.whole]:
            report.progress(f"the whole reference loop: {len(shortest)} tasks")
            report.table(
                "the reference loop as estimated and as it ran, whole",
                WHOLE_COLUMNS,
                [await _whole(bench, first, each, options.reference_calls) for each in shortest],
            )
        spent_in_all = sum(seconds.values())
        report.table(
            "where the time of guided decoding goes",
            ("stage", "seconds", "ms per guided token", "share, %"),
            [
                (name, spent, spent / max(1, tokens) * 1e3, 100 * spent / spent_in_all)
                for name, spent in seconds.items()
            ],
        )
        for line in notes.lines():
            report.say(line)


async def warm_up(bench: Workbench, models: dict[str, BareModel]) -> None:
    """Let everyone run once: kernels, memory and the sandbox's server are made on first use."""
    decoded = await bench.decode(bench.problems[0], max_tokens=24)
    ids = await bench.model.encode(decoded.prompt.unconditional())
    for bare in models.values():
        generate(bare.model, ids, 4)


class Same:
    """Notes where two ways gave the same text, and where they parted."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, name: str, task: str, one: Sequence[int], other: Sequence[int]) -> None:
        """Compare two texts' ids."""
        where = (
            "" if tuple(one) == tuple(other) else f"{task} from token {common_length(one, other)}"
        )
        self._found.setdefault(name, []).append(where)

    def lines(self) -> list[str]:
        """Return one line per comparison."""
        found = []
        for name, wheres in self._found.items():
            parted = [where for where in wheres if where]
            text = f"{name}: the same ids in {len(wheres) - len(parted)} of {len(wheres)} tasks"
            found.append(text + (f"; not in {', '.join(parted)}" if parted else ""))
        return found


async def _generate_peers(
    bench: Workbench,
    models: dict[str, BareModel],
    problem: Problem,
    guided: Decoded,
    ratios: Ratios,
    same: Same,
) -> None:
    prompt = await bench.model.encode(guided.prompt.unconditional())
    ids = guided.generation.ids
    unguided = await bench.decode(problem, gamma=0.0)
    for weights, bare in models.items():
        _, took = generate(bare.model, prompt, len(ids), forced=ids)
        ratios.add(f"egcfg guided : generate ({weights}), same text", guided.seconds, took)
        plain = unguided.generation.ids
        greedy, took = generate(bare.model, prompt, len(plain))
        ratios.add(f"egcfg gamma 0 : generate ({weights})", unguided.seconds, took)
        drafted, with_lookup = generate(bare.model, prompt, len(plain), lookup=LOOKUP)
        ratios.add(
            f"egcfg gamma 0 : generate, prompt look-up ({weights})", unguided.seconds, with_lookup
        )
        same.add(f"gamma 0 and generate ({weights})", problem.task_id, plain, greedy)
        same.add(f"gamma 0 and prompt look-up ({weights})", problem.task_id, plain, drafted)


async def _guidance_peer(
    bench: Workbench,
    bare: BareModel,
    problem: Problem,
    signal: Signal,
    ratios: Ratios,
    same: Same,
) -> None:
    """Both decode with one fixed signal: one conditional prompt for the whole text."""
    fixed = partial(FixedFeedback, fixed=signal)
    ours = await bench.decode(problem, feedback=fixed, unit=GuidanceUnit.PREFIX)
    ids = ours.generation.ids
    start = sum(len(step.tokens) for step in ours.steps if step.signal is None)
    unconditional = await bench.model.encode(ours.prompt.unconditional())
    conditional = await bench.model.encode(ours.prompt.conditional(signal.text))
    before = 0.0
    if start:  # up to the code nothing guides
        _, before = generate(bare.model, unconditional, start, forced=ids[:start])
    found, took = generate(
        bare.model,
        conditional + ids[:start],
        len(ids) - start,
        guidance=(bench.settings.gamma, unconditional + ids[:start]),
    )
    ratios.add("transformers' guidance : egcfg, fixed signal", before + took, ours.seconds)
    same.add("egcfg and transformers' guidance", problem.task_id, ids[start:], found)


@frozen
class Reference:
    """What the reference loop asks of the model in one task.

    Attributes:
        problem: the task.
        naive: holds the calls.
        rest: seconds that everything else takes: running candidates, and the loop itself.
    """

    problem: Problem
    naive: NaiveBackend
    rest: float

    @classmethod
    async def of(
        cls, bench: Workbench, problem: Problem, bare: BareModel | None = None
    ) -> Reference:
        """Run the loop; `bare` does its work, else egcfg's backend answers in its place."""
        naive = NaiveBackend(bench.model.backend, bare)
        watch = Stopwatch()
        with watch.running():
            await reference(bench, naive, problem)
        rest = watch.seconds - naive.answering_seconds - naive.working_seconds
        return cls(problem, naive, rest)

    def estimate(self, bare: BareModel, count: int) -> float:
        """Return the seconds of the whole loop, of which `count` calls of each kind run now."""
        return self.rest + estimated_seconds(
            self.naive.calls, lambda call: bare.run(call)[1], count
        )


WHOLE_COLUMNS = (
    "task",
    "guided tokens",
    "naive tokens",
    "egcfg, s",
    "whole loop, s",
    "whole loop : egcfg",
    "estimate : whole loop",
    "estimate from its own calls : whole loop",
)


async def _whole(
    bench: Workbench, bare: BareModel, found: Reference, count: int
) -> tuple[Any, ...]:
    """Run the whole loop right after its estimate and egcfg.

    The estimate from the loop's own calls takes what they took in the whole run: it errs by the
    choice of calls alone, and the other one by what the machine did besides, too.
    """
    estimate = found.estimate(bare, count)
    guided = await bench.decode(found.problem)
    ran = await Reference.of(bench, found.problem, bare)
    whole = ran.rest + ran.naive.working_seconds
    took: dict[NaiveCall, CallSeconds] = dict(zip(ran.naive.calls, ran.naive.seconds, strict=True))
    own = ran.rest + estimated_seconds(ran.naive.calls, took.__getitem__, count)
    return (
        found.problem.task_id,
        guided.guided_tokens,
        ran.naive.tokens,
        guided.seconds,
        whole,
        whole / guided.seconds,
        estimate / whole,
        own / whole,
    )


def _by_stage(decoded: Decoded) -> dict[str, float]:
    spent: dict[str, float] = {
        stage: usage.seconds for stage, usage in decoded.generation.usage.items()
    }
    spent["execution"] = decoded.generation.execution_seconds
    spent["the rest"] = decoded.seconds - sum(spent.values())
    return spent
