"""The teacher of a round: the ensemble of the clients' banked predictions on the pool U, and its entropy (Eq. 3-4)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fedecho.learning.bank import Bank, bank_average, mean_over, trimmed_mean
from fedecho.learning.distill import Teacher, entropy_in_nats
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.weighting import Evidence, weighted_average

_SHARPENING = 10.0
"""Factor on the logits of a corrupted teacher."""


def normalised_entropy(probs: Tensor) -> Tensor:
    r"""Return the entropy `[...]` of distributions `[..., classes]` as a share of its maximum (Eq. 3-4), 0 log 0 = 0.

    .. math:: H_u / \log C = \frac{-\sum_c p_{uc} \log p_{uc}}{\log C} \in [0, 1]
    """
    return (entropy_in_nats(probs) / math.log(probs.shape[-1])).clamp(0, 1)


def teacher(
    bank: Bank, settings: Distillation, weights: Tensor | None = None, evidence: Evidence | None = None
) -> Teacher:
    r"""Average the bank's rows Y into a teacher.

    .. math:: \bar y_u = \frac1{|A|} \sum_{i \in A} Y_i[u], \qquad p_u = \operatorname{softmax}(\bar y_u / T_d)

    A: the clients that have uploaded, or those of them that may teach under `settings`. `weights` `[clients]` is given
    if not all seen rows count equally, `evidence` if it determines the weights of the rows.
    """
    blocks = list(bank.blocks())
    parts = [None] * len(blocks) if evidence is None else evidence.pieces([len(block.total) for block in blocks])
    pieces = [_taught(block, settings, weights, part) for block, part in zip(blocks, parts, strict=True)]
    if len(pieces) == 1:
        return pieces[0]
    counts = [piece.weights for piece in pieces if piece.weights is not None]
    return Teacher(
        torch.cat([piece.probs for piece in pieces]),
        torch.cat([piece.labels for piece in pieces]),
        torch.cat([piece.entropy for piece in pieces]),
        torch.cat(counts) if counts else None,
    )


def _taught(bank: Bank, settings: Distillation, weights: Tensor | None, evidence: Evidence | None) -> Teacher:
    counts = bank.seen().float() if weights is None else weights
    if settings.trim:
        mean = trimmed_mean(bank.dense()[counts > 0], settings.trim)
    elif evidence is None:
        mean = bank_average(bank, weights)
    else:
        mean = weighted_average(bank, evidence, settings, weights)
    probs, labels = _probabilities(mean, settings), mean.argmax(-1)
    if settings.hard_label == "majority":
        votes = F.one_hot(bank.dense().argmax(-1), probs.shape[-1]).float()
        labels = torch.einsum("n,n...->...", counts.to(votes), votes).argmax(-1)
    if settings.entropy_of == "teacher":
        entropy = normalised_entropy(probs)
    else:
        entropy = mean_over(counts, normalised_entropy(_probabilities(bank.dense().float(), settings)))
    match settings.pool_weights:
        case "certainty":
            return Teacher(probs, labels, entropy, 1 - entropy)
        case "agreement":  # the share of the teachers whose own prediction is the label
            return Teacher(probs, labels, entropy, mean_over(counts, (bank.dense().argmax(-1) == labels).float()))
    return Teacher(probs, labels, entropy)


def _probabilities(rows: Tensor, settings: Distillation) -> Tensor:
    """Return banked rows `[..., classes]` as distributions."""
    return rows if settings.average == "probabilities" else (rows / settings.temperature).softmax(-1)


def as_row(logits: Tensor, settings: Distillation) -> Tensor:
    """Return logits `[..., classes]` as the bank keeps them: unchanged, or as softmax(logits / T_d)."""
    return logits if settings.average == "logits" else (logits / settings.temperature).softmax(-1)


def averaged_teacher(logits: Tensor, settings: Distillation) -> Teacher:
    """Build a teacher from one model's predictions `[pool, ..., classes]`, as from a bank with one row."""
    bank = Bank.empty(1, logits.shape, logits.device)
    bank.store(0, as_row(logits, settings), 0)
    return teacher(bank, settings)


def corrupted(taught: Teacher) -> Teacher:
    """Return a confidently wrong teacher: every class replaced by the next one, and the logits multiplied by 10."""
    wrong = (taught.probs.clamp_min(1e-30).log() * _SHARPENING).softmax(-1).roll(1, -1)
    labels = (taught.labels + 1) % wrong.shape[-1]
    return Teacher(wrong, labels, normalised_entropy(wrong), taught.weights)
