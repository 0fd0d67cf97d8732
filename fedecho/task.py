"""What a run works on: each client's data on the device, the pool U, the held-out data, the model, the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fedecho import data as datasets
from fedecho import models, partition, schedule
from fedecho.config import RunConfig, require
from fedecho.data.pools import mixed
from fedecho.distill import predict
from fedecho.flat import FlatModel, Weights
from fedecho.inputs import Inputs, read_texts, read_tokens
from fedecho.local import ClientData, normalise
from fedecho.schedule import Schedule

_MOMENTS = {
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


@dataclass(frozen=True, eq=False)
class Task:
    """A run before its first round."""

    clients: tuple[ClientData, ...]
    pool: Tensor
    """U: images `[pool, channels, height, width]`, or token ids `[pool, length]`."""
    held_out: ClientData
    """What the server's model is scored on."""
    classes: Tensor
    """The class of each held-out image or text, or the novel of each block of tokens `[held out]`."""
    model: FlatModel
    plan: Schedule
    facts: dict[str, Any]
    """For the record: statistics of the schedule, sizes of the shards, digest of the data."""
    decode: Callable[[Iterable[int]], str] | None = None
    """Token ids -> text, where the model writes text."""


def prepare(config: RunConfig, device: torch.device, root: Path | None = None) -> Task:
    """Load the data, divide it, draw the schedule and initialise the model; raises `InputError` before any training."""
    inputs = _reader(config)(config, device, root)
    plan = schedule.draw(config.protocol, config.delays, config.seed)
    shards = partition.divide(inputs.labels, config.partition, plan.speed_class, config.seed, inputs.groups)
    labels, classes = (torch.from_numpy(y.copy()).to(device) for y in (inputs.labels, inputs.held_out_labels))
    targets, scored = inputs.targets or (labels, classes)
    return Task(
        clients=tuple(
            ClientData(inputs.train[shard], targets[shard], inputs.padding, inputs.moments) for shard in shards.clients
        ),
        pool=inputs.pool,
        held_out=ClientData(inputs.held_out, scored, inputs.padding),
        classes=classes,
        model=FlatModel(inputs.module, config.execution, _full_batches(config)),
        plan=plan,
        facts={**plan.statistics(), **_shard_facts(shards), **inputs.facts},
        decode=inputs.decode,
    )


def _full_batches(config: RunConfig) -> frozenset[int]:
    """Return the sizes of all batches but the last of an epoch or of a pass over U."""
    distill = getattr(config.method, "distill", None)
    over_pool = [] if distill is None else [min(distill.batch_size, config.data.pool_size)]
    return frozenset([config.local.batch_size, *over_pool])


def _reader(config: RunConfig) -> Callable[[RunConfig, torch.device, Path | None], Inputs]:
    if config.data.task == "generation":
        return read_tokens
    return read_texts if config.data.name in datasets.TEXTS else _read_images


def _read_images(config: RunConfig, device: torch.device, root: Path | None) -> Inputs:
    """Return the images of a data set and its pool, normalised and past the model's stem unless crops come first."""
    splits = datasets.load(config.data.name, root)
    if config.data.validation_size and splits.validation is None:
        splits = datasets.carve(splits, validation=config.data.validation_size, pool=0)
    train, scored = splits.train, _scored_split(splits, config)
    count = config.data.train_size or len(train.images)
    require(count <= len(train.images), "train_size", count, f"{splits.name} has {len(train.images)} client images")
    assert train.labels is not None and scored.labels is not None
    labels = train.labels[:count]
    images = _planes(train.images[:count], device)
    mean, std = (torch.tensor(m).view(1, -1, 1, 1).to(device) for m in _MOMENTS[config.data.name])
    shape = (images.shape[1], images.shape[2], images.shape[3])
    module = models.build(config.model, shape, len(splits.classes), config.seed).to(device)
    stem: nn.Module = nn.Identity()
    if not config.local.augment:  # crops must come before the stem
        stem, module = models.split_stem(module)
        images = stem(normalise(images, mean, std))
    padding, moments = images.new_zeros(shape[0]), (mean, std) if config.local.augment else None
    held_out, pool = (
        stem(normalise(_planes(part, device), mean, std))
        for part in (scored.images, _pool_images(splits, config, root))
    )
    facts = {"data_digest": splits.digest, "classes": list(splits.classes)}
    return Inputs(images, labels, held_out, scored.labels, pool, module, padding, moments, facts)


