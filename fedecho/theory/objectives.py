"""Objectives f = (1/n) sum_i F_i with exact gradients in float64; here quadratics and sums of bounded wells.

Every function takes any number of points at once: `x` is `[..., P]`, `which` `[...]` names the objective of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor


class Objective(Protocol):
    """n functions F_i of P numbers, and their weighted mean."""

    convex: bool
    """Whether f is strongly convex."""

    @property
    def count(self) -> int:
        """n."""

    @property
    def smoothness(self) -> float:
        """L: no F_i has a larger curvature (for a network: none was met at its start and at its stationary point)."""

    @property
    def start(self) -> Tensor:
        """x_0 `[P]`."""

    def value(self, x: Tensor, which: Tensor) -> Tensor:
        """Return F_i(x) `[...]`."""

    def gradient(self, x: Tensor, which: Tensor) -> Tensor:
        """Return the gradient of F_i at x `[..., P]`."""

    def weighted_gradient(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the gradient `[..., P]` of sum_i w_i F_i at x; `w` `[n]`."""

    def mean_gradient(self, x: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the gradient `[..., P]` of sum_i w_i F_i at x; `weights` `[n]`, equal unless given."""
        return self.weighted_gradient(x, self.equal if weights is None else weights)

    @property
    def equal(self) -> Tensor:
        """Equal weights `[n]`."""
        return torch.full((self.count,), 1 / self.count, dtype=torch.float64)

    def values(self, x: Tensor) -> Tensor:
        """Return every F_i `[n]` at one x `[P]`."""
        return self.value(x.expand(self.count, -1), torch.arange(self.count))

    def gradients(self, x: Tensor) -> Tensor:
        """Return the gradient of every F_i `[n, P]` at one x `[P]`."""
        return self.gradient(x.expand(self.count, -1), torch.arange(self.count))

    def stationary(self, weights: Tensor | None = None) -> Tensor:
        """Return the minimiser `[P]` of sum_i w_i F_i, or where it is not convex a stationary point below the start."""
        w = self.equal if weights is None else weights

        def value_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            x = torch.from_numpy(flat.copy())
            return float(w @ self.values(x)), self.weighted_gradient(x, w).numpy()

        found = minimize(
            value_and_gradient, self.start.numpy(), jac=True, method="L-BFGS-B",
            options={"gtol": 1e-10, "ftol": 0.0, "maxcor": 30, "maxiter": 5000, "maxfun": 20_000},
        )  # fmt: skip
        return torch.as_tensor(found.x, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Quadratic(Objective):
    """F_i(x) = 1/2 (x - b_i)^T A_i (x - b_i) with diagonal A_i."""

    curvature: Tensor
    """Diagonals of A_i `[n, P]`."""
    centres: Tensor
    """b_i `[n, P]`."""
    convex = True

    @property
    def count(self) -> int:
        """Return n."""
        return len(self.centres)

    @property
    def smoothness(self) -> float:
        """Return the largest diagonal entry."""
        return float(self.curvature.max())

    @property
    def start(self) -> Tensor:
        """Return 1/2 everywhere."""
        return torch.full_like(self.centres[0], 0.5)

    def value(self, x: Tensor, which: Tensor) -> Tensor:
        """Return F_i(x) `[...]`."""
        return 0.5 * (self.curvature[which] * (x - self.centres[which]) ** 2).sum(-1)

    def gradient(self, x: Tensor, which: Tensor) -> Tensor:
        """Return A_i (x - b_i) `[..., P]`."""
        return self.curvature[which] * (x - self.centres[which])

    def weighted_gradient(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the gradient `[..., P]` of the weighted mean."""
        return (w @ self.curvature) * x - w @ (self.curvature * self.centres)

    def stationary(self, weights: Tensor | None = None) -> Tensor:
        """Return the minimiser `[P]` of sum_i w_i F_i."""
        w = self.equal if weights is None else weights
        return (w @ (self.curvature * self.centres)) / (w @ self.curvature)


@dataclass(frozen=True, eq=False)
class Bounded(Objective):
    r"""A bounded well for each client, smooth, not convex where :math:`|u_j| > 1/\sqrt3`.

    .. math:: F_i(x) = \sum_j \frac{u_j^2}{1 + u_j^2}, \qquad u = x - b_i
    """

    centres: Tensor
    """b_i `[n, P]`."""
    convex = False
    smoothness = 2.0

    @property
    def count(self) -> int:
        """Return n."""
        return len(self.centres)

    @property
    def start(self) -> Tensor:
        """Return the vector of ones."""
        return torch.ones_like(self.centres[0])

    def value(self, x: Tensor, which: Tensor) -> Tensor:
        """Return F_i(x) `[...]`."""
        square = (x - self.centres[which]) ** 2
        return (square / (1 + square)).sum(-1)

    def gradient(self, x: Tensor, which: Tensor) -> Tensor:
        """Return 2u / (1 + u^2)^2 `[..., P]`."""
        u = x - self.centres[which]
        return 2 * u / (1 + u * u) ** 2

    def weighted_gradient(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the gradient `[..., P]` of the weighted mean."""
        return sum((w[i] * self.gradient(x, torch.tensor(i)) for i in range(self.count)), torch.zeros_like(x))


def client_spread(objective: Objective) -> float:
    r"""Return :math:`\sigma_g^2 = \frac1n \sum_i \|\nabla F_i - \nabla f\|^2` at the stationary point."""
    each = objective.gradients(objective.stationary())
    return float(((each - each.mean(0)) ** 2).sum(-1).mean())


def extremity(objective: Objective) -> Tensor:
    """Return how far each F_i stands out `[n]`: its gradient where f is stationary, along the widest direction.

    The direction points to where the largest of its components is positive.
    """
    each = objective.gradients(objective.stationary())
    centred = each - each.mean(0)
    direction = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    out: Tensor = centred @ direction * direction[direction.abs().argmax()].sign()
    return out


def suboptimality(objective: Objective, x: Tensor) -> float:
    """Return F_0 = f(x) - f(x*) for x `[P]`, x* the point that `stationary` finds."""
    start, end = objective.values(x).mean(), objective.values(objective.stationary()).mean()
    return max(0.0, float(start - end))
