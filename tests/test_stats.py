"""Intervals, paired tests and Holm's correction, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedecho.core.stats import band, holm, mean_ci, paired_difference, power


def test_interval_of_three_values() -> None:
    # sd = 1, standard error = 1 / sqrt(3), t(0.975, 2) = 4.302653
    mean, half, n = mean_ci([1.0, 2.0, 3.0])
    assert (mean, n) == (2.0, 3)
    assert half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_the_level_sets_the_width() -> None:
    # t(0.75, 1) = 1, standard error of (0, 2) = 1
    assert mean_ci([0.0, 2.0], level=0.5).half == pytest.approx(1.0)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    one, nothing = mean_ci([7.0]), mean_ci([])
    assert (one.mean, one.n) == (7.0, 1) and math.isnan(one.half)
    assert nothing.n == 0 and math.isnan(nothing.mean) and math.isnan(nothing.half)


def test_band_works_point_by_point() -> None:
    means, halves = band(np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]]))
    assert means.tolist() == [2.0, 5.0]
    assert halves == pytest.approx([mean_ci([1.0, 2.0, 3.0]).half, 0.0])


def test_paired_difference_uses_the_seeds_of_both() -> None:
    # differences 1, 2, 3 over seeds 0, 1, 2: t = 2 / (1 / sqrt(3)) = 3.4641, p = 0.07418 at 2 degrees of freedom
    a, b = {0: 11.0, 1: 12.0, 2: 13.0, 8: 99.0}, {2: 10.0, 1: 10.0, 0: 10.0, 9: -99.0}
    mean, half, p, n = paired_difference(a, b)
    assert (mean, n) == (2.0, 3)
    assert half == pytest.approx(mean_ci([1.0, 2.0, 3.0]).half)
    assert p == pytest.approx(0.0741799, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 80.0])
def test_differences_without_variance(scale: float) -> None:
    a = {0: 0.1 * scale, 1: 0.7 * scale, 2: 0.8 * scale}
    assert paired_difference(a, dict(a)).p == 1.0
    shifted = {seed: value + 0.1 * scale for seed, value in a.items()}  # equal but for rounding
    assert paired_difference(shifted, a).p == 0.0
    assert paired_difference({0: 0.1 + 0.2, 1: 0.1 + 0.2}, {0: 0.3, 1: 0.3}).p == 1.0


def test_fewer_than_two_pairs_have_no_p() -> None:
    one, nothing = paired_difference({0: 2.0}, {0: 1.0}), paired_difference({0: 2.0}, {1: 1.0})
    assert (one.mean, one.p, one.n) == (1.0, None, 1)
    assert (nothing.p, nothing.n) == (None, 0) and math.isnan(nothing.mean)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.04 times 3, 2, 1 = 0.03, 0.04, 0.04
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


def test_holm_is_monotone_and_at_most_one() -> None:
    # 0.03 * 2 = 0.06 carries over to 0.04 * 1
    assert holm([0.03, 0.04]) == pytest.approx([0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_holm_leaves_none_out_of_the_family() -> None:
    assert holm([None, 0.01, None, 0.02]) == [None, pytest.approx(0.02), None, pytest.approx(0.02)]
    assert holm([]) == []


def test_power_without_an_effect_is_half_the_level_and_grows_to_1() -> None:
    assert power(0.0, 1.0, 10, 0.05) == pytest.approx(0.025) and power(9.0, 1.0, 10, 0.05) == pytest.approx(1.0)
    assert power(0.5, 1.0, 34) == pytest.approx(0.8078, abs=1e-4)  # the textbook's: half a standard deviation, 34 pairs
    assert (power(1.0, 0.0, 2), power(0.0, 0.0, 2), power(1.0, 1.0, 1)) == (1.0, 0.0, 0.0)
