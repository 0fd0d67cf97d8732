"""02: which hyper-parameters suit each method, on the validation split and on seeds that no table reports?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from fedecho.core import numerics
from fedecho.core.checks import require
from fedecho.report import captions, summary
from fedecho.report.summary import Cell
from fedecho.studies import contenders, response, search
from fedecho.studies.changes import changed
from fedecho.studies.comparison import Trained
from fedecho.studies.contenders import CONTENDERS, Contender, base
from fedecho.studies.grid import DIR, Seeds, main_methods, placed, plain, set_aside
from fedecho.studies.profiles import BLOCKS, block_of, profile as scale_of, unreported
from fedecho.studies.search import Point
from fedecho.studies.study import Study, Table, table

SETTING = (DIR, "large")
"""One setting tunes every method for all; the others use what was chosen here."""
MOST = 10_000
"""Trials, and refinements, of one search."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Tuning(Trained):
    """Every trial, and what each method does best with: on the validation split, in one setting."""

    tuning: bool = True
    contenders: tuple[Contender, ...]
    count: int
    """Points over the whole search space."""
    refinements: int
    seeds: tuple[int, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of every run: dotted field -> value."""

    @property
    def caption(self) -> str:
        """What the trials are and how one of them is chosen."""
        (setting, delay), seeds = SETTING, ", ".join(map(str, self.seeds))
        over, rounds = f"seed{'s' * (len(self.seeds) > 1)} {seeds}", scale_of(self.at).tuning_rounds
        where = f"{setting} and {delay} delays{f', over {rounds} rounds' if rounds else ''}"
        return (
            f"Validation accuracy in %, mean of the last 5 evaluations and over {over}, which no table reports, "
            f"at {where}. Trials of every method: the values in use before, {self.count} over its "
            f"search space, then {self.refinements} × {search.AROUND} around the best. Chosen (bold): the values in "
            "use, unless others are better on every seed. Runs: finished of asked."
        )

    def parts(self) -> set[str]:
        """Return the parts of the code that its runs go through, without asking which runs they are."""
        return {part for contender in self.contenders for part in numerics.of(contender.method)}

    def asked(self) -> list[Cell]:
        """Return seed by seed the runs that are known: where the best trials are refined depends on their records."""
        trials = [(contender, point) for contender in self.contenders for point in self.points(contender)]
        return [self.cell(contender, point, seed) for seed in self.seeds for contender, point in trials]

    def points(self, contender: Contender) -> list[Point]:
        """Return the points of a contender that are known, in the order of the search."""
        space, start = contenders.space_of(contender, self.at), contenders.start_of(contender, self.at)
        return search.search(space, start, self.count, self.refinements, lambda point: self.scores(contender, point))

    def scores(self, contender: Contender, point: Point) -> list[float] | None:
        """Return the validation accuracy of each seed in percent, nan for one that diverged; none before all ran."""
        found = [self.find(self.cell(contender, point, seed).config) for seed in self.seeds]
        return None if None in found else [summary.percent(record.score) for record in found if record]

    def cell(self, contender: Contender, point: Point, seed: int) -> Cell:
        """Return one run of a trial."""
        key = contender.label, *point.items(), seed
        if key not in self._cells:
            changes = {"evaluation.split": "validation", **self.changes, **point}
            plain = base(self.at, contender, seed, scale_of(self.at).tuning_rounds)
            config = changed(placed(plain, self.at, *SETTING), changes)
            self._cells[key] = Cell(contender.label, *SETTING, set_aside(config), point)
        return self._cells[key]

    @cached_property
    def _cells(self) -> dict[tuple[object, ...], Cell]:
        """Those that were made, each of which is asked for many times."""
        return {}

    def table(self) -> Table:
        """Return the trials with their figure."""
        frame, found = summary.collect(self.found()), self.trials()
        spaces = [contenders.space_of(contender, self.at) for contender in self.contenders]
        decays = {path for space in spaces for path, of in space.items() if of.decay}
        drawn = response.response_curves(found, decays) if frame["hash"].any() else None
        figures = {} if drawn is None else {"trials": (drawn, response.CAPTION)}
        notes = captions.notes(frame, self.at)
        return Table(frame, response.display(found), found, notes, figures, found["chosen"].tolist())

    def trials(self) -> pd.DataFrame:
        """Return one row per contender and trial: its values, mean validation accuracy (percent) over the n finished
        runs, diverged, runs, stage of the search, and whether it is the one chosen."""
        return pd.DataFrame([row for contender in self.contenders for row in self._trials(contender)])

    def _trials(self, contender: Contender) -> list[dict[str, Any]]:
        points, chosen = self.points(contender), self._chosen(contender)
        return [
            {"method": contender.label, **point, **self._outcome(contender, point),
             "stage": response.STAGES[(place > 0) + (place > self.count)], "chosen": point == chosen}
            for place, point in enumerate(points)
        ]  # fmt: skip

    def _outcome(self, contender: Contender, point: Point) -> dict[str, Any]:
        found = [self.find(self.cell(contender, point, seed).config) for seed in self.seeds]
        scores = [summary.percent(record.score) for record in found if record and record.status == "done"]
        diverged = sum(record is not None and record.status == "diverged" for record in found)
        mean = float(np.mean(scores)) if scores else np.nan
        return {"mean": mean, "half": np.nan, "n": len(scores), "diverged": diverged, "runs": len(found)}

    def chosen(self) -> dict[str, Point]:
        """Return contender -> the values to use; it is left out before all of its trials are there."""
        found = {contender.label: self._chosen(contender) for contender in self.contenders}
        return {label: point for label, point in found.items() if point is not None}

    def _chosen(self, contender: Contender) -> Point | None:
        points = self.points(contender)
        outcomes = [scores for point in points if (scores := self.scores(contender, point)) is not None]
        return search.chosen(points, outcomes) if len(outcomes) == len(points) else None

    def edges(self) -> list[str]:
        """Name the chosen values that are the smallest or largest tried: a wider space may hold better ones."""
        chosen = self.chosen()
        return [
            f"{of.label} {path.split('.', 1)[1]} = {chosen[of.label][path]:g} ({end} tried)"
            for of in self.contenders
            if of.label in chosen
            for path, end in search.edges(contenders.space_of(of, self.at), chosen[of.label], self.points(of)).items()
        ]

    def summary(self) -> str:
        """Say in a line for each method what was chosen, and whether it lies at an edge."""
        return "\n".join([
            *(f"{label}: {response.values_text(point)}" for label, point in self.chosen().items()),
            *(f"at an edge, so a wider space may hold better: {edge}" for edge in self.edges()),
        ])  # fmt: skip

    def verdict(self) -> str:
        """Say whether the values that the tables use are those chosen here, and which of those lie at an edge."""
        edges = captions.bullets(self.edges()) or "* none"
        return f"{_used(self.chosen(), self.at)}\n\nAt the edge of their search space:\n\n{edges}"


def _used(chosen: Mapping[str, Mapping[str, float]], scale: str) -> str:
    if scale.endswith("smoke"):
        return (
            "This profile borrows the values of a larger one from `contenders.TUNED`; what it chose here is not used."
        )
    missing = ", ".join(variant.label for variant in main_methods(scale) if variant.label not in chosen)
    if missing:
        return f"The tuning is not complete: nothing is chosen yet for {missing}, whose tables use an earlier search."
    found = contenders.FOUND.get(scale, {})
    last = {label: contenders.complete(CONTENDERS[label], scale, found[label][-1]) for label in found if found[label]}
    wrong = [label for label, values in chosen.items() if last.get(label) != values]
    if wrong:
        return f"`contenders.FOUND` differs for {', '.join(wrong)}."
    late = contenders.PENDING.get(scale, ())
    without = [label for label in contenders.rows_of(scale) if label not in last]
    words = f", but the tables still use what was chosen before for {', '.join(late)}" if late else ""
    words += f"; nothing is chosen yet for {', '.join(without)}, in no other table so far" if without else ""
    return f"`contenders.FOUND` equals the chosen values{words}."


def tuning_of(
    contender: Contender,
    name: str,
    *,
    changes: Mapping[str, Any],
    count: int,
    refinements: int,
    seeds: Sequence[int],
) -> Tuning:
    """Return the tuning of one method, at a profile or a block's, as a custom table; raises `InputError` for a budget
    of nothing, a space that cannot be searched, or a seed that a table reports."""
    require(1 <= count <= MOST, "trials", count, f"give 1 to {MOST:,}")
    require(0 <= refinements <= MOST, "refinements", refinements, f"give 0 to {MOST:,}")
    seeds = unreported(name, seeds)
    size = changes.get("data.validation_size", 1)
    wanted = "a trial is scored on a validation split; leave it out, or give more"
    require(size != 0, "data.validation_size", size, wanted)
    space = contenders.space_of(contender, name)
    ends = [f"{path}={of.low:g}:{of.high:g}" for path, of in space.items()]
    asked = {"method": contender.label, "at": name, "space": ends, "set": dict(changes), "trials": count,
             "refinements": refinements, "seeds": list(seeds)}  # fmt: skip
    words = [f"fedecho tune --method '{contender.label}' --profile {name} --space {' '.join(ends)}",
             *(["--set", *(f"{path}={value}" for path, value in changes.items())] if changes else []),
             f"--trials {count} --refinements {refinements} --seeds {' '.join(map(str, seeds))}"]  # fmt: skip
    return Tuning(
        name="tune", title=f"Tuning of {contender.label}", notebook="02_tuning", profile=block_of(name)[1], scale=name,
        contenders=(contender,), count=count, refinements=refinements, seeds=seeds, changes=changes,
        custom=asked, command=" ".join(words),
    )  # fmt: skip


# One table for the main profile and one for each block


def _tuning(name: str, title: str, notebook: str, block: str = "") -> Callable[..., Study]:
    def build(
        profile: str = "laptop", *, methods: Sequence[str] | None = None, trials: int = 0, seeds: Seeds = None
    ) -> Study:
        require(0 <= trials <= MOST, "trials", trials, f"give 1 to {MOST:,}, or 0 for as many as the table has")
        of = scale_of(BLOCKS[block][profile] if block else profile)
        rows = plain(contenders.rows_of(of.name) if methods is None else methods)
        return Tuning(
            name=name, title=title, notebook=notebook, profile=profile, scale=of.name, count=trials or of.trials,
            contenders=tuple(contenders.contender_of(row.label, {}) for row in rows), refinements=of.refinements,
            seeds=unreported(of.name, seeds),
        )  # fmt: skip

    build.__name__ = name
    return table(build)


tuning = _tuning("tuning", "Tuning on the validation split", "02_tuning")
generation_tuning = _tuning("generation_tuning", "Tuning of the generative task", "13_table_generation", "generation")
language_tuning = _tuning("language_tuning", "Tuning of the language block", "11_table_language", "language")
cifar_tuning = _tuning("cifar_tuning", "Tuning of the reduced CIFAR-10 block", "14_table_cifar", "cifar")
cifar_resnet_tuning = _tuning(
    "cifar_resnet_tuning", "Tuning of CIFAR-10 with a residual network", "15_table_cifar_resnet", "resnet"
)
