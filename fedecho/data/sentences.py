"""SST-2, AG News and TREC-6 from `text/sst2`, `text/agnews` and `text/trec` in the data folder.

Texts are in lower case, words and marks apart. A text that occurs twice is kept where it is found first, in the order
train, validation, test, so that none is in two splits (of AG News this drops the test texts that are also in train). U,
and validation where the source has none, are the last training texts in canonical order, labels withheld from U:

| | train | pool | validation | test |
|---|---|---|---|---|
| sst2 | 55,321 | 5,000 | 6,657 | 872 |
| agnews | 6,986 | 2,000 | 1,000 | 7,583 |
| trec | 3,880 | 1,000 | 500 | 489 |

SST-2's training and validation texts are phrases, many of one sentence, so that its test sentences are the harder ones.
AG News is what the source has of it: its own training set is larger.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedecho.core.checks import InputError, MissingDataError
from fedecho.data.texts import Texts, TextSplits, canonical_texts, plain

_ENTITY = re.compile(r"&?(#[0-9]+|lt|gt|amp|quot);")


@dataclass(frozen=True)
class Sentences:
    """What is known of one data set; `digest` None: not checked."""

    name: str
    classes: tuple[str, ...]
    """In the order of the labels; `marks` are how the files write them, in the same order."""
    marks: tuple[str, ...]
    files: tuple[tuple[str, Literal["train", "validation", "test"]], ...]
    """File -> the split it is, in the order in which repeated texts are looked for."""
    source: str
    pool: int
    digest: str | None
    validation: int = 0
    """Training texts that are set aside for validation."""
    label_first: bool = False
    """`label:detail text`, and not text, tab, label."""
    header: bool = False
    words: int = 64
    """What is beyond so many words and marks of a text is cut off."""


SENTENCES = {
    "sst2": Sentences(
        name="sst2", classes=("negative", "positive"), marks=("0", "1"), header=True, pool=5_000,
        digest="27d4eebf1dfc0675f8be41ad4d707448b1602876a541978c346edf46d77accfa",
        files=(("train.tsv", "train"), ("dev.tsv", "validation"), ("test.tsv", "test")),
        source="github.com/forest-snow/alps (data/SST-2, commit 3c7ef2c)",
    ),
    "agnews": Sentences(
        name="agnews", classes=("World", "Sports", "Business", "Sci/Tech"), pool=2_000, validation=1_000,
        marks=("World", "Sports", "Business", "Sci/Tech"),
        digest="e703ce0fd95f6d77201b8c7a8dca5e6636d17ac2b10aab12730cdb92c23829b2",
        files=(("dev.tsv", "train"), ("test.tsv", "test")),
        source="github.com/forest-snow/alps (data/agnews, commit 3c7ef2c)",
    ),
    "trec": Sentences(
        name="trec", pool=1_000, validation=500, label_first=True,
        digest="9b575c88b0eaf71634677718d960fabcf9496e766a5e2a5a8e7d50435f85953e",
        classes=("abbreviation", "description", "entity", "human", "location", "number"),
        marks=("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"),
        files=(("TREC.train", "train"), ("TREC.test", "test")),
        source="github.com/harvardnlp/sent-conv-torch (data, commit d61ded0)",
    ),
}  # fmt: skip


def load_sentences(known: Sentences, root: Path) -> TextSplits:
    """Return the splits of `known` from the folder `root`.

    MissingDataError: a file is not there. InputError: a row is no text with a known label, or the digest is another.
    """
    folder = root / "text" / known.name
    read: dict[str, tuple[list[str], list[int]]] = {"train": ([], []), "validation": ([], []), "test": ([], [])}
    seen = set[str]()
    for file, split in known.files:
        for text, label in _rows(folder / file, known):
            if text and text not in seen:
                seen.add(text)
                read[split][0].append(text)
                read[split][1].append(label)
    splits = _divided(known, {split: canonical_texts(*part) for split, part in read.items()})
    if known.digest is not None and splits.digest != known.digest:
        wanted = f"{known.digest[:16]}..., not {splits.digest[:16]}..."
        raise InputError("data", str(folder), f"the digest of its texts must be {wanted}; take {known.source}")
    return splits


def _divided(known: Sentences, parts: dict[str, Texts]) -> TextSplits:
    train, validation = parts["train"], parts["validation"]
    kept = len(train) - known.pool - known.validation
    if kept < 1:
        allowed = f"it must have more than the {known.pool + known.validation} texts that are set aside"
        raise InputError("data", known.name, allowed)
    if known.validation:
        validation = train.take(slice(kept + known.pool, None))
    pool = train.take(slice(kept, kept + known.pool)).unlabeled()
    return TextSplits(known.name, known.classes, train.take(slice(kept)), validation, parts["test"], pool)


def _rows(path: Path, known: Sentences) -> list[tuple[str, int]]:
    if not path.is_file():
        way = f"put {', '.join(file for file, _ in known.files)} from {known.source} into {path.parent}"
        raise MissingDataError(
            "data", known.name, f"it is not in the data folder; {way} (another folder: FEDECHO_DATA)"
        )
    lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")[known.header :]
    return [_row(line, place, path, known) for place, line in enumerate(lines, start=1 + known.header) if line.strip()]


def _row(line: str, place: int, path: Path, known: Sentences) -> tuple[str, int]:
    mark, _, text = line.partition(" ") if known.label_first else line.rpartition("\t")[::-1]
    mark = mark.partition(":")[0] if known.label_first else mark.strip()
    if mark not in known.marks:
        raise InputError("data", f"{path}:{place}", f"its label must be one of {', '.join(known.marks)}")
    unescaped = html.unescape(_ENTITY.sub(r"&\1;", text)).replace("\\", " ")
    return " ".join(plain(unescaped).split(" ")[: known.words]), known.marks.index(mark)
