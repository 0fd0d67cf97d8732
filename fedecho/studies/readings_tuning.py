"""27: which eta_d suits each reading that shifts the scale of the gradient, on the validation split?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedecho.core import numerics
from fedecho.learning.methods import FedEcho
from fedecho.report import figures as kit
from fedecho.report.summary import Cell, percent
from fedecho.studies import search
from fedecho.studies.comparison import Results
from fedecho.studies.grid import HERE, OWN, Seeds, Variant, on_validation, run_at
from fedecho.studies.open_points import ETA_D, TEMPERATURES, Reading, chosen
from fedecho.studies.profiles import unreported
from fedecho.studies.study import Study, table
from fedecho.studies.teacher import Choice

FACTORS = (1, 1 / 3, 3, 1 / 9, 9)
"""Of the eta_d that is tuned for FedEcho: what is tried for every reading."""
WIDER = 3
"""Factor by which a best value at the edge of all that were tried widens them, again and again."""


@table
def readings_tuning(
    profile: str = "laptop",
    *,
    names: Sequence[str] | None = None,
    temperatures: Sequence[float] = TEMPERATURES,
    seeds: Seeds = None,
) -> Study:
    """Return the tuning of eta_d for readings that shift the scale of the gradient, on seeds that no table reports."""
    on = unreported(profile, seeds)
    return Rates(
        name="readings_tuning", title="eta_d tuned again for other readings", notebook="27_sensitivity",
        profile=profile, cells=(), tuning=True, seeds=tuple(on), reference=f"eta_d = {_centre(profile):g}",
        readings=[reading for reading in chosen(profile, names, temperatures) if reading.scales],
        figures={
            "curves": (
                _curves,
                "Validation accuracy in % against eta_d (log scale), a panel for each reading, each with axes of its "
                "own. Dots: the seeds; line: their mean, with a gap where one of them diverged.",
            )
        },
        note=f"A block for each reading, at Dir(0.1) and large delays, on seeds {', '.join(map(str, on))}, which no "
        "table reports; the best mean (bold) is used.",
        details="Five values of eta_d, from 1/9 to 9 times the one tuned for FedEcho; while the best is the smallest "
        f"or the largest tried, or the smallest diverged, one more, {WIDER} times further. A value of which a run "
        "diverged is not taken. The values are written down in `open_points.OWN_RATES`, and a test works them out of "
        "the records again.",
    )  # fmt: skip


def _rounded(rate: float) -> float:
    return round(rate, 6)


def _centre(profile: str) -> float:
    return float(run_at(profile, OWN, HERE, 0).distill.lr)


@kit.style()
def _curves(found: Results) -> Figure:
    runs = found.frame.sort_values("eta_d", kind="stable")
    names = list(dict.fromkeys(found.frame["setting"]))
    figure, panels = kit.grid(len(names), 4, 1.3)
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(name, loc="left")
        _draw_runs(axes, runs[runs["setting"] == name])
    kit.label_axes(figure, "eta_d", "validation accuracy, %")
    return kit.finished(figure)


def _draw_runs(axes: Axes, runs: pd.DataFrame) -> None:
    """Draw the seeds, too few for intervals, and their means."""
    if runs["score"].isna().all():
        kit.say_not_run(axes)
        return
    means = runs.groupby("eta_d")["score"].agg(lambda scores: scores.mean(skipna=False))
    axes.plot(means.index, means, color=kit.COLOURS[1])
    axes.plot(runs["eta_d"], runs["score"], "o", color=kit.COLOURS[1], markersize=3, fillstyle="none")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Rates(Choice):
    """A search over eta_d for each of some readings; where a best value lies at an edge, it goes on."""

    readings: Sequence[Reading]
    seeds: tuple[int, ...]

    def parts(self) -> set[str]:
        """Return the parts of the code that its runs go through, without asking which runs they are."""
        return set(numerics.of(FedEcho()))

    def asked(self) -> list[Cell]:
        """Return the runs that are known: whether an edge is widened depends on their records."""
        return [
            self.cell(reading, rate, seed)
            for reading in self.readings
            for rate in sorted(self.rates(reading))
            for seed in self.seeds
        ]

    def cell(self, reading: Reading, rate: float, seed: int) -> Cell:
        """Return one run of a reading at a rate eta_d."""
        row = Variant(f"eta_d = {rate:g}", {**reading.changes, ETA_D: rate})
        config = on_validation(run_at(self.profile, row, HERE, seed))
        return Cell(row.label, reading.label, HERE.delay, config, {"eta_d": rate})

    def rates(self, reading: Reading) -> list[float]:
        """Return the values of eta_d that are tried for a reading, as far as they are known, in the order in which the
        search comes to them."""
        out = [_rounded(_centre(self.profile) * factor) for factor in FACTORS]
        while (scores := self._scores(reading, out)) and (wider := _wider(out, scores)):
            out.append(wider)
        return out

    def _scores(self, reading: Reading, rates: Sequence[float]) -> list[list[float]] | None:
        """Return by rate each seed's validation accuracy in percent, nan where it diverged; none before all ran."""
        found = [self.find(self.cell(reading, rate, seed).config) for rate in rates for seed in self.seeds]
        scores = [percent(record.score) for record in found if record]
        return np.reshape(scores, (len(rates), -1)).tolist() if len(scores) == len(found) else None

    def chosen(self) -> dict[str, float]:
        """Return reading -> eta_d to use; it is left out before all of its runs are there, or where all diverged."""
        tried = {reading.label: (reading, self.rates(reading)) for reading in self.readings}
        found = {label: search.best_of(rates, self._scores(of, rates) or ()) for label, (of, rates) in tried.items()}
        return {label: rate for label, rate in found.items() if rate is not None}


def _wider(rates: Sequence[float], scores: Sequence[Sequence[float]]) -> float | None:
    """Return one rate more where the best is the largest or smallest of all, or the smallest diverged."""
    best, low = search.best_of(rates, scores), min(rates)
    if best == max(rates):
        return _rounded(best * WIDER)
    diverged = np.isnan(scores[rates.index(low)]).any()
    return _rounded(low / WIDER) if best == low or diverged else None
