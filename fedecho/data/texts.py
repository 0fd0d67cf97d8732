"""Texts: single spaces between words and marks, in one canonical order; SST-2, AG News and TREC-6 from the data folder.

They lie in `text/sst2`, `text/agnews` and `text/trec`, and are put into lower case, words and marks apart. A text that
occurs twice is kept where it is found first, in the order train, validation, test, so that none is in two splits (of AG
News this drops the test texts that are also in train). U, and validation where the source has none, are the last
training texts in canonical order, labels withheld from U:

======  ======  =====  ==========  =====
source  train   pool   validation  test
======  ======  =====  ==========  =====
sst2    55,321  5,000  6,657       872
agnews  6,986   2,000  1,000       7,583
trec    3,880   1,000  500         489
======  ======  =====  ==========  =====

SST-2's training and validation texts are phrases, many of one sentence, so that its test sentences are the harder ones.
AG News is what the source has of it: its own training set is larger.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

from fedecho.core.checks import InputError, MissingDataError, require
from fedecho.data.splits import Texts, TextSplits, canonical_splits, require_digest

_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z]+)*|<[a-z]+>|[^\sa-z0-9]")
_ENTITY = re.compile(r"&?(#[0-9]+|lt|gt|amp|quot);")


def plain(text: str) -> str:
    """Return a text in lower case with single spaces between words, numbers and marks of punctuation."""
    return " ".join(_TOKEN.findall(text.lower()))


@dataclass(frozen=True)
class Sentences:
    """What is known of one data set; `digest` None: not checked."""

    name: str
    classes: dict[str, str]
    """How the files write each class -> its name, in the order of the labels."""
    files: dict[str, str]
    """File -> the split it is (train, validation or test), in the order in which repeated texts are looked for."""
    source: str
    pool: int
    digest: str | None
    validation: int = 0
    """Training texts that are set aside for validation."""
    label_first: bool = False
    """``label:detail text``, and not text, tab, label."""
    header: bool = False
    words: int = 64
    """What is beyond so many words and marks of a text is cut off."""


SENTENCES = {
    "sst2": Sentences(
        name="sst2", classes={"0": "negative", "1": "positive"}, header=True, pool=5_000,
        digest="27d4eebf1dfc0675f8be41ad4d707448b1602876a541978c346edf46d77accfa",
        files={"train.tsv": "train", "dev.tsv": "validation", "test.tsv": "test"},
        source="github.com/forest-snow/alps (data/SST-2, commit 3c7ef2c)",
    ),
    "agnews": Sentences(
        name="agnews", pool=2_000, validation=1_000,
        classes={name: name for name in ("World", "Sports", "Business", "Sci/Tech")},
        digest="e703ce0fd95f6d77201b8c7a8dca5e6636d17ac2b10aab12730cdb92c23829b2",
        files={"dev.tsv": "train", "test.tsv": "test"},
        source="github.com/forest-snow/alps (data/agnews, commit 3c7ef2c)",
    ),
    "trec": Sentences(
        name="trec", pool=1_000, validation=500, label_first=True,
        digest="9b575c88b0eaf71634677718d960fabcf9496e766a5e2a5a8e7d50435f85953e",
        classes={"ABBR": "abbreviation", "DESC": "description", "ENTY": "entity",
                 "HUM": "human", "LOC": "location", "NUM": "number"},
        files={"TREC.train": "train", "TREC.test": "test"},
        source="github.com/harvardnlp/sent-conv-torch (data, commit d61ded0)",
    ),
}  # fmt: skip


def load_sentences(known: Sentences, root: Path) -> TextSplits:
    """Return the splits of `known` from the folder `root`.

    MissingDataError: a file is not there. InputError: a row is no text with a known label, or the digest is another.
    """
    folder = root / "text" / known.name
    first: dict[str, tuple[str, int]] = {}
    for file, split in known.files.items():
        for text, label in _rows(folder / file, known):
            first.setdefault(text, (split, label))
    first.pop("", None)
    rows = ((split, text, label) for text, (split, label) in first.items())
    splits = _divided(known, **canonical_splits(rows, "train", "validation", "test"))
    require_digest(splits.digest, known.digest, folder, "the digest of its texts", f"; take {known.source}")
    return splits


def _divided(known: Sentences, train: Texts, validation: Texts, test: Texts) -> TextSplits:
    aside = known.pool + known.validation
    kept = len(train) - aside
    require(kept >= 1, "data", known.name, f"it must have more than the {aside} texts that are set aside")
    if known.validation:
        validation = train.take(slice(kept + known.pool, None))
    pool = train.take(slice(kept, kept + known.pool)).unlabeled()
    return TextSplits(known.name, tuple(known.classes.values()), train.take(slice(kept)), validation, test, pool)


def _rows(path: Path, known: Sentences) -> list[tuple[str, int]]:
    if not path.is_file():
        way = f"put {', '.join(known.files)} from {known.source} into {path.parent} (another folder: FEDECHO_DATA)"
        raise MissingDataError("data", known.name, f"it is not in the data folder; {way}")
    lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")[known.header :]
    return [_row(line, place, path, known) for place, line in enumerate(lines, start=1 + known.header) if line.strip()]


def _row(line: str, place: int, path: Path, known: Sentences) -> tuple[str, int]:
    mark, _, text = line.partition(" ") if known.label_first else line.rpartition("\t")[::-1]
    mark = mark.partition(":")[0] if known.label_first else mark.strip()
    if mark not in known.classes:
        raise InputError("data", f"{path}:{place}", f"its label must be one of {', '.join(known.classes)}")
    unescaped = html.unescape(_ENTITY.sub(r"&\1;", text)).replace("\\", " ")
    return " ".join(plain(unescaped).split(" ")[: known.words]), list(known.classes).index(mark)
