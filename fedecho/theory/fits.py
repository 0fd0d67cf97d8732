"""Exponents with confidence intervals, and the one rule by which a rate passes or fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fedecho.core.checks import require

Array = NDArray[np.float64]
RESAMPLES = 999
SLOPE_BAND = (-0.6, -0.4)
"""Where the slopes in T and in M have to lie, with their whole intervals."""
LEAST_R2 = 0.97
FLOOR_BAND = (-1.05, -0.95)
"""Where the slope of the noise floor in M has to lie."""
_SEED = 0


@dataclass(frozen=True)
class Slope:
    """An exponent and its 95 % interval, by bootstrap over the trajectories."""

    value: float
    low: float
    high: float

    def inside(self, band: tuple[float, float]) -> bool:
        """Tell whether the whole interval lies in `band`."""
        return band[0] <= self.low and self.high <= band[1]


@dataclass(frozen=True)
class Fit:
    """log Y = a + sum_k b_k log(factor_k) by least squares, on the means over the trajectories."""

    slopes: dict[str, Slope]
    r2: float
    """Share of the variance of log Y that the fit explains, in [0, 1]."""


def fit(values: Array, factors: Mapping[str, Sequence[float]]) -> Fit:
    """Fit exponents to `values` `[points, trajectories]` at `factors`, name -> `[points]`.

    Raises `InputError` naming the first point that is not a finite number > 0: a diverged trajectory has no rate.
    """
    x = np.column_stack([np.ones(len(values)), *(np.log(np.asarray(f, dtype=float)) for f in factors.values())])
    for place, row in enumerate(values):
        at, usable = ", ".join(f"{name} = {f[place]:g}" for name, f in factors.items()), np.isfinite(row).all()
        require(bool(usable and row.mean() > 0), "trajectories", at, "diverged or zero: no rate can be fitted")
    solve = np.linalg.pinv(x)
    means = np.log(values.mean(1))
    beta = solve @ means
    spread = means - means.mean()
    r2 = 1 - float(((means - x @ beta) ** 2).sum() / (spread @ spread)) if spread.any() else 0.0
    slopes = {name: _interval(values, solve[k], beta[k]) for k, name in enumerate(factors, start=1)}
    return Fit(slopes, r2)


def _interval(values: Array, weights: Array, estimate: float) -> Slope:
    """Return sum_p weights_p log(mean over trajectories of Y_p) with its interval: whole columns are drawn anew."""
    trajectories = np.arange(values.shape[1])

    def statistic(drawn: NDArray[np.int64], axis: int = -1) -> Array:
        means = values[:, drawn].mean(axis)
        require(bool((means > 0).all()), "trajectories", "a resampled mean <= 0", "no rate can be fitted")
        return np.asarray(np.log(means).T @ weights)

    found = stats.bootstrap(
        (trajectories,), statistic, n_resamples=RESAMPLES, vectorized=True, method="percentile",
        confidence_level=expanded_level(len(trajectories)), rng=np.random.default_rng(_SEED),
    ).confidence_interval  # fmt: skip
    return Slope(float(estimate), float(found.low), float(found.high))


def expanded_level(n: int, level: float = 0.95) -> float:
    """Return the level at which a percentile interval over n values covers as often as Student's t: few values make
    it too narrow (Hesterberg, "What teachers should know about the bootstrap", 2015)."""
    reach = np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1)
    return float(2 * stats.norm.cdf(reach) - 1)


@dataclass(frozen=True)
class Verdict:
    """What the rule says, and why not where it says no."""

    passed: bool
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a word, and the reasons."""
        return "passes" if self.passed else f"fails ({'; '.join(self.reasons)})"


def judge_rate(found: Fit) -> Verdict:
    """Apply the rule to a fit on T and M: both intervals in [-0.6, -0.4], and R^2 above 0.97."""
    low, high = SLOPE_BAND
    reasons = [
        f"slope in {name} {s.value:.2f} [{s.low:.2f}, {s.high:.2f}] not within [{low:g}, {high:g}]".replace("-", "−")
        for name, s in found.slopes.items()
        if not s.inside(SLOPE_BAND)
    ]
    if not found.r2 > LEAST_R2:
        reasons.append(f"R² {found.r2:.3f}, not above {LEAST_R2:g}".replace("-", "−"))
    return Verdict(not reasons, tuple(reasons))


def judge_floor(found: Fit) -> Verdict:
    """Apply the rule of linear speed-up: the noise floor at a fixed step falls as M^(-1 +- 0.05), with its interval,
    and R^2 above 0.97."""
    slope = found.slopes["M"]
    inside = slope.inside(FLOOR_BAND) and found.r2 > LEAST_R2
    numbers = f"M^{slope.value:.3f} [{slope.low:.3f}, {slope.high:.3f}], R² {found.r2:.3f}".replace("-", "−")
    return Verdict(inside, () if inside else (f"the noise floor falls as {numbers}",))
