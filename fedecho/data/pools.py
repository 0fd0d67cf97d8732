"""Pools U that are not the clients' data set: other photographs, samples of a model, digits; and the mixing of a pool.

None has labels, and each is in canonical order by pixel hash only, so that the order says nothing of classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedecho.core import rng
from fedecho.core.checks import MissingDataError
from fedecho.core.files import bundled_path
from fedecho.data import npz
from fedecho.data.download import ARCHIVES, ensure_unpacked, missing
from fedecho.data.splits import Images, Pixels, as_pixels, canonical, digest, permutation, require_digest
from fedecho.data.torchvision_compat import open_data

CIFAR100_PART = "cifar100_first20000.npz"
CIFAR100_PART_SIZE = 20_000
CIFAR100_PART_DIGEST = "c5693939f766d5a429faffdce33eca0f4c75413edfda1e8051f7332de1247708"
STL10 = "stl10.npz"
TINY_IMAGENET = "tiny_imagenet32_10k.npz"
GENERATED = "generated.npz"
DIFFUSION = "diffusion.npz"
DIFFUSION_DIGEST = "2723eade2570ffa7e0972c2afaca8bf51a86a94e3334099981d0e8ab0fa9dae3"
ROWS_AT_ONCE = 2_000


def read_unlabeled(name: str, root: Path) -> Images:
    """Return the images of the pool `name`, a key of `READERS`: `[images, 32, 32, 3]` or `[images, 28, 28, 1]`.

    MissingDataError: not in the folder `root`, or a package is lacking. InputError: what is there is bad.
    """
    return canonical(READERS[name](root))


def _cifar100_part(root: Path) -> Pixels:
    """Return CIFAR-100's first 20,000 training images in its own order, from torchvision's files or a copy of the part.

    A name of its own, and one digest wherever it comes from: a run must not change with how much of a set lies here.
    """
    if ensure_unpacked(ARCHIVES["cifar100"], root):
        place, folder = root / ARCHIVES["cifar100"].folder, ARCHIVES["cifar100"].folder
        images = np.asarray(open_data("cifar100", root, folder, train=True).data[:CIFAR100_PART_SIZE], dtype=np.uint8)
    else:
        place = root / CIFAR100_PART
        images = _from_npz("cifar100-20k", root, CIFAR100_PART, 32, key="cifar100")
    require_digest(digest(canonical(images).images), CIFAR100_PART_DIGEST, place, "the digest of its images")
    return images


def _stl10(root: Path) -> Pixels:
    """Return STL-10's unlabelled images averaged down from 96x96."""
    if ensure_unpacked(ARCHIVES["stl10"], root):
        images = np.transpose(open_data("stl10", root, ARCHIVES["stl10"].folder, split="unlabeled").data, (0, 2, 3, 1))
    else:  # no digest of STL-10 is known to us: an .npz is checked by its structure only
        images = _from_npz("stl10", root, STL10, 32, 96, key="stl10")
    if images.shape[1] == 32:
        return images
    # In parts, because the sums of all 100,000 images at once would take four times their 2.8 GB.
    starts = range(0, len(images), ROWS_AT_ONCE)
    return np.concatenate([shrink(images[start : start + ROWS_AT_ONCE], 3) for start in starts])


def _from_npz(name: str, root: Path, file: str, *sides: int, key: str | None = None) -> Pixels:
    if not (root / file).is_file():
        raise missing(name, root, file, key)
    (images,) = npz.read(root / file, ("images",))
    return as_pixels(images, root / file, *sides)


