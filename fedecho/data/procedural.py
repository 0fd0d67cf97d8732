"""Images made by a rule, for a server that has no image at all: dead leaves and noise, in any shape.

Each block of images has its own stream of seed 0: a pool is the same in all runs, and a smaller one is its beginning.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedecho.core import rng
from fedecho.data.splits import Pixels

Shape = tuple[int, int, int]
BLOCK = 250
LEAVES = 64
SMALLEST, LARGEST = 1 / 16, 1 / 2
"""Radii of the leaves as shares of the image's height; with 64 leaves about one pixel in twenty stays background."""
NOISE_MEAN, NOISE_SD = 0.5, 0.25


def dead_leaves(count: int, shape: Shape) -> Pixels:
    """Return uint8 `[count, *shape]`: disks and rectangles of random place, size and colour, each hiding those before.

    Sizes have density r^-3 and colours are uniform, the dead leaves model of natural images: Lee, Mumford & Huang,
    "Occlusion models for natural images", IJCV 41 (2001); as a training set without data: Baradad, Wulff, Wang, Isola
    & Torralba, "Learning to see by looking at noise", NeurIPS 2021, arXiv:2106.05963.
    """
    return _in_blocks(_leaves, count, shape)


def noise(count: int, shape: Shape) -> Pixels:
    """Return uint8 `[count, *shape]`: independent Gaussian values of mean 0.5 and sd 0.25 of the range, clipped."""
    return _in_blocks(_noise, count, shape)


MAKERS: dict[str, Callable[[int, Shape], Pixels]] = {"dead-leaves": dead_leaves, "noise": noise}


def _in_blocks(make: Callable[[int, Shape], Pixels], count: int, shape: Shape) -> Pixels:
    return np.concatenate([make(block, shape) for block in range(-(-count // BLOCK))])[:count]


def _leaves(block: int, shape: Shape) -> Pixels:
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
    values = rng.stream(0, "noise-pool", block).normal(NOISE_MEAN, NOISE_SD, (BLOCK, *shape))
    pixels: Pixels = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return pixels
