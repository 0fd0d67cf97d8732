"""The values that the data layer hands out, in one canonical order whichever copy they came from, with one digest.

Copies of a data set differ in order: original batches, one folder per class, sorted by file name. A run that takes
"the first 2,000" would depend on that, and from a copy sorted by class would take the wrong classes altogether.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedecho.core import rng
from fedecho.core.checks import InputError, require

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Order = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Images:
    """Read-only `images` uint8 `[images, height, width, channels]` and `labels` int64 `[images]` (None: withheld)."""

    images: Pixels
    labels: Labels | None = None

    def __post_init__(self) -> None:
        """Check shapes and dtypes (InputError) and make both arrays read-only."""
        found = f"{self.images.dtype} {self.images.shape}"
        fits = self.images.dtype == np.uint8 and self.images.ndim == 4
        require(fits, "images", found, "must be uint8 [images, height, width, channels]")
        object.__setattr__(self, "images", _read_only(self.images))
        object.__setattr__(self, "labels", checked_labels(self.labels, len(self.images), "image"))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def take(self, index: npt.NDArray[np.int64] | slice) -> Images:
        """Return the images (and labels, where there are any) of a slice, or at `index` `[chosen]`."""
        return Images(self.images[index], None if self.labels is None else self.labels[index])

    def unlabeled(self) -> Images:
        """Return the same images with the labels withheld."""
        return Images(self.images)


def checked_labels(labels: Labels | None, count: int, unit: str) -> Labels | None:
    """Return a read-only view of `labels`, where there are any; InputError unless they are int64 `[count]`."""
    if labels is None:
        return None
    found = f"{labels.dtype} {labels.shape}"
    fits = labels.dtype == np.int64 and labels.shape == (count,)
    require(fits, "labels", found, f"must be int64 [{unit}s], one per {unit}")
    return _read_only(labels)


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Splits:
    """One data set: disjoint splits, each in canonical order, and the digest of the data set as it was loaded.

    `train` and `test` have labels, `validation` too where there is one; `pool` (the server's U) never has.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    validation: Images | None
    test: Images
    pool: Images | None
    digest: str


def carve(splits: Splits, validation: int) -> Splits:
    """Return `splits` with the last images of `train` moved to a validation split, as many of every class.

    The rest keeps its order, and the digest stays that of the data set as loaded. InputError: a count that is no
    multiple of the number of classes or exceeds what there is, or a validation split that the data set already has.
    """
    if validation == 0:
        return splits
    train, classes = splits.train, len(splits.classes)
    words = f"must be 0, for {splits.name} already has its own validation split"
    require(splits.validation is None, "validation", validation, words)
    whole = validation >= 0 and validation % classes == 0
    require(whole, "validation", validation, f"must be a multiple of the {classes} classes, >= 0")
    taken, per_class = np.zeros(len(train), dtype=bool), validation // classes
    for label in range(classes):
        positions = np.flatnonzero(train.labels == label)
        left = f"must leave enough to take: class {label} has {len(positions)} images left"
        require(len(positions) >= per_class, "validation", validation, left)
        taken[positions[len(positions) - per_class :]] = True
    rest, held_out = (train.take(np.flatnonzero(which)) for which in (~taken, taken))
    return replace(splits, train=rest, validation=held_out)


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


def canonical(images: Pixels, labels: Labels | None = None) -> Images:
    """Return `images [images, ...]` and, where given, `labels [images]` in canonical order."""
    return Images(images, labels).take(canonical_order(images, labels))


def permutation(role: str, count: int) -> npt.NDArray[np.intp]:
    """Return a permutation of `0 .. count - 1` that depends on `role` and `count` only."""
    # Sorting raw words: NumPy promises their stability across versions, which it does not for Generator.permutation.
    raw = rng.stream(0, role, count).bit_generator.random_raw(count)
    return np.argsort(raw, kind="stable")


def digest(images: Pixels, labels: Labels | None = None) -> str:
    """Return the SHA-256 (hex) of the shape, the pixels and, where given, the labels (little-endian int64)."""
    state = hashlib.sha256(repr(tuple(map(int, images.shape))).encode())
    state.update(np.ascontiguousarray(images).data)
    if labels is not None:
        state.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return state.hexdigest()


def joint_digest(*parts: Images) -> str:
    """Return the SHA-256 (hex) of the digests of several parts in the order given."""
    return hashlib.sha256("\n".join(digest(part.images, part.labels) for part in parts).encode()).hexdigest()


def as_pixels(array: npt.NDArray[np.generic], path: Path, *sides: int) -> Pixels:
    """Return `array` as uint8 `[images, side, side, 3]` with a side among `sides`; InputError otherwise."""
    fits = array.dtype == np.uint8 and array.shape[1:] in [(side, side, 3) for side in sides] and len(array)
    allowed = " or ".join(f"[images, {side}, {side}, 3]" for side in sides)
    found = f"{array.dtype} {array.shape}"
    require(bool(fits), "data", str(path), f"its images must be uint8 {allowed}, not {found}")
    return array.astype(np.uint8, copy=False)


def require_digest(found: str, wanted: str | None, place: Path, what: str, way: str = "") -> None:
    """Raise InputError unless the digest `found` at `place` is the one `wanted` (None: not known, any will do)."""
    if wanted is not None and found != wanted:
        raise InputError("data", str(place), f"{what} must be {wanted[:16]}..., not {found[:16]}...{way}")


# Texts


@dataclass(frozen=True, eq=False)
class Texts:
    """`texts`, each of one word or more with single spaces between them, and `labels` int64 `[texts]` (None: withheld).

    The labels are read-only.
    """

    texts: tuple[str, ...]
    labels: Labels | None = None

    def __post_init__(self) -> None:
        """Check that there is one label for each text, and that no text is empty (InputError)."""
        if "" in self.texts:
            raise InputError("texts", "", f"text {self.texts.index('')} has no word; leave it out")
        object.__setattr__(self, "labels", checked_labels(self.labels, len(self.texts), "text"))

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    def take(self, index: slice) -> Texts:
        """Return the texts (and labels, where there are any) of a slice."""
        return Texts(self.texts[index], None if self.labels is None else self.labels[index])

    def unlabeled(self) -> Texts:
        """Return the same texts without labels, in an order that says nothing of them: by hash only, then permuted."""
        return canonical_texts(self.texts)


@dataclass(frozen=True, eq=False)
class TextSplits:
    """One text data set: disjoint splits, each in canonical order, and the digest of all four.

    `pool` (the server's U) has no labels, all others have.
    """

    name: str
    classes: tuple[str, ...]
    train: Texts
    validation: Texts
    test: Texts
    pool: Texts

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 (hex) over train, pool, validation and test, in this order, with their labels."""
        state = hashlib.sha256()
        for part in (self.train, self.pool, self.validation, self.test):
            state.update(f"{len(part)}\n".encode() + "".join(f"{text}\n" for text in part.texts).encode())
            if part.labels is not None:
                state.update(part.labels.astype("<i8").tobytes())
        return state.hexdigest()


def canonical_texts(texts: Sequence[str], labels: Sequence[int] | None = None) -> Texts:
    """Return the texts sorted by (label, SHA-256), or by the hash alone, then permuted in a fixed way."""
    hashes = [hashlib.sha256(text.encode()).digest() for text in texts]
    ranked = sorted(range(len(texts)), key=lambda at: (0 if labels is None else labels[at], hashes[at]))
    order = [ranked[place] for place in permutation("canonical-order", len(ranked))]
    chosen = None if labels is None else np.array([labels[at] for at in order], dtype=np.int64)
    return Texts(tuple(texts[at] for at in order), chosen)


def canonical_splits(rows: Iterable[tuple[str, str, int]], *splits: str) -> dict[str, Texts]:
    """Return `splits`, each in canonical order, of rows of split, text and label."""
    parts: dict[str, tuple[list[str], list[int]]] = {split: ([], []) for split in splits}
    for split, text, label in rows:
        parts[split][0].append(text)
        parts[split][1].append(label)
    return {split: canonical_texts(*part) for split, part in parts.items()}
