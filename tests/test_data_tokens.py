"""A vocabulary of words; byte-level BPE: the same ids every time, texts come back, each token is predicted once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fedecho import data
from fedecho.core.checks import InputError
from fedecho.data import austen
from fedecho.data.splits import Texts, permutation
from fedecho.data.tokens import PADDING, UNKNOWN, Blocks, Tokens, Vocabulary, blocks

TEXTS = ["the cat , the hat and the bat .", "a cat that sat on the mat"]
TOKENS = Tokens.of(TEXTS, 270)
WORDS = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=6).map(" ".join)


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


def in_order(found: Blocks) -> np.ndarray:
    """Undo the canonical order."""
    return found.ids[np.argsort(permutation("canonical-order", len(found)))]


def test_two_trainings_give_the_same_tokens_and_digest() -> None:
    again = Tokens.of(TEXTS, 270)
    assert again == TOKENS and again.digest == TOKENS.digest and len(TOKENS.ranked) == 270
    assert Tokens.of(TEXTS[:1], 270).digest != TOKENS.digest != Tokens.of(TEXTS, 269).digest


def test_ids_are_ranked_by_frequency() -> None:
    counts = np.bincount(np.concatenate(TOKENS.encode(TEXTS)), minlength=270)
    assert (np.diff(counts) <= 0).all() and counts[0] > counts[20]


def test_words_encoded_one_by_one_are_the_librarys_own_encoding() -> None:
    whole = [TOKENS._tokenizer.encode(text).ids for text in TEXTS]
    assert [[TOKENS.ranked[id] for id in ids] for ids in TOKENS.encode(TEXTS)] == whole


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(st.characters(exclude_categories=("Z", "C")), min_size=1), min_size=1).map(" ".join))
def test_every_text_comes_back(text: str) -> None:
    assert TOKENS.decode(TOKENS.encode([text])[0]) == text.replace("\N{REPLACEMENT CHARACTER}", "").strip()


def test_half_a_letter_and_unused_ids_are_left_out() -> None:
    (ids,) = TOKENS.encode(["a é"])
    assert TOKENS.decode(ids[:-1]) == "a" and TOKENS.decode([*ids, 5_000]) == "a é"


def test_a_text_has_only_so_many_tokens() -> None:
    assert 256 < len(Tokens.of(["ab ab"], 1000).ranked) < 270


def test_blocks_overlap_by_one_token_and_never_cross_a_text() -> None:
    texts = Texts(tuple(TEXTS))
    first, second = TOKENS.encode(TEXTS)
    found = blocks(TOKENS, texts, context=3)
    rows = in_order(found)
    cut = [len(ids[1:]) // 3 for ids in (first, second)]
    assert len(found) == sum(cut) and found.labels is None
    read = [*first[: 3 * cut[0]], *second[: 3 * cut[1]]]
    following = [*first[1 : 1 + 3 * cut[0]], *second[1 : 1 + 3 * cut[1]]]
    assert rows[:, :-1].ravel().tolist() == read and rows[:, 1:].ravel().tolist() == following
    assert np.bincount(found.texts).tolist() == cut


def test_every_class_has_as_many_blocks() -> None:
    texts = Texts((TEXTS[0], TEXTS[1], TEXTS[1]), np.array([0, 1, 1]))
    found = blocks(TOKENS, texts, context=3)
    assert found.labels is not None and len(set(np.bincount(found.labels).tolist())) == 1
    assert len(found.take(slice(2))) == 2 and (found.take(slice(2)).ids == found.ids[:2]).all()
    assert (texts.labels is not None) and (texts.labels[found.texts] == found.labels).all()


# The bundled novels


def test_chapters_are_split_whole_up_to_the_last_which_is_cut_at_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(austen, "CHARACTERS", {"test": 9, "train": 20})
    parts = austen.divide_text(f"{letter}x {letter}y {letter}z" for letter in "abcdefg")
    assert [[len(text) for text in part] for part in parts.values()] == [[8], [8, 8, 2]]
    assert len({text[0] for part in parts.values() for text in part}) == 4


def test_running_text_is_in_disjoint_chapters_of_equal_size() -> None:
    splits = data.load_running_text()
    for part, count in ((splits.train, 240_000), (splits.validation, 20_000), (splits.test, 40_000)):
        assert part.labels is not None
        sizes = np.bincount(part.labels, [len(text) for text in part.texts])
        assert ((count - 20 < sizes) & (sizes <= count)).all()
    parts = (splits.train, splits.validation, splits.test, splits.pool)
    heads = [text[:60] for part in parts for text in part.texts]
    assert len(set(heads)) == len(heads) and splits.pool.labels is None
    assert splits.digest[:16] == "38088e9550557b06"


def test_chapters_that_are_tested_are_those_of_the_passages() -> None:
    text = " ".join(data.load_running_text().test.texts)
    words = " ".join(austen.WORD.findall(text))
    passages = data.load_texts("austen", mask=False).test.texts
    assert sum(passage in words for passage in passages) > 300


def test_the_vocabulary_of_the_novels_is_the_same_on_every_machine() -> None:
    tokens = data.load_tokens(1000)
    assert tokens.digest[:16] == "4786520fe89b3d8a"
    assert data.load_tokens(300).digest == Tokens.of(data.load_running_text().train.texts, 300).digest
