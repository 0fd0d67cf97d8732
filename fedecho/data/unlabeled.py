"""External images without labels, for a server whose U is not of the clients' distribution: 32x32 colour images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import InputError, MissingDataError
from fedecho.data import npz
from fedecho.data.archives import ARCHIVES, ensure_unpacked
from fedecho.data.canonical import Pixels, canonical_order, digest
from fedecho.data.folders import missing
from fedecho.data.sources import CIFARS, load_cifar, open_torchvision, original_order
from fedecho.data.splits import Images

CIFAR100_PART = "cifar100_first20000.npz"
CIFAR100_PART_SIZE = 20_000
CIFAR100_PART_DIGEST = "c5693939f766d5a429faffdce33eca0f4c75413edfda1e8051f7332de1247708"
TINY_IMAGENET = "tiny_imagenet32_10k.npz"
ROWS_AT_ONCE = 2_000


def read_unlabeled(name: str, root: Path) -> Images:
    """Return the images of `name` `[images, 32, 32, 3]` without labels, in canonical order (by pixel hash only).

    MissingDataError: not in the folder `root`. InputError: what is there is bad, or an unknown name.
    """
    if name in CIFARS:
        images = load_cifar(CIFARS[name], root).train.images
    elif name == "cifar100-20k":
        images = _cifar100_part(root)
    elif name == "stl10":
        images = _stl10(root)
    elif name == "tiny-imagenet-32":
        images = _tiny_imagenet(root)
    else:
        raise InputError(
            "data", name, f"choose one of {', '.join((*CIFARS, 'cifar100-20k', 'stl10', 'tiny-imagenet-32'))}"
        )
    return Images(images[canonical_order(images)])


def shrink(images: Pixels, factor: int) -> Pixels:
    """Return uint8 `[images, height/factor, width/factor, channels]`: each pixel the mean of a block, halves up.

    Integer arithmetic, so the result is the same on every machine; it equals torch's area interpolation, rounded.
    """
    count, height, width, channels = images.shape
    blocks = images.reshape(count, height // factor, factor, width // factor, factor, channels)
    area = factor * factor
    sums: npt.NDArray[np.uint32] = blocks.sum(axis=(2, 4), dtype=np.uint32)
    return ((sums * 2 + area) // (2 * area)).astype(np.uint8)


def _cifar100_part(root: Path) -> Pixels:
    """Return CIFAR-100's first 20,000 training images in its own order, from torchvision's files or a copy of the part.

    A name of its own, and one digest wherever it comes from: a run must not change with how much of a set lies here.
    """
    part, archive = root / CIFAR100_PART, ARCHIVES["cifar100"]
    if ensure_unpacked(archive, root):
        images, place = original_order(CIFARS["cifar100"], root)[:CIFAR100_PART_SIZE], root / archive.folder
    elif part.is_file():
        images, place = npz.as_pixels(npz.read(part, ("images",))[0], (32,), part), part
    else:
        lacking = missing("cifar100", root, f"{archive.file} (or its folder {archive.folder})", part.name)
        raise MissingDataError("data", "cifar100-20k", lacking.allowed)
    found = digest(images[canonical_order(images)])
    if found != CIFAR100_PART_DIGEST:
        wanted = f"{CIFAR100_PART_DIGEST[:16]}..., not {found[:16]}..."
        raise InputError("data", str(place), f"the digest of its images must be {wanted}")
    return images


def _tiny_imagenet(root: Path) -> Pixels:
    # No digest: these are JPEGs, and decoders differ in the last bit.
    path = root / TINY_IMAGENET
    if not path.is_file():
        raise missing("tiny-imagenet-32", root, "", path.name, fetchable=False)
    (images,) = npz.read(path, ("images",))
    return npz.as_pixels(images, (32,), path)


def _stl10(root: Path) -> Pixels:
    path = root / "stl10.npz"
    archive = ARCHIVES["stl10"]
    if ensure_unpacked(archive, root):
        dataset = open_torchvision("STL10", root, archive.folder, split="unlabeled")
        return _shrunk_in_parts(np.transpose(dataset.data, (0, 2, 3, 1)))
    if not path.is_file():
        raise missing("stl10", root, f"{archive.file} (or its folder {archive.folder})", path.name)
    # No digest of STL-10 is known to us: an .npz is checked by its structure only.
    (array,) = npz.read(path, ("images",))
    images = npz.as_pixels(array, (32, 96), path)
    return images if images.shape[1] == 32 else _shrunk_in_parts(images)


def _shrunk_in_parts(images: Pixels) -> Pixels:
    # In parts, because the sums of all 100,000 images at once would take four times their 2.8 GB.
    starts = range(0, len(images), ROWS_AT_ONCE)
    return np.concatenate([shrink(images[start : start + ROWS_AT_ONCE], 3) for start in starts])
