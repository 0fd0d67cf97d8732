"""Build the bundled Fashion-MNIST file: `python -m fedecho.data.build.fashion_mnist SOURCE_DIR [TARGET]`.

SOURCE_DIR holds the four idx .gz files, e.g. /usr/share/datasets/fashion-mnist of the Debian package
`dataset-fashion-mnist`. Its gzip headers differ from upstream's, so the *decompressed* bytes are checked. Users never
run this; it is here so that anyone can check what the bundle is made of.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import require
from fedecho.core.files import bundled_path
from fedecho.data import npz, sources
from fedecho.data.command import command
from fedecho.data.splits import Images, Labels, Order, Pixels, canonical, canonical_order, pixel_hashes

IDX_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def build(source: Path, target: Path) -> str:
    """Write the bundle to `target` from the idx files in `source` and return its digest; InputError on a bad file."""
    parts = choose(*read_pair(source, "train"), *read_pair(source, "t10k"))
    _write(target, parts)
    return sources.fashion_digest(parts)


def choose(train_images: Pixels, train_labels: Labels, test_images: Pixels, test_labels: Labels) -> dict[str, Images]:
    """Return the four splits: disjoint, class-balanced, without bit-identical duplicates, in canonical order.

    Images are uint8 `[images, 28, 28, 1]`. Of identical images the first by label stays, so that an image with two
    labels cannot be in two splits; a test image that also occurs anywhere in the training set is dropped.
    """
    parts, start, candidates = dict[str, Images](), 0, _unique(train_images, train_labels, train_images[:0])
    for split in ("train", "pool", "validation"):
        end = start + sources.FASHION_COUNTS[split]
        chosen = _balanced(train_labels, candidates, start, end)
        parts[split] = canonical(train_images[chosen], None if split == "pool" else train_labels[chosen])
        start = end
    candidates = _unique(test_images, test_labels, train_images)
    chosen = _balanced(test_labels, candidates, 0, sources.FASHION_COUNTS["test"])
    return {**parts, "test": canonical(test_images[chosen], test_labels[chosen])}


def read_pair(source: Path, stem: str) -> tuple[Pixels, Labels]:
    """Return images `[images, 28, 28, 1]` and labels of `train` or `t10k` of the original; InputError on a bad file."""
    images = _read_idx(source, f"{stem}-images-idx3-ubyte", header=16).reshape(-1, 28, 28, 1)
    labels = _read_idx(source, f"{stem}-labels-idx1-ubyte", header=8).astype(np.int64)
    return images, labels


def _read_idx(source: Path, name: str, header: int) -> Pixels:
    content = gzip.decompress((source / f"{name}.gz").read_bytes())
    fits = hashlib.sha256(content).hexdigest() == IDX_SHA256[name]
    require(fits, "SOURCE_DIR", str(source), f"{name}.gz does not hold the bytes of Fashion-MNIST")
    return np.frombuffer(content, dtype=np.uint8, offset=header)


def firsts(images: Pixels, excluded: Pixels, order: Iterable[int]) -> npt.NDArray[np.bool_]:
    """Return which of `images [images, ...]` are, in `order`, the first with their pixels and not among `excluded`."""
    hashes, seen = list(map(bytes, pixel_hashes(images))), set(map(bytes, pixel_hashes(excluded)))
    keep = np.zeros(len(images), dtype=bool)
    for index in order:
        keep[index] = hashes[index] not in seen
        seen.add(hashes[index])
    return keep


def _unique(images: Pixels, labels: Labels, excluded: Pixels) -> Order:
    """Return indices in canonical order without repeated pixels (lowest label first) and without `excluded`."""
    keep = firsts(images, excluded, np.argsort(labels, kind="stable"))
    order = canonical_order(images, labels)
    return order[keep[order]]


def _balanced(labels: Labels, candidates: Order, start: int, end: int) -> Order:
    """Return the candidates `start` to `end`, counted so that every class is in turn."""
    classes = len(sources.FASHION_CLASSES)
    places = slice(start // classes, end // classes)
    return np.concatenate([candidates[labels[candidates] == label][places] for label in range(classes)])


def _write(target: Path, parts: dict[str, Images]) -> None:
    arrays = {f"{split}_images": part.images[..., 0] for split, part in parts.items()}
    labels = {split: part.labels for split, part in parts.items() if part.labels is not None}
    arrays |= {f"{split}_labels": values.astype(np.uint8) for split, values in labels.items()}
    npz.write(target, {key: arrays[key] for key in sources.FASHION_KEYS})


def main(source: Path, target: Path = bundled_path(sources.FASHION_FILE), /) -> None:
    """Build the bundle from the four idx .gz files in a folder.

    Args:
        source: the folder.
        target: the file to write.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = build(source, target)
    print(f"{target}: {target.stat().st_size:,} bytes, digest {digest}")


if __name__ == "__main__":
    command(main)
