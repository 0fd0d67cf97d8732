"""A theory run as a record: what every trajectory gave at every T and M; one JSON file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedecho.core.checks import Count, Natural, NotNegative, Positive, kinds, require
from fedecho.core.config import from_dict
from fedecho.core.files import records_dir
from fedecho.core.store import Store, check_rows
from fedecho.theory.config import TheoryRun, run_hash

Row = dict[str, Any]


@dataclass(frozen=True)
class TheoryRecord:
    """The outcome of one run; `rows` and `facts` are a pure function of the config."""

    config: dict[str, Any]
    hash: str
    rows: list[Row]
    """One per T and M: rounds, buffer, gamma, limit (of stability; none = it has none), status (done, unstable,
    diverged), tau_avg and tau_max (rounds); for each trajectory mean, late (second half) and least
    of `|grad f(x_t)|^2`."""
    facts: dict[str, Any]
    """L (of a network: measured at its start and end), sigma_g^2 at x*, F_0 = f(x_0) - f*, statistics of the arrivals,
    and where those are biased and f is convex the plateau that is predicted for FedBuff in each trajectory."""
    seconds: NotNegative
    """Of processor time."""
    provenance: dict[str, Any]

    @property
    def phases(self) -> dict[str, float]:
        """Its seconds by phase: it has one."""
        return {"simulation": self.seconds}

    def run(self) -> TheoryRun:
        """Rebuild the run."""
        return from_dict(TheoryRun, self.config)


MEASURES = ("mean", "late", "least")
_ROW = kinds(
    rounds=Count, buffer=Count, gamma=Positive, limit=Positive | None, status=Literal["done", "unstable", "diverged"],
    tau_avg=NotNegative, tau_max=Natural, **dict.fromkeys(MEASURES, list[NotNegative | None]),
)  # fmt: skip


def _check(record: TheoryRecord) -> None:
    """Check a record against its own config: a row for each M and T, a number for each trajectory unless some
    diverged."""
    run = record.run()
    own = run_hash(run)
    require(record.hash == own, "hash", record.hash, f"its config has {own}")
    check_rows(record.rows, _ROW)
    made = [(row["rounds"], row["buffer"]) for row in record.rows]
    grid = [(t, m) for m in run.buffers for t in run.rounds]
    require(made == grid, "rows", made, "its config asks for others (T, M)")
    for place, row in enumerate(record.rows):
        values = [value for name in MEASURES for value in row[name]]
        whole = len(values) == len(MEASURES) * run.walks and (None not in values or row["status"] == "diverged")
        require(whole, f"rows[{place}].status", row["status"], f"it needs {run.walks} numbers of each measure")


THEORY: Store[TheoryRun, TheoryRecord] = Store(
    TheoryRecord,
    name=lambda run: f"{run.objective}-{run_hash(run)}",
    own_name=lambda record: f"{record.run().objective}-{record.hash}",
    check=_check,
)
"""The records of theory runs, named by objective and hash."""


def folder(profile: str) -> Path:
    """Return where the theory records of a profile lie, apart from those of training runs."""
    return records_dir(profile) / "theory"


def array(record: TheoryRecord, measure: str = "mean") -> NDArray[np.float64]:
    """Return a measure `[points, trajectories]` of a record, nan where a trajectory diverged."""
    return np.array([[np.nan if v is None else v for v in row[measure]] for row in record.rows], dtype=float)
