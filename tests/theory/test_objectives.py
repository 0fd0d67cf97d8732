"""Gradients against finite differences, optima and constants against what is declared."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from fedecho.theory import tasks
from fedecho.theory.config import ObjectiveName, TheoryRun
from fedecho.theory.objectives import Bounded, Objective, Quadratic, client_spread, extremity, suboptimality
from fedecho.theory.softmax import Softmax

NAMES: tuple[ObjectiveName, ...] = ("quadratic", "logistic", "images", "bounded", "network")
SMALL = Quadratic(torch.tensor([[1.0, 2.0], [3.0, 2.0]]).double(), torch.tensor([[0.0, 1.0], [4.0, 1.0]]).double())


def objective(name: ObjectiveName) -> Objective:
    return tasks.build(TheoryRun(objective=name)).objective


def at(seed: int, size: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**31), which=st.integers(0, tasks.COUNT - 1))
@settings(deadline=None, max_examples=10)
def test_gradient_is_the_slope_of_the_value(name: ObjectiveName, seed: int, which: int) -> None:
    f, step, i = objective(name), 1e-5, torch.tensor(which)
    x, direction = at(seed, len(f.start)), at(seed + 1, len(f.start))
    ahead, behind = (f.value(x + sign * step * direction, i) for sign in (1, -1))
    slope = float((ahead - behind) / (2 * step))
    assert float(f.gradient(x, i) @ direction) == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_mean_gradient_is_the_weighted_mean_of_the_gradients(name: ObjectiveName) -> None:
    f = objective(name)
    weights = torch.linspace(1, 3, f.count, dtype=torch.float64)
    weights = weights / weights.sum()
    x = at(3, len(f.start))
    each = f.gradient(x.expand(f.count, -1), torch.arange(f.count))
    torch.testing.assert_close(f.mean_gradient(x), each.mean(0))
    torch.testing.assert_close(f.mean_gradient(x.expand(2, 3, -1), weights)[1, 2], weights @ each)


@pytest.mark.parametrize("name", NAMES)
def test_many_points_are_what_each_is_alone(name: ObjectiveName) -> None:
    f = objective(name)
    x, which = at(5, 6 * len(f.start)).view(2, 3, -1), torch.tensor([[0, 4, 2], [7, 7, 1]])
    together = f.gradient(x, which)
    for j in range(2):
        for k in range(3):
            torch.testing.assert_close(together[j, k], f.gradient(x[j, k], which[j, k]))


@pytest.mark.parametrize("name", NAMES)
def test_the_stationary_point_is_one_and_below_the_start(name: ObjectiveName) -> None:
    f = objective(name)
    x = f.stationary()
    assert float(f.mean_gradient(x).norm()) < 1e-7 and suboptimality(f, f.start) > 0
    uneven = torch.tensor([0.5] + [0.5 / (f.count - 1)] * (f.count - 1), dtype=torch.float64)
    assert float(f.mean_gradient(f.stationary(uneven), uneven).norm()) < 1e-7


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=10)
def test_no_curvature_is_above_the_declared_one(name: ObjectiveName, seed: int) -> None:
    f = objective(name)
    centre = f.stationary()
    scale = 0.01 if name == "network" else 2.0  # what a network declares holds near where it was measured
    x, step, which = (
        centre + at(seed, len(f.start), scale),
        at(seed + 1, len(f.start), 1e-4),
        torch.tensor(seed % f.count),
    )
    change = f.gradient(x + step, which) - f.gradient(x, which)
    assert float(change.norm() / step.norm()) <= f.smoothness * (1.02 if name == "network" else 1 + 1e-9)


def test_quadratic_by_hand() -> None:
    # f = 1/4 (x^2 + 3 (x - 4)^2) + (y - 1)^2 with its minimum where x + 3 (x - 4) = 0
    assert SMALL.stationary().tolist() == [3.0, 1.0] and SMALL.smoothness == 3
    assert SMALL.gradient(torch.tensor([1.0, 3.0]).double(), torch.tensor(1)).tolist() == [-9.0, 4.0]
    assert float(SMALL.value(torch.tensor([1.0, 3.0]).double(), torch.tensor(1))) == 17.5
    assert client_spread(SMALL) == 9.0  # gradients 3 and -3 in x
    assert extremity(SMALL).tolist() == [3.0, -3.0]  # the direction points to where gradients rise
    assert SMALL.stationary(torch.tensor([1.0, 0.0]).double()).tolist() == [0.0, 1.0]


def test_bounded_by_hand() -> None:
    f = Bounded(torch.tensor([[0.0], [2.0]]).double())
    assert float(f.value(torch.tensor([1.0]).double(), torch.tensor(0))) == 0.5
    assert f.gradient(torch.tensor([1.0]).double(), torch.tensor(0)).tolist() == [0.5]
    assert f.mean_gradient(torch.tensor([1.0]).double()).tolist() == [0.0]


def test_softmax_by_hand() -> None:
    f = Softmax(torch.ones(1, 1, 1).double(), torch.zeros(1, 1).long(), classes=2, ridge=0.0)
    x = torch.tensor([0.0, math.log(3)]).double()  # probabilities 1/4 and 3/4, the label is the first class
    assert float(f.value(x, torch.tensor(0))) == pytest.approx(math.log(4))
    assert f.gradient(x, torch.tensor(0)).tolist() == pytest.approx([-0.75, 0.75])


def test_quadratics_of_one_curvature_have_the_origin_as_their_optimum() -> None:
    f = tasks.quadratic(heterogeneity=2.0)
    assert float(f.stationary().abs().max()) < 1e-12 and f.smoothness == 1.0
    assert tasks.quadratic(1.0, curvature_spread=0.9).curvature.std(0).min() > 0.01


def test_images_are_real_and_unevenly_split() -> None:
    f, pool = tasks.images()
    assert f.features.shape == (50, 20, 13) and pool.shape == (32, 13) and f.classes == 10
    shares = torch.nn.functional.one_hot(f.labels, 10).double().mean(1)
    assert shares.amax(1).mean() > 0.4  # of ten classes one has nearly half a client's images
