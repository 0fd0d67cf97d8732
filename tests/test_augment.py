"""A crop is a shift with a padded border; a flip mirrors columns."""

import numpy as np
import pytest
import torch

from fedecho.learning.client import ClientData, crop_and_flip, normalise


def test_every_output_is_a_shifted_perhaps_mirrored_copy() -> None:
    images = torch.arange(2 * 36, dtype=torch.float32).reshape(2, 1, 6, 6)
    padding = torch.tensor([-1.0])
    out = crop_and_flip(images, padding, np.random.default_rng(0))
    for image, cropped in zip(images[:, 0], out[:, 0], strict=True):
        canvas = torch.full((14, 14), -1.0)
        canvas[4:10, 4:10] = image
        windows = [canvas[r : r + 6, c : c + 6] for r in range(9) for c in range(9)]
        assert any(torch.equal(cropped, w) or torch.equal(cropped, w.flip(1)) for w in windows)


def test_bytes_are_shares_of_255_less_their_mean_over_their_deviation() -> None:
    images = torch.tensor([[[[0, 255]], [[51, 204]]]], dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 2, 1, 1) for values in ([0.5, 0.2], [0.5, 0.1]))
    assert normalise(images, mean, std).flatten().tolist() == pytest.approx([-1, 1, 0, 6], abs=1e-5)


def test_bytes_cropped_and_then_normalised_equal_normalised_and_then_cropped() -> None:
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (40, 3, 32, 32), dtype=np.uint8))
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1)
    data = ClientData(images, torch.zeros(40), images.new_zeros(3), (mean, std))
    late = data.normalised(crop_and_flip(images, data.padding, np.random.default_rng(2)))
    black = normalise(images.new_zeros(1, 3, 1, 1), mean, std).flatten()
    early = crop_and_flip(normalise(images, mean, std), black, np.random.default_rng(2))
    assert late.dtype == torch.float32 and torch.equal(late, early)


def test_shifts_and_flips_all_occur() -> None:
    images = torch.arange(36.0).reshape(1, 1, 6, 6).expand(4000, 1, 6, 6).contiguous()
    out = crop_and_flip(images, torch.tensor([-1.0]), np.random.default_rng(0))
    unchanged = (out == images).flatten(1).all(1).float().mean()
    assert len(torch.unique(out.flatten(1), dim=0)) == 2 * 81
    assert abs(float(unchanged) - 1 / 162) < 0.01