def shrink(images: Pixels, factor: int) -> Pixels:
    """Return uint8 `[images, height/factor, width/factor, channels]`: each pixel the mean of a block, halves up.

    Integer arithmetic, so the result is the same on every machine; it equals torch's area interpolation, rounded.
    """
    count, height, width, channels = images.shape
    blocks = images.reshape(count, height // factor, factor, width // factor, factor, channels)
    area = factor * factor
    sums: npt.NDArray[np.uint32] = blocks.sum(axis=(2, 4), dtype=np.uint32)
    return ((sums * 2 + area) // (2 * area)).astype(np.uint8)


def _generated(root: Path) -> Pixels:
    # No digest: everyone samples their own.
    if not (root / GENERATED).is_file():
        way = "`python -m fedecho.data.build.generated` (needs `pip install fedecho[generate]`)"
        raise MissingDataError("data", "generated", f"{root / GENERATED} is not there; sample it with {way}")
    return _from_npz("generated", root, GENERATED, 32)


def diffusion(path: Path | None = None) -> Pixels:
    """Return the bundled samples of a diffusion model `[5000, 28, 28, 1]`; InputError if the file is another one."""
    path = path or bundled_path(DIFFUSION)
    images = npz.read(path, ("images",))[0].astype(np.uint8, copy=False)
    require_digest(digest(images), DIFFUSION_DIGEST, path, "its digest", ": reinstall")
    return images


def digits() -> Pixels:
    """Return scikit-learn's 1,797 handwritten digits as `[1797, 28, 28, 1]`.

    MissingDataError: scikit-learn is not installed.
    """
    try:
        sklearn = importlib.import_module("sklearn.datasets")
    except ImportError:
        raise MissingDataError("data", "digits", "it needs scikit-learn; run `pip install fedecho[pools]`") from None
    return enlarge(sklearn.load_digits().images.astype(np.int64), 28)


READERS: dict[str, Callable[[Path], Pixels]] = {
    "cifar100-20k": _cifar100_part,
    "stl10": _stl10,
    # No digest: these are JPEGs, and decoders differ in the last bit.
    "tiny-imagenet-32": lambda root: _from_npz("tiny-imagenet-32", root, TINY_IMAGENET, 32),
    "generated": _generated,
    "diffusion": lambda _: diffusion(),
    "digits": lambda _: digits(),
}


def enlarge(images: npt.NDArray[np.int64], side: int) -> Pixels:
    """Return `images [images, s, s]` of levels 0 .. 16 as uint8 `[images, side, side, 1]`, levels 0 .. 255.

    Bilinear between the centres of pixels (`align_corners=False`), in integers: the same on every machine.
    """
    small, unit = images.shape[-1], 2 * side
    # The weights [side, s] of old pixels in new ones, in units of 1 / unit.
    centres = ((2 * np.arange(side) + 1) * small - side).clip(0, unit * (small - 1))
    weights: npt.NDArray[np.int64] = np.maximum(unit - np.abs(centres[:, None] - unit * np.arange(small)), 0)
    sums, whole = weights @ images @ weights.T * 255, 16 * unit**2
    return ((2 * sums + whole) // (2 * whole)).astype(np.uint8)[..., np.newaxis]


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


# Images made by a rule, for a server that has no image at all: dead leaves and noise, in any shape. Each block of them
# has its own stream of seed 0: a pool is the same in all runs, and a smaller one is its beginning.

Shape = tuple[int, int, int]
BLOCK = 250
LEAVES = 64
SMALLEST, LARGEST = 1 / 16, 1 / 2
"""Radii of the leaves as shares of the image's height; with 64 leaves about one pixel in twenty stays background."""
NOISE_MEAN, NOISE_SD = 0.5, 0.25


def _in_blocks(make: Callable[[int, Shape], Pixels], count: int, shape: Shape) -> Pixels:
    return np.concatenate([make(block, shape) for block in range(-(-count // BLOCK))])[:count]


def _leaves(block: int, shape: Shape) -> Pixels:
    """Return disks and rectangles of random place, size and colour, each hiding those before.

    Sizes have density r^-3 and colours are uniform, the dead leaves model of natural images: Lee, Mumford & Huang,
    "Occlusion models for natural images", IJCV 41 (2001); as a training set without data: Baradad, Wulff, Wang, Isola
    & Torralba, "Learning to see by looking at noise", NeurIPS 2021, arXiv:2106.05963.
    """
    height, width, channels = shape
    draws = rng.stream(0, "dead-leaves-pool", block).random((LEAVES, 5 + channels, BLOCK, 1, 1), dtype=np.float32)
    ys = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    xs = np.arange(width, dtype=np.float32) + np.float32(0.5)
    colours = np.floor(draws[:, 5:] * 256).astype(np.uint8)
    images = np.broadcast_to(colours[0].transpose(1, 2, 3, 0), (BLOCK, *shape)).copy()  # leaf 0 hides everything
    for (kind, size, ratio, y, x), colour in zip(draws[1:, :5], colours[1:], strict=True):
        radius, stretch = height * radii(size), np.exp2(ratio - np.float32(0.5))
        down, across = np.abs(ys - y * height), np.abs(xs - x * width)
        rectangle = (down <= radius * stretch) & (across * stretch <= radius)
        disk = down**2 + across**2 <= radius**2
        hidden = np.where(kind < 0.5, disk, rectangle)
        np.copyto(images, colour.transpose(1, 2, 3, 0), where=hidden[..., np.newaxis])
    return images


def radii(uniform: np.ndarray) -> np.ndarray:
    """Return radii of density r^-3 between `SMALLEST` and `LARGEST`, from uniform numbers in [0, 1]; same shape."""
    most, least = SMALLEST**-2, LARGEST**-2
    return np.asarray((most - uniform * (most - least)) ** -0.5, dtype=uniform.dtype)


def _noise(block: int, shape: Shape) -> Pixels:
    """Return independent Gaussian values of mean 0.5 and sd 0.25 of the range, clipped."""
    values = rng.stream(0, "noise-pool", block).normal(NOISE_MEAN, NOISE_SD, (BLOCK, *shape))
    pixels: Pixels = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return pixels


MAKERS = {"dead-leaves": partial(_in_blocks, _leaves), "noise": partial(_in_blocks, _noise)}
"""Pool -> what makes it, uint8 `[count, *shape]`."""
