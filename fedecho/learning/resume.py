"""A run in progress: what it carries from round to round, and one file of it, continued to the same last bit.

Random numbers need no place in it: every stream is named by what it is for, and none remembers how much was drawn.
"""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedecho.core import provenance
from fedecho.core.checks import InputError, require
from fedecho.core.clock import Clock
from fedecho.core.config import NUMERICS_VERSION, RunConfig, config_hash
from fedecho.core.files import whole
from fedecho.core.records import Row, require_same_vocabulary, rounded
from fedecho.core.settings import Protocol
from fedecho.learning.evaluation import Journal
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import STATES
from fedecho.simulation.schedule import Schedule

_OVER = "delete it to start the run over"
_MARGIN = 1.5
"""How many times the longest round so far must still fit before the deadline."""


class Version(NamedTuple):
    """A model version as it was sent out."""

    model: Weights
    """x_s"""
    extra: Tensor | None
    """What the method broadcast with it."""
    before: Weights | None = None
    """x_{s-1}, kept only where the protocol has clients start from it (`Protocol.delta`)."""


@dataclass(eq=False)
class Checkpoints:
    """The versions that jobs in flight started from, and no others."""

    uses: Counter[int]
    """Version -> arrivals from it that are still to come."""
    with_before: bool = False
    """Whether x_{s-1} is wanted beside x_s."""
    versions: dict[int, Version] = field(default_factory=dict)
    last: Weights | None = None

    @staticmethod
    def of(plan: Schedule, protocol: Protocol) -> Checkpoints:
        """Return an empty store for a run."""
        return Checkpoints(plan.uses_of_version(), protocol.delta == "fadas_code")

    def __len__(self) -> int:
        """Return how many versions are held."""
        return len(self.versions)

    def keep(self, number: int, version: Version) -> None:
        """Hold a version if any job will arrive from it."""
        if self.uses[number]:
            self.versions[number] = version._replace(before=self.last)
        self.last = version.model if self.with_before else None

    def take(self, number: int) -> Version:
        """Return a version for one arrival, and let go of it after the last."""
        self.uses[number] -= 1
        return self.versions[number] if self.uses[number] else self.versions.pop(number)


class Progress(NamedTuple):
    """All that a run carries from one round to the next."""

    round: int
    """Rounds that are done."""
    x: Weights
    state: Any
    """The method's own."""
    checkpoints: Checkpoints
    journal: Journal
    rows: list[Row]


_CLASSES = (Version, Checkpoints, Journal, Progress)


class Paused(Exception):
    """The time budget of a run is used up; it can be continued from its file."""

    def __init__(self, round: int) -> None:
        """Take the number of rounds that are done."""
        super().__init__(round)
        self.round = round


@dataclass
class Keeper:
    """Keeps one run's progress in `path`, at least every `every` seconds, and pauses the run before `deadline`."""

    path: Path | None = None
    """None = nothing is kept."""
    every: float = 300.0
    deadline: float | None = None
    """On the clock `now`."""
    now: Callable[[], float] = time.time
    begun: int = 0
    """Rounds that were done when this call took over."""
    _about: dict[str, Any] = field(default_factory=dict)
    """What the file says of the run."""
    _clock: Clock = field(default_factory=Clock)
    _device: str = "cpu"
    _rounds: int = 0
    _earlier: list[dict[str, Any]] = field(default_factory=list)
    _saved: float = 0.0
    _round_began: float = 0.0
    _longest: float = 0.0

    def begin(
        self, fresh: Progress, config: RunConfig, facts: Mapping[str, Any], clock: Clock, device: str
    ) -> Progress:
        """Return where the run was left, or `fresh` if it is new; raises `InputError` for a file of another run."""
        facts = {name: rounded(value) for name, value in facts.items()}
        about = {"hash": config_hash(config), "numerics": NUMERICS_VERSION, "device": device.split(":")[0]}
        self._about = about | {"facts": facts}
        self._clock, self._device, self._rounds = clock, device, config.protocol.rounds
        self._saved = self._round_began = self.now()
        if self.path is None or not self.path.is_file():
            return fresh
        kept = read(self.path, config, device)
        require_same_vocabulary(kept["facts"], facts, f"checkpoint {self.path}")
        same = kept["facts"] == facts
        require(same, "checkpoint", str(self.path), f"its data or schedule differ from those here; {_OVER}")
        self._earlier = [made for made in kept["made"] if made != provenance.collect(device)]
        clock.seconds.update(kept["seconds"])
        progress: Progress = kept["progress"]
        self.begun = progress.round
        return progress

    def after(self, progress: Progress) -> None:
        """Save a round's outcome if it is time to; raises `Paused` when no further round is sure to fit."""
        if self.path is None or progress.round == self._rounds:
            return
        now = self.now()
        self._longest = max(self._longest, now - self._round_began)
        over = self.deadline is not None and now + _MARGIN * self._longest >= self.deadline
        if over or now - self._saved >= self.every:
            about = self._about | {"seconds": dict(self._clock.seconds)}
            write(self.path, about, progress, [*self._earlier, provenance.collect(self._device)])
            self._saved = self.now()
        if over:
            raise Paused(progress.round)
        self._round_began = self.now()

    def forget(self) -> None:
        """Remove the file, once the record is written."""
        if self.path is not None and self.path.is_file():
            self.path.unlink()
            if not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()

    def provenance(self, device: str) -> dict[str, Any]:
        """Return what the record says of its making; `earlier` names what made the first parts, if it was not this."""
        return provenance.collect(device) | ({"earlier": self._earlier} if self._earlier else {})


def write(path: Path, about: dict[str, Any], progress: Progress, made: list[dict[str, Any]]) -> None:
    """Write a file whole or not at all: what it says `about` its run, the `progress`, and what `made` it."""
    with whole(path) as partial:
        torch.save(about | {"made": made, "progress": progress}, partial)


def read(path: Path, config: RunConfig, device: str = "cpu") -> dict[str, Any]:
    """Return what `write` wrote; only tensors, plain values and registered state classes can be in the file.

    Raises `InputError` for a file of another run or other numerics, or one that cannot be read.
    """
    try:
        with torch.serialization.safe_globals([*STATES, *_CLASSES]):
            kept: dict[str, Any] = torch.load(path, map_location=_place(device), weights_only=True)
        numerics, name, begun_on = kept["numerics"], kept["hash"], kept["device"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError("checkpoint", str(path), f"it cannot be read ({type(error).__name__}); {_OVER}") from None
    own, here = config_hash(config), device.split(":")[0]
    for same, words in (
        (numerics == NUMERICS_VERSION, f"it is of NUMERICS_VERSION {numerics}, this is {NUMERICS_VERSION}; {_OVER}"),
        (name == own, f"it belongs to run {name}, not to {own}; {_OVER}"),
        (begun_on == here, f"it was begun on {begun_on}, not {here}: go on there, or {_OVER}"),
    ):
        require(same, "checkpoint", str(path), words)
    return kept


def _place(device: str) -> Callable[[Any, str], Any]:
    """Return where a tensor goes: from a GPU to `device`; what methods keep in the machine's memory stays there."""

    def place(storage: Any, location: str) -> Any:
        if location == "cpu":
            return storage
        return torch.serialization.default_restore_location(storage, device)  # type: ignore[no-untyped-call]

    return place
