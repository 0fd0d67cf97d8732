"""Figures of the studies: means over a factor, metrics over rounds, and maps; each returns a `Figure` of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fedecho import tables
from fedecho.core.records import Record, find
from fedecho.figures import LOOK, finished, say_not_run, style
from fedecho.presets import Cell

_CYCLE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#808080")
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "X", "P", "*")
_SIGNIFICANT = 0.05


def look(label: str, place: int) -> dict[str, Any]:
    """Return colour, line and marker of a series: a contender's own, else the next of a cycle."""
    colour, line, marker = LOOK.get(
        label, (_CYCLE[place % 8], _DASHES[place // 8 % 4 if place >= 8 else place % 4], _MARKERS[place % 8])
    )
    return {"color": colour, "linestyle": line, "marker": marker}


@style()
def over_factor(
    summary: pd.DataFrame,
    x: Mapping[str, float],
    by: str,
    axis: str,
    *,
    panels: str = "setting",
    column: str = "mean",
    log: bool = False,
    level: Sequence[str] = (),
    joined: bool = True,
    label: str = "test accuracy, %",
) -> Figure:
    """Draw means with 95 % intervals against a factor: `x` maps the texts in the column `by` to places on the axis.

    A panel for each value of `panels`, a line for each method (one line where the methods are the factor); methods in
    `level` do not depend on the factor and are drawn as horizontal lines. Values without an order are not `joined`.
    """
    names = list(dict.fromkeys(summary[panels]))
    figure = Figure(figsize=(7.0, 2.9))
    grid = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for axes, name in zip(grid, names, strict=True):
        axes.set_title(name, loc="left")
        _draw_factor(axes, summary[summary[panels] == name], x, by, column, level, log)
        if not joined:
            for line in axes.lines:
                line.set_linestyle("none")
        _mark_axis(axes, x, log)
    if label.endswith("%"):  # intervals over few seeds can leave the range of what they are about
        low, high = grid[0].get_ylim()
        grid[0].set_ylim(max(-2.0, low), min(102.0, high))
    figure.supxlabel(axis, fontsize=7)
    figure.supylabel(label, fontsize=7)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, handlelength=2.6)
    return finished(figure)


def _draw_factor(
    axes: Axes, block: pd.DataFrame, x: Mapping[str, float], by: str, column: str, level: Sequence[str], log: bool
) -> None:
    half = {"mean": "half", "straggler_mean": "straggler_half"}.get(column)
    moving = block[block[by].isin(list(x)) & ~block["method"].isin(level)]
    series = [("FedEcho", moving)] if by == "method" else list(moving.groupby("method", sort=False))
    if moving[column].isna().all():
        say_not_run(axes)
    for place, (label, runs) in enumerate(series):
        at = _beside(np.array([x[value] for value in runs[by]]), place - (len(series) - 1) / 2, x, log)
        error = np.nan_to_num(runs[half]) if half else np.zeros(len(runs))
        axes.errorbar(
            at, runs[column], yerr=error, label=str(label), elinewidth=0.7, capsize=1.5, **look(str(label), place)
        )
    for label in level:
        row = block[block["method"] == label]
        style_of = look(label, 0) | {"marker": ""}
        axes.axhline(float(row[column].iloc[0]), label=label, linewidth=1.0, **{**style_of, "linestyle": "--"})


def _beside(at: NDArray[np.float64], steps: float, x: Mapping[str, float], log: bool) -> NDArray[np.float64]:
    """Move markers a little so that series lie side by side: by 6 % of the smallest gap between the factor's values."""
    places = np.log(sorted(x.values())) if log else np.array(sorted(x.values()))
    move = 0.06 * steps * float(np.diff(places).min(initial=np.inf)) if len(places) > 1 else 0.0
    return at * np.exp(move) if log else at + move


def _mark_axis(axes: Axes, x: Mapping[str, float], log: bool) -> None:
    if log:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.set_xticks(list(x.values()), [f"{v:g}" for v in x.values()] if log else list(x))
    if not log and len(x) > 6:
        axes.tick_params(axis="x", rotation=30)


@style()
def against_bytes(summary: pd.DataFrame, whole: str, columns: Mapping[str, str]) -> Figure:
    """Draw what a bank's forms reach against the bytes that they keep of a prediction: a row for each of `columns`
    (column -> label), a panel for each setting, a marker for each form, a line at what the form `whole` reaches."""
    names, forms = (list(dict.fromkeys(summary[column])) for column in ("setting", "method"))
    figure = Figure(figsize=(7.0, 0.6 + 1.9 * len(columns)))
    grid = figure.subplots(len(columns), len(names), squeeze=False, sharex="col")
    for row, (column, label) in zip(grid, columns.items(), strict=True):
        row[0].set_ylabel(label)
        for axes, name in zip(row, names, strict=True):
            block = summary[summary["setting"] == name].set_index("method")
            _draw_forms(axes, block.reindex(forms), column, whole)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, loc="left")
    figure.supxlabel("bytes of a prediction (log scale)", fontsize=7)
    drawn = next((axes for axes in grid.flat if axes.get_legend_handles_labels()[1]), grid[0, 0])
    figure.legend(*drawn.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return finished(figure)


def _draw_forms(axes: Axes, block: pd.DataFrame, column: str, whole: str) -> None:
    if block[column].isna().all():
        say_not_run(axes)
        return
    for place, (form, line) in enumerate(block.iterrows()):
        how = look(str(form), place) | {"linestyle": "none"}
        half = np.nan_to_num(line["half"]) if column == "mean" else None
        axes.errorbar(line["bytes"], line[column], half, label=form, capsize=2, elinewidth=0.8, **how)
    axes.axhline(float(block[column][whole]), linewidth=0.6, color="#404040", zorder=1)
    axes.set_xscale("log")


@style()
def over_rounds(
    cells: Sequence[Cell], folder: Path, metrics: Mapping[str, str], methods: Sequence[str], log: bool = False
) -> Figure:
    """Draw metrics of the runs against server rounds, a panel for each (name -> axis text), mean over the seeds."""
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    figure = Figure(figsize=(7.0, 2.4 * len(settings) + 0.4))
    grid = figure.subplots(len(settings), len(metrics), squeeze=False)
    for row, setting in zip(grid, settings, strict=True):
        chosen = [cell for cell in cells if cell.setting == setting]
        for axes, (metric, text) in zip(row, metrics.items(), strict=True):
            axes.set_title(setting, loc="left")
            axes.set_ylabel(text)
            _draw_metric(axes, chosen, folder, metric, methods)
            if log:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter("{x:g}")
    figure.supxlabel("server rounds", fontsize=7)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, handlelength=2.6)
    return finished(figure)


