"""33: how fast does the distillation rate eta_d have to fall, whoever teaches?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from matplotlib.figure import Figure

from fedecho.core.checks import require, require_known
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.methods import FedEcho
from fedecho.report import figures as kit
from fedecho.report.captions import NOTHING
from fedecho.studies.study import Study, table
from fedecho.studies.theory import base, charts
from fedecho.studies.theory.base import DERIVED, DISTIL, POWERS, SOFT, Grid, run_of, scale
from fedecho.studies.theory.results import Entry, Result, Results, log_ratio, points
from fedecho.studies.theory.study import TheoryStudy

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
    require(isinstance(buffer, int) and buffer >= 1, "buffer", buffer, "give a whole number >= 1")
    grids = scale(profile, rounds, (buffer,), seed)
    alone = run_of("logistic", grids, arrivals=base.ASSUMED, rounds=grids.few_rounds)
    entries = [Entry("teacher", "none (FedBuff)", alone, series="none")]
    for name in teachers:
        teacher, how = TEACHERS[name]
        taught = replace(alone, method=FedEcho(distill=how), teacher=teacher)
        for power in schedules or ([0.0, DERIVED] if how == SOFT else POWERS):
            run, schedule = replace(taught, distil_power=power), POWERS.get(power, f"T^-{power:g}")
            entries.append(Entry("teacher", name, run, series=schedule, factors={"power": power}))
    return TheoryStudy(
        name="theory_distillation", title="How fast the distillation rate has to fall",
        notebook="33_theory_distillation", profile=profile, entries=entries, rows=_rows,
        note=f"Logistic regression, M = {buffer}, K = 1, by teacher and by how eta_d falls with T. {base.SLOPES} "
        f"{base.RULE} Relative to FedBuff: ratio at the largest T, paired, with its 95 % interval.",
        details="FedEcho as under [theory_convex](#theory_convex); the rule is that for the slope in T. eta_d falls "
        "with T from there. adversarial: the teacher is x* with its signs flipped and ten times as confident; random: "
        "a model drawn anew in each round; honest: FedEcho's own average of all clients' predictions, as soft and "
        "hard labels (alpha in [0.2, 0.8]) or as soft ones alone.",
        figures={
            "schedules": (
                draw,
                "The mean of |grad f(x_t)|² over the rounds against T, a panel for each teacher, a line for each "
                f"schedule of eta_d; dotted: without distillation; dashed: slope −1/2. {base.BANDS}",
            )
        },
    )  # fmt: skip


def _rows(results: Results) -> Iterator[dict[str, str]]:
    reference = results[0]
    for result in results:
        compared = result is not reference and result.record is not None and reference.record is not None
        clipped = result.rows[-1].get("clipped") if result.record else None
        yield {
            "teacher": result.entry.label, "eta_d": result.entry.series, "slope in T": base.slope_text(result.fit, "T"),
            "R²": base.r2_text(result.fit), "rule": result.rule(),
            "at the largest T": base.power_text(result.level("mean")),
            "relative to FedBuff": base.interval_text(log_ratio(result.largest("mean"), reference.largest("mean")))
            if compared else NOTHING,
            "clipped steps, %": NOTHING if clipped is None else f"{100 * clipped:.1f}",
        }  # fmt: skip


def constant_rate(study: TheoryStudy) -> list[str]:
    """State plainly whether distillation at a constant rate converges, for each teacher."""
    return [_plainly(result) for result in study.results() if result.entry.factors.get("power") == 0]


def _plainly(result: Result) -> str:
    start = f"With a constant eta_d and the teacher “{result.entry.label}”"
    if result.fit is None:
        return f"{start}: {'; '.join(result.verdict.reasons)}."
    slope, largest = result.fit.slopes["T"], result.entry.run.rounds[-1]
    grows = "grows" if slope.low > 0 else "does not fall" if slope.high > 0 else "falls too slowly"
    does = "falls at the rate" if result.verdict.passed else f"{grows} with T"
    return f"{start} the error {does} up to T = {largest:,} (slope {base.slope_text(result.fit, 'T')})."


@kit.style()
def draw(results: Results) -> Figure:
    """Draw the mean squared gradient against T, a panel for each teacher, a line for each schedule of eta_d."""
    names, order = (list(dict.fromkeys(getattr(r.entry, by) for r in results[1:])) for by in ("label", "series"))
    figure, panels = kit.grid(len(names), 2, 1.9, sharey=True)
    plain = charts.look(0, marker="", linestyle=":", label="no distillation (FedBuff)")
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(f"teacher: {name}", loc="left")
        lines = [(points(results[:1]), plain)]
        for result in (r for r in results if r.entry.label == name and r.record):
            place = order.index(result.entry.series)  # among all: not every teacher has every schedule
            marked = {"marker": charts.MARKERS[place % 6], "label": f"eta_d {result.entry.series}"}
            lines.append((points([result]), charts.look(1 + place % 5, **marked)))
        charts.draw_lines(axes, lines if results[0].record else [], slope=(-0.5, "slope −1/2"), lower=0.6)
    return charts.framed(figure, panels, charts.ROUNDS, charts.SQUARES, entries=6)
