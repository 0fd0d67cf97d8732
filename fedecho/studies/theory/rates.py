"""30, 31: does the mean squared gradient fall as 1/sqrt(TM), and does the rule refuse what breaks an assumption?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fedecho.core.checks import require_known
from fedecho.report import figures as kit
from fedecho.report.captions import NOTHING
from fedecho.studies.study import Study, table
from fedecho.studies.theory import base, charts
from fedecho.studies.theory.base import ASSUMED, DERIVED, POWERS, Grid, Scale, few, run_of
from fedecho.studies.theory.results import NOTHING_LEFT, Entry, Result, Results, points
from fedecho.studies.theory.study import TheoryStudy
from fedecho.theory.config import TheoryRun

FLOOR = {"quadratic": 0.05, "logistic": 0.05, "images": 0.05, "bounded": 0.02, "network": 0.03}
"""gamma where it depends on neither T nor M."""
PARTS = {
    "rate": "FedBuff", "FedEcho": "FedEcho", "control": "controls",
    "speed-up": "linear speed-up: noise floor at a fixed step",
}  # fmt: skip
"""Group -> part of the table."""


def _table(name: str, title: str, notebook: str, known: tuple[str, ...], details: str) -> Callable[..., Study]:
    """Return the table of the rates on some objectives over T and M, under a rule for the step, with controls of the
    first of them."""

    def build(
        profile: str = "laptop", *, objectives: Sequence[str] = known, rounds: Grid = (), buffers: Grid = (),
        step: str = "joint", seed: int = 0,
    ) -> Study:  # fmt: skip
        require_known("objectives", objectives, known)
        entries = list(_entries(objectives, base.scale(profile, rounds, buffers, seed), step))
        return TheoryStudy(
            name=name, title=title, notebook=notebook, profile=profile, entries=entries, rows=_rows, bold=_bold,
            note=f"{base.SLOPES} {base.RULE[:-1]} (“falls faster”: an interval below); {base.SPEED_UP} Bold: as "
            "expected. Unstable: points whose step is too large for the staleness.",
            details=f"{details} {base.constants(known)}",
            figures={
                "rates": (
                    rates,
                    "The mean of |grad f(x_t)|² over the rounds against T, a line for each buffer size M, a panel for "
                    f"each objective and number K of local steps; dashed: slope −1/2. {base.BANDS}",
                ),
                "controls": (
                    controls,
                    "The same against T M, first for the rate itself, then for the controls: where the rate holds, all "
                    f"M fall on one line of slope −1/2 (dashed). {base.BANDS}",
                ),
                "speedup": (
                    speed_up,
                    "The noise floor at a fixed step from the stationary point, against M; dashed: slope −1. "
                    f"{base.BANDS}",
                ),
            },
        )  # fmt: skip

    build.__name__ = name
    return table(build)


theory_convex = _table(
    "theory_convex", "The rate on convex objectives", "30_theory_convex", base.CONVEX,
    f"{base.SETUP} adversarial: the teacher.",
)  # fmt: skip
theory_nonconvex = _table(
    "theory_nonconvex", "The rate on objectives that are not convex", "31_theory_nonconvex", base.NONCONVEX,
    "Event loop and FedEcho as under [theory_convex](#theory_convex).",
)  # fmt: skip


# What is simulated


def _entries(objectives: Sequence[str], grids: Scale, step: str) -> Iterator[Entry]:
    runs = [run_of(name, grids, step=step, **({"scale": FLOOR[name]} if step == "constant" else {}))
            for name in objectives]  # fmt: skip
    entries = [entry for run in runs for entry in _rates(run, grids)]
    for run in [run for run in runs if run.objective != "images"][:1]:  # images are not the same for all clients
        entries += _controls(run, grids)
    for entry in entries:  # of another step nothing is expected
        yield entry if step == "joint" else replace(entry, expected=None)


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
        yield from _fedecho(few(run, grids, **costly, arrivals=ASSUMED, **base.METHODS["FedEcho"]))


def _floor(run: TheoryRun, grids: Scale, expected: bool = True, **changes: Any) -> Entry:
    run = replace(run, start="stationary", step="constant", scale=FLOOR[run.objective], rounds=(grids.floor_rounds,),
                  buffers=grids.floor_buffers, arrivals=ASSUMED, **changes)  # fmt: skip
    return Entry("speed-up", run.objective + (", no noise, equal clients" if changes else ""), run, expected)


def _fedecho(run: TheoryRun) -> Iterator[Entry]:
    constant, derived, name = replace(run, distil_power=0.0), replace(run, distil_buffer_power=0.25), POWERS[DERIVED]
    schedules = {"constant": (constant, None), name: (run, None), f"M^1/4 {name}": (derived, True)}
    for schedule, (echo, expected) in schedules.items():
        yield Entry("FedEcho", f"{run.objective}, eta_d {schedule}", echo, expected, factors={"schedule": schedule})
    for schedule, (echo, expected) in [*schedules.items()][1:] if run.objective == "logistic" else ():
        label, worst = f"{run.objective}, adversarial, eta_d {schedule}", replace(echo, teacher="adversarial")
        yield Entry("FedEcho", label, worst, expected, factors={"schedule": schedule})


def _controls(run: TheoryRun, grids: Scale) -> Iterator[Entry]:
    run = replace(run, rounds=grids.control_rounds, buffers=grids.control_buffers)
    alike: dict[str, Any] = {"variance": 0.0, "heterogeneity": 0.0}
    broken: dict[str, dict[str, Any]] = {
        "no M in the step": {"step": "without M"},
        "biased arrivals": {"arrivals": replace(ASSUMED, bias=9.0, dealt="slow high")},
        "tau up to 200": {"arrivals": replace(ASSUMED, tau_max=200)},
        "constant step": {"step": "constant", "scale": FLOOR[run.objective]},
    }
    for label, changes in broken.items():
        yield Entry("control", label, replace(run, **changes), False)
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
            "slope in T": base.slope_text(result.fit, "T"), "slope in M": base.slope_text(result.fit, "M"),
            "R²": base.r2_text(result.fit), "unstable": f"{unstable} of {len(result.rows)}",
        }  # fmt: skip


def _bold(results: Results) -> list[bool]:
    return [r.record is not None and r.verdict.passed is r.entry.expected for r in _in_parts(results)]


def rates(results: Results) -> Figure:
    """Draw the mean squared gradient against T, a line for each M, a panel for each run of FedBuff and FedEcho."""
    return _panels([r for r in results if r.entry.group in ("rate", "FedEcho")], "rounds", charts.ROUNDS)


def controls(results: Results) -> Figure:
    """Draw the mean squared gradient against T M: where the rate holds all M fall on one line of slope -1/2."""
    first = [r for r in results if r.entry.group == "rate"][:1]
    return _panels([*first, *(r for r in results if r.entry.group == "control")], "work", "T M, client updates")


@kit.style()
def _panels(shown: Results, x: str, label: str) -> Figure:
    figure, panels = kit.grid(len(shown), 3, 1.8)
    for axes, result in zip(panels, shown, strict=True):
        found = points([result])
        found["work"] = found["rounds"] * found["buffer"]
        verdict = f"rule: {result.rule()}" if len(found) else ""
        axes.set_title(f"{result.entry.label}\n{verdict}", loc="left", fontsize=6.5)
        places = {m: int(np.log2(m)) % 6 for m in result.entry.run.buffers if len(found)}  # alike in every panel
        lines = [(found[found["buffer"] == m], charts.look(k, label=f"M = {m}")) for m, k in places.items()]
        charts.draw_lines(axes, lines, x, slope=(-0.5, "slope −1/2"), ticks=x == "rounds")
    return charts.framed(figure, panels, label, charts.SQUARES, entries=7)


@kit.style()
def speed_up(results: Results) -> Figure | None:
    """Draw the noise floor at a fixed step against M; without noise there is none, and nothing to speed up."""
    shown = [r for r in results if r.entry.group == "speed-up"]
    if not shown:
        return None
    figure, panels = kit.grid(len(shown), 3, 2.1)
    for axes, result in zip(panels, shown, strict=True):
        found = points([result])
        axes.set_title(result.entry.label, loc="left")
        if found["mean"].max() < NOTHING_LEFT:
            kit.say_not_run(axes, "no floor: |∇f|² is 0")
            continue
        lines = [(found, charts.look(4, marker="o", label="noise floor"))] if len(found) else []
        charts.draw_lines(axes, lines, "buffer", slope=(-1.0, "slope −1"))
        text = f"slope {result.fit.slopes['M'].value:.3f}".replace("-", "−") if result.fit else ""
        axes.text(0.97, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=6.5)
    return charts.framed(figure, panels, "buffer size M", "mean of |∇f(x_t)|²", entries=2)
