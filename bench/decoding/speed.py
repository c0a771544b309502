"""Time beside the reference loop, plain ``generate`` and transformers' own guidance.

All contestants take their turn on each task, so that a busy moment hits them alike; what counts is
the median of the tasks' ratios. ``generate`` is forced to the guided text's tokens, or free where
its greedy text must be egcfg's own at gamma 0. The reference loop would take hours: of its passes
one in ``--reference-every`` is run and timed, and the rest is taken to cost the same per token.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from typing import Any

from attrs import frozen
from counts import reference
from naive import BareModel, NaiveBackend
from peers import generate
from tables import Report, common_length, spread
from workbench import Decoded, Stopwatch, Workbench, model_options

from egcfg.decoding.feedback import Feedback
from egcfg.decoding.settings import GuidanceUnit
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.solution import Signal, Stage
from egcfg_backends_hf.options import HFOptions

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Add this command's options."""
    parser.add_argument("--lines", type=int, default=30, help="guided lines to reach")
    parser.add_argument(
        "--baseline-weights",
        nargs="+",
        default=["packed", "plain"],
        help="how the weights are kept for generate; the first also for the reference loop and "
        "transformers' guidance",
    )
    parser.add_argument("--reference-every", type=int, default=20, help="0: leave it out")
    parser.add_argument("--no-guidance-peer", action="store_true")


@frozen
class FixedFeedback(Feedback):
    """Shows the same signal whatever the candidates are; runs nothing."""

    fixed: Signal

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
        await warm_up(bench, models)
        for problem in bench.problems:
            guided = await bench.decode(problem)
            await _generate_peers(bench, models, problem, guided, ratios, notes)
            signal = next((s.signal for s in guided.steps if s.signal and s.signal.text), None)
            first = models[names[0]]
            if signal and not options.no_guidance_peer and options.gamma not in (0.0, 1.0):
                await _guidance_peer(bench, first, problem, signal, ratios, notes)
            if options.reference_every:
                took = await _reference_seconds(bench, first, problem, options.reference_every)
                ratios.add("reference loop : egcfg", took, guided.seconds)
            for name, spent in _by_stage(guided).items():
                seconds[name] += spent
            lines += guided.guided_lines
            tokens += guided.guided_tokens
            report.progress(f"task {problem.task_id}: {lines} of {options.lines} guided lines")
            if lines >= options.lines:
                break
        report.say(f"{lines} guided lines, {tokens} guided tokens")
        report.table(
            "ratios of times, per task",
            ("what", "tasks", "median", "least", "largest", "one, s", "other, s"),
            ratios.rows(),
        )
        whole = sum(seconds.values())
        report.table(
            "where the time of guided decoding goes",
            ("stage", "seconds", "ms per guided token", "share, %"),
            [
                (name, spent, spent / max(1, tokens) * 1e3, 100 * spent / whole)
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
        greedy, took = generate(bare.model, prompt, len(unguided.generation.ids))
        ratios.add(f"egcfg gamma 0 : generate ({weights})", unguided.seconds, took)
        same.add(
            f"gamma 0 and generate ({weights})", problem.task_id, unguided.generation.ids, greedy
        )


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


async def _reference_seconds(
    bench: Workbench, bare: BareModel, problem: Problem, every: int
) -> float:
    """Return what the reference loop takes, by one in `every` of its calls to the model."""
    naive = NaiveBackend(bench.model.backend, bare, every)
    bare.seconds = 0.0
    watch = Stopwatch()
    with watch.running():
        await reference(bench, naive, problem)
    # Running candidates, and the loop itself.
    rest = watch.seconds - bare.seconds - naive.answering_seconds
    return rest + bare.seconds * naive.tokens / max(1, naive.worked_tokens)


def _by_stage(decoded: Decoded) -> dict[str, float]:
    spent: dict[str, float] = {
        stage: usage.seconds for stage, usage in decoded.generation.usage.items()
    }
    spent["execution"] = decoded.generation.execution_seconds
    spent["the rest"] = decoded.seconds - sum(spent.values())
    return spent
