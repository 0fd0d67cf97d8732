"""Objectives f = (1/n) sum_i F_i with exact gradients in float64: convex ones, and two that are not convex.

Every function takes any number of walks at once: `x` is `[..., P]`, `which` `[...]` names the objective of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor


class Objective(Protocol):
    """n functions F_i of P numbers, and their weighted mean."""

    @property
    def count(self) -> int:
        """n."""

    @property
    def size(self) -> int:
        """P."""

    @property
    def convex(self) -> bool:
        """Whether f is strongly convex."""

    @property
    def smoothness(self) -> float:
        """L: no F_i has a larger curvature (for a network: none was met at its start and at its stationary point)."""

    @property
    def start(self) -> Tensor:
        """x_0 `[P]`."""

    def value(self, x: Tensor, which: Tensor) -> Tensor:
        """F_i(x) `[...]`."""

    def gradient(self, x: Tensor, which: Tensor) -> Tensor:
        """Gradient of F_i at x `[..., P]`."""

    def mean_gradient(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Gradient `[..., P]` of sum_i w_i F_i at x `[..., P]`; `weights` `[n]`, equal unless given."""


class _Centred:
    """What objectives share whose clients differ in a centre."""

    centres: Tensor
    """b_i `[n, P]`."""

    @property
    def count(self) -> int:
        """Return n."""
        return len(self.centres)

    @property
    def size(self) -> int:
        """Return P."""
        return self.centres.shape[1]


