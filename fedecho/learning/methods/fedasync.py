"""FedAsync: Xie, Koyejo, Gupta, "Asynchronous federated optimization", arXiv 1903.03934.

Every arrival is a server step: run it with M = 1 (`schedule.sequential`), T*M steps for the local work of T rounds.
With a larger buffer the arrivals of a round are mixed in one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from fedecho.core.checks import NotNegative, Positive, PositiveShare
from fedecho.core.config import MethodConfig
from fedecho.learning.client import Update
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import Buffer, Method, buffered, register


@dataclass(frozen=True)
class FedAsync(MethodConfig):
    r"""A mixture of the server's model and the client's, with a smaller share for a stale client.

    .. math:: x \leftarrow (1 - \alpha_t)\, x + \alpha_t\, x_i, \qquad \alpha_t = \alpha\, s(\tau)
    """

    name: ClassVar[str] = "fedasync"
    mixing: PositiveShare = 0.6
    """alpha"""
    staleness: Literal["constant", "polynomial", "hinge"] = "polynomial"
    """s(tau): `1 | (1 + tau)^(-a) | 1 if tau <= b else 1 / (a (tau - b) + 1)`."""
    polynomial_a: NotNegative = 0.5
    hinge_a: Positive = 10.0
    hinge_b: NotNegative = 4.0
    proximal: NotNegative = 0.005
    """rho of the local objective `F_i(x) + rho/2 ||x - x_s||^2`."""

    def validate(self) -> None:
        """Check that only constants of the chosen s(tau) are set."""
        words = f"s(tau) is {self.staleness}"
        self.unread(self.staleness != "polynomial", words, "polynomial_a")
        self.unread(self.staleness != "hinge", words, "hinge_a", "hinge_b")


def staleness_weight(config: FedAsync, staleness: int) -> float:
    """Return s(tau) in (0, 1] for a staleness in server steps."""
    match config.staleness:
        case "polynomial":
            return float((1 + staleness) ** -config.polynomial_a)
        case "hinge":
            over = staleness - config.hinge_b
            return 1.0 if over <= 0 else 1 / (config.hinge_a * over + 1)
        case _:
            return 1.0


def fedasync(config: FedAsync) -> Method[Buffer]:
    """Return FedAsync as a method."""

    def step(updates: tuple[Update, ...], x: Weights) -> Weights:
        for update in updates:
            share = config.mixing * staleness_weight(config, update.staleness)
            x = Weights(*((1 - share) * old + share * new for old, new in zip(x, update.model, strict=True)))
        return x

    return replace(buffered(step), proximal=config.proximal)


register(FedAsync, lambda config, server: fedasync(config))
