"""33: how fast does the distillation rate eta_d have to fall, whoever teaches?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from matplotlib.figure import Figure

from fedecho.core.checks import require
from fedecho.learning.distill import Distillation
from fedecho.learning.methods import FedEcho
from fedecho.report.captions import NOTHING
from fedecho.studies.study import Study, table
from fedecho.studies.theory import charts, words
from fedecho.studies.theory.charts import Panel, chart, line
from fedecho.studies.theory.grids import ASSUMED, DISTIL, POWERS, SOFT, Grid, base, require_known, scale
from fedecho.studies.theory.results import Entry, Result, interval_text, log_ratio, points, power_text, r2_text, slope_text
from fedecho.studies.theory.study import Results, TheoryStudy

TEACHERS: dict[str, tuple[Literal["clients", "adversarial", "random"], Distillation]] = {
    "adversarial": ("adversarial", DISTIL), "random": ("random", DISTIL), "honest": ("clients", DISTIL),
    "honest, soft labels": ("clients", SOFT),
}  # fmt: skip


@table
def theory_distillation(
    profile: str = "laptop", *, teachers: Sequence[str] = tuple(TEACHERS), schedules: Sequence[float] = (),
    rounds: Grid = (), buffer: int = 4, seed: int = 0,
) -> Study:  # fmt: skip
    """Return what teachers leave over T where eta_d falls as T^-power, for the powers `schedules`; beside FedBuff."""
    require_known("teachers", teachers, TEACHERS)
    for power in schedules:
        require(isinstance(power, int | float) and power >= 0, "schedules", power, "give powers >= 0 of 1/T")
    grids = scale(profile, rounds, (buffer,), seed)
    run = base("logistic", grids, arrivals=ASSUMED, rounds=grids.few_rounds)
    entries = [Entry("teacher", "none (FedBuff)", run, series="none")]
    for name in teachers:
        teacher, how = TEACHERS[name]
        for power in schedules or ([0.0] if how == SOFT else POWERS):
            taught = base("logistic", grids, arrivals=ASSUMED, rounds=grids.few_rounds, teacher=teacher,
                          method=FedEcho(distill=how), distil_power=float(power))  # fmt: skip
            label = POWERS.get(power, f"T^-{power:g}")
            entries.append(Entry("teacher", name, taught, series=label, factors={"power": power}))
    return TheoryStudy(
        name="theory_distillation", title="How fast the distillation rate has to fall",
        notebook="33_theory_distillation", profile=profile, entries=entries, rows=_rows,
        note=f"{words.SLOPES} {words.ECHO} Logistic regression, M = {buffer}, K = 1. eta_d falls with T from there. "
        "adversarial: the model with the signs of x* turned and ten times as sure teaches; random: a model drawn anew "
        "in each round; honest: FedEcho's own average of all clients' predictions, as soft and hard labels (alpha in "
        f"[0.2, 0.8]) or as soft ones alone. Rule: that for the slope in T. {words.SHARED}",
        figures={
            "schedules": (
                draw,
                "The mean of |grad f(x_t)|² over the rounds against T, a panel for each teacher, a line for each "
                f"schedule of eta_d; dotted: without distillation; dashed: slope −1/2. {words.BANDS}",
            )
        },
    )  # fmt: skip


def _rows(results: Results) -> Iterator[dict[str, str]]:
    reference = results[0]
    for result in results:
        compared = result is not reference and result.record is not None and reference.record is not None
        clipped = result.rows[-1].get("clipped") if result.record else None
        yield {
            "teacher": result.entry.label, "eta_d": result.entry.series, "slope in T": slope_text(result.fit, "T"),
            "R²": r2_text(result.fit), "rule": result.rule(), "at the largest T": power_text(result.level("mean")),
            "relative to FedBuff": interval_text(log_ratio(result.largest("mean"), reference.largest("mean")))
            if compared else NOTHING,
            "clipped steps, %": NOTHING if clipped is None else f"{100 * clipped:.1f}",
        }  # fmt: skip


def draw(results: Results) -> Figure | None:
    """Draw the mean squared gradient against T, a panel for each teacher, a line for each schedule of eta_d."""
    names = list(dict.fromkeys(r.entry.label for r in results[1:]))
    panels = [_panel(results[0], name, [r for r in results if r.entry.label == name]) for name in names]
    return chart(panels, 2, 1.9, charts.ROUNDS, charts.SQUARES, entries=6, sharey=True)


def _panel(reference: Result, name: str, taught: Results) -> Panel:
    plain = {"color": charts.COLOURS[0], "marker": "", "linestyle": ":", "label": "no distillation (FedBuff)"}
    looks = [{"color": charts.COLOURS[1 + k % 5], "marker": charts.MARKERS[k % 6]} for k in range(len(taught))]
    lines = [line(points([reference]), **plain)] + [
        line(points([r]), **look, label=f"eta_d {r.entry.series}")
        for r, look in zip(taught, looks, strict=True) if r.record
    ]  # fmt: skip
    slope, ticks = (-0.5, "slope −1/2"), reference.entry.run.rounds
    return Panel(f"teacher: {name}", lines if reference.record else [], slope, lower=0.6, ticks=ticks)
