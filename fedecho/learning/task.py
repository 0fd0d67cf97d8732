"""What a run works on: the clients' shards on the device, the pool U, the held-out data, the model, the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedecho.core.config import RunConfig
from fedecho.learning.client import ClientData
from fedecho.learning.evaluation import HeldOut
from fedecho.learning.flat import FlatModel
from fedecho.learning.inputs import read
from fedecho.simulation import partition, schedule
from fedecho.simulation.schedule import Schedule


@dataclass(frozen=True, eq=False)
class Task:
    """A run before its first round."""

    clients: tuple[ClientData, ...]
    pool: Tensor
    """U: images `[pool, channels, height, width]`, or token ids `[pool, length]`."""
    held_out: HeldOut
    model: FlatModel
    plan: Schedule
    facts: dict[str, Any]
    """For the record: statistics of the schedule, sizes of the shards, digest of the data."""
    decode: Callable[[Iterable[int]], str] | None = None
    """Token ids -> text, where the model generates text."""


def prepare(config: RunConfig, device: torch.device, root: Path | None = None) -> Task:
    """Load the data, divide it, draw the schedule and initialise the model; raises `InputError` before any training."""
    inputs = read(config, device, root)
    plan = schedule.draw(config.protocol, config.delays, config.seed)
    shards = partition.divide(inputs.labels, config.partition, plan.speed_class, config.seed, inputs.groups)
    labels, classes = (torch.from_numpy(y.copy()).to(device) for y in (inputs.labels, inputs.held_out_labels))
    targets, scored = inputs.targets or (labels, classes)
    names = len(inputs.facts["classes"])
    return Task(
        clients=tuple(
            ClientData(inputs.train[shard], targets[shard], inputs.padding, inputs.moments) for shard in shards.clients
        ),
        pool=inputs.pool,
        held_out=HeldOut(inputs.held_out, scored, classes, names, inputs.facts.get("vocabulary_size", names)),
        model=FlatModel(inputs.module, config.execution, _full_batches(config)),
        plan=plan,
        facts={**plan.statistics(), **_shard_facts(shards), **inputs.facts},
        decode=inputs.decode,
    )


def _full_batches(config: RunConfig) -> frozenset[int]:
    """Return the sizes of all batches but the last of an epoch or of a pass over U."""
    over_pool = [] if config.distill is None else [min(config.distill.batch_size, config.data.pool_size)]
    return frozenset([config.local.batch_size, *over_pool])


def _shard_facts(shards: partition.Shards) -> dict[str, Any]:
    sizes = [len(shard) for shard in shards.clients]
    return {
        "client_images_min": min(sizes),
        "client_images_median": float(np.median(sizes)),
        "client_images_max": max(sizes),
        "partition_redraws": shards.redraws,
        "straggler_classes": list(shards.straggler_classes),
    }
