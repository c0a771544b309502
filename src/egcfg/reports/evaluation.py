"""What came of judging a file of samples: counts and pass@k, as text and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs
import orjson
from attrs import frozen

from egcfg.evaluation.judging import Isolation, JudgedSample
from egcfg.interfaces.problem import Problem
from egcfg.interfaces.scorer import TestStatus
from egcfg.reports.aggregate import TestCounts
from egcfg.reports.pass_at_k import mean_pass_at_k
from egcfg.sandbox import Level

__all__ = ["Evaluation", "as_json", "as_text", "evaluate"]

USUAL_KS = (1, 10, 100)


@frozen(kw_only=True)
class Evaluation:
    """The numbers of one file of samples.

    Attributes:
        dataset: name of the data set.
        dataset_tasks: tasks that it has.
        tasks: tasks that have a sample; pass@k is the mean over these.
        samples: how many there are.
        extracted: samples whose program was found in a response (`Sample.extracted`).
        forgeable: samples whose verdict they could have forged (`Score.forgeable`).
        empty: samples without a text (`Sample.empty`).
        tests: how many of a task's tests are visible to a decoder, and how many decide.
        isolation: under which programs ran; where samples differ, the weakest.
        statuses: samples of each `JudgedSample.status`.
        pass_at_k: by k, from 0 to 1.
        short_tasks: of each k that cannot be computed, the tasks with fewer samples.
    """

    dataset: str
    dataset_tasks: int
    tasks: int
    samples: int
    extracted: int
    forgeable: int
    empty: int
    tests: TestCounts
    isolation: Isolation
    statuses: Mapping[TestStatus, int]
    pass_at_k: Mapping[int, float]
    short_tasks: Mapping[int, int]


def evaluate(
    judged: Sequence[JudgedSample], dataset: str, dataset_tasks: int, ks: Iterable[int] = ()
) -> Evaluation:
    """Return the numbers of judged samples.

    Args:
        judged: at least one.
        dataset: its name.
        dataset_tasks: how many tasks it has.
        ks: the k of pass@k; none: those of 1, 10 and 100 that every task has samples for.
    """
    samples = Counter(one.sample.problem.task_id for one in judged)
    correct = Counter(one.sample.problem.task_id for one in judged if one.score.passed)
    statuses = Counter(one.status for one in judged)
    problems = {one.sample.problem.task_id: one.sample.problem for one in judged}
    fewest = min(samples.values())
    wanted = sorted(set(ks)) or [k for k in USUAL_KS if k <= fewest]
    counts = [(number, correct[task]) for task, number in samples.items()]
    return Evaluation(
        dataset=dataset,
        dataset_tasks=dataset_tasks,
        tasks=len(samples),
        samples=len(judged),
        extracted=sum(one.sample.extracted for one in judged),
        forgeable=sum(one.score.forgeable for one in judged),
        empty=sum(one.sample.empty for one in judged),
        tests=TestCounts.of(_test_counts(problem) for problem in problems.values()),
        isolation=max((one.isolation for one in judged), key=_weakness),
        statuses={status: statuses[status] for status in TestStatus},
        pass_at_k={k: mean_pass_at_k(counts, k) for k in wanted if k <= fewest},
        short_tasks={k: sum(n < k for n, _ in counts) for k in wanted if k > fewest},
    )


def as_text(evaluation: Evaluation) -> str:
    """Return the numbers for a person."""
    samples = evaluation.samples
    lines = [
        f"{evaluation.dataset}: {samples} sample{_s(samples)}, "
        f"{evaluation.tasks} of {evaluation.dataset_tasks} tasks",
        evaluation.tests.words("visible"),
        f"isolation: {_isolation_text(evaluation.isolation)}",
        "",
        f"{'':<14}{'samples':>7}{'share':>10}",
    ]
    for status, number in evaluation.statuses.items():
        lines.append(f"{status.value:<14}{number:>7}{100 * number / samples:>8.1f} %")
    lines.append("")
    for k, chance in evaluation.pass_at_k.items():
        lines.append(f"{f'pass@{k}':<14}{'':>7}{100 * chance:>8.1f} %")
    for k, tasks in evaluation.short_tasks.items():
        have = "task has" if tasks == 1 else "tasks have"
        lines.append(f"{f'pass@{k}':<14}not computed: {tasks} {have} fewer than {k} samples")
    return "\n".join([*lines, *_notes(evaluation)]) + "\n"


def as_json(evaluation: Evaluation) -> bytes:
    """Return the numbers as one JSON object; pass@k is from 0 to 1."""
    content = {
        "dataset": evaluation.dataset,
        "dataset_tasks": evaluation.dataset_tasks,
        "tasks": evaluation.tasks,
        "samples": evaluation.samples,
        "extracted": evaluation.extracted,
        "forgeable": evaluation.forgeable,
        "empty": evaluation.empty,
        "tests": attrs.asdict(evaluation.tests),
        "isolation": evaluation.isolation.as_json(),
        "statuses": {status.value: number for status, number in evaluation.statuses.items()},
        "pass_at_k": {str(k): chance for k, chance in evaluation.pass_at_k.items()},
        "tasks_short_of_k": {str(k): tasks for k, tasks in evaluation.short_tasks.items()},
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _test_counts(problem: Problem) -> tuple[int, int, int]:
    visible = {test.name for test in problem.visible_tests}
    scoring = {test.name for test in problem.scoring_tests}
    return len(visible), len(scoring), len(visible & scoring)


def _notes(evaluation: Evaluation) -> Iterable[str]:
    missing = evaluation.dataset_tasks - evaluation.tasks
    if missing:
        yield f"note: {missing} task{_s(missing)} without a sample; pass@k leaves them out"
    if evaluation.extracted:
        number = evaluation.extracted
        yield f"note: {number} sample{_s(number)} read as a response: no Python as it stands"
    if evaluation.empty:
        number = evaluation.empty
        yield f"note: {number} sample{_s(number)} without a completion, judged as empty"
    if evaluation.statuses[TestStatus.UNSUPPORTED]:
        yield "note: unsupported results cannot be judged apart from the program, so not passed"
    if evaluation.forgeable:
        number = evaluation.forgeable
        yield f"note: {number} sample{_s(number)} judged in their own process, which can forge that"
    if evaluation.statuses[TestStatus.SANDBOX_ERROR]:
        yield (
            "note: sandbox_error says nothing about a sample, which counts as not passed; "
            "`egcfg doctor` checks the sandbox"
        )


def _weakness(isolation: Isolation) -> tuple[int, int]:
    return list(Level).index(isolation.level), len(isolation.missing)


def _isolation_text(isolation: Isolation) -> str:
    missing = f", without {', '.join(isolation.missing)}" if isolation.missing else ""
    return isolation.level.value + missing


def _s(number: int) -> str:
    return "" if number == 1 else "s"
