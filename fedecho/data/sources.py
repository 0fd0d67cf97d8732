"""CIFAR-10 and CIFAR-100 from the data folder: torchvision's archive or folder, or an .npz of the same images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedecho.core.checks import InputError
from fedecho.data import npz
from fedecho.data.archives import ARCHIVES, ensure_unpacked
from fedecho.data.canonical import Labels, Pixels, canonical, digest, joint_digest
from fedecho.data.cifar_classes import CIFAR10_CLASSES, CIFAR100_CLASSES
from fedecho.data.folders import missing
from fedecho.data.splits import Images, Splits
from fedecho.data.torchvision_compat import torchvision

NPZ_KEYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Cifar:
    """What is known of one CIFAR set; `digest` None: not known to us, an .npz is checked by its structure only.

    Structure: shape, dtype, label range and images per class. What was found is in `Splits.digest` either way.
    """

    name: str
    dataset_class: str
    classes: tuple[str, ...]
    digest: str | None
    train: int = 50_000
    test: int = 10_000


CIFARS = {
    "cifar10": Cifar(
        name="cifar10",
        dataset_class="CIFAR10",
        classes=CIFAR10_CLASSES,
        # Computed from a lossless copy with the published class counts, mean and standard deviation. torchvision's
        # batches are judged by their own md5s and not by this value.
        digest="9dbcf521d011a88d568d4bce58acf27a8ecc855eb77b3bee9b3b20ad45fb5e83",
    ),
    "cifar100": Cifar(name="cifar100", dataset_class="CIFAR100", classes=CIFAR100_CLASSES, digest=None),
}


def load_cifar(cifar: Cifar, root: Path) -> Splits:
    """Return train and test of `cifar` from the folder `root` in canonical order; there is no pool nor validation.

    MissingDataError: neither the archive, nor its folder, nor the .npz is there. InputError: what is there is bad.
    """
    path = root / f"{cifar.name}.npz"
    archive = ARCHIVES[cifar.name]
    if ensure_unpacked(archive, root):
        return _splits(cifar, _from_torchvision(cifar, root, train=True), _from_torchvision(cifar, root, train=False))
    if not path.is_file():
        raise missing(cifar.name, root, f"{archive.file} (or its folder {archive.folder})", path.name)
    splits = _from_npz(cifar, path)
    if cifar.digest is not None and splits.digest != cifar.digest:
        wanted = f"{cifar.digest[:16]}..., not {splits.digest[:16]}..."
        raise InputError("data", str(path), f"the digest of its images and labels must be {wanted}")
    return splits


def open_torchvision(dataset_class: str, root: Path, folder: str, **options: object) -> Any:
    """Return torchvision's data set of this class from `root`/`folder`, never downloading.

    torchvision compares every file with its md5 in the constructor, before it unpickles or reads the first one.
    InputError: a checksum is wrong, or torchvision is not installed.
    """
    try:
        return getattr(torchvision().datasets, dataset_class)(str(root), download=False, **options)
    except ImportError as error:
        raise InputError("data", str(root / folder), f"reading it needs torchvision ({error})") from None
    except RuntimeError as error:
        reason = str(error).split(". You can")[0]
        raise InputError("data", str(root / folder), f"delete the folder and get it again ({reason})") from None


def _from_torchvision(cifar: Cifar, root: Path, *, train: bool) -> Images:
    dataset = open_torchvision(cifar.dataset_class, root, ARCHIVES[cifar.name].folder, train=train)
    return _in_order(np.asarray(dataset.data, dtype=np.uint8), np.asarray(dataset.targets, dtype=np.int64))


def original_order(cifar: Cifar, root: Path) -> Pixels:
    """Return the training images `[images, 32, 32, 3]` as torchvision's files have them, which must be there."""
    dataset = open_torchvision(cifar.dataset_class, root, ARCHIVES[cifar.name].folder, train=True)
    return np.asarray(dataset.data, dtype=np.uint8)


def _from_npz(cifar: Cifar, path: Path) -> Splits:
    train_images, train_labels, test_images, test_labels = npz.read(path, NPZ_KEYS)
    classes = len(cifar.classes)
    train = _in_order(npz.as_pixels(train_images, (32,), path), npz.as_labels(train_labels, cifar.train, classes, path))
    test = _in_order(npz.as_pixels(test_images, (32,), path), npz.as_labels(test_labels, cifar.test, classes, path))
    return _splits(cifar, train, test)


def _in_order(images: Pixels, labels: Labels) -> Images:
    if len(images) != len(labels):
        raise InputError("data", f"{len(images)} images", f"must be as many as the {len(labels)} labels")
    return Images(*canonical(images, labels))


def _splits(cifar: Cifar, train: Images, test: Images) -> Splits:
    found = joint_digest(digest(train.images, train.labels), digest(test.images, test.labels))
    return Splits(cifar.name, cifar.classes, train, validation=None, test=test, pool=None, digest=found)
