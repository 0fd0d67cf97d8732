"""02: which hyper-parameters suit each method, on the validation split and on seeds that no table reports?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from fedecho.core import stats
from fedecho.core.checks import require
from fedecho.core.config import override_all
from fedecho.report import captions, summary
from fedecho.report.figures import finished, grid, label_axes, say_not_run, style
from fedecho.report.summary import Cell
from fedecho.studies import contenders, search
from fedecho.studies.contenders import CONTENDERS, TUNED, base
from fedecho.studies.grid import DIR, Seeds, main_methods, placed, plain
from fedecho.studies.profiles import BLOCKS
from fedecho.studies.profiles import profile as scale_of
from fedecho.studies.search import Point
from fedecho.studies.study import Study, Table, table
from fedecho.studies.training import Trained

SETTING = (DIR, "large")
CAPTION = (
    "Validation accuracy in %, mean over the finished runs of a trial, against the local learning rate (log "
    "scale), a panel for each method; colour: its second hyper-parameter (log scale). Ring: the chosen trial; a "
    "cross at the bottom: a run of this trial diverged."
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Tuning(Trained):
    """Every trial, and what each method does best with: on the validation split, in one setting."""

    tuning: bool = True
    labels: tuple[str, ...]
    """Contenders."""
    count: int
    """Points over the whole search space."""
    seeds: tuple[int, ...]

    def asked(self) -> list[Cell]:
        """Return seed by seed the runs that are known: where the best trials are refined depends on their records."""
        points = {label: self.points(label) for label in self.labels}
        return [
            self.cell(label, point, seed) for seed in self.seeds for label in self.labels for point in points[label]
        ]

    def points(self, label: str) -> list[Point]:
        """Return the points of a contender that are known, each once."""
        space, start = contenders.space_of(label, self.at), contenders.start_of(label, self.at)
        rounds = scale_of(self.at).refinements
        found = search.search(space, start, self.count, rounds, lambda point: self.scores(label, point))
        return [point for place, point in enumerate(found) if point not in found[:place]]

    def scores(self, label: str, point: Point) -> list[float] | None:
        """Return the validation accuracy of each seed in percent, nan for one that diverged; none before all ran."""
        found = [self.find(self.cell(label, point, seed).config) for seed in self.seeds]
        return None if None in found else [summary.percent(record.score) for record in found if record]

    def cell(self, label: str, point: Point, seed: int) -> Cell:
        """Return one run of a trial."""
        of = scale_of(self.at)
        # The bundled data has a validation split of its own; elsewhere the clients' last images are set aside.
        own = of.data.pool == "held-out" or of.data.validation_size > 0
        split = {"evaluation.split": "validation"} | ({} if own else {"data.validation_size": 5000})
        config = placed(base(self.at, CONTENDERS[label], seed), self.at, *SETTING)
        return Cell(label, *SETTING, override_all(config, split | point), point)

    def train(self, jobs: int | None = None, fresh: bool = False) -> None:
        """Run the trials that lack a record, and then those that their outcomes ask for."""
        super().train(jobs, fresh)
        while self.trainable():
            super().train(jobs)

    def table(self) -> Table:
        """Return the trials with their figure."""
        frame = summary.collect(self.found())
        found = summarise(frame)
        text = (
            f"Profile {self.at}. Validation accuracy, mean of the last 5 evaluations and over the finished runs; "
            "every method had the same number of trials, on seeds that no table reports, without the test images. "
            f"A trial with a run that diverged is never chosen. {captions.provenance_text(frame)}"
        )
        drawn = {"trials": (trials_figure(found), CAPTION)}
        return Table(frame, display(found), found, text, drawn, found["best"].tolist())

    def chosen(self) -> dict[str, Point]:
        """Return contender -> the values to use; it is left out before all of its trials are there."""
        return {label: point for label in self.labels if (point := self._chosen(label)) is not None}

    def _chosen(self, label: str) -> Point | None:
        points = self.points(label)
        outcomes = [scores for point in points if (scores := self.scores(label, point)) is not None]
        return search.chosen(points, outcomes) if len(outcomes) == len(points) else None

    def edges(self) -> list[str]:
        """Name the chosen values that are the smallest or largest tried: a wider space may hold better ones."""
        return [
            f"{label} {path.split('.', 1)[1]} = {point[path]:g} ({end} tried)"
            for label, point in self.chosen().items()
            for path, end in search.edges(contenders.space_of(label, self.at), point, self.points(label)).items()
        ]

    def verdict(self) -> str:
        """Say whether the values that the tables use are those chosen here, and which of those lie at an edge."""
        edges = captions.bullets(self.edges()) or "* none"
        return f"{_used(self.chosen(), self.at)}\n\nAt the edge of their search space:\n\n{edges}"


def _used(chosen: Mapping[str, Mapping[str, float]], scale: str) -> str:
    if scale.endswith("smoke"):
        return (
            "This profile borrows the values of a larger one from `contenders.TUNED`; what it chose here is not used."
        )
    used = TUNED.get(scale, {})
    wrong = [label for label, values in chosen.items() if used.get(label) != values]
    missing = [variant.label for variant in main_methods(scale) if variant.label not in chosen]
    if missing:
        return f"The tuning is not complete: nothing is chosen yet for {', '.join(missing)}."
    if wrong:
        return f"`contenders.TUNED` differs for {', '.join(wrong)}."
    return "`contenders.TUNED` equals the chosen values."


def fields(frame: pd.DataFrame) -> list[str]:
    """Return the columns that are dotted fields of `RunConfig`."""
    return [str(column) for column in frame.columns if "." in str(column)]


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per contender and trial, by value: the tuned fields, mean validation score (percent) over the n
    finished runs, diverged, runs, and `best`: the highest mean among the trials without a run that diverged.

    No trial is the best one before all runs of its contender exist; the first of equal trials is.
    """
    paths = fields(frame)
    rows = [_trial(runs, paths) for _, runs in frame.groupby(["method", *paths], sort=False, dropna=False)]
    out = pd.DataFrame(rows).sort_values(["method", *paths], key=_by_appearance, kind="stable", ignore_index=True)
    return out.assign(best=out.index.isin(_best(out)))


