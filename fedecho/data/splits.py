"""The values that the data layer hands out: images, and the splits of one data set."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import InputError
from fedecho.data.canonical import Labels, Pixels


@dataclass(frozen=True, eq=False)
class Images:
    """Read-only `images` uint8 `[images, height, width, channels]` and `labels` int64 `[images]` (None: withheld)."""

    images: Pixels
    labels: Labels | None = None

    def __post_init__(self) -> None:
        """Check shapes and dtypes (InputError) and make both arrays read-only."""
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            found = f"{self.images.dtype} {self.images.shape}"
            raise InputError("images", found, "must be uint8 [images, height, width, channels]")
        object.__setattr__(self, "images", _read_only(self.images))
        if self.labels is None:
            return
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            found = f"{self.labels.dtype} {self.labels.shape}"
            raise InputError("labels", found, "must be int64 [images], one per image")
        object.__setattr__(self, "labels", _read_only(self.labels))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def take(self, index: npt.NDArray[np.int64]) -> Images:
        """Return the images (and labels, where there are any) at `index` `[chosen]`."""
        return Images(self.images[index], None if self.labels is None else self.labels[index])

    def unlabeled(self) -> Images:
        """Return the same images with the labels withheld."""
        return Images(self.images)


@dataclass(frozen=True, eq=False)
class Splits:
    """One data set: disjoint splits, each in canonical order, and the digest of the data set as it was loaded.

    `train` and `test` have labels, `validation` too where there is one; `pool` (the server's U) never has.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    validation: Images | None
    test: Images
    pool: Images | None
    digest: str


def carve(splits: Splits, *, validation: int = 0, pool: int = 0) -> Splits:
    """Return `splits` with the last images of `train` moved to a validation split and to a label-free pool.

    Both counts are totals >= 0, taken equally from every class; the rest keeps its order. The digest stays that of
    the data set as loaded. InputError: a count that is no multiple of the number of classes or exceeds what there is,
    or a split that the data set already has.
    """
    _check_carve("validation", validation, splits.validation, splits)
    _check_carve("pool", pool, splits.pool, splits)
    rest, held_out = _split_last(splits.train, validation, len(splits.classes), "validation")
    rest, for_pool = _split_last(rest, pool, len(splits.classes), "pool")
    return replace(
        splits,
        train=rest,
        validation=held_out if validation else splits.validation,
        pool=for_pool.unlabeled() if pool else splits.pool,
    )


def _read_only(array: npt.NDArray[np.uint8] | npt.NDArray[np.int64]) -> npt.NDArray[np.uint8] | npt.NDArray[np.int64]:
    view = array.view()
    view.flags.writeable = False
    return view


def _check_carve(field: str, count: int, present: Images | None, splits: Splits) -> None:
    if count and present is not None:
        raise InputError(field, count, f"must be 0, for {splits.name} already has its own {field} split")
    if count < 0 or count % len(splits.classes):
        raise InputError(field, count, f"must be a multiple of the {len(splits.classes)} classes, >= 0")


def _split_last(images: Images, count: int, classes: int, field: str) -> tuple[Images, Images]:
    """Split off the last `count / classes` images of every class."""
    assert images.labels is not None, "training images have labels"
    per_class = count // classes
    taken = np.zeros(len(images), dtype=bool)
    for label in range(classes):
        positions = np.flatnonzero(images.labels == label)
        if len(positions) < per_class:
            raise InputError(field, count, f"must leave enough to take: class {label} has {len(positions)} images left")
        taken[positions[len(positions) - per_class :]] = True
    return images.take(np.flatnonzero(~taken)), images.take(np.flatnonzero(taken))
