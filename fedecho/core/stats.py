"""Intervals over seeds, paired tests with their power, and Holm's correction; pure functions on top of scipy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

_SAME = 1e-12
"""Differences that vary by less than this share of the values are constant but for rounding."""


class Mean(NamedTuple):
    """A mean and the half width of its confidence interval, both in the values' unit, over n values."""

    mean: float
    half: float
    n: int


class Difference(NamedTuple):
    """The mean of paired differences, the half width of its interval, the two-sided p, and the number of pairs."""

    mean: float
    half: float
    p: float | None
    n: int


def mean_ci(values: Sequence[float], level: float = 0.95) -> Mean:
    """Return mean and half width of the Student-t interval of `values` `[n]`; nan where n is too small for them."""
    mean, half = band(np.asarray(values, dtype=float)[:, None], level)
    return Mean(float(mean[0]), float(half[0]), len(values))


def band(curves: NDArray[np.float64], level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means and half widths `[points]` over the seeds of `curves` `[seeds, points]`, point by point."""
    n, points = curves.shape
    nothing = np.full(points, np.nan)
    if n < 2:
        return (curves[0] if n else nothing), nothing
    error = curves.std(axis=0, ddof=1) / np.sqrt(n)
    return curves.mean(axis=0), error * float(stats.t.ppf((1 + level) / 2, n - 1))


def paired_difference(a: Mapping[int, float], b: Mapping[int, float], level: float = 0.95) -> Difference:
    """Compare `a` - `b`, each seed -> value, over the seeds present in both; p is none for fewer than 2 of them."""
    seeds = sorted(a.keys() & b.keys())
    first, second = np.array([a[s] for s in seeds], dtype=float), np.array([b[s] for s in seeds], dtype=float)
    mean, half, n = mean_ci((first - second).tolist(), level)
    return Difference(mean, half, _paired_p(first, second), n)


def _paired_p(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Return the p of the paired t-test of `a` and `b` `[n]`; without variance t is 0/0 (p = 1) or infinite (p = 0)."""
    if len(a) < 2:
        return None
    difference, tiny = a - b, _SAME * float(np.abs([a, b]).max())
    if np.ptp(difference) <= tiny:
        return 1.0 if abs(difference[0]) <= tiny else 0.0
    return float(stats.ttest_rel(a, b).pvalue)


def power(effect: float, sd: float, n: int, level: float = 0.05) -> float:
    """Return the chance that the paired t-test finds a mean difference above 0, with a two-sided p below `level`, if n
    differences have the mean `effect` and the standard deviation `sd`."""
    if n < 2 or sd == 0:
        return float(n > 1 and effect > 0)
    return float(stats.nct.sf(stats.t.ppf(1 - level / 2, n - 1), n - 1, effect / sd * np.sqrt(n)))


def holm(pvalues: Sequence[float | None]) -> list[float | None]:
    """Return Holm's step-down adjusted p-values in [0, 1] of one family, in place; none stays none and does not count.

    The k-th smallest of m values is multiplied by m - k + 1, and none may be below a smaller one's.
    """
    known = sorted((p, i) for i, p in enumerate(pvalues) if p is not None)
    adjusted: list[float | None] = [None] * len(pvalues)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = largest
    return adjusted
