"""The bank: the last prediction of every client on the pool U, whole or by its largest entries, and their sum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedecho.config import require

_CANCELS = 1e8
"""Rows above this leave fewer than 8 digits of the others in a float64 sum."""
_INDEX_TYPES = (torch.uint8, torch.int16, torch.int32)


@dataclass(frozen=True, eq=False)
class Bank:
    """The last prediction of every client on U, and their running sum; updated in place."""

    parts: tuple[Tensor, ...]
    """Y in one part `[clients, pool, ..., classes]`, or in three: the k largest entries of each prediction
    `[clients, pool, ..., k]`, their classes `[clients, pool, ..., k]`, and the one number that stands for every other
    class `[clients, pool, ..., 1]`. A classifier predicts once an input; axes between are places in a text."""
    total: Tensor
    """Sum of the rows `[pool, ..., classes]`, in float64 so that additions and removals cancel to the last digits."""
    uploaded: Tensor
    """Round of each client's last upload `[clients]`; -1 before its first."""
    holds: Literal["logits", "probabilities"] = "logits"
    """What an entry is: it decides which number keeps the probability of the classes that were dropped."""

    @staticmethod
    def empty(
        clients: int,
        shape: tuple[int, ...],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        top_k: int | None = None,
        holds: Literal["logits", "probabilities"] = "logits",
    ) -> Bank:
        """Return a bank without any row; `shape` is that of one client's, `(pool, ..., classes)`.

        Raises `InputError` for `top_k` outside 1..classes.
        """
        *leading, classes = shape
        fits = top_k is None or 1 <= top_k <= classes
        require(fits, "bank_top_k", top_k, f"give 1 to {classes}, the number of classes, or none")
        kinds = [(classes, dtype)]
        if top_k is not None and top_k < classes:  # with k = C nothing is dropped, and indices would only cost bytes
            kinds = [(top_k, dtype), (top_k, index_type(classes)), (1, dtype)]
        return Bank(
            tuple(torch.zeros(clients, *leading, width, device=device, dtype=kind) for width, kind in kinds),
            torch.zeros(shape, device=device, dtype=torch.float64),
            torch.full((clients,), -1, dtype=torch.long),
            holds,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the stored entries."""
        return self.parts[0].dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all rows: N R C b, or N R (k (b + i) + b): R predictions a row, b bytes an entry, i an index."""
        return sum(part.nbytes for part in self.parts)

    def store(self, client: int, row: Tensor, round_index: int) -> None:
        """Put `row` `[pool, ..., classes]` in the place of the client's last one, at a cost independent of N."""
        new, last = self._packed(row), self._unpacked(tuple(part[client] for part in self.parts))
        huge = bool(last.abs().max() > _CANCELS)
        self.total.add_(self._unpacked(new)).sub_(last)
        for part, piece in zip(self.parts, new, strict=True):
            part[client] = piece
        if huge:  # beside such a row the others had been rounded away
            self.total.copy_(self.dense().sum(0, dtype=self.total.dtype))
        self.uploaded[client] = round_index

    def seen(self) -> Tensor:
        """Tell which clients have uploaded, as booleans `[clients]`."""
        return self.uploaded >= 0

    def dense(self) -> Tensor:
        """Return all rows `[clients, pool, ..., classes]`; those of a top-k bank are rebuilt, others not copied."""
        return self._unpacked(self.parts)

    def _packed(self, row: Tensor) -> tuple[Tensor, ...]:
        """Split a row into what is stored of it.

        The tail's number t keeps the row's probability: (C - k) e^t = sum of e^z over the dropped logits z, or
        (C - k) t = the sum of the dropped probabilities. Kept entries stay as they are, so their softmax does too.
        """
        if len(self.parts) == 1:
            return (row.to(self.dtype),)
        values, classes = row.topk(self.parts[0].shape[-1])
        dropped = row.shape[-1] - values.shape[-1]
        if self.holds == "logits":
            tail = row.scatter(-1, classes, -math.inf).logsumexp(-1, keepdim=True) - math.log(dropped)
        else:
            tail = row.scatter(-1, classes, 0.0).sum(-1, keepdim=True) / dropped
        return values.to(self.dtype), classes.to(self.parts[1].dtype), tail.to(self.dtype)

    def _unpacked(self, parts: tuple[Tensor, ...]) -> Tensor:
        """Return rows `[..., classes]` from their parts."""
        if len(parts) == 1:
            return parts[0]
        values, classes, tail = parts
        return tail.expand(*tail.shape[:-1], self.total.shape[-1]).scatter(-1, classes.long(), values)


def index_type(classes: int) -> torch.dtype:
    """Return the smallest integer type that can name every one of `classes` classes."""
    return next(kind for kind in _INDEX_TYPES if classes - 1 <= torch.iinfo(kind).max)


def bank_average(bank: Bank, weights: Tensor | None) -> Tensor:
    """Return the mean row `[pool, ..., classes]`: over all clients seen, or with `weights` `[clients]`."""
    if weights is None:
        return (bank.total / bank.seen().sum()).float()
    return torch.einsum("n,n...->...", (weights / weights.sum()).to(bank.total.device), bank.dense().float())
