"""The record of one run: its config, its rows, and what is needed to verify them; one JSON file, written atomically."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedecho.core.checks import Count, Natural, NotNegative, Share, kinds, require
from fedecho.core.config import NUMERICS_VERSION, RunConfig, config_hash, from_dict
from fedecho.core.provenance import commit_date
from fedecho.core.settings import Evaluation
from fedecho.core.store import Store, check_rows, dumps as dumps

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
    (accuracies), tau_mean and tau_max (rounds, since the last row), rejected (uploads; `rejected_<reason>`
    counts those with a reason other than not finite, if any: `learning.gate`), and the method's metrics."""
    facts: dict[str, Any]
    """The schedule's statistics, the partition's sizes, the data's digest."""
    seconds: dict[str, NotNegative]
    """Wall-clock seconds by phase."""
    provenance: dict[str, Any]
    numerics_version: int = NUMERICS_VERSION

    @property
    def phases(self) -> Mapping[str, float]:
        """Its seconds by phase."""
        return self.seconds

    @property
    def model(self) -> Mapping[str, Any] | None:
        """The last scored weights by name; in memory only, and none unless `run(config, keep_model=True)` kept them."""
        return vars(self).get("_model")

    def keeping(self, model: Mapping[str, Any]) -> Record:
        """Return a copy that holds the model's weights, which are not written to its file."""
        same = replace(self)
        vars(same)["_model"] = model
        return same

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
        found = [row["per_class"][label] for row in self._scored_rows() for label in chosen]
        known = [value for value in found if value is not None]  # a class may have no held-out images
        return float(np.mean(known)) if known else None

    def run_config(self) -> RunConfig:
        """Rebuild the config."""
        return from_dict(RunConfig, self.config)

    @property
    def origin(self) -> str:
        """Say when and by which commit it was made, as far as it is known."""
        commit, date = (self.provenance.get(name) for name in ("commit", "date"))
        date = date or (commit and commit_date(commit))  # earlier records have no date of their own
        made = [*([f"of {date}"] if date else []), *([f"commit {commit[:7]}"] if commit else [])]
        return f"the record {', '.join(made)}" + (" with changes" if self.provenance.get("dirty") else "")


_ROW = kinds(
    round=Count, virtual_time=NotNegative, arrivals=Count, accuracy=Share, loss=NotNegative,
    per_class=list[Share | None], tau_mean=NotNegative, tau_max=Natural, rejected=Natural,
)  # fmt: skip
"""What every row has; a class without held-out images has no accuracy."""


def _check(record: Record) -> None:
    """Check a record of the present numerics against its own config: a row for each evaluation, or the first of them
    if it diverged."""
    if record.numerics_version != NUMERICS_VERSION:
        return
    config, rows = record.run_config(), record.rows
    for name, own in (("hash", config_hash(config)), ("seed", config.seed)):
        require(getattr(record, name) == own, name, getattr(record, name), f"its config has {own}")
    check_rows(rows, _ROW)
    whole, words = len(rows) == config.evaluations, f"it has {len(rows)} of {config.evaluations} rows"
    require((record.status == "done") == whole, "status", record.status, words)
    require(len(rows) <= config.evaluations, "rows", len(rows), f"its config asks for {config.evaluations}")
    due = [(number, number * config.protocol.buffer_size) for number in islice(config.evaluated_rounds(), len(rows))]
    made = [(row["round"], row["arrivals"]) for row in rows]
    require(made == due, "rows", made, "its config asks for others (round, arrivals)")
    times = [row["virtual_time"] for row in rows]
    require(times == sorted(times), "virtual_time", times, "time does not run backwards")


RUNS: Store[RunConfig, Record] = Store(
    Record,
    name=lambda config: f"{config.method.name}-{config_hash(config)}",
    own_name=lambda record: f"{record.config['method']['method']}-{record.hash}",
    check=_check,
)
"""The records of training runs, named by method and hash."""
record_path, save, load, find = RUNS.path, RUNS.save, RUNS.load, RUNS.find


def progress_path(folder: Path, config: RunConfig) -> Path:
    """Return the file of a run in progress, apart from the records in `folder`."""
    return folder / "unfinished" / f"{RUNS.name(config)}.pt"


def rounded(value: Any) -> Any:
    """Round floats, also inside lists, to 6 decimals; a number that is not finite becomes none."""
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if isinstance(value, float):
        return round(value, _DIGITS) if np.isfinite(value) else None
    return value


def require_same_vocabulary(stored: Mapping[str, Any], here: Mapping[str, Any], what: str) -> None:
    """Raise `InputError` if a run's vocabulary differs from the one here: its ids would mean other words."""
    then, now = (facts.get("vocabulary_digest") for facts in (stored, here))
    words = f"here the text gives {now}: install the versions of its provenance, or delete it to run again"
    require(then == now, "vocabulary_digest", then, f"so says {what}; {words}")
