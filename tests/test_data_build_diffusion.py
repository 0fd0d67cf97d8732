"""The parts of the diffusion model's script, on numbers that one can check by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedecho.data import npz
from fedecho.data.build import diffusion


def toy(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1, 1)


def test_excluded_images_and_repeats_are_left_out() -> None:
    images = toy([5, 1, 2, 1, 3])
    assert images[diffusion.firsts(images, toy([2, 9]), range(5))].ravel().tolist() == [5, 1, 3]


def test_image_and_noise_swap_places_between_time_0_and_1() -> None:
    image, noise = diffusion.mix(torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(image.flatten(), torch.tensor([1.0, 0.5**0.5, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(image**2 + noise**2, torch.ones(3, 1, 1, 1))


class Knows(nn.Module):
    """The velocity of one image whose pixels all have the value `clean`: what a perfect model would predict."""

    def __init__(self, clean: float) -> None:
        super().__init__()
        self.clean = clean

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        a, s = diffusion.mix(t)
        return a * (x - a * self.clean) / s - s * self.clean


def test_sampling_from_a_perfect_model_of_one_image_gives_that_image() -> None:
    images = diffusion.sample(Knows(0.2), count=3, steps=4)
    assert images.shape == (3, 28, 28, 1) and images.dtype == np.uint8
    assert np.unique(images).tolist() == [153]  # (0.2 + 1) * 127.5


def test_every_time_reaches_the_velocity() -> None:
    net = diffusion.Net(width=8)
    x, t = torch.randn(2, 1, 28, 28), torch.tensor([0.1, 0.9])
    out = net(x, t)
    assert out.shape == x.shape
    assert not torch.equal(out[:1], net(x[:1], t[1:]))


def test_training_lowers_the_loss_and_repeats_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion, "BATCH", 4)
    monkeypatch.setattr(diffusion, "PEAK_RATE", 0.2)  # 1/200 of it in the first step, while warming up

    def losses() -> list[float]:
        torch.manual_seed(0)
        return diffusion.train(diffusion.Net(width=8), np.zeros((3, 28, 28, 1), np.uint8), steps=10)[1]

    first = losses()
    assert np.mean(first[-3:]) < 0.8 * np.mean(first[:3])
    assert losses() == first


def test_the_average_lags_behind_the_weights() -> None:
    average, net = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        average.weight.fill_(0.0)
        net.weight.fill_(1.0)
    diffusion._follow(average, net, decay=0.75)
    assert average.weight.item() == 0.25


def test_distances_to_the_nearest_image() -> None:
    images, reference = toy([0, 51, 255]), toy([0, 102])
    np.testing.assert_allclose(diffusion.nearest_distances(images, reference), [0, 0.2, 0.6])


def test_the_sheet_has_the_first_image_in_its_corner(tmp_path: Path) -> None:
    from PIL import Image

    images = np.arange(200, dtype=np.uint8)[:, None, None, None] * np.ones((1, 28, 28, 1), np.uint8)
    diffusion.write_sheet(images, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (280, 560) and sheet[0, 0] == 0 and sheet[0, 28] == 1 and sheet[28, 0] == 20


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        npz.write(tmp_path / name, {"images": toy([1, 2])})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    (back,) = npz.read(tmp_path / "a.npz", ("images",))
    assert back.ravel().tolist() == [1, 2]
