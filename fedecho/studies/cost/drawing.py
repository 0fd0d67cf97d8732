"""Figures of the server's cost: measured dots and predicted lines, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from fedecho.report.figures import LOOK, finished, style
from fedecho.report.summary import REFERENCE

Look = tuple[str, str, str]
PHASE_LOOK: dict[str, Look] = {
    "distillation": ("#D55E00", "-", "D"),
    "inference": ("#0072B2", "--", "o"),
    "bank": ("#009E73", "-.", "s"),
    "aggregation": ("#000000", ":", "^"),
}
HOLDING_LOOK: dict[str, Look] = {
    "state": ("#009E73", "-.", "s"),
    "checkpoints": ("#0072B2", "--", "o"),
    "uploads": ("#000000", ":", "^"),
}
"""Colour, line and marker, so that print without colour tells them apart too."""
_LABELS = {"state": "state (the bank)", "checkpoints": "checkpoints (line: bound)"}
NAMES = {
    "N": "clients N", "M_c": "clients at work M_c", "M": "buffer M", "|U|": "pool |U|",
    "Q": "distillation steps Q", "P": "parameters P",
}  # fmt: skip


def _grid(factors: Sequence[str], rows: int) -> tuple[Figure, list[list[Axes]]]:
    columns = -(-len(factors) // 2) if rows == 1 else len(factors)
    height = 2 if rows == 1 else rows
    figure = Figure(figsize=(7.0, 2.0 * height + 0.5))
    grid = figure.subplots(height, columns, squeeze=False, sharey="row" if rows > 1 else True)
    return figure, [list(line) for line in grid]


@style()
def by_factor(frame: pd.DataFrame, looks: Mapping[str, Look], unit: float, label: str) -> Figure:
    """Draw what the reference's server takes, a panel per factor: `looks` names the columns, `unit` divides them."""
    block = frame[frame["method"] == REFERENCE]
    factors = list(dict.fromkeys(block["factor"]))
    figure, grid = _grid(factors, 1)
    panels = [axes for line in grid for axes in line]
    for axes, factor in zip(panels, factors, strict=False):
        points = block[block["factor"] == factor]
        for name, look in looks.items():
            _draw(axes, points, name, unit, look)
        _mark_base(axes, points)
        _finish(axes, NAMES[factor], points["value"])
    for axes in panels[len(factors) :]:
        axes.remove()
    figure.supylabel(label, fontsize=7)
    _legend(figure, looks)
    return finished(figure)


@style()
def by_method(frame: pd.DataFrame) -> Figure:
    """Draw every method's milliseconds a round and its megabytes beside checkpoints, a column per shared factor."""
    shared = frame[frame["factor"].isin(frame[frame["method"] != REFERENCE]["factor"])]
    total = {f"memory{end}": shared[f"state{end}"] + shared[f"uploads{end}"] for end in ("", "_predicted")}
    shared = shared.assign(**total)
    factors, looks = list(dict.fromkeys(shared["factor"])), {label: LOOK[label] for label in shared["method"].unique()}
    figure, grid = _grid(factors, 2)
    for line, (name, unit) in zip(grid, (("server", 1e-3), ("memory", 1e6)), strict=True):
        for axes, factor in zip(line, factors, strict=True):
            points = shared[shared["factor"] == factor]
            for label, look in looks.items():
                _draw(axes, points[points["method"] == label], name, unit, look)
            _finish(axes, NAMES[factor], points["value"].drop_duplicates())
    grid[0][0].set_ylabel("server, ms a round")
    grid[1][0].set_ylabel("state and uploads, MB")
    _legend(figure, looks)
    return finished(figure)


def _draw(axes: Axes, points: pd.DataFrame, name: str, unit: float, look: Look) -> None:
    colour, line, marker = look
    x = points["value"].to_numpy(dtype=float)
    axes.plot(x, points[f"{name}_predicted"] / unit, color=colour, linestyle=line, linewidth=1.0, zorder=2)
    axes.plot(x, points[name] / unit, color=colour, linestyle="none", marker=marker, markersize=4, zorder=3,
              markeredgecolor="white", markeredgewidth=0.4)  # fmt: skip


def _mark_base(axes: Axes, points: pd.DataFrame) -> None:
    for value in points.loc[points["base"], "value"]:
        axes.axvline(value, color="#a0a0a0", linewidth=0.6, zorder=1)


def _finish(axes: Axes, name: str, values: pd.Series[int]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(name)
    axes.set_xticks(list(values), [_short(value) for value in values])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.08)


def _short(value: float) -> str:
    return f"{value:g}" if value < 10_000 else f"{value / 1000:.0f}k"


def _legend(figure: Figure, looks: Mapping[str, Look]) -> None:
    styles: list[dict[str, Any]] = [
        {"color": colour, "linestyle": line, "marker": marker, "label": _LABELS.get(label, label)}
        for label, (colour, line, marker) in looks.items()
    ]
    handles = [Line2D([], [], **how) for how in styles]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=3.2)


def all_figures(frame: pd.DataFrame) -> dict[str, Figure]:
    """Return every figure of the study by the end of its file's name."""
    return {
        "seconds": by_factor(frame, PHASE_LOOK, 1e-3, "ms a round"),
        "bytes": by_factor(frame, HOLDING_LOOK, 1e6, "MB"),
        "methods": by_method(frame),
    }
