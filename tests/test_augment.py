"""A crop is a shift with a padded border; a flip mirrors columns."""

import numpy as np
import torch

from fedecho.augment import crop_and_flip


def test_every_output_is_a_shifted_perhaps_mirrored_copy() -> None:
    images = torch.arange(2 * 36, dtype=torch.float32).reshape(2, 1, 6, 6)
    padding = torch.tensor([-1.0])
    out = crop_and_flip(images, padding, np.random.default_rng(0))
    for image, cropped in zip(images[:, 0], out[:, 0], strict=True):
        canvas = torch.full((14, 14), -1.0)
        canvas[4:10, 4:10] = image
        windows = [canvas[r : r + 6, c : c + 6] for r in range(9) for c in range(9)]
        assert any(torch.equal(cropped, w) or torch.equal(cropped, w.flip(1)) for w in windows)


def test_shifts_and_flips_all_occur() -> None:
    images = torch.arange(36.0).reshape(1, 1, 6, 6).expand(4000, 1, 6, 6).contiguous()
    out = crop_and_flip(images, torch.tensor([-1.0]), np.random.default_rng(0))
    unchanged = (out == images).flatten(1).all(1).float().mean()
    assert len(torch.unique(out.flatten(1), dim=0)) == 2 * 81
    assert abs(float(unchanged) - 1 / 162) < 0.01
