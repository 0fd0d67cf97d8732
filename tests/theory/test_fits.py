"""Planted exponents come back, intervals cover as often as they say, and the rule refuses what it has to."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from fedecho.core.checks import InputError
from fedecho.theory import fits
from fedecho.theory.fits import Fit, Slope

GRID = list(itertools.product((250, 500, 1000, 2000), (1, 2, 4)))
T, M = [t for t, _ in GRID], [m for _, m in GRID]


def planted(b_t: float, b_m: float, noise: NDArray[np.float64]) -> NDArray[np.float64]:
    level = np.exp(1.5) * np.array([t**b_t * m**b_m for t, m in GRID])
    return level[:, None] * noise


@given(b_t=st.floats(-2, 1), b_m=st.floats(-2, 1))
@settings(deadline=None, max_examples=30)
def test_planted_exponents_come_back(b_t: float, b_m: float) -> None:
    found = fits.fit(planted(b_t, b_m, np.ones((len(GRID), 3))), {"T": T, "M": M})
    assert found.slopes["T"].value == pytest.approx(b_t, abs=1e-9)
    assert found.slopes["M"].value == pytest.approx(b_m, abs=1e-9)


def test_intervals_cover_95_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "RESAMPLES", 499)
    rng, hits, tries = np.random.default_rng(3), [], 400
    for _ in range(tries):
        found = fits.fit(planted(-0.5, -0.5, rng.gamma(4, 1 / 4, (len(GRID), 24))), {"T": T, "M": M})
        hits += [s.low <= -0.5 <= s.high for s in found.slopes.values()]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.03)


def test_few_trajectories_widen_the_level_as_student_does() -> None:
    assert fits.expanded_level(24) == pytest.approx(0.9654, abs=1e-3)
    assert fits.expanded_level(10_000) == pytest.approx(0.95, abs=1e-3)


def test_r2_by_hand() -> None:
    # log Y = 0, 1, 1 at log x = 0, 1, 2: slope 1/2, residuals -1/6, 1/3, -1/6; R^2 = 1 - (1/6) / (2/3)
    found = fits.fit(np.exp([[0.0], [1.0], [1.0]]).repeat(2, 1), {"x": list(np.exp([0.0, 1.0, 2.0]))})
    assert found.slopes["x"].value == pytest.approx(0.5) and found.r2 == pytest.approx(0.75)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_diverged_trajectory_is_refused_by_name(bad: float) -> None:
    values = np.ones((len(GRID), 3))
    values[4, 1] = bad
    with pytest.raises(InputError, match="T = 500, M = 2"):
        fits.fit(values, {"T": T, "M": M})


def a_fit(t: tuple[float, float], m: tuple[float, float], r2: float = 0.99) -> Fit:
    return Fit({"T": Slope(sum(t) / 2, *t), "M": Slope(sum(m) / 2, *m)}, r2)


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        (a_fit((-0.55, -0.45), (-0.6, -0.4)), 0),
        (a_fit((-0.61, -0.45), (-0.55, -0.45)), 1),
        (a_fit((-0.55, -0.39), (-0.2, -0.1)), 2),
        (a_fit((-0.55, -0.45), (-0.55, -0.45), r2=0.97), 1),
    ],
)
def test_the_rule(found: Fit, reasons: int) -> None:
    verdict = fits.judge_rate(found)
    assert verdict.passed == (reasons == 0) and len(verdict.reasons) == reasons
    assert str(verdict).startswith("passes" if verdict.passed else "fails (")


@pytest.mark.parametrize(
    ("low", "high", "r2", "passed"),
    [(-1.01, -0.99, 0.99, True), (-1.05, -0.95, 0.99, True), (-1.06, -1.0, 0.99, False), (-1.0, -0.94, 0.99, False),
     (-1.01, -0.99, 0.9, False)],
)  # fmt: skip
def test_the_rule_of_speed_up(low: float, high: float, r2: float, passed: bool) -> None:
    assert fits.judge_floor(Fit({"M": Slope(-1.0, low, high)}, r2)).passed == passed


def test_a_difference_that_may_be_negative_has_no_rate() -> None:
    with pytest.raises(InputError, match="a resampled mean <= 0"):
        fits.fit(np.array([[3.0, -1.0, -1.0], [1.0, 1.0, 1.1]]), {"x": [1.0, 2.0]})
