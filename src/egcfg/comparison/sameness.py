"""Whether arms may stand in one table: the same model, and the same tests seen and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, groupby

from egcfg.comparison.arms import Arm, Outcome
from egcfg.errors import UsageError
from egcfg.runs.store import flat

__all__ = ["check_same", "differing_settings"]

MOST_SHOWN = 5
NOTED = ("decoding.max_tokens", "decoding.seed", "tokens_per_task", "prompt.name", "packages")
"""Settings that belong to no method, and that a reader should know to differ."""


def check_same(arms: Sequence[Arm]) -> None:
    """See that arms are of one model and one protocol.

    Raises:
        UsageError: they are not; the message has the differences.
    """
    found = [*_models(arms), *_datasets(arms), *_protocols(arms)]
    if found:
        more = f"; and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
        raise UsageError(
            f"these arms are not of one model and one protocol: "
            f"{'; '.join(found[:MOST_SHOWN])}{more}. Choose arms with --arm, or see them side by "
            "side all the same with --allow-mixed"
        )


def differing_settings(arms: Sequence[Arm]) -> list[str]:
    """Return which settings, apart from those of methods, differ among arms that tell theirs."""
    settings = {arm.label: flat(arm.provenance) for arm in arms if arm.provenance}
    return [
        line
        for name in NOTED
        if (line := _difference(name, {k: v.get(name, "not set") for k, v in settings.items()}))
    ]


def _models(arms: Sequence[Arm]) -> Iterator[str]:
    named = {arm.label: arm.model for arm in arms if arm.model is not None}
    if difference := _difference("model", named):
        yield difference
        return  # what else differs of a backend follows from that
    settings = {
        arm.label: {
            name: value
            for name, value in flat(arm.provenance).items()
            if name.startswith("backend.")
        }
        for arm in arms
        if arm.provenance
    }
    for name in sorted({name for each in settings.values() for name in each}):
        values = {label: each.get(name, "not set") for label, each in settings.items()}
        if difference := _difference(name, values):
            yield difference


def _datasets(arms: Sequence[Arm]) -> Iterator[str]:
    """Yield the names of data sets that differ, unless fingerprints tell of the same problems."""
    named = [arm for arm in arms if arm.dataset is not None]
    if any(
        one.dataset != other.dataset and _tests_unknown(one, other)
        for one, other in combinations(named, 2)
    ):
        names = {arm.label: str(arm.dataset) for arm in named}
        yield f"{_difference('data set', names)}, and results do not say that it is the same tests"


def _tests_unknown(one: Arm, other: Arm) -> bool:
    """Whether arms have tasks in common, and none of which both have the fingerprint."""
    common = one.outcomes.keys() & other.outcomes.keys()
    return bool(common) and not any(
        one.outcomes[task].problem_sha256 and other.outcomes[task].problem_sha256 for task in common
    )


def _protocols(arms: Sequence[Arm]) -> Iterator[str]:
    """Yield what differs about the tests of tasks, as far as two arms tell it."""
    first: dict[str, tuple[str, Outcome]] = {}
    differing: dict[tuple[str, str, str], list[str]] = {}
    told = [arm for arm in arms if arm.outcomes]
    for arm in told:
        common = False
        for task, outcome in arm.outcomes.items():
            label, other = first.setdefault(task, (arm.label, outcome))
            common = common or label != arm.label
            if label != arm.label and (words := _tests_differ(other, outcome)):
                differing.setdefault((label, arm.label, words), []).append(task)
        if not common and arm is not told[0]:
            yield f"{arm.label} has no task in common with {told[0].label}"
    for (label, another, words), tasks in differing.items():
        more = "" if len(tasks) == 1 else f" and {len(tasks) - 1} more"
        yield f"task {tasks[0]}{more} of {label} and of {another}: {words}"


def _tests_differ(one: Outcome, other: Outcome) -> str:
    """Return what differs about the tests of a task; empty: nothing that is known."""
    checks: tuple[tuple[str, Callable[[Outcome], object]], ...] = (
        ("tests seen", lambda outcome: outcome.seen),
        ("tests scored", lambda outcome: outcome.scored),
        ("wording or tests (by fingerprint)", lambda outcome: outcome.problem_sha256),
    )
    for name, value in checks:
        here, there = value(one), value(other)
        if here is not None and there is not None and here != there:
            return f"{name}: {_short(here)} and {_short(there)}"
    return ""


def _difference(name: str, values: Mapping[str, str]) -> str:
    """Return which arms have which value; empty: all have the same."""
    if len(set(values.values())) <= 1:
        return ""
    pairs = sorted((value, label) for label, value in values.items())
    groups = [(value, [label for _, label in of]) for value, of in groupby(pairs, lambda p: p[0])]
    return f"{name}: " + ", ".join(f"{_short(value)} ({_few(labels)})" for value, labels in groups)


def _few(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
