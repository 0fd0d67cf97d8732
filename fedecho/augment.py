"""Random crop and flip of a whole batch at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_PAD = 4


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
