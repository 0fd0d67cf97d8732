"""What the records say of a claim: the values of both sides, seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from fedecho.core import files, stats
from fedecho.core.config import RunConfig
from fedecho.core.records import Record, find
from fedecho.report.captions import number
from fedecho.report.summary import percent, server_seconds, straggler_score
from fedecho.studies.claims import Claim, runs_of, table_of
from fedecho.studies.profiles import BLOCKS, profile

FLOOR: Final = "at the floor"
Weighed = tuple[float, Record | None]
_COLUMNS: dict[str, Callable[[Record], float]] = {
    "score": lambda record: percent(record.score),
    "straggler": straggler_score,
    "seconds": lambda record: server_seconds(record) / record.rows[-1]["round"],
}
"""Column -> how to read it off a record; nan = it has none."""


@dataclass(frozen=True)
class Sample:
    """The values of both sides of a claim on some seeds."""

    values: Mapping[int, tuple[float, float] | None]
    """Seed -> both, nan for a side of which a run diverged; none where a record is missing."""
    sign: int = 1
    idle: frozenset[int] = frozenset()
    """Seeds on which no run has learnt anything."""

    def on(self, seeds: set[int]) -> Sample:
        """Return the part on some of the seeds."""
        return Sample({seed: pair for seed, pair in self.values.items() if seed in seeds}, self.sign, self.idle)

    @property
    def pairs(self) -> dict[int, tuple[float, float]]:
        """Seed -> both values, where all runs finished."""
        return {seed: pair for seed, pair in self.values.items() if pair and np.isfinite(pair).all()}

    @property
    def leads(self) -> list[float]:
        """How far the claimed direction is ahead, seed by seed."""
        return [self.sign * (a - b) for a, b in self.pairs.values()]

    @property
    def lacking(self) -> int:
        """How many seeds lack a record."""
        return sum(pair is None for pair in self.values.values())

    @property
    def failed(self) -> bool:
        """Whether on a seed `a` alone diverged, which leaving the seed out must not help."""
        return any(pair and np.isnan(pair[0]) and not np.isnan(pair[1]) for pair in self.values.values())

    @property
    def floor(self) -> bool:
        """Whether nothing varies because no run of any seed has learnt anything."""
        return bool(self.pairs) and np.ptp(self.leads) == 0 and self.idle >= self.pairs.keys()

    @property
    def note(self) -> str:
        """What keeps seeds from the numbers."""
        asked, used = len(self.values), len(self.pairs)
        if self.lacking or not asked:
            return f"{asked - self.lacking} of {asked} seeds are there" if asked else "its fresh seeds are not run yet"
        left = f"{asked - used} of {asked} seeds are left out, a run diverged" if used < asked else ""
        return left + ("; it is the better one alone on one of them, so the others do not speak for it" * self.failed)

    def text(self, unit: str = "points") -> str | None:
        """Write the mean lead with its 95 % interval and the two means behind it; none before all seeds are there."""
        if self.lacking or not self.pairs:
            return None
        mean, half, _ = stats.mean_ci(self.leads)
        if unit != "points":
            return f"{mean:.3f} ± {half:.3f} {unit}"
        ends = " against ".join(number(float(end)) for end in np.mean(list(self.pairs.values()), axis=0))
        return f"{FLOOR} ({ends})" if self.floor else f"{number(mean, half, '+')} points ({ends})"


@dataclass(frozen=True)
class Shelf:
    """The records of a profile and of the blocks beside it."""

    name: str
    seen: dict[RunConfig, Record | None] = field(default_factory=dict, compare=False)

    def record(self, config: RunConfig) -> Record | None:
        """Return the record of a run, none without one; raises `InputError` for one that cannot be used."""
        if config not in self.seen:
            folders = map(files.records_dir, (self.name, *(scales[self.name] for scales in BLOCKS.values())))
            found = (find(folder, config) for folder in folders)
            self.seen[config] = next((record for record in found if record is not None), None)
        return self.seen[config]

    def sample(self, claim: Claim) -> Sample:
        """Return the values of both sides on every seed that all runs of a claim have."""
        runs = runs_of(str(claim.test.study), self.name)
        sides = [claim.side(claim.test.a), claim.side(claim.test.b) if claim.test.b else []]
        seeds = sorted(set.intersection(*(set(runs[term[1:]]) for side in sides for term in side)))
        found = {
            seed: [[(term[0], self.record(runs[term[1:]][seed])) for term in side] for side in sides] for seed in seeds
        }
        column = "seconds" if claim.test.kind == "cost" else claim.test.column
        idle = {s for s, sides in found.items() if all(_idle(record, column) for side in sides for _, record in side)}
        return Sample({s: _pair(sides, column) for s, sides in found.items()}, claim.test.sign, frozenset(idle))

    def parts(self, claim: Claim) -> tuple[Sample, Sample]:
        """Return what the seeds gave that were run before the primary claims were written down, and what the fresh."""
        whole, old = self.sample(claim), {*profile(table_of(str(claim.test.study), self.name).at).seeds}
        return whole.on(old), whole.on({*whole.values} - old)


def _pair(sides: Sequence[Sequence[Weighed]], column: str) -> tuple[float, float] | None:
    """Return the weighted sums over the runs of both sides; none where a record is missing."""
    if any(record is None for side in sides for _, record in side):
        return None
    a, b = (sum(weight * _read(record, column) for weight, record in side if record) for side in sides)
    return a, b


def _read(record: Record, column: str) -> float:
    return np.nan if record.status == "diverged" else _COLUMNS[column](record)


def _idle(record: Record | None, column: str) -> bool:
    """Tell whether a run names one class whatever it sees, or none of the stragglers' ones ever."""
    if record is None or record.status == "diverged":
        return False
    if column == "straggler":
        return straggler_score(record) == 0
    return [share for share in record.rows[-1]["per_class"] if share] == [1]
