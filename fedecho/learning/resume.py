"""Saves a run's progress, so that it can be resumed with bit-identical results.

No random state is saved: every stream is named by its purpose, and none depends on how much was drawn before.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fedecho.core import processes, provenance
from fedecho.core.checks import require
from fedecho.core.clock import Clock
from fedecho.core.config import NUMERICS_VERSION, RunConfig, config_hash
from fedecho.core.records import require_same_vocabulary, rounded
from fedecho.learning import checkpoint
from fedecho.learning.checkpoint import OVER, Progress

_SHARE = 0.05
_MARGIN = 1.5
"""How many times the longest round so far must still fit before the deadline."""


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
    every: float = 30.0
    """Or a twentieth of the time so far, if that is longer: so much is lost of a run that is killed."""
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
    _began: float = 0.0
    _saved: float = 0.0
    _warned: bool = False
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
        self._began = self._saved = self._round_began = self.now()
        kept = None if self.path is None else self._kept(fresh, config, device)
        if kept is None:
            return fresh
        require_same_vocabulary(kept["facts"], facts, f"checkpoint {self.path}")
        same = kept["facts"] == facts
        require(same, "checkpoint", str(self.path), f"its data or schedule differ from those here; {OVER}")
        self._earlier = [made for made in kept["made"] if made != provenance.collect(device)]
        clock.seconds.update(kept["seconds"])
        progress: Progress = kept["progress"]
        self.begun = progress.round
        return progress

    def _kept(self, fresh: Progress, config: RunConfig, device: str) -> dict[str, Any] | None:
        """Return what can be believed of what was kept, the latest first; say so where that is not the last."""
        assert self.path is not None
        rotten = ""
        for path in (self.path, checkpoint.before(self.path)):
            if path.is_file():
                try:
                    kept = checkpoint.read(path, config, device)
                    _require_right(path, kept["progress"], fresh, config)
                except checkpoint.Rotten as error:
                    rotten = f"{rotten}{error}; "
                    continue
                if rotten:
                    _say(f"{rotten}the run goes on from the file before it, round {kept['progress'].round}")
                    path.replace(self.path)
                return kept
        if rotten:
            _say(f"{rotten}the run starts over")
        return None

    def after(self, progress: Progress) -> None:
        """Save a round's outcome if it is time to; raises `Paused` when no further round is sure to fit, or the process
        was asked to end."""
        if self.path is None or progress.round == self._rounds:
            return
        now = self.now()
        self._longest = max(self._longest, now - self._round_began)
        over = self.deadline is not None and now + _MARGIN * self._longest >= self.deadline
        over = over or processes.asked() is not None
        if over or now - self._saved >= max(self.every, _SHARE * (now - self._began)):
            self._write(progress)
            self._saved = self.now()
        if over:
            raise Paused(progress.round)
        self._round_began = self.now()

    def _write(self, progress: Progress) -> None:
        """Save, or say once that it cannot be done; training goes on."""
        assert self.path is not None
        about = self._about | {"seconds": dict(self._clock.seconds)}
        try:
            checkpoint.write(self.path, about, progress, [*self._earlier, provenance.collect(self._device)])
        except OSError as error:
            if not self._warned:
                _say(f"checkpoint {self.path} cannot be written ({error}); the run goes on without")
            self._warned = True

    def forget(self) -> None:
        """Remove what was kept, once the record is written."""
        if self.path is not None:
            checkpoint.forget(self.path)

    def provenance(self, device: str) -> dict[str, Any]:
        """Return what the record says of its making; `earlier` names what made the first parts, if it was not this."""
        return provenance.collect(device) | ({"earlier": self._earlier} if self._earlier else {})


def _say(text: str) -> None:
    print(f"fedecho: {text}", file=sys.stderr, flush=True)


def _require_right(path: Path, kept: Progress, fresh: Progress, config: RunConfig) -> None:
    """Raise `Rotten` for a progress that does not go with the `fresh` one of its run."""
    try:
        wrong = what_is_wrong(kept, fresh, config)
    except (AttributeError, TypeError, ValueError, LookupError) as error:
        wrong = f"its content is not that of a run ({type(error).__name__})"
    if wrong:
        raise checkpoint.Rotten("checkpoint", str(path), wrong)


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
