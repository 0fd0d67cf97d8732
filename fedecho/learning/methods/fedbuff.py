"""FedBuff: Nguyen et al., "Federated learning with buffered asynchronous aggregation", AISTATS 2022, arXiv 2106.06639.

With exponent 0 this is the parameter step of FedEcho (Algorithm 1, line 11) and the FedBuff of the FADAS experiments.
Departure: the authors' own code sums over the buffer where the equation averages; here eta multiplies the mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from fedecho.core.checks import BelowOne, NotNegative, Positive
from fedecho.core.config import MethodConfig
from fedecho.learning.client import Update
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import Method, around, buffered, mean_buffers, mean_delta, register


@dataclass(frozen=True)
class FedBuff(MethodConfig):
    r"""A step along the mean of the buffered updates, with stale ones down-weighted.

    .. math:: x_{t+1} = x_t + \eta\,\frac1M \sum_j s(\tau_j) \Delta_j, \qquad s(\tau) = (1 + \tau)^{-a}
    """

    name: ClassVar[str] = "fedbuff"
    server_lr: Positive = 1.0
    """eta"""
    staleness_exponent: NotNegative = 0.0
    """a; FedBuff's own experiments use 1/2, FADAS and FedEcho weigh all updates alike."""
    ema: BelowOne | None = None
    """Score the exponential moving average of the server's models with this decay; none = score x itself."""


def fedbuff(config: FedBuff) -> Method[Any]:
    """Return FedBuff as a method."""

    def step(updates: tuple[Update, ...], x: Weights) -> Weights:
        weights = None
        if config.staleness_exponent:
            weights = [(1 + update.staleness) ** -config.staleness_exponent for update in updates]
        return Weights(x.params + config.server_lr * mean_delta(updates, weights), mean_buffers(updates))

    method = buffered(step)
    return method if config.ema is None else averaged(method, config.ema)


@dataclass(frozen=True, eq=False)
class Averaged:
    """The inner method's state and the average of the models so far."""

    inner: Any
    average: Weights


def averaged(inner: Method[Any], decay: float) -> Method[Averaged]:
    r"""Score an average of the models instead of x_t; clients are sent x_t as before, and a_0 = x_0.

    .. math:: a_t = \text{decay} \cdot a_{t-1} + (1 - \text{decay})\, x_t

    A control that tests whether damping the oscillations is enough.
    """

    def init(x0: Weights, clients: int) -> Averaged:
        return Averaged(inner.init(x0, clients), x0)

    def receive(state: Averaged, update: Update) -> Averaged:
        return replace(state, inner=inner.receive(state.inner, update))

    def close_round(state: Averaged, x: Weights) -> tuple[Averaged, Weights]:
        inner_state, x = inner.close_round(state.inner, x)
        return Averaged(inner_state, moved(state.average, x, decay)), x

    return around(inner, Method(init, receive, close_round, evaluated=lambda state, x: state.average))


def moved(average: Weights, x: Weights, decay: float) -> Weights:
    """Return decay * average + (1 - decay) * x, parameters and statistics alike."""
    return Weights(*(decay * a + (1 - decay) * b for a, b in zip(average, x, strict=True)))


register(FedBuff, lambda config, server: fedbuff(config), Averaged)
