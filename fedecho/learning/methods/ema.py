"""The exponential moving average of the server's models: a control, for whether damping of oscillations is enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fedecho.learning.client import Update
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import STATES, Method, around


@dataclass(frozen=True, eq=False)
class Averaged:
    """The inner method's state and the average of the models so far."""

    inner: Any
    average: Weights


STATES.add(Averaged)


def moved(average: Weights, x: Weights, decay: float) -> Weights:
    """Return decay * average + (1 - decay) * x, parameters and statistics alike."""
    return Weights(*(decay * a + (1 - decay) * b for a, b in zip(average, x, strict=True)))


def averaged(inner: Method[Any], decay: float) -> Method[Averaged]:
    """Score a_t = decay * a_{t-1} + (1 - decay) * x_t instead of x_t; clients are sent x_t as before, and a_0 = x_0."""

    def init(x0: Weights, clients: int) -> Averaged:
        return Averaged(inner.init(x0, clients), x0)

    def receive(state: Averaged, update: Update) -> Averaged:
        return replace(state, inner=inner.receive(state.inner, update))

    def close_round(state: Averaged, x: Weights) -> tuple[Averaged, Weights]:
        inner_state, x = inner.close_round(state.inner, x)
        return Averaged(inner_state, moved(state.average, x, decay)), x

    return around(inner, Method(init, receive, close_round, evaluated=lambda state, x: state.average))
