"""Sample `generated.npz`, the pool `generated`: `python -m fedecho.data.build.generated [TARGET] [options]`.

Needs `pip install fedecho[generate]`, a download of the model and, in practice, a GPU. Without `--prompt` the model is
unconditional; with prompts (e.g. the class names) they take turns. The default model was itself trained on CIFAR-10:
with `cifar10` at the clients, such a U tells what a generative model adds, not what a stranger to the data could do.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from fedecho.core.checks import InputError, require
from fedecho.core.files import data_root
from fedecho.data import npz, pools
from fedecho.data.command import command
from fedecho.data.pools import shrink
from fedecho.data.splits import Pixels

SIDE = 32
Pipeline = Callable[..., Any]


def load_pipeline(model: str, device: str) -> Pipeline:
    """Return the pretrained pipeline `model`, a name on the Hugging Face hub or a folder; InputError if it cannot be.

    Only safetensors are read: the older weight files are pickles, which may run code.
    """
    try:
        diffusers = importlib.import_module("diffusers")
    except ImportError:
        raise InputError("model", model, "sampling needs diffusers; run `pip install fedecho[generate]`") from None
    try:
        pipeline: Pipeline = diffusers.DiffusionPipeline.from_pretrained(model, use_safetensors=True).to(device)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError("model", model, f"it must be loadable ({reason})") from None
    return pipeline


def sample(pipeline: Pipeline, count: int, *, prompts: Sequence[str], batch: int, seed: int, **options: Any) -> Pixels:
    """Return `count` images uint8 `[count, 32, 32, 3]`, averaged down from a multiple of 32; InputError otherwise."""
    generator, parts = torch.Generator().manual_seed(seed), []
    for start in range(0, count, batch):
        size = min(batch, count - start)
        asked = [prompts[index % len(prompts)] for index in range(start, start + size)] if prompts else None
        how = {"prompt": asked} if prompts else {"batch_size": size}
        images = np.asarray(pipeline(**how, generator=generator, output_type="np", **options).images)
        parts.append(_to_size(np.rint(images.clip(0, 1) * 255).astype(np.uint8)))
        print(f"{start + size} of {count}", flush=True)
    return np.concatenate(parts)


def _to_size(images: Pixels) -> Pixels:
    height, width, channels = images.shape[1:]
    fits = height == width and height % SIDE == 0 and channels == 3
    require(fits, "model", images.shape[1:], f"its images must be square, in colour, with a side that {SIDE} divides")
    return shrink(images, height // SIDE)


def main(
    target: Path | None = None,
    /,
    model: str = "google/ddpm-cifar10-32",
    prompt: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    count: int = 5_000,
    batch: int = 100,
    steps: int | None = None,
    seed: int = 0,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Sample the pool `generated`; needs `pip install fedecho[generate]`, a download of the model and, mostly, a GPU.

    Args:
        target: the file to write (left out: generated.npz in the data folder).
        model: a name on the Hugging Face hub, or a folder.
        prompt: may be given several times; prompts take turns (left out: the model is unconditional).
        count: images.
        batch: images at a time.
        steps: denoising steps (left out: the pipeline's own).
        seed: of the generator.
        device: cpu or cuda.
    """
    require(min(count, batch) >= 1, "count, batch", (count, batch), "give at least 1")
    options = {} if steps is None else {"num_inference_steps": steps}
    images = sample(load_pipeline(model, device), count, prompts=prompt, batch=batch, seed=seed, **options)
    target = target or data_root() / pools.GENERATED
    target.parent.mkdir(parents=True, exist_ok=True)
    npz.write(target, {"images": images})
    print(target)


if __name__ == "__main__":
    command(main)
