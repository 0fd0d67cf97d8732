"""What a run carries from one round to the next, and the file that it is kept in, sealed by its digest.

The previous file is kept beside it: if the newest one is damaged, only the time between the two is lost.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedecho.core.checks import InputError, require
from fedecho.core.config import NUMERICS_VERSION, RunConfig, config_hash
from fedecho.core.files import whole
from fedecho.core.records import Row, rounded
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import STATES
from fedecho.simulation.schedule import Round


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


@dataclass
class Journal:
    """Collects what happens between two evaluations into one row."""

    taus: list[int] = field(default_factory=list)
    accepted: int = 0
    metrics: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    """How many uploads were refused, by reason."""
    norms: list[float] = field(default_factory=list)
    """`|Delta_i|` of those that were let in, where that is wanted (`Protocol.norm_quantiles`)."""

    def refuse(self, reason: str) -> None:
        """Count a rejected upload by reason; those not finite (`failed`) count only in the total."""
        if reason != "failed":
            self.refused[reason] = self.refused.get(reason, 0) + 1

    def observe(self, rnd: Round, accepted: int, metrics: dict[str, float]) -> None:
        """Note one round and how many of its uploads could be used."""
        self.taus += rnd.staleness
        self.accepted += accepted
        for name, value in metrics.items():
            self.metrics.setdefault(name, []).append(value)

    def row(self, rnd: Round, buffer_size: int, scores: dict[str, Any]) -> Row:
        """Return the row of an evaluation after `rnd`, and begin the next one."""
        out = {
            "round": rnd.index + 1,
            "virtual_time": rnd.closed_at,
            "arrivals": (rnd.index + 1) * buffer_size,
            **scores,
            "tau_mean": float(np.mean(self.taus)),
            "tau_max": max(self.taus),
            "rejected": len(self.taus) - self.accepted,
            **{f"rejected_{reason}": count for reason, count in sorted(self.refused.items())},
            **({"delta_norm_median": median(self.norms), "delta_norm_max": max(self.norms)} if self.norms else {}),
            **{name: float(np.mean(values)) for name, values in self.metrics.items()},
        }
        self.taus, self.accepted, self.metrics, self.refused, self.norms = [], 0, {}, {}, []
        return {name: rounded(value) for name, value in out.items()}


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


# The file

OVER = "delete it to start the run over"
_CLASSES = (Version, Checkpoints, Journal, Progress)
_MAGIC = b"fedecho checkpoint 3\n"
_DIGEST = hashlib.sha256().digest_size


class Rotten(InputError):
    """A file that was damaged, or whose content no run can have had."""


def before(path: Path) -> Path:
    """Return where the file lies that was written before the last one."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


def forget(path: Path) -> None:
    """Remove a run's progress, both files of it."""
    for file in (path, before(path)):
        file.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()


class _Sealing:
    """A file that is written to, and the SHA-256 of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, hashlib.sha256()
        self.error: OSError | None = None
        """The first; torch would cover it with one of its own, so that it is left for later."""

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            if self.error is None:
                self._file.write(data)
        except OSError as error:
            self.error = error
        return len(data)

    def flush(self) -> None:
        self._file.flush()


def write(path: Path, about: dict[str, Any], progress: Progress, made: list[dict[str, Any]]) -> None:
    """Write a file whole or not at all: what it says `about` its run, the `progress`, and what `made` it, behind the
    digest of all that. The last file is kept beside it."""
    with whole(path) as partial:
        with partial.open("wb") as file:
            file.write(_MAGIC + bytes(_DIGEST))
            sealed = _Sealing(file)
            torch.save(about | {"made": made, "progress": progress}, sealed)  # type: ignore[arg-type]
            if sealed.error is not None:
                raise sealed.error
            file.seek(len(_MAGIC))
            file.write(sealed.digest.digest())
        if path.is_file():
            path.replace(before(path))


def read(path: Path, config: RunConfig, device: str = "cpu") -> dict[str, Any]:
    """Return what `write` wrote; only tensors, plain values and registered state classes can be in the file.

    Raises `Rotten` for one that was damaged, `InputError` for a file of another run or other numerics.
    """
    kept = _opened(path, device)
    own, here = config_hash(config), device.split(":")[0]
    numerics, name, begun_on = kept["numerics"], kept["hash"], kept["device"]
    for same, words in (
        (numerics == NUMERICS_VERSION, f"it is of NUMERICS_VERSION {numerics}, this is {NUMERICS_VERSION}; {OVER}"),
        (name == own, f"it belongs to run {name}, not to {own}; {OVER}"),
        (begun_on == here, f"it was begun on {begun_on}, not {here}: go on there, or {OVER}"),
    ):
        require(same, "checkpoint", str(path), words)
    return kept


def _opened(path: Path, device: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            head, stated = file.read(len(_MAGIC)), file.read(_DIGEST)
            start = file.tell()
            if head != _MAGIC or hashlib.file_digest(file, "sha256").digest() != stated:
                raise Rotten("checkpoint", str(path), "it was damaged, its digest is that of other content")
            file.seek(start)
            with torch.serialization.safe_globals([*STATES, *_CLASSES]):
                kept: dict[str, Any] = torch.load(file, map_location=_place(device), weights_only=True)
        return {name: kept[name] for name in ("numerics", "hash", "device", "facts", "seconds", "made", "progress")}
    except Rotten:
        raise
    except Exception as error:  # content may fail in any way
        raise Rotten("checkpoint", str(path), f"it cannot be read ({type(error).__name__})") from None


def _place(device: str) -> Callable[[Any, str], Any]:
    """Return where a tensor goes: from a GPU to `device`; what methods keep in the machine's memory stays there."""

    def place(storage: Any, location: str) -> Any:
        if location == "cpu":
            return storage
        return torch.serialization.default_restore_location(storage, device)  # type: ignore[no-untyped-call]

    return place
