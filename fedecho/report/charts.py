"""The charts that several tables share; each function returns a `Figure` of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from fedecho.core import stats
from fedecho.core.records import Record
from fedecho.report.captions import LEVEL, NOTHING
from fedecho.report.figures import (
    WIDTH,
    band,
    fields,
    finished,
    grid,
    label_axes,
    legend,
    look,
    panels,
    rows,
    say_not_run,
    style,
)  # fmt: skip
from fedecho.report.summary import BLOCK, NOT_RUN, REFERENCE, Found

ACCURACY = "test accuracy, %"
_EMPHASISED = ("FedBuff", "FedBuff + EMA", REFERENCE)
_POINTS = 200
Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""x, mean and half width of the 95 % interval, each `[points]`, in percent."""
_HALF = {"mean": "half", "straggler_mean": "straggler_half"}


def finished_runs(found: Found, **place: str) -> list[Record]:
    """Return the records of finished runs of the cells with these fields (method, setting, delay)."""
    chosen = [record for cell, record in found if all(getattr(cell, name) == value for name, value in place.items())]
    return [record for record in chosen if record is not None and record.status == "done"]


# Accuracy over time


@style()
def curves(found: Found, x: Literal["virtual_time", "round"] = "round", wrapped: bool = False) -> Figure:
    """Draw accuracy against server rounds or virtual time: mean over the finished seeds, as evaluated, not smoothed.

    A panel for each setting (down) and delay (across), or (`wrapped`) two in a row. The shaded 95 % intervals are those
    of three methods, for legibility. Against virtual time a panel ends with the longest asynchronous curve, and says
    how long the synchronous one takes.
    """
    places = list(dict.fromkeys((cell.setting, cell.delay) for cell, _ in found))
    figure, axes_of = _two_in_a_row(places) if wrapped else panels(places, 1.9, sharey="row")
    unit = max((cell.config.protocol.buffer_size for cell, _ in found), default=1)
    labels = list(dict.fromkeys(cell.method for cell, _ in found))
    for (setting, delay), axes in axes_of.items():
        runs = {label: finished_runs(found, setting=setting, delay=delay, method=label) for label in labels}
        if not any(runs.values()):
            say_not_run(axes)
            continue
        for label, records in runs.items():
            if records:
                _draw_curve(axes, label, mean_curve(records, x, unit))
        _frame_curves(axes, runs, x)
    label_axes(figure, f"server rounds (× {unit} arrivals)" if x == "round" else "virtual time, s", ACCURACY)
    handles = [Line2D([], [], label=label, **_line(label)) for label in labels]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, handlelength=2.6)
    return finished(figure)


def _two_in_a_row(places: Sequence[tuple[str, str]]) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    figure, axes = grid(len(places), 2, 1.7)
    for panel, (setting, delay) in zip(axes, places, strict=True):
        panel.set_title(f"{setting} · {delay}", loc="left", pad=10)
    return figure, dict(zip(places, axes, strict=True))


def mean_curve(records: Sequence[Record], x: str, unit: int) -> Curve:
    """Return the mean accuracy (percent) of finished runs, interpolated linearly between their evaluations onto a grid
    of x that all of them cover: virtual seconds, or rounds of `unit` arrivals."""
    column, scale = ("arrivals", unit) if x == "round" else ("virtual_time", 1)
    places = [np.array([row[column] for row in record.rows]) / scale for record in records]
    values = [100 * np.array([row["accuracy"] for row in record.rows]) for record in records]
    same = all(np.array_equal(place, places[0]) for place in places)
    at = places[0] if same else np.linspace(max(p[0] for p in places), min(p[-1] for p in places), _POINTS)
    return at, *stats.band(np.array([np.interp(at, p, v) for p, v in zip(places, values, strict=True)]))


def _draw_curve(axes: Axes, label: str, curve: Curve) -> None:
    if label in _EMPHASISED:
        band(axes, *curve, alpha=0.15, zorder=3, label=label, **_line(label))
    else:
        axes.plot(*curve[:2], zorder=2, label=label, **_line(label))


