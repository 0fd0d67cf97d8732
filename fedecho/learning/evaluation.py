"""Scores of the server's model on held-out data, and the row of a record that an evaluation makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fedecho.core.records import Row, rounded
from fedecho.learning.flat import FlatModel, Weights, predict
from fedecho.simulation.schedule import Round


@dataclass
class Journal:
    """Collects what happens between two evaluations into one row."""

    taus: list[int] = field(default_factory=list)
    accepted: int = 0
    metrics: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    """How many uploads were refused, by reason."""
    norms: list[float] = field(default_factory=list)
    """`|Delta_i|` of those that were let in, where that is wanted (`Protocol.norm_quantiles`)."""

    def refuse(self, reason: str) -> None:
        """Note an upload that was refused; one that was not finite is told by all others (records from before there
        were other reasons)."""
        if reason != "failed":
            self.refused[reason] = self.refused.get(reason, 0) + 1

    def observe(self, rnd: Round, accepted: int, metrics: dict[str, float]) -> None:
        """Note one round and how many of its uploads could be used."""
        self.taus += rnd.staleness
        self.accepted += accepted
        for name, value in metrics.items():
            self.metrics.setdefault(name, []).append(value)

    def row(self, rnd: Round, buffer_size: int, scores: dict[str, Any]) -> Row:
        """Return the row of an evaluation after `rnd`, and begin the next one."""
        out = {
            "round": rnd.index + 1,
            "virtual_time": rnd.closed_at,
            "arrivals": (rnd.index + 1) * buffer_size,
            **scores,
            "tau_mean": float(np.mean(self.taus)),
            "tau_max": max(self.taus),
            "rejected": len(self.taus) - self.accepted,
            **{f"rejected_{reason}": count for reason, count in sorted(self.refused.items())},
            **({"delta_norm_median": median(self.norms), "delta_norm_max": max(self.norms)} if self.norms else {}),
            **{name: float(np.mean(values)) for name, values in self.metrics.items()},
        }
        self.taus, self.accepted, self.metrics, self.refused, self.norms = [], 0, {}, {}, []
        return {name: rounded(value) for name, value in out.items()}


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
