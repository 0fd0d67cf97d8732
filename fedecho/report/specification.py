"""A specification curve: all readings of a method from the best to the worst, and which one each of them is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedecho.report.figures import LOOK, WIDTH, finished, handles, label_axes, legend, look, rows, say_not_run, style
from fedecho.report.summary import REFERENCE

_ROOM = 1.5
"""Times the way from the reference to the last rival that a panel reaches down."""
_LEAST = 4.0
"""Points that it reaches down at least."""


@style()
def curve(summary: pd.DataFrame, rivals: Sequence[str]) -> Figure:
    """Draw a summary whose columns `reading` and `own` say which reading a row is and whether it is the one at a rate
    of its own: a panel for each setting with the differences from FedEcho, paired over the seeds, sorted, with
    95 % intervals, and the rivals' means as lines; below it a grid that marks the reading."""
    settings = list(dict.fromkeys(summary["setting"]))
    names = [REFERENCE, *(name for name in dict.fromkeys(summary["reading"]) if name)]
    tall = 0.105 * len(names) + 0.15
    figure = Figure(figsize=(WIDTH, 2.3 + tall))
    above, below = figure.subplots(2, len(settings), squeeze=False, height_ratios=[1.8, tall])
    for over, under, setting in zip(above, below, settings, strict=True):
        block = _sorted(summary[summary["setting"] == setting])
        over.set_title(setting, loc="left")
        under.sharey(below[0])
        under.label_outer()
        if block["mean"].isna().all():
            say_not_run(over)
            say_not_run(under)
            continue
        _draw_estimates(over, block[block["mean"].notna()], summary[summary["setting"] == setting], rivals)
        _draw_grid(under, block[block["mean"].notna()], names)
        left = len(block) - int(block["mean"].notna().sum())
        if left:
            over.text(0.02, 0.03, f"{left} without a finished run", ha="left", va="bottom", transform=over.transAxes)
    label_axes(figure, "readings, sorted")
    above[0].set_ylabel(f"difference from {REFERENCE}, points")
    legend(figure, handles(above), columns=3)
    return finished(figure)


def _sorted(block: pd.DataFrame) -> pd.DataFrame:
    """Return the reference and the readings of a block with their differences `gap`, the best first."""
    own = block[block["method"] == REFERENCE].assign(reading=REFERENCE, difference=0.0, difference_half=0.0)
    chosen = pd.concat([own, block[block["reading"] != ""]])
    return chosen.assign(gap=-chosen["difference"]).sort_values("gap", ascending=False, kind="stable")


def _draw_estimates(axes: Axes, block: pd.DataFrame, all_rows: pd.DataFrame, rivals: Sequence[str]) -> None:
    levels = {rival: -float(all_rows.loc[all_rows["method"] == rival, "difference"].iloc[0]) for rival in rivals}
    known = [level for level in levels.values() if not np.isnan(level)]
    floor = min(-_LEAST, _ROOM * min(known, default=0.0))
    axes.axhline(0, color=LOOK[REFERENCE][0], linewidth=0.8, label=f"{REFERENCE} (0)")
    for rival, level in levels.items():
        axes.axhline(level, label=rival, linewidth=1.0, **(look(rival) | {"marker": ""}))
    for x, row in enumerate(block.to_dict("records")):
        how = _mark(row) | {"color": look(REFERENCE)["color"] if row["reading"] == REFERENCE else "black"}
        if row["gap"] < floor:
            axes.plot(x, floor, **(how | {"marker": "v"}), label="further down")
        else:
            how["label"] = "at an eta_d tuned for it again" if row["own"] else None
            axes.errorbar(x, row["gap"], yerr=np.nan_to_num(row["difference_half"]), elinewidth=0.6, **how)
    axes.set_ylim(floor * 1.08, None)
    axes.set_xlim(-1, len(block))
    axes.tick_params(axis="x", labelbottom=False)


def _draw_grid(axes: Axes, block: pd.DataFrame, names: Sequence[str]) -> None:
    rows(axes, names)
    for y in range(0, len(names), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#f2f2f2", zorder=0)
    for x, row in enumerate(block.to_dict("records")):
        own = row["reading"] == REFERENCE
        if own:
            axes.axvline(x, color=LOOK[REFERENCE][0], linewidth=0.6, zorder=1)
        axes.plot(x, names.index(row["reading"]), color=LOOK[REFERENCE][0] if own else "black", **_mark(row))
    axes.set_xlim(-1, len(block))
    axes.tick_params(axis="x", labelbottom=False)
    axes.grid(axis="x", visible=False)


def _mark(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return the marker of a row: open at a rate of its own, a diamond for the reference."""
    return {"marker": "D" if row["reading"] == REFERENCE else "o", "markersize": 3, "linestyle": "none",
            "markerfacecolor": "white" if row["own"] else None}  # fmt: skip
