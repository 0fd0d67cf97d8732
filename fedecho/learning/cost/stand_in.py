"""One server on stand-in uploads: its seconds and bytes per round, measured without data and without any client."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedecho.core.checks import Count, Natural, NotNegative, check, kinds
from fedecho.core.clock import Clock
from fedecho.core.config import RunConfig
from fedecho.core.files import json_sha256
from fedecho.core.store import Store
from fedecho.learning import methods, models
from fedecho.learning.certainty import REPORTED
from fedecho.learning.checkpoint import Version
from fedecho.learning.client import Update
from fedecho.learning.cost.advice import with_memory_advice
from fedecho.learning.cost.work import HOLDINGS, PHASES, peak_versions, shape_of
from fedecho.learning.experiment import one_thread
from fedecho.learning.flat import FlatModel
from fedecho.learning.methods import Method, Server
from fedecho.learning.models.texts import example
from fedecho.simulation import events
from fedecho.simulation.schedule import Job, Round

_WARM_UP = 2
_ENOUGH = 0.8
"""Seconds after which no further round is measured, or needed to warm up."""


class StandIn:
    """A server that closes round after round on stand-in uploads."""

    def __init__(self, config: RunConfig, clock: Clock, device: str) -> None:
        """Set the server up as `experiment.run` would, with random images for U."""
        shape, classes = shape_of(config.model, config.data)
        stem, module = models.split_stem(models.build(config.model, shape, classes, config.seed, config.data.task))
        self.generator = torch.Generator().manual_seed(config.seed)
        size = config.data.pool_size
        pool = example(shape, size, "cpu") if len(shape) == 2 else torch.randn(size, *shape, generator=self.generator)
        plan = events.draw(config.protocol, config.delays, config.seed)
        model = FlatModel(module.to(device), config.execution)
        self.server = Server(model, stem(pool).to(device), plan, config.local, config.seed, clock=clock)
        self.method: Method[Any] = methods.build(config.method, self.server)
        self.x = model.weights()
        self.state = self.method.init(self.x, config.protocol.clients)
        self.versions = peak_versions(plan)
        """The most that are in flight at once, in a whole run."""
        self.asks = config.distill is not None and config.distill.teacher_weights in REPORTED
        """Whether clients say something of their data, once."""

    def round(self, rnd: Round) -> dict[str, int]:
        """Take the uploads of one round, close it, and return the bytes held at its peak, by holding."""
        version = Version(self.x, self.method.broadcast(self.state))
        for job in rnd.arrivals:
            self.state = self.method.receive(self.state, self.upload(rnd, job, version.extra))
        full = tensor_bytes(self.state, shared=self.x)
        with self.server.clock("aggregation"):
            self.state, self.x = self.method.close_round(self.state, self.x)
        kept = tensor_bytes(self.state, shared=self.x)
        return {"checkpoints": self.versions * tensor_bytes(version), "uploads": full - kept, "state": kept}

    def upload(self, rnd: Round, job: Job, sent: Tensor | None) -> Update:
        """Return an upload that moved every parameter by about 1e-3; its values change nothing about its cost."""
        delta = (1e-3 * torch.randn(len(self.x.params), generator=self.generator)).to(self.x.params.device)
        correction = self.method.correction(self.state, job.client, sent)
        own, gradient = self.x.buffers.clone(), delta.clone() if self.method.normalised else None
        return Update(job.client, job.base_version, rnd.index, job.arrived_at, self.x, delta, own, 10, correction,
                      gradient=gradient, report=self.report(job.client))  # fmt: skip

    def report(self, client: int) -> Tensor | None:
        """Return random evidence where the method asks its clients for some: they give it once."""
        if not self.asks or client in self.state.heard:
            return None
        return torch.rand(self.state.evidence.scores[0].numel(), generator=self.generator).to(self.x.params.device)


def tensor_bytes(*held: object, shared: Iterable[Tensor] = ()) -> int:
    """Return the bytes of all tensors in `held` (dataclasses, tuples and dicts are entered), each storage once, without
    those of `shared`."""
    known = {tensor.untyped_storage().data_ptr() for tensor in shared}
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _tensors(held)}
    return sum(size for place, size in storages.items() if place not in known)


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))


@dataclass(frozen=True)
class Measurement:
    """What was seen of one server."""

    seconds: dict[str, list[float]]
    """Phase -> seconds of each round."""
    bytes: dict[str, int]
    """Holding -> the most that was held."""

    def __add__(self, other: Measurement) -> Measurement:
        """Join two measurements of the same server."""
        return Measurement(
            {phase: [*self.seconds[phase], *other.seconds[phase]] for phase in PHASES},
            {holding: max(self.bytes[holding], other.bytes[holding]) for holding in HOLDINGS},
        )

    def summary(self) -> dict[str, Any]:
        """Return JSON values: the number of rounds, quartiles of the seconds by phase to 4 digits, bytes by holding."""
        quartiles = {phase: np.quantile(self.seconds[phase], [0.25, 0.5, 0.75]).tolist() for phase in PHASES}
        seconds = {phase: [float(f"{value:.4g}") for value in values] for phase, values in quartiles.items()}
        return {"rounds": len(self.seconds[PHASES[0]]), "seconds": seconds, "bytes": self.bytes}


@one_thread()
@with_memory_advice
def measure(config: RunConfig, rounds: int, device: str = "cpu") -> Measurement:
    """Measure up to `rounds` rounds, fewer where they are long, after two to warm up, or one that is long.

    Seconds are those of the processor, or of the wall clock where work is queued on a GPU.
    """
    clock = Clock(seconds_on(device))
    stand_in, cold = StandIn(config, clock, device), 0
    spent: list[dict[str, float]] = []
    held: list[dict[str, int]] = []
    for rnd in stand_in.server.plan.rounds[: _WARM_UP + rounds]:
        before, long = dict(clock.seconds), sum(clock.seconds.values()) > _ENOUGH
        cold = cold or (len(spent) if long or len(spent) == _WARM_UP else 0)
        held.append(stand_in.round(rnd))
        spent.append({phase: clock.seconds.get(phase, 0.0) - before.get(phase, 0.0) for phase in PHASES})
        if cold and sum(clock.seconds.values()) > _ENOUGH:
            break
    timed = {phase: [s[phase] for s in spent[cold:]] for phase in PHASES}
    return Measurement(timed, {holding: max(h[holding] for h in held) for holding in HOLDINGS})


def seconds_on(device: str) -> Callable[[], float]:
    """Return a clock: processor time, or the wall's after all work queued on a GPU is done."""

    def after_queue() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return time.process_time if device == "cpu" else after_queue


# What is measured, as a record


@dataclass(frozen=True)
class Measured:
    """What was measured of a study's points."""

    provenance: dict[str, Any]
    points: dict[str, dict[str, Any]]
    """Hash of a point's config -> rounds, seconds by phase (three quartiles), bytes by holding."""

    @property
    def digest(self) -> str:
        """12 hex digits that name the measurement."""
        return json_sha256(asdict(self))[:12]


_POINT = kinds(rounds=Count, seconds=dict[str, list[NotNegative]], bytes=dict[str, Natural])


def _check(measurement: Measured) -> None:
    for name, point in measurement.points.items():
        check(point, _POINT, f"points.{name}.")


COST: Store[str, Measured] = Store(
    Measured, name=lambda name: name, own_name=lambda measurement: "server", check=_check
)
"""The measurements, one to a profile, apart from the records of runs: no two measurements are equal."""
MEASURED = ("cost", "clients", "scale")
"""Folders of a profile's records that hold one: of methods, by the number of clients, by the size of the model."""
