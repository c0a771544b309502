"""The statistics of a comparison, all of them scipy's: intervals over tasks, and McNemar's test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from egcfg.errors import MissingExtraError

__all__ = ["mcnemar", "mean_interval", "paired_interval"]

LEVEL = 0.95
RESAMPLES = 4000
SEED = 0  # the same results give the same intervals


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of one value per task, each from 0 to 1.

    A percentile bootstrap over the tasks. Where all values are 0 or all are 1, resampling them says
    nothing: there it is the exact interval of a share (Clopper and Pearson 1934).

    Args:
        values: at least one.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    stats = _stats()
    if len(set(values)) == 1 and values[0] in (0.0, 1.0):
        exact = stats.binomtest(int(sum(values)), len(values)).proportion_ci(LEVEL, "exact")
        return float(exact.low), float(exact.high)
    if len(values) == 1:
        return 0.0, 1.0
    return _bootstrap((values,), lambda sample, axis: np.mean(sample, axis=axis))


def paired_interval(values: Sequence[float], base: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean difference of two arms on the same tasks.

    A percentile bootstrap over the tasks, each with both of its values. None: all differences are
    equal, so that resampling says nothing.

    Args:
        values: one per task.
        base: that of the other arm, in the same order.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    if len({one - other for one, other in zip(values, base, strict=True)}) <= 1:
        return None
    return _bootstrap(
        (values, base), lambda one, other, axis: np.mean(one, axis=axis) - np.mean(other, axis=axis)
    )


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p of McNemar's exact test: a gain is as likely as a loss.

    Args:
        gained: tasks that one arm alone solved.
        lost: tasks that the other one alone solved.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    if gained + lost == 0:
        return 1.0
    return float(_stats().binomtest(gained, gained + lost, 0.5).pvalue)


def _bootstrap(samples: tuple[Sequence[float], ...], statistic: Any) -> tuple[float, float]:
    found = _stats().bootstrap(
        tuple(np.asarray(sample, dtype=float) for sample in samples),
        statistic,
        paired=len(samples) > 1,
        vectorized=True,
        confidence_level=LEVEL,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtraError(
            "intervals and tests need the package 'scipy'; run: pip install 'egcfg[compare]'"
        ) from error
    return stats
