"""A file of a run in progress: sealed by its digest, and checked against the run when it is read.

Beside it lies the one that was written before: a file that rotted costs only the time between the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from fedecho.core.checks import InputError, require
from fedecho.core.config import NUMERICS_VERSION, RunConfig, config_hash
from fedecho.core.files import whole
from fedecho.learning.evaluation import Journal
from fedecho.learning.methods.base import STATES
from fedecho.learning.progress import Checkpoints, Progress, Version

OVER = "delete it to start the run over"
_CLASSES = (Version, Checkpoints, Journal, Progress)
_MAGIC = b"fedecho checkpoint 2\n"
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


def read(path: Path, config: RunConfig, device: str = "cpu", fresh: Progress | None = None) -> dict[str, Any]:
    """Return what `write` wrote; only tensors, plain values and registered state classes can be in the file.

    Raises `Rotten` for one that was damaged, or that does not go with the `fresh` progress of its run; `InputError`
    for a file of another run or other numerics.
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
    if fresh is not None:
        try:
            wrong = what_is_wrong(kept["progress"], fresh, config)
        except (AttributeError, TypeError, ValueError, LookupError) as error:
            wrong = f"its content is not that of a run ({type(error).__name__})"
        if wrong:
            raise Rotten("checkpoint", str(path), wrong)
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


def what_is_wrong(kept: Progress, fresh: Progress, config: RunConfig) -> str:
    """Say why a progress cannot be one of a run that began as `fresh`; nothing if it can."""
    rounds = config.protocol.rounds
    if type(kept) is not Progress or type(kept.round) is not int or not 0 < kept.round < rounds:
        return f"it says round {getattr(kept, 'round', None)!r} of {rounds}"
    due = [number for number in config.evaluated_rounds() if number <= kept.round]
    if [row.get("round") for row in kept.rows] != due:
        return f"after round {kept.round} it has {len(kept.rows)} rows, not {len(due)}"
    held = kept.checkpoints
    left = {number: count for number, count in held.uses.items() if count}
    if any(number > kept.round - 1 for number in held.versions) or any(
        (number in held.versions) != bool(left.get(number)) for number in range(kept.round)
    ):
        return "the versions it holds are not those that jobs in flight began from"
    if sum(left.values()) != (rounds - kept.round) * config.protocol.buffer_size:
        return f"{sum(left.values())} arrivals are to come, not {(rounds - kept.round) * config.protocol.buffer_size}"
    if not kept.x.finite():
        return "its weights are not finite"
    models = [kept.x, *(version.model for version in held.versions.values())]
    if not all(_alike(model, fresh.x) for model in models) or not _alike(kept.state, fresh.state):
        return "its tensors are not those of this model and method"
    return ""


def _alike(kept: Any, fresh: Any) -> bool:
    """Tell whether two states are built alike, their tensors of the same shapes and types; what is none in the one may
    be there in the other, and lists of what arrived may be of any length."""
    if kept is None or fresh is None:
        return True
    if isinstance(kept, Tensor) or isinstance(fresh, Tensor):
        same = isinstance(kept, Tensor) and isinstance(fresh, Tensor)
        return same and (kept.shape, kept.dtype) == (fresh.shape, fresh.dtype)
    if type(kept) is not type(fresh):
        return False
    if is_dataclass(kept):
        return all(_alike(getattr(kept, f.name), getattr(fresh, f.name)) for f in fields(kept))
    if isinstance(kept, tuple) and len(kept) == len(fresh):
        return all(map(_alike, kept, fresh))
    return True


def _place(device: str) -> Callable[[Any, str], Any]:
    """Return where a tensor goes: from a GPU to `device`; what methods keep in the machine's memory stays there."""

    def place(storage: Any, location: str) -> Any:
        if location == "cpu":
            return storage
        return torch.serialization.default_restore_location(storage, device)  # type: ignore[no-untyped-call]

    return place
