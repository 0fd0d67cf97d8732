"""Partitions are disjoint and complete, reach their limits, and give stragglers their classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from fedecho.core.checks import InputError
from fedecho.core.settings import Partition
from fedecho.simulation import partition
from fedecho.simulation.delays import SLOW
from fedecho.simulation.partition import _topped_up, divide

LABELS = np.tile(np.arange(10), 100)
SPEEDS = (0,) * 5 + (1,) * 3 + (2,) * 2


def histogram(shard: np.ndarray) -> np.ndarray:
    return np.bincount(LABELS[shard], minlength=10)


@settings(deadline=None, max_examples=25)
@given(
    st.floats(0.2, 100.0), st.integers(0, 3), st.floats(0.1, 1), st.sampled_from(["mixed", "pure"]), st.integers(0, 50)
)
def test_disjoint_and_complete(alpha: float, owned: int, share: float, mix: Any, seed: int) -> None:
    how: dict[str, Any] = {"straggler_share": share, "straggler_mix": mix} if owned else {}
    partition = Partition(alpha=alpha, straggler_classes=owned, min_size=1, max_redraws=10_000, **how)
    shards = divide(LABELS, partition, SPEEDS, seed)
    assert sorted(np.concatenate(shards.clients).tolist()) == list(range(len(LABELS)))
    assert min(map(len, shards.clients)) >= 1


def test_large_alpha_is_nearly_iid_and_small_alpha_is_not() -> None:
    flat = divide(LABELS, Partition(alpha=1e5, min_size=1), SPEEDS, 0)
    peaked = divide(LABELS, Partition(alpha=0.05, min_size=1), SPEEDS, 0)
    assert all(abs(histogram(shard) - 10).max() <= 1 for shard in flat.clients)
    assert np.mean([histogram(shard).max() / len(shard) for shard in peaked.clients]) > 0.4


def test_iid_shares_are_equal() -> None:
    assert {len(shard) for shard in divide(LABELS, Partition(kind="iid"), SPEEDS, 0).clients} == {100}


def test_stragglers_are_sole_owners() -> None:
    shards = divide(LABELS, Partition(alpha=0.3, straggler_classes=2, min_size=1), SPEEDS, 0)
    assert len(shards.straggler_classes) == 2
    for client, speed in enumerate(SPEEDS):
        if speed != 2:
            assert histogram(shards.clients[client])[list(shards.straggler_classes)].sum() == 0


def test_pure_stragglers_hold_their_classes_in_equal_parts_and_nothing_else() -> None:
    partition = Partition(alpha=0.5, straggler_classes=2, straggler_mix="pure", min_size=1)
    shards = divide(LABELS, partition, SPEEDS, 0)
    for client, speed in enumerate(SPEEDS):
        counts = histogram(shards.clients[client])
        own = counts[list(shards.straggler_classes)]
        assert own.tolist() == ([50, 50] if speed == 2 else [0, 0])
        assert counts.sum() == own.sum() if speed == 2 else own.sum() == 0


@pytest.mark.parametrize(("mix", "speed"), [("pure", SLOW), ("pure", 0), ("mixed", 0)])
def test_no_image_is_lost_where_there_is_nobody_to_hold_it(mix: Any, speed: int) -> None:
    partition = Partition(alpha=100.0, straggler_classes=2, straggler_mix=mix, min_size=1)
    with pytest.raises(InputError, match="straggler_classes = 2 .* there must be slow clients, and others") as caught:
        divide(LABELS, partition, (speed,) * 10, 0)
    assert "\n" not in str(caught.value)


def test_ordinary_data_need_no_slow_client() -> None:
    shards = divide(np.zeros(4, int), Partition(alpha=1e6, min_size=2), (0, 0), 0)
    assert [part.tolist() for part in shards.clients] == [[0, 1], [2, 3]]


def test_slow_clients_alone_share_all_images_where_mixed() -> None:
    partition = Partition(alpha=100.0, straggler_classes=2, min_size=1)
    assert sum(map(len, divide(LABELS, partition, (SLOW,) * 10, 0).clients)) == len(LABELS)


def test_a_share_of_one_half_leaves_the_other_half_to_all() -> None:
    partition = Partition(alpha=100.0, straggler_classes=1, straggler_share=0.5, min_size=1)
    shards = divide(LABELS, partition, SPEEDS, 0)
    owned = [histogram(shard)[shards.straggler_classes[0]] for shard in shards.clients]
    assert sum(owned[8:]) == pytest.approx(50 + 10, abs=4)  # 50 reserved, and 2/10 of the other 50


def test_too_small_shards_are_redrawn_and_counted() -> None:
    shards = divide(LABELS, Partition(alpha=0.1, min_size=20), SPEEDS, 1)
    assert min(map(len, shards.clients)) >= 20 and shards.redraws > 0


def test_redrawing_ends_in_an_error_that_says_what_to_change() -> None:
    with pytest.raises(InputError, match="raise alpha or lower min_size"):
        divide(LABELS, Partition(alpha=0.05, min_size=90, max_redraws=20), SPEEDS, 0)


def test_impossible_minimum() -> None:
    with pytest.raises(InputError, match="1000 images cannot give 10 clients"):
        divide(LABELS, Partition(min_size=101), SPEEDS, 0)


def test_all_classes_cannot_be_the_stragglers() -> None:
    with pytest.raises(InputError, match="10 classes"):
        divide(LABELS, Partition(straggler_classes=10), SPEEDS, 0)


def test_partition_depends_on_the_seed_only() -> None:
    one, two = (divide(LABELS, Partition(min_size=1), SPEEDS, 0) for _ in range(2))
    other = divide(LABELS, Partition(min_size=1), SPEEDS, 1)
    assert all((a == b).all() for a, b in zip(one.clients, two.clients, strict=True))
    assert [len(s) for s in one.clients] != [len(s) for s in other.clients]


# Whole chapters

NOVELS = np.repeat([0, 1, 2], [60, 120, 60])
CHAPTERS = np.repeat(np.arange(24), 10)  # 6 of novel 0, 12 of novel 1, 6 of novel 2
NATURAL = Partition(kind="natural", min_size=1)


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 24), st.integers(0, 20))
def test_natural_clients_hold_whole_chapters_of_one_novel(clients: int, seed: int) -> None:
    shards = divide(NOVELS, NATURAL, (0,) * clients, seed, CHAPTERS).clients
    assert sorted(np.concatenate(shards).tolist()) == list(range(240)) and min(map(len, shards)) > 0
    assert all(len(set(NOVELS[shard].tolist())) == 1 for shard in shards)
    holders = [{k for k, shard in enumerate(shards) if chapter in CHAPTERS[shard]} for chapter in range(24)]
    assert all(len(holder) == 1 for holder in holders)


def test_natural_clients_are_shared_out_in_proportion_and_balanced() -> None:
    shards = divide(NOVELS, NATURAL, (0,) * 8, 0, CHAPTERS).clients
    assert sorted(NOVELS[shard][0] for shard in shards) == [0, 0, 1, 1, 1, 1, 2, 2]
    assert {len(shard) for shard in shards} == {30}
    other = divide(NOVELS, NATURAL, (0,) * 8, 1, CHAPTERS).clients
    assert [s.tolist() for s in shards] != [s.tolist() for s in other]


def test_slow_natural_clients_own_their_novels() -> None:
    shards = divide(NOVELS, replace(NATURAL, straggler_classes=1), SPEEDS, 3, CHAPTERS)
    own = [set(NOVELS[shard].tolist()) <= set(shards.straggler_classes) for shard in shards.clients]
    assert own == [False] * 8 + [True] * 2 and sum(map(len, shards.clients)) == 240


@pytest.mark.parametrize(
    ("clients", "groups", "message"),
    [
        (25, CHAPTERS, "class 1 has 12 chapters, so at most 24 clients"),
        (2, CHAPTERS, "3 classes to be held by whole chapters need as many"),
        (8, None, "these data have no chapters"),
    ],
)
def test_impossible_natural_partitions(clients: int, groups: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        divide(NOVELS, NATURAL, (0,) * clients, 0, groups)
    assert "\n" not in str(caught.value)


def test_a_natural_minimum_cannot_be_redrawn() -> None:
    with pytest.raises(InputError, match="the smallest client has 30"):
        divide(NOVELS, replace(NATURAL, min_size=31), (0,) * 7, 0, CHAPTERS)
    with pytest.raises(InputError, match="straggler_share = 0.5"):
        Partition(kind="natural", straggler_classes=1, straggler_share=0.5)


# Topping up


def test_a_client_that_is_too_small_is_given_some_of_the_largest_one() -> None:
    plain = divide(LABELS, Partition(alpha=0.1, min_size=1), SPEEDS, 0)
    most = min(map(len, plain.clients)) + 5
    shards = divide(LABELS, Partition(alpha=0.1, min_size=most, too_small="top up"), SPEEDS, 0)
    assert min(map(len, shards.clients)) == most and shards.redraws == 0
    assert max(map(len, shards.clients)) < max(map(len, plain.clients))
    assert np.sort(np.concatenate(shards.clients)).tolist() == list(range(len(LABELS)))


def searched(shards: list[np.ndarray], slow: np.ndarray, min_size: int) -> list[list[int]]:
    """What `_topped_up` gives, by looking through all clients for each donor."""
    parts = list(shards)
    for kind in (np.setdiff1d(np.arange(len(shards)), slow), slow):
        for client in sorted(kind, key=lambda c: (len(parts[c]), c)):
            lacking = min_size - len(parts[client])
            donor = max(kind, key=lambda c: (len(parts[c]), -c))
            if lacking > 0 and len(parts[donor]) - lacking >= min_size:
                parts[client] = np.sort(np.concatenate([parts[client], parts[donor][-lacking:]]))
                parts[donor] = parts[donor][:-lacking]
    return [part.tolist() for part in parts]


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 8), st.data())
def test_donors_are_those_that_a_search_finds(sizes: list[int], least: int, chosen: st.DataObject) -> None:
    shards = np.split(np.random.default_rng(0).permutation(sum(sizes)), np.cumsum(sizes)[:-1]) if sizes else []
    slow = np.flatnonzero(chosen.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes))))
    found = _topped_up(tuple(shards), slow, least)
    assert [part.tolist() for part in found] == searched(shards, slow, least)


def test_topping_up_looks_at_each_client_a_few_times_only() -> None:
    class Counted(np.ndarray):
        looks = 0

        def __len__(self) -> int:
            Counted.looks += 1
            return self.shape[0]

    shards = tuple(np.arange(10 * (client % 2)).view(Counted) for client in range(400))
    assert min(part.shape[0] for part in _topped_up(shards, np.arange(0), 5)) == 5
    assert Counted.looks < 10 * len(shards)  # a search for each donor has 160,000


def test_topping_up_leaves_sole_owners_alone() -> None:
    owned = Partition(alpha=0.05, straggler_classes=1, straggler_mix="pure", min_size=20, too_small="top up")
    shards = divide(LABELS, owned, SPEEDS, 0)
    slow = np.concatenate([shard for speed, shard in zip(SPEEDS, shards.clients, strict=True) if speed == SLOW])
    assert min(map(len, shards.clients)) >= 20
    assert np.sort(slow).tolist() == np.flatnonzero(shards.straggler_classes[0] == LABELS).tolist()
    with pytest.raises(InputError, match="lower min_size"):  # two owners of 100 images have 50 each and get no others
        divide(LABELS, replace(owned, min_size=60), SPEEDS, 0)


def test_what_nobody_can_spare_is_an_error() -> None:
    with pytest.raises(InputError, match="raise alpha or lower min_size"):
        divide(LABELS, Partition(alpha=0.05, min_size=len(LABELS) // len(SPEEDS), too_small="top up"), SPEEDS, 0)


def test_sizes_are_those_of_the_shards_and_only_the_last_draw_is_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A draw that leaves a client too small costs no gathering of images: there may be ten thousand of them."""
    gathered, sizes = list[list[int]](), list[list[int]]()

    def gather(*args: Any) -> tuple[np.ndarray, ...]:
        shards = honest(*args)
        gathered.append([len(shard) for shard in shards])
        return shards

    def measure(*args: Any) -> np.ndarray:
        sizes.append(measured(*args).tolist())
        return np.array(sizes[-1])

    honest, measured = partition._shards, partition._sizes
    monkeypatch.setattr(partition, "_shards", gather)
    monkeypatch.setattr(partition, "_sizes", measure)
    how: dict[str, Any] = {"straggler_classes": 2, "straggler_share": 0.7}
    shards = divide(LABELS, Partition(alpha=0.5, min_size=60, **how), SPEEDS, 0)
    assert shards.redraws == len(sizes) - 1 > 0 and gathered == sizes[-1:]
    assert all(min(each) < 60 for each in sizes[:-1]) and {sum(each) for each in sizes} == {len(LABELS)}
