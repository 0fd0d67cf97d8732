"""The objectives of the study, built from their names: the same ones for every run that names them."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedecho import data
from fedecho.core.rng import stream
from fedecho.core.settings import Partition
from fedecho.simulation import partition
from fedecho.theory.config import TheoryRun
from fedecho.theory.objectives import Bounded, Objective, Quadratic
from fedecho.theory.softmax import Network, Softmax

COUNT = 50
"""n objectives."""
_DIMENSION = 20
_POINTS, _FEATURES, _CLASSES = 6, 4, 3
_SCALE = 0.5
"""Of the inputs, so that L is near 1."""
_IMAGES, _RANDOM_FEATURES = 20, 12
_POOL = 32


class Built(NamedTuple):
    """An objective, where its trajectories start, and a pool U for the server."""

    objective: Objective
    x0: Tensor
    """`[P]`"""
    pool: Tensor | None
    """Inputs without labels `[U, features]`, from the mixture of all clients; none without predictions."""


def build(run: TheoryRun) -> Built:
    """Return what a run works on."""
    objective, pool = _objective(run.objective, run.heterogeneity, run.curvature_spread, run.disagreement)
    return Built(objective, objective.start if run.start == "far" else objective.stationary(), pool)


@functools.lru_cache(maxsize=16)
def _objective(
    name: str, heterogeneity: float, curvature_spread: float, disagreement: float
) -> tuple[Objective, Tensor | None]:
    match name:
        case "quadratic":
            return quadratic(heterogeneity, curvature_spread), None
        case "bounded":
            return Bounded(_centres(heterogeneity)), None
        case "images":
            return images()
    inputs, labels, pool = _points(heterogeneity, disagreement)
    return (Network if name == "network" else Softmax)(inputs, labels, _CLASSES), pool


def _centres(heterogeneity: float) -> Tensor:
    """Return b_i ~ N(0, heterogeneity^2 I), centred `[n, P]`."""
    centres = heterogeneity * stream(0, "theory-centres").standard_normal((COUNT, _DIMENSION))
    return torch.from_numpy(centres - centres.mean(0))


def quadratic(heterogeneity: float, curvature_spread: float = 0.0) -> Quadratic:
    """Return quadratics of curvatures 0.2 to 1 (L = 1), the clients' own lower by up to the share `curvature_spread`.

    With a spread of 0 the optimum is the origin.
    """
    lower = curvature_spread * stream(0, "theory-curvatures").random((COUNT, _DIMENSION))
    curvature = torch.linspace(0.2, 1, _DIMENSION, dtype=torch.float64) * torch.from_numpy(1 - lower)
    return Quadratic(curvature, _centres(heterogeneity))


def _points(heterogeneity: float, disagreement: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs `[n, points, features]`, labels `[n, points]` and a pool `[U, features]`.

    a = (heterogeneity * shift_i + N(0, I)) / 2, and y is drawn from a softmax model: the same for all clients, who then
    differ in features alone, unless they disagree: 4 (W + disagreement * V_i).
    """
    rng = stream(0, "theory-points")
    shift = heterogeneity * rng.standard_normal((COUNT, 1, _FEATURES))
    inputs = _with_one(_SCALE * (shift + rng.standard_normal((COUNT, _POINTS, _FEATURES))))
    shape, own = (_FEATURES + 1, _CLASSES), stream(0, "theory-rules")
    rules = rng.standard_normal(shape) + disagreement * own.standard_normal((COUNT, *shape))
    noisy = inputs @ (4 * rules)
    noisy = noisy + rng.gumbel(size=noisy.shape)
    owners = rng.integers(0, COUNT, _POOL)
    pool = _with_one(_SCALE * (shift[owners, 0] + rng.standard_normal((_POOL, _FEATURES))))
    return torch.from_numpy(inputs), torch.from_numpy(noisy.argmax(-1)), torch.from_numpy(pool)


def images() -> tuple[Softmax, Tensor]:
    """Return a linear classifier on 12 frozen random features of the bundled images, split by Dir(0.3), and a pool."""
    splits = data.load("fashion-mnist")
    assert splits.train.labels is not None and splits.pool is not None
    rules = Partition(alpha=0.3, min_size=_IMAGES)
    shards = partition.divide(splits.train.labels, rules, (0,) * COUNT, 0).clients
    rng = stream(0, "theory-shards")
    chosen = np.stack([rng.permutation(shard)[:_IMAGES] for shard in shards])
    pixels = splits.train.images.shape[1] * splits.train.images.shape[2]
    mixing = stream(0, "theory-features").standard_normal((pixels, _RANDOM_FEATURES)) / np.sqrt(pixels)

    def features(batch: NDArray[np.uint8]) -> Tensor:
        flat = batch.reshape(*batch.shape[: batch.ndim - 3], pixels) / 255
        return torch.from_numpy(_with_one(np.tanh((flat - 0.2860) / 0.3530 @ mixing)))

    inputs, labels = features(splits.train.images[chosen]), torch.from_numpy(splits.train.labels[chosen]).long()
    return Softmax(inputs, labels, len(splits.classes)), features(splits.pool.images[:_POOL])


def _with_one(inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([inputs, np.ones((*inputs.shape[:-1], 1))], -1)
