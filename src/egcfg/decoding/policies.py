"""The decisions of the line policies: functions of programs, verdicts, values and outcomes alone.

The loop asks them, and does what they say; `egcfg.decoding.settings.Policies` says what each policy
is for.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from array_api_compat import array_namespace
from attrs import evolve, frozen

from egcfg.decoding.definitions import Strength, parse, strength
from egcfg.decoding.settings import Order, Policies, Verdicts
from egcfg.guidance.mixture import Plausible, mix
from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.guidance import Guided
from egcfg.interfaces.problem import AssertTest, Program, StdioTest, Task, TestCase
from egcfg.interfaces.scorer import Score, TestStatus
from egcfg.interfaces.solution import SignalEntry

__all__ = [
    "Choice",
    "choose",
    "guided_among_plausible",
    "is_confident",
    "is_whole",
    "marks",
    "outcomes",
]

PLAUSIBLE = 0.1
"""Share of the likeliest token's unconditional probability that a token needs, away from a signal.
Away from what one shows, the most unlikely tokens would gain most (arXiv 2210.15097)."""


def is_confident(distribution: Logprobs, threshold: float) -> bool:
    """Whether the probability of the likeliest token is above `threshold`."""
    top = float(array_namespace(distribution.values).max(distribution.values))
    return min(top, 0.0) > math.log(threshold)  # rounding may lead above 0


@frozen(kw_only=True)
class Choice:
    """What of the programs that ran is shown, and how.

    Attributes:
        entries: the programs, in the order in which they are shown.
        guides: whether they are shown at all.
        away: whether guidance leads away from them.
        against: programs that guidance leads away from at the same time.
        decisions: what was decided, and why.
    """

    entries: tuple[SignalEntry, ...]
    guides: bool = True
    away: bool = False
    against: tuple[SignalEntry, ...] = ()
    decisions: tuple[str, ...] = ()


def choose(entries: Sequence[SignalEntry], policies: Policies) -> Choice:
    """Choose what the signal shows of programs that ran."""
    choice = Choice(entries=tuple(entries))
    if policies.gate:
        choice = _gated(choice)
    if policies.signed and choice.entries:
        choice = _signed(choice)
    if policies.order is Order.BEST_FIRST:
        choice = _best_first(choice)
    return choice


def _gated(choice: Choice) -> Choice:
    led_to = {outcomes(entry) for entry in choice.entries}
    programs = f"{len(choice.entries)} distinct program{'s' * (len(choice.entries) != 1)}"
    guides = len(led_to) > 1
    why = (
        f"{programs}, which led to {len(led_to)} different results"
        if guides
        else f"{programs}, no two of which led to different results"
    )
    return _decided(choice, f"gate: {'guided' if guides else 'unguided'}, {why}", guides=guides)


def _best_first(choice: Choice) -> Choice:
    entries, against = _ordered(choice.entries), _ordered(choice.against)
    ordered = entries + against
    shares = ", ".join(f"{100 * (entry.share or 0.0):.0f} %" for entry in ordered) or "nothing"
    dropped = len(choice.entries) + len(choice.against) - len(ordered)
    why = f"order: passing {shares} of the visible tests, {dropped} failing duplicates dropped"
    return _decided(choice, why, entries=entries, against=against)


def _ordered(entries: Sequence[SignalEntry]) -> tuple[SignalEntry, ...]:
    kept: dict[object, SignalEntry] = {}
    for entry in entries:
        passes = entry.share == 1.0
        kept.setdefault(entry.program if passes else (entry.share, outcomes(entry)), entry)
    # The solution so far has its place before the candidates.
    return tuple(sorted(kept.values(), key=lambda e: (e.samples > 0, -(e.share or 0.0))))


def _signed(choice: Choice) -> Choice:
    """Lead towards the programs that pass most, and away from those that fail or pass fewer."""
    most = max(entry.share or 0.0 for entry in choice.entries)
    better = tuple(entry for entry in choice.entries if (entry.share or 0.0) == most)
    worse = tuple(entry for entry in choice.entries if entry not in better)
    share = f"{100 * most:.0f} % of the visible tests"
    if worse:
        why = f"signed: towards {len(better)} of {len(choice.entries)} programs, passing {share}, "
        return _decided(choice, why + "away from the others", entries=better, against=worse)
    away = most < 1.0
    side = "away from" if away else "towards"
    return _decided(choice, f"signed: {side} what is shown, all programs pass {share}", away=away)


def _decided(choice: Choice, decision: str, **changes: Any) -> Choice:
    return evolve(choice, decisions=(*choice.decisions, decision), **changes)


def outcomes(entry: SignalEntry) -> tuple[object, ...]:
    """Return what running a program led to: how each run ended, its value, its output."""
    return tuple(
        (
            trace.outcome,
            trace.raised and (trace.raised.type, trace.raised.message),
            trace.result,
            trace.stdout,
        )
        for trace in entry.traces
    )


def marks(task: Task, program: str, score: Score, verdicts: Verdicts) -> tuple[str, ...]:
    """Return what the signal says of the verdict on each run of a program.

    Args:
        task: its visible tests stand for the runs that they ask for.
        program: the program.
        score: the verdicts on it, one per visible test.
        verdicts: what to say.
    """
    if verdicts is Verdicts.OFF:
        return ()
    found = []
    run = Program(program, task.entry_point)
    for test, result in zip_longest(task.visible_tests, score.results):
        if test is None:
            break  # of a scorer that judges more than it was asked
        passed = result is not None and result.status is TestStatus.PASSED
        text = "satisfied" if passed else "not satisfied"
        if verdicts is Verdicts.VALUES and (wanted := _wanted(test)):
            text += f", the test wants: {wanted}"
        found += [f"-> {text}"] * len(test.executions(run))
    return tuple(found)


def _wanted(test: TestCase) -> str | None:
    match test:
        case AssertTest(source=source):
            return " ".join(source.split())
        case StdioTest(stdout=stdout):
            return f"output {stdout!r}"
    return None


def guided_among_plausible(
    unconditional: Logprobs,
    conditional: Logprobs,
    gamma: float,
    against: Logprobs | None = None,
) -> Guided:
    """Return the linear mixture among plausible tokens, for guidance away from programs.

    Args:
        unconditional: the distribution without the signal.
        conditional: the one with it.
        gamma: strength of guidance; below 0 away from the signal.
        against: the distribution with programs that guidance leads away from at the same time:
            ``unconditional + gamma (conditional - against)``.
    """
    values = unconditional.values
    least = float(array_namespace(values).max(values)) + math.log(PLAUSIBLE)
    guided = mix(unconditional, conditional, gamma, Plausible(unconditional=least), against)
    if unconditional.tail_bound >= least:  # a token that nobody lists may be plausible
        return evolve(guided, certain=False)
    return guided


def is_whole(program: str, entry_point: str | None) -> bool:
    """Whether nothing is missing from a program, as far as its form tells.

    Args:
        program: code, possibly cut off anywhere.
        entry_point: a function, whose last statement must then leave it; None for a whole program,
            which must print.
    """
    tree = parse(program)
    if tree is None or strength(tree, entry_point) < Strength.FULL:
        return False
    for statement in reversed(tree.body):
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name == entry_point:
                    return isinstance(statement.body[-1], ast.Return | ast.Raise)
            case ast.ClassDef(name=name) if name == entry_point:
                return False
    return True
