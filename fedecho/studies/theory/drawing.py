"""Figures of the theory notebooks: means over the walks with 95 % bands, reference slopes, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from fedecho.core import stats
from fedecho.report.figures import finished, look, say_not_run, style
from fedecho.studies.theory.results import NOTHING_LEFT, Result, fit_of, series_of, term_fit, term_values
from fedecho.studies.theory.tabulate import rule_word
from fedecho.studies.theory.terms import PREDICTED

_COLOURS = ("#000000", "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7")
_MARKERS = ("o", "s", "^", "D", "v", "X")
_GREY = "#808080"
_SLOPE = "slope −1/2"


def _grid(count: int, columns: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    rows = -(-count // columns)
    figure = Figure(figsize=(7.0, height * rows + 0.5))
    panels = list(figure.subplots(rows, columns, squeeze=False, **shared).ravel())
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]


def _scale(axes: Axes, ticks: Sequence[float] = ()) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())
    if len(ticks):
        axes.set_xticks(list(ticks), [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _band(axes: Axes, block: pd.DataFrame, x: str, y: str = "mean", **how: Any) -> None:
    """Draw means with the band of their intervals; what the interval leaves of numbers <= 0 is cut."""
    at, mean, half = (block[name].to_numpy(dtype=float) for name in (x, y, f"{y}_half"))
    axes.plot(at, mean, **how)
    low = np.maximum(mean - half, 0.05 * mean)
    axes.fill_between(at, low, mean + half, color=how["color"], alpha=0.2, linewidth=0)


def _reference(axes: Axes, at: Sequence[float], through: float, slope: float, label: str | None = None) -> None:
    """Draw a dashed line of a slope through `through` at the first of `at`."""
    x = np.array([min(at), max(at)], dtype=float)
    axes.plot(x, through * (x / x[0]) ** slope, color=_GREY, linestyle=(0, (4, 2)), linewidth=0.8, label=label,
              marker="", zorder=1)  # fmt: skip


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, handlelength=2.4)


def _by_buffer(axes: Axes, block: pd.DataFrame, buffers: Sequence[int], x: str) -> None:
    for buffer in buffers:
        points, place = block[block["buffer"] == buffer], int(np.log2(buffer)) % 6  # the same look in every panel
        if len(points):
            _band(axes, points, x, color=_COLOURS[place], marker=_MARKERS[place], label=f"M = {buffer}")


@style()
def rates(results: Sequence[Result], points: pd.DataFrame) -> Figure:
    """Draw the mean squared gradient against T, a line for each M, a panel for each run of FedBuff and FedEcho."""
    shown = [r for r in results if r.entry.group in ("rate", "FedEcho")]
    return _panels(shown, points, "rounds", "T, server rounds")


@style()
def controls(results: Sequence[Result], points: pd.DataFrame) -> Figure:
    """Draw the mean squared gradient against T M: where the rate holds all M fall on one line of slope -1/2."""
    shown = [next(r for r in results if r.entry.group == "rate")]
    shown += [r for r in results if r.entry.group == "control"]
    return _panels(shown, points.assign(work=points["rounds"] * points["buffer"]), "work", "T M, client updates")


def _panels(shown: Sequence[Result], points: pd.DataFrame, x: str, label: str) -> Figure:
    figure, panels = _grid(len(shown), 3, 1.8)
    fullest = 0
    for place, (axes, result) in enumerate(zip(panels, shown, strict=True)):
        entry = result.entry
        block = points[(points["group"] == entry.group) & (points["label"] == entry.label)]
        verdict = "" if block.empty else f"rule: {rule_word(result)}"
        axes.set_title(f"{entry.label}\n{verdict}", loc="left", fontsize=6.5)
        if block.empty:
            say_not_run(axes)
            continue
        _by_buffer(axes, block, entry.run.buffers, x)
        first = block[block[x] == block[x].min()]
        _reference(axes, block[x].tolist(), float(first["mean"].iloc[0]), -0.5, _SLOPE)
        _scale(axes, entry.run.rounds if x == "rounds" else ())
        fullest = place if len(entry.run.buffers) > len(shown[fullest].entry.run.buffers) else fullest
    figure.supxlabel(label, fontsize=7)
    figure.supylabel("mean of |∇f(x_t)|² over the rounds", fontsize=7)
    _legend(figure, panels[fullest], 7)
    return finished(figure)


@style()
def speed_up(results: Sequence[Result], points: pd.DataFrame) -> Figure:
    """Draw the noise floor at a fixed step against M; without noise there is none, and nothing to speed up."""
    shown = [r for r in results if r.entry.group == "speed-up"]
    figure, panels = _grid(len(shown), 3, 2.1)
    for axes, result in zip(panels, shown, strict=True):
        block = points[(points["group"] == "speed-up") & (points["label"] == result.entry.label)]
        axes.set_title(result.entry.label, loc="left")
        if block.empty:
            say_not_run(axes)
        elif block["mean"].max() < NOTHING_LEFT:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "no floor: |∇f|² is 0", transform=axes.transAxes, ha="center", color=_GREY)
        else:
            _band(axes, block, "buffer", color=_COLOURS[4], marker="o", label="noise floor")
            _reference(axes, block["buffer"].tolist(), float(block["mean"].iloc[0]), -1.0, "slope −1")
            found = fit_of(result)
            text = "" if found is None else f"slope {found.slopes['M'].value:.3f}".replace("-", "−")
            axes.text(0.97, 0.95, text, transform=axes.transAxes, ha="right", va="top", fontsize=6)
            _scale(axes, result.entry.run.buffers)
    figure.supxlabel("buffer size M", fontsize=7)
    figure.supylabel("mean of |∇f(x_t)|²", fontsize=7)
    _legend(figure, panels[0], 2)
    return finished(figure)


@style()
def terms(results: Sequence[Result]) -> Figure:
    """Draw each term of the bound against one factor, with the order that the bound has as a dashed line."""
    series = series_of(results)
    figure, panels = _grid(len(series), 4, 1.6)
    for axes, (name, members) in zip(panels, series.items(), strict=True):
        axes.set_title(name, loc="left", fontsize=6.5)
        found = term_fit(members)
        if found is None:
            say_not_run(axes)
            continue
        at, values = term_values(members)
        mean, half = stats.band(values.T)
        axes.plot(at, mean, color=_COLOURS[4], marker="o", label="measured")
        axes.fill_between(
            at, np.maximum(mean - half, 0.05 * mean), mean + half, color=_COLOURS[4], alpha=0.2, linewidth=0
        )
        predicted = PREDICTED[name]
        _reference(axes, at, mean[0], predicted.exponent, "order in the bound")
        if predicted.joint is not None:
            x = np.array([at[0], at[-1]])
            axes.plot(x, mean[0] * (x / x[0]) ** predicted.joint, color=_GREY, linestyle=":", linewidth=1.0, marker="")
        axes.text(0.03, 0.04, f"{found.slopes['x'].value:.2f} against {predicted.exponent:g}".replace("-", "−"),
                  transform=axes.transAxes, fontsize=6)  # fmt: skip
        _scale(axes, at)
        _at_least_a_decade(axes, mean.tolist())
    figure.supylabel("|∇f|² (delays: what they add)", fontsize=7)
    _legend(figure, panels[0], 2)
    return finished(figure)


def _at_least_a_decade(axes: Axes, values: Sequence[float]) -> None:
    """Leave room around the values, so that a change by some percent does not look like a fall."""
    low, high = np.log10(min(values)), np.log10(max(values))
    room = max(0.25 * (high - low), (1.0 - (high - low)) / 2)
    axes.set_ylim(10 ** (low - room), 10 ** (high + room))


@style()
def against_bound(table: pd.DataFrame) -> Figure:
    """Draw what was measured and the bound with its true constants against T, a panel for each M, a row a run."""
    names, buffers = list(dict.fromkeys(table["run"])), sorted(table["buffer"].unique())
    figure = Figure(figsize=(7.0, 1.7 * len(names) + 0.5))
    grid = figure.subplots(len(names), len(buffers), squeeze=False, sharey="row", sharex="col")
    for line, name in zip(grid, names, strict=True):
        line[0].set_ylabel(name, fontsize=6)
        for axes, buffer in zip(line, buffers, strict=True):
            block = table[(table["run"] == name) & (table["buffer"] == buffer)]
            if block.empty:
                axes.set_axis_off()
                continue
            axes.set_title(f"M = {buffer}", loc="left")
            axes.plot(block["rounds"], block["measured"], color=_COLOURS[4], marker="o", label="measured")
            parts = {"bound": ("-", 1.2), "transient": (":", 0.8), "noise": ("--", 0.8), "delay": ("-.", 0.8)}
            for part, (dash, width) in parts.items():
                colour = _COLOURS[0] if part == "bound" else _GREY
                axes.plot(block["rounds"], block[part], color=colour, linestyle=dash, linewidth=width, marker="",
                          label=f"{part}" if part == "bound" else f"its term: {part}")  # fmt: skip
            beyond = block[~block["holds"].astype(bool)]
            axes.plot(beyond["rounds"], beyond["bound"], linestyle="none", marker="x", color=_COLOURS[0],
                      label="step too large for the bound")  # fmt: skip
            _scale(axes)
            axes.set_xticks([250, 2000], ["250", "2000"])
    figure.supxlabel("T, server rounds", fontsize=7)
    _legend(figure, grid[0][0], 6)
    return finished(figure)


@style()
def arrivals(results: Sequence[Result], points: pd.DataFrame) -> Figure:
    """Draw what is left of |grad f|^2 over the second half of the rounds against T, a panel for each kind of arrivals,
    and as a band where FedBuff is predicted to end."""
    kinds = list(dict.fromkeys(r.entry.label for r in results))
    figure, panels = _grid(len(kinds), 3, 1.8, sharey=True)
    for axes, kind in zip(panels, kinds, strict=True):
        axes.set_title(kind, loc="left")
        mine = [r for r in results if r.entry.label == kind]
        _draw_plateau(axes, mine[0])
        for result in mine:
            name, long = result.entry.series.removesuffix(", long"), result.entry.series.endswith("long")
            how = look(name, 3) | {"linestyle": "--" if long else "-", "label": result.entry.series}
            block = points[(points["label"] == kind) & (points["series"] == result.entry.series)]
            if len(block):
                _band(axes, block, "rounds", "late", **how, **({"markerfacecolor": "white"} if long else {}))
        if points[points["label"] == kind].empty:
            say_not_run(axes)
        else:
            _scale(axes, mine[0].entry.run.rounds)
    figure.supxlabel("T, server rounds", fontsize=7)
    figure.supylabel("|∇f(x_t)|² over the second half", fontsize=7)
    fullest = max(panels, key=lambda axes: len(axes.get_legend_handles_labels()[1]))
    _legend(figure, fullest, 4)
    return finished(figure)


def _draw_plateau(axes: Axes, result: Result) -> None:
    found = result.plateau()
    if found is None:
        return
    low, high = np.quantile(found, [0.1, 0.9])
    axes.axhspan(low, high, color="#d0d0d0", zorder=0)
    axes.axhline(
        float(found.mean()), color=_GREY, linestyle=(0, (1, 1)), linewidth=1.0, label="plateau predicted for FedBuff"
    )


@style()
def methods(results: Sequence[Result]) -> Figure:
    """Draw every method's exponents in T and M with their intervals, and what biased arrivals leave of |grad f|^2."""
    rates = [r for r in results if r.entry.series == "rate"]
    biased = {r.entry.label: r for r in results if r.entry.series == "biased"}
    names = [r.entry.label for r in rates]
    figure = Figure(figsize=(7.0, 2.3))
    grid = figure.subplots(1, 3, sharey=True)
    for axes, factor in zip(grid, ("T", "M"), strict=False):
        axes.axvspan(-0.6, -0.4, color="#e0e0e0", zorder=0)
        axes.set_xlabel(f"slope in {factor} (grey: the rule's band)")
        for y, result in enumerate(rates):
            found = fit_of(result)
            if found:
                s = found.slopes[factor]
                axes.errorbar(s.value, y, xerr=[[s.value - s.low], [s.high - s.value]], capsize=1.5,
                              **look(names[y], y) | {"linestyle": "none"})  # fmt: skip
    _draw_left(grid[2], names, biased)
    grid[0].set_yticks(range(len(names)), names)
    grid[0].set_ylim(len(names) - 0.4, -0.6)
    return finished(figure)


