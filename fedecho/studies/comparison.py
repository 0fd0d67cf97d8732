"""Studies of training runs: which runs they need, where the records lie, what is trained; and tables of accuracies."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from fedecho.core import files, numerics, records
from fedecho.core.checks import RecordError
from fedecho.core.config import RunConfig, config_hash
from fedecho.core.records import Record
from fedecho.learning.cost import duration
from fedecho.learning.cost.duration import Rates
from fedecho.report import captions, charts, curves, summary
from fedecho.report.reported import numbers
from fedecho.report.summary import Cell, Column, Found
from fedecho.studies import sweep
from fedecho.studies.study import TABLES, Study, Table


@dataclass(frozen=True)
class Obstacle:
    """Runs that a table does not train, and why."""

    runs: tuple[RunConfig, ...]
    why: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Trained(Study):
    """A study of training runs."""

    scale: str = ""
    """The profile of the runs, where it is that of a block."""
    tuning: bool = False
    """Whether the runs are trials of a tuning, whose records lie apart."""
    by_sweep: bool = False
    """Whether only a sweep trains the committed table's missing runs: they take hours, and a claim waits for them."""

    @property
    def at(self) -> str:
        """The profile of its runs."""
        return self.scale or self.profile

    @property
    def places(self) -> list[Path]:
        """The folders that records are looked for in; what is trained is written to the first."""
        return self.among((files.tuning_dir if self.tuning else files.records_dir)(self.at))

    def parts(self) -> set[str]:
        """Return the parts of the code that its runs go through."""
        return {part for method in {c.method for c in self.configs} for part in numerics.of(method)}

    @property
    def configs(self) -> list[RunConfig]:
        """The runs, each once."""
        return list(dict.fromkeys(cell.config for cell in self.asked()))

    def paths(self) -> set[Path]:
        """Return the committed records that it reads, there or not."""
        place = self.places[-1]
        return {records.record_path(place, config) for config in self.configs}

    def records(self) -> dict[Path, Record | None]:
        """Return its committed records by file, each once, none where there is no record."""
        place = self.places[-1]
        return {records.record_path(place, config): records.find(place, config) for config in self.configs}

    def finished(self, device: str = "cpu") -> list[tuple[RunConfig, float]]:
        """Return the runs that were finished on a kind of device, with their seconds."""
        done = [(config, r) for config in self.configs if (r := self._readable(config)) and r.status == "done"]
        gpu = duration.kind(device) == "cuda"
        made = [(config, r) for config, r in done if bool(r.provenance.get("hardware", {}).get("gpu")) == gpu]
        return [(config, seconds) for config, r in made if (seconds := sum(r.seconds.values()))]

    def about(self, runs: Sequence[RunConfig]) -> str:
        """Say how long runs take on a CPU, as predicted from its finished ones."""
        return duration.about(runs, Rates("cpu", self.finished())) if runs else ""

    def find(self, config: RunConfig) -> Record | None:
        """Return the record of a run, none without one."""
        return next((found for place in self.places if (found := records.find(place, config)) is not None), None)

    def _readable(self, config: RunConfig) -> Record | None:
        """Return the record of a run, none if it is invalid: its time is unknown, and its users refuse or remake it."""
        try:
            return self.find(config)
        except RecordError:
            return None

    def found(self) -> Found:
        """Return the cells with their records."""
        return [(cell, self.find(cell.config)) for cell in self.asked()]

    def lacking(self, fresh: bool = False) -> list[RunConfig]:
        """Return the runs without a record (if `fresh`, all)."""
        return [config for config in self.configs if fresh or self.find(config) is None]

    def own(self) -> list[RunConfig]:
        """Return the runs that no earlier table has; with `fresh`, these are trained again."""
        theirs: set[str] = set()
        for name in () if self.custom or self.tuning else TABLES:
            other = TABLES[name](self.profile)
            if name == self.name:
                break
            if isinstance(other, Trained) and other.places == self.places:
                theirs |= set(map(config_hash, other.configs))
        return [config for config in self.configs if config_hash(config) not in theirs]

    def obstacles(self, fresh: bool = False) -> list[Obstacle]:
        """Return the missing runs (all, if `fresh`) that a table does not train, with the reasons.

        Reasons: absent data, days of training, trials of a committed search (every table has its choice already), and
        runs that only a sweep trains.
        """
        todo = self.lacking(fresh)
        if todo and self.at == "paper":
            asked = "`fedecho sweep --profile paper --budget 25m` trains them"
            why = f"{len(todo)} runs, {self.about(todo)} on a CPU, are not trained by a table: {asked}"
            return [Obstacle(tuple(todo), why)]
        out = []
        if todo and (self.tuning or self.by_sweep) and not (fresh or self.custom or self.at.endswith("smoke")):
            asked = f"`fedecho sweep --profile {self.at} --only {self.name}` trains them"
            why = f"{len(todo)} {'trials' if self.tuning else 'runs'}, {self.about(todo)}, are not trained by a table"
            out.append(Obstacle(tuple(todo), f"{why}: {asked}"))
        for source, error in sweep.absent_data(todo).items():
            runs = tuple(config for config in todo if (config.data.name, config.data.pool) == source)
            out.append(Obstacle(runs, f"{len(runs)} runs are not trained, {error}"))
        return out

    def trainable(self, fresh: bool = False) -> list[RunConfig]:
        """Return the runs that a table trains: the missing ones (all, if `fresh`) without those in `obstacles`."""
        refused = {config for obstacle in self.obstacles(fresh) for config in obstacle.runs}
        return [config for config in self.lacking(fresh) if config not in refused]

    def train(self, jobs: int | None = None, fresh: bool = False) -> None:
        """Train the missing runs and, if `fresh`, all of the study's own runs.

        Runs that must not or cannot be trained here are skipped; the table then says that they were not run.
        """
        for obstacle in self.obstacles(fresh):
            print(f"{self.name}: {obstacle.why}", file=sys.stderr)
        if self.custom:
            todo = self.trainable(fresh)
            print(f"custom table {self.name}, in {self.home}: {len(todo)} runs to train", file=sys.stderr)
        if fresh:
            mine = set(self.own())
            again = [config for config in self.trainable(fresh) if config in mine]
            sweep.sweep({self.places[0]: again}, jobs=jobs, fresh=True)
        refused = {config for obstacle in self.obstacles(fresh and self.tuning) for config in obstacle.runs}
        while todo := [config for config in self.lacking() if config not in refused]:  # trials may ask for others
            sweep.sweep({self.places[0]: todo}, jobs=jobs)


