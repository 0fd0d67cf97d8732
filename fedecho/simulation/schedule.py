"""Arrivals, round by round, and the model versions that they started from; no torch. `events.draw` makes a schedule."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from fedecho.core.settings import Protocol

SPEED_NAMES = ("fast", "medium", "slow")


@dataclass(frozen=True, order=True)
class Job:
    """One piece of local work, ordered by arrival; times in virtual seconds, versions counted in server rounds."""

    arrived_at: float
    client: int
    base_version: int
    dispatched_at: float
    number: int
    """Index in order of dispatch; with the client it names the job's random streams."""


@dataclass(frozen=True)
class Round:
    """Round t: the M jobs whose arrivals fill the buffer, in order, and who is still at work when it closes."""

    index: int
    arrivals: tuple[Job, ...]
    busy: frozenset[int]

    @property
    def closed_at(self) -> float:
        """Virtual time of the M-th arrival."""
        return self.arrivals[-1].arrived_at

    @property
    def staleness(self) -> tuple[int, ...]:
        """tau = t - s of each arrival, in rounds."""
        return tuple(self.index - job.base_version for job in self.arrivals)


@dataclass(frozen=True)
class Schedule:
    """All T rounds of a run, and the jobs still in flight at its end (those are never trained)."""

    rounds: tuple[Round, ...]
    in_flight: tuple[Job, ...]
    speed_class: tuple[int, ...]
    """0 fast, 1 medium, 2 slow, per client `[clients]`."""

    def uses_of_version(self) -> Counter[int]:
        """Count the arrivals that started from each version: its checkpoint is needed until the last of them."""
        return Counter(job.base_version for rnd in self.rounds for job in rnd.arrivals)

    def statistics(self) -> dict[str, float]:
        """Return tau_avg, tau_max and round_tau_max (mean over rounds of the largest tau), in rounds; virtual_time;
        clients_fast/medium/slow (counts) and arrivals_fast/medium/slow (shares in [0, 1])."""
        taus = np.array([rnd.staleness for rnd in self.rounds])
        arrived = Counter(self.speed_class[job.client] for rnd in self.rounds for job in rnd.arrivals)
        return {
            "tau_avg": float(taus.mean()),
            "tau_max": int(taus.max()),
            "round_tau_max": float(taus.max(axis=1).mean()),
            "virtual_time": self.rounds[-1].closed_at,
            **{f"clients_{name}": self.speed_class.count(k) for k, name in enumerate(SPEED_NAMES)},
            **{f"arrivals_{name}": arrived[k] / taus.size for k, name in enumerate(SPEED_NAMES)},
        }


def synchronous(protocol: Protocol) -> Protocol:
    """Return the protocol of synchronous FedAvg: M clients start together and the server waits for all (M_c = M).

    Rounds and local work equal those of the buffered methods; the virtual time of a round is the longest of its jobs.
    No client starts before the round closes or from an older version.
    """
    return replace(protocol, concurrency=protocol.buffer_size, dispatch="on_flush", delta="sent")


def sequential(protocol: Protocol) -> Protocol:
    """Return the protocol of FedAsync: every arrival is a server step (M = 1), T*M steps for equal local work.

    Each arrival closes a round, so `on_arrival` would be the same: the client that starts is alone and gets the new x.
    """
    steps = protocol.rounds * protocol.buffer_size
    return replace(protocol, buffer_size=1, rounds=steps, dispatch="on_flush", delta="sent")
