"""32: how fast does the error of every method fall, and what does each leave when arrivals are biased?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fedecho.core import stats
from fedecho.core.checks import require_known
from fedecho.learning.methods import FedAC, FedAsync, FedEcho
from fedecho.report import figures as kit
from fedecho.studies.study import Study, table
from fedecho.studies.theory import base
from fedecho.studies.theory.base import KINDS, METHODS, Grid, Scale, biased_run, few, run_of, scale
from fedecho.studies.theory.results import Entry, Result, Results
from fedecho.studies.theory.study import TheoryStudy
from fedecho.theory.config import TheoryRun

BIASED = "adversarial, one end"
"""The kind of arrivals at which all methods are compared."""


@table
def theory_methods(
    profile: str = "laptop", *, methods: Sequence[str] = tuple(METHODS), rounds: Grid = (), buffers: Grid = (),
    kind: str = BIASED, seed: int = 0,
) -> Study:  # fmt: skip
    """Return the rates of methods over T and M under independent arrivals, and what they leave under a biased kind;
    FedBuff is always among them."""
    require_known("methods", methods, METHODS)
    require_known("kind", [kind], KINDS)
    grids = scale(profile, rounds, buffers, seed)
    return TheoryStudy(
        name="theory_methods", title="Rates of all methods", notebook="32_theory_arrivals", profile=profile,
        entries=[
            entry for name in dict.fromkeys(("FedBuff", *methods))
            for entry in (
                Entry("method", name, _run(name, grids), series="rate"),
                Entry("method", name, biased_run(KINDS[kind], grids, **METHODS[name]), series="biased"),
            )
        ],
        rows=_rows,
        note=f"{base.SLOPES} {base.RULE} Slopes under independent arrivals; biased arrivals: {kind}. "
        f"{base.LATE} No step is tuned: exponents can be compared, levels cannot.",
        details="FedEcho as under [theory_convex](#theory_convex). Steps: linear methods gamma = c sqrt(M/T), which is "
        "(M/N) eta_l K for AREA; FADAS, FedAC and AdaMasFL a server rate c / sqrt(T); FedAsync T M steps with "
        "c / sqrt(T M). eta_d falls as T^-3/4. FedStaleAsync: beta = 1/2.",
        figures={
            "slopes": (
                draw,
                "Exponents in T and M of every method with 95 % intervals, and what biased arrivals leave of |grad "
                "f|²; grey: the band of the rule; dotted: the plateau that the schedule predicts for FedBuff.",
            )
        },
    )  # fmt: skip


def _run(name: str, grids: Scale) -> TheoryRun:
    run = few(run_of("logistic", grids, arrivals=base.ASSUMED), grids, **METHODS[name])
    costly = isinstance(run.method, FedEcho | FedAC | FedAsync)
    run = replace(run, buffers=grids.echo_buffers) if costly else run
    return replace(run, walks=grids.lone_walks) if isinstance(run.method, FedAC) else run


# What is shown


def _pairs(results: Results) -> list[tuple[Result, Result]]:
    """Return every method's results under independent and under biased arrivals."""
    return list(zip(*([r for r in results if r.entry.series == name] for name in ("rate", "biased")), strict=True))


def _rows(results: Results) -> Iterator[dict[str, str]]:
    for result, biased in _pairs(results):
        plateau = biased.plateau()
        yield {
            "part": "logistic regression", "method": result.entry.label, "slope in T": base.slope_text(result.fit, "T"),
            "slope in M": base.slope_text(result.fit, "M"), "R²": base.r2_text(result.fit), "rule": result.rule(),
            "late |grad f|², biased": base.power_text(biased.level()),
            "plateau": base.power_text(np.nan if plateau is None else float(plateau.mean())),
            "trajectories": str(result.entry.run.walks),
        }  # fmt: skip


@kit.style()
def draw(results: Results) -> Figure:
    """Draw every method's exponents in T and M with their intervals, and what biased arrivals leave of |grad f|^2."""
    pairs = _pairs(results)
    figure, panels = kit.grid(3, 3, 1.8, sharey=True)
    for axes, factor in zip(panels, ("T", "M"), strict=False):
        axes.axvspan(-0.6, -0.4, color="#e0e0e0", zorder=0)
        axes.set_xlabel(f"slope in {factor} (grey: the rule's band)")
    panels[2].set(xscale="log", xlabel="|∇f|² left by biased arrivals\n(dotted: predicted for FedBuff)")
    for y, (result, biased) in enumerate(pairs):
        look: dict[str, Any] = kit.look(result.entry.label, y) | {"capsize": 1.5}
        for axes, factor in zip(panels, ("T", "M"), strict=False):
            if result.fit and factor in result.fit.slopes:
                s = result.fit.slopes[factor]
                below, above = s.value - s.low, s.high - s.value
                axes.errorbar(s.value, y, xerr=[[below], [above]], **look | {"linestyle": "none"})
        if biased.record is not None:
            mean, half, _ = stats.mean_ci(list(biased.largest()))
            panels[2].errorbar(mean, y, xerr=[[min(half, 0.95 * mean)], [half]], **look)
    plateau = pairs[0][1].plateau()
    if plateau is not None:
        panels[2].axvline(float(plateau.mean()), color=kit.GREY, linestyle=(0, (1, 1)))
    kit.rows(panels[0], [result.entry.label for result, _ in pairs])
    return kit.finished(figure)
