"""Who reports in each round, and from which version: from the library's event loop, or independent as theorems assume.

A client of the schedule is a place; each trajectory assigns the objectives to the places independently, so that those
of a batch see other clients in the same places while they share delays (and methods see the one schedule that they are
made for).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedecho.core.checks import Checked, Count, Natural, Positive, require
from fedecho.core.rng import stream
from fedecho.core.settings import Delays, Protocol
from fedecho.simulation import events
from fedecho.simulation.schedule import SPEED_NAMES
from fedecho.theory.objectives import Objective, extremity


@dataclass(frozen=True)
class Arrivals(Checked):
    """The law of who arrives when."""

    kind: Literal["event loop", "independent"] = "event loop"
    """`event loop`: `events.draw`. `independent`: every arrival is drawn anew (the theorem's Assumption 4.4)."""
    clients: Count = 2000
    """N places; many more than are at work, so that arrivals of an event loop are nearly independent too."""
    per_buffer: Count = 4
    """event loop: clients at work for each place in the buffer, M_c = per_buffer * M; tau_avg = per_buffer - 1."""
    delays: Delays = field(default_factory=lambda: Delays("uniform"))
    """event loop: how long a job takes; `uniform` = all clients equally fast."""
    tau_max: Natural = 10
    """independent: staleness is uniform on 0..tau_max, in rounds."""
    tau_avg: float | None = None
    """independent: staleness is tau_max with probability tau_avg / tau_max and 0 otherwise."""
    bias: Positive = 1.0
    """independent: how many times as often the first half of the places arrive as the second. With many more places
    than objectives every objective has both kinds, and nothing is biased."""
    dealt: Literal["random", "slow high", "slow low"] = "random"
    """Objectives are assigned to the places at random, or so that the slowest get those that stand out at one end of
    the widest direction (adversarial)."""

    def validate(self) -> None:
        """Check tau_avg <= tau_max."""
        average = self.tau_avg is None or 0 <= self.tau_avg <= self.tau_max
        require(average, "tau_avg", self.tau_avg, f"give rounds in [0, tau_max] = [0, {self.tau_max}], or none")


@dataclass(frozen=True, eq=False)
class Order:
    """Arrivals of T rounds of M: `client` and `base` `[T, M]` (place and version), and each place's speed `[N]`."""

    client: NDArray[np.int64]
    base: NDArray[np.int64]
    speed: tuple[int, ...]

    def first(self, rounds: int) -> Order:
        """Return the first rounds: nothing later has any influence on them."""
        return Order(self.client[:rounds], self.base[:rounds], self.speed)

    @property
    def staleness(self) -> NDArray[np.int64]:
        """tau `[T, M]`, in rounds."""
        return np.arange(len(self.base))[:, None] - self.base

    def shares(self, since: int = 0) -> NDArray[np.float64]:
        """Return each place's share of the arrivals `[N]` from a round on."""
        counts = np.bincount(self.client[since:].ravel(), minlength=len(self.speed))
        return np.asarray(counts / counts.sum(), dtype=np.float64)

    def statistics(self) -> dict[str, float]:
        """Return tau_avg and tau_max in rounds, and the share in [0, 1] of arrivals by speed."""
        shares, speed = self.shares(), np.array(self.speed)
        by_speed = {f"arrivals_{name}": float(shares[speed == k].sum()) for k, name in enumerate(SPEED_NAMES)}
        return {"tau_avg": float(self.staleness.mean()), "tau_max": float(self.staleness.max()), **by_speed}


@functools.lru_cache(maxsize=32)
def draw(law: Arrivals, rounds: int, buffer: int, seed: int) -> Order:
    """Draw T rounds of M arrivals; with more rounds the first ones stay what they were."""
    if law.kind == "event loop":
        protocol = Protocol(law.clients, law.per_buffer * buffer, buffer, rounds)
        plan = events.draw(protocol, law.delays, seed)
        jobs = [[(job.client, job.base_version) for job in rnd.arrivals] for rnd in plan.rounds]
        client, base = np.moveaxis(np.array(jobs), -1, 0)
        return Order(client, base, plan.speed_class)
    who, late = stream(seed, "theory-clients", buffer), stream(seed, "theory-staleness", buffer)
    weights = np.where(2 * np.arange(law.clients) < law.clients, law.bias, 1.0)
    uniform = who.random((rounds, buffer))
    client = np.searchsorted(np.cumsum(weights) / weights.sum(), uniform, side="right")
    if law.tau_avg is None:
        tau = late.integers(0, law.tau_max + 1, (rounds, buffer))
    else:
        tau = law.tau_max * (late.random((rounds, buffer)) * law.tau_max < law.tau_avg)
    base = np.maximum(np.arange(rounds)[:, None] - tau, 0)
    return Order(client, base, tuple(np.where(weights == weights.max(), 0, 2).tolist()))


def assign(law: Arrivals, order: Order, objective: Objective, trajectories: int, seed: int) -> Tensor:
    """Return the objective of each place in each trajectory `[trajectories, N]`: each equally often, up to 1."""
    rng = stream(seed, "theory-deal")
    objectives = np.arange(len(order.speed)) % objective.count
    if law.dealt == "random":
        return torch.from_numpy(np.stack([rng.permutation(objectives) for _ in range(trajectories)]))
    ends = extremity(objective).numpy() * (1 if law.dealt == "slow high" else -1)
    outstanding = np.argsort(ends, kind="stable")
    # Equally slow places are put in another order in each trajectory.
    orders = [np.lexsort((rng.random(len(objectives)), np.array(order.speed))) for _ in range(trajectories)]
    ranks = np.empty((trajectories, len(objectives)), dtype=np.int64)
    for row, places in zip(ranks, orders, strict=True):
        row[places] = np.sort(np.argsort(outstanding)[objectives])
    return torch.from_numpy(outstanding)[torch.from_numpy(ranks)]
