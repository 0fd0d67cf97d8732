"""One order for the same images, whichever copy they came from, and one digest for it.

Copies of a data set differ in order: original batches, one folder per class, sorted by file name. A run that takes
"the first 2,000" would depend on that, and from a copy sorted by class would take the wrong classes altogether.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from fedecho.core import rng

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Order = npt.NDArray[np.int64]


def pixel_hashes(images: Pixels) -> npt.NDArray[np.uint64]:
    """Return the SHA-256 of each image's bytes as big-endian words `[images, 4]`, so that rows sort like the hash."""
    rows = np.ascontiguousarray(images)
    joined = b"".join(hashlib.sha256(row.data).digest() for row in rows)
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64).reshape(len(rows), 4)


def canonical_order(images: Pixels, labels: Labels | None = None) -> Order:
    """Return the indices `[images]` that put `images [images, ...]` in canonical order.

    Sorted by (label, SHA-256 of the pixels), or by the hash alone without labels, then permuted by a fixed stream.
    """
    words = pixel_hashes(images)
    keys = (*words.T[::-1],) if labels is None else (*words.T[::-1], labels)
    ranked = np.lexsort(keys)
    return np.asarray(ranked[permutation("canonical-order", len(ranked))], dtype=np.int64)


def canonical(images: Pixels, labels: Labels) -> tuple[Pixels, Labels]:
    """Return `images [images, ...]` and `labels [images]` in canonical order."""
    order = canonical_order(images, labels)
    return images[order], labels[order]


def digest(images: Pixels, labels: Labels | None = None) -> str:
    """Return the SHA-256 (hex) of the shape, the pixels and, where given, the labels (little-endian int64)."""
    state = hashlib.sha256(repr(tuple(map(int, images.shape))).encode())
    state.update(np.ascontiguousarray(images).data)
    if labels is not None:
        state.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return state.hexdigest()


def joint_digest(*digests: str) -> str:
    """Return the SHA-256 (hex) of several digests in the order given."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def permutation(role: str, count: int) -> npt.NDArray[np.intp]:
    """Return a permutation of `0 .. count - 1` that depends on `role` and `count` only."""
    # Sorting raw words: NumPy promises their stability across versions, which it does not for Generator.permutation.
    raw = rng.stream(0, role, count).bit_generator.random_raw(count)
    return np.argsort(raw, kind="stable")
