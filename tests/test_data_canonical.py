"""The canonical order and the digest depend on the images, not on the order they came in."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedecho.data.canonical import canonical, canonical_order, digest, joint_digest, pixel_hashes

IMAGES = np.arange(5 * 2 * 2 * 1, dtype=np.uint8).reshape(5, 2, 2, 1)
LABELS = np.array([1, 0, 1, 0, 0], dtype=np.int64)
# As first computed; another order would change every result that was ever recorded.
KNOWN_ORDER = [1, 2, 4, 0, 3]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_any_shuffle_gives_identical_arrays(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 3, (count, 1, 2, 1), dtype=np.uint8)  # few values: duplicates occur
    labels = generator.integers(0, 3, count, dtype=np.int64)
    shuffle = generator.permutation(count)
    first, second = canonical(images, labels), canonical(images[shuffle], labels[shuffle])
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    unlabeled = [part[canonical_order(part)] for part in (images, images[shuffle])]
    np.testing.assert_array_equal(*unlabeled)


def test_pairs_of_image_and_label_stay_together() -> None:
    images, labels = canonical(IMAGES, LABELS)
    before = {(image.tobytes(), int(label)) for image, label in zip(IMAGES, LABELS, strict=True)}
    assert {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)} == before


def test_the_order_is_not_sorted_by_class() -> None:
    images = np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1)
    labels = np.repeat(np.arange(2), 100)
    _, ordered = canonical(images, labels)
    assert 30 < ordered[:100].sum() < 70


def test_the_order_of_a_known_case_stays_what_it_is() -> None:
    assert canonical_order(IMAGES, LABELS).tolist() == KNOWN_ORDER


def test_without_labels_the_order_ignores_them() -> None:
    assert canonical_order(IMAGES).tolist() != canonical_order(IMAGES, LABELS).tolist()


def test_hash_words_are_the_sha256_of_the_pixels() -> None:
    expected = int.from_bytes(hashlib.sha256(bytes([4, 5, 6, 7])).digest()[:8], "big")
    assert int(pixel_hashes(IMAGES)[1, 0]) == expected


def test_digest_is_the_sha256_of_shape_pixels_and_labels() -> None:
    image, label = np.array([[[[7]]]], dtype=np.uint8), np.array([3], dtype=np.int64)
    expected = hashlib.sha256(b"(1, 1, 1, 1)" + b"\x07" + b"\x03" + bytes(7)).hexdigest()
    assert digest(image, label) == expected
    assert digest(image) == hashlib.sha256(b"(1, 1, 1, 1)\x07").hexdigest()


def test_digest_notices_shape_pixels_labels_and_order() -> None:
    wide = IMAGES.reshape(5, 1, 4, 1)
    variants = [digest(IMAGES, LABELS), digest(IMAGES), digest(wide, LABELS), digest(IMAGES[::-1], LABELS)]
    variants += [digest(IMAGES, LABELS[::-1]), joint_digest("a", "b"), joint_digest("b", "a")]
    assert len(set(variants)) == len(variants)
