"""One server at work on stand-in uploads: its seconds and bytes per round, without data and without any client."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedecho.core.clock import Clock
from fedecho.core.config import LORA, RunConfig
from fedecho.core.settings import Data
from fedecho.data import TEXT_SHAPE, austen
from fedecho.data.tokens import CONTEXT as BLOCK
from fedecho.learning import methods, models
from fedecho.learning.client import Update
from fedecho.learning.experiment import one_thread
from fedecho.learning.flat import FlatModel, Weights
from fedecho.learning.methods import Method, Server
from fedecho.learning.models.pretrained import CONTEXT
from fedecho.learning.models.texts import example
from fedecho.learning.versions import Checkpoints, Version
from fedecho.simulation import schedule
from fedecho.simulation.schedule import Job, Round, Schedule

PHASES = ("inference", "bank", "aggregation", "distillation")
HOLDINGS = ("checkpoints", "uploads", "state")
"""Versions in flight; what the uploads of one round leave until it closes; what a method keeps between rounds."""
TEXTS = {
    "austen": (3_600, 720, 1_440), "sst2": (55_321, 6_657, 872), "agnews": (6_986, 1_000, 7_583),
    "trec": (3_880, 500, 489),
}  # fmt: skip
"""Text data set -> client, validation and test texts."""
_CLASSES = {"austen": 6, "sst2": 2, "agnews": 4, "trec": 6}
SHAPES: dict[str, tuple[tuple[int, ...], int]] = {
    "fashion-mnist": ((1, 28, 28), 10), "cifar10": ((3, 32, 32), 10), "cifar100": ((3, 32, 32), 100),
    **{name: (TEXT_SHAPE, classes) for name, classes in _CLASSES.items()},
}  # fmt: skip
"""Data set -> shape of an image, or vocabulary and context of texts; number of classes."""
IMAGES = {
    "fashion-mnist": (10_000, 2_000, 5_000), "cifar10": (50_000, 0, 10_000), "cifar100": (50_000, 0, 10_000), **TEXTS,
}  # fmt: skip
"""Data set -> client images, validation images of its own, test images."""
_CHARACTERS = ((257, 400, 512, 1000, 2000, 4000, 8000, 16_000), (1.02, 2.08, 2.40, 3.10, 3.78, 4.29, 4.60, 4.71))
"""Sizes of a vocabulary, and the characters that a token of the novels then has on average."""
_WARM_UP = 2
_ENOUGH = 0.8
"""Seconds after which no further round is played."""


def shape_of(model: str, data: Data) -> tuple[tuple[int, ...], int]:
    """Return the shape of an image, or vocabulary and context of texts (a pretrained encoder has a context of its own);
    and the number of classes."""
    if data.task == "generation":
        return (data.vocabulary, BLOCK), data.vocabulary
    shape, classes = SHAPES[data.name]
    return ((shape[0], CONTEXT), classes) if len(shape) == 2 and model.startswith(LORA) else (shape, classes)


def images_of(data: Data) -> tuple[int, int, int]:
    """Return client, validation and test images or texts; blocks of tokens to within a few per cent."""
    if data.task == "classification":
        return IMAGES[data.name]
    a_block = BLOCK * float(np.interp(math.log(data.vocabulary), np.log(_CHARACTERS[0]), _CHARACTERS[1]))
    train, validation, test = (
        round(len(austen.CLASSES) * austen.CHARACTERS[split] / a_block) for split in ("train", "validation", "test")
    )
    return train, validation, test


@dataclass
class Play:
    """One server at work on stand-in uploads, round after round."""

    server: Server
    method: Method[Any]
    x: Weights
    state: Any
    versions: int
    """The most that are in flight at once, in a whole run."""
    generator: torch.Generator

    @staticmethod
    def start(config: RunConfig, clock: Clock, device: str) -> Play:
        """Set the server up as `experiment.run` would, with random images for U."""
        shape, classes = shape_of(config.model, config.data)
        stem, module = models.split_stem(models.build(config.model, shape, classes, config.seed, config.data.task))
        generator = torch.Generator().manual_seed(config.seed)
        size = config.data.pool_size
        texts = config.data.name in TEXTS
        pool = example(shape, size, "cpu") if texts else torch.randn(size, *shape, generator=generator)
        pool = stem(pool).to(device)
        plan = schedule.draw(config.protocol, config.delays, config.seed)
        server = Server(
            FlatModel(module.to(device), config.execution), pool, plan, config.local, config.seed, clock=clock
        )
        method, x = methods.build(config.method, server), server.model.weights()
        return Play(server, method, x, method.init(x, config.protocol.clients), peak_versions(plan), generator)

    def round(self, rnd: Round) -> dict[str, int]:
        """Play one round and return the bytes held at its peak, by holding."""
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
        own = self.x.buffers.clone()
        return Update(job.client, job.base_version, rnd.index, job.arrived_at, self.x, delta, own, 10, correction)


def peak_versions(plan: Schedule) -> int:
    """Return the largest number of versions that are held at once in a whole run, as `Checkpoints` holds them."""
    held, peak, nothing = Checkpoints(plan.uses_of_version()), 0, Weights(torch.empty(0), torch.empty(0))
    for rnd in plan.rounds:
        held.keep(rnd.index, Version(nothing, None))
        peak = max(peak, len(held))
        for job in rnd.arrivals:
            held.take(job.base_version)
    return peak


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
        """Return JSON values: the rounds played, quartiles of the seconds by phase to 4 digits, bytes by holding."""
        quartiles = {phase: np.quantile(self.seconds[phase], [0.25, 0.5, 0.75]).tolist() for phase in PHASES}
        seconds = {phase: [float(f"{value:.4g}") for value in values] for phase, values in quartiles.items()}
        return {"rounds": len(self.seconds[PHASES[0]]), "seconds": seconds, "bytes": self.bytes}


@one_thread()
def measure(config: RunConfig, rounds: int, device: str = "cpu") -> Measurement:
    """Play up to `rounds` rounds, fewer where they are long, after two to warm up.

    Seconds are those of the processor, or of the wall clock where work is queued on a GPU.
    """
    clock = Clock(time.process_time if device == "cpu" else _after_queue)
    play, spent, held = Play.start(config, clock, device), [], []
    for rnd in play.server.plan.rounds[: _WARM_UP + rounds]:
        before = dict(clock.seconds)
        held.append(play.round(rnd))
        spent.append({phase: clock.seconds.get(phase, 0.0) - before.get(phase, 0.0) for phase in PHASES})
        if len(spent) > _WARM_UP and sum(clock.seconds.values()) > _ENOUGH:
            break
    timed = {phase: [s[phase] for s in spent[_WARM_UP:]] for phase in PHASES}
    return Measurement(timed, {holding: max(h[holding] for h in held) for holding in HOLDINGS})


def _after_queue() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()
