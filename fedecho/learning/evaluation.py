"""Evaluation of a model version: scores on held-out data, and text generated token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fedecho.core.rng import stream
from fedecho.data.tokens import CONTEXT
from fedecho.learning.flat import FlatModel, Weights, predict


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What the server's model is scored on."""

    images: Tensor
    """Images `[held out, channels, height, width]`, or token ids `[held out, length]`."""
    labels: Tensor
    """`[held out]`, or the tokens that follow `[held out, length]`."""
    classes: Tensor
    """The class of each image or text, or the novel of each block of tokens `[held out]`."""
    names: int
    """How many classes or novels there are."""
    outcomes: int
    """C: among how many a prediction chooses, classes or tokens."""


def evaluate(model: FlatModel, weights: Weights, data: HeldOut) -> dict[str, Any]:
    """Return accuracy in [0, 1], loss in nats and per-class accuracies of one version on the held-out images.

    Of a model that predicts tokens: the same over all of them (its perplexity is e^loss), the classes being novels.
    """
    if data.labels.dim() > 1:
        return _evaluate_tokens(model, weights, data)
    logits = predict(model, weights, data.images, model.execution.inference_batch)
    correct, loss = (logits.argmax(-1) == data.labels).double(), float(F.cross_entropy(logits, data.labels))
    return {"accuracy": float(correct.mean()), "loss": loss, "per_class": _by_class(correct, data)}


PIECE = 2**20
"""Logits of held-out tokens that are evaluated at a time, 4 MB: all would be gigabytes, and these fit a cache."""


@torch.no_grad()
def _evaluate_tokens(model: FlatModel, weights: Weights, data: HeldOut) -> dict[str, Any]:
    model.load(weights)
    model.module.eval()
    texts = max(1, PIECE // (data.images.shape[1] * data.outcomes))
    pieces = zip(torch.split(data.images, texts), torch.split(data.labels, texts), strict=True)
    scores = [_score(model.logits(ids), targets) for ids, targets in pieces]
    log_probs, hits = (torch.cat(parts) for parts in zip(*scores, strict=True))
    losses = [_mean_loss(batch) * len(batch) for batch in torch.split(log_probs, model.execution.inference_batch)]
    correct, loss = hits.double().mean(1), float(torch.stack(losses).sum() / len(data.labels))
    return {"accuracy": float(correct.mean()), "loss": loss, "per_class": _by_class(correct, data)}


def _score(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probability of each target `[texts, tokens]`, and whether it is the most probable token."""
    log_probs = logits.log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return log_probs, _hits(logits, targets)


def _mean_loss(log_probs: Tensor) -> Tensor:
    # torch's own sum for a cross-entropy: another order would change the last digits of records.
    column = log_probs.reshape(-1, 1)
    return F.nll_loss(column, torch.zeros(len(column), dtype=torch.long, device=column.device)).double()


def _hits(logits: Tensor, targets: Tensor) -> Tensor:
    """Tell where the largest of `logits` `[..., classes]`, the first if several are, is that of `targets` `[...]`."""
    # torch finds a maximum eight times as fast as its place, which is asked for only where it may be the target's.
    hits = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1) == logits.amax(-1)
    hits[hits.clone()] = logits[hits].argmax(-1) == targets[hits]
    return hits


def _by_class(correct: Tensor, data: HeldOut) -> list[float]:
    """Return the mean of `correct` `[held out]` over the images of each class."""
    total = torch.bincount(data.classes, weights=correct, minlength=data.names)
    means: list[float] = (total / torch.bincount(data.classes, minlength=data.names)).tolist()
    return means


# Autoregressive sampling

PROMPTS, PROMPT, LENGTH = 3, 8, 60
"""Samples in the record: number of prompts (first held-out blocks), tokens per prompt, tokens generated."""
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