def _draw_left(axes: Axes, names: Sequence[str], biased: Mapping[str, Result]) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("|∇f|² left by biased arrivals")
    for y, name in enumerate(names):
        if biased[name].record is not None:
            mean, half, _ = stats.mean_ci(list(biased[name].largest()))
            axes.errorbar(mean, y, xerr=[[min(half, 0.95 * mean)], [half]], capsize=1.5, **look(name, y))
    plateau = biased[names[0]].plateau()
    if plateau is not None:
        axes.axvline(float(plateau.mean()), color=_GREY, linestyle=(0, (1, 1)), label="plateau predicted for FedBuff")
        axes.legend(loc="upper left", handlelength=1.5)


@style()
def teachers(results: Sequence[Result], points: pd.DataFrame) -> Figure:
    """Draw the mean squared gradient against T, a panel for each teacher, a line for each schedule of eta_d."""
    names = [n for n in dict.fromkeys(r.entry.label for r in results) if not n.startswith("none")]
    figure, panels = _grid(len(names), 2, 1.9, sharey=True)
    reference = points[points["series"] == "none"] if len(points) else points
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(f"teacher: {name}", loc="left")
        if reference.empty:
            say_not_run(axes)
            continue
        _band(axes, reference, "rounds", color=_COLOURS[0], marker="", linestyle=":", label="no distillation (FedBuff)")
        for place, result in enumerate(r for r in results if r.entry.label == name):
            block = points[(points["label"] == name) & (points["series"] == result.entry.series)]
            how = {"color": _COLOURS[1 + place], "marker": _MARKERS[place], "label": f"eta_d {result.entry.series}"}
            if len(block):
                _band(axes, block, "rounds", **how)
        rounds = results[0].entry.run.rounds
        _reference(axes, rounds, 0.6 * float(reference["mean"].iloc[0]), -0.5, _SLOPE)
        _scale(axes, rounds)
    figure.supxlabel("T, server rounds", fontsize=7)
    figure.supylabel("mean of |∇f(x_t)|² over the rounds", fontsize=7)
    _legend(figure, panels[0], 6)
    return finished(figure)
