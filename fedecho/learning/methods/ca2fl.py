"""CA2FL: Wang et al., "Tackling the data heterogeneity in asynchronous federated learning with cached update
calibration", ICLR 2024 (Algorithm 2). No official code is public; the equations are those that independent
re-implementations share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fedecho.core.checks import Positive
from fedecho.core.config import MethodConfig
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import Buffer, Method, exchange, mean_buffers, mean_delta, register


@dataclass(frozen=True)
class CA2FL(MethodConfig):
    r"""A step along the mean of all clients' last updates h_i, calibrated with the buffered updates.

    .. math:: v_t = h_t + \frac1M \sum_j (\Delta_j - h_j), \qquad x_{t+1} = x_t + \eta\, v_t
    """

    name: ClassVar[str] = "ca2fl"
    server_lr: Positive = 1.0
    """eta"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Cached(Buffer):
    """The buffer, every client's last update h_i `[N, P]` (0 before its first) and their mean h_t `[P]`."""

    cache: Tensor
    mean: Tensor
    peak: float = 0.0
    """The largest absolute entry of h_t since it was last computed from the cache itself."""


def ca2fl(config: CA2FL) -> Method[Cached]:
    """Return CA2FL as a method; its state is N + 1 models."""

    def init(x0: Weights, clients: int) -> Cached:
        size = len(x0.params)
        return Cached(cache=x0.params.new_zeros(clients, size), mean=x0.params.new_zeros(size))

    def close_round(state: Cached, x: Weights) -> tuple[Cached, Weights]:
        updates = state.ordered()
        # A client's second update in a buffer telescopes.
        change = mean_delta([replace(u, delta=u.delta - exchange(state.cache, u.client, u.delta)) for u in updates])
        # v_t takes h_t as it stood at the start of the round, before this buffer's replacements.
        x_new = Weights(x.params + config.server_lr * (state.mean + change), mean_buffers(updates))
        return _closed(state, state.mean + change * (len(updates) / len(state.cache))), x_new

    return Method(init, Cached.add, close_round)


def _closed(state: Cached, mean: Tensor) -> Cached:
    """Return the next state; its `mean` is h_t plus the change, unless half of its digits are lost to rounding.

    The error of a running sum stays that of the largest entry it ever had: 10^8 leaves an error of 10^8 eps behind.
    Once all entries are below sqrt(eps) times the largest, an outlier is gone, and the mean is recomputed from the
    cache.
    """
    largest = float(mean.abs().max())
    if largest < torch.finfo(mean.dtype).eps ** 0.5 * state.peak:
        mean = state.cache.mean(0)
        return Cached(cache=state.cache, mean=mean, peak=float(mean.abs().max()))
    return Cached(cache=state.cache, mean=mean, peak=max(state.peak, largest))


register(CA2FL, lambda config, server: ca2fl(config), Cached)
