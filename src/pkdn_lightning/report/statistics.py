"""Intervals and tests over test images, by SciPy.

All of them describe the trained networks as they are: what other test images would give, not other trainings.
"""

import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

RESAMPLES: Final = 10_000
PAIRED_TEST: Final = "Wilcoxon signed-rank test"
"""What `paired_test` computes, for captions."""

_NUMBERS: Final = 4_000_000  # resampled at a time, which bounds the memory


def bootstrap_intervals(values: Array, *, seed: int = 0) -> Array:
    """Returns 95 % percentile bootstrap intervals of means.

    Args:
        values: A column per quantity, a row per image, (N, K). All columns are resampled alike, so a difference of two
            columns may be a column of its own.
        seed: Seed of the resampling; equal seeds give equal intervals.

    Returns:
        Lower and upper ends, (K, 2).
    """
    if len(values) == 1:  # one image has no spread, and SciPy wants two
        return np.repeat(values.T, 2, axis=1)
    with warnings.catch_warnings(action="ignore", category=stats.DegenerateDataWarning):  # a network that diverged
        interval = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=max(1, _NUMBERS // values.size),
            confidence_level=0.95,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return np.stack([interval.low, interval.high], axis=1)


def paired_test(differences: Array) -> float:
    """Returns the two-sided p-value of Wilcoxon's signed-rank test that the differences (N,) lie around zero."""
    if not differences.any():
        return 1.0  # SciPy returns NaN where nothing differs
    return float(stats.wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number by Holm's step-down method.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values)
    order = np.argsort(p)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return [float(each) for each in corrected]
