"""What a run works on: the clients' shards on the device, the pool U, the held-out data, the model, the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedecho.core.config import RunConfig
from fedecho.learning import faults
from fedecho.learning.client import ClientData
from fedecho.learning.evaluation import HeldOut
from fedecho.learning.flat import FlatModel
from fedecho.learning.inputs import read
from fedecho.simulation import events, partition
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
    faulty: frozenset[int] = frozenset()
    """Clients that lie or fail."""


def prepare(config: RunConfig, device: torch.device, root: Path | None = None) -> Task:
    """Load the data, divide it, draw the schedule and initialise the model; raises `InputError` before any training."""
    inputs = read(config, device, root)
    plan = events.draw(config.protocol, config.delays, config.seed)
    shards = partition.divide(inputs.classes, config.partition, plan.speed_class, config.seed, inputs.groups)
    held, labels, wrong = inputs.clients, inputs.clients.labels, faults.faulty(config)
    clients = [replace(held, images=held.images[s], labels=labels[s]) for s in shards.clients]
    facts = {**plan.statistics(), **_shard_facts(shards), **inputs.facts}
    for client in wrong:
        clients[client] = faults.trained_on(clients[client], config.faults, inputs.held_out.outcomes)
    return Task(
        clients=tuple(clients),
        pool=inputs.pool,
        held_out=inputs.held_out,
        model=FlatModel(inputs.module, config.execution, _full_batches(config)),
        plan=plan,
        facts=facts | ({"faulty": sorted(wrong)} if wrong else {}),
        decode=inputs.decode,
        faulty=wrong,
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
