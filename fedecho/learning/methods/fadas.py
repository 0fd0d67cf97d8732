"""FADAS: Wang, Wang, Xu, Chen, Chen, "FADAS: towards federated adaptive asynchronous optimization", ICML 2024,
arXiv 2407.18365; equations as in the authors' code (github.com/yujiaw98/FADAS, commit 8c4df23).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fedecho.core.checks import BelowOne, NotNegative, Positive
from fedecho.core.config import MethodConfig
from fedecho.learning.client import Update
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import Buffer, Method, mean_buffers, mean_delta, register


@dataclass(frozen=True)
class FADAS(MethodConfig):
    r"""AMSGrad on the mean update, where c_k = 1 - b_k^(t+1) corrects the bias.

    .. math::

       m &\leftarrow \beta_1 m + (1 - \beta_1) \Delta, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) \Delta^2,
       \qquad \hat v \leftarrow \max(\hat v, v) \\
       x &\leftarrow x + \eta\,\lambda_t\,\frac{m / c_1}{\sqrt{\hat v / c_2} + \epsilon}
    """

    name: ClassVar[str] = "fadas"
    server_lr: Positive = 1e-3
    """eta; the official README has 1e-4, and 1e-3 for the delay-adaptive variant."""
    beta1: BelowOne = 0.9
    beta2: BelowOne = 0.99
    eps: Positive = 1e-8
    delay_adaptive: bool = False
    """lambda_t = 1/tau_max of the buffer where that exceeds `delay_threshold`, else 1 (the code's rule)."""
    delay_threshold: NotNegative = 1.0
    """tau_c, in rounds."""

    def validate(self) -> None:
        """Check that `delay_threshold` is set only with `delay_adaptive`."""
        self.unread(not self.delay_adaptive, "with delay_adaptive off no rate depends on it", "delay_threshold")


@dataclass(frozen=True, eq=False, kw_only=True)
class Moments(Buffer):
    """The buffer, Adam's moments m, v and the running maximum vh `[P]`, and the number of steps taken."""

    first: Tensor
    second: Tensor
    largest: Tensor
    steps: int = 0


def delay_factor(config: FADAS, updates: tuple[Update, ...]) -> float:
    """Return lambda_t in (0, 1]."""
    slowest = max(update.staleness for update in updates)
    return 1 / slowest if config.delay_adaptive and slowest > config.delay_threshold else 1.0


def fadas(config: FADAS) -> Method[Moments]:
    """Return FADAS as a method; its state has the size of 3 models."""

    def init(x0: Weights, clients: int) -> Moments:
        zeros = torch.zeros_like(x0.params)
        return Moments(first=zeros, second=zeros, largest=zeros)

    def close_round(state: Moments, x: Weights) -> tuple[Moments, Weights]:
        updates = state.ordered()
        delta, steps = mean_delta(updates), state.steps + 1
        first = config.beta1 * state.first + (1 - config.beta1) * delta
        second = config.beta2 * state.second + (1 - config.beta2) * delta**2
        largest = torch.maximum(state.largest, second)
        rate = config.server_lr * delay_factor(config, updates) / (1 - config.beta1**steps)
        step = rate * first / ((largest / (1 - config.beta2**steps)).sqrt() + config.eps)
        x_new = Weights(x.params + step, mean_buffers(updates))
        return Moments(first=first, second=second, largest=largest, steps=steps), x_new

    return Method(init, Moments.add, close_round)


register(FADAS, lambda config, server: fadas(config), Moments)