def _frame_curves(axes: Axes, runs: Mapping[str, Sequence[Record]], x: str) -> None:
    """Fix the limits by the means, not the intervals, and say above the panel what it does not show."""
    absent = [label for label, records in runs.items() if not records]
    notes = [f"no finished run: {', '.join(absent)}"] if absent else []
    slow = {label for label, records in runs.items() if x == "virtual_time" and records and _waits_for_all(records[0])}
    slow = set() if slow >= {label for label, records in runs.items() if records} else slow
    ends = [np.max(line.get_xdata()) for line in axes.lines if line.get_label() not in slow]
    if ends:
        axes.set_xlim(0, max(ends))
        notes += [_beyond(label, runs[label]) for label in slow]
        shared = axes.get_shared_y_axes().get_siblings(axes)
        axes.set_ylim(*_limits([line for row in shared for line in row.lines if line.get_label() not in slow]))
    axes.annotate("; ".join(notes), (0, 1), (0, 2), xycoords="axes fraction", textcoords="offset points", fontsize=6)


def _limits(lines: Sequence[Line2D]) -> tuple[float, float]:
    """Return the range of the curves after the first fifth of each: the first steep rise would flatten the rest."""
    points = [np.asarray(line.get_ydata(), dtype=float) for line in lines]
    later = np.concatenate([values[len(values) // 5 :] for values in points])
    return max(0.0, later.min() - 2), min(100.0, later.max() + 3)


def _beyond(label: str, records: Sequence[Record]) -> str:
    end = np.mean([record.rows[-1]["virtual_time"] for record in records])
    return f"{label}: {100 * np.mean([record.score for record in records if record.score]):.1f} % at {end:,.0f} s"


def _waits_for_all(record: Record) -> bool:
    protocol = record.run_config().protocol
    return protocol.concurrency == protocol.buffer_size


def _line(label: str) -> dict[str, Any]:
    width = 1.8 if label == REFERENCE else 1.2 if label in _EMPHASISED else 0.7
    return look(label) | {"marker": "", "linewidth": width}


@style()
def over_rounds(found: Found, metrics: Mapping[str, str], methods: Sequence[str], log: bool = False) -> Figure:
    """Draw metrics of the runs against server rounds, a panel for each (name -> axis text), mean over the seeds."""
    settings = list(dict.fromkeys(cell.setting for cell, _ in found))
    figure, axes = grid(len(settings) * len(metrics), len(metrics), 2.4, 0.4)
    places = [(setting, metric) for setting in settings for metric in metrics]
    for panel, (setting, metric) in zip(axes, places, strict=True):
        panel.set_title(setting, loc="left")
        panel.set_ylabel(metrics[metric])
        for place, method in enumerate(methods):
            curve = _mean_metric(finished_runs(found, setting=setting, method=method), metric)
            if curve is not None:
                panel.plot(*curve, label=method, **(look(method, place) | {"marker": ""}))
        if not panel.lines:
            say_not_run(panel)
        if log:
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter("{x:g}")
    label_axes(figure, "server rounds")
    legend(figure, axes[0], 4)
    return finished(figure)


def _mean_metric(records: Sequence[Record], metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return rounds and the mean of a metric over the records, at the rounds where all of them report it."""
    reported = [{row["round"]: row[metric] for row in r.rows if row.get(metric) is not None} for r in records]
    shared = sorted(set.intersection(*map(set, reported))) if reported else []
    if not shared:
        return None
    return np.array(shared, dtype=float), np.array([np.mean([run[t] for run in reported]) for t in shared])


# Means with intervals


@style()
def bars(summary: pd.DataFrame, reference: str = REFERENCE) -> Figure:
    """Draw a summary: each method's mean with its 95 % interval, the reference's mean as a line, and hollow markers for
    the accuracy on the classes that only slow clients own."""
    places = list(zip(summary["setting"], summary["delay"], strict=True))
    figure, axes_of = panels(places, 0.25 + 0.15 * int(summary.groupby(BLOCK).size().max()), sharey="row", sharex="row")
    for (setting, delay), axes in axes_of.items():
        _draw_block(axes, summary[(summary["setting"] == setting) & (summary["delay"] == delay)], reference)
    for axes in axes_of.values():  # only now do panels that share an axis know their range
        left, right = axes.get_xlim() if summary["n"].any() else (0.0, 100.0)
        axes.set_xlim(max(-2.0, left), min(102.0, right))
    hollow = "; hollow: classes that only slow clients own" if summary["straggler_mean"].notna().any() else ""
    label_axes(figure, f"test accuracy, % (filled: all classes{hollow})")
    return finished(figure)


def _draw_block(axes: Axes, block: pd.DataFrame, reference: str) -> None:
    rows(axes, list(block["method"]))
    for y, row in enumerate(block.to_dict("records")):
        how = look(row["method"]) | {"linestyle": "-", "elinewidth": 0.8, "capsize": 1.5, "capthick": 0.8}
        for mean, fill in (("straggler_mean", "white"), ("mean", how["color"])):
            axes.errorbar(row[mean], y, xerr=np.nan_to_num(row[_HALF[mean]]), markerfacecolor=fill, **how)
        if not row["n"]:
            axes.text(0.02, y, "diverged" if row["diverged"] else NOT_RUN, color="#808080", va="center", fontsize=6,
                      transform=axes.get_yaxis_transform())  # fmt: skip
    line = block.loc[block["method"] == reference, "mean"]
    if line.notna().any():
        axes.axvline(float(line.iloc[0]), color=look(REFERENCE)["color"], linewidth=0.6, zorder=1)


@style()
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
    label: str = ACCURACY,
) -> Figure:
    """Draw means with 95 % intervals against a factor: `x` maps the texts in the column `by` to places on the axis.

    A panel for each value of `panel_of`, a line for each method (one line where the methods are the factor); methods in
    `level` do not depend on the factor and are drawn as horizontal lines. Values without an order are not `joined`.
    """
    names = list(dict.fromkeys(summary[panel_of]))
    figure, axes = grid(len(names), len(names), 2.4, sharey=True)
    for panel, name in zip(axes, names, strict=True):
        panel.set_title(name, loc="left")
        _draw_factor(panel, summary[summary[panel_of] == name], x, by, column, level, log)
        if not joined:
            for line in panel.lines:
                line.set_linestyle("none")
        _mark_axis(panel, x, log)
    if label.endswith("%"):  # intervals over few seeds can leave the range of what they are about
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(max(-2.0, low), min(102.0, high))
    label_axes(figure, axis, label)
    legend(figure, axes[0])
    return finished(figure)


def _draw_factor(
    axes: Axes, block: pd.DataFrame, x: Mapping[str, float], by: str, column: str, level: Sequence[str], log: bool
) -> None:
    half = _HALF.get(column)
    moving = block[block[by].isin(list(x)) & ~block["method"].isin(level)]
    series = [(REFERENCE, moving)] if by == "method" else list(moving.groupby("method", sort=False))
    if moving[column].isna().all():
        say_not_run(axes)
    for place, (label, runs) in enumerate(series):
        at = _beside(np.array([x[value] for value in runs[by]]), place - (len(series) - 1) / 2, x, log)
        error = np.nan_to_num(runs[half]) if half else np.zeros(len(runs))
        how = look(str(label), place)
        axes.errorbar(at, runs[column], yerr=error, label=str(label), elinewidth=0.7, capsize=1.5, **how)
    for label in level:
        row = block[block["method"] == label]
        how = look(label, 0) | {"marker": "", "linestyle": "--"}
        axes.axhline(float(row[column].iloc[0]), label=label, linewidth=1.0, **how)


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
def dots(summary: pd.DataFrame, column: str, axis: str) -> Figure:
    """Draw a column of a summary with its 95 % intervals, a row for each method, a panel for each setting."""
    names = list(dict.fromkeys(summary["setting"]))
    figure, axes = grid(len(names), len(names), 1.4, sharey=True)
    for panel, name in zip(axes, names, strict=True):
        block = summary[summary["setting"] == name]
        panel.set_title(name, loc="left")
        rows(panel, list(block["method"]))
        panel.axvline(0, color="#808080", linewidth=0.6)
        for y, row in enumerate(block.to_dict("records")):
            panel.errorbar(row[column], y, xerr=np.nan_to_num(row[f"{column}_half"]), capsize=1.5,
                           **look(str(row["method"]), y))  # fmt: skip
        if block[column].isna().all():
            say_not_run(panel)
    label_axes(figure, axis)
    return finished(figure)


# Maps


@style()
def landscape(values: pd.DataFrame, x: str, y: str, text: str = ACCURACY) -> Figure:
    """Draw a map of means `[rows of y, columns of x]`, each written into its field, the highest in bold."""
    figure = Figure(figsize=(4.6, 3.4))
    axes, table = figure.subplots(), values.to_numpy(dtype=float)
    if np.isnan(table).all():
        say_not_run(axes)
        return finished(figure)
    middle, best = (np.nanmin(table) + np.nanmax(table)) / 2, np.nanmax(table)

    def written(i: int, j: int, value: float) -> dict[str, Any]:
        weight = "bold" if value == best else "normal"
        shown = "" if np.isnan(value) else f"{value:.2f}"
        return {"s": shown, "color": "black" if value > middle else "white", "fontsize": 6.5, "fontweight": weight}

    figure.colorbar(fields(axes, values, x, y, written, cmap="cividis"), ax=axes, label=text)
    return finished(figure)


@style()
def difference_map(summary: pd.DataFrame, rival: str, places: Sequence[str], columns: Sequence[str], x: str) -> Figure:
    """Draw the reference's paired difference to `rival` as two maps, all classes and the classes slow clients own:
    settings down, delays across; blue = the reference is ahead, orange = behind, a dot = Holm-corrected p < 0.05."""
    figure = Figure(figsize=(WIDTH, 2.9))
    left, right = figure.subplots(1, 2, sharey=True)
    block = summary[summary["method"] == rival].set_index(BLOCK)
    others = summary[summary["method"] != rival].set_index(BLOCK)

    def wide(values: pd.Series[Any]) -> pd.DataFrame:
        return pd.DataFrame(values.unstack()).reindex(index=list(places), columns=list(columns))

    marks = wide(block["p_holm"]) < LEVEL
    stragglers = wide(others["straggler_mean"] - block["straggler_mean"])
    for axes, table, shown, title in (
        (left, wide(block["difference"]), marks, "all classes"),
        (right, stragglers, marks & False, "classes that slow clients own"),
    ):
        axes.set_title(title, loc="left")
        _draw_difference(figure, axes, table, shown, x)
    left.set_ylabel("setting")
    return finished(figure)


def _draw_difference(figure: Figure, axes: Axes, table: pd.DataFrame, marks: pd.DataFrame, x: str) -> None:
    if table.isna().all(axis=None):
        say_not_run(axes)
        return
    size = max(1.0, float(np.nanmax(np.abs(table.to_numpy(dtype=float)))))

    def written(i: int, j: int, value: float) -> dict[str, Any]:
        dot = " •" if marks.iloc[i, j] else ""
        text = NOTHING if np.isnan(value) else f"{value:+.1f}{dot}".replace("-", "−")
        return {"s": text, "color": "white" if abs(value) > 0.6 * size else "black", "fontsize": 7}

    image = fields(axes, table, x, "", written, cmap="PuOr", norm=TwoSlopeNorm(0, -size, size))
    figure.colorbar(image, ax=axes, label="points")
