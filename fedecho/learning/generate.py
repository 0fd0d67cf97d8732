"""Autoregressive sampling: text that a model generates, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from fedecho.core.rng import stream
from fedecho.data.tokens import CONTEXT
from fedecho.learning.flat import FlatModel, Weights, predict

PROMPTS, PROMPT, LENGTH = 3, 8, 60
"""Samples of the record: held-out blocks, the first so many; tokens of each prompt; tokens that are generated."""
TEMPERATURE = 0.8
"""Of the record's samples."""
FIRST = 100
"""The most frequent ids, with one of which a block of a pool begins."""


@torch.no_grad()
def continued(
    model: FlatModel, weights: Weights, ids: Tensor, length: int, rng: np.random.Generator, temperature: float = 1.0
) -> Tensor:
    """Return `ids` int64 `[texts, tokens]` with `length` more tokens each, from softmax(logits / temperature).

    The model reads the last `CONTEXT` tokens; every token takes one number of `rng`.
    """
    for _ in range(length):
        logits = predict(model, weights, ids[:, -CONTEXT:], model.execution.inference_batch)[:, -1]
        cumulative = (logits.double() / temperature).softmax(-1).cumsum(-1)
        drawn = torch.from_numpy(rng.random((len(ids), 1))).to(ids.device)
        following = torch.searchsorted(cumulative, drawn).clamp_max(logits.shape[-1] - 1)
        ids = torch.cat([ids, following], 1)
    return ids


def written(model: FlatModel, weights: Weights, shape: tuple[int, ...], seed: int) -> Tensor:
    """Return blocks `shape` = `[pool, length]` from a model's own distribution: a pool U that needs no data.

    Each begins with one of the `FIRST` most frequent ids, drawn uniformly. Unspecified in paper: it has no such pool.
    """
    rng, (count, length) = stream(seed, "written-pool"), shape
    first = rng.integers(FIRST, size=(count, 1))
    return continued(model, weights, torch.from_numpy(first).to(model.params.device), length - 1, rng)


def samples(
    model: FlatModel, weights: Weights, held_out: Tensor, decode: Callable[[Iterable[int]], str], seed: int
) -> list[dict[str, str]]:
    """Return for the record how a version continues the first blocks of `held_out` `[blocks, length]`."""
    prompts = held_out[:PROMPTS, :PROMPT]
    made = continued(model, weights, prompts, LENGTH, stream(seed, "samples"), TEMPERATURE)
    rows = zip(prompts.tolist(), made[:, PROMPT:].tolist(), strict=True)
    return [{"prompt": decode(prompt), "text": decode(text)} for prompt, text in rows]
