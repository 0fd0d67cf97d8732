"""From texts to numbers: a vocabulary of words, or byte-level BPE of running text, ids ranked by frequency, in blocks.

Both are made of the clients' texts alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import InputError
from fedecho.data.splits import Labels, Texts, permutation

PADDING, UNKNOWN = 0, 1
RESERVED = 2
"""Ids that stand for no word: padding, and any word that is not in the vocabulary."""
CONTEXT = 32
"""Tokens that a model reads, and next tokens that it predicts, in one block."""
Ids = npt.NDArray[np.int64]


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

    def encode(self, texts: Sequence[str], context: int) -> Ids:
        """Return ids `[texts, longest]`, padded at the end; InputError for a text of more than `context` words."""
        rows = [[self.ids.get(word, UNKNOWN) for word in text.split(" ")] for text in texts]
        return padded(rows, texts, context)


def padded(
    rows: Sequence[Sequence[int]], texts: Sequence[str], context: int, padding: int = PADDING, unit: str = "words"
) -> Ids:
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


@dataclass(frozen=True)
class Tokens:
    """A trained tokenizer: `library`, in the JSON format of the package tokenizers, and its ids by falling frequency.

    Texts are words with single spaces between them (see `plain`); a token begins with a space or inside a word.
    """

    library: str
    ranked: tuple[int, ...]
    """The library's id of each of our ids: id 0 is the most frequent token of the text it was trained on."""

    @staticmethod
    def of(texts: Sequence[str], size: int) -> Tokens:
        """Train byte-level BPE (Sennrich et al. 2016) on `texts` for `size` ids, or for as many as they give."""
        packages = _packages()
        made = packages.Tokenizer(packages.models.BPE())
        made.pre_tokenizer = packages.pre_tokenizers.ByteLevel(add_prefix_space=True)
        made.decoder = packages.decoders.ByteLevel()
        # All bytes are tokens, so that no text is without ids.
        alphabet = sorted(packages.pre_tokenizers.ByteLevel.alphabet())
        trainer = packages.trainers.BpeTrainer(
            vocab_size=size, min_frequency=1, show_progress=False, initial_alphabet=alphabet
        )
        made.train_from_iterator(texts, trainer)
        counts = Counter(chain.from_iterable(Tokens(made.to_str(), ())._library_ids(texts)))
        return Tokens(made.to_str(), tuple(sorted(range(made.get_vocab_size()), key=lambda id: (-counts[id], id))))

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of the tokens in the order of their ids and of the merges that make them."""
        model = json.loads(self.library)["model"]
        names = {id: token for token, id in model["vocab"].items()}
        said = json.dumps([[names[id] for id in self.ranked], model["merges"]])
        return hashlib.sha256(said.encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids `[tokens]` of each text."""
        ours = np.argsort(self.ranked)  # the inverse of the ranking
        return [ours[ids] for ids in self._library_ids(texts)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; half a letter of several bytes, or an id that stands for no token, is left out."""
        known = [self.ranked[id] for id in ids if id < len(self.ranked)]
        text: str = self._tokenizer.decode(known)
        return text.replace("\N{REPLACEMENT CHARACTER}", "").strip()

    @cached_property
    def _tokenizer(self) -> Any:
        return _packages().Tokenizer.from_str(self.library)

    def _library_ids(self, texts: Sequence[str]) -> list[list[int]]:
        # No token crosses a space, so that each word need be encoded once only, which takes a tenth of the time.
        split = [text.split(" ") for text in texts]
        words = sorted(set(chain.from_iterable(split)))
        known = {word: made.ids for word, made in zip(words, self._tokenizer.encode_batch(words), strict=True)}
        return [list(chain.from_iterable(known[word] for word in text)) for text in split]


def _packages() -> Any:
    # Its threads would outlive the forks of a sweep, and one thread is enough.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import tokenizers

    return tokenizers


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of `context` + 1 tokens in a row, each of one text, in canonical order."""

    ids: Ids
    """`[blocks, context + 1]`: the model reads all but the last and predicts all but the first."""
    labels: Labels | None
    """The class of each block's text `[blocks]`."""
    texts: Ids
    """Which text each block is from `[blocks]`."""

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.ids)

    def take(self, index: slice) -> Blocks:
        """Return the blocks of a slice."""
        return Blocks(self.ids[index], None if self.labels is None else self.labels[index], self.texts[index])


def blocks(tokens: Tokens, texts: Texts, context: int = CONTEXT) -> Blocks:
    """Cut each text into blocks that overlap by one token, so that every token but its first is predicted once.

    What is left at a text's end is dropped. Where there are labels, every class keeps as many blocks: its first ones.
    """
    cut = [_cut(ids, context) for ids in tokens.encode(texts.texts)]
    origin = np.repeat(np.arange(len(cut)), [len(rows) for rows in cut])
    ids = np.concatenate(cut)
    kept = np.arange(len(ids)) if texts.labels is None else _balanced(texts.labels[origin])
    order = kept[permutation("canonical-order", len(kept))]
    return Blocks(ids[order], None if texts.labels is None else texts.labels[origin[order]], origin[order])


def _cut(ids: Ids, context: int) -> Ids:
    """Return `[blocks, context + 1]`."""
    count = max(0, (len(ids) - 1) // context)
    rows: Ids = ids[np.arange(count)[:, None] * context + np.arange(context + 1)]
    return rows


def _balanced(labels: Labels) -> Ids:
    """Return the places of the first entries of each class, as many as the smallest class has."""
    places = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    least = min(map(len, places))
    return np.concatenate([place[:least] for place in places])
