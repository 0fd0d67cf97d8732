"""The six novels of Jane Austen, bundled: passages of 60 words, of which to tell the novel, or running text.

A passage is 60 words in a row, in lower case and without punctuation, in which editions differ more than novels do. No
passage crosses a chapter, no chapter lies in two splits, and every split holds as many passages of each novel.

Running text, whose next tokens are to be predicted, is whole chapters in lower case with names and punctuation, words
and marks apart as in the other data sets; every split holds as many characters of each novel.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from fedecho.core.checks import InputError
from fedecho.core.files import bundled_path
from fedecho.data.splits import TextSplits, canonical_splits, permutation, require_digest
from fedecho.data.texts import plain

CLASSES = (
    "Sense & Sensibility", "Pride & Prejudice", "Mansfield Park", "Emma", "Northanger Abbey", "Persuasion",
)  # fmt: skip
WORDS = 60
COUNTS = {"test": 240, "validation": 120, "pool": 180, "train": 600}
"""Passages of each novel; whole chapters go to the splits in this order until each is full, the rest of its last
chapter is left out. The shortest novel has 1,274 passages in all."""
CHARACTERS = {"test": 40_000, "validation": 20_000, "pool": 30_000, "train": 240_000}
"""Characters of each novel where its running text is split, in the same way; the rest of a last chapter is cut off at a
word. The shortest novel has 445,681 in all."""
NOVELS = "austen.tsv.gz"
"""One paragraph a line: novel, chapter, text."""
NAMES = "austen_names.txt"
"""The words that are masked, one a line (see `build.austen.names`)."""
SHA256 = {
    NOVELS: "498dfad0bf3e4dccf7534f41aa52766a423ab0758a551bd6f14b98174e6436ba",
    NAMES: "ddfc6a784fc0524e58ab6e666b6367c73c052208fe94e2b2afc7d4539c6854a2",
}
"""Of the novels' text, decompressed, and of the list of names."""
MASK = "<name>"
WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?")

Chapter = list[str]
"""The passages of one chapter."""


def load_austen(mask: bool = True, folder: Path | None = None) -> TextSplits:
    """Return the passages in four splits of disjoint chapters; with `mask`, `<name>` stands for every name.

    InputError: a file of the bundle (or of `folder`) has another content than belongs to this version.
    """
    masked = frozenset(_read(NAMES, folder).split()) if mask else frozenset[str]()
    return _splits(folder, lambda chapters: divide(passages(chapter, masked) for chapter in chapters))


def load_chapters(folder: Path | None = None) -> TextSplits:
    """Return the running text of whole chapters, one a text, in four splits; labels are the novels.

    InputError: as for `load_austen`.
    """
    return _splits(folder, lambda chapters: divide_text(map(plain, chapters)))


def _splits(folder: Path | None, divided: Callable[[Iterator[str]], dict[str, list[str]]]) -> TextSplits:
    """Return the splits of all novels; `divided` does so with the chapters of one, shuffled by a fixed stream."""
    lines, rows = (line.split("\t") for line in _read(NOVELS, folder).splitlines()), []
    for novel, paragraphs in groupby(lines, key=lambda line: line[0]):
        by_chapter = groupby(paragraphs, key=lambda line: line[1])
        chapters = [" ".join(line[2] for line in chapter) for _, chapter in by_chapter]
        label = CLASSES.index(novel)
        shuffled = (chapters[place] for place in permutation(f"austen-chapters-{label}", len(chapters)))
        rows += [(split, text, label) for split, texts in divided(shuffled).items() for text in texts]
    parts = canonical_splits(rows, *COUNTS)
    return TextSplits("austen", CLASSES, **{**parts, "pool": parts["pool"].unlabeled()})


def divide(chapters: Iterator[Chapter]) -> dict[str, list[str]]:
    """Divide the passages of chapters, taken one after the other, among the splits."""
    out: dict[str, list[str]] = {}
    for split, count in COUNTS.items():
        out[split] = []
        while len(out[split]) < count:
            out[split] += next(chapters)
        del out[split][count:]
    return out


def divide_text(chapters: Iterator[str]) -> dict[str, list[str]]:
    """Divide chapters, taken one after the other, among the splits by their characters."""
    out: dict[str, list[str]] = {}
    for split, left in CHARACTERS.items():
        out[split] = []
        while left > 0:
            chapter = next(chapters)
            out[split].append(chapter if len(chapter) <= left else chapter[: left + 1].rpartition(" ")[0])
            left -= len(chapter)
        out[split] = [text for text in out[split] if text]
    return out


def passages(text: str, masked: frozenset[str]) -> Chapter:
    """Cut a chapter into passages of `WORDS` words; what is left at its end is dropped."""
    words = [MASK if word.split("'")[0] in masked else word for word in WORD.findall(text.lower())]
    return [" ".join(words[start : start + WORDS]) for start in range(0, len(words) - WORDS + 1, WORDS)]


def _read(name: str, folder: Path | None) -> str:
    path = bundled_path(name) if folder is None else folder / name
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if name.endswith(".gz") else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError("data", str(path), f"it cannot be read ({error}): reinstall") from None
    require_digest(hashlib.sha256(content).hexdigest(), SHA256[name], path, "the SHA-256 of its text", ": reinstall")
    return content.decode()
