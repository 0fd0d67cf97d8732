"""The bytes of tensors that a run holds at its peak, predicted by formula before it starts."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from fedecho.core.checks import is_named
from fedecho.core.config import LORA, MethodConfig, RunConfig
from fedecho.core.settings import Data
from fedecho.learning.bank import block_size
from fedecho.learning.client import cross_entropy
from fedecho.learning.cost import work
from fedecho.learning.cost.work import peak_versions, scored_count, shape_of, train_count
from fedecho.learning.evaluation import PIECE
from fedecho.learning.models.texts import example
from fedecho.simulation import events


def predicted_peak(config: RunConfig) -> dict[str, int]:
    """Return the bytes by holding at the peak: data, model, checkpoints, uploads, state (bank, caches, moments) and
    temporary (activations and gradients, or the copies that an aggregation makes)."""
    parameters, buffers, _ = work.model_size(config.model, config.data)
    known, data = work.predicted_bytes(config), data_bytes(config)
    version = known["checkpoints"] // (config.protocol.concurrency - config.protocol.buffer_size + 1)
    plan = events.draw(config.protocol, config.delays, config.seed)
    averaged = config.method.name == "fedbuff" and getattr(config.method, "ema", None) is not None
    step = step_bytes(config, config.local.batch_size)
    running = {
        "data": sum(data.values()),
        "model": 2 * 4 * (parameters + buffers) + frozen_bytes(config),
        "checkpoints": peak_versions(plan) * version,
        "uploads": known["uploads"],
        "state": known["state"] + averaged * 4 * (parameters + buffers),
        "temporary": max(step, _echo(config), _aggregation(config), _evaluation(config)),
    }
    loading = _loading(config, data)
    return running if sum(running.values()) >= loading else dict.fromkeys(running, 0) | {"data": loading}


@functools.cache
def total(config: RunConfig) -> int:
    """Return the bytes at the peak."""
    return sum(predicted_peak(config).values())


def text(config: RunConfig) -> str:
    """Say the predicted peak in a line."""
    parts = predicted_peak(config)
    return f"predicted peak of tensors: {megabytes(sum(parts.values()))} MB ({listed(parts)})"


def listed(parts: Mapping[str, int]) -> str:
    """Say bytes by name, in MB."""
    return ", ".join(f"{name} {megabytes(size)}" for name, size in parts.items() if size)


def is_known(model: str) -> bool:
    """Tell whether a model's memory is predicted: of one's own, some cannot be traced."""
    return model.startswith(LORA) or not is_named(model)


def megabytes(size: float) -> str:
    """Write bytes as MB = 10^6 bytes."""
    return f"{size / 1e6:,.0f}" if size >= 1e7 else f"{size / 1e6:.1f}"


def data_bytes(config: RunConfig) -> dict[str, int]:
    """Return the bytes of the clients' images, the held-out ones and U; client images stay bytes where crops are
    taken of them, and so do labels at 8 bytes each. Tokens to be predicted count as labels."""
    pixels = _numbers(config)
    label = 8 * _shape(config)[1] if config.data.task == "generation" else 8
    return {
        "clients": train_count(config) * (pixels * (1 if config.local.augment else 4) + label),
        "held out": scored_count(config) * (4 * pixels + label),
        "U": config.data.pool_size * 4 * pixels,
    }


def _shape(config: RunConfig) -> tuple[int, ...]:
    return shape_of(config.model, config.data)[0]


def _numbers(config: RunConfig) -> int:
    """Return the numbers of 4 bytes in an image, or in a text as long as the context, whose ids take 8 bytes each."""
    shape = _shape(config)
    return 2 * shape[1] if len(shape) == 2 else math.prod(shape)


def frozen_bytes(config: RunConfig) -> int:
    """Return the bytes of the parameters that are never trained, which a process holds once."""
    module = work.outline(config.model, config.data)
    return sum(4 * p.numel() for p in module.parameters() if not p.requires_grad)


def _loading(config: RunConfig, data: dict[str, int]) -> int:
    """Return the peak while the data are made ready: each array beside a copy of itself."""
    colour = _shape(config)[0] > 1  # planes of one channel need no copy
    peak = sum(data.values()) + data["clients"]
    before = 0
    for size in data.values():
        peak = max(peak, before + 2 * size + colour * size // 4)
        before += size
    return peak if not config.local.augment else max(peak, before + data["clients"])


def _echo(config: RunConfig) -> int:
    """Return the most that FedEcho makes for a while: a row's logits by batches and whole; the teacher, its mean in
    float64 taken block by block, or the block's rows twice where they are sorted; the teacher (probabilities, labels,
    entropies) beside a step of distillation."""
    if config.distill is None:
        return 0
    (rows, classes), pool = work.predictions(config), config.data.pool_size
    entries, batch = rows * classes, min(int(config.distill.batch_size), pool)
    block = min(block_size(config.protocol.clients, entries // pool), pool) * entries // pool
    losses = 12 * batch * entries // pool  # the teacher's part, the logits, the second log-softmax
    distilling = 4 * entries + 16 * rows + losses + step_bytes(config, batch)
    copies = (
        (6 if config.distill.bank_dtype == "float16" else 8) * config.protocol.clients if config.distill.trim else 8
    )
    return max(8 * entries, 4 * entries + copies * block, distilling)


def _evaluation(config: RunConfig) -> int:
    """Return the bytes of a piece's logits and their log-probabilities, where a text has many; else they are few."""
    (vocabulary, context), tokens = _shape(config)[:2], config.data.task == "generation"
    return tokens * 2 * 4 * max(PIECE, context * vocabulary)


def _aggregation(config: RunConfig) -> int:
    """Return the bytes of the vectors that a server step makes: the stacked updates, and what each method adds."""
    buffered, (parameters, _, _) = config.protocol.buffer_size, work.model_size(config.model, config.data)
    inner = getattr(config.method, "inner", None)
    method = inner if isinstance(inner, MethodConfig) else config.method
    extra = {
        "area": 2 * buffered + 2, "adamasfl": buffered + 5, "ca2fl": buffered + 4, "fadas": 7,
        "fedac": 2 * buffered + 6, "fedstaleasync": buffered + 4,
    }.get(method.name, 3)  # fmt: skip
    return (buffered + extra) * 4 * parameters


def step_bytes(config: RunConfig, batch: int) -> int:
    """Return the bytes of one training step: saved activations and the gradients under way, or all gradients twice."""
    saved, largest = activations(config.model, config.data)
    half = 2 if config.execution.autocast == "bfloat16" else 1
    parameters = work.model_size(config.model, config.data)[0]
    under_way = batch * (saved + 2 * largest) // half
    images = batch * 4 * _numbers(config)
    return max(under_way, 2 * 4 * parameters) + images


@functools.cache
def activations(model: str, data: Data) -> tuple[int, int]:
    """Return the bytes an image that a forward pass saves for the backward one, in all and by the largest tensor."""
    module, batch, seen = work.outline(model, data).train(), 8, dict[int, int]()
    own = {t.untyped_storage()._cdata for t in [*module.parameters(), *module.buffers()]}

    def note(tensor: Tensor) -> Tensor:
        """Note the bytes of each saved tensor's storage once, without the model's own."""
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            seen[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = module(example(shape_of(model, data)[0], batch, "meta"))
        cross_entropy(out, torch.zeros(out.shape[:-1], dtype=torch.long, device="meta"))
    return sum(seen.values()) // batch, max(seen.values()) // batch