def _scored_split(splits: datasets.Splits, config: RunConfig) -> datasets.Images:
    split = splits.test if config.evaluation.split == "test" else splits.validation
    require(
        split is not None,
        "split",
        config.evaluation.split,
        f"{splits.name} has no validation split of its own; set data.validation_size",
    )
    assert split is not None
    return split


def _pool_images(splits: datasets.Splits, config: RunConfig, root: Path | None) -> NDArray[np.uint8]:
    """Return the first |U| images of the pool in canonical order, mixed where asked."""
    size, shape = config.data.pool_size, splits.train.images.shape[1:]
    if config.data.pool == "held-out":
        source = splits.pool
    else:
        source = datasets.load_unlabeled(config.data.pool, root, count=size, shape=(shape[0], shape[1], shape[2]))
    require(source is not None, "pool", config.data.pool, f"{splits.name} has no held-out pool; name another data set")
    assert source is not None
    require(size <= len(source.images), "pool_size", size, f"the pool has {len(source.images)} images")
    require(
        source.images.shape[1:] == shape,
        "pool",
        config.data.pool,
        f"its images are {source.images.shape[1:]}, those of {splits.name} {shape}",
    )
    return mixed(source.images[:size], config.data.pool_mix)


def _planes(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return bytes `[images, height, width, channels]` as `[images, channels, height, width]` on the device."""
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).contiguous().to(device)


def _shard_facts(shards: partition.Shards) -> dict[str, Any]:
    sizes = [len(shard) for shard in shards.clients]
    return {
        "client_images_min": min(sizes),
        "client_images_median": float(np.median(sizes)),
        "client_images_max": max(sizes),
        "partition_redraws": shards.redraws,
        "straggler_classes": list(shards.straggler_classes),
    }


def evaluate(task: Task, weights: Weights) -> dict[str, Any]:
    """Return accuracy in [0, 1], loss in nats and per-class accuracies of one version on the held-out images.

    Of a model that predicts tokens: the same over all of them (its perplexity is e^loss), the classes being novels.
    """
    if task.decode is not None:
        return _evaluate_tokens(task, weights)
    labels = task.held_out.labels
    logits = predict(task.model, weights, task.held_out.images, task.model.execution.inference_batch)
    correct = (logits.argmax(-1) == labels).double()
    return {
        "accuracy": float(correct.mean()),
        "loss": float(F.cross_entropy(logits, labels)),
        "per_class": _by_class(correct, labels, logits.shape[-1]),
    }


PIECE = 2**20
"""Logits of held-out tokens looked at together, 4 MB: all of them would be gigabytes, and these fit a cache."""


@torch.no_grad()
def _evaluate_tokens(task: Task, weights: Weights) -> dict[str, Any]:
    data, vocabulary = task.held_out, task.facts["vocabulary_size"]
    task.model.load(weights)
    task.model.module.eval()
    texts = max(1, PIECE // (data.images.shape[1] * vocabulary))
    pieces = zip(torch.split(data.images, texts), torch.split(data.labels, texts), strict=True)
    scores = [_score(task.model.logits(ids), targets) for ids, targets in pieces]
    log_probs, hits = (torch.cat(parts) for parts in zip(*scores, strict=True))
    losses = [_mean_loss(batch) * len(batch) for batch in torch.split(log_probs, task.model.execution.inference_batch)]
    correct = hits.double().mean(1)
    return {
        "accuracy": float(correct.mean()),
        "loss": float(torch.stack(losses).sum() / len(data.labels)),
        "per_class": _by_class(correct, task.classes, len(task.facts["classes"])),
    }


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


def _by_class(correct: Tensor, classes: Tensor, count: int) -> list[float]:
    """Return the mean of `correct` `[images]` over the images of each class."""
    total = torch.bincount(classes, weights=correct, minlength=count)
    means: list[float] = (total / torch.bincount(classes, minlength=count)).tolist()
    return means