# A table of accuracies

Draw = Callable[["Results"], Figure]


@dataclass(frozen=True, eq=False)
class Results:
    """The runs of a comparison and what they gave; figures are drawn from this."""

    study: Comparison
    found: Found
    frame: pd.DataFrame
    """One row per run (`summary.collect`)."""
    summary: pd.DataFrame
    """One row per setting, delay and method (`summary.summarise`)."""

    def factor(self, name: str, of: Literal["method", "setting", "delay"] = "method") -> dict[str, float]:
        """Map each row's (setting's, delay's) name to the value of a factor; those without it are left out."""
        values = {getattr(cell, of): cell.factors[name] for cell, _ in self.found if name in cell.factors}
        return {label: float(value) for label, value in sorted(values.items(), key=lambda item: float(item[1]))}

    def wide(self, row: str, column: str) -> pd.DataFrame:
        """Return the means as a map over two factors of the rows."""
        ends = self.factor(row), self.factor(column)
        names = self.summary["method"]
        placed = self.summary.assign(row=names.map(ends[0]).astype(float), column=names.map(ends[1]).astype(float))
        return placed.pivot_table(index="row", columns="column", values="mean", dropna=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison(Trained):
    """A table of accuracies: in each block, rows are compared with a reference row."""

    cells: Sequence[Cell]
    columns: tuple[Column, ...] = ()
    family: Literal["block", "table"] = "block"
    """Over which tests Holm's correction goes: those of a block, or of the whole table."""
    figures: Mapping[str, tuple[Draw, str]] = field(default_factory=dict)
    """Name -> what draws it, and its caption."""
    paper: str = ""
    """The file of the paper's own numbers (`reported`); none given = it has none."""

    def asked(self) -> Sequence[Cell]:
        """Return the runs of the table, with their places in it."""
        return self.cells

    def results(self) -> Results:
        """Return what the records say."""
        found = self.found()
        frame = summary.collect(found, self.columns)
        said = numbers(self.paper) if self.paper else None
        return Results(self, found, frame, summary.summarise(frame, self.reference, self.columns, said, self.family))

    def table(self) -> Table:
        """Return the table with its figures."""
        found = self.results()
        notes = captions.notes(found.frame, self.at) + (f" Compared with: {self.reference}." if self.custom else "")
        hidden = self.by_sweep and not found.frame["hash"].any()  # there is nothing to be seen yet
        drawn = {name: (draw(found), words) for name, (draw, words) in self.figures.items() if not hidden}
        bold = summary.best_of_block(found.summary, self.reference)
        return Table(found.frame, self.shown(found), found.summary, notes, drawn, bold)

    def shown(self, found: Results) -> pd.DataFrame:
        """Return the summary as texts to read."""
        return captions.display(found.summary, self.reference, self.columns)

    @property
    def caption(self) -> str:
        """What the numbers are and how to read them."""
        owned = any(cell.config.partition.straggler_classes for cell in self.cells)
        return captions.comparison(self.note, self.family, owned)


BARS: dict[str, tuple[Draw, str]] = {
    "bars": (lambda found: charts.bars(found.summary, found.study.reference), captions.BARS)
}
CURVES = {**BARS, "curves_rounds": (lambda found: curves.curves(found.found), captions.CURVES)}
"""The figures that most tables have: name -> what draws it, and its caption."""
