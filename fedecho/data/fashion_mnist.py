"""The bundled part of Fashion-MNIST: reading it, and the facts that the build script and the reader share."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import InputError
from fedecho.data import npz
from fedecho.data.canonical import digest, joint_digest
from fedecho.data.splits import Images, Splits

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
COUNTS = {"train": 10_000, "pool": 5_000, "validation": 2_000, "test": 5_000}
DIGEST = "1876971890c633240299ab9d4f53cdcf4c61c62e3c79729d22bec22b573824b2"
# Images [images, 28, 28] and labels uint8 [images]; there is no pool_labels: the labels of U are not in the bundle.
KEYS = (
    "train_images",
    "train_labels",
    "pool_images",
    "validation_images",
    "validation_labels",
    "test_images",
    "test_labels",
)


def bundled_path(name: str = "fashion_mnist.npz") -> Path:
    """Return the path of the bundled file `name`."""
    return Path(str(resources.files("fedecho.data"))) / "bundled" / name


def load_bundled(path: Path | None = None) -> Splits:
    """Return the bundled splits; InputError if the file's content is not the one that belongs to this version."""
    path = path or bundled_path()
    named = dict(zip(KEYS, npz.read(path, KEYS), strict=True))
    parts = {split: _images(named, split) for split in COUNTS}
    found = splits_digest(parts)
    if found != DIGEST:
        raise InputError("data", str(path), f"its digest must be {DIGEST[:16]}..., not {found[:16]}...: reinstall")
    return Splits(
        name="fashion-mnist",
        classes=CLASSES,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        pool=parts["pool"],
        digest=found,
    )


def splits_digest(parts: dict[str, Images]) -> str:
    """Return the digest over train, pool, validation and test, in this order."""
    return joint_digest(*(digest(parts[split].images, parts[split].labels) for split in COUNTS))


def _images(named: dict[str, npt.NDArray[np.generic]], split: str) -> Images:
    images = named[f"{split}_images"].astype(np.uint8, copy=False)[..., np.newaxis]
    labels = named.get(f"{split}_labels")
    return Images(images, None if labels is None else labels.astype(np.int64))
