"""What the records say of a claim: the values of both sides, seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fedecho.core.records import Record, find
from fedecho.report.summary import idle, percent, server_seconds, straggler_score
from fedecho.studies.claims import runs_of, table_of
from fedecho.studies.claims.claim import Claim
from fedecho.studies.claims.verdicts import Sample
from fedecho.studies.profiles import profile

Weighed = tuple[float, Record | None]
_COLUMNS: dict[str, Callable[[Record], float]] = {
    "score": lambda record: percent(record.score),
    "straggler": straggler_score,
    "seconds": lambda record: server_seconds(record) / record.rows[-1]["round"],
}
"""Column -> how to read it off a record; nan = it has none."""


def sample(claim: Claim, name: str) -> Sample:
    """Return the values of both sides on every seed that all runs of a claim have, from the committed records of its
    study at a profile."""
    study, runs = table_of(str(claim.test.study), name), runs_of(str(claim.test.study), name)
    sides = [claim.side(claim.test.a), claim.side(claim.test.b) if claim.test.b else []]
    seeds = sorted(set.intersection(*(set(runs[term[1:]]) for side in sides for term in side)))
    place = study.places[-1]
    found = {s: [[(term[0], find(place, runs[term[1:]][s])) for term in side] for side in sides] for s in seeds}
    column = "seconds" if claim.test.kind == "cost" else claim.test.column
    still = {s for s, sides in found.items() if all(_idle(record, column) for side in sides for _, record in side)}
    return Sample({s: _pair(sides, column) for s, sides in found.items()}, claim.test.sign, frozenset(still))


def parts(claim: Claim, name: str) -> tuple[Sample, Sample]:
    """Return what the seeds gave that were run before the primary claims were written down, and what the fresh."""
    whole, old = sample(claim, name), {*profile(table_of(str(claim.test.study), name).at).seeds}
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
    return straggler_score(record) == 0 if column == "straggler" else idle(record)
