"""Build the bundled novels of Jane Austen: `python -m fedecho.data.build.austen SOURCE [TARGET_DIR]`.

SOURCE is a gzip-compressed table of tab-separated `book` and `text`, one line of print a row: the data frame
`austen_books()` of the R package janeaustenr 1.0.0 (Debian: r-cran-janeaustenr), written out. The *decompressed* bytes
are checked. Users never run this; it is here so that anyone can check what the bundle is made of.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedecho.core.checks import require
from fedecho.core.files import bundled_path
from fedecho.data import austen
from fedecho.data.command import command

SOURCE_SHA256 = "2e774f7bb4dff80e9d5da21f7b40f9f4027505aeeab5b0ed36cd9189e9094e60"
HEADING = re.compile(r"CHAPTER ([0-9]+|[IVXLC]+)\.?", re.IGNORECASE)
NOT_TEXT = re.compile(r"VOLUME [IVX]+|THE END|FINIS|\(End of volume one\.\)|[* ]+|\*Vide .*|\[.*", re.IGNORECASE)
"""Paragraphs that are no prose: titles of volumes, ends, rules of asterisks, a footnote, notes on the edition."""
AFTERWORD = "A NOTE ON THE TEXT"
"""Begins a modern editor's note at the end of Northanger Abbey."""
FEW = 3
"""Novels that a name may be found in and still give them away; half of them."""
_OPENS = re.compile(r"[.!?:;\"(\[]|--")
_ABBREVIATED = re.compile(r"\b(Mr|Mrs|Dr|St|Esq)\.\s*$")


def build(source: Path, target: Path) -> str:
    """Write the novels and the list of names to the folder `target` and return the novels' SHA-256."""
    content = gzip.decompress(source.read_bytes())
    fits = hashlib.sha256(content).hexdigest() == SOURCE_SHA256
    require(fits, "SOURCE", str(source), "it does not hold the table of janeaustenr 1.0.0")
    rows = (line.partition("\t") for line in content.decode().splitlines()[1:])
    paragraphs = list(chapters((book, text) for book, _, text in rows))
    table = "".join(f"{novel}\t{chapter}\t{text}\n" for novel, chapter, text in paragraphs).encode()
    # No time of day in the header, so that two builds give the same file.
    (target / austen.NOVELS).write_bytes(gzip.compress(table, compresslevel=9, mtime=0))
    masked = names((novel, text) for novel, _, text in paragraphs)
    (target / austen.NAMES).write_text("".join(f"{name}\n" for name in masked))
    return hashlib.sha256(table).hexdigest()


def chapters(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, int, str]]:
    """Yield novel, chapter (1, 2, ... through all volumes) and paragraph, from rows of book and line of print.

    What stands before the first chapter, headings and what is no prose are left out, as are the marks of emphasis.
    """
    novel, chapter, lines = "", 0, list[str]()
    for book, line in [*rows, ("", "")]:
        if (book != novel or not line.strip()) and lines:
            text = " ".join(" ".join(lines).replace("_", " ").split())
            lines = []
            if HEADING.fullmatch(text):
                chapter += 1
            elif text == AFTERWORD:
                chapter = 0
            elif chapter and not NOT_TEXT.fullmatch(text):
                yield novel, chapter, text
        if book != novel:
            novel, chapter = book, 0
        if line.strip():
            lines.append(line)


def names(paragraphs: Iterable[tuple[str, str]]) -> list[str]:
    """Return, in alphabetical order, the names that belong to few novels, from rows of novel and paragraph.

    A word is a name if, where no sentence or speech begins, more than half of its occurrences have a capital; or if it
    is found at such beginnings alone and never without a capital. Words all in capitals say nothing. Of few novels:
    with a capital, it is found in at most `FEW` of them, so that Mr, Captain and London stay and Darcy and Lyme go.
    """
    inside, lower = Counter[str](), Counter[str]()
    novels: dict[str, set[str]] = {}
    for novel, text in paragraphs:
        for word, opens in _words(text):
            if word[0].islower():
                lower[word] += 1
            elif word[1:].islower():
                inside[word.lower()] += not opens
                novels.setdefault(word.lower(), set()).add(novel)
    return sorted(
        word
        for word, where in novels.items()
        if len(where) <= FEW and (inside[word] > lower[word] or not inside[word] + lower[word])
    )


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each word up to its apostrophe, and whether a sentence or a speech may begin with it."""
    end = 0
    for found in austen.WORD.finditer(text):
        before = text[end : found.start()]
        abbreviated = _ABBREVIATED.search(text[: found.start()][-6:]) is not None
        yield found[0].split("'")[0], not end or (bool(_OPENS.search(before)) and not abbreviated)
        end = found.end()


def main(source: Path, target: Path = bundled_path(""), /) -> None:
    """Build the bundle from the table of janeaustenr.

    Args:
        source: the table, gzip-compressed.
        target: the folder to write to.
    """
    target.mkdir(parents=True, exist_ok=True)
    digest, novels = build(source, target), target / austen.NOVELS
    print(f"{novels}: {novels.stat().st_size:,} bytes, SHA-256 of the text {digest}")


if __name__ == "__main__":
    command(main)
