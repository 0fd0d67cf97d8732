"""32: where do methods end when arrivals are not uniform, and is that where it is predicted?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fedecho.core.checks import require_known
from fedecho.learning.methods import FedEcho
from fedecho.report import figures as kit
from fedecho.report.captions import NOTHING
from fedecho.studies.study import Study, table
from fedecho.studies.theory import base, charts
from fedecho.studies.theory.base import KINDS, METHODS, Grid, biased_run, scale
from fedecho.studies.theory.results import Entry, Results, log_ratio, points, predicted, rival
from fedecho.studies.theory.study import TheoryStudy

NOTHING_TO_REPAIR = ("bursty", "Pareto 2.5", "periodic")
"""Kinds whose plateau lies far below what noise leaves: FedEcho, which costs most, is not simulated there."""
LONG: dict[str, Any] = {"local_steps": 10, "local_lr": 0.4}
"""Long local training: a client's model moves as far in a round however small gamma is (eta shrinks in its place)."""
KINDS_LONG = ("uniform", "adversarial, one end", "adversarial, other end")
_SOFT = "FedEcho, soft labels"
_TRAINED_LONG = {name: METHODS[name] for name in ("FedBuff", "CA2FL", "FedEcho")}
_TRAINED_LONG[_SOFT] = METHODS["FedEcho"] | {"method": FedEcho(distill=base.SOFT)}
ROWS = {name: (name, False, changes) for name, changes in METHODS.items()}
ROWS |= {f"{name}, long": (name, True, changes | LONG) for name, changes in _TRAINED_LONG.items()}
"""Row -> the method's name, whether local training is long, and both as fields of a run."""


@table
def theory_arrivals(
    profile: str = "laptop", *, kinds: Sequence[str] = (), methods: Sequence[str] = (), rounds: Grid = (), seed: int = 0
) -> Study:
    """Return what methods leave under kinds of arrivals; FedBuff and uniform arrivals are always among them."""
    require_known("kinds", kinds, KINDS)
    require_known("methods", methods, ROWS)
    grids = scale(profile, rounds, seed=seed)
    return TheoryStudy(
        name="theory_arrivals", title="Arrivals that are not uniform", notebook="32_theory_arrivals", profile=profile,
        entries=[
            Entry("arrivals", kind, biased_run(KINDS[kind], grids, **ROWS[row][2]), series=row,
                  factors=dict(zip(("method", "long"), ROWS[row], strict=False)))
            for kind in (dict.fromkeys(("uniform", *kinds)) if kinds else KINDS)
            for row in (_chosen(methods) if methods else _rows_of(kind))
        ],
        rows=_rows,
        note=f"{base.LATE} Slope in T: of that. / FedBuff's: geometric mean of ratios, paired over the trajectories, "
        "with its 95 % interval, long training against long. Plateau: what biased arrivals alone are predicted to "
        "leave of FedBuff; / prediction: over that and what uniform arrivals leave. Long: K = 10 local steps.",
        details="Logistic regression, 50 heterogeneous clients, 25 active, M = 5, "
        f"c = {base.CONSTANTS['logistic']['scale']:g}, sigma² = 0.25. Skewed: 25 fast, 16 medium, 9 slow clients; "
        "adversarial: the same with large delays, where the slowest hold the objectives that stand out at one end of "
        "the direction in which clients differ most; all others: equally fast clients. Plateau: |grad f|² where the "
        "objective weighted by the clients' share of the arrivals in the second half is least; / prediction: over "
        "that plus what FedBuff leaves under uniform arrivals. Long: K = 10 local steps at a rate that does not shrink "
        "with T. eta_d falls as T^-3/4. FedEcho as under [theory_convex](#theory_convex).",
        figures={
            "late": (
                draw,
                "|grad f(x_t)|² over the second half of the rounds against T, a panel for each kind of arrivals; "
                "dotted: the plateau that is predicted for FedBuff, grey: the 10 to 90 % quantiles of that over the "
                f"trajectories; hollow and dashed: long local training. {base.BANDS}",
            )
        },
    )  # fmt: skip


def _rows_of(kind: str) -> list[str]:
    """Return the rows of a kind of arrivals in the committed table."""
    echo = [] if kind in NOTHING_TO_REPAIR else ["FedEcho"]
    long = [f"{name}, long" for name in _TRAINED_LONG if kind != "uniform" or name != _SOFT]
    return ["FedBuff", "CA2FL", *echo, *(long if kind in KINDS_LONG else [])]


def _chosen(rows: Sequence[str]) -> list[str]:
    """Return the rows given and those that they are compared with."""
    long = ["FedBuff, long"] if any(ROWS[row][1] for row in rows) else []
    return list(dict.fromkeys(["FedBuff", *long, *rows]))


# What is shown


def _rows(results: Results) -> Iterator[dict[str, str]]:
    for result in results:
        entry, expected = result.entry, predicted(result, results)
        other = rival(results, entry.label, entry.factors["long"])
        compared = other is not result and result.record is not None and other.record is not None
        plateau = np.nan if expected is None else float(np.mean(result.plateau()))  # type: ignore[arg-type]
        yield {
            "arrivals": entry.label, "method": entry.series, "late |grad f|²": base.power_text(result.level()),
            "slope in T": base.slope_text(result.fit_of("late"), "T"),
            "/ FedBuff's": base.interval_text(log_ratio(result.largest(), other.largest())) if compared else NOTHING,
            "plateau": base.power_text(plateau),
            "/ prediction": NOTHING if expected is None else base.interval_text(log_ratio(result.largest(), expected)),
        }  # fmt: skip


@kit.style()
def draw(results: Results) -> Figure:
    """Draw what is left of |grad f|^2 over the second half of the rounds against T, a panel for each kind of arrivals,
    and as a band where FedBuff is predicted to end."""
    kinds = list(dict.fromkeys(r.entry.label for r in results))
    figure, panels = kit.grid(len(kinds), 3, 1.8, sharey=True)
    how = {False: {"linestyle": "-"}, True: {"linestyle": "--", "markerfacecolor": "white"}}
    for axes, kind in zip(panels, kinds, strict=True):
        axes.set_title(kind, loc="left")
        mine = [r for r in results if r.entry.label == kind]
        plateau = mine[0].plateau()
        if plateau is not None:
            axes.axhspan(*np.quantile(plateau, [0.1, 0.9]), color="#d0d0d0", zorder=0)
            axes.axhline(float(plateau.mean()), color=kit.GREY, linestyle=(0, (1, 1)), linewidth=1.0,
                         label="plateau predicted for FedBuff")  # fmt: skip
        lines = []
        for result in (r for r in mine if r.record):
            look = kit.look(result.entry.factors["method"], 3) | how[result.entry.factors["long"]]
            lines.append((points([result]), look | {"label": result.entry.series}))
        charts.draw_lines(axes, lines, y="late")
    return charts.framed(figure, panels, charts.ROUNDS, "|∇f(x_t)|² over the second half", entries=4)
