"""The bundled part of Fashion-MNIST: reading it, and the facts that the build script and the reader share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedecho.data import npz
from fedecho.data.catalogue import bundled_path
from fedecho.data.splits import Images, Splits, joint_digest, require_digest

FILE = "fashion_mnist.npz"
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
COUNTS = {"train": 10_000, "pool": 5_000, "validation": 2_000, "test": 5_000}
DIGEST = "1876971890c633240299ab9d4f53cdcf4c61c62e3c79729d22bec22b573824b2"
# Images [images, 28, 28] and labels uint8 [images]; there is no pool_labels: the labels of U are not in the bundle.
KEYS = (
    "train_images", "train_labels", "pool_images", "validation_images", "validation_labels",
    "test_images", "test_labels",
)  # fmt: skip


def load_bundled(path: Path | None = None) -> Splits:
    """Return the bundled splits; InputError if the file's content is not the one that belongs to this version."""
    path = path or bundled_path(FILE)
    named = dict(zip(KEYS, npz.read(path, KEYS), strict=True))
    parts = {}
    for split in COUNTS:
        labels = named.get(f"{split}_labels")
        images = named[f"{split}_images"].astype(np.uint8, copy=False)[..., np.newaxis]
        parts[split] = Images(images, None if labels is None else labels.astype(np.int64))
    found = splits_digest(parts)
    require_digest(found, DIGEST, path, "its digest", ": reinstall")
    return Splits("fashion-mnist", CLASSES, digest=found, **parts)


def splits_digest(parts: dict[str, Images]) -> str:
    """Return the digest over train, pool, validation and test, in this order."""
    return joint_digest(*(parts[split] for split in COUNTS))
