"""The study behind every theory table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from fedecho.core import numerics
from fedecho.learning.bar import bar
from fedecho.report import captions
from fedecho.studies.study import Finding, Question, Study, Table
from fedecho.studies.theory import base, findings
from fedecho.studies.theory.results import Entry, Result, Results, frame, points
from fedecho.theory import engine, records
from fedecho.theory.config import TheoryRun
from fedecho.theory.records import THEORY, TheoryRecord


@dataclass(frozen=True, eq=False, kw_only=True)
class TheoryStudy(Study):
    """A table of theory runs with its figures."""

    entries: Sequence[Entry]
    rows: Callable[[Results], Iterable[Mapping[str, str]]]
    """The texts of each row, column by column; the first two name it."""
    figures: Mapping[str, tuple[Callable[[Results], Figure | None], str]]
    """Name -> what draws it (none where there is nothing to draw), and its caption."""
    bold: Callable[[Results], list[bool]] | None = None
    beside: Sequence[Entry] = ()
    """Entries of other tables, for figures alone."""

    @property
    def caption(self) -> str:
        """What is simulated, how often, and how to read it."""
        return f"{_repetitions(self.entries)} a point. {self.note}"

    @property
    def places(self) -> list[Path]:
        """The folders that records are looked for in; new ones are written to the first."""
        return self.among(records.folder(self.profile))

    def parts(self) -> tuple[str, ...]:
        """Return the parts of the code that its runs go through."""
        return numerics.RUN, numerics.THEORY

    def paths(self) -> set[Path]:
        """Return the committed records that it reads, there or not."""
        return {THEORY.path(self.places[-1], entry.run) for entry in self.entries}

    def records(self) -> dict[Path, TheoryRecord | None]:
        """Return its committed records by file, each once, none where there is no record."""
        place = self.places[-1]
        return {THEORY.path(place, entry.run): THEORY.find(place, entry.run) for entry in self.entries}

    def find(self, run: TheoryRun) -> TheoryRecord | None:
        """Return the record of a run, none without one."""
        return next((found for place in self.places if (found := THEORY.find(place, run)) is not None), None)

    def results(self) -> list[Result]:
        """Return the results of the entries, then of those beside them; nothing is simulated."""
        return [Result(entry, self.find(entry.run)) for entry in (*self.entries, *self.beside)]

    def lacking(self, fresh: bool = False) -> list[TheoryRun]:
        """Return the runs without a record, each once (if `fresh`, also all of its own)."""
        again = dict.fromkeys(entry.run for entry in self.entries if fresh)
        others = [entry.run for entry in (*self.entries, *self.beside) if entry.run not in again]
        return list(dict.fromkeys([*again, *(run for run in others if self.find(run) is None)]))

    def train(self, jobs: int | None = None, fresh: bool = False) -> None:
        """Simulate what has no record (every run of its own if `fresh`), one after the other, with a bar."""
        todo = self.lacking(fresh)
        if self.custom:
            print(f"custom table {self.name}, in {self.home}: {len(todo)} runs to simulate", file=sys.stderr)
        for run in bar(todo, unit="run", desc=self.name.replace("_", ", ")):
            THEORY.save(engine.execute_quietly(run), THEORY.path(self.places[0], run))

    def questions(self) -> dict[str, Question]:
        """Return by name what claims may ask of it."""
        return {
            name: Question(what, partial(self._answer, place, rule))
            for place, entry in enumerate(self.entries)
            for name, what, rule in findings.asked(entry)
        }

    def _answer(self, place: int, rule: findings.Rule) -> Finding:
        results = self.results()
        return rule(results[place], results) if results[place].record else Finding("not run")

    def table(self) -> Table:
        """Return the table with its figures."""
        results = self.results()
        own = results[: len(self.entries)]
        texts, made = pd.DataFrame(list(self.rows(own))), frame(own)
        drawn = {name: (figure, words) for name, (draw, words) in self.figures.items() if (figure := draw(results))}
        return Table(
            made, texts.set_index(list(texts.columns[:2])), points(own), captions.notes(made, self.profile), drawn,
            self.bold(own) if self.bold else (),
        )  # fmt: skip


def _repetitions(entries: Sequence[Entry]) -> str:
    counts = sorted({entry.run.walks for entry in entries}, reverse=True)
    few = f" ({' or '.join(map(str, counts[1:]))} where few suffice)" if counts[1:] else ""
    return f"{counts[0]} trajectories{few}"


def doubt(run: TheoryRun) -> str:
    """Simulate a run of one's own, keep nothing, and say how its error falls and what the rule says to that."""
    found = Result(Entry("rate", "a run of one's own", run), engine.execute(run))
    slopes = [f"slope in {name} {base.slope_text(found.fit, name)}" for name in (found.fit.slopes if found.fit else ())]
    return f"{', '.join(slopes) or 'no slopes'}: the rule {found.verdict}"
