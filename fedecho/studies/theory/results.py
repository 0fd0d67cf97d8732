"""What the records of a theory table say: fits, verdicts, and one row per run for tables, captions and manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedecho.core import stats
from fedecho.report.summary import NOT_RUN
from fedecho.theory import fits
from fedecho.theory.config import TheoryRun
from fedecho.theory.fits import Fit, Verdict
from fedecho.theory.records import Row, TheoryRecord, array

Array = NDArray[np.float64]
NOTHING_LEFT = 1e-20
"""Below this |grad f|^2 is what rounding leaves."""


@dataclass(frozen=True)
class Entry:
    """A run with its place in a table."""

    group: Literal["rate", "control", "speed-up", "FedEcho", "term", "arrivals", "method", "teacher"]
    label: str
    run: TheoryRun
    expected: bool | None = None
    """Whether the rule is expected to pass (a control: to fail); none where there is no expectation."""
    series: str = ""
    """term: which factor is varied; arrivals: the method; methods: under which arrivals; teacher: how eta_d falls."""
    at: float = 0.0
    """term: the value of the factor."""
    factors: Mapping[str, Any] = field(default_factory=dict)
    """What the run's row varies: name -> value."""


@dataclass(frozen=True, eq=False)
class Result:
    """An entry of a table and its record, if there is one."""

    entry: Entry
    record: TheoryRecord | None

    @property
    def rows(self) -> list[Row]:
        """One per T and M; none without a record."""
        return self.record.rows if self.record else []

    def values(self, measure: str = "mean") -> Array:
        """Return a measure `[points, trajectories]`, nan where a trajectory diverged."""
        return array(self.record, measure) if self.record else np.empty((0, 0))

    def largest(self, measure: str = "late") -> Array:
        """Return a measure of the trajectories `[trajectories]` at the largest T (and M)."""
        values: Array = self.values(measure)[-1]
        return values

    def level(self, measure: str = "late") -> float:
        """Return the mean of `largest`, nan without a record."""
        return float(self.largest(measure).mean()) if self.record else np.nan

    def diverged(self) -> list[str]:
        """Name the points where a trajectory left the finite numbers."""
        return [f"T = {row['rounds']}, M = {row['buffer']}" for row in self.rows if row["status"] == "diverged"]

    def plateau(self) -> Array | None:
        """Return where FedBuff is predicted to end `[trajectories]`; none where arrivals are not biased."""
        found = self.record.facts.get("plateau") if self.record else None
        return None if found is None else np.array(found, dtype=float)

    def fit_of(self, measure: str) -> Fit | None:
        """Return the exponents in T and M, each only where it varies; none without a record, or where a trajectory
        diverged or nothing is left to measure."""
        named = {"T": [float(row["rounds"]) for row in self.rows], "M": [float(row["buffer"]) for row in self.rows]}
        varied, values = {name: at for name, at in named.items() if len(set(at)) > 1}, self.values(measure)
        if not varied or self.diverged() or values.mean(1).min() < NOTHING_LEFT:
            return None
        return fits.fit(values, varied)

    @cached_property
    def fit(self) -> Fit | None:
        """The exponents of the mean over all rounds."""
        return self.fit_of("mean")

    @cached_property
    def verdict(self) -> Verdict:
        """What the rule says that the result's group is judged by."""
        if self.record is None:
            return Verdict(False, (NOT_RUN,))
        if self.diverged():
            return Verdict(False, (f"diverged at {'; '.join(self.diverged()[:2])}",))
        if self.fit is None:
            return Verdict(False, ("no error is left to fit",))
        return (fits.judge_floor if self.entry.group == "speed-up" else fits.judge_rate)(self.fit)

    def rule(self) -> str:
        """Say in a word or two what the rule says, and on which side of its band the slopes are."""
        if self.verdict.passed or self.record is None:
            return "passes" if self.verdict.passed else NOT_RUN
        if self.fit is None:
            return "diverged" if self.diverged() else "fails: nothing to fit"
        steep = all(slope.high < fits.SLOPE_BAND[1] for slope in self.fit.slopes.values())
        return "falls faster" if steep and self.fit.r2 > fits.LEAST_R2 and self.entry.group != "speed-up" else "fails"


Results = Sequence[Result]


def log_ratio(one: Array, two: Array) -> tuple[float, float, float]:
    """Return the geometric mean of one / two over the trajectories `[trajectories]` that both have, with its 95 %
    interval (Student t)."""
    both = min(len(one), len(two))
    mean, half, _ = stats.mean_ci(list(np.log(one[:both] / two[:both])))
    return float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half))


def predicted(result: Result, results: Results) -> NDArray[np.float64] | None:
    """Return what FedBuff is predicted to leave `[trajectories]` at the largest T: what it leaves under uniform
    arrivals, and where arrivals are biased the plateau on top; none for others, or where there is no plateau."""
    uniform, plateau, of = rival(results, "uniform"), result.plateau(), result.entry.factors
    if of != {"method": "FedBuff", "long": False} or uniform.record is None or plateau is None:
        return None
    return uniform.largest() + plateau


def rival(results: Results, kind: str, long: bool = False) -> Result:
    """Return FedBuff's result under a kind of arrivals, after as long a local training."""
    factors = {"method": "FedBuff", "long": long}
    return next(r for r in results if r.entry.label == kind and r.entry.factors == factors)


# Frames


def frame(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row per record: hash, commit, dirty, status (the worst of its points), score (mean of log
    |grad f|^2)."""
    made = [_made(result.record, result.values()) for result in results if result.record]
    return pd.DataFrame(made, columns=["hash", "commit", "dirty", "status", "score"])


def _made(record: TheoryRecord, values: Array) -> dict[str, Any]:
    worst = max((row["status"] for row in record.rows), key=("done", "unstable", "diverged").index)
    logs = np.log(np.maximum(np.nan_to_num(values, nan=1.0), 1e-300))
    return {**record.provenance, "hash": record.hash, "status": worst, "score": float(logs.mean())}


_ENTRY = ("group", "label", "series", "at")
_ROW = ("rounds", "buffer", "gamma", "limit", "status", "tau_avg", "tau_max")


def points(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row per run, T and M with every number behind the figures: means over the trajectories and half
    widths."""
    names = [*_ENTRY, *_ROW, "mean", "late", "mean_half", "late_half", "least"]
    return pd.DataFrame([line for result in results for line in _points(result)], columns=names)


def _points(result: Result) -> Iterator[dict[str, Any]]:
    entry = {name: getattr(result.entry, name) for name in _ENTRY}
    for row, *values in zip(result.rows, *map(result.values, ("mean", "late", "least")), strict=True):
        mean, late, least = (stats.mean_ci(list(measured)) for measured in values)
        yield entry | {name: row[name] for name in _ROW} | {
            "mean": mean.mean, "late": late.mean, "mean_half": mean.half, "late_half": late.half, "least": least.mean,
        }  # fmt: skip
