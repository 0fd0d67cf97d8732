"""A model as one flat parameter vector and one buffer vector, so that server mathematics reads like the paper."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fedecho.core.settings import Execution

_PLAIN = Execution()


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

    def __init__(self, module: nn.Module, execution: Execution = _PLAIN, full: frozenset[int] = frozenset()) -> None:
        """Take over `module`: its tensors move into `params` `[P]` and `buffers` `[B]`.

        With `channels_last` the kernels of convolutions lie in `params` as [out, height, width, in]. `full` are the
        batch sizes of most steps, which `compile` is for: each other size would cost a compilation of its own.
        """
        self.module = module
        self.execution = execution
        self.full = full
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        float_buffers = [b for b in module.buffers() if b.is_floating_point()]
        self.params = torch.cat([self._flat(p.detach()) for p in self.parameters])
        self.buffers = torch.cat([b.reshape(-1) for b in float_buffers]) if float_buffers else self.params.new_empty(0)
        self._alias(self.parameters, self.params)
        self._alias(float_buffers, self.buffers)
        mode = "default" if self.params.device.type == "cpu" else "reduce-overhead"
        self._compiled = torch.compile(module, dynamic=False, mode=mode) if execution.compile else module

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
        if self.execution.channels_last and images.dim() == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        forward = self._compiled if torch.is_grad_enabled() and len(images) in self.full else self.module
        if self.execution.autocast == "none":
            out: Tensor = forward(images)
            return out
        with torch.autocast(images.device.type, torch.bfloat16):
            out = forward(images)
        return out.float()

    def gradient(self, loss: Tensor) -> Tensor:
        """Return the gradient of `loss` as one vector `[P]`."""
        return torch.cat([self._flat(g) for g in torch.autograd.grad(loss, self.parameters)])

    def _flat(self, tensor: Tensor) -> Tensor:
        """Return a parameter or its gradient as a vector, in the order of `params`."""
        kernel = self.execution.channels_last and tensor.dim() == 4
        return (tensor.permute(0, 2, 3, 1) if kernel else tensor).reshape(-1)

    def _alias(self, tensors: list[nn.Parameter] | list[Tensor], flat: Tensor) -> None:
        """Make `tensors` views into `flat`."""
        start = 0
        for tensor in tensors:
            part = flat[start : start + tensor.numel()]
            if self.execution.channels_last and tensor.dim() == 4:
                out, inner, height, width = tensor.shape
                tensor.data = part.view(out, height, width, inner).permute(0, 3, 1, 2)
            else:
                tensor.data = part.view_as(tensor)
            start += tensor.numel()


@torch.no_grad()
def predict(model: FlatModel, weights: Weights, inputs: Tensor, batch_size: int) -> Tensor:
    """Return the logits `[inputs, ..., classes]` of one version in eval mode."""
    model.load(weights)
    model.module.eval()
    batches = [model.logits(batch) for batch in torch.split(inputs, batch_size)]
    return batches[0] if len(batches) == 1 else torch.cat(batches)
