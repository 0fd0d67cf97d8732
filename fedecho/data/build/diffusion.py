"""Build the bundled pool `diffusion`: `python -m fedecho.data.build.diffusion SOURCE_DIR [TARGET]`.

A small unconditional diffusion model (Ho, Jain & Abbeel 2020, arXiv:2006.11239) is trained on the images of
Fashion-MNIST that the bundle does *not* hold, then sampled: a pool U that anyone could make who has a generative model
of the domain and no image of the clients. Cosine schedule and velocity as target (Nichol & Dhariwal 2021,
arXiv:2102.09672; Salimans & Ho 2022, arXiv:2202.00512), deterministic sampling (DDIM: Song, Meng & Ermon 2021,
arXiv:2010.02502). Labels are never read. SOURCE_DIR: see `build.fashion_mnist`. Users never run this.
"""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from fedecho.core import rng
from fedecho.core.files import bundled_path
from fedecho.data import npz, pools, sources
from fedecho.data.build.fashion_mnist import firsts, read_pair
from fedecho.data.command import command
from fedecho.data.splits import Pixels, canonical, digest

SEED = 0
WIDTH = 48
BATCH = 32
STEPS = 5_600
PEAK_RATE = 1e-3
EMA_DECAY = 0.998
SAMPLES = 5_000
SAMPLING_STEPS = 40
NEAREST = 500
"""Samples whose nearest training image is looked for."""


class Block(nn.Module):
    """Two 3x3 convolutions `[images, into, h, w]` -> `[images, out, h, w]`, shifted by the time, around a shortcut."""

    def __init__(self, into: int, out: int, time_width: int) -> None:
        """Create the layers."""
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, into), nn.SiLU(), nn.Conv2d(into, out, 3, padding=1))
        self.shift = nn.Linear(time_width, out)
        self.second = nn.Sequential(nn.GroupNorm(8, out), nn.SiLU(), nn.Conv2d(out, out, 3, padding=1))
        self.shortcut = nn.Identity() if into == out else nn.Conv2d(into, out, 1)
        nn.init.zeros_(self.second[-1].weight)  # type: ignore[arg-type]  # a new block changes nothing

    def forward(self, x: Tensor, when: Tensor) -> Tensor:
        """Return the sum of shortcut and convolutions; `when [images, time_width]`."""
        inner = self.first(x) + self.shift(when)[:, :, None, None]
        out: Tensor = self.shortcut(x) + self.second(inner)
        return out


class Attention(nn.Module):
    """One head of self-attention over the positions of `[images, width, h, w]`, added to its input."""

    def __init__(self, width: int) -> None:
        """Create the layers."""
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input plus what each position attends to."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        attended: Tensor = x + self.out(seen)
        return attended


