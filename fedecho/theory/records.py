"""A theory run as a record: what every trajectory gave at every T and M; one JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedecho.core.checks import InputError, require
from fedecho.core.config import from_dict
from fedecho.core.files import records_dir, write_whole
from fedecho.core.records import dumps as dumps
from fedecho.theory.config import TheoryRun, run_hash

Row = dict[str, Any]


@dataclass(frozen=True)
class TheoryRecord:
    """The outcome of one run; `rows` and `facts` are a pure function of the config."""

    config: dict[str, Any]
    hash: str
    rows: list[Row]
    """One per T and M: rounds, buffer, gamma, limit (of stability; none = it has none), status (done, unstable,
    diverged), tau_avg and tau_max (rounds); for each trajectory mean, late (second half) and least of
    |grad f(x_t)|^2."""
    facts: dict[str, Any]
    """L (of a network: measured at its start and end), sigma_g^2 at x*, F_0 = f(x_0) - f*, statistics of the arrivals,
    and where those are biased and f is convex the plateau that is predicted for FedBuff in each trajectory."""
    seconds: float
    """Of processor time."""
    provenance: dict[str, Any]

    def run(self) -> TheoryRun:
        """Rebuild the run."""
        return from_dict(TheoryRun, self.config)


class _Store:
    def path(self, folder: Path, run: TheoryRun) -> Path:
        return folder / f"{run.objective}-{run_hash(run)}.json"

    def save(self, record: TheoryRecord, path: Path) -> None:
        write_whole(path, dumps(record))

    def load(self, path: Path) -> TheoryRecord:
        try:
            return TheoryRecord(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError("record", str(path), f"it cannot be read ({type(error).__name__}); delete it") from None

    def find(self, folder: Path, run: TheoryRun) -> TheoryRecord | None:
        path = self.path(folder, run)
        if not path.is_file():
            return None
        record = self.load(path)
        own = record.hash == run_hash(record.run()) == run_hash(run)
        require(own, "record", str(path), "it belongs to another run; delete it to run again")
        return record


THEORY = _Store()
"""The records of theory runs, named by objective and hash."""


def folder(profile: str) -> Path:
    """Return where the theory records of a profile lie, apart from those of training runs."""
    return records_dir(profile) / "theory"


def array(record: TheoryRecord, measure: str = "mean") -> NDArray[np.float64]:
    """Return a measure `[points, trajectories]` of a record, nan where a trajectory diverged."""
    return np.array([[np.nan if v is None else v for v in row[measure]] for row in record.rows], dtype=float)
