"""From records to numbers: a frame with a row per run, and its summary with intervals and paired tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from fedecho.core import stats
from fedecho.core.config import RunConfig
from fedecho.core.records import Record

REFERENCE = "FedEcho"
NOT_RUN, NOT_STATED = "not run", "not stated"
Verdict = Literal["supported", "not supported", "inconclusive", "at the floor", "not run"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""Of claims."""
BLOCK = ["setting", "delay"]
PLACE = [*BLOCK, "method"]
_MADE = ["hash", "commit", "dirty", "cpu"]
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Cell:
    """One run of a table and where it belongs in it."""

    method: str
    setting: str
    delay: str
    config: RunConfig
    factors: Mapping[str, Any] = field(default_factory=dict)
    """What the run's variant and setting vary: name -> value."""


Found = Sequence[tuple[Cell, Record | None]]
"""Cells with their records; none = not run."""


@dataclass(frozen=True)
class Column:
    """Something a study measures: its heading with the unit, how to read it off a record (nan = it has none)."""

    name: str
    value: Callable[[Record], float]
    digits: int = 2


def mean_of(
    metric: str, scale: float = 1.0, how: Callable[[Sequence[float]], Any] = np.mean
) -> Callable[[Record], float]:
    """Return the reader of a metric's mean (or `how` else) over the run's evaluations, times `scale`; nan where it was
    not reported."""

    def read(record: Record) -> float:
        values = [row[metric] for row in record.rows if row.get(metric) is not None]
        return scale * float(how(values)) if values else np.nan

    return read


TARGET = 0.75
"""Accuracy whose first reaching is timed: a round number that nearly every method of the main table reaches."""


def time_to_target(record: Record) -> float:
    """Return the virtual time of the first evaluation with at least the target accuracy; nan if there is none."""
    return next((row["virtual_time"] for row in record.rows if row["accuracy"] >= TARGET), np.nan)


TIME = (
    Column(f"time to {100 * TARGET:g} %, s", time_to_target, 0),
    Column("reached, %", lambda record: 100.0 * (time_to_target(record) < np.inf), 0),
)
"""The mean over runs that reach the target, and their share: a method that seldom does may look fast."""


def server_seconds(record: Record) -> float:
    """Return the wall-clock seconds of a run that the server worked: inference, bank, aggregation, distillation."""
    return sum(record.seconds.get(phase, 0.0) for phase in ("inference", "bank", "aggregation", "distillation"))


def percent(share: float | None) -> float:
    """Return a share in [0, 1] in percent; nan for none."""
    return np.nan if share is None else 100 * share


def straggler_score(record: Record) -> float:
    """Return the accuracy in percent on the classes that only slow clients own; nan without any."""
    return percent(record.class_score(record.facts.get("straggler_classes", [])))


def idle(record: Record) -> bool:
    """Tell whether a run ends by naming one class whatever it sees."""
    return [share for share in record.rows[-1]["per_class"] if share] == [1]


def chance(record: Record) -> float:
    """Return the accuracy in percent of a classifier that names one class whatever it sees, the run's own where it is
    one; nan for running text, or where it diverged."""
    if record.score is None or record.run_config().data.task == "generation":
        return np.nan
    return percent(record.score) if idle(record) else 100 / len(record.rows[-1]["per_class"])


def collect(found: Found, columns: Sequence[Column] = ()) -> pd.DataFrame:
    """Return one row per cell: method, setting, delay, its factors, seed, status, score (percent), straggler (percent,
    on the classes only slow clients own), chance (percent), rejected (uploads), seconds (wall clock), hash, commit,
    dirty, cpu, and the study's own columns; nan or none for what is missing."""
    factors = dict.fromkeys(name for cell, _ in found for name in cell.factors)
    return pd.DataFrame([
        {"method": cell.method, "setting": cell.setting, "delay": cell.delay,
         **{name: cell.factors.get(name, np.nan) for name in factors}, "seed": cell.config.seed,
         **_outcome(record), **{c.name: np.nan if record is None else c.value(record) for c in columns}}
        for cell, record in found
    ])  # fmt: skip


def _outcome(record: Record | None) -> dict[str, Any]:
    if record is None:
        numbers = dict.fromkeys(("score", "straggler", "chance", "rejected", "seconds"), np.nan)
        return {"status": NOT_RUN, **numbers, **dict.fromkeys(_MADE)}
    return {
        "status": record.status,
        "score": percent(record.score),
        "straggler": straggler_score(record),
        "chance": chance(record),
        "rejected": float(sum(row["rejected"] for row in record.rows)),
        "seconds": sum(record.seconds.values()),
        "hash": record.hash,
        **{name: record.provenance.get(name) for name in ("commit", "dirty")},
        "cpu": record.provenance.get("hardware", {}).get("cpu"),
    }


