"""Local SGD of one client: from the version it was sent to the update it returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fedecho.core.rng import stream
from fedecho.core.settings import Local
from fedecho.learning.flat import FlatModel, Weights

LEAST_NORM = 1e-12
"""Lower limit of the norm that a gradient is divided by when steps are normalised."""
_PAD = 4


@dataclass(frozen=True, eq=False)
class Update:
    """What a client sends back; the server still holds the version it started from."""

    client: int
    base_version: int
    """s: the version it started from."""
    round: int
    """t: the server round in whose buffer it arrives."""
    arrived_at: float
    """Virtual seconds."""
    start: Weights
    """x_s, shared with the checkpoint, not a copy."""
    delta: Tensor
    """Delta_i = x_i - x_s `[P]`."""
    buffers: Tensor
    """The client's own BatchNorm statistics `[B]`: a difference alone cannot rebuild them."""
    steps: int
    """K: SGD steps taken."""
    correction: Tensor | None = None
    """What was added to each of its gradients `[P]` (FedAC)."""
    before: Weights | None = None
    """x_{s-1}, also shared, if local SGD started from it (`Protocol.delta`); none = it started from x_s."""
    gradient: Tensor | None = None
    """Mean of its K gradients, as they were before any correction `[P]` (AdaMasFL)."""
    report: Tensor | None = None
    """What the client also reports about its data, if the method asks for it (`Method.report`)."""

    @property
    def staleness(self) -> int:
        """tau = t - s, in rounds."""
        return self.round - self.base_version

    @property
    def model(self) -> Weights:
        """The client's model x_s + Delta_i with its own statistics."""
        return Weights(self.start.params + self.delta, self.buffers)

    @property
    def moved(self) -> Tensor:
        """Change made by local SGD `[P]`, relative to where it started: Delta_i if that was x_s."""
        return self.delta if self.before is None else self.delta + (self.start.params - self.before.params)

    def finite(self) -> bool:
        """Tell whether all numbers of the upload are finite."""
        sums = self.gradient is None or bool(torch.isfinite(self.gradient).all())
        return sums and Weights(self.delta, self.buffers).finite()


@dataclass(frozen=True, eq=False)
class ClientData:
    """One client's images `[n, channels, height, width]`, labels `[n]`, and the padding value of crops `[channels]`.

    For text: token ids `[n, length]` with labels `[n]`, or with the next tokens `[n, length]`.

    Images are stored normalised, or as bytes (a quarter of the memory) with the `moments` that normalise a batch: mean
    and standard deviation `[1, channels, 1, 1]` of values in [0, 1]. Both give bit-identical results.
    """

    images: Tensor
    labels: Tensor
    padding: Tensor
    moments: tuple[Tensor, Tensor] | None = None

    def normalised(self, images: Tensor) -> Tensor:
        """Return a batch of these images, cropped or not, normalised for the model."""
        return images if self.moments is None else normalise(images, *self.moments)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return bytes `[batch, channels, height, width]` as (x / 255 - mean) / std."""
    return (images.float() / 255 - mean) / std


def batches(count: int, local: Local, rng_key: tuple[int, int, int]) -> Iterator[Tensor]:
    """Yield index batches: E epochs, each freshly shuffled, the last partial batch kept.

    `rng_key` = (seed, client, job) names the stream, so methods that are compared see the same order.
    """
    rng = stream(rng_key[0], "batches", *rng_key[1:])
    for _ in range(local.epochs):
        yield from torch.split(torch.from_numpy(rng.permutation(count)), local.batch_size)


def sgd(
    model: FlatModel,
    start: Weights,
    data: ClientData,
    local: Local,
    rng_key: tuple[int, int, int],
    correction: Tensor | None = None,
    proximal: float = 0.0,
    gradients: Tensor | None = None,
) -> tuple[Weights, int]:
    """Return the model after local SGD from `start`, and the number of steps K.

    x <- x - eta_l * (grad F_i(x; batch) + wd * x + correction + proximal * (x - x_s)); momentum 0, constant rate.
    `correction` `[P]` is a control variate (FedAC) and `proximal` FedAsync's rho; both are absent by default. If
    `gradients` `[P]` is given (AdaMasFL), the K gradients are added to it in place, and the sum in parentheses, without
    wd * x, is divided by its norm, so that each step has length eta_l.
    """
    model.load(start)
    model.module.train()
    augmentation = stream(rng_key[0], "augmentation", *rng_key[1:]) if local.augment else None
    steps = 0
    for batch in batches(len(data.labels), local, rng_key):
        images, labels = data.images[batch], data.labels[batch]
        if augmentation is not None:
            images = crop_and_flip(images, data.padding, augmentation)
        gradient = model.gradient(cross_entropy(model.logits(data.normalised(images)), labels))
        if gradients is not None:
            gradients += gradient
        if correction is not None:
            gradient += correction
        if proximal:
            gradient += proximal * (model.params - start.params)
        if gradients is not None:
            gradient /= gradient.norm().clamp_min(LEAST_NORM)
        with torch.no_grad():  # wd * x enters as a decay factor: one pass over x fewer than adding it to the gradient
            model.params.mul_(1 - local.lr * local.weight_decay).sub_(gradient, alpha=local.lr)
        steps += 1
    return model.weights(), steps


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of labels `[batch]` or `[batch, positions]`; logits have one more axis."""
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def crop_and_flip(images: Tensor, padding: Tensor, rng: np.random.Generator) -> Tensor:
    """Return `images` `[batch, channels, height, width]`, each shifted by up to 4 pixels and flipped with odds 1/2.

    The border is filled with `padding` `[channels]`, the normalised value of black, as when padding comes before
    normalisation.
    """
    count, _, height, width = images.shape
    rows = _offsets(rng, count, height, images.device)
    columns = _offsets(rng, count, width, images.device)
    flipped = torch.from_numpy(rng.random(count) < 0.5).to(images.device)
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    canvas = padding[None, :, None, None].expand(count, -1, height + 2 * _PAD, width + 2 * _PAD).clone()
    canvas[:, :, _PAD:-_PAD, _PAD:-_PAD] = images
    which = torch.arange(count, device=images.device)[:, None, None]
    return canvas.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _offsets(rng: np.random.Generator, count: int, size: int, device: torch.device) -> Tensor:
    """Source rows or columns of each crop, `[batch, size]`."""
    shifts = torch.from_numpy(rng.integers(0, 2 * _PAD + 1, count)).to(device)
    return shifts[:, None] + torch.arange(size, device=device)
