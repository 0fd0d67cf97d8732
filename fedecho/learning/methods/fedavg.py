"""FedAvg: McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017.

The synchronous reference: M clients start together from x_t and the server waits for all (`schedule.synchronous`).
It weighs clients uniformly, like the asynchronous methods beside it, and not by their number of images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedecho.core.checks import Positive
from fedecho.core.config import MethodConfig
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import Buffer, Method, buffered, mean_buffers, mean_delta, register


@dataclass(frozen=True)
class FedAvg(MethodConfig):
    r"""A step along the mean update of the round's clients.

    .. math:: x_{t+1} = x_t + \eta \operatorname{mean}_i \Delta_i
    """

    name: ClassVar[str] = "fedavg"
    server_lr: Positive = 1.0
    """eta"""


def fedavg(config: FedAvg) -> Method[Buffer]:
    """Return FedAvg as a method."""
    return buffered(
        lambda updates, x: Weights(x.params + config.server_lr * mean_delta(updates), mean_buffers(updates))
    )


register(FedAvg, lambda config, server: fedavg(config))
