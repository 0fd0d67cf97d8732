"""A model: any function of the shape of an image [channels, height, width] and the number of classes."""

import math

from torch import nn


def mlp(shape, classes):
    """Return a network with one hidden layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 64), nn.ReLU(), nn.Linear(64, classes))
