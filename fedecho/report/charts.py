"""The charts that several tables share; each function returns a `Figure` of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT, CARETRIGHT
from numpy.typing import NDArray

from fedecho.report import figures as kit
from fedecho.report.captions import LEVEL, NOTHING
from fedecho.report.summary import BLOCK, NOT_RUN, REFERENCE

_HALF = {"mean": "half", "straggler_mean": "straggler_half"}
_WIDE, _FAR = 4, 5
"""An interval so many times as wide as the median one goes on beyond its panel; a mean lies beyond it if it is so many
times as far below the lowest tenth as this is below the median."""
_CLASSES = {"mean": "all classes", "straggler_mean": "slow clients' own classes"}


@kit.style()
def bars(summary: pd.DataFrame, reference: str = REFERENCE, label: str = kit.ACCURACY) -> Figure:
    """Draw a summary: each method's mean with its 95 % interval, and the reference's mean as a line; where only slow
    clients own some classes, the same on those in a panel beside it, as their intervals would cover the others. A
    panel in which nothing was run is left out, unless all are."""
    summary = _with_runs(summary)
    settings, delays = (list(dict.fromkeys(summary[name])) for name in BLOCK)
    sizes = [0.3 + 0.13 * max(3, summary[summary["setting"] == s].groupby("delay").size().max()) for s in settings]
    width = 1 + int(summary["straggler_mean"].notna().any())
    figure = Figure(figsize=(kit.WIDTH, sum(sizes) + 0.4))
    places = figure.add_gridspec(len(settings), width * len(delays), height_ratios=sizes)
    for (i, setting), (j, delay) in product(enumerate(settings), enumerate(delays)):
        block = summary[(summary["setting"] == setting) & (summary["delay"] == delay)]
        if block.empty:
            continue
        kinds = list(_HALF)[: 1 + int(block["straggler_mean"].notna().any())]
        for k, kind in enumerate(kinds):
            left = width * j + k
            place, below = places[i, left : left + width // len(kinds)], _CLASSES[kind] if len(kinds) > 1 else ""
            axes = figure.add_subplot(place, title=" ", xlabel=below)
            if k == 0:  # the title's room is kept by " ": it may reach over the panel beside it
                axes.set_title(f"{setting} · {delay} delays", loc="left", fontsize=7).set_in_layout(False)
            axes.tick_params(labelleft=left == 0)
            _draw_block(axes, block, reference, kind, _range(summary[summary["setting"] == setting], kind))
    kit.label_axes(figure, f"{label} (line: {reference})")
    return kit.finished(figure)


def _with_runs(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the blocks of which anything was run, or all if nothing was."""
    ran = (summary["n"] + summary["diverged"]).groupby([summary[name] for name in BLOCK]).transform("sum") > 0
    return summary[ran] if ran.any() else summary


def _range(block: pd.DataFrame, column: str, far: float = _FAR) -> tuple[float, float]:
    """Return from where to where an axis goes: over means and intervals, but for those that take the others' room."""
    half = block[_HALF[column]].fillna(0)
    reach = half.clip(upper=_WIDE * half[half > 0].median())
    tenth, middle = block[column].quantile([0.1, 0.5])
    near = block[column] >= tenth - far * (middle - tenth)
    low, high = (block[column] - reach)[near].min(), (block[column] + reach)[near].max()
    room = 0.05 * (high - low) or 1.0
    return (0.0, 100.0) if np.isnan(low) else (max(-2.0, low - room), min(102.0, high + room))


def _draw_block(axes: Axes, block: pd.DataFrame, reference: str, column: str, limits: tuple[float, float]) -> None:
    kit.rows(axes, list(block["method"]))
    axes.set_xlim(*limits)
    for y, row in enumerate(block.to_dict("records")):
        _draw_row(axes, y, row[column], float(np.nan_to_num(row[_HALF[column]])), kit.look(row["method"]))
        if not row["n"]:
            kit.note(axes, y, "diverged" if row["diverged"] else NOT_RUN)
    line = block.loc[block["method"] == reference, column]
    if line.notna().any():
        axes.axvline(float(line.iloc[0]), color=kit.look(REFERENCE)["color"], linewidth=0.6, zorder=1)


