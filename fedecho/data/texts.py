"""The values that text data sets are handed out as: words with single spaces between them, in one canonical order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedecho.core.checks import InputError
from fedecho.data.canonical import Labels, permutation

_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z]+)*|<[a-z]+>|[^\sa-z0-9]")


@dataclass(frozen=True, eq=False)
class Texts:
    """`texts`, each of one word or more with single spaces between them, and `labels` int64 `[texts]` (None: withheld).

    The labels are read-only.
    """

    texts: tuple[str, ...]
    labels: Labels | None = None

    def __post_init__(self) -> None:
        """Check that there is one label for each text, and that no text is empty (InputError)."""
        for place, text in enumerate(self.texts):
            if not text:
                raise InputError("texts", text, f"text {place} has no word; leave it out")
        if self.labels is None:
            return
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.texts),):
            found = f"{self.labels.dtype} {self.labels.shape}"
            raise InputError("labels", found, "must be int64 [texts], one per text")
        view = self.labels.view()
        view.flags.writeable = False
        object.__setattr__(self, "labels", view)

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

    @property
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


def plain(text: str) -> str:
    """Return a text in lower case with single spaces between words, numbers and marks of punctuation."""
    return " ".join(_TOKEN.findall(text.lower()))
