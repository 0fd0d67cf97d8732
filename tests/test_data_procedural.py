"""Dead leaves and noise: any shape, the same pool in every run, the distribution that is stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fedecho import data
from fedecho.data import pools


@pytest.mark.parametrize("name", pools.MAKERS)
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_images_have_the_shape_that_is_asked(name: str, shape: tuple[int, int, int]) -> None:
    images = data.load_unlabeled(name, count=3, shape=shape)
    assert images.images.shape == (3, *shape) and images.labels is None
    assert len(np.unique(images.images, axis=0)) == 3


@pytest.mark.parametrize("make", pools.MAKERS.values())
def test_a_smaller_pool_is_the_beginning_of_a_larger_one(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "BLOCK", 4)  # 6 images: one block and a half
    np.testing.assert_array_equal(make(3, (8, 8, 1)), make(6, (8, 8, 1))[:3])
    assert not np.array_equal(make(8, (8, 8, 1))[:4], make(8, (8, 8, 1))[4:])


def test_a_pool_is_made_once_per_process() -> None:
    assert data.load_unlabeled("noise", count=2) is data.load_unlabeled("noise", count=2)


def test_noise_has_the_stated_moments() -> None:
    values = pools.MAKERS["noise"](40, (28, 28, 1)) / 255
    assert abs(values.mean() - 0.5) < 0.01
    within = np.mean(np.abs(values - 0.5) < 0.25)  # one standard deviation; clipping at two does not touch it
    assert abs(within - 0.683) < 0.01
    rows = values.reshape(40, -1)
    assert abs(np.corrcoef(rows[:, :-1].ravel(), rows[:, 1:].ravel())[0, 1]) < 0.02


def test_leaves_are_few_flat_regions_of_any_grey() -> None:
    images = pools.MAKERS["dead-leaves"](20, (28, 28, 1))
    assert all(2 <= len(np.unique(image)) <= pools.LEAVES for image in images)
    equal_neighbours = np.mean(images[:, :, 1:] == images[:, :, :-1])
    assert 0.5 < equal_neighbours < 0.95
    assert abs(images.mean() / 255 - 0.5) < 0.05


def test_a_leaf_hides_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    # Radius 1/2 of the height at the centre of an 8x8 image; columns: kind, size, ratio, y, x, colour.
    leaves = np.array([[0, 0, 0, 0, 0, 0.1], [0.9, 1, 0.5, 0.5, 0.5, 0.5], [0.1, 1, 0.5, 0.5, 0.5, 0.9]])

    class Draws:
        def random(self, size: object, dtype: object) -> np.ndarray:
            return leaves.astype(np.float32)[:, :, None, None, None]

    monkeypatch.setattr(pools, "BLOCK", 1)
    monkeypatch.setattr(pools.rng, "stream", lambda *_: Draws())
    image = pools.MAKERS["dead-leaves"](1, (8, 8, 1))[0, :, :, 0]
    assert image[0, 0] == 128 and image[4, 4] == 230  # the square fills the image, the disk all but its corners
    assert np.sum(image == 128) == 4 * 3 and not np.any(image == 25)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 1))
def test_radii_follow_their_power_law(uniform: float) -> None:
    (radius,) = pools.radii(np.array([uniform]))
    low, high = pools.SMALLEST, pools.LARGEST
    assert low * (1 - 1e-9) <= radius <= high * (1 + 1e-9)
    cumulative = (low**-2 - radius**-2) / (low**-2 - high**-2)  # the integral of r^-3
    assert cumulative == pytest.approx(uniform, abs=1e-9)