def _draw_row(axes: Axes, y: int, mean: float, half: float, look: Mapping[str, Any]) -> None:
    """Draw an accuracy with its interval, cut at 0 and 100, and an arrowhead where it goes on beyond the panel."""
    low, high = np.clip((mean - half, mean + half), 0, 100)
    how = {**look, "linestyle": "-", "elinewidth": 0.8, "capsize": 1.5, "capthick": 0.8}
    axes.errorbar(mean, y, xerr=[[mean - low], [high - mean]], **how)
    left, right = axes.get_xlim()
    if mean < left:
        kit.note(axes, y, f"{mean:.1f}", look["color"])
    for edge, marker, beyond in ((0, CARETLEFT, low < left), (1, CARETRIGHT, high > right)):
        if beyond:
            axes.plot(edge, y, marker=marker, color=look["color"], markersize=4, markeredgewidth=0,
                      transform=axes.get_yaxis_transform())  # fmt: skip


@kit.style()
def over_factor(
    summary: pd.DataFrame,
    x: Mapping[str, float],
    by: str,
    axis: str,
    *,
    panel_of: str = "setting",
    column: str = "mean",
    log: bool = False,
    level: Sequence[str] = (),
    joined: bool = True,
    label: str = kit.ACCURACY,
) -> Figure:
    """Draw means with 95 % intervals against a factor: `x` maps the texts in the column `by` to places on the axis.

    A panel for each value of `panel_of`, a line for each method (one line where the methods are the factor); methods in
    `level` do not depend on the factor and are drawn as horizontal lines. Values without an order are not `joined`.
    """
    names = list(dict.fromkeys(summary[panel_of]))
    figure, axes = kit.grid(len(names), len(names), 2.4, sharey=True)
    for panel, name in zip(axes, names, strict=True):
        panel.set_title(name, loc="left")
        _draw_factor(panel, summary[summary[panel_of] == name], x, by, column, level, log)
        for line in () if joined else panel.lines:
            line.set_linestyle("none")
        _mark_axis(panel, x, log)
    if label.endswith("%"):
        axes[0].set_ylim(*_range(summary, column, far=1e9))
    kit.label_axes(figure, axis, label)
    kit.legend(figure, kit.handles(axes))
    return kit.finished(figure)


def _draw_factor(
    axes: Axes, block: pd.DataFrame, x: Mapping[str, float], by: str, column: str, level: Sequence[str], log: bool
) -> None:
    half = _HALF.get(column)
    moving = block[block[by].isin(list(x)) & ~block["method"].isin(level)]
    series = [(REFERENCE, moving)] if by == "method" else list(moving.groupby("method", sort=False))
    if moving[column].isna().all():
        kit.say_not_run(axes)
    for place, (label, runs) in enumerate(series):
        aside = (place - (len(series) - 1) / 2) * min(0.06, 0.6 / len(series))
        at = _beside(np.array([x[value] for value in runs[by]]), aside, x, log)
        error = np.nan_to_num(runs[half]) if half else np.zeros(len(runs))
        how = kit.look(str(label), place)
        axes.errorbar(at, runs[column], yerr=error, label=str(label), elinewidth=0.7, capsize=1.5, **how)
        lost = runs.get("diverged", pd.Series(0, runs.index)).to_numpy() > 0
        axes.plot(at[lost], 0.03 * lost[lost], "x", color=how["color"], ms=4, transform=axes.get_xaxis_transform())
    for label in level:
        row = block[block["method"] == label]
        axes.axhline(float(row[column].iloc[0]), label=label, linewidth=1.0, **(kit.look(label, 1) | {"marker": ""}))


def _beside(at: NDArray[np.float64], share: float, x: Mapping[str, float], log: bool) -> NDArray[np.float64]:
    """Move markers so that series lie side by side: by a share of the smallest gap between the factor's values."""
    places = np.log(sorted(x.values())) if log else np.array(sorted(x.values()))
    move = share * float(np.diff(places).min(initial=np.inf)) if len(places) > 1 else 0.0
    return at * np.exp(move) if log else at + move


def _mark_axis(axes: Axes, x: Mapping[str, float], log: bool) -> None:
    if log:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(list(x.values()), [f"{v:g}" for v in x.values()] if log else list(x))
    if not log and len(x) > 6:
        axes.tick_params(axis="x", rotation=30)


