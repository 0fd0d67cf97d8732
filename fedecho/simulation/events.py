"""Discrete-event simulation of the arrivals and the model versions that they started from; no torch.

Delays do not depend on the model, so the whole schedule is drawn before any training. The default protocol is the loop
of the official FADAS simulator: M_c clients are busy; the round closes at the M-th arrival; M clients drawn uniformly
from the idle ones then start from the new version. Conservation: the mean staleness tends to M_c/M - 1, whatever the
delays; in a finite run, whose last jobs are still in flight, it is lower.
"""

from __future__ import annotations

import bisect
import heapq
import itertools

from fedecho.core.rng import stream
from fedecho.core.settings import Delays, Protocol
from fedecho.simulation.delays import job_times, speed_classes
from fedecho.simulation.schedule import Job, Round, Schedule


def draw(protocol: Protocol, delays: Delays, seed: int) -> Schedule:
    """Draw the whole schedule of a run, event by event; raises `InputError` for an unreadable trace."""
    classes = speed_classes(delays, protocol.clients, seed)
    duration, rng, numbers = job_times(delays, classes, seed), stream(seed, "selection"), itertools.count()
    in_flight, idle, rounds = list[Job](), list(range(protocol.clients)), list[Round]()

    def dispatch(count: int, now: float) -> None:
        """Start `count` clients, drawn uniformly without replacement from the idle ones, from the current version."""
        chosen = rng.choice(len(idle), size=count, replace=False)
        for position in chosen:
            client = idle[position]
            heapq.heappush(in_flight, Job(now + duration(client, now), client, len(rounds), now, next(numbers)))
        for position in sorted(chosen, reverse=True):  # from the end, so that the other positions stay valid
            del idle[position]

    dispatch(protocol.concurrency, 0.0)
    for index in range(protocol.rounds):
        arrivals: list[Job] = []
        while len(arrivals) < protocol.buffer_size:
            arrivals.append(heapq.heappop(in_flight))
            bisect.insort(idle, arrivals[-1].client)  # sorted, so that draws do not depend on the order of arrival
            if len(arrivals) == protocol.buffer_size:
                rounds.append(Round(index, tuple(arrivals), frozenset(job.client for job in in_flight)))
            if protocol.dispatch == "on_arrival":
                dispatch(1, arrivals[-1].arrived_at)
        if protocol.dispatch == "on_flush":
            dispatch(protocol.buffer_size, arrivals[-1].arrived_at)
    return Schedule(tuple(rounds), tuple(sorted(in_flight)), classes)
