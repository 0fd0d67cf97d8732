"""A record is one run: its config, its rows, and what is needed to believe them; one JSON file, written atomically."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fedecho.core.checks import InputError, require
from fedecho.core.clock import Clock
from fedecho.core.config import NUMERICS_VERSION, RunConfig, config_hash, from_dict, to_dict
from fedecho.core.files import write_whole
from fedecho.core.settings import Evaluation

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = dict[str, Any]
_DIGITS = 6


@dataclass(frozen=True)
class Record:
    """The outcome of `experiment.run(config)`; `rows` and `facts` are a pure function of the config."""

    config: dict[str, Any]
    hash: str
    seed: int
    status: Literal["done", "diverged"]
    rows: list[Row]
    """One per evaluation: round, virtual_time (virtual seconds), arrivals, accuracy, loss (nats), per_class
    (accuracies), tau_mean and tau_max (rounds, since the last row), rejected (uploads), and what the method reports."""
    facts: dict[str, Any]
    """The schedule's statistics, the partition's sizes, the data's digest."""
    seconds: dict[str, float]
    """Wall-clock seconds by phase."""
    provenance: dict[str, Any]
    numerics_version: int = NUMERICS_VERSION

    @property
    def score(self) -> float | None:
        """Mean accuracy of the last 5 evaluations (or as the config says), in [0, 1]; none for a run that diverged."""
        return self.mean_of_last("accuracy")

    def mean_of_last(self, column: str) -> float | None:
        """Return the mean of a column over the scored evaluations; none for a run that diverged."""
        if self.status == "diverged":
            return None
        return float(np.mean([row[column] for row in self._scored_rows()]))

    def _scored_rows(self) -> list[Row]:
        return self.rows[-int(self.config.get("evaluation", {}).get("scored", Evaluation().scored)) :]

    def class_score(self, classes: Iterable[int]) -> float | None:
        """Return the mean accuracy on `classes` over the scored evaluations; none without classes or when diverged."""
        chosen = list(classes)
        if self.status == "diverged" or not chosen:
            return None
        return float(np.mean([np.asarray(row["per_class"])[chosen] for row in self._scored_rows()]))

    def run_config(self) -> RunConfig:
        """Rebuild the config."""
        return from_dict(RunConfig, self.config)


def rounded(value: Any) -> Any:
    """Round floats, also inside lists, to 6 decimals; a number that is not finite becomes none."""
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if isinstance(value, float):
        return round(value, _DIGITS) if np.isfinite(value) else None
    return value


def new_record(
    config: RunConfig,
    status: Literal["done", "diverged"],
    rows: list[Row],
    facts: dict[str, Any],
    clock: Clock,
    provenance: dict[str, Any],
) -> Record:
    """Assemble the record of a finished run."""
    facts = {name: rounded(value) for name, value in facts.items()}
    return Record(to_dict(config), config_hash(config), config.seed, status, rows, facts, clock.phases(), provenance)


def require_same_vocabulary(stored: Mapping[str, Any], here: Mapping[str, Any], what: str) -> None:
    """Raise `InputError` where the facts of a run say another vocabulary than here: its ids mean other words."""
    then, now = (facts.get("vocabulary_digest") for facts in (stored, here))
    words = f"here the text gives {now}: install the versions of its provenance, or delete it to run again"
    require(then == now, "vocabulary_digest", then, f"so says {what}; {words}")


def record_path(folder: Path, config: RunConfig) -> Path:
    """Return the file of a run's record in `folder`."""
    return folder / f"{config.method.name}-{config_hash(config)}.json"


def progress_path(folder: Path, config: RunConfig) -> Path:
    """Return the file of a run in progress, apart from the records in `folder`."""
    return folder / "unfinished" / f"{record_path(folder, config).stem}.pt"


def save(record: Record, path: Path) -> None:
    """Write a record so that a reader sees all of it or nothing; one row a line, no NaN or infinity."""
    write_whole(path, dumps(record))


def dumps(record: DataclassInstance) -> str:
    """Return a record as JSON text, a line for each of its `rows`."""
    values = asdict(record)
    rows = ",\n  ".join(json.dumps(row, allow_nan=False) for row in values.pop("rows"))
    head = json.dumps(values, indent=1, allow_nan=False).removesuffix("\n}")
    return f'{head},\n "rows": [\n  {rows}\n ]\n}}\n'


def load(path: Path) -> Record:
    """Read a record; raises `InputError` for a file that is not one."""
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            "record", str(path), f"it cannot be read ({type(error).__name__}); delete it to run again"
        ) from None


def require_usable(folder: Path) -> None:
    """Raise `InputError` unless records can be read from and written to `folder`, or it can be made."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    allowed = os.access(nearest, os.R_OK | os.W_OK | os.X_OK)
    require(nearest.is_dir() and allowed, "records", str(folder), "it must be a folder that can be read and written")


def find(folder: Path, config: RunConfig) -> Record | None:
    """Return the record of `config` in `folder` if there is one of the present numerics."""
    path = record_path(folder, config)
    if not path.is_file():
        return None
    state = path.stat()
    record, own_hash = _read(path, state.st_mtime_ns, state.st_size)
    own = record.hash == own_hash == config_hash(config)
    require(own, "record", str(path), "it belongs to another run; delete it to run again")
    return record if record.numerics_version == NUMERICS_VERSION else None


@functools.lru_cache(maxsize=1024)
def _read(path: Path, modified: int, size: int) -> tuple[Record, str]:
    """Return a file's record and its config's hash; read again only once the file has changed."""
    record = load(path)
    return record, config_hash(record.run_config())


def all_in(folder: Path) -> Iterator[Record]:
    """Yield the records of the present numerics in `folder`, by file name."""
    require(folder.is_dir(), "records", str(folder), "no such folder; run `fedecho sweep` first")
    for path in sorted(folder.glob("*.json")):
        record = load(path)
        if record.numerics_version == NUMERICS_VERSION:
            yield record
