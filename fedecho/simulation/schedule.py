"""Discrete-event simulation of the arrivals and the model versions that they started from; no torch.

Delays do not depend on the model, so the whole schedule is drawn before any training. The default protocol is the loop
of the official FADAS simulator: M_c clients are busy; the round closes at the M-th arrival; M clients drawn uniformly
from the idle ones then start from the new version. Conservation: the mean staleness is M_c/M - 1, whatever the delays.
"""

from __future__ import annotations

import bisect
import heapq
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from fedecho.core.rng import stream
from fedecho.core.settings import Delays, Protocol
from fedecho.simulation.delays import SPEED_NAMES, JobTime, job_times, speed_classes


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


@dataclass
class _Simulator:
    """The state of the event loop: a heap of jobs in flight, the idle clients, and the current version."""

    protocol: Protocol
    duration: JobTime
    rng: np.random.Generator
    version: int = 0
    dispatched: int = 0
    in_flight: list[Job] = field(default_factory=list)
    idle: list[int] = field(default_factory=list)

    def dispatch(self, count: int, now: float) -> None:
        """Start `count` clients, drawn uniformly without replacement from the idle ones, from the current version."""
        chosen = self.rng.choice(len(self.idle), size=count, replace=False)
        for position in chosen:
            client = self.idle[position]
            job = Job(now + self.duration(client, now), client, self.version, now, self.dispatched)
            heapq.heappush(self.in_flight, job)
            self.dispatched += 1
        for position in sorted(chosen, reverse=True):  # from behind, so that the other positions stay what they are
            del self.idle[position]

    def round(self) -> Round:
        """Collect M arrivals, close the round, and start the clients that the protocol asks for."""
        arrivals: list[Job] = []
        while len(arrivals) < self.protocol.buffer_size:
            arrivals.append(heapq.heappop(self.in_flight))
            bisect.insort(self.idle, arrivals[-1].client)  # sorted, so that draws do not depend on the order of arrival
            if len(arrivals) == self.protocol.buffer_size:
                busy, index = frozenset(job.client for job in self.in_flight), self.version
                self.version += 1
            if self.protocol.dispatch == "on_arrival":
                self.dispatch(1, arrivals[-1].arrived_at)
        if self.protocol.dispatch == "on_flush":
            self.dispatch(self.protocol.buffer_size, arrivals[-1].arrived_at)
        return Round(index, tuple(arrivals), busy)


def draw(protocol: Protocol, delays: Delays, seed: int) -> Schedule:
    """Draw the whole schedule of a run; raises `InputError` for an unreadable trace."""
    classes = speed_classes(delays, protocol.clients, seed)
    simulator = _Simulator(protocol, job_times(delays, classes, seed), stream(seed, "selection"))
    simulator.idle = list(range(protocol.clients))
    simulator.dispatch(protocol.concurrency, 0.0)
    rounds = tuple(simulator.round() for _ in range(protocol.rounds))
    return Schedule(rounds, tuple(sorted(simulator.in_flight)), classes)


def synchronous(protocol: Protocol) -> Protocol:
    """Return the protocol of synchronous FedAvg: M clients start together and the server waits for all (M_c = M).

    Rounds and local work equal those of the buffered methods; the virtual time of a round is the longest of its jobs.
    Nobody starts before the round closes, nor from the version before.
    """
    return replace(protocol, concurrency=protocol.buffer_size, dispatch="on_flush", delta="sent")


def sequential(protocol: Protocol) -> Protocol:
    """Return the protocol of FedAsync: every arrival is a server step (M = 1), T*M steps for equal local work.

    Each arrival closes a round, so that to start `on_arrival` is the same, and who starts is alone and has the new x.
    """
    steps = protocol.rounds * protocol.buffer_size
    return replace(protocol, buffer_size=1, rounds=steps, dispatch="on_flush", delta="sent")
