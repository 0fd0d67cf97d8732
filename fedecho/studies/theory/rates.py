"""30, 31: does the mean squared gradient fall as 1/sqrt(TM), and does the rule refuse what breaks an assumption?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedecho.report.captions import NOTHING
from fedecho.studies.study import Study, table
from fedecho.studies.theory import charts, words
from fedecho.studies.theory.charts import Panel, chart, line
from fedecho.studies.theory.grids import ASSUMED, DERIVED, METHODS, POWERS, Grid, Scale, base, few, require_known, scale
from fedecho.studies.theory.results import NOTHING_LEFT, Entry, Result, points, r2_text, slope_text
from fedecho.studies.theory.study import Results, TheoryStudy
from fedecho.theory.config import TheoryRun

CONVEX, NONCONVEX = ("quadratic", "logistic", "images"), ("bounded", "network")
FLOOR = {"quadratic": 0.05, "logistic": 0.05, "images": 0.05, "bounded": 0.02, "network": 0.03}
"""gamma where it depends on neither T nor M."""
PARTS = {
    "rate": "FedBuff", "FedEcho": "FedEcho", "control": "controls",
    "speed-up": "linear speed-up: noise floor at a fixed step",
}  # fmt: skip
"""Group -> part of the table."""


@table
def theory_convex(
    profile: str = "laptop", *, objectives: Sequence[str] = CONVEX, rounds: Grid = (), buffers: Grid = (),
    step: str = "joint", seed: int = 0,
) -> Study:  # fmt: skip
    """Return the rates on convex objectives over T and M, under a rule for the step, with controls of the first."""
    require_known("objectives", objectives, CONVEX)
    return _study(
        "theory_convex", "The rate on convex objectives", "30_theory_convex", profile,
        _entries(objectives, scale(profile, rounds, buffers, seed), step),
        f"Bold: as expected; adversarial: the teacher. {words.constants(objectives)}",
    )  # fmt: skip


@table
def theory_nonconvex(
    profile: str = "laptop", *, objectives: Sequence[str] = NONCONVEX, rounds: Grid = (), buffers: Grid = (),
    step: str = "joint", seed: int = 0,
) -> Study:  # fmt: skip
    """Return the same of objectives that are not convex."""
    require_known("objectives", objectives, NONCONVEX)
    return _study(
        "theory_nonconvex", "The rate on objectives that are not convex", "31_theory_nonconvex", profile,
        _entries(objectives, scale(profile, rounds, buffers, seed), step),
        f"Bold: as expected. {words.constants(objectives)}",
    )  # fmt: skip


def _study(name: str, title: str, notebook: str, profile: str, entries: Iterator[Entry], note: str) -> TheoryStudy:
    return TheoryStudy(
        name=name, title=title, notebook=notebook, profile=profile, entries=list(entries), rows=_rows, bold=_bold,
        note=f"{words.SLOPES} {words.RULE} {note} {words.ECHO} {words.SHARED}",
        figures={
            "rates": (
                rates,
                "The mean of |grad f(x_t)|² over the rounds against T, a line for each buffer size M, a panel for each "
                f"objective and number K of local steps; dashed: slope −1/2. {words.BANDS}",
            ),
            "controls": (
                controls,
                "The same against T M, first for the rate itself, then for the controls: where the rate holds, all M "
                f"fall on one line of slope −1/2 (dashed). {words.BANDS}",
            ),
            "speedup": (
                speed_up,
                f"The noise floor at a fixed step from the stationary point, against M; dashed: slope −1. {words.BANDS}",
            ),
        },
    )  # fmt: skip


# What is simulated


def _entries(objectives: Sequence[str], grids: Scale, step: str) -> Iterator[Entry]:
    entries = [entry for name in objectives for entry in _rates(_base(name, grids, step), grids)]
    for name in [name for name in objectives if name != "images"][:1]:  # images are not the same for all clients
        entries += _controls(_base(name, grids, step), grids)
    for entry in entries:  # of another step nothing is expected
        yield entry if step == "joint" else replace(entry, expected=None)


def _base(name: str, grids: Scale, step: str) -> TheoryRun:
    return base(name, grids, step=step, **({"scale": FLOOR[name]} if step == "constant" else {}))


def _rates(run: TheoryRun, grids: Scale) -> Iterator[Entry]:
    name, costly = run.objective, {"buffers": grids.echo_buffers}
    if name == "images":
        yield Entry("rate", f"{name}, K = 1", few(run, grids, rounds=grids.late_rounds, **costly), True)
        return
    network = name == "network"
    yield Entry("rate", f"{name}, K = 1", replace(run, buffers=grids.few_buffers) if network else run, True)
    yield Entry("rate", f"{name}, K = 4", few(run, grids, local_steps=4, **(costly if network else {})), True)
    if name in ("quadratic", "logistic"):
        yield Entry("rate", f"{name}, independent arrivals", few(run, grids, arrivals=ASSUMED), True)
    yield _floor(run, grids)
    if name in ("logistic", "network"):
        yield from _fedecho(few(run, grids, **costly, arrivals=ASSUMED, method=METHODS["FedEcho"]))


def _floor(run: TheoryRun, grids: Scale, expected: bool = True, **changes: Any) -> Entry:
    run = replace(run, start="stationary", step="constant", scale=FLOOR[run.objective], rounds=(grids.floor_rounds,),
                  buffers=grids.floor_buffers, arrivals=ASSUMED, **changes)  # fmt: skip
    return Entry("speed-up", run.objective + (", no noise, equal clients" if changes else ""), run, expected)


def _fedecho(run: TheoryRun) -> Iterator[Entry]:
    falling, name = replace(run, distil_power=DERIVED), POWERS[DERIVED]
    derived = replace(falling, distil_buffer_power=0.25)
    schedules = {"constant": (run, None), name: (falling, None), f"M^1/4 {name}": (derived, True)}
    for schedule, (echo, expected) in schedules.items():
        label, factors = f"{run.objective}, eta_d {schedule}", {"schedule": schedule}
        yield Entry("FedEcho", label, echo, expected, factors=factors)
    if run.objective == "logistic":
        label, worst = f"{run.objective}, adversarial, eta_d {schedule}", replace(derived, teacher="adversarial")
        yield Entry("FedEcho", label, worst, True, factors=factors)


def _controls(run: TheoryRun, grids: Scale) -> Iterator[Entry]:
    run = replace(run, rounds=grids.control_rounds, buffers=grids.control_buffers)
    alike: dict[str, Any] = {"variance": 0.0, "heterogeneity": 0.0}
    biased = replace(ASSUMED, bias=9.0, dealt="slow high")
    yield Entry("control", "no M in the step", replace(run, step="without M"), False)
    yield Entry("control", "biased arrivals", replace(run, arrivals=biased), False)
    yield Entry("control", "tau up to 200", replace(run, arrivals=replace(ASSUMED, tau_max=200)), False)
    yield Entry("control", "constant step", replace(run, step="constant", scale=FLOOR[run.objective]), False)
    yield Entry("control", "no noise, equal clients", replace(run, **alike), True)
    yield _floor(run, grids, False, **alike)


# What is shown


def _in_parts(results: Results) -> list[Result]:
    return sorted(results, key=lambda result: list(PARTS).index(result.entry.group))


def _rows(results: Results) -> Iterator[dict[str, str]]:
    for result in _in_parts(results):
        unstable = sum(row["status"] == "unstable" for row in result.rows)
        yield {
            "part": PARTS[result.entry.group], "run": result.entry.label, "rule": result.rule(),
            "expected": {None: NOTHING, True: "passes", False: "fails"}[result.entry.expected],
            "slope in T": slope_text(result.fit, "T"), "slope in M": slope_text(result.fit, "M"),
            "R²": r2_text(result.fit), "unstable": f"{unstable} of {len(result.rows)}",
        }  # fmt: skip


def _bold(results: Results) -> list[bool]:
    return [r.record is not None and r.verdict.passed is r.entry.expected for r in _in_parts(results)]


def rates(results: Results) -> Figure | None:
    """Draw the mean squared gradient against T, a line for each M, a panel for each run of FedBuff and FedEcho."""
    shown = [r for r in results if r.entry.group in ("rate", "FedEcho")]
    return _chart([_panel(r, points([r]), "rounds", r.entry.run.rounds) for r in shown], charts.ROUNDS)


def controls(results: Results) -> Figure | None:
    """Draw the mean squared gradient against T M: where the rate holds all M fall on one line of slope -1/2."""
    shown = [r for r in results if r.entry.group == "rate"][:1] + [r for r in results if r.entry.group == "control"]
    frames = [points([r]) for r in shown]
    worked = [found.assign(work=found["rounds"] * found["buffer"]) for found in frames]
    return _chart([_panel(r, found, "work") for r, found in zip(shown, worked, strict=True)], "T M, client updates")


def _chart(panels: Sequence[Panel], x: str) -> Figure | None:
    return chart(panels, 3, 1.8, x, charts.SQUARES, entries=7, title=6.5)


def _panel(result: Result, found: pd.DataFrame, x: str, ticks: Sequence[int] = ()) -> Panel:
    looks = {m: int(np.log2(m)) % 6 for m in result.entry.run.buffers if len(found)}  # the same look in every panel
    lines = [
        line(found[found["buffer"] == m], x, color=charts.COLOURS[k], marker=charts.MARKERS[k], label=f"M = {m}")
        for m, k in looks.items()
    ]
    title = f"{result.entry.label}\n" + (f"rule: {result.rule()}" if lines else "")
    return Panel(title, lines, (-0.5, "slope −1/2"), ticks=ticks)


def speed_up(results: Results) -> Figure | None:
    """Draw the noise floor at a fixed step against M; without noise there is none, and nothing to speed up."""
    shown = [r for r in results if r.entry.group == "speed-up"]
    return chart(map(_floor_panel, shown), 3, 2.1, "buffer size M", "mean of |∇f(x_t)|²", entries=2)


def _floor_panel(result: Result) -> Panel:
    found = points([result])
    if found["mean"].max() < NOTHING_LEFT:
        return Panel(result.entry.label, [], why="no floor: |∇f|² is 0")

    def say_slope(axes: Axes) -> None:
        text = f"slope {result.fit.slopes['M'].value:.3f}".replace("-", "−") if result.fit else ""
        axes.text(0.97, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=6)

    lines = [line(found, "buffer", label="noise floor", **charts.MEASURED)] if len(found) else []
    return Panel(result.entry.label, lines, (-1.0, "slope −1"), ticks=result.entry.run.buffers, over=say_slope)
