"""A table of accuracies: rows against one of them, block by block, with intervals and paired tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure

from fedecho.report import captions, charts, curves, summary
from fedecho.report.summary import Cell, Column, Found
from fedecho.studies.study import Table
from fedecho.studies.training import Trained

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
    """A table of accuracies: rows against one of them, block by block."""

    cells: Sequence[Cell]
    columns: tuple[Column, ...] = ()
    family: Literal["block", "table"] = "block"
    """Over which tests Holm's correction goes: those of a block, or of the whole table."""
    figures: Mapping[str, tuple[Draw, str]] = field(default_factory=dict)
    """Name -> what draws it, and its caption."""

    def asked(self) -> Sequence[Cell]:
        """Return the runs of the table, with their places in it."""
        return self.cells

    def results(self) -> Results:
        """Return what the records say."""
        found = self.found()
        frame = summary.collect(found, self.columns)
        return Results(self, found, frame, summary.summarise(frame, self.reference, self.columns, family=self.family))

    def table(self) -> Table:
        """Return the table with its figures."""
        found = self.results()
        notes = captions.notes(found.frame, self.at) + (f" Compared with: {self.reference}." if self.custom else "")
        hidden = self.by_sweep and not found.frame["hash"].any()  # there is nothing to be seen yet
        drawn = {name: (draw(found), words) for name, (draw, words) in self.figures.items() if not hidden}
        return Table(found.frame, self.shown(found), found.summary, notes, drawn, summary.best_of_block(found.summary))

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
