"""Clients that lie or fail, for stress tests: the same ones throughout a run, whatever the method and the schedule.

With C classes and the update Delta_i that a client would honestly send, a faulty one

* **flipped labels**: trains on C - 1 - y in place of its labels y, as Fang et al. do (arXiv 1911.11815);
* **noise**: sends `s |Delta_i| z / |z|` with z ~ N(0, I): of any norm, but without a direction;
* **scaled**: sends s Delta_i: for s < 0 the sign-flipping attack of Li et al. (arXiv 1811.03761).

The statistics of BatchNorm and the number of steps that it sends are honest.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fedecho.core.config import RunConfig
from fedecho.core.rng import stream
from fedecho.core.settings import Faults
from fedecho.learning.client import ClientData


def faulty(config: RunConfig) -> frozenset[int]:
    """Return the clients that are faulty: the first ones of a random order of all N, so that those of a smaller share
    are among those of a larger one."""
    order = stream(config.seed, "faulty clients").permutation(config.protocol.clients)
    return frozenset(order[: config.faults.count(config.protocol.clients)].tolist())


def trained_on(data: ClientData, faults: Faults, outcomes: int) -> ClientData:
    """Return what a faulty client trains on; `outcomes` = C."""
    return replace(data, labels=outcomes - 1 - data.labels) if faults.kind == "flipped labels" else data


def sent(change: Tensor, faults: Faults, rng_key: tuple[int, int, int]) -> Tensor:
    """Return what a faulty client sends in place of Delta_i, or of its mean gradient, `[P]`; `rng_key` = (seed, client,
    job)."""
    match faults.kind:
        case "scaled":
            return faults.scale * change
        case "noise":
            noise = stream(rng_key[0], "noise of a faulty client", *rng_key[1:]).standard_normal(len(change))
            direction = torch.from_numpy(noise).to(change)
            noisy: Tensor = (faults.scale * change.norm() / direction.norm()) * direction
            return noisy
    return change
