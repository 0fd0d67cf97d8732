"""Images are checked and read-only; carving is disjoint, balanced and takes from the end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fedecho.core.checks import InputError
from fedecho.data import Images, Splits, carve


def numbered(count: int, classes: int = 2) -> Images:
    """Return `count` 1x1 images with values 0, 1, 2, ... and labels 0, 1, 0, 1, ..."""
    return Images(np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1), np.arange(count) % classes)


SPLITS = Splits("toy", ("a", "b"), numbered(12), validation=None, test=numbered(2), pool=None, digest="d")


def values(images: Images | None) -> list[int]:
    assert images is not None
    return [int(value) for value in images.images.ravel()]


def test_arrays_are_read_only() -> None:
    images = numbered(3)
    assert images.labels is not None
    for array in (images.images, images.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_owner_of_the_array_may_still_write() -> None:
    array = np.zeros((1, 1, 1, 1), dtype=np.uint8)
    Images(array)
    array[0] = 1


@pytest.mark.parametrize(
    ("images", "labels", "field"),
    [
        (np.zeros((2, 1, 1, 1)), np.zeros(2, dtype=np.int64), "images"),
        (np.zeros((2, 1, 1), dtype=np.uint8), np.zeros(2, dtype=np.int64), "images"),
        (np.zeros((2, 1, 1, 1), dtype=np.uint8), np.zeros(3, dtype=np.int64), "labels"),
        (np.zeros((2, 1, 1, 1), dtype=np.uint8), np.zeros(2, dtype=np.int32), "labels"),
    ],
)
def test_wrong_shapes_and_types_are_refused(images: np.ndarray, labels: np.ndarray, field: str) -> None:
    with pytest.raises(InputError) as caught:
        Images(images, labels)
    assert caught.value.field == field


def test_carve_takes_the_last_of_each_class_and_keeps_the_order() -> None:
    carved = carve(SPLITS, validation=4, pool=2)
    assert values(carved.validation) == [8, 9, 10, 11]
    assert values(carved.pool) == [6, 7]
    assert values(carved.train) == [0, 1, 2, 3, 4, 5]
    assert carved.pool is not None and carved.pool.labels is None
    assert carved.validation is not None and carved.validation.labels is not None
    assert carved.validation.labels.tolist() == [0, 1, 0, 1]
    assert carved.test is SPLITS.test and carved.digest == "d"


def test_carve_balances_classes_that_are_unevenly_spread() -> None:
    train = Images(np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1), np.array([0, 0, 0, 1, 1, 1]))
    carved = carve(dataclasses.replace(SPLITS, train=train), validation=2)
    assert values(carved.validation) == [2, 5]
    assert carved.pool is None


def test_carving_nothing_changes_nothing() -> None:
    carved = carve(SPLITS)
    assert values(carved.train) == values(SPLITS.train)
    assert carved.validation is None and carved.pool is None


@pytest.mark.parametrize("count", [-2, 3, 14])
def test_carve_refuses_counts_that_cannot_be(count: int) -> None:
    with pytest.raises(InputError, match="validation"):
        carve(SPLITS, validation=count)


def test_carve_refuses_a_split_that_is_there_already() -> None:
    with pytest.raises(InputError, match="pool"):
        carve(dataclasses.replace(SPLITS, pool=numbered(2)), pool=2)
