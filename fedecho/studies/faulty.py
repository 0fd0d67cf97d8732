"""34: does a bank of logits spread what faulty clients send, or dampen it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedecho.core.checks import require, require_known
from fedecho.core.records import Record
from fedecho.report import captions, charts
from fedecho.report.summary import PLACE, REFERENCE, Column, mean_of
from fedecho.studies.comparison import Comparison, Results
from fedecho.studies.grid import HERE, Seeds, Setting, Variant, echo, few_seeds, grid, plain, tried
from fedecho.studies.profiles import unreported
from fedecho.studies.study import Study, table
from fedecho.studies.teacher import Choice

KINDS = ("flipped labels", "noise", "scaled")
SCALES = {"scaled": -4.0}
"""Of the kinds of `Faults` that have one: backwards, and as long as the M - 1 = 4 others of a buffer together."""
NO_FAULTS = "no faults"
RIVALS = ("FedBuff", "FedBuff (tuned eta)", "FedBuff + EMA", "CA2FL (tuned eta)", "FADAS")
_FOUND = {
    "FedBuff": 0.699,
    "FedBuff (tuned eta)": 0.832,
    "FedBuff + EMA": 0.462,
    "CA2FL (tuned eta)": 0.857,
    "FADAS": 0.565,
    REFERENCE: 0.53,
}
NORMS: dict[str, Mapping[str, float]] = {"laptop": _FOUND, "smoke": _FOUND, "paper": {}}
"""Profile -> contender -> the median norm of its updates in the table `faulty_bound`, to three digits. The smoke
profile borrows them; the paper profile has no bounded rows until they are measured there."""
MULTIPLE = 3.0
"""Of that norm: the bound. The largest honest norm would be none, single updates are up to 100 times as long as most;
three medians are less than the four of a scaled update."""
LOST = Column("lost, points", lambda record: np.nan)
"""Against the same row without faults (`Faulty.results`)."""


def _refused(record: Record) -> float:
    return 100 * sum(row["rejected"] for row in record.rows) / record.rows[-1]["arrivals"] if record.rows else np.nan


@table
def faulty_bound(profile: str = "laptop", *, methods: Sequence[str] = RIVALS, seeds: Seeds = None) -> Study:
    """Return what the norm bounds are taken from: honest runs on the validation split, on a seed that no table has."""
    rows = [*_rivals(methods), Variant(REFERENCE)]
    chosen = unreported(profile, seeds)[: 1 if seeds is None else None]
    measured = [replace(row, changes={"protocol.norm_quantiles": True}) for row in rows]
    return Choice(
        name="faulty_bound", title="Norms of honest updates", notebook="34_faulty_clients", profile=profile,
        cells=tried(profile, measured, [HERE], chosen), tuning=True,
        columns=(
            Column("median norm", mean_of("delta_norm_median", how=np.median), 3),
            Column("largest norm", mean_of("delta_norm_max", how=max), 3),
        ),
        note=f"L2 norms of honest clients' updates, seed {', '.join(map(str, chosen))}, which no table reports: median "
        "over a run of the medians between evaluations, and the largest of all.",
        details=f"The norm bound of the next table is {MULTIPLE:g} times the method's median norm here, which a server "
        "knows after one run without faults. Nothing is scored on test images.",
    )  # fmt: skip


@table
def faulty(
    profile: str = "laptop",
    *,
    methods: Sequence[str] = RIVALS,
    kinds: Sequence[str] = KINDS,
    shares: Sequence[float] = (0.1, 0.3),
    trims: Sequence[float] = (0.5, 0.3),
    multiples: Sequence[float] = (MULTIPLE,),
    seeds: Seeds = None,
) -> Study:
    """Return the table: kinds of fault x shares of faulty clients x methods, with and without a bound on the norm of an
    update, and FedEcho with a robust mean of the bank's rows."""
    plain_rows = [*_rivals(methods), Variant(REFERENCE)]
    rows = [row for each in plain_rows for row in (each, *_bounded(each, profile, multiples))]
    rows += [echo(_robust(trim), trim=trim) for trim in trims]
    settings = [Setting(NO_FAULTS, like=(HERE.name, HERE.delay), factors={"faulty": 0.0})]
    settings += [_setting(kind, share) for kind in kinds for share in shares]
    first, own = [row.label for row in plain_rows], [row.label for row in rows if row.contender == REFERENCE]
    return Faulty(
        name="faulty", title="Clients that lie or fail", notebook="34_faulty_clients", profile=profile, by_sweep=True,
        cells=grid(profile, rows, settings, few=few_seeds(profile), seeds=seeds),
        columns=(LOST, Column("refused, %", _refused, 1)),
        figures={
            "shares": (
                lambda found: over_shares(found, kinds, first),
                "Test accuracy in % against the share of faulty clients, a panel for each kind of fault, without "
                f"defences. {captions.POINTS} {captions.DIVERGED}",
            ),
            "defences": (
                lambda found: over_shares(found, kinds, own),
                "The same for FedEcho: as it is, with a bound on the norm of an update, and with robust means of the "
                f"bank's rows. {captions.POINTS} {captions.DIVERGED}",
            ),
        },
        note="Dir(0.1), large delays. Lost: against the same row without faults, over the seeds of both. Refused: "
        "uploads kept out for their norm or as not finite, of all.",
        details="An exploratory estimate from three seeds. Faulty clients are drawn by seed among all, the 10 % are "
        "among the 30 %, and are faulty throughout. Flipped labels: they train on 9 − y. Noise: instead of their "
        "update they send Gaussian noise of the same norm. Scaled: their update times −4, backwards and as long as the "
        f"four others of a buffer together. Norm bound: an update longer than {MULTIPLE:g} times the median of the "
        "method's honest run (table faulty_bound) is refused, and its logits with it. Median and trimmed rows: of the "
        "bank's rows, for each image and class; 30 % left out at either end is the largest share of faulty clients "
        "here. Both guard the teacher, not the mean of the updates.",
    )  # fmt: skip


