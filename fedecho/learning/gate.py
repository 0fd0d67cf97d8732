"""The check of uploads, done once for each before any method sees it, since a client may lie or fail.

An upload that is refused changes nothing: the client's last row stays in the bank, its last update in a cache. A row of
the record counts it as rejected, and by reason unless it merely was not finite.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import torch
from torch import Tensor

from fedecho.core.settings import Protocol
from fedecho.learning.checkpoint import Journal
from fedecho.learning.client import Update
from fedecho.learning.flat import Weights
from fedecho.simulation.schedule import Job, Schedule

Reason = Literal["client", "version", "repeated", "shape", "dtype", "failed", "norm"]
"""Who is unknown; a version that this client has not in flight; a second upload from it; tensors of another shape or
type; numbers that are not finite; a Delta longer than `Protocol.max_delta_norm`."""
Sent = tuple[int, int]
"""A client and the version it was sent."""


class Gate:
    """Knows what is in flight, and so what can arrive."""

    def __init__(self, plan: Schedule, protocol: Protocol, like: Weights, done: int = 0) -> None:
        """Begin after `done` rounds; `like` is a model, what an upload has to be the size of."""
        self.protocol, self.like = protocol, like
        coming = [job for rnd in plan.rounds[done:] for job in rnd.arrivals]
        self.in_flight = Counter(map(_sent, (*coming, *plan.in_flight)))
        """Jobs whose uploads have not arrived, also those that will only be sent out."""
        self.arrived = {_sent(job) for rnd in plan.rounds[:done] for job in rnd.arrivals}

    def admits(self, update: Update, job: Job, journal: Journal) -> bool:
        """Tell whether the upload that arrived for a job is let in; the journal notes why one is not."""
        reason = self.refuse(update, job)
        if reason is not None:
            journal.refuse(reason)
        elif self.protocol.norm_quantiles:
            journal.norms.append(_norm(update))
        return reason is None

    def refuse(self, update: Update, job: Job) -> Reason | None:
        """Return why the upload that arrived for a job is refused, none if it is let in; no other arrives for it."""
        reason, claimed = self._reason(update), (update.client, update.base_version)
        for sent in {_sent(job), *([claimed] if reason is None else [])}:
            self.in_flight[sent] -= 1
            self.arrived.add(sent)
        return reason

    def _reason(self, update: Update) -> Reason | None:
        client, version, limit = update.client, update.base_version, self.protocol.max_delta_norm
        if type(client) is not int or not 0 <= client < self.protocol.clients:
            return "client"
        if type(version) is not int or not 0 <= version <= update.round or self.in_flight[client, version] < 1:
            return "repeated" if (client, version) in self.arrived else "version"
        for sent, own in ((update.delta, self.like.params), (update.buffers, self.like.buffers)):
            if not isinstance(sent, Tensor) or sent.shape != own.shape:
                return "shape"
            if sent.dtype != own.dtype:
                return "dtype"
        if self.protocol.reject_failed and not update.finite():
            return "failed"
        # Asked so that a norm which is no number is refused, too.
        return None if limit is None or _norm(update) <= limit else "norm"


def _norm(update: Update) -> float:
    return float(torch.linalg.vector_norm(update.delta.double()))


def _sent(job: Job) -> Sent:
    return job.client, job.base_version
