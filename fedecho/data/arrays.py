"""Images of the user's own: a file .npz with x, y and, where the server has images of another source, pool.

x: uint8, or floats in [0, 1] (kept as bytes), `[images, height, width]` or `[images, height, width, channels]`; y:
whole numbers 0 .. classes - 1 `[images]`; pool: like x, without labels. Of each class, in canonical order, the last
fifth is for test, the tenth before it for validation and, where there is no pool, the fifth before that is U.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import require
from fedecho.core.files import file_sha256, is_file
from fedecho.data import npz
from fedecho.data.splits import Images, Labels, Pixels, Splits, canonical, joint_digest

LEAST = 10
"""Images that each class must have, so that it is in every split."""


def load_arrays(path: Path) -> Splits:
    """Return the splits of a file's arrays; raises `InputError` naming the array that does not fit, and why."""
    require(is_file(path), "data", str(path), "no such file; give an .npz with x, y and, if you like, pool")
    return _load(path, file_sha256(path))


@functools.lru_cache(maxsize=2)
def _load(path: Path, _sha256: str) -> Splits:
    x, y = npz.read(path, ("x", "y"))
    whole = canonical(pixels(x, "x"), labels(y, len(x)))
    pool = _pool(path, whole.images.shape[1:])
    parts = split(whole, with_pool=pool is None)
    pool = pool or parts["pool"].unlabeled()
    digest = joint_digest(whole, pool)
    names = tuple(map(str, range(int(y.max()) + 1)))
    return Splits(path.name, names, parts["train"], parts["validation"], parts["test"], pool, digest)


def _pool(path: Path, shape: tuple[int, ...]) -> Images | None:
    found = npz.read_some(path, ("pool",))
    if not found:
        return None
    pool = pixels(found["pool"], "pool")
    require(pool.shape[1:] == shape, "pool", pool.shape[1:], f"its images have to be as those of x, {shape}")
    return canonical(pool)


def pixels(array: npt.NDArray[Any], name: str) -> Pixels:
    """Return images as bytes `[images, height, width, channels]`; raises `InputError` for any other array."""
    found, kind = f"{array.dtype} {array.shape}", array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)
    words = "give uint8, or floats in [0, 1], [images, height, width] or [images, height, width, channels]"
    require(kind and array.ndim in (3, 4) and array.size > 0, name, found, words)
    if array.dtype != np.uint8:
        require(bool(np.isfinite(array).all()), name, found, "it holds NaN or infinite numbers; take those images out")
        low, high = float(array.min()), float(array.max())
        require(low >= 0 and high <= 1, name, [low, high], "floats have to be in [0, 1]; scale them")
        array = np.rint(255 * array).astype(np.uint8)
    return array if array.ndim == 4 else array[..., None]


def labels(array: npt.NDArray[Any], count: int) -> Labels:
    """Return classes `[images]`; raises `InputError` unless they are 0 .. classes - 1, each with enough images."""
    found = f"{array.dtype} {array.shape}"
    fits = np.issubdtype(array.dtype, np.integer) and array.shape == (count,)
    require(fits, "y", found, f"give whole numbers, one for each of the {count} images of x")
    low, high = int(array.min()), int(array.max())
    require(low >= 0, "y", low, "classes are numbered from 0")
    require(high <= count // LEAST, "y", high, f"{count} images are too few for so many classes, {LEAST} of each")
    array = array.astype(np.int64)
    sizes = np.bincount(array)
    require(len(sizes) > 1, "y", sizes.tolist(), "give at least two classes")
    few = int(sizes.argmin())
    words = f"class {few} has {sizes[few]} images; give at least {LEAST} of each, or test and pool would lack it"
    require(int(sizes[few]) >= LEAST, "y", few, words)
    return array


def split(whole: Images, with_pool: bool) -> dict[str, Images]:
    """Return train, pool (where it is to come from these images), validation and test, alike in every class."""
    assert whole.labels is not None
    name = np.full(len(whole), "train", dtype="<U10")
    for label in np.unique(whole.labels):
        places = np.flatnonzero(whole.labels == label)
        ends = len(places) - np.cumsum([len(places) // 5, len(places) // 10, len(places) // 5 if with_pool else 0])
        name[places[ends[0] :]] = "test"
        name[places[ends[1] : ends[0]]] = "validation"
        name[places[ends[2] : ends[1]]] = "pool"
    return {part: whole.take(np.flatnonzero(name == part)) for part in ("train", "pool", "validation", "test")}
