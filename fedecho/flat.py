"""A model as one flat parameter vector and one buffer vector, so that server mathematics reads like the paper."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector


class Weights(NamedTuple):
    """One version of the model: `params` `[P]` (what the paper calls x) and `buffers` `[B]` (BatchNorm statistics)."""

    params: Tensor
    buffers: Tensor

    def finite(self) -> bool:
        """Tell whether every number is finite."""
        # A sum is finite only if its terms are (or, once in 10^38, cancel): one pass instead of a mask per element.
        return bool(torch.isfinite(self.params.sum() + self.buffers.sum()))


class FlatModel:
    """A module whose parameters and float buffers are views into two flat vectors.

    Loading a version is one copy and an SGD step one fused update, whatever the number of layers. Integer buffers
    (BatchNorm's batch counter) stay where they are: with a fixed momentum nothing depends on them.
    """

    def __init__(self, module: nn.Module) -> None:
        """Take over `module`: its tensors move into `params` `[P]` and `buffers` `[B]`."""
        self.module = module
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        float_buffers = [b for b in module.buffers() if b.is_floating_point()]
        self.params = parameters_to_vector(self.parameters).detach().clone()
        self.buffers = torch.cat([b.reshape(-1) for b in float_buffers]) if float_buffers else self.params.new_empty(0)
        _alias(self.parameters, self.params)
        _alias(float_buffers, self.buffers)

    @property
    def device(self) -> torch.device:
        """Where the vectors live."""
        return self.params.device

    def weights(self) -> Weights:
        """Return a copy of the current version."""
        return Weights(self.params.clone(), self.buffers.clone())

    def load(self, weights: Weights) -> None:
        """Make `weights` the current version."""
        with torch.no_grad():
            self.params.copy_(weights.params)
            self.buffers.copy_(weights.buffers)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits `[batch, classes]` of `images` `[batch, channels, height, width]`."""
        out: Tensor = self.module(images)
        return out

    def gradient(self, loss: Tensor) -> Tensor:
        """Return the gradient of `loss` as one vector `[P]`."""
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, self.parameters)])

    def to(self, device: torch.device) -> FlatModel:
        """Return a copy on `device`."""
        return FlatModel(copy.deepcopy(self.module).to(device))


def _alias(tensors: list[nn.Parameter] | list[Tensor], flat: Tensor) -> None:
    start = 0
    for tensor in tensors:
        tensor.data = flat[start : start + tensor.numel()].view_as(tensor)
        start += tensor.numel()