class Net(nn.Module):
    """A U-Net that works at 14x14 and 7x7 pixels: noisy images and their times -> velocity, `[images, 1, 28, 28]`."""

    def __init__(self, width: int = WIDTH) -> None:
        """Create the layers; `width` is the number of channels at 14x14, a multiple of 8."""
        super().__init__()
        time_width = 4 * width
        self.embed = nn.Sequential(nn.Linear(32, time_width), nn.SiLU(), nn.Linear(time_width, time_width), nn.SiLU())
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, width, 3, padding=1))
        self.fine_in = nn.ModuleList([Block(width, width, time_width) for _ in range(2)])
        self.shrink = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.coarse = nn.ModuleList([Block(2 * width, 2 * width, time_width) for _ in range(3)])
        self.attention = Attention(2 * width)
        self.grow = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1), nn.PixelShuffle(2))
        self.fine_out = nn.ModuleList([Block(2 * width, width, time_width), Block(width, width, time_width)])
        self.head = nn.Sequential(
            nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 4, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the velocity; `x [images, 1, 28, 28]`, `t [images]` in [0, 1]."""
        angles = t[:, None] * torch.exp(torch.linspace(0, math.log(1000), 16))
        when = self.embed(torch.cat([angles.sin(), angles.cos()], dim=1))
        fine = self.stem(x)
        for block in self.fine_in:
            fine = block(fine, when)
        coarse = self.coarse[0](self.shrink(fine), when)
        coarse = self.coarse[1](self.attention(coarse), when)
        x = torch.cat([fine, self.grow(self.coarse[2](coarse, when))], dim=1)
        for block in self.fine_out:
            x = block(x, when)
        velocity: Tensor = self.head(x)
        return velocity


def mix(t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of image and noise at times `t [images]`, each `[images, 1, 1, 1]`; squares sum to 1."""
    angle = (t * math.pi / 2)[:, None, None, None]
    return angle.cos(), angle.sin()


def disjoint_images(source: Path) -> Pixels:
    """Return the images `[images, 28, 28, 1]` of Fashion-MNIST, each once, of which no split of the bundle has any."""
    images = np.concatenate([read_pair(source, stem)[0] for stem in ("train", "t10k")])
    held = sources.load_fashion_mnist()
    parts = [part.images for part in (held.train, held.pool, held.validation, held.test) if part is not None]
    rest = images[firsts(images, np.concatenate(parts), range(len(images)))]
    assert len(rest) + sum(map(len, parts)) == len(images), "every image is in the bundle or here, and not in both"
    return rest


def train(net: nn.Module, images: Pixels, steps: int) -> tuple[nn.Module, list[float]]:
    """Train `net` for `steps` batches and return the moving average of its weights and the loss of every step."""
    generator = torch.Generator().manual_seed(rng.torch_seed(SEED, "diffusion-training"))
    data = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    optimizer = torch.optim.Adam(net.parameters())
    average, losses, start = copy.deepcopy(net), [], time.monotonic()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = PEAK_RATE * min(1.0, (step + 1) / 200) * (0.02 + 0.98 * (1 - step / steps))
        clean = data[torch.randint(len(data), (BATCH,), generator=generator)]
        # One time per stratum: as uniform as independent draws, and a quieter loss.
        t = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
        noise = torch.randn(clean.shape, generator=generator)
        a, s = mix(t)
        loss = F.mse_loss(net(a * clean + s * noise, t), a * noise - s * clean)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        _follow(average, net, min(EMA_DECAY, (1 + step) / (10 + step)))
        losses.append(loss.item())
        if (step + 1) % 200 == 0:
            print(f"step {step + 1}: loss {np.mean(losses[-200:]):.4f}, {time.monotonic() - start:.0f} s", flush=True)
    return average, losses


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    for mean, current in zip(average.parameters(), net.parameters(), strict=True):
        mean.lerp_(current, 1 - decay)


@torch.inference_mode()
def sample(net: nn.Module, count: int, steps: int) -> Pixels:
    """Return `count` images uint8 `[count, 28, 28, 1]`: noise taken to time 0 in `steps` equal steps (DDIM)."""
    generator = torch.Generator().manual_seed(rng.torch_seed(SEED, "diffusion-sampling"))
    noise = torch.randn((count, 1, 28, 28), generator=generator)
    clean = torch.cat([_denoise(net, part, steps) for part in torch.split(noise, 100)])
    pixels: Pixels = (clean.add(1).mul(127.5).round().to(torch.uint8)).permute(0, 2, 3, 1).contiguous().numpy()
    return pixels


def _denoise(net: nn.Module, x: Tensor, steps: int) -> Tensor:
    clean, times = x, torch.linspace(1, 0, steps + 1)
    for now, then in zip(times[:-1], times[1:], strict=True):
        (a, s), (next_a, next_s) = mix(now[None]), mix(then[None])
        velocity = net(x, now.expand(len(x)))
        clean = (a * x - s * velocity).clamp(-1, 1)
        x = next_a * clean + next_s * (s * x + a * velocity)
    return clean


def nearest_distances(images: Pixels, reference: Pixels) -> np.ndarray:
    """Return the L2 distance `[images]` of each image to the nearest in `reference`, pixels in [0, 1]."""
    one, other = (torch.from_numpy(part.reshape(len(part), -1).copy()).double() / 255 for part in (images, reference))
    return torch.cat([torch.cdist(rows, other).amin(dim=1) for rows in torch.split(one, 100)]).numpy()


def report_nearest(images: Pixels, training: Pixels) -> None:
    """Print quantiles of the distance to the nearest training image: of samples, and of real images held out."""
    held = sources.load_fashion_mnist().pool
    assert held is not None
    for name, part in (("samples", images), ("held-out images", held.images)):
        quantiles = np.quantile(nearest_distances(part[:NEAREST], training), [0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95])
        print(f"nearest training image of {NEAREST} {name}: min, 1, 5, 25, 50, 75, 95 % =", *np.round(quantiles, 2))


def write_sheet(images: Pixels, target: Path) -> None:
    """Write the first 200 images as a contact sheet of 10 rows, PNG."""
    rows = images[:200, ..., 0].reshape(10, 20, 28, 28).transpose(0, 2, 1, 3).reshape(280, 560)
    Image.fromarray(rows).save(target, optimize=True)


def main(source: Path, target: Path = bundled_path(pools.DIFFUSION), /, steps: int = STEPS) -> None:
    """Train the model and build the pool.

    Args:
        source: the folder of Fashion-MNIST's four idx .gz files.
        target: the file to write.
        steps: batches of training.
    """
    torch.set_num_threads(1)  # sums in one order, so that the same machine gives the same bytes
    torch.manual_seed(rng.torch_seed(SEED, "diffusion-init"))
    training, net = disjoint_images(source), Net()
    print(f"torch {torch.__version__}, {len(training):,} images, {sum(p.numel() for p in net.parameters()):,} weights")
    average, losses = train(net, training, steps)
    print(f"mean loss of the last 500 steps: {np.mean(losses[-500:]):.4f}")
    start = time.monotonic()
    images = canonical(sample(average, SAMPLES, SAMPLING_STEPS)).images
    print(f"sampled in {time.monotonic() - start:.0f} s")
    npz.write(target, {"images": images})
    write_sheet(images, target.with_suffix(".png"))
    print(f"{target}: {target.stat().st_size:,} bytes, digest {digest(images)}")
    report_nearest(images, training)


if __name__ == "__main__":
    command(main)
