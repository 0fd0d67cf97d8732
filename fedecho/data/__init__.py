"""Data sets as plain arrays in one canonical order, from the package itself or from the user's data folder.

Nothing here downloads by surprise: `load` and `load_unlabeled` only read, `fetch` is called when the user asks.
"""

from __future__ import annotations

import functools
from pathlib import Path

from fedecho.core.checks import require
from fedecho.core.files import data_root as data_root
from fedecho.data.arrays import load_arrays
from fedecho.data.austen import load_austen, load_chapters
from fedecho.data.download import fetch as fetch
from fedecho.data.pools import MAKERS, READERS, Shape, read_unlabeled
from fedecho.data.sources import CIFARS, load_cifar, load_fashion_mnist
from fedecho.data.splits import Images, Splits, TextSplits, canonical
from fedecho.data.texts import SENTENCES, load_sentences
from fedecho.data.tokens import Blocks, Tokens, blocks

DATASETS = ("fashion-mnist", *CIFARS)
POOLS = (*CIFARS, *READERS, *MAKERS)
"""Sources of U besides `held-out`, for images."""
IN_FOLDER = {*CIFARS, *READERS} - {"diffusion", "digits"}
"""Those that lie in the data folder, and not in the package or in one that it needs."""
TEXTS = ("austen", *SENTENCES)
"""Data sets of texts; each is also a source of U for the others."""
HELD: dict[str, Splits | TextSplits | Images] = {}
"""What came from another machine, by the names of `in_folder`; it is taken in place of what the data folder has."""
TEXT_SHAPE = (4_000, 64)
"""Ids of a vocabulary, of which two are padding and any other word; words of the longest text that a model reads."""


def load(name: str, root: Path | None = None) -> Splits:
    """Return data set `name`, one of `DATASETS`, or a file .npz of the user's own (`arrays`); read once per process.

    Images are uint8 `[images, 28, 28, 1]` (Fashion-MNIST) or `[images, 32, 32, 3]`, labels int64 `0 .. classes - 1`.
    `root`: see `data_root`. InputError: an unknown name or bad data. MissingDataError: not in the data folder.
    """
    if name.endswith(".npz"):
        return load_arrays(Path(name))
    require(name in DATASETS, "data", name, f"choose one of {', '.join((*DATASETS, *TEXTS))}, or a file .npz")
    return _load(name, None if name == "fashion-mnist" else data_root(root))


@functools.lru_cache(maxsize=4)
def _load(name: str, root: Path | None) -> Splits:
    if name in HELD:
        return HELD[name]  # type: ignore[return-value]
    return load_fashion_mnist() if root is None else load_cifar(CIFARS[name], root)


def load_texts(name: str, root: Path | None = None, *, mask: bool = True) -> TextSplits:
    """Return the texts of data set `name`, one of `TEXTS`; read once per process and folder; `mask`: see `load_austen`.

    `root`: see `data_root`. InputError: an unknown name or bad data. MissingDataError: not in the data folder.
    """
    require(name in TEXTS, "data", name, f"choose one of {', '.join(TEXTS)}")
    return _load_texts(name, None if name == "austen" else data_root(root), mask)


@functools.lru_cache(maxsize=4)
def _load_texts(name: str, root: Path | None, mask: bool) -> TextSplits:
    if name in HELD:
        return HELD[name]  # type: ignore[return-value]
    return load_austen(mask) if root is None else load_sentences(SENTENCES[name], root)


load_running_text = functools.cache(load_chapters)
"""Returns the bundled novels as running text, a chapter a text; read once per process."""


@functools.lru_cache(maxsize=2)
def load_tokens(vocabulary: int) -> Tokens:
    """Return the tokenizer of the whole running text for training with at most `vocabulary` ids."""
    return Tokens.of(load_running_text().train.texts, vocabulary)


@functools.lru_cache(maxsize=8)
def load_blocks(vocabulary: int, part: str) -> Blocks:
    """Return `part` of the running text, train, validation, test or pool, in blocks of those tokens."""
    return blocks(load_tokens(vocabulary), getattr(load_running_text(), part))


@functools.lru_cache(maxsize=8)
def characters_per_token(vocabulary: int, part: str) -> float:
    """Return how many characters of `part` of the running text a token of that vocabulary stands for, on average."""
    texts = getattr(load_running_text(), part).texts
    return sum(map(len, texts)) / sum(map(len, load_tokens(vocabulary).encode(texts)))


def require_here(name: str, pool: str, root: Path | None = None) -> None:
    """Raise MissingDataError unless data set `name` and the source of U can be read, InputError where they are bad."""
    _ = load_texts(name, root) if name in TEXTS else load(name, root)
    if pool in TEXTS:
        load_texts(pool, root)
    elif pool not in ("held-out", "self"):
        load_unlabeled(pool, root, count=1)


def load_unlabeled(name: str, root: Path | None = None, *, count: int = 5_000, shape: Shape = (28, 28, 1)) -> Images:
    """Return external images without labels, one of `POOLS`: uint8 `[images, 32, 32, 3]` or `[images, 28, 28, 1]`.

    Procedural ones are made to order, `[count, *shape]`; all others are what they are, in canonical order by pixel hash
    only, so that the order says nothing of classes (STL-10 averaged down from 96x96). `root`: see `data_root`.
    InputError: an unknown name or bad data. MissingDataError: not in the data folder, or a package is lacking.
    """
    require(name in POOLS, "data", name, f"choose one of {', '.join(POOLS)}")
    return _made(name, count, shape) if name in MAKERS else _load_unlabeled(name, data_root(root))


@functools.lru_cache(maxsize=2)
def _load_unlabeled(name: str, root: Path) -> Images:
    if name in CIFARS and f"pool {name}" not in HELD:
        return canonical(load_cifar(CIFARS[name], root).train.images)
    return HELD.get(f"pool {name}") or read_unlabeled(name, root)  # type: ignore[return-value]


def in_folder(name: str, pool: str, root: Path | None = None) -> dict[str, Splits | TextSplits | Images]:
    """Return what a data set and a source of U have in the data folder, for `HELD` on a machine without one; what is in
    the package is not there."""
    found: dict[str, Splits | TextSplits | Images] = {}
    if name in CIFARS:
        found[name] = load(name, root)
    found |= {each: load_texts(each, root) for each in (name, pool) if each in SENTENCES}
    return found | ({f"pool {pool}": load_unlabeled(pool, root)} if pool in IN_FOLDER else {})


@functools.lru_cache(maxsize=2)
def _made(name: str, count: int, shape: Shape) -> Images:
    return Images(MAKERS[name](count, shape))