def _rivals(methods: Sequence[str]) -> list[Variant]:
    known = [*_FOUND]
    for label in methods:
        require(label in known, "methods", label, f"choose one of {', '.join(known)}, whose norms are known")
    return plain(label for label in methods if label != REFERENCE)


def _bounded(row: Variant, profile: str, multiples: Sequence[float]) -> list[Variant]:
    for multiple in multiples:
        require(multiple > 0, "multiples", multiple, "give numbers > 0")
    bounds = {multiple: multiple * norm for norm in [NORMS[profile].get(row.label)] if norm for multiple in multiples}
    return [
        Variant(
            f"{row.label}, norm bound" + (f" × {multiple:g}" if multiple != MULTIPLE else ""),
            {"protocol.max_delta_norm": bound}, row.contender,
        )
        for multiple, bound in bounds.items()
    ]  # fmt: skip


def _robust(trim: float) -> str:
    require(0 < trim <= 0.5, "trims", trim, "give numbers in (0, 0.5]")
    return f"{REFERENCE}, median rows" if trim == 0.5 else f"{REFERENCE}, {100 * trim:g} % trimmed rows"


def _setting(kind: str, share: float) -> Setting:
    require_known("kinds", [kind], KINDS)
    changes: dict[str, Any] = {"faults.kind": kind, "faults.share": share}
    changes |= {"faults.scale": SCALES[kind]} if kind in SCALES else {}
    return Setting(f"{100 * share:g} % {kind}", HERE.delay, changes, (HERE.name, HERE.delay), {"faulty": share})


class Faulty(Comparison):
    """A comparison in which each row is compared with itself without faults, too."""

    def results(self) -> Results:
        """Return what the records say, with the mean loss over the seeds that finished both ways."""
        found = super().results()
        own = ["method", "seed"]
        honest = found.frame[found.frame["setting"] == NO_FAULTS].set_index(own)["score"].rename("honest")
        frame = found.frame.join(honest, on=own)
        lost = (frame["honest"] - frame["score"]).groupby([frame[name] for name in PLACE]).mean().rename(LOST.name)
        return replace(found, summary=found.summary.drop(columns=LOST.name).join(lost, on=PLACE))


def over_shares(found: Results, kinds: Sequence[str], labels: Sequence[str]) -> Figure:
    """Draw the accuracy of some rows against the share of faulty clients, a panel for each kind of fault."""
    shares = {name: 100 * share for name, share in found.factor("faulty", "setting").items()}
    shown = found.summary[found.summary["method"].isin(labels)]
    panels = [shown[shown["setting"].str.endswith((kind, NO_FAULTS))].assign(kind=kind) for kind in kinds]
    summary = pd.concat(panels, ignore_index=True)
    summary["setting"] = [f"{shares[name]:g}" for name in summary["setting"]]
    at = {f"{share:g}": share for share in sorted(set(shares.values()))}
    return charts.over_factor(summary, at, "setting", "faulty clients, %", panel_of="kind")
