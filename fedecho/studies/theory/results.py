"""What the records of a study say: fits, verdicts, and one row per run for tables, captions and manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedecho.core import stats
from fedecho.report.summary import NOT_RUN as NOT_RUN_WORD
from fedecho.studies.theory import runs
from fedecho.theory import fits, records
from fedecho.theory.config import Entry
from fedecho.theory.fits import Fit, Verdict
from fedecho.theory.records import Row, TheoryRecord

_POINT = (
    "group", "label", "series", "at", "rounds", "buffer", "gamma", "limit", "status", "tau_avg", "tau_max",
    "mean", "late", "mean_half", "late_half", "least",
)  # fmt: skip
NOTHING_LEFT = 1e-20
"""Below this |grad f|^2 is what rounding leaves."""
NOT_RUN = Verdict(False, (NOT_RUN_WORD,))


@dataclass(frozen=True, eq=False)
class Result:
    """An entry of a study and its record, if there is one."""

    entry: Entry
    record: TheoryRecord | None

    @property
    def rows(self) -> list[Row]:
        """One per T and M; none without a record."""
        return self.record.rows if self.record else []

    def values(self, measure: str = "mean") -> NDArray[np.float64]:
        """Return a measure `[points, walks]`, nan where a walk diverged."""
        return records.array(self.record, measure) if self.record else np.empty((0, 0))

    def factors(self) -> dict[str, list[float]]:
        """Return T and M `[points]`, each only where it varies."""
        named = {"T": [float(row["rounds"]) for row in self.rows], "M": [float(row["buffer"]) for row in self.rows]}
        return {name: values for name, values in named.items() if len(set(values)) > 1}

    def diverged(self) -> list[str]:
        """Name the points where a walk left the finite numbers."""
        return [f"T = {row['rounds']}, M = {row['buffer']}" for row in self.rows if row["status"] == "diverged"]

    def unstable(self) -> int:
        """Count the points whose step is above the limit of stability."""
        return sum(row["status"] == "unstable" for row in self.rows)

    def largest(self, measure: str = "late") -> NDArray[np.float64]:
        """Return a measure of the walks `[walks]` at the largest T (and M)."""
        values: NDArray[np.float64] = self.values(measure)[-1]
        return values

    def plateau(self) -> NDArray[np.float64] | None:
        """Return where FedBuff is predicted to end `[walks]`; none where arrivals are not biased."""
        found = self.record.facts.get("plateau") if self.record else None
        return None if found is None else np.array(found, dtype=float)


def collect(study: str, profile: str) -> list[Result]:
    """Return the results of a study in its order; nothing is played."""
    return [Result(entry, records.find(entry.run, profile)) for entry in runs.entries(study, profile)]


def fit_of(result: Result, measure: str = "mean") -> Fit | None:
    """Return the exponents of a result in T and M; none without a record, or where a walk diverged or nothing is left
    to measure."""
    values = result.values(measure)
    if not result.rows or result.diverged() or not result.factors() or values.mean(1).min() < NOTHING_LEFT:
        return None
    return fits.fit(values, result.factors())


def judge(result: Result) -> Verdict:
    """Apply the rule that the result's group is judged by."""
    if result.record is None:
        return NOT_RUN
    if result.diverged():
        return Verdict(False, (f"diverged at {'; '.join(result.diverged()[:2])}",))
    found = fit_of(result)
    if found is None:
        return Verdict(False, ("no error is left to fit",))
    return fits.judge_floor(found) if result.entry.group == "speed-up" else fits.judge_rate(found)


def series_of(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Return the results by series, in order."""
    out: dict[str, list[Result]] = {}
    for result in results:
        out.setdefault(result.entry.series, []).append(result)
    return out


def term_values(members: Sequence[Result]) -> tuple[list[float], NDArray[np.float64]]:
    """Return the values of a series' factor and what was measured there `[values, walks]`.

    A transient is judged by the mean over all rounds, what stays by that over the second half. What stands at 0 of the
    factor is what the others are measured above.
    """
    measure = "mean" if members[0].entry.series.startswith("transient") else "late"
    at, values = [member.entry.at for member in members], np.array([member.largest(measure) for member in members])
    return (at, values) if at[0] else (at[1:], values[1:] - values[0])


def term_fit(members: Sequence[Result]) -> Fit | None:
    """Return the exponent of one term of the bound in its factor; none before all are run."""
    if any(member.record is None for member in members):
        return None
    at, values = term_values(members)
    return fits.fit(values, {"x": at}) if values.mean(1).min() > 0 else None


def without_bias(result: Result, uniform: Result) -> NDArray[np.float64] | None:
    """Return what FedBuff is predicted to leave `[walks]` at the largest T: what it leaves under uniform arrivals, and
    where arrivals are biased the plateau on top."""
    predicted = result.plateau()
    if result.record is None or uniform.record is None or predicted is None:
        return None
    return uniform.largest() + predicted


def log_ratio(one: NDArray[np.float64], two: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the geometric mean of one / two over the walks `[walks]`, with its 95 % interval (Student t)."""
    mean, half, _ = stats.mean_ci(list(np.log(one / two)))
    return float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half))


def frame(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row per run: group, series, label, hash, commit, dirty, status, score (mean of log |grad f|^2)."""
    return pd.DataFrame([_line(result) for result in results])


def _line(result: Result) -> dict[str, Any]:
    entry, record = result.entry, result.record
    out: dict[str, Any] = {"group": entry.group, "series": entry.series, "label": entry.label}
    if record is None:
        return out | {"hash": None, "commit": None, "dirty": None, "status": NOT_RUN_WORD, "score": np.nan}
    worst = next((s for s in ("diverged", "unstable") if any(row["status"] == s for row in record.rows)), "done")
    logs = np.log(np.maximum(np.nan_to_num(result.values(), nan=1.0), 1e-300))
    made = {name: record.provenance.get(name) for name in ("commit", "dirty")}
    return out | {"hash": record.hash, **made, "status": worst, "score": float(logs.mean())}


def points(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row per run, T and M with every number behind the figures: means over the walks and half widths."""
    out = []
    for result in results:
        for row, mean, late, least in zip(
            result.rows, *(result.values(m) for m in ("mean", "late", "least")), strict=True
        ):
            entry = result.entry
            found = {name: stats.mean_ci(list(values)) for name, values in (("mean", mean), ("late", late))}
            out.append({
                "group": entry.group, "label": entry.label, "series": entry.series, "at": entry.at,
                **{name: row[name] for name in ("rounds", "buffer", "gamma", "limit", "status", "tau_avg", "tau_max")},
                **{name: ci.mean for name, ci in found.items()},
                **{f"{name}_half": ci.half for name, ci in found.items()}, "least": float(least.mean()),
            })  # fmt: skip
    return pd.DataFrame(out, columns=_POINT)
