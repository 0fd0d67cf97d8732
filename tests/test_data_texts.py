"""Texts in one order whichever copy they came from; SST-2, AG News and TREC-6: formats, splits, absence."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from fedecho import data
from fedecho.core.checks import InputError, MissingDataError
from fedecho.data.splits import Texts, TextSplits, canonical_texts
from fedecho.data.texts import SENTENCES, Sentences, load_sentences, plain

WORDS = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=6).map(" ".join)


def test_plain_separates_words_and_marks() -> None:
    assert plain("It's 5 O'Clock,\n<name>!") == "it's 5 o'clock , <name> !"


@given(st.lists(st.tuples(WORDS, st.integers(0, 2)), max_size=8, unique_by=lambda row: row[0]), st.randoms())
def test_canonical_order_does_not_depend_on_the_given_one(rows: list[tuple[str, int]], random: object) -> None:
    def ordered(rows: list[tuple[str, int]]) -> list[tuple[str, int]]:
        made = canonical_texts([text for text, _ in rows], [label for _, label in rows])
        assert made.labels is not None
        return list(zip(made.texts, made.labels.tolist(), strict=True))

    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ordered(rows) == ordered(shuffled) and sorted(ordered(rows)) == sorted(rows)


def test_without_labels_the_order_is_that_of_the_texts_alone() -> None:
    labelled = canonical_texts(["a", "b", "c"], [2, 0, 1])
    assert labelled.unlabeled().texts == canonical_texts(["c", "b", "a"]).texts and labelled.unlabeled().labels is None


def test_the_digest_names_texts_labels_and_splits() -> None:
    def digest(train: str = "a", label: int = 0, pool: str = "b") -> str:
        one = Texts((train,), np.array([label]))
        return TextSplits("toy", ("x", "y"), one, one, one, Texts((pool,))).digest

    assert len({digest(), digest("c"), digest(label=1), digest(pool="c")}) == 4 and digest() == digest()


def test_bad_texts_are_refused() -> None:
    with pytest.raises(InputError, match="text 1 has no word"):
        Texts(("a", ""))
    with pytest.raises(InputError, match="one per text"):
        Texts(("a", "b"), np.array([0]))


def test_labels_cannot_be_changed() -> None:
    texts = Texts(("a",), np.array([0]))
    assert texts.labels is not None
    with pytest.raises(ValueError, match="read-only"):
        texts.labels[0] = 1


# SST-2, AG News and TREC-6


def toy(name: str, **changes: object) -> Sentences:
    """A data set of a few texts, in the format of a real one."""
    sizes = {"digest": None, "pool": 1, "validation": 1 if SENTENCES[name].validation else 0}
    return replace(SENTENCES[name], **{**sizes, **changes})  # type: ignore[arg-type]


def write(root: Path, name: str, files: dict[str, str]) -> Path:
    folder = root / "text" / name
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content.encode("latin-1"))
    return root


TREC = {
    "TREC.train": "NUM:dist How far ?\nLOC:city Where ?\nHUM:ind Who ?\nDESC:def What is 'that' ?\n",
    "TREC.test": "HUM:ind Who ?\nABBR:exp What is AAA ?\n",
}


def test_trec_has_its_label_first_and_a_text_is_in_one_split_only(tmp_path: Path) -> None:
    splits = load_sentences(toy("trec"), write(tmp_path, "trec", TREC))
    assert splits.test.texts == ("what is aaa ?",) and splits.test.labels is not None
    assert [splits.classes[label] for label in splits.test.labels] == ["abbreviation"]
    parts = (splits.train, splits.validation, splits.pool)
    assert [len(part) for part in parts] == [2, 1, 1] and splits.pool.labels is None
    assert sorted(text for part in parts for text in part.texts) == [
        "how far ?",
        "what is ' that ' ?",
        "where ?",
        "who ?",
    ]


def test_sst2_has_headers_and_a_validation_split_of_its_own(tmp_path: Path) -> None:
    head = "sentence\tlabel\n"
    files = {
        "train.tsv": f"{head}A film \t1\nno\t0\nbad\t0\n",
        "dev.tsv": f"{head}no\t0\nFine\t1\n",
        "test.tsv": f"{head}so so\t0\n",
    }
    splits = load_sentences(toy("sst2"), write(tmp_path, "sst2", files))
    assert (splits.validation.texts, splits.test.texts) == (("fine",), ("so so",))
    assert sorted((*splits.train.texts, *splits.pool.texts)) == ["a film", "bad", "no"]


def test_agnews_loses_its_entities_and_what_is_too_long(tmp_path: Path) -> None:
    rows = {"dev.tsv": "It #39;s\\a  #36;10\tWorld\nb\tSports\nc\tSports\n", "test.tsv": "b\tSports\nd e f\tBusiness\n"}
    root = write(tmp_path, "agnews", rows)
    splits = load_sentences(toy("agnews", words=5), root)
    assert splits.test.texts == ("d e f",)
    texts = {text for part in (splits.train, splits.pool, splits.validation) for text in part.texts}
    assert texts == {"it ' s a $", "b", "c"}


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    turned = {name: "\n".join(content.splitlines()[::-1]) + "\n" for name, content in TREC.items()}
    known = toy("trec")
    one, two = (load_sentences(known, write(tmp_path / n, "trec", f)) for n, f in (("a", TREC), ("b", turned)))
    assert one.digest == two.digest


@pytest.mark.parametrize(
    ("changes", "files", "message"),
    [
        ({}, {**TREC, "TREC.test": "WHO:ind Who ?\n"}, r"TREC\.test:1.*ABBR, DESC"),
        ({"digest": "0" * 64}, TREC, "digest .*harvardnlp"),
        ({"pool": 4}, TREC, "more than the 5 texts"),
    ],
)
def test_other_data_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, object], files: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_sentences(toy("trec", **changes), write(tmp_path, "trec", files))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SENTENCES)
def test_absent_data_says_how_to_get_it_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingDataError) as caught:
        data.load_texts(name, tmp_path)
    message = str(caught.value)
    for part in (next(iter(SENTENCES[name].files)), "github.com/", str(tmp_path / "text" / name), "FEDECHO_DATA"):
        assert part in message
    assert "\n" not in message


def test_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(InputError, match="austen, sst2, agnews, trec"):
        data.load_texts("imdb")


ROOT = Path(os.environ.get("FEDECHO_DATA", ""))
SIZES = {"sst2": (55_321, 5_000, 6_657, 872), "agnews": (6_986, 2_000, 1_000, 7_583), "trec": (3_880, 1_000, 500, 489)}


@pytest.mark.parametrize("name", SENTENCES)
def test_the_real_splits_have_the_stated_sizes(name: str) -> None:
    if "FEDECHO_DATA" not in os.environ or not (ROOT / "text" / name).is_dir():
        pytest.skip(f"text/{name} is not in FEDECHO_DATA")
    splits = data.load_texts(name, ROOT)  # its digest is checked here
    parts = (splits.train, splits.pool, splits.validation, splits.test)
    assert tuple(map(len, parts)) == SIZES[name]
    assert len({text for part in parts for text in part.texts}) == sum(SIZES[name])
