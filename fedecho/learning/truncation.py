"""Truncated predictions: some entries as they are, one number for all others, and what that does to the entropy.

Of C entries k are kept: the largest of each row (top-k), or those of the first k classes (a label subset). The number
t / D stands for each of the D = C - k others, t their probability together: the row of largest entropy that has the
kept probabilities.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Holds = Literal["logits", "probabilities"]
"""What an entry is: it decides which number keeps the probability of the classes that were dropped."""
_INDEX_TYPES = (torch.uint8, torch.int16, torch.int32)


def index_type(classes: int) -> torch.dtype:
    """Return the smallest integer type that can name every one of `classes` classes."""
    return next(kind for kind in _INDEX_TYPES if classes - 1 <= torch.iinfo(kind).max)


def largest(rows: Tensor, k: int, holds: Holds = "logits") -> tuple[Tensor, Tensor, Tensor]:
    """Return the k < C largest entries of rows `[..., classes]`, their classes (both `[..., k]`), the tail's number."""
    values, classes = rows.topk(k)
    nothing = -math.inf if holds == "logits" else 0.0
    return values, classes, tail_number(rows.scatter(-1, classes, nothing), rows.shape[-1] - k, holds)


def first(rows: Tensor, m: int, holds: Holds = "logits") -> tuple[Tensor, Tensor]:
    """Return the entries of the first m < C classes of rows `[..., classes]`, and the tail's number."""
    return rows[..., :m].clone(), tail_number(rows[..., m:], rows.shape[-1] - m, holds)


def tail_number(dropped: Tensor, count: int, holds: Holds) -> Tensor:
    """Return the number s `[..., 1]` that keeps the probability of the D = `count` dropped entries `[..., any]`.

    D e^s = sum of e^z over the dropped logits z, or D s = the sum of the dropped probabilities. Kept entries stay as
    they are, so their softmax does too.
    """
    if holds == "logits":
        return dropped.logsumexp(-1, keepdim=True) - math.log(count)
    return dropped.sum(-1, keepdim=True) / count


def rebuilt(parts: tuple[Tensor, ...], classes: int) -> Tensor:
    """Return rows `[..., classes]`: what `largest` or `first` gave, with the tail's number for every other class."""
    if len(parts) == 3:
        values, places, tail = parts
        return tail.expand(*tail.shape[:-1], classes).scatter(-1, places.long(), values)
    values, tail = parts
    return torch.cat([values, tail.expand(*tail.shape[:-1], classes - values.shape[-1])], -1)


# What truncation does to the entropy


def kept_probabilities(parts: tuple[Tensor, ...], classes: int) -> tuple[Tensor, Tensor]:
    """Return the probabilities p `[..., k]` of the kept classes and t `[...]` of all others, of truncated logits."""
    values, tail, dropped = parts[0].double(), parts[-1].double(), classes - parts[0].shape[-1]
    probs = torch.cat([values, tail + math.log(dropped)], -1).softmax(-1)
    return probs[..., :-1], probs[..., -1]


def truncated_entropy(kept: Tensor, tail: Tensor, dropped: int) -> Tensor:
    """Return H~ = -sum_K p log p - t log(t / D) in nats `[...]`, the entropy of a row rebuilt from truncated logits.

    `kept` p `[..., k]`, `tail` t = 1 - sum_K p `[...]`, `dropped` D >= 1; 0 log 0 = 0. No entry of the dropped classes
    is made. H~ >= H: no row with these kept probabilities has more entropy (Jensen).
    """
    entropy: Tensor = torch.special.entr(kept).sum(-1) + torch.special.entr(tail) + tail * math.log(dropped)
    return entropy


def entropy_error_bound(tail: Tensor, dropped: int) -> Tensor:
    """Return t log D in nats `[...]`, the most by which H~ exceeds the entropy H of the row that was truncated.

    With q the distribution of the true row within its dropped classes, H = -sum_K p log p - t log t + t H(q), so that
    H~ - H = t (log D - H(q)) with 0 <= H(q) <= log D: 0 (dropped evenly, or D = 1) to t log D (a single class).

    The bound is one of each row, at temperature 1. Of the mean of many rows, the teacher, this remains:

    * label subset, mean of probabilities: truncating and averaging commute, so it holds with the mean of the rows' t.
    * label subset, mean of logits (the default): only the teacher's tail is known to gain, D e^(mean s) >= sum of
      e^(mean z) over the dropped classes (Hoelder's inequality), by a factor without bound where clients disagree
      within the tail. Of its entropy neither side holds: H~ can be below H, and above it by more than t log D.
    * top-k: what one client keeps another drops; H~ can be below H with either mean.
    """
    return tail * math.log(dropped)
