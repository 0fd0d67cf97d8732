"""The figures of what servers cost: dots measured, lines predicted, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from fedecho.report.figures import LOOK, finished, grid, label_axes, legend, style
from fedecho.report.summary import REFERENCE

MILLI, MEGA = 1e-3, 1e6
Look = tuple[str, str, str]
PHASE_LOOK: dict[str, Look] = {
    "distillation": ("#D55E00", "-", "D"), "inference": ("#0072B2", "--", "o"), "bank": ("#009E73", "-.", "s"),
    "aggregation": ("#000000", ":", "^"),
}  # fmt: skip
HOLDING_LOOK: dict[str, Look] = {
    "state": ("#009E73", "-.", "s"), "checkpoints": ("#0072B2", "--", "o"), "uploads": ("#000000", ":", "^"),
}  # fmt: skip
"""Colour, line and marker, so that print without colour tells them apart too."""
_LABELS = {"state": "state (the bank)", "checkpoints": "checkpoints (line: bound)"}
NAMES = {
    "N": "clients N", "M_c": "clients at work M_c", "M": "buffer M", "|U|": "pool |U|",
    "Q": "distillation steps Q", "P": "parameters P",
}  # fmt: skip


@style()
def by_factor(own: pd.DataFrame, looks: Mapping[str, Look], unit: float, label: str) -> Figure:
    """Draw what the reference's server takes, a panel per factor: `looks` names the columns, `unit` divides them."""
    factors = list(dict.fromkeys(own["factor"]))
    figure, panels = grid(len(factors), -(-len(factors) // 2), 2.0, sharey=True)
    for axes, factor in zip(panels, factors, strict=True):
        points = own[own["factor"] == factor]
        for name, look in looks.items():
            _draw(axes, points, name, unit, look)
        for value in points.loc[points["base"], "value"]:
            axes.axvline(value, color="#a0a0a0", linewidth=0.6, zorder=1)
        _finish(axes, NAMES[factor], points["value"])
    label_axes(figure, y=label)
    _legend(figure, looks)
    return finished(figure)


@style()
def by_method(frame: pd.DataFrame, time: str = "server, ms a round") -> Figure:
    """Draw every method's milliseconds and its megabytes beside checkpoints, a column per shared factor."""
    common = shared(frame)
    common = common.assign(
        **{f"memory{end}": common[f"state{end}"] + common[f"uploads{end}"] for end in ("", "_predicted")}
    )
    factors, looks = list(dict.fromkeys(common["factor"])), {label: LOOK[label] for label in common["method"].unique()}
    figure, panels = grid(2 * len(factors), len(factors), 2.0, sharey="row")
    rows = (("server", MILLI, time), ("memory", MEGA, "state and uploads, MB"))
    for axes, ((name, unit, label), factor) in zip(panels, product(rows, factors), strict=True):
        points = common[common["factor"] == factor]
        for method, look in looks.items():
            _draw(axes, points[points["method"] == method], name, unit, look)
        _finish(axes, NAMES.get(factor, factor), points["value"].drop_duplicates())
        axes.set_ylabel(label if factor == factors[0] else "")
    _legend(figure, looks)
    return finished(figure)


_DOT: dict[str, Any] = {"markersize": 4, "zorder": 3, "markeredgecolor": "white", "markeredgewidth": 0.4}
_LOW = 0.5
"""Times what is fitted: a rate below is drawn open, as the fit does not stand for it."""
_SAVING_LOOK: tuple[Look, ...] = (("#009E73", "-.", ""), ("#CC79A7", "--", ""), ("#000000", ":", ""))


@style()
def rates(frame: pd.DataFrame, savings: Sequence[str], work: float) -> Figure:
    """Draw the updates a second that servers take by P: `rate` and `plain` as dots, what is fitted as lines, and on the
    right the clients at work that send so many, if each takes `work` seconds."""
    figure, (axes,) = grid(1, 1, 2.5)
    measured = {REFERENCE: ("rate", LOOK[REFERENCE]), "FedBuff": ("plain", LOOK["FedBuff"])}
    lines = {label: (f"{column}_fitted", look) for label, (column, look) in measured.items()}
    lines |= {f"{REFERENCE}, {name}": (name, look) for name, look in zip(savings, _SAVING_LOOK, strict=True)}
    for column, (colour, line, _) in lines.values():
        axes.plot(frame["value"], frame[column], color=colour, linestyle=line, linewidth=1.1, zorder=2)
    for column, (colour, _, marker) in measured.values():
        low = frame[column] < _LOW * frame[f"{column}_fitted"]
        _dots(axes, frame[~low], column, color=colour, marker=marker)
        _dots(axes, frame[low], column, color=colour, marker=marker, fillstyle="none", markeredgecolor=colour)
    axes.set(xscale="log", yscale="log", xlabel=NAMES["P"], ylabel="updates a second")
    both = (lambda rate: np.multiply(rate, work), lambda clients: np.divide(clients, work))
    axes.secondary_yaxis("right", functions=both).set_ylabel("clients at work")
    _legend(figure, {label: look for label, (_, look) in lines.items()})
    return finished(figure)


def _dots(axes: Axes, points: pd.DataFrame, column: str, **how: Any) -> None:
    axes.plot(points["value"], points[column], linestyle="none", **_DOT | how)


def _draw(axes: Axes, points: pd.DataFrame, name: str, unit: float, look: Look) -> None:
    colour, line, marker = look
    x = points["value"].to_numpy(dtype=float)
    axes.plot(x, points[f"{name}_predicted"] / unit, color=colour, linestyle=line, linewidth=1.0, zorder=2)
    axes.plot(x, points[name] / unit, color=colour, linestyle="none", marker=marker, **_DOT)


def _finish(axes: Axes, name: str, values: pd.Series[int]) -> None:
    axes.set(xscale="log", yscale="log", xlabel=name)
    axes.set_xticks(list(values), [f"{v:g}" if v < 10_000 else f"{v / 1000:.0f}k" for v in values])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.08)


def _legend(figure: Figure, looks: Mapping[str, Look]) -> None:
    styles: list[dict[str, Any]] = [
        {"color": colour, "linestyle": line, "marker": marker, "label": _LABELS.get(label, label)}
        for label, (colour, line, marker) in looks.items()
    ]
    legend(figure, [Line2D([], [], **how) for how in styles], len(styles), 3.2)


def shared(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the points of the factors that all methods have."""
    others = frame[frame["method"] != REFERENCE]["factor"]
    return frame[frame["factor"].isin(others)] if len(others) else frame
