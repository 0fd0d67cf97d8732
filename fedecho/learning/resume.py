"""A run in progress as one file: written whole now and then, and continued from there to the same last bit.

Random numbers need no place in it: every stream is named by what it is for, and none remembers how much was drawn.
"""

from __future__ import annotations

import json
import os
import pickle
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fedecho.core import provenance
from fedecho.core.checks import InputError, require
from fedecho.core.clock import Clock
from fedecho.core.config import NUMERICS_VERSION, RunConfig, config_hash
from fedecho.core.records import Row, require_same_vocabulary, rounded
from fedecho.learning.evaluation import Journal
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import STATES
from fedecho.learning.task import Task
from fedecho.learning.versions import Checkpoints, Version

STATES.add(Version)
_OVER = "delete it to start the run over"
_MARGIN = 1.5
"""How many times the longest round so far must still fit before the deadline."""


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


class Paused(Exception):
    """The time given to a run is over; its file says where to go on."""

    def __init__(self, round: int) -> None:
        """Take the number of rounds that are done."""
        super().__init__(round)
        self.round = round


class _Run(NamedTuple):
    """What a keeper has to know of the run it keeps."""

    config: RunConfig
    task: Task
    clock: Clock
    device: str


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
    _run: _Run | None = None
    _earlier: list[dict[str, Any]] = field(default_factory=list)
    _saved: float = 0.0
    _round_began: float = 0.0
    _longest: float = 0.0

    def begin(self, fresh: Progress, config: RunConfig, task: Task, clock: Clock, device: str) -> Progress:
        """Return where the run was left, or `fresh` if it is new; raises `InputError` for a file of another run."""
        self._run = _Run(config, task, clock, device)
        self._saved = self._round_began = self.now()
        if self.path is None or not self.path.is_file():
            return fresh
        kept = read(self.path, config, device)
        text, facts = kept["text"], _json({name: rounded(value) for name, value in task.facts.items()})
        require_same_vocabulary(text["facts"], facts, f"checkpoint {self.path}")
        same = text["facts"] == facts
        require(same, "checkpoint", str(self.path), f"its data or schedule differ from those here; {_OVER}")
        self._earlier = [made for made in text["made"] if made != _json(provenance.collect(device))]
        clock.seconds.update(text["seconds"])
        self.begun = kept["round"]
        checkpoints = fresh.checkpoints.restored(task.plan.rounds[: kept["round"]], kept["versions"])
        journal = Journal(text["taus"], text["accepted"], defaultdict(list, text["metrics"]))
        return Progress(kept["round"], Weights(*kept["x"]), kept["state"], checkpoints, journal, text["rows"])

    def after(self, progress: Progress) -> None:
        """Save a round's outcome if it is time to; raises `Paused` when no further round is sure to fit."""
        if self.path is None or self._run is None or progress.round == self._run.config.protocol.rounds:
            return
        now = self.now()
        self._longest = max(self._longest, now - self._round_began)
        over = self.deadline is not None and now + _MARGIN * self._longest >= self.deadline
        if over or now - self._saved >= self.every:
            write(self.path, self._run, progress, [*self._earlier, provenance.collect(self._run.device)])
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


def write(path: Path, run: _Run, progress: Progress, made: list[dict[str, Any]]) -> None:
    """Write a run's progress so that a reader sees all of it or nothing; `made`: who made its parts."""
    text = {
        "rows": progress.rows, "taus": progress.journal.taus, "accepted": progress.journal.accepted,
        "metrics": progress.journal.metrics, "seconds": run.clock.seconds, "made": made,
        "facts": {name: rounded(value) for name, value in run.task.facts.items()},
    }  # fmt: skip
    content = {
        "hash": config_hash(run.config), "numerics": NUMERICS_VERSION, "round": progress.round,
        "device": run.device.split(":")[0],
        "x": tuple(progress.x), "state": progress.state, "versions": progress.checkpoints.content(),
        "text": json.dumps(text),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f"{path.name}.{os.getpid()}.partial"
    try:
        torch.save(content, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path, config: RunConfig, device: str = "cpu") -> dict[str, Any]:
    """Return what `write` wrote; only tensors, plain values and registered state classes can be in the file.

    Raises `InputError` for a file of another run or other numerics, or one that cannot be read.
    """
    try:
        with torch.serialization.safe_globals(list(STATES)):
            kept: dict[str, Any] = torch.load(path, map_location=_place(device), weights_only=True)
        numerics, name, begun_on = kept["numerics"], kept["hash"], kept["device"]
        kept["text"] = json.loads(kept["text"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError("checkpoint", str(path), f"it cannot be read ({type(error).__name__}); {_OVER}") from None
    version = f"it is of NUMERICS_VERSION {numerics}, this is {NUMERICS_VERSION}; {_OVER}"
    require(numerics == NUMERICS_VERSION, "checkpoint", str(path), version)
    own = config_hash(config)
    require(name == own, "checkpoint", str(path), f"it belongs to run {name}, not to {own}; {_OVER}")
    here = device.split(":")[0]
    require(
        begun_on == here, "checkpoint", str(path), f"it was begun on {begun_on}, not {here}: go on there, or {_OVER}"
    )
    return kept


def _place(device: str) -> Callable[[Any, str], Any]:
    """Return where a tensor goes: from a GPU to `device`; what methods keep in the machine's memory stays there."""

    def place(storage: Any, location: str) -> Any:
        if location == "cpu":
            return storage
        return torch.serialization.default_restore_location(storage, device)  # type: ignore[no-untyped-call]

    return place


def _json(value: Any) -> Any:
    """Return a value as it comes back from JSON."""
    return json.loads(json.dumps(value))
