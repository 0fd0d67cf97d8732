"""Build the bundled Fashion-MNIST file: `python -m fedecho.data.build_fashion_mnist SOURCE_DIR [TARGET]`.

SOURCE_DIR holds the four idx .gz files, e.g. /usr/share/datasets/fashion-mnist of the Debian package
`dataset-fashion-mnist`. Its gzip headers differ from upstream's, so the *decompressed* bytes are checked. Users never
run this; it is here so that anyone can check what the bundle is made of.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedecho.data import fashion_mnist, npz
from fedecho.data.canonical import Labels, Order, Pixels, canonical_order, pixel_hashes
from fedecho.data.splits import Images
from fedecho.core.checks import InputError

IDX_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def build(source: Path, target: Path) -> str:
    """Write the bundle to `target` from the idx files in `source` and return its digest; InputError on a bad file."""
    train = read_pair(source, "train")
    test = read_pair(source, "t10k")
    parts = choose(*train, *test)
    _write(target, parts)
    return fashion_mnist.splits_digest(parts)


def choose(train_images: Pixels, train_labels: Labels, test_images: Pixels, test_labels: Labels) -> dict[str, Images]:
    """Return the four splits: disjoint, class-balanced, without bit-identical duplicates, in canonical order.

    Images are uint8 `[images, 28, 28, 1]`. Of identical images the first by label stays, so that an image with two
    labels cannot be in two splits; a test image that also occurs anywhere in the training set is dropped.
    """
    pick_train = _unique(train_images, train_labels)
    pick_test = _unique(test_images, test_labels, exclude=_hash_set(train_images))
    counts = fashion_mnist.COUNTS
    pools = dict.fromkeys(("train", "pool", "validation"), (train_images, train_labels, pick_train))
    sources = {**pools, "test": (test_images, test_labels, pick_test)}
    parts: dict[str, Images] = {}
    start = 0
    for split in counts:
        images, labels, candidates = sources[split]
        first = 0 if split == "test" else start
        chosen = _balanced(labels, candidates, first, counts[split])
        parts[split] = _in_order(images[chosen], labels[chosen], withhold=split == "pool")
        start += counts[split]
    return parts


def read_pair(source: Path, stem: str) -> tuple[Pixels, Labels]:
    """Return images `[images, 28, 28, 1]` and labels of `train` or `t10k` of the original; InputError on a bad file."""
    images = _read_idx(source, f"{stem}-images-idx3-ubyte", header=16).reshape(-1, 28, 28, 1)
    labels = _read_idx(source, f"{stem}-labels-idx1-ubyte", header=8).astype(np.int64)
    return images, labels


def _read_idx(source: Path, name: str, header: int) -> Pixels:
    content = gzip.decompress((source / f"{name}.gz").read_bytes())
    if hashlib.sha256(content).hexdigest() != IDX_SHA256[name]:
        raise InputError("SOURCE_DIR", str(source), f"{name}.gz does not hold the bytes of Fashion-MNIST")
    return np.frombuffer(content, dtype=np.uint8, offset=header)


def _hash_set(images: Pixels) -> set[bytes]:
    return {row.tobytes() for row in pixel_hashes(images)}


def _unique(images: Pixels, labels: Labels, exclude: set[bytes] | None = None) -> Order:
    """Return indices in canonical order without repeated pixels (lowest label first) and without `exclude`."""
    hashes = [row.tobytes() for row in pixel_hashes(images)]
    seen = set(exclude or ())
    keep = np.zeros(len(images), dtype=bool)
    for index in np.lexsort((np.arange(len(labels)), labels)):
        keep[index] = hashes[index] not in seen
        seen.add(hashes[index])
    order = canonical_order(images, labels)
    return order[keep[order]]


def _balanced(labels: Labels, candidates: Order, start: int, count: int) -> Order:
    """Return `count` candidates, equally many per class, after skipping the `start` taken before in the same way."""
    classes = len(fashion_mnist.CLASSES)
    first, last = start // classes, (start + count) // classes
    per_class = [candidates[labels[candidates] == label][first:last] for label in range(classes)]
    return np.concatenate(per_class)


def _in_order(images: Pixels, labels: Labels, *, withhold: bool) -> Images:
    if withhold:
        return Images(images[canonical_order(images)])
    order = canonical_order(images, labels)
    return Images(images[order], labels[order])


def _write(target: Path, parts: dict[str, Images]) -> None:
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    for split, images in parts.items():
        arrays[f"{split}_images"] = images.images[..., 0]
        if images.labels is not None:
            arrays[f"{split}_labels"] = images.labels.astype(np.uint8)
    npz.write(target, {key: arrays[key] for key in fashion_mnist.KEYS})


def main(arguments: list[str]) -> int:
    """Build the bundle from the command line's arguments and return the exit code."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(arguments[1]) if len(arguments) == 2 else fashion_mnist.bundled_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = build(Path(arguments[0]), target)
    print(f"{target}: {target.stat().st_size:,} bytes, digest {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