def record_set_hash(frame: pd.DataFrame) -> str:
    """Return 12 hex digits that name the records behind a frame: SHA-256 of their hashes with status and score."""
    made = frame[frame["hash"].notna()].drop_duplicates("hash").sort_values("hash")
    lines = [f"{row['hash']} {row['status']} {row['score']:.6f}" for row in made.to_dict("records")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def summarise(
    frame: pd.DataFrame,
    reference: str = REFERENCE,
    columns: Sequence[Column] = (),
    reported: pd.DataFrame | None = None,
    family: Literal["block", "table"] = "block",
) -> pd.DataFrame:
    """Return one row per setting, delay and method, in percent and points: mean with the half width of its 95 %
    interval, and median, over the n finished seeds, and what chance gives; difference = reference minus method, paired,
    with its p and Holm's p in its `family`; what the paper has (`reported`), and the means of the study's own columns
    over the runs that have them."""
    blocks = [_block(block, reference, reported) for _, block in frame.groupby(BLOCK, sort=False)]
    out = pd.concat(blocks, ignore_index=True)
    families = out.groupby(BLOCK, sort=False) if family == "block" else [((), out)]
    adjusted = pd.concat([holm(tests["p"]) for _, tests in families])
    out.insert(list(out.columns).index("p") + 1, "p_holm", adjusted)
    names = [column.name for column in columns]
    means = frame.groupby(PLACE, sort=False)[names].mean().reset_index()
    return out.merge(means, on=PLACE, how="left") if names else out


def holm(p: pd.Series[float]) -> pd.Series[float]:
    """Return Holm's adjusted p-values of one family; nan stays nan and does not count."""
    return pd.Series(stats.holm([None if np.isnan(value) else value for value in p]), p.index, dtype=float)


def _block(block: pd.DataFrame, reference: str, reported: pd.DataFrame | None) -> pd.DataFrame:
    """Summarise one setting and delay: one test per method other than the reference, and none of the same runs."""
    own = block[block["method"] == reference]
    scores, same = by_seed(own), set(own["hash"])
    groups = block.groupby("method", sort=False)
    tested = {name: {} if name == reference or set(runs["hash"]) == same else scores for name, runs in groups}
    return pd.DataFrame([_method(runs, tested[name], reported) for name, runs in groups])


def by_seed(runs: pd.DataFrame, column: str = "score") -> dict[int, float]:
    """Return seed -> percent of the finished runs (only they have a score)."""
    finished = runs[runs[column].notna()]
    return dict(zip(finished["seed"].astype(int), finished[column].astype(float), strict=True))


def _method(runs: pd.DataFrame, reference: Mapping[int, float], reported: pd.DataFrame | None) -> dict[str, Any]:
    place = {name: str(runs[name].iloc[0]) for name in PLACE}
    scores = by_seed(runs)
    mean, half, n = stats.mean_ci(list(scores.values()))
    straggler = stats.mean_ci(list(by_seed(runs, "straggler").values()))
    gap, gap_half, p, pairs = stats.paired_difference(reference, scores)
    return place | {
        "mean": mean, "half": half, "median": float(np.median([*scores.values()] or [np.nan])), "n": n,
        "diverged": int((runs["status"] == "diverged").sum()), "runs": len(runs),
        "chance": float(runs["chance"].mean()),
        "rejected": float(runs["rejected"].sum()), "difference": gap, "difference_half": gap_half,
        "p": np.nan if p is None else p, "pairs": pairs,
        "straggler_mean": straggler.mean, "straggler_half": straggler.half,
        "reported": np.nan if reported is None else _reported_for(place, reported),
    }  # fmt: skip


def _reported_for(place: Mapping[str, str], reported: pd.DataFrame) -> float:
    """Return the paper's number, nan without one; a number without a delay type stands beside every delay."""
    delay = reported["delay"].isin([place["delay"], NOT_STATED])
    found = reported.loc[delay & (reported["setting"] == place["setting"]) & (reported["method"] == place["method"])]
    return float(found["value"].iloc[0]) if len(found) else np.nan


def best_of_block(summary: pd.DataFrame, reference: str = REFERENCE) -> list[bool]:
    """Tell which rows are best at their setting and delay, among methods of which no run diverged; none where the best
    is no better than chance.

    Rows stand by their paired difference from the reference row, so that rows of fewer seeds are not judged by
    luckier ones; by their mean where nothing is paired.
    """
    block = [summary[name] for name in BLOCK]
    own = summary["mean"].where(summary["method"] == reference).groupby(block, sort=False).transform("max")
    steady = (own - summary["difference"]).fillna(summary["mean"]).where(summary["diverged"] == 0)
    best = steady.groupby(block, sort=False).transform("max")
    return ((steady == best) & ~(summary["mean"] <= summary["chance"] + _ROUNDING)).tolist()
