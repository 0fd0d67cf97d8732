"""A method: the median of a round's updates, coordinate by coordinate, in place of their mean."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedecho.core.checks import Positive
from fedecho.core.config import MethodConfig
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import buffered, mean_buffers, register


@dataclass(frozen=True)
class CoordinateMedian(MethodConfig):
    """x_{t+1} = x_t + eta * median_i Delta_i."""

    name: ClassVar[str] = "coordinate_median"
    server_lr: Positive = 1.0


def step(config, updates, x):
    """Return the next model of a round's updates and x_t."""
    median = torch.stack([update.delta for update in updates]).median(0).values
    return Weights(x.params + config.server_lr * median, mean_buffers(updates))


register(CoordinateMedian, lambda config, server: buffered(lambda updates, x: step(config, updates, x)))