def _draw_metric(axes: Axes, cells: Sequence[Cell], folder: Path, metric: str, methods: Sequence[str]) -> None:
    for place, method in enumerate(methods):
        found = [find(folder, cell.config) for cell in cells if cell.method == method]
        curve = _mean_metric([record for record in found if record is not None and record.status == "done"], metric)
        if curve is not None:
            axes.plot(*curve, label=method, **(look(method, place) | {"marker": ""}))
    if not axes.lines:
        say_not_run(axes)


def _mean_metric(records: Sequence[Record], metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return rounds and the mean of a metric over the records, at the rounds where all of them report it."""
    reported = [{row["round"]: row[metric] for row in r.rows if row.get(metric) is not None} for r in records]
    shared = sorted(set.intersection(*map(set, reported))) if reported else []
    if not shared:
        return None
    return np.array(shared, dtype=float), np.array([np.mean([run[t] for run in reported]) for t in shared])


@style()
def landscape(values: pd.DataFrame, x: str, y: str, text: str, best: bool = True) -> Figure:
    """Draw a map of means `[rows of y, columns of x]`, each written into its field, the highest in a frame."""
    figure = Figure(figsize=(4.6, 3.4))
    axes = figure.subplots()
    table = values.to_numpy(dtype=float)
    if np.isnan(table).all():
        say_not_run(axes)
        return finished(figure)
    image = axes.imshow(table, cmap="cividis", origin="lower", aspect="auto")
    figure.colorbar(image, ax=axes, label=text)
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for (i, j), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "black" if value > middle else "white"
            weight = "bold" if best and value == np.nanmax(table) else "normal"
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=6.5, fontweight=weight)
    _name_fields(axes, values, x, y)
    return finished(figure)


def _name_fields(axes: Axes, values: pd.DataFrame, x: str, y: str) -> None:
    columns, rows = ([v if isinstance(v, str) else f"{v:g}" for v in names] for names in (values.columns, values.index))
    axes.set_xticks(range(values.shape[1]), columns)
    axes.set_yticks(range(values.shape[0]), rows)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(False)


@style()
def difference_map(summary: pd.DataFrame, rival: str, rows: Sequence[str], columns: Sequence[str], x: str) -> Figure:
    """Draw the reference's paired difference to `rival` as two maps, all classes and the classes slow clients own:
    settings down, delays across; blue = the reference is ahead, orange = behind, a dot = Holm-corrected p < 0.05."""
    figure = Figure(figsize=(7.0, 2.9))
    left, right = figure.subplots(1, 2, sharey=True)
    block = summary[summary["method"] == rival].set_index(["setting", "delay"])
    others = summary[summary["method"] != rival].set_index(["setting", "delay"])
    stragglers = others["straggler_mean"] - block["straggler_mean"]
    for axes, values, title in (
        (left, block["difference"], "all classes"),
        (right, stragglers, "classes that slow clients own"),
    ):
        axes.set_title(title, loc="left")
        table = values.unstack().reindex(index=list(rows), columns=list(columns))
        marks = block["p_holm"].unstack().reindex(index=list(rows), columns=list(columns)) < _SIGNIFICANT
        _draw_difference(figure, axes, table, marks if axes is left else marks & False)
        axes.set_xlabel(x)
    left.set_ylabel("setting")
    right.set_ylabel("")
    return finished(figure)


def _draw_difference(figure: Figure, axes: Axes, table: pd.DataFrame, marks: pd.DataFrame) -> None:
    values = table.to_numpy(dtype=float)
    if np.isnan(values).all():
        say_not_run(axes)
        return
    size = max(1.0, float(np.nanmax(np.abs(values))))
    image = axes.imshow(values, cmap="PuOr", norm=TwoSlopeNorm(0, -size, size), origin="lower", aspect="auto")
    figure.colorbar(image, ax=axes, label="points")
    for (i, j), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.6 * size else "black"
        dot = " •" if marks.iloc[i, j] else ""
        text = tables.NOTHING if np.isnan(value) else f"{value:+.1f}{dot}".replace("-", "−")
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=7)
    _name_fields(axes, table, "", "")


@style()
def gap_dots(summary: pd.DataFrame) -> Figure:
    """Draw the points lost to delay by each method with 95 % intervals, a panel for each pair of delays."""
    names = list(dict.fromkeys(summary["setting"]))
    figure = Figure(figsize=(7.0, 1.9))
    grid = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for axes, name in zip(grid, names, strict=True):
        block = summary[summary["setting"] == name]
        axes.set_title(name, loc="left")
        axes.set_yticks(range(len(block)), list(block["method"]))
        axes.set_ylim(len(block) - 0.4, -0.6)
        axes.axvline(0, color="#808080", linewidth=0.6)
        for y, row in enumerate(block.to_dict("records")):
            axes.errorbar(
                row["gap"], y, xerr=np.nan_to_num(row["gap_half"]), capsize=1.5, **look(str(row["method"]), y)
            )
        if block["gap"].isna().all():
            say_not_run(axes)
    figure.supxlabel("accuracy lost to delay, points", fontsize=7)
    return finished(figure)
