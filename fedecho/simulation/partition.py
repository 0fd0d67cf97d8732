"""Data partitions: Dirichlet over clients per class, label-speed correlated, iid, or by whole chapters."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedecho.core.checks import InputError, require
from fedecho.core.rng import stream
from fedecho.core.settings import Partition
from fedecho.simulation.delays import SLOW

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shards:
    """The images of every client, as indices into the training split."""

    clients: tuple[Indices, ...]
    straggler_classes: tuple[int, ...]
    """The classes that slow clients own; empty in the ordinary setting."""
    redraws: int
    """Draws rejected because some client had fewer than `min_size` images."""


def divide(
    labels: Indices, partition: Partition, speed_class: tuple[int, ...], seed: int, groups: Indices | None = None
) -> Shards:
    r"""Divide the images with `labels` `[images]` among the clients.

    Per class the shares are :math:`p \sim \operatorname{Dir}(\alpha 1_N)` over clients and the class's images are cut
    at the cumulative shares (the official FADAS rule, but for its rounding down). With kind `natural`, the `groups`
    `[images]`, of one class each (chapters of a novel), stay whole, and every client has groups of one class only.

    Raises:
        InputError: if a client cannot get `min_size` images, or if no client can own a class.
    """
    clients, least = len(speed_class), partition.min_size
    words = f"{len(labels)} images cannot give {clients} clients that many each"
    require(len(labels) >= clients * least, "min_size", least, words)
    if partition.kind == "iid":
        order = stream(seed, "partition").permutation(len(labels))
        return Shards(tuple(np.sort(part) for part in np.array_split(order, clients)), (), 0)
    slow = np.flatnonzero(np.asarray(speed_class) == SLOW)
    draws = partition.max_redraws if partition.too_small == "redraw" else 1
    owned = _straggler_classes(labels, partition, seed)
    if partition.kind == "natural":
        require(groups is not None, "kind", "natural", "these data have no chapters; choose dirichlet or iid")
        assert groups is not None
        everyone = stream(seed, "partition").permutation(clients)
        return Shards(_natural(labels, groups, partition.min_size, everyone, slow, owned), owned, 0)
    portions = _portions(labels, partition, clients, slow, owned)
    for redraw in range(draws):
        rng = stream(seed, "partition", redraw)
        cuts = [_cut(portion, partition, rng) for portion in portions]
        if partition.too_small == "redraw" and min(_sizes(portions, cuts, clients)) < least:
            continue  # before the images are gathered: there may be ten thousand draws
        shards = _shards(portions, cuts, clients)
        if partition.too_small == "top up":
            shards = _topped_up(shards, slow if owned else slow[:0], least)
        if min(map(len, shards)) >= least:
            return Shards(shards, owned, redraw)
    words = f"no draw of {draws} gave every client {least} images; raise alpha or lower min_size"
    raise InputError("alpha", partition.alpha, words)


def _topped_up(shards: tuple[Indices, ...], slow: Indices, min_size: int) -> tuple[Indices, ...]:
    """Give each client below `min_size` the last images of the largest client of its kind.

    If slow clients own classes, slow and other clients are two kinds that get no images of each other.
    """
    parts, kinds = list(shards), [np.setdiff1d(np.arange(len(shards)), slow), slow]
    for kind in kinds:
        # Sorted, so a heap. A client that is topped up keeps its old entry: at `min_size`, it has no images to give.
        largest = sorted((-len(parts[c]), int(c)) for c in kind)
        for client in sorted(kind, key=lambda c: (len(parts[c]), c)):
            lacking, (most, donor) = min_size - len(parts[client]), largest[0]
            if lacking > 0 and -most - lacking >= min_size:
                parts[client] = np.sort(np.concatenate([parts[client], parts[donor][-lacking:]]))
                parts[donor] = parts[donor][:-lacking]
                heapq.heapreplace(largest, (most + lacking, donor))
    return tuple(parts)


def _straggler_classes(labels: Indices, partition: Partition, seed: int) -> tuple[int, ...]:
    """Draw the classes by seed, so that no class's own difficulty decides the comparison."""
    classes, count = np.unique(labels), partition.straggler_classes
    words = f"the data has {len(classes)} classes and the other clients need one"
    require(count < len(classes), "straggler_classes", count, words)
    drawn = stream(seed, "straggler-classes").choice(classes, count, replace=False)
    return tuple(sorted(map(int, drawn)))


class Portion(NamedTuple):
    """Images of one class, and the clients among whom they are cut: evenly, or at the shares of a Dirichlet draw."""

    images: Indices
    receivers: Indices
    evenly: bool