@kit.style()
def dots(summary: pd.DataFrame, column: str, axis: str, reference: str = "") -> Figure:
    """Draw a column of a summary with its 95 % intervals, a row for each method, a panel for each setting: an accuracy
    beside the reference's, or, if none is given, a difference beside 0."""
    names = list(dict.fromkeys(summary["setting"]))
    tall = summary["setting"].value_counts().max()
    figure, axes = kit.grid(len(names), len(names), max(1.4, 0.3 + 0.13 * tall), sharey=True)
    for panel, name in zip(axes, names, strict=True):
        block = summary[summary["setting"] == name]
        panel.set_title(name, loc="left")
        if reference:
            _draw_block(panel, block, reference, column, _range(summary, column))
        else:
            _draw_differences(panel, block, column)
    kit.label_axes(figure, f"{axis} (line: {reference})" if reference else axis)
    return kit.finished(figure)


def _draw_differences(axes: Axes, block: pd.DataFrame, column: str) -> None:
    kit.rows(axes, list(block["method"]))
    axes.axvline(0, color="#808080", linewidth=0.6)
    for y, row in enumerate(block.to_dict("records")):
        axes.errorbar(row[column], y, xerr=np.nan_to_num(row[f"{column}_half"]), capsize=1.5,
                      **kit.look(str(row["method"]), y))  # fmt: skip
    if block[column].isna().all():
        kit.say_not_run(axes)


# Maps


@kit.style()
def landscape(values: pd.DataFrame, x: str, y: str, text: str = kit.ACCURACY) -> Figure:
    """Draw a map of means `[rows of y, columns of x]`, each written into its field, the highest in bold."""
    figure = Figure(figsize=(kit.COLUMN, 2.6))
    axes, table = figure.subplots(), values.to_numpy(dtype=float)
    if np.isnan(table).all():
        kit.say_not_run(axes)
        return kit.finished(figure)
    middle, best = (np.nanmin(table) + np.nanmax(table)) / 2, np.nanmax(table)

    def written(i: int, j: int, value: float) -> dict[str, Any]:
        weight = "bold" if value == best else "normal"
        shown = "" if np.isnan(value) else f"{value:.2f}"
        return {"s": shown, "color": "black" if value > middle else "white", "fontsize": 6.5, "fontweight": weight}

    figure.colorbar(kit.fields(axes, values, x, y, written, cmap="cividis"), ax=axes, label=text)
    return kit.finished(figure)


@kit.style()
def difference_map(summaries: Mapping[str, pd.DataFrame], x: str) -> Figure:
    """Draw paired differences (title -> rows of a summary, one per field) as maps, settings up, delays across: purple =
    the reference is ahead, orange = behind; in a field the difference, a dot = Holm-corrected p < 0.05, its 95 %
    interval and the pairs."""
    figure = Figure(figsize=(kit.WIDTH, 2.9))
    for axes, (title, block) in zip(figure.subplots(1, len(summaries), sharey=True), summaries.items(), strict=True):
        axes.set_title(title, loc="left")
        _draw_difference(figure, axes, block, x)
    return kit.finished(figure)


def _draw_difference(figure: Figure, axes: Axes, block: pd.DataFrame, x: str) -> None:
    settings, delays = (list(dict.fromkeys(block[name])) for name in BLOCK)
    rows_of = block.set_index(BLOCK)
    table = pd.DataFrame(rows_of["difference"].unstack()).reindex(index=settings, columns=delays)
    if table.isna().all(axis=None):
        kit.say_not_run(axes)
        return
    size = max(1.0, float(np.nanmax(np.abs(table.to_numpy(dtype=float)))))

    def written(i: int, j: int, value: float) -> dict[str, Any]:
        row = rows_of.loc[(settings[i], delays[j])]
        dot, half = " •" if row["p_holm"] < LEVEL else "", row["difference_half"]
        text = f"{value:+.1f}{dot}\n± {half:.1f}\nn = {row['pairs']:.0f}".replace("-", "−")
        return {"s": NOTHING if np.isnan(value) else text, "color": "white" if abs(value) > 0.6 * size else "black",
                "fontsize": 7}  # fmt: skip

    image = kit.fields(axes, table, x, "", written, cmap="PuOr", norm=TwoSlopeNorm(0, -size, size))
    figure.colorbar(image, ax=axes, label="points")
