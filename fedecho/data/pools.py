"""Pools U that are neither the clients' data set nor another one of 32x32 photographs, and the mixing of a pool."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import InputError, MissingDataError
from fedecho.data import npz
from fedecho.data.canonical import Pixels, canonical_order, digest, permutation
from fedecho.data.fashion_mnist import bundled_path
from fedecho.data.splits import Images

DIFFUSION_DIGEST = "2723eade2570ffa7e0972c2afaca8bf51a86a94e3334099981d0e8ab0fa9dae3"
GENERATED = "generated.npz"


def diffusion(path: Path | None = None) -> Images:
    """Return the bundled samples of a diffusion model `[5000, 28, 28, 1]`; InputError if the file is another one."""
    path = path or bundled_path("diffusion.npz")
    (array,) = npz.read(path, ("images",))
    images = array.astype(np.uint8, copy=False)
    found = digest(images)
    if found != DIFFUSION_DIGEST:
        wanted = f"{DIFFUSION_DIGEST[:16]}..., not {found[:16]}..."
        raise InputError("data", str(path), f"its digest must be {wanted}: reinstall")
    return Images(images)


def generated(root: Path) -> Images:
    """Return the images `[images, 32, 32, 3]` of `generated.npz` in the folder `root`, in canonical order.

    MissingDataError: it is not there. InputError: its arrays are others. No digest: everyone samples their own.
    """
    path = root / GENERATED
    if not path.is_file():
        way = "`python -m fedecho.data.build_generated` (needs `pip install fedecho[generate]`)"
        raise MissingDataError("data", "generated", f"{path} is not there; sample it with {way}")
    (array,) = npz.read(path, ("images",))
    images = npz.as_pixels(array, (32,), path)
    return Images(images[canonical_order(images)])


def digits() -> Images:
    """Return scikit-learn's 1,797 handwritten digits as `[1797, 28, 28, 1]`, in canonical order, without labels.

    MissingDataError: scikit-learn is not installed.
    """
    try:
        sklearn = importlib.import_module("sklearn.datasets")
    except ImportError:
        raise MissingDataError("data", "digits", "it needs scikit-learn; run `pip install fedecho[pools]`") from None
    images = enlarge(sklearn.load_digits().images.astype(np.int64), 28)
    return Images(images[canonical_order(images)])


def enlarge(images: npt.NDArray[np.int64], side: int) -> Pixels:
    """Return `images [images, s, s]` of levels 0 .. 16 as uint8 `[images, side, side, 1]`, levels 0 .. 255.

    Bilinear between the centres of pixels (`align_corners=False`), in integers: the same on every machine.
    """
    weights = _bilinear(images.shape[-1], side)
    sums = weights @ images @ weights.T * 255
    whole = 16 * (2 * side) ** 2
    return ((2 * sums + whole) // (2 * whole)).astype(np.uint8)[..., np.newaxis]


def _bilinear(small: int, large: int) -> npt.NDArray[np.int64]:
    """Return the weights `[large, small]` of old pixels in new ones, in units of 1 / (2 large)."""
    unit = 2 * large
    centres = ((2 * np.arange(large) + 1) * small - large).clip(0, unit * (small - 1))
    distance = np.abs(centres[:, None] - unit * np.arange(small))
    weights: npt.NDArray[np.int64] = np.maximum(unit - distance, 0)
    return weights


def mixed(images: Pixels, share: float) -> Pixels:
    """Return `images [images, ...]`, each with the share `share` in [0, 0.5] of another one mixed in, rounded.

    The partners are a fixed cycle through all images, so none is its own; a share of 0 returns `images` itself.
    """
    if share == 0:
        return images
    cycle = permutation("pool-mix", len(images))
    partners = np.empty_like(cycle)
    partners[cycle] = np.roll(cycle, 1)
    return np.rint((1 - share) * images + share * images[partners]).astype(np.uint8)