@dataclass(frozen=True, eq=False)
class Quadratic(_Centred):
    """F_i(x) = 1/2 (x - b_i)^T A_i (x - b_i) with diagonal A_i."""

    curvature: Tensor
    """Diagonals of A_i `[n, P]`."""
    centres: Tensor
    convex = True

    @property
    def smoothness(self) -> float:
        """Return the largest diagonal entry."""
        return float(self.curvature.max())

    @property
    def start(self) -> Tensor:
        """Return 1/2 everywhere."""
        return torch.full((self.size,), 0.5, dtype=torch.float64)

    def value(self, x: Tensor, which: Tensor) -> Tensor:
        """Return F_i(x) `[...]`."""
        return 0.5 * (self.curvature[which] * (x - self.centres[which]) ** 2).sum(-1)

    def gradient(self, x: Tensor, which: Tensor) -> Tensor:
        """Return A_i (x - b_i) `[..., P]`."""
        return self.curvature[which] * (x - self.centres[which])

    def mean_gradient(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the gradient `[..., P]` of the weighted mean."""
        w = _equal(self.count) if weights is None else weights
        return (w @ self.curvature) * x - w @ (self.curvature * self.centres)

    def optimum(self, weights: Tensor | None = None) -> Tensor:
        """Return the minimiser `[P]` of sum_i w_i F_i."""
        w = _equal(self.count) if weights is None else weights
        return (w @ (self.curvature * self.centres)) / (w @ self.curvature)


@dataclass(frozen=True, eq=False)
class Bounded(_Centred):
    """F_i(x) = sum_j u_j^2 / (1 + u_j^2) with u = x - b_i: smooth, bounded, not convex where |u_j| > 1/sqrt(3)."""

    centres: Tensor
    convex = False
    smoothness = 2.0

    @property
    def start(self) -> Tensor:
        """Return the vector of ones."""
        return torch.ones(self.size, dtype=torch.float64)

    def value(self, x: Tensor, which: Tensor) -> Tensor:
        """Return F_i(x) `[...]`."""
        square = (x - self.centres[which]) ** 2
        return (square / (1 + square)).sum(-1)

    def gradient(self, x: Tensor, which: Tensor) -> Tensor:
        """Return 2u / (1 + u^2)^2 `[..., P]`."""
        u = x - self.centres[which]
        return 2 * u / (1 + u * u) ** 2

    def mean_gradient(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the gradient `[..., P]` of the weighted mean."""
        w = _equal(self.count) if weights is None else weights
        return sum((w[i] * self.gradient(x, torch.tensor(i)) for i in range(self.count)), torch.zeros_like(x))


@dataclass(frozen=True, eq=False)
class Softmax:
    """Multinomial logistic regression: F_i(W) = mean over client i's points of CE(softmax(W a), y) + ridge/2 |W|^2.

    Feature vectors end in a constant 1, so that W `[classes, features]`, flattened to `[P]`, has the biases in it.
    """

    features: Tensor
    """`[n, points, features]`."""
    labels: Tensor
    """`[n, points]`."""
    classes: int
    ridge: float = 0.1
    convex = True

    @property
    def count(self) -> int:
        """Return n."""
        return len(self.features)

    @property
    def size(self) -> int:
        """Return P."""
        return self.features.shape[-1] * self.classes

    @cached_property
    def smoothness(self) -> float:
        """Return max_i lambda_max(mean a a^T) / 2 + ridge: softmax has no curvature above 1/2."""
        second = self.features.mT @ self.features / self.features.shape[1]
        return float(torch.linalg.eigvalsh(second).max()) / 2 + self.ridge

    @property
    def start(self) -> Tensor:
        """Return zeros: all classes alike."""
        return torch.zeros(self.size, dtype=torch.float64)

    def logits(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Return the logits `[..., points, classes]` of `inputs` `[..., points, features]`."""
        return self._scores(x, inputs.mT).mT

    def value(self, x: Tensor, which: Tensor) -> Tensor:
        """Return F_i(x) `[...]`, in nats."""
        logs = self._scores(x, self.features[which].mT).log_softmax(-2)
        return -(logs * self.targets[which]).sum((-2, -1)) / self.features.shape[1] + self.ridge / 2 * (x * x).sum(-1)

    def gradient(self, x: Tensor, which: Tensor) -> Tensor:
        """Return the gradient of F_i `[..., P]`."""
        share = 1 / self.features.shape[1]
        return self._gradient(x, self.features[which], self.targets[which], share)

    def mean_gradient(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the gradient `[..., P]` of the weighted mean: that of all points as one client's."""
        w = _equal(self.count) if weights is None else weights
        share = (w / self.features.shape[1]).repeat_interleave(self.features.shape[1])
        return self._gradient(x, self.features.flatten(0, 1), self.targets.movedim(0, 1).flatten(1), share)

    @cached_property
    def targets(self) -> Tensor:
        """Labels as vectors with a single 1 `[n, classes, points]`."""
        return F.one_hot(self.labels, self.classes).double().mT.contiguous()

    def _scores(self, x: Tensor, columns: Tensor) -> Tensor:
        """Return logits `[..., classes, points]` for `columns` `[..., features, points]`."""
        return x.reshape(*x.shape[:-1], self.classes, -1) @ columns

    def _gradient(self, x: Tensor, inputs: Tensor, targets: Tensor, share: Tensor | float) -> Tensor:
        """`share` is the weight of each point; classes before points, since softmax is then several times faster."""
        residual = (self._scores(x, inputs.mT).softmax(-2) - targets) * share
        return (residual @ inputs).flatten(-2) + self.ridge * x


@dataclass(frozen=True, eq=False)
class Network(Softmax):
    """Two layers: logits = W [tanh(V a), 1], with V `[hidden, features]` and W `[classes, hidden + 1]` in x."""

    hidden: int = 4
    convex = False

    @property
    def size(self) -> int:
        """Return P."""
        return self.features.shape[-1] * self.hidden + (self.hidden + 1) * self.classes

    @cached_property
    def smoothness(self) -> float:
        """Return the largest curvature of any F_i at the start and at the stationary point of f."""
        points = (self.start, stationary(self))
        return max(float(torch.linalg.eigvalsh(_hessian(self, x, i)).max()) for x in points for i in range(self.count))

    @property
    def start(self) -> Tensor:
        """Return fixed small weights that tell the hidden units apart."""
        return 0.5 * torch.cos(3.0 * torch.arange(self.size, dtype=torch.float64))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.features.shape[-1] * self.hidden
        parts = ((x[..., :first], self.hidden), (x[..., first:], self.classes))
        one, two = (part.reshape(*x.shape[:-1], rows, -1) for part, rows in parts)
        return one, two

    def _scores(self, x: Tensor, columns: Tensor) -> Tensor:
        first, second = self._split(x)
        return second[..., :-1] @ torch.tanh(first @ columns) + second[..., -1:]

    def _gradient(self, x: Tensor, inputs: Tensor, targets: Tensor, share: Tensor | float) -> Tensor:
        first, second = self._split(x)
        hidden = torch.tanh(first @ inputs.mT)
        scores = second[..., :-1] @ hidden + second[..., -1:]
        residual = (scores.softmax(-2) - targets) * share
        back = (second[..., :-1].mT @ residual) * (1 - hidden * hidden)
        outer = torch.cat([residual @ hidden.mT, residual.sum(-1, keepdim=True)], -1)
        return torch.cat([(back @ inputs).flatten(-2), outer.flatten(-2)], -1) + self.ridge * x


def _equal(count: int) -> Tensor:
    return torch.full((count,), 1 / count, dtype=torch.float64)


def _hessian(objective: Objective, x: Tensor, which: int) -> Tensor:
    return torch.func.jacrev(lambda point: objective.gradient(point, torch.tensor(which)))(x)  # type: ignore[no-any-return]


def stationary(objective: Objective, weights: Tensor | None = None) -> Tensor:
    """Return the minimiser `[P]` of sum_i w_i F_i, or where it is not convex a stationary point below the start."""
    if isinstance(objective, Quadratic):
        return objective.optimum(weights)
    w = _equal(objective.count) if weights is None else weights
    each = torch.arange(objective.count)

    def value_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        x = torch.from_numpy(flat.copy())
        value = w @ objective.value(x.expand(objective.count, -1), each)
        return float(value), objective.mean_gradient(x, w).numpy()

    found = minimize(
        value_and_gradient, objective.start.numpy(), jac=True, method="L-BFGS-B",
        options={"gtol": 1e-10, "ftol": 0.0, "maxcor": 30, "maxiter": 5000, "maxfun": 20_000},
    )  # fmt: skip
    return torch.as_tensor(found.x, dtype=torch.float64)


def client_spread(objective: Objective, x: Tensor) -> float:
    """Return sigma_g^2 at x `[P]`: (1/n) sum_i |grad F_i(x) - grad f(x)|^2."""
    each = objective.gradient(x.expand(objective.count, -1), torch.arange(objective.count))
    return float(((each - each.mean(0)) ** 2).sum(-1).mean())


def extremity(objective: Objective) -> Tensor:
    """Return how far each F_i stands out `[n]`: its gradient where f is stationary, along the widest direction.

    The direction points to where the largest of its components is positive.
    """
    x = stationary(objective)
    each = objective.gradient(x.expand(objective.count, -1), torch.arange(objective.count))
    centred = each - each.mean(0)
    direction = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    out: Tensor = centred @ direction * direction[direction.abs().argmax()].sign()
    return out


def suboptimality(objective: Objective, x: Tensor) -> float:
    """Return F_0 = f(x) - f(x*) for x `[P]`, x* the point that `stationary` finds."""
    each = torch.arange(objective.count)
    values = [objective.value(point.expand(objective.count, -1), each).mean() for point in (x, stationary(objective))]
    return max(0.0, float(values[0] - values[1]))
