"""Objectives with predictions: multinomial logistic regression, and a network of two layers, which is not convex."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from fedecho.theory.objectives import Objective


@dataclass(frozen=True, eq=False)
class Softmax(Objective):
    r"""Multinomial logistic regression with a ridge, `F_i` the mean over client i's points `(a, y)`.

    .. math:: F_i(W) = \operatorname{mean}_{(a, y)} \operatorname{CE}(\operatorname{softmax}(W a), y)
              + \tfrac{\text{ridge}}2 \|W\|^2

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

    @cached_property
    def smoothness(self) -> float:
        """Return max_i lambda_max(mean a a^T) / 2 + ridge: softmax has no curvature above 1/2."""
        second = self.features.mT @ self.features / self.features.shape[1]
        return float(torch.linalg.eigvalsh(second).max()) / 2 + self.ridge

    @property
    def start(self) -> Tensor:
        """Return zeros: all classes alike."""
        return torch.zeros(self.features.shape[-1] * self.classes, dtype=torch.float64)

    def logits(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Return the logits `[..., points, classes]` of `inputs` `[..., points, features]`."""
        return self._scores(x, inputs.mT).mT

    def value(self, x: Tensor, which: Tensor) -> Tensor:
        """Return F_i(x) `[...]`, in nats."""
        logs = self._scores(x, self.features[which].mT).log_softmax(-2)
        return -(logs * self.targets[which]).sum((-2, -1)) / self.features.shape[1] + self.ridge / 2 * (x * x).sum(-1)

    def gradient(self, x: Tensor, which: Tensor) -> Tensor:
        """Return the gradient of F_i `[..., P]`."""
        return self._gradient(x, self.features[which], self.targets[which], 1 / self.features.shape[1])

    def weighted_gradient(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the gradient `[..., P]` of the weighted mean: that of all points as one client's."""
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

    @cached_property
    def smoothness(self) -> float:
        """Return the largest curvature of any F_i at the start and at the stationary point of f."""
        ends = (self.start, self.stationary())
        hessians = [torch.func.jacrev(self.gradient)(x, torch.tensor(i)) for x in ends for i in range(self.count)]
        return max(float(torch.linalg.eigvalsh(hessian).max()) for hessian in hessians)

    @property
    def start(self) -> Tensor:
        """Return fixed small weights that tell the hidden units apart."""
        size = self.features.shape[-1] * self.hidden + (self.hidden + 1) * self.classes
        return 0.5 * torch.cos(3.0 * torch.arange(size, dtype=torch.float64))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.features.shape[-1] * self.hidden
        layers = (x[..., :first], self.hidden), (x[..., first:], self.classes)
        one, two = (weights.reshape(*x.shape[:-1], rows, -1) for weights, rows in layers)
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
