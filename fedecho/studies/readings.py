"""27: does any other reading of what the paper leaves open change the order of the methods?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from fedecho.core import stats
from fedecho.core.records import Record
from fedecho.report import captions, charts, specification
from fedecho.report.summary import PLACE, REFERENCE, Column, Found, by_seed, percent
from fedecho.studies.comparison import Comparison, Draw, Results
from fedecho.studies.grid import HERE, OWN, PURE_LARGE, Seeds, Setting, Variant, few_seeds, grid, plain, run_at
from fedecho.studies.open_points import TEMPERATURES, Reading, chosen, has_norm
from fedecho.studies.profiles import profile as scale_of
from fedecho.studies.study import Study, table

RIVALS = {"FedBuff (tuned eta)": "over_fedbuff", "FedBuff + EMA": "over_ema"}
"""Whom FedEcho is ahead of -> the column of the summary that says by how many points a row is."""
MAIN = (HERE, PURE_LARGE)
NORMED = tuple(
    Setting(f"{place.name}, BatchNorm", place.delay, {"model": "cnn-batchnorm"}, (place.name, place.delay))
    for place in MAIN
)
"""The same settings on the smallest model whose statistics travel, at the rates that were tuned without them."""
NO_EFFECT = "no effect here"
DETAILS = (
    "[Open points](OPEN_POINTS.md) are A1 to A28; the words say what each is about. Clip by value: at nu, each "
    "component alone. Statistics as sent: clients' rows are predicted with the BatchNorm statistics of the version "
    "that they started from. Averaged model sent: clients start from the model before distillation. EMA on top: the "
    "moving average (0.95) of the distilled models is scored. Stale deltas count less: (1 + tau)^(-1/2). Official "
    "loop's deltas: all but the last of the M clients that start when a round closes train from the version before, "
    "while their delta is taken against the new one. Changes to the protocol are also run for the baselines, whose "
    "rows under them are what FedEcho is compared with. Readings of BatchNorm are run on the small network with "
    "BatchNorm, at the rates tuned without it, beside a FedEcho and rivals of its own. Where a reading shifts the "
    "scale of the gradient there are two rows, at FedEcho's eta_d and at one tuned again (table readings_tuning), or "
    "one where these are equal. A row with no effect has, in each seed, the reference's numbers in every evaluation. "
    "Points without a row: the transform of U (A21) has no other form; U itself (A22) has the tables unlabeled and "
    "ablation_data_size; what is reported (A25) is also in the column of the last evaluation, the default being the "
    "mean of the last five. Three seeds, exploratory: estimates, on which no claim rests."
)


@table
def readings(
    profile: str = "laptop",
    *,
    names: Sequence[str] | None = None,
    temperatures: Sequence[float] = TEMPERATURES,
    seeds: Seeds = None,
) -> Study:
    """Return every other reading, one at a time, in two settings; those about BatchNorm on a model that has it."""
    few = scale_of(profile).seeds[: few_seeds(profile)] if seeds is None else seeds
    found, own = chosen(profile, names, temperatures), run_at(profile, OWN, HERE, 0).distill.lr
    rows = _rows(profile, found, own)
    return Readings(
        name="readings", title="Other readings of the method and the protocol", notebook="27_sensitivity",
        profile=profile, by_sweep=True, readings={row.label: one for one in found for row in one.rows(own)},
        columns=(Column("last evaluation, %", _last),),
        cells=[cell for row, places in rows for cell in grid(profile, [row], places, seeds=few)],
        figures={
            "curve": (
                lambda made: specification.curve(made.summary[~made.summary["setting"].isin(_NORMED)], list(RIVALS)),
                "Readings by their difference from FedEcho in points, paired over the seeds, with 95 % intervals, in "
                "each setting from the best to the worst; below, which reading it is. Open: at an eta_d tuned for it "
                "again. Lines: FedEcho (0), FedBuff (tuned eta), FedBuff + EMA. Triangles: further down.",
            ),
            "bars": (_bars(HERE), f"{HERE.name}. {captions.BARS}"),
            "owned": (_bars(PURE_LARGE), f"Stragglers own 2 classes, pure. {captions.BARS}"),
        },
        note="Large delays. Each row reads one open point differently, all else as in FedEcho; own eta_d: tuned again. "
        "No effect here: equal in every number.",
        details=DETAILS,
    )  # fmt: skip


_NORMED = [place.name for place in NORMED]


def _bars(place: Setting) -> Draw:
    """Return what draws the rows at a place, with BatchNorm and without."""
    names = [place.name, f"{place.name}, BatchNorm"]
    return lambda made: charts.bars(made.summary[made.summary["setting"].isin(names)])


def _last(record: Record) -> float:
    return percent(record.rows[-1]["accuracy"]) if record.status == "done" else np.nan


def _rows(profile: str, found: Sequence[Reading], own: float) -> Iterator[tuple[Variant, Sequence[Setting]]]:
    """Yield the rows and where they are run, reading by reading, so that a stopped sweep leaves whole rows; `own`: the
    eta_d of FedEcho."""
    firsts = (OWN, *plain(RIVALS))
    normed = [] if has_norm(profile) else [reading for reading in found if reading.normed]
    yield from ((row, MAIN) for row in firsts)
    for reading in found:
        if reading in normed:
            continue
        yield from ((row, MAIN) for row in reading.rows(own))
        if reading.shared:
            yield from ((_under(reading, row), MAIN) for row in plain(RIVALS))
        if reading.point == "deltas":  # that loop is FADAS's own
            others = plain(("FedBuff", "FADAS"))
            yield from ((row, [HERE]) for row in (*others, *(_under(reading, other) for other in others)))
    yield from ((row, NORMED) for row in (*firsts, *(r for one in normed for r in one.rows(own))) if normed)


def _under(reading: Reading, row: Variant) -> Variant:
    return replace(row, label=reading.rival(row.label), changes=reading.changes)


@dataclass(frozen=True, eq=False, kw_only=True)
class Readings(Comparison):
    """A comparison that says of each row which reading it is, whether it has any effect, and whom it is ahead of."""

    readings: Mapping[str, Reading]
    """Name of a row -> which reading it is."""

    def results(self) -> Results:
        """Return what the records say; the summary has further columns: point, reading, own (whether at an eta_d of its
        own), eta_d, no_effect, and by how many points a row is ahead of each rival, with the interval's half."""
        made = super().results()
        cells = {(cell.setting, cell.delay, cell.method): cell for cell, _ in made.found}
        runs = {tuple(map(str, place)): block for place, block in made.frame.groupby(PLACE, sort=False)}
        same, told = unchanged(made.found), []
        for place in made.summary[PLACE].itertuples(index=False, name=None):
            label, reading = place[-1], self.readings.get(place[-1])
            ours = reading is not None or label == self.reference
            told.append({
                "point": reading.point if reading else "", "reading": reading.label if reading else "",
                "own": reading is not None and label != reading.label,
                "eta_d": cells[place].config.distill.lr if ours else np.nan,
                "no_effect": reading is not None and place in same,
                **(leads(runs, place, reading.rival if reading else str) if ours else {}),
            })  # fmt: skip
        return replace(made, summary=pd.concat([made.summary, pd.DataFrame(told)], axis=1))

    def shown(self, found: Results) -> pd.DataFrame:
        """Return the summary as texts."""
        texts, summary = super().shown(found), found.summary
        gap = f"{self.reference} − row"
        texts.loc[summary["no_effect"].to_numpy(), gap] = NO_EFFECT
        texts.insert(1, "open point", summary["point"].where(summary["point"] != "", captions.NOTHING).tolist())
        texts.insert(3, "eta_d", [captions.NOTHING if np.isnan(rate) else f"{rate:g}" for rate in summary["eta_d"]])
        for rival, column in RIVALS.items():
            pairs = zip(summary[column], summary[f"{column}_half"], strict=True)
            texts[f"row − {rival}"] = [captions.number(mean, half, "+") for mean, half in pairs]
        return texts


Place = tuple[str, ...]
"""Setting, delay and method."""


def unchanged(found: Found, reference: str = REFERENCE) -> set[Place]:
    """Return the rows that are equal to the reference in every number that each of their runs reports."""
    rows: dict[Place, dict[int, Any]] = {}
    for cell, record in found:
        known = rows.setdefault((cell.setting, cell.delay, cell.method), {})
        known[cell.config.seed] = None if record is None else (record.status, record.rows)
    return {
        (*block, method)
        for (*block, method), own in rows.items()
        if method != reference
        and None not in own.values()
        and own == {seed: rows[(*block, reference)].get(seed) for seed in own}
    }


def leads(runs: Mapping[Place, pd.DataFrame], place: Place, held_against: Callable[[str], str]) -> dict[str, float]:
    """Return by how many points a row is ahead of each rival, paired over the seeds, and the interval's half;
    `held_against`: rival -> the row that counts for it."""
    out: dict[str, float] = {}
    for rival, column in RIVALS.items():
        theirs = runs.get((*place[:-1], held_against(rival)))
        gap = stats.paired_difference(by_seed(runs[place]), {} if theirs is None else by_seed(theirs))
        out |= {column: gap.mean, f"{column}_half": gap.half}
    return out
