"""What a run works on: each client's data on the device, the pool U, the held-out data, the model, the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedecho import data as datasets
from fedecho.core.checks import require
from fedecho.core.config import RunConfig
from fedecho.data.pools import mixed
from fedecho.learning import models
from fedecho.learning.client import ClientData, normalise
from fedecho.learning.flat import FlatModel
from fedecho.learning.inputs import Inputs, read_texts, read_tokens
from fedecho.simulation import partition, schedule
from fedecho.simulation.schedule import Schedule

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
