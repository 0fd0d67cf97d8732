"""Texts in one order whichever copy they came from, and the vocabulary that turns them into numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedecho.core.checks import InputError
from fedecho.data.texts import Texts, TextSplits, canonical_texts, plain
from fedecho.data.vocabulary import PADDING, UNKNOWN, Vocabulary

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


def test_the_vocabulary_holds_the_most_frequent_words() -> None:
    vocabulary = Vocabulary.of(["b a b", "c a d"], 5)
    assert vocabulary.words == ("a", "b", "c")  # a and b twice; c before d
    assert vocabulary.encode(["d a", "c"], 3).tolist() == [[UNKNOWN, 2], [4, PADDING]]
    assert vocabulary.digest != Vocabulary.of(["a b d"], 5).digest


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_what_is_known_comes_back(texts: list[str]) -> None:
    vocabulary = Vocabulary.of(texts, 100)
    ids = vocabulary.encode(texts, 6)
    named = dict(enumerate(vocabulary.words, start=2))
    assert [" ".join(named[n] for n in row if n != PADDING) for row in ids.tolist()] == texts


def test_a_text_longer_than_the_context_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="it has 3 words, the context is 2") as caught:
        Vocabulary.of(["a b c"], 9).encode(["a b c"], 2)
    assert "\n" not in str(caught.value)
