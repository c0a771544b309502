"""pass@k by the unbiased estimator of Chen et al. (2021), section 2.1: pure functions of counts."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["mean_pass_at_k", "pass_at_k"]


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Return the chance that one of `k` samples, drawn without replacement, is correct.

    ``1 - C(samples - correct, k) / C(samples, k)``, as a product of factors between 0 and 1: the
    binomials themselves leave the range of floats.

    Args:
        samples: how many there are of the task (n in the paper).
        correct: how many of them are correct (c).
        k: how many are drawn; at least 1 and at most `samples`.

    Raises:
        ValueError: the counts cannot be.
    """
    if not 0 <= correct <= samples:
        raise ValueError(f"{correct} correct samples of {samples}")
    if not 1 <= k <= samples:
        raise ValueError(f"cannot draw {k} of {samples} samples")
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - correct + 1, samples + 1))


def mean_pass_at_k(counts: Iterable[tuple[int, int]], k: int) -> float:
    """Return pass@k of a data set: the mean over its tasks.

    Args:
        counts: of each task its samples and its correct ones; at least one task.
        k: how many samples are drawn of each task.

    Raises:
        ValueError: there is no task, or a task has fewer than `k` samples.
    """
    chances = [pass_at_k(samples, correct, k) for samples, correct in counts]
    if not chances:
        raise ValueError("no task: there is no mean")
    return math.fsum(chances) / len(chances)
