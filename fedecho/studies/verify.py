"""Recompute records and compare every number: the same bytes where nothing differs that computes, elsewhere what was
measured that this kind of run may differ by (`tolerance`)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fedecho.core import records
from fedecho.core.checks import is_named, require, require_known
from fedecho.core.config import LORA, RunConfig
from fedecho.core.records import Record
from fedecho.studies import sweep, tolerance
from fedecho.studies.study import TABLES
from fedecho.studies.tolerance import Recorded, Tolerances, load
from fedecho.theory import engine
from fedecho.theory.records import TheoryRecord

_SHOWN = 3
"""Columns that a line names."""


@dataclass(frozen=True)
class Outcome:
    """How one record compares with its recomputation."""

    name: str
    kind: str
    gaps: Mapping[str, float] = field(default_factory=dict)
    """Column -> distance (`tolerance.distances`), of those that differ; infinite where it is no matter of numbers."""
    differing: Sequence[str] = ()
    """What is not as it was when the record was made; nothing = the bytes have to be the same."""
    allowed: Mapping[str, float] | None = None
    """Column -> tolerance, none where the kind was not measured; a column without one has to be equal."""
    other_words: bool = False
    """Whether elsewhere the model wrote another text: one word drawn otherwise, and the rest is another."""
    rows: str = ""
    """How many rows agree closely from the first on, of how many (`tolerance.agreeing`)."""

    @property
    def identical(self) -> bool:
        """Tell whether rows and facts are byte-equal."""
        return not self.gaps and not self.other_words

    @property
    def beyond(self) -> list[str]:
        """The columns that are further apart than they may be, the worst first."""
        granted = self.allowed if self.differing and self.allowed else {}
        wrong = [name for name, gap in self.gaps.items() if gap > granted.get(name, 0.0)]
        return sorted(wrong, key=lambda name: -self.gaps[name])

    @property
    def ok(self) -> bool:
        """Tell whether the record stands."""
        return not self.beyond

    def __str__(self) -> str:
        """Say it in a line."""
        about = f"{self.name}: {', '.join(self.differing) or 'made with the same features, libraries and threads'}; "
        if not self.gaps:
            return f"{about}rows and facts are byte-equal" + " but for what the model wrote" * self.other_words
        if not self.differing:
            return f"{about}NOT byte-equal, as it has to be: {self._said(self.beyond)}"
        if self.allowed is None:
            return f"{about}BEYOND: no tolerance was measured for {self.kind}; {self._said(self.beyond)}"
        if self.beyond:
            return f"{about}BEYOND the tolerance of {self.kind}: {self._said(self.beyond)}; {self.rows}"
        nearest = sorted(self.gaps, key=lambda name: -self.gaps[name] / (self.allowed or {})[name])
        return f"{about}within the tolerance of {self.kind}: {self._said(nearest)}; {self.rows}"

    def _said(self, names: Sequence[str]) -> str:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return ", ".join(map(self._column, names[:_SHOWN])) + more

    def _column(self, name: str) -> str:
        if self.gaps[name] == float("inf"):
            return f"{name} is another"
        granted = f" (tolerance {self.allowed.get(name, 0.0):.2g})" if self.differing and self.allowed else ""
        return f"{name} differs by {self.gaps[name]:.2g}{granted}"


def drawn(paths: Iterable[Path], sample: int | None, seed: int | None = None) -> list[Path]:
    """Return `sample` files of records (none = all), drawn at random, repeatably with a `seed`."""
    require_draw(sample, seed)
    found = sorted(paths)
    require(len(found) >= (sample or 1), "sample", sample or "all", f"there are {len(found)} records")
    if sample is None:
        return found
    return [found[index] for index in np.random.default_rng(seed).choice(len(found), sample, replace=False)]


def require_draw(sample: int | None, seed: int | None) -> None:
    """Raise `InputError` for a sample that cannot be drawn."""
    require(sample is None or sample >= 1, "sample", sample, "give at least 1 record")
    require(seed is None or seed >= 0, "seed", seed, "give a whole number >= 0")


def of_table(name: str, profile: str) -> list[Path]:
    """Return the records behind a table that are there; raises `InputError` for a table that has none to recompute."""
    require_known("only", [name], TABLES)
    found = [path for path, record in TABLES[name](profile).records().items() if record is not None]
    require(bool(found), "only", name, "it has no records of runs that could be made again")
    return found


def verify(paths: Sequence[Path], jobs: int | None = None, named: Collection[str] = ()) -> Iterator[Outcome]:
    """Recompute the records in some files and yield how each compares, as soon as it is known.

    Functions of a user's own are imported only if they are among the `named` ones: a record may come from anywhere.
    """
    known = tolerance.committed()
    stored = {path: load(path) for path in paths}
    for record in stored.values():
        if isinstance(record, Record):
            _require_named(record.run_config(), named)
    for record in stored.values():
        if isinstance(record, TheoryRecord):
            yield compare(record, engine.execute_quietly(record.run()), known)
    runs = {r.run_config(): r for r in stored.values() if isinstance(r, Record)}
    for error in sweep.absent_data(runs).values():
        raise error
    with tempfile.TemporaryDirectory() as name:
        for config in sweep.each([sweep.Wanted(Path(name), config) for config in runs], jobs=jobs):
            yield compare(runs[config], records.load(records.record_path(Path(name), config)), known)


def _require_named(config: RunConfig, named: Collection[str]) -> None:
    for function in filter(None, (config.model, config.delays.function)):
        known = not is_named(function) or function.startswith(LORA) or function in named
        require(known, "plugin", function, "a record names this code of a user's own; to have it run, name it too")


def compare(stored: Recorded, again: Recorded, known: Tolerances) -> Outcome:
    """Compare a record with its recomputation; `InputError` where their vocabularies are not the same."""
    if isinstance(stored, Record):
        records.require_same_vocabulary(stored.facts, again.facts, f"record {stored.hash}")
    kind, name = tolerance.kind_of(stored), _name(stored)
    differing = tolerance.differing(stored.provenance, again.provenance)
    if _text(stored) == _text(again):
        return Outcome(name, kind, {}, differing)
    gaps = {column: gap for column, gap in tolerance.distances(stored, again).items() if gap > 0}
    other_words = bool(differing) and gaps.pop(tolerance.WRITTEN, None) is not None
    rows = f"the first {tolerance.agreeing(stored, again)} of {len(stored.rows)} rows agree to {tolerance.CLOSE}"
    return Outcome(name, kind, gaps, differing, known.allowed(kind), other_words, rows)


def _text(record: Recorded) -> str:
    return json.dumps([record.status if isinstance(record, Record) else None, record.rows, record.facts])


def _name(record: Recorded) -> str:
    if isinstance(record, Record):
        return f"{record.config['method']['method']}-{record.hash} (seed {record.seed})"
    return f"theory, {record.run().objective}-{record.hash}"
