"""Labelled images: the bundled part of Fashion-MNIST; CIFAR-10 and CIFAR-100 from the data folder.

Of CIFAR that is torchvision's archive or folder, or an .npz of the same images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import require
from fedecho.core.files import bundled_path
from fedecho.data import npz
from fedecho.data.download import ARCHIVES, ensure_unpacked, missing
from fedecho.data.splits import Images, Labels, Splits, as_pixels, canonical, joint_digest, require_digest
from fedecho.data.torchvision_compat import open_data

FASHION_FILE = "fashion_mnist.npz"
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_COUNTS = {"train": 10_000, "pool": 5_000, "validation": 2_000, "test": 5_000}
FASHION_DIGEST = "1876971890c633240299ab9d4f53cdcf4c61c62e3c79729d22bec22b573824b2"
# Images [images, 28, 28] and labels uint8 [images]; there is no pool_labels: the labels of U are not in the bundle.
FASHION_KEYS = (
    "train_images", "train_labels", "pool_images", "validation_images", "validation_labels",
    "test_images", "test_labels",
)  # fmt: skip

NPZ_KEYS = ("train_images", "train_labels", "test_images", "test_labels")
# In label order (CIFAR-100: the fine labels, alphabetical).
CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


def load_fashion_mnist(path: Path | None = None) -> Splits:
    """Return the bundled splits; InputError if the file's content is not the one that belongs to this version."""
    path = path or bundled_path(FASHION_FILE)
    named = dict(zip(FASHION_KEYS, npz.read(path, FASHION_KEYS), strict=True))
    parts = {}
    for split in FASHION_COUNTS:
        labels = named.get(f"{split}_labels")
        images = named[f"{split}_images"].astype(np.uint8, copy=False)[..., np.newaxis]
        parts[split] = Images(images, None if labels is None else labels.astype(np.int64))
    found = fashion_digest(parts)
    require_digest(found, FASHION_DIGEST, path, "its digest", ": reinstall")
    return Splits("fashion-mnist", FASHION_CLASSES, digest=found, **parts)


def fashion_digest(parts: dict[str, Images]) -> str:
    """Return the digest over train, pool, validation and test, in this order."""
    return joint_digest(*(parts[split] for split in FASHION_COUNTS))


@dataclass(frozen=True)
class Cifar:
    """What is known of one CIFAR set; `digest` None: not known to us, an .npz is checked by its structure only.

    Structure: shape, dtype, label range and images per class. What was found is in `Splits.digest` either way.
    """

    name: str
    classes: tuple[str, ...]
    digest: str | None
    train: int = 50_000
    test: int = 10_000


CIFARS = {
    # The digest is computed from a lossless copy with the published class counts, mean and standard deviation.
    # torchvision's batches are judged by their own md5s and not by this value.
    "cifar10": Cifar(
        "cifar10", tuple(CIFAR10_CLASSES.split()), "9dbcf521d011a88d568d4bce58acf27a8ecc855eb77b3bee9b3b20ad45fb5e83"
    ),
    "cifar100": Cifar("cifar100", tuple(CIFAR100_CLASSES.split()), digest=None),
}


def load_cifar(cifar: Cifar, root: Path) -> Splits:
    """Return train and test of `cifar` from the folder `root` in canonical order; there is no pool nor validation.

    MissingDataError: neither the archive, nor its folder, nor the .npz is there. InputError: what is there is bad.
    """
    path = root / f"{cifar.name}.npz"
    unpacked = ensure_unpacked(ARCHIVES[cifar.name], root)
    if not unpacked and not path.is_file():
        raise missing(cifar.name, root, path.name, cifar.name)
    train, test = _from_torchvision(cifar, root) if unpacked else _from_npz(cifar, path)
    found = joint_digest(train, test)
    if not unpacked:
        require_digest(found, cifar.digest, path, "the digest of its images and labels")
    return Splits(cifar.name, cifar.classes, train, validation=None, test=test, pool=None, digest=found)


def _from_torchvision(cifar: Cifar, root: Path) -> tuple[Images, Images]:
    sets = (open_data(cifar.name, root, ARCHIVES[cifar.name].folder, train=train) for train in (True, False))
    train, test = (canonical(np.asarray(s.data, np.uint8), np.asarray(s.targets, np.int64)) for s in sets)
    return train, test


def _from_npz(cifar: Cifar, path: Path) -> tuple[Images, Images]:
    arrays = npz.read(path, NPZ_KEYS)

    def part(at: int, count: int) -> Images:
        images = as_pixels(arrays[at], path, 32)
        require(len(images) == count, "data", str(path), f"its {NPZ_KEYS[at]} must be {count}, not {len(images)}")
        return canonical(images, as_labels(arrays[at + 1], path, count, len(cifar.classes)))

    return part(0, cifar.train), part(2, cifar.test)


def as_labels(array: npt.NDArray[np.generic], path: Path, count: int, classes: int) -> Labels:
    """Return `array` as int64 `[count]`, every one of `classes` equally often; InputError otherwise."""
    fits, found = array.dtype.kind in "iu" and array.shape == (count,), f"{array.dtype} {array.shape}"
    require(fits, "data", str(path), f"its labels must be {count} integers, not {found}")
    labels = array.astype(np.int64)
    even = np.array_equal(np.sort(labels), np.repeat(np.arange(classes), count // classes))
    require(even, "data", str(path), f"its labels must be 0 .. {classes - 1}, each {count // classes} times")
    return labels