def _trial(runs: pd.DataFrame, paths: list[str]) -> dict[str, Any]:
    mean, _, n = stats.mean_ci(list(summary.by_seed(runs).values()))
    diverged = int((runs["status"] == "diverged").sum())
    return dict(runs[["method", *paths]].iloc[0]) | {"mean": mean, "n": n, "diverged": diverged, "runs": len(runs)}


def _by_appearance(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.map(list(column.unique()).index) if column.name == "method" else column


def _best(found: pd.DataFrame) -> list[Any]:
    chosen = []
    for _, block in found.groupby("method", sort=False):
        steady = block.loc[block["n"] == block["runs"], "mean"]
        if (block["n"] + block["diverged"] == block["runs"]).all() and len(steady):
            chosen.append(steady.idxmax())
    return chosen


def display(found: pd.DataFrame) -> pd.DataFrame:
    """Return the trials as texts to read, indexed by method and values."""
    texts = [{
        "method": row["method"],
        "values": ", ".join(
            f"{path.split('.', 1)[1]} {row[path]:g}" for path in fields(found) if not np.isnan(row[path])
        ),
        "validation accuracy, %": captions.accuracy_text(row),
        "runs": f"{row['n']}/{row['runs']}" + (f" ({row['diverged']} diverged)" if row["diverged"] else ""),
        "chosen": "yes" if row["best"] else "",
    } for row in found.to_dict("records")]  # fmt: skip
    return pd.DataFrame(texts).set_index(["method", "values"])


@style()
def trials_figure(found: pd.DataFrame) -> Figure:
    """Draw validation accuracy against the local rate, a panel per contender; colour = its second hyper-parameter."""
    methods = list(found["method"].unique())
    figure, panels = grid(len(methods), 3, 1.45, 0.4)
    for axes, method in zip(panels, methods, strict=True):
        axes.set_title(method, loc="left")
        axes.set_xscale("log")
        axes.margins(y=0.2)
        _draw_trials(figure, axes, found[found["method"] == method])
        axes.set_xticks([0.01, 0.03, 0.1, 0.3], ["0.01", "0.03", "0.1", "0.3"])
        axes.tick_params(axis="x", which="minor", length=0, labelbottom=False)
    label_axes(figure, "local.lr (ring: chosen; × at the bottom: a run diverged)", "validation accuracy, %")
    return finished(figure)


def _draw_trials(figure: Figure, axes: Axes, block: pd.DataFrame) -> None:
    done, failed = block[(block["n"] > 0) & (block["diverged"] == 0)], block[block["diverged"] > 0]
    second = [path for path in fields(block) if path != "local.lr" and block[path].notna().any()]
    if done.empty and failed.empty:
        say_not_run(axes)
    elif second:
        _draw_coloured(figure, axes, done, second[0], block[second[0]])
    else:
        axes.plot(done["local.lr"], done["mean"], color="#0072B2", marker="o", linewidth=0.6)
    bottom = axes.get_xaxis_transform()
    axes.plot(failed["local.lr"], np.full(len(failed), 0.04), "x", color="#D55E00", transform=bottom)
    chosen = block[block["best"]]
    axes.plot(chosen["local.lr"], chosen["mean"], "o", markersize=8, fillstyle="none", color="#D55E00", zorder=4)


def _draw_coloured(figure: Figure, axes: Axes, done: pd.DataFrame, path: str, values: pd.Series[float]) -> None:
    """Draw trials with a second hyper-parameter `path` as dots coloured by it, on the log scale of all its `values`."""
    low, high = float(values.min()), float(values.max())
    dots = axes.scatter(done["local.lr"], done["mean"], c=done[path], norm=LogNorm(low, high), cmap="viridis", s=16)
    bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=14)
    ticks = [low, (low * high) ** 0.5, high]
    bar.set_ticks(ticks, labels=[f"{value:.2g}" for value in ticks])
    bar.minorticks_off()
    axes.set_title(f"{axes.get_title(loc='left')} (colour: {path.split('.', 1)[1]})", loc="left")


# One table for the main profile and one for each block


def _tuning(name: str, title: str, notebook: str, block: str = "") -> Callable[..., Study]:
    def build(
        profile: str = "laptop", *, methods: Sequence[str] | None = None, trials: int = 0, seeds: Seeds = None
    ) -> Study:
        require(trials >= 0, "trials", trials, "give a whole number >= 0; 0 = as many as the table has")
        at = BLOCKS[block][profile] if block else profile
        rows = main_methods(at) if methods is None else plain(methods)
        return Tuning(
            name=name, title=title, notebook=notebook, profile=profile, scale=at, labels=tuple(v.label for v in rows),
            count=trials or scale_of(at).trials, seeds=scale_of(at).tuning_seeds if seeds is None else tuple(seeds),
        )  # fmt: skip

    build.__name__ = name
    return table(build)


tuning = _tuning("tuning", "Tuning on the validation split", "02_tuning")
generation_tuning = _tuning("generation_tuning", "Tuning of the generative task", "13_table_generation", "generation")
language_tuning = _tuning("language_tuning", "Tuning of the language block", "11_table_language", "language")
cifar_tuning = _tuning("cifar_tuning", "Tuning of the reduced CIFAR-10 block", "14_table_cifar", "cifar")
TUNINGS = ("tuning", "cifar_tuning", "language_tuning", "generation_tuning")
