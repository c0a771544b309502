"""Arms without files: outcomes written down as what was answered when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from egcfg.comparison.arms import Answer, Arm, Outcome

MakeArm = Callable[..., Arm]


def counts(tokens: int) -> dict[str, int]:
    """Return the counts of so many uncached tokens; cached ones are twice as many."""
    return {
        "uncached": tokens // 2,
        "cached": 2 * tokens,
        "output": tokens - tokens // 2,
        "calls": max(1, tokens // 100),
        "passes": tokens // 10,
        "requests": 0,
        "executions": max(1, tokens // 50),
    }


def outcome(
    task: str,
    answers: Sequence[tuple[int, bool]],
    *,
    end: int | None = None,
    visible: bool | None = None,
    sha: str | None = None,
    seen: int | None = 1,
) -> Outcome:
    """Return the outcome of answers, each a number of tokens and whether it passed."""
    return Outcome(
        task_id=task,
        answers=tuple(
            Answer(passed=passed, visible=visible, counts=counts(tokens))
            for tokens, passed in answers
        ),
        counts=counts(answers[-1][0] if end is None and answers else end or 0),
        problem_sha256=sha or f"sha of {task}",
        seen=seen,
        scored=3,
        both=seen,
        seconds=2.0,
    )


@pytest.fixture
def make_outcome() -> Callable[..., Outcome]:
    return outcome


@pytest.fixture
def make_arm() -> MakeArm:
    def make(
        label: str,
        answers: Mapping[str, Sequence[tuple[int, bool]]],
        *,
        config: str | None = None,
        model: str | None = "tiny",
        provenance: Mapping[str, object] | None = None,
        **details: object,
    ) -> Arm:
        return Arm(
            label=label,
            dataset="mbpp-1",
            model=model,
            config=config or f"method={label}",
            outcomes={task: outcome(task, each, **details) for task, each in answers.items()},
            provenance=provenance or {},
        )

    return make


@pytest.fixture
def race(make_arm: MakeArm) -> list[Arm]:
    """Three arms on four tasks: cheap, sampled and guided."""
    greedy = {str(task): [(200, task == 1)] for task in range(1, 5)}
    sampled = {
        "1": [(200, True)],
        "2": [(200, False), (600, True)],
        "3": [(200, False), (900, False)],
        "4": [(200, False), (1800, True)],
    }
    guided = {
        "1": [(700, False)],
        "2": [(700, True)],
        "3": [(700, True)],
        "4": [(700, False)],
    }
    return [
        make_arm("greedy", greedy, visible=True),
        make_arm("best_of_n", sampled),
        make_arm("egcfg", guided, config="ns3t0.7d2_chat_ln"),
    ]
