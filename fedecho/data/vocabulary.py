"""From words to numbers: a vocabulary of the clients' most frequent words, and texts as rows of token ids."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import InputError

PADDING, UNKNOWN = 0, 1
RESERVED = 2
"""Ids that stand for no word: padding, and any word that is not in the vocabulary."""


@dataclass(frozen=True)
class Vocabulary:
    """The words that have an id of their own: `words[k]` has the id k + 2."""

    words: tuple[str, ...]

    @staticmethod
    def of(texts: Iterable[str], size: int) -> Vocabulary:
        """Return the most frequent words of `texts`, ties in alphabetical order, for at most `size` ids in all."""
        counts = Counter(word for text in texts for word in text.split(" "))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return Vocabulary(tuple(ranked[: size - RESERVED]))

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of the words in order."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each word."""
        return {word: RESERVED + place for place, word in enumerate(self.words)}

    def encode(self, texts: Sequence[str], context: int) -> npt.NDArray[np.int64]:
        """Return ids `[texts, longest]`, padded at the end; InputError for a text of more than `context` words."""
        rows = [[self.ids.get(word, UNKNOWN) for word in text.split(" ")] for text in texts]
        return padded(rows, texts, context)


def padded(
    rows: Sequence[Sequence[int]], texts: Sequence[str], context: int, padding: int = PADDING, unit: str = "words"
) -> npt.NDArray[np.int64]:
    """Return the ids of `texts` as `[texts, longest]`, padded at the end; InputError for more than `context` in a row.

    `unit` is what an id stands for.
    """
    for text, row in zip(texts, rows, strict=True):
        if len(row) > context:
            raise InputError("text", f"{text[:30]}...", f"it has {len(row)} {unit}, the context is {context}")
    out = np.full((len(rows), max(map(len, rows), default=0)), padding, dtype=np.int64)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return out
