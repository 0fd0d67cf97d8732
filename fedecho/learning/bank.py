"""The bank: every client's latest predictions on the pool U, full or truncated, and their sum.

A truncated prediction keeps k of its C entries: the k largest (top-k), or those of the first k classes (a label
subset). Each of the D = C - k others is replaced by t / D, where t is their total probability. Of all predictions with
the same kept probabilities, this is the one with the largest entropy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from fedecho.core.checks import require
from fedecho.learning.echo_settings import Distillation

Holds = Literal["logits", "probabilities"]
"""What the entries are; determines which number preserves the probability of the dropped classes (`tail_number`)."""

_CANCELS = 1e8
"""Rows above this leave fewer than 8 digits of the others in a float64 sum."""
_BLOCK = 2**25
"""Number of entries, over all clients' rows, that are rebuilt at a time: 134 MB in float32."""
DTYPES = {"float32": torch.float32, "float16": torch.float16}
"""Names of the precisions that rows are kept in."""
_INDEX_TYPES = (torch.uint8, torch.int16, torch.int32)
_WHOLE = Distillation()


@dataclass(frozen=True, eq=False)
class Bank:
    """Every client's latest predictions on U (its row), and the running sum of the rows; updated in place.

    A classifier makes one prediction per input; for text, axes between the pool and the classes are positions.
    Truncation shrinks the N rows but never the sum, which has an entry for every class (see `total`).
    """

    parts: tuple[Tensor, ...]
    """Y as tensors `[clients, pool, ..., width]`. Full rows: one part. First m classes: their entries (width m) and
    the tail number that replaces every other class (1). Top-k: the entries (k), their classes (k) and the tail
    number (1)."""
    total: Tensor
    """Sum of the rows `[pool, ..., classes]`, in float64 so that additions and removals cancel to the last digits."""
    uploaded: Tensor
    """Round of each client's last upload `[clients]`; -1 before its first."""
    holds: Holds = "logits"

    @staticmethod
    def empty(clients: int, shape: tuple[int, ...], device: torch.device, settings: Distillation = _WHOLE) -> Bank:
        """Return a bank without rows, in the form that `settings` specify.

        `shape` is that of one client's row, `(pool, ..., classes)`. Raises `InputError` if more entries are to be kept
        than there are classes.
        """
        *leading, classes = shape
        for name in ("bank_top_k", "bank_labels"):
            kept = getattr(settings, name)
            require(kept is None or kept <= classes, name, kept, f"give 1 to {classes}, the number of classes, or none")
        widths, new = _widths(classes, settings), functools.partial(torch.zeros, device=device)
        parts = tuple(new(clients, *leading, width, dtype=kind) for width, kind in widths)
        uploaded = torch.full((clients,), -1, dtype=torch.long)
        return Bank(parts, new(shape, dtype=torch.float64), uploaded, settings.average)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the stored entries."""
        return self.parts[0].dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, N R `row_bytes` with R predictions a row."""
        return sum(part.nbytes for part in self.parts)

    def pack(self, row: Tensor) -> tuple[Tensor, ...]:
        """Return a row `[pool, ..., classes]` in stored form, as parts `[pool, ..., width]`."""
        if len(self.parts) == 1:
            return (row.to(self.dtype),)
        pieces = [self._truncated(piece) for piece in torch.split(row, self._texts)]
        return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))

    def can_keep(self, row: Tensor) -> bool:
        """Tell whether every entry of a row is finite in the bank's precision."""
        return all(_finite(piece.to(self.dtype)) for piece in torch.split(row, self._texts))

    def store(self, client: int, row: Tensor, round_index: int) -> None:
        """Replace the client's row with `row` `[pool, ..., classes]`, at a cost independent of N."""
        self.put(client, self.pack(row), round_index)

    def put(self, client: int, packed: tuple[Tensor, ...], round_index: int) -> None:
        """Store a row that `pack` returned."""
        pieces = zip(*(torch.split(part, self._texts) for part in packed), strict=True)
        for block, piece in zip(self.blocks(), pieces, strict=True):
            block._overwrite(client, piece)
        self.uploaded[client] = round_index

    def seen(self) -> Tensor:
        """Tell which clients have uploaded, as booleans `[clients]`."""
        return self.uploaded >= 0

    def dense(self) -> Tensor:
        """Return all rows `[clients, pool, ..., classes]`; truncated rows are rebuilt, full rows are not copied."""
        return self._unpack(self.parts)

    def row(self, client: int) -> Tensor:
        """Return a client's row `[pool, ..., classes]` as `dense` has it."""
        return self._unpack(tuple(part[client] for part in self.parts))

    def blocks(self) -> Iterator[Bank]:
        """Yield views of this bank over pieces of the pool, small enough to rebuild their rows in little memory."""
        if self._texts >= len(self.total):
            yield self
            return
        for start in range(0, len(self.total), self._texts):
            piece = slice(start, start + self._texts)
            yield replace(self, parts=tuple(part[:, piece] for part in self.parts), total=self.total[piece])

    @property
    def _texts(self) -> int:
        return block_size(len(self.uploaded), self.total[0].numel())

    def _overwrite(self, client: int, new: tuple[Tensor, ...]) -> None:
        last = tuple(part[client] for part in self.parts)
        ends = [float(end) for part in last if part.is_floating_point() for end in part.aminmax()]
        self.total.add_(self._unpack(new)).sub_(self._unpack(last))
        for part, piece in zip(self.parts, new, strict=True):
            part[client] = piece
        if max(map(abs, ends)) > _CANCELS:  # the old row was so large that it rounded the others away
            self.total.copy_(self.dense().sum(0, dtype=self.total.dtype))

    def _truncated(self, row: Tensor) -> tuple[Tensor, ...]:
        cut = first if len(self.parts) == 2 else largest
        kept = cut(row, self.parts[0].shape[-1], self.holds)
        return tuple(piece.to(part.dtype) for piece, part in zip(kept, self.parts, strict=True))

    def _unpack(self, parts: tuple[Tensor, ...]) -> Tensor:
        return parts[0] if len(parts) == 1 else rebuilt(parts, self.total.shape[-1])


