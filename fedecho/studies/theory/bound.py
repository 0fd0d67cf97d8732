"""30: has each term of the bound the order that it should have in each factor, and is nothing above the bound?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fedecho.core import stats
from fedecho.core.checks import require, require_known
from fedecho.core.settings import Delays
from fedecho.report import figures as kit
from fedecho.report.captions import NOTHING
from fedecho.studies.study import Study, table
from fedecho.studies.theory import base, charts
from fedecho.studies.theory.base import ASSUMED, Grid, few, run_of, scale
from fedecho.studies.theory.results import Array, Entry, Result, Results
from fedecho.studies.theory.study import TheoryStudy
from fedecho.theory import bound, fits
from fedecho.theory.arrivals import Arrivals
from fedecho.theory.config import TheoryRun
from fedecho.theory.fits import Fit


@dataclass(frozen=True)
class Term:
    """A term of the bound, a factor, and the exponent that the term has in it; h is the clients' heterogeneity, and
    sigma_g^2 is proportional to h^2."""

    name: str
    factor: str
    text: str
    exponent: float
    joint: float | None = None
    """The exponent of tau_max tau_avg sigma_g^2, a joint term that bounds of asynchronous methods are said to have."""
    measure: str = "late"
    """A transient is judged by the mean over all rounds, what stays by that over the second half."""


TERMS = ("transient", "noise", "sampling", "drift", "delay x noise", "delay x clients")
_APART = (0.25, 0.5, 1.0, 2.0)
"""h"""
_MEASURED = charts.look(4, marker="o", label="measured")


@table
def theory_bound(
    profile: str = "laptop", *, terms: Sequence[str] = TERMS, term_rounds: int | None = None, rounds: Grid = (),
    buffers: Grid = (), seed: int = 0,
) -> Study:  # fmt: skip
    """Return the terms of the bound, each over `term_rounds` rounds, and beside them the quadratic's rates over T and M
    against the whole bound."""
    require_known("terms", terms, TERMS)
    grids = scale(profile, rounds, buffers, seed)
    last = grids.term_rounds if term_rounds is None else term_rounds
    require(last >= 8, "term_rounds", last, "give at least 8 rounds")
    quadratic = run_of("quadratic", grids)
    return TheoryStudy(
        name="theory_bound", title="The bound term by term", notebook="30_theory_convex", profile=profile,
        entries=[entry for entry in _entries(last, grids.walks, seed) if entry.factors["term"].name in terms],
        beside=[
            Entry("rate", "quadratic, K = 1", quadratic),
            Entry("rate", "quadratic, independent arrivals", few(quadratic, grids, arrivals=ASSUMED)),
        ],
        rows=_rows,
        note="Quadratics, one factor varied at a time. Predicted: the exponent that the bound has in it; measured: by "
        "least squares, with 95 % bootstrap intervals over the trajectories. Delays: of what they add to the error "
        "without them. With a joint term: the exponent that tau_max tau_avg sigma_g² would have.",
        details="All else is fixed. Delays add to the error without them under the same noise. Bounds of asynchronous "
        "methods are said to contain a joint term, tau_max tau_avg sigma_g². h: how far the clients' centres are "
        "apart, sigma_g² is proportional to h². Where tau_avg is varied staleness is uniform on 0 to 2 tau_avg; where "
        "tau_max is varied tau_avg is held at 2.",
        figures={
            "terms": (
                draw_terms,
                "Each term of the bound against one factor, all else fixed; dashed: the order that the bound has, "
                f"dotted: that of a joint term. {base.BANDS}",
            ),
            "measured": (
                draw_measured,
                "The mean of |grad f(x_t)|² over the rounds on the quadratic, and the bound with its true constants "
                "and its three terms, against T, a panel for each M, a row for each kind of arrivals. The bound is "
                "proven for independent arrivals and steps with L gamma + 2 (L gamma tau_max)² ≤ 1; points beyond that "
                "are crossed. Both axes logarithmic.",
            ),
        },
    )  # fmt: skip


# What is simulated


def _entries(rounds: int, walks: int, seed: int) -> Iterator[Entry]:
    """Yield the runs of every term and factor, over `rounds` rounds (a transient: up to as many)."""
    still = TheoryRun(
        start="stationary", step="constant", scale=0.02, heterogeneity=0.0, rounds=(rounds,), buffers=(4,),
        walks=walks, arrivals=replace(ASSUMED, tau_max=0), seed=seed,
    )  # fmt: skip
    quiet = replace(still, variance=0.0)
    apart, far = replace(quiet, heterogeneity=1.0), replace(quiet, start="far", scale=0.05)
    noise, sampling, buffers = "L gamma sigma^2 / M", "L gamma sigma_g^2 / M", (1, 2, 4, 8, 16)
    halves = {t: {"rounds": (t,)} for t in (rounds // 8, rounds // 4, rounds // 2, rounds)}
    yield from _series(Term("transient", "T", "F_0 / (gamma T)", -1, measure="mean"), far, halves)
    yield from _series(Term("noise", "M", noise, -1), still, {m: {"buffers": (m,)} for m in buffers})
    yield from _series(Term("noise", "gamma", noise, 1), still, {g: {"scale": g} for g in (0.01, 0.02, 0.04, 0.08)})
    yield from _series(Term("noise", "sigma^2", noise, 1), still, {v: {"variance": v} for v in (0.25, 1.0, 4.0, 16.0)})
    yield from _series(Term("sampling", "M", sampling, -1), apart, {m: {"buffers": (m,)} for m in buffers})
    yield from _series(Term("sampling", "h^2", sampling, 1), quiet, {h * h: {"heterogeneity": h} for h in _APART})
    yield from _drift(replace(apart, rounds=(rounds // 2,)))
    yield from _delay("delay x noise", "(L gamma)^2 tau_avg sigma^2 / M", still, None)
    yield from _delay("delay x clients", "(L gamma)^2 tau_avg sigma_g^2 / M", apart, 1)


def _series(term: Term, run: TheoryRun, changes: Mapping[Any, Mapping[str, Any]]) -> Iterator[Entry]:
    """Yield an entry for each value of a factor."""
    name = f"{term.name}: {term.factor}"
    for at, change in changes.items():
        changed = replace(run, **change)
        yield Entry("term", f"{name} = {at:g}", changed, series=name, at=float(at), factors={"term": term})


def _drift(run: TheoryRun) -> Iterator[Entry]:
    """All clients take part at once and differ in curvature: what is left is the drift of their local steps."""
    everyone = Arrivals(clients=50, per_buffer=1, delays=Delays("constant"))
    run = replace(run, arrivals=everyone, buffers=(50,), curvature_spread=0.9, walks=2)

    def steps(k: int, rate: float, h: float = 1.0) -> dict[str, Any]:
        return {"local_steps": k, "scale": sqrt(50) * rate * k, "heterogeneity": h}

    text, lr = "(L eta_l K)^2 sigma_g^2", 0.001
    yield from _series(Term("drift", "K", text, 2), run, {k: steps(k, lr) for k in (8, 16, 32, 64)})
    yield from _series(Term("drift", "eta_l", text, 2), run, {r: steps(16, r) for r in (lr, 2 * lr, 4 * lr, 8 * lr)})
    yield from _series(Term("drift", "h^2", text, 1), run, {h * h: steps(16, lr, h) for h in _APART})


def _delay(name: str, text: str, run: TheoryRun, joint: int | None) -> Iterator[Entry]:
    """What delays add to the error without them, which stands at 0 in each series (the same noise in both)."""
    late = {tau / 2: {"arrivals": replace(ASSUMED, tau_max=tau)} for tau in (0, 8, 16, 32)}
    rare = {tau: {"arrivals": replace(ASSUMED, tau_max=tau, tau_avg=2.0)} for tau in (4, 8, 16, 32)}
    yield from _series(Term(name, "tau_avg", text, 1, joint and joint + 1), run, late)
    yield from _series(Term(name, "tau_max", text, 0, joint), run, {0: {}, **rare})


# What is shown


def _by_term(results: Results) -> list[tuple[Term, list[Result]]]:
    terms = [result for result in results if result.entry.group == "term"]
    return [(term, list(found)) for term, found in groupby(terms, lambda result: result.entry.factors["term"])]


def measured(term: Term, members: Results) -> tuple[list[float], Array, Fit] | None:
    """Return the values of a factor, what was measured there `[values, trajectories]` (where the first is 0: above what
    was measured at that), and the exponent; none before all are run."""
    if any(member.record is None for member in members):
        return None
    at, values = [m.entry.at for m in members], np.array([m.largest(term.measure) for m in members])
    if at[0] == 0:
        at, values = at[1:], values[1:] - values[0]
    return (at, values, fits.fit(values, {"x": at})) if values.mean(1).min() > 0 else None


def _rows(results: Results) -> Iterator[dict[str, str]]:
    for term, members in _by_term(results):
        found = measured(term, members)
        fit = found[2] if found else None
        yield {
            "term": term.name, "factor": term.factor, "in the bound": term.text,
            "predicted": _exponent(term.exponent), "measured": base.slope_text(fit, "x"),
            "with a joint term": _exponent(term.joint), "R²": base.r2_text(fit),
            "values": f"{members[0].entry.at:g} to {members[-1].entry.at:g}",
        }  # fmt: skip


def _exponent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:g}".replace("-", "−")


@kit.style()
def draw_terms(results: Results) -> Figure:
    """Draw each term of the bound against one factor, with the order that the bound has as a dashed line."""
    series = _by_term(results)
    figure, panels = kit.grid(len(series), 4, 1.6)
    for axes, (term, members) in zip(panels, series, strict=True):
        axes.set_title(members[0].entry.series, loc="left", fontsize=6.5)
        found = measured(term, members)
        if found is None:
            kit.say_not_run(axes)
            continue
        at, values, fit = found
        mean, half = stats.band(values.T)
        line = pd.DataFrame({"at": at, "mean": mean, "mean_half": half}), _MEASURED
        charts.draw_lines(axes, [line], "at", slope=(term.exponent, "order in the bound"))
        if term.joint is not None:
            x = np.array([at[0], at[-1]])
            axes.plot(x, mean[0] * (x / x[0]) ** term.joint, color=kit.GREY, linestyle=":", linewidth=1.0, marker="")
        axes.text(0.03, 0.04, f"{fit.slopes['x'].value:.2f} against {term.exponent:g}".replace("-", "−"),
                  transform=axes.transAxes, fontsize=6.5)  # fmt: skip
        # At least a decade, so that a change by some percent does not look like a fall.
        low, high = np.log10(mean.min()), np.log10(mean.max())
        room = max(0.25 * (high - low), (1.0 - (high - low)) / 2)
        axes.set_ylim(10 ** (low - room), 10 ** (high + room))
    return charts.framed(figure, panels, "", "|∇f|² (delays: what they add)", entries=2)


def against(results: Results) -> pd.DataFrame:
    """Return run, T, M, what was measured, the bound's terms and their sum, at every point of the quadratic's rates."""
    return pd.DataFrame([
        {"run": result.entry.label, "rounds": row["rounds"], "buffer": row["buffer"], "measured": float(values.mean()),
         **vars(found), "bound": found.total}
        for result in results if result.record
        for row, values in zip(result.rows, result.values(), strict=True)
        for found in [bound.of(result.record, row)]
    ])  # fmt: skip


@kit.style()
def draw_measured(results: Results) -> Figure | None:
    """Draw what was measured and the bound with its true constants against T, a panel for each M, a row a run."""
    found = against([result for result in results if result.entry.group == "rate"])
    if found.empty:
        return None
    names, buffers = list(dict.fromkeys(found["run"])), sorted(found["buffer"].unique())
    figure, panels = kit.grid(len(names) * len(buffers), len(buffers), 1.7, sharey="row")
    for axes, (name, buffer) in zip(panels, product(names, buffers), strict=True):
        if buffer == buffers[0]:
            axes.set_ylabel(name, fontsize=6.5)
        block = found[(found["run"] == name) & (found["buffer"] == buffer)]
        if block.empty:
            axes.set_axis_off()
            continue
        axes.set_title(f"M = {buffer}", loc="left")
        t, beyond = block["rounds"], block[~block["holds"].astype(bool)]
        axes.plot(t, block["measured"], **_MEASURED)
        axes.plot(t, block["bound"], **charts.look(0, marker="", linestyle="-", linewidth=1.2, label="bound"))
        for part, dash in (("transient", ":"), ("noise", "--"), ("delay", "-.")):
            axes.plot(t, block[part], linestyle=dash, color=kit.GREY, linewidth=0.8, marker="",
                      label=f"its term: {part}")  # fmt: skip
        crossed = charts.look(0, marker="x", linestyle="none", label="step too large for the bound")
        axes.plot(beyond["rounds"], beyond["bound"], **crossed)
        kit.log_scales(axes, sorted({t.iloc[k] for k in (0, len(t) // 2, -1)}))
    return charts.framed(figure, panels, charts.ROUNDS, f"{charts.SQUARES}, and its bound", entries=6)