def _portions(
    labels: Indices, partition: Partition, clients: int, slow: Indices, owned: tuple[int, ...]
) -> list[Portion]:
    """Return for each class the portion that slow clients own, and the rest for all clients (`pure`: the others)."""
    out, pure = list[Portion](), bool(owned) and partition.straggler_mix == "pure"
    others = np.setdiff1d(np.arange(clients), slow) if pure else np.arange(clients)
    for label in np.unique(labels):
        images = np.flatnonzero(labels == label)
        reserved = round(partition.straggler_share * len(images)) if label in owned else 0
        out += [Portion(images[:reserved], slow, pure), Portion(images[reserved:], others, False)]
    words = "some images would be nobody's: there must be slow clients, and others where straggler_mix is pure"
    nobodys = any(len(portion.receivers) == 0 < len(portion.images) for portion in out)
    require(not nobodys, "straggler_classes", partition.straggler_classes, words)
    return [portion for portion in out if len(portion.receivers)]


def _cut(portion: Portion, partition: Partition, rng: np.random.Generator) -> Indices:
    """Return the cut points of a portion `[receivers - 1]`; a portion without images also uses a random draw."""
    count, receivers = len(portion.images), len(portion.receivers)
    if portion.evenly:  # the first ones have the rest
        return np.cumsum(np.full(receivers, count // receivers) + (np.arange(receivers) < count % receivers))[:-1]
    shares = rng.dirichlet(np.full(receivers, partition.alpha))
    return np.round(np.cumsum(shares)[:-1] * count).astype(int)


def _sizes(portions: list[Portion], cuts: list[Indices], clients: int) -> Indices:
    """Return how many images each client gets `[clients]`."""
    sizes = np.zeros(clients, int)
    for portion, cut in zip(portions, cuts, strict=True):
        sizes[portion.receivers[1:]] -= cut  # where the next one's begin, there one's own end
        sizes[portion.receivers[:-1]] += cut
        sizes[portion.receivers[-1]] += len(portion.images)
    return sizes


def _shards(portions: list[Portion], cuts: list[Indices], clients: int) -> tuple[Indices, ...]:
    """Return the images that each client gets, in order."""
    parts: list[list[Indices]] = [[np.empty(0, np.int64)] for _ in range(clients)]
    for portion, cut in zip(portions, cuts, strict=True):
        for receiver, part in zip(portion.receivers, np.split(portion.images, cut), strict=True):
            parts[receiver].append(part)
    return tuple(np.sort(np.concatenate(part)) for part in parts)


def _natural(
    labels: Indices, groups: Indices, min_size: int, everyone: Indices, slow: Indices, owned: tuple[int, ...]
) -> tuple[Indices, ...]:
    """Give each of `everyone`, in this order, whole groups of one class; slow clients have those of the `owned` classes
    and nothing else."""
    is_slow = np.isin(everyone, slow) if owned else np.zeros(len(everyone), dtype=bool)
    parts: list[Indices] = [np.empty(0, np.int64)] * len(everyone)
    sides = [(everyone[~is_slow], np.setdiff1d(labels, owned)), *([(everyone[is_slow], owned)] if owned else [])]
    for side, classes in sides:
        sizes = {int(c): np.unique(groups[labels == c], return_counts=True) for c in classes}
        shares = _shares({c: counts for c, (_, counts) in sizes.items()}, len(side))
        for label, receivers in zip(sizes, np.split(side, np.cumsum(list(shares.values()))[:-1]), strict=True):
            for receiver, held in zip(receivers, _balanced(*sizes[label], len(receivers)), strict=True):
                parts[receiver] = np.flatnonzero(np.isin(groups, held))
    least = min(map(len, parts))
    words = f"with whole chapters the smallest client has {least}; lower min_size or the number of clients"
    require(least >= min_size, "min_size", min_size, words)
    return tuple(parts)


def _shares(sizes: dict[int, Indices], clients: int) -> dict[int, int]:
    """Return how many clients each class gets, in proportion to its images (D'Hondt's rule, at least one each).

    `sizes`: class -> images of each of its groups. Raises `InputError` where a class has fewer groups than clients.
    """
    words = f"{len(sizes)} classes to be held by whole chapters need as many clients at least"
    require(clients >= len(sizes), "clients", clients, words)
    shares = dict.fromkeys(sizes, 1)
    while (given := sum(shares.values())) < clients:
        label = max(sizes, key=lambda c: sizes[c].sum() / (shares[c] + 1))
        words = f"class {label} has {len(sizes[label])} chapters, so at most {given} clients can hold whole ones"
        require(shares[label] < len(sizes[label]), "clients", clients, words)
        shares[label] += 1
    return shares


def _balanced(groups: Indices, sizes: Indices, clients: int) -> list[list[int]]:
    """Assign groups, the largest first, each to the client that has least."""
    held, totals = [list[int]() for _ in range(clients)], np.zeros(clients)
    for place in np.argsort(-sizes, kind="stable"):
        least = int(totals.argmin())
        held[least].append(int(groups[place]))
        totals[least] += sizes[place]
    return held
