"""The bundled novels: what the build keeps and masks, on sentences one can check; and splits by whole chapters."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from fedecho.core.checks import InputError
from fedecho.core.files import bundled_path
from fedecho.data import austen
from fedecho.data.build import austen as build_austen


def lines(text: str, novel: str = "Emma") -> list[tuple[str, str]]:
    return [(novel, line) for line in text.split("\n")]


# The build


def test_prose_is_kept_by_paragraph_and_chapter() -> None:
    rows = lines(
        "EMMA\n\nby me\n\nVOLUME I\n\nCHAPTER I\n\nOne  _two_\nthree.\n\n* * *\n\nFour.\n\nCHAPTER II\n\nFive."
    )
    assert list(build_austen.chapters(rows)) == [
        ("Emma", 1, "One two three."),
        ("Emma", 1, "Four."),
        ("Emma", 2, "Five."),
    ]


def test_chapters_go_on_through_volumes_and_begin_anew_with_a_novel() -> None:
    volumes = lines("CHAPTER I\n\nA b.\n\nVOLUME II\n\nCHAPTER I\n\nC d.\n\nFINIS")
    other = lines("PERSUASION\n\nChapter 1\n\nE f.\n\nA NOTE ON THE TEXT\n\nPrinted.", "Persuasion")
    found = list(build_austen.chapters([*volumes, *other]))
    assert found == [("Emma", 1, "A b."), ("Emma", 2, "C d."), ("Persuasion", 1, "E f.")]


def test_a_name_has_a_capital_where_no_sentence_begins() -> None:
    text = 'The house of Mr. Elton. However, he said, "Nobody was at Highbury." nobody saw Elton or Highbury'
    assert build_austen.names([("Emma", text)]) == ["elton", "highbury", "however", "mr", "the"]


def test_a_word_that_is_mostly_lower_is_no_name() -> None:
    assert build_austen.names([("Emma", "a Park, the park, his park")]) == []
    assert build_austen.names([("Emma", "at Park, the Park, his park")]) == ["park"]


def test_a_name_of_many_novels_is_none() -> None:
    few = [(novel, "he saw Bath") for novel in austen.CLASSES[: build_austen.FEW]]
    assert build_austen.names(few) == ["bath"]
    assert build_austen.names([*few, (austen.CLASSES[-1], "to Bath")]) == []


def test_capitals_throughout_say_nothing() -> None:
    assert build_austen.names([("Emma", "he saw HIM")]) == []


def test_the_build_refuses_another_table(tmp_path: Path) -> None:
    (tmp_path / "books.tsv.gz").write_bytes(gzip.compress(b"book\ttext\n"))
    with pytest.raises(InputError, match="janeaustenr"):
        build_austen.build(tmp_path / "books.tsv.gz", tmp_path)
    assert not (tmp_path / austen.NOVELS).exists()


# Passages


def test_passages_are_of_sixty_words_and_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(austen, "WORDS", 3)
    found = austen.passages("Emma's aunt -- was there; Mr. Elton, too", frozenset({"emma", "elton"}))
    assert found == ["<name> aunt was", "there mr <name>"]


def test_chapters_are_split_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(austen, "COUNTS", {"test": 3, "train": 4})
    parts = austen.divide([f"{chapter}{part}" for part in "xy"] for chapter in "abcdef")
    assert parts == {"test": ["ax", "ay", "bx"], "train": ["cx", "cy", "dx", "dy"]}


# The bundle


def test_the_bundle_gives_the_stated_splits() -> None:
    splits = austen.load_austen()
    for part, count in ((splits.train, 600), (splits.validation, 120), (splits.test, 240)):
        assert part.labels is not None and np.bincount(part.labels).tolist() == [count] * 6
    assert len(splits.pool) == 1080 and splits.pool.labels is None
    parts = (splits.train, splits.validation, splits.test, splits.pool)
    assert all(len(text.split(" ")) == austen.WORDS for part in parts for text in part.texts)
    assert len({text for part in parts for text in part.texts}) == 6840


def test_the_mask_leaves_no_name_and_changes_nothing_else() -> None:
    masked, plain = (austen.load_austen(mask) for mask in (True, False))
    names = set(bundled_path(austen.NAMES).read_text().split())
    assert {"darcy", "lyme", "emma"} <= names and not {"mr", "captain", "london"} & names
    seen = {word.split("'")[0] for text in masked.train.texts for word in text.split(" ")}
    assert not seen & names and austen.MASK in seen
    assert "darcy" in {word for text in plain.train.texts for word in text.split(" ")}
    counts = [sum(len(text.split(" ")) for text in splits.train.texts) for splits in (masked, plain)]
    assert counts == [216_000, 216_000]


@pytest.mark.parametrize(("mask", "digest"), [(True, "5db8e2ec16df29bf"), (False, "872768a06d3bd1c2")])
def test_the_passages_are_the_same_on_every_machine(mask: bool, digest: str) -> None:
    assert austen.load_austen(mask).digest[:16] == digest


def test_a_changed_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        austen.load_austen(folder=tmp_path)
    (tmp_path / austen.NAMES).write_text("darcy\n")
    with pytest.raises(InputError, match="SHA-256"):
        austen.load_austen(folder=tmp_path)