def _finite(entries: Tensor) -> bool:
    # One fast pass: a finite sum has finite terms. If it is not finite, large finite terms may have overflowed.
    return bool(torch.isfinite(entries.sum(dtype=torch.float32))) or bool(torch.isfinite(entries).all())


def block_size(clients: int, entries: int) -> int:
    """Return the number of pool inputs per block; each input has `entries` entries in a client's row."""
    return max(1, _BLOCK // (clients * entries))


def row_bytes(classes: int, settings: Distillation) -> int:
    """Return the bytes of one prediction in the bank: C b; m b + b for the first m classes; k (b + i) + b for the
    largest k; with b bytes an entry and i an index."""
    return sum(width * kind.itemsize for width, kind in _widths(classes, settings))


def _widths(classes: int, settings: Distillation) -> list[tuple[int, torch.dtype]]:
    """Return the width and dtype of each part; if nothing is dropped, no indices and no tail are stored."""
    dtype, top_k, labels = DTYPES[settings.bank_dtype], settings.bank_top_k, settings.bank_labels
    if top_k is not None and top_k < classes:
        return [(top_k, dtype), (top_k, index_type(classes)), (1, dtype)]
    if labels is not None and labels < classes:
        return [(labels, dtype), (1, dtype)]
    return [(classes, dtype)]


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
    """Return the number s `[..., 1]` that preserves the probability of the D = `count` dropped entries `[..., any]`.

    D e^s = sum of e^z over the dropped logits z, or D s = the sum of the dropped probabilities. Kept entries do
    not change, nor does their softmax; the prediction's entropy grows by 0 (dropped entries equal) to t log D nats (all
    on one class). For a teacher, the mean of many rows, this holds only for probabilities of a label subset.
    """
    if holds == "logits":
        return dropped.logsumexp(-1, keepdim=True) - math.log(count)
    return dropped.sum(-1, keepdim=True) / count


def rebuilt(parts: tuple[Tensor, ...], classes: int) -> Tensor:
    """Return rows `[..., classes]`: what `largest` or `first` gave, with the tail's number for every other class."""
    values, tail = parts[0], parts[-1]
    if len(parts) == 3:
        return tail.expand(*tail.shape[:-1], classes).scatter(-1, parts[1].long(), values)
    return torch.cat([values, tail.expand(*tail.shape[:-1], classes - values.shape[-1])], -1)


def bank_average(bank: Bank, weights: Tensor | None) -> Tensor:
    """Return the mean row `[pool, ..., classes]`: over all clients seen, or with `weights` `[clients]`."""
    if weights is None:
        return (bank.total / bank.seen().sum()).float()
    return mean_over(weights, bank.dense().float())


def trimmed_mean(rows: Tensor, trim: float) -> Tensor:
    r"""Return the coordinate-wise trimmed mean `[...]` of `rows` `[n, ...]` (Yin et al., ICML 2018, arXiv 1803.01498).

    .. math:: \frac{1}{n - 2k} \sum_{j = k + 1}^{n - k} y_{(j)}, \qquad
              k = \min(\lfloor \beta n \rfloor, \lceil n / 2 \rceil - 1)

    y_(j): the entries in order of size; beta = `trim` in [0, 0.5], at 0.5 the median. It has no running sum: each
    round takes O(n log n) comparisons per entry and two copies of the rows, one piece of the pool at a time.
    """
    cut = min(int(trim * len(rows)), (len(rows) - 1) // 2)
    ordered = rows.to(torch.float32, copy=True)
    if ordered.is_cuda:
        ordered = ordered.sort(0).values
    else:  # same values as torch, nine times as fast, and in place
        ordered.numpy().sort(0)
    return ordered[cut : len(rows) - cut].mean(0)


def mean_over(weights: Tensor, rows: Tensor) -> Tensor:
    """Return the weighted mean `[...]` of `rows` `[clients, ...]`, with `weights` `[clients]` up to a factor."""
    return torch.einsum("n,n...->...", (weights / weights.sum()).to(rows), rows)
