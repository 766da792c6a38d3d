"""Intervals and tests over test images: pure functions of arrays, with nothing but NumPy (and SciPy, if it is there).

All of them speak of the trained networks as they are: other test images, not other trainings.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RESAMPLES: Final = 10_000
LEVEL: Final = 0.95
_EXACT_UP_TO: Final = 14  # 2^14 sign patterns are as quick as the random ones
_BLOCK: Final = 4_000_000  # numbers drawn at a time, which bounds the memory


def bootstrap_intervals(values: Array, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL) -> Array:
    """Returns percentile bootstrap intervals of means.

    Args:
        values: A column per quantity, a row per image, (N, K). All columns are resampled alike, so a difference of two
            columns may be a column of its own.
        seed: Of the resampling; equal seeds give equal intervals.
        resamples: How often N images are drawn out of N.
        level: What share of the resampled means lies inside.

    Returns:
        Lower and upper ends, (K, 2).
    """
    count, columns = values.shape
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, columns))
    block = max(1, _BLOCK // count)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        # How often each image was drawn turns a gather per column into one matrix product for all of them.
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        means[start : start + size] = weights @ values / count
    tail = (1 - level) / 2
    return np.quantile(means, [tail, 1 - tail], axis=0).T


def paired_test_name() -> str:
    """Returns which test `paired_test` makes."""
    return "Wilcoxon signed-rank test" if _wilcoxon() else "paired sign-flip permutation test"


def paired_test(differences: Array, *, seed: int = 0) -> float:
    """Returns the two-sided p-value of the differences (N,) lying around zero.

    It is Wilcoxon's signed-rank test where SciPy is installed, `sign_flip_test` elsewhere.
    """
    wilcoxon = _wilcoxon()
    if not differences.any():
        return 1.0  # nothing differs, which SciPy refuses to judge
    if wilcoxon is None:
        return sign_flip_test(differences, seed=seed)
    return float(wilcoxon(differences).pvalue)


def sign_flip_test(differences: Array, *, seed: int = 0, resamples: int = RESAMPLES) -> float:
    """Returns the two-sided p-value of a mean difference: how often random signs reach it.

    Args:
        differences: One per image, (N,).
        seed: Of the signs.
        resamples: Random sign patterns; up to 14 images all patterns are tried instead, and the p-value is exact.
    """
    count = len(differences)
    observed = abs(differences.sum())
    almost = observed * (1 - 1e-12)  # sums in another order may fall short of themselves
    if count <= _EXACT_UP_TO:
        patterns = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return float((np.abs((1 - 2 * patterns) @ differences) >= almost).mean())
    generator = np.random.default_rng(seed)
    reached, block = 0, max(1, _BLOCK // count)
    for start in range(0, resamples, block):
        signs = generator.integers(2, size=(min(block, resamples - start), count)) * 2 - 1
        reached += int((np.abs(signs @ differences) >= almost).sum())
    return (1 + reached) / (1 + resamples)  # the pattern that was observed is one of them


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number by Holm's step-down method.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - place)))
        corrected[index] = highest
    return corrected


def _wilcoxon() -> Callable[..., Any] | None:
    try:
        from scipy.stats import wilcoxon
    except ImportError:
        return None
    return wilcoxon
