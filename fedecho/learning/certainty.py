"""What clients send of their own data for a weighting of the teacher: FedAUX's certainties, or label counts.

FedAUX: Sattler, Korjakow, Rischke, Samek, "FedAUX: leveraging unlabeled auxiliary data in federated learning" (IEEE
TNNLS, 2021, arXiv 2102.02514); s_i(u) = P(u is the client's) + 1e-8 of a logistic regression between features of the
client's data and of auxiliary public data, with the strength lambda = 0.01 of its official code, without the noise of
differential privacy that it offers.

Departure: its features are of a network that was trained on the auxiliary data beforehand. Here they are what the last
linear layer of x_0 reads, the model that every client starts from (not trained at all, unless it is a pretrained one).
Departure: the two halves of U take turns as the auxiliary data, each image being rated by the regression that was not
fitted on it, so that no data beside U are asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from fedecho.core.checks import require
from fedecho.learning.client import ClientData
from fedecho.learning.flat import FlatModel, Weights, predict

REPORTED = ("fedaux", "label counts")
"""The weightings for which clients send something."""
STRENGTH, LEAST = 0.01, 1e-8
"""lambda of the regression; what is added to each certainty, so that every image has somebody."""
_STEPS, _TOLERANCE = 1000, 1e-5
"""Iterations of L-BFGS at most (as in the official code); the largest entry of the gradient at its end."""


def reporter(model: FlatModel, pool: Tensor, kind: str) -> Callable[[ClientData], Tensor] | None:
    """Return what a client works out of its data: certainties `[pool]`, label counts `[classes]`, or nothing (none).

    `model` must still be x_0. Raises `InputError` for a model that has no features to compare.
    """
    if kind == "fedaux":
        words = "the model has no linear layer, whose inputs would be compared"
        require(_linear(model) != [], "teacher_weights", kind, words)
        x0 = model.weights()
        of_pool = functools.cache(lambda: features(model, x0, pool))
        return lambda data: certainties(features(model, x0, data.normalised(data.images)), of_pool())
    if kind == "label counts":
        classes = functools.cache(lambda: predict(model, model.weights(), pool[:1], 1).shape[-1])
        return lambda data: torch.bincount(data.labels.flatten(), minlength=classes()).float()
    return None


def _linear(model: FlatModel) -> list[nn.Linear]:
    return [module for module in model.module.modules() if isinstance(module, nn.Linear)]


def features(model: FlatModel, weights: Weights, inputs: Tensor) -> Tensor:
    """Return what the last linear layer of a version reads `[inputs, features]`, of a text the mean over positions."""
    seen: list[Tensor] = []
    batch = model.execution.inference_batch

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen[-1:] = [args[0]]  # each layer writes over the one before it

    hooks = [layer.register_forward_pre_hook(note) for layer in _linear(model)]
    try:
        out = []
        for part in torch.split(inputs, batch):
            predict(model, weights, part, batch)
            out.append(seen[-1].flatten(1, -2).mean(1) if seen[-1].dim() > 2 else seen[-1])
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(out)


def certainties(own: Tensor, pool: Tensor) -> Tensor:
    """Return s_i(u) `[pool]` of a client with features `own` `[images, features]` for those of the `pool`
    `[pool, features]`: each half of the pool (the even places, the odd ones) by the regression against the other."""
    scale = torch.cat([own, pool]).norm(dim=1).max().clamp_min(1e-12)
    own, pool = own.double() / scale, pool.double() / scale
    halves = (pool[::2], pool[1::2]) if len(pool) > 1 else (pool, pool)
    out = pool.new_empty(len(pool))
    out[::2] = probability(halves[0], own, halves[1])
    if len(pool) > 1:
        out[1::2] = probability(halves[1], own, halves[0])
    return out.float() + LEAST


def probability(at: Tensor, own: Tensor, others: Tensor) -> Tensor:
    """Return P(own | u) `[at]` of the logistic regression that tells `own` `[n, features]` from `others`: the minimum
    of `mean log-loss + lambda / (2 n) |w|^2` over n examples, intercept free, by L-BFGS."""
    inputs, is_own = torch.cat([own, others]), torch.cat([torch.ones(len(own)), torch.zeros(len(others))])
    inputs, is_own = F.pad(inputs, (0, 1), value=1.0), is_own.to(inputs)
    strength = F.pad(inputs.new_full((own.shape[1],), STRENGTH / len(inputs)), (0, 1))

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = torch.from_numpy(flat).to(inputs)
        logits = inputs @ w
        value = F.binary_cross_entropy_with_logits(logits, is_own) + (strength * w).dot(w) / 2
        gradient = inputs.T @ (logits.sigmoid() - is_own) / len(inputs) + strength * w
        return float(value), gradient.cpu().numpy()

    start = np.zeros(inputs.shape[1])
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS, "gtol": _TOLERANCE, "ftol": 0.0}
    )
    return (F.pad(at, (0, 1), value=1.0) @ torch.from_numpy(found.x).to(at)).sigmoid()
