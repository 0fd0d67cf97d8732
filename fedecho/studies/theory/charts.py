"""What the charts of the theory tables share: lines with bands beside a line of a slope, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedecho.report import figures as kit

COLOURS = ("#000000", "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "X")
SQUARES, ROUNDS = "mean of |∇f(x_t)|² over the rounds", "T, server rounds"


def look(place: int, **more: Any) -> dict[str, Any]:
    """Return a colour and a marker of the cycle, and what more is given."""
    return {"color": COLOURS[place], "marker": MARKERS[place], **more}


def draw_lines(
    axes: Axes, lines: Sequence[tuple[pd.DataFrame, Mapping[str, Any]]], x: str = "rounds", y: str = "mean", *,
    slope: tuple[float, str] | None = None, lower: float = 1.0, ticks: bool = True,
) -> None:  # fmt: skip
    """Draw a measure of frames of `results.points` with its bands, or say that there are none.

    Args:
        axes: where.
        lines: frames with the looks of their lines.
        x: column of the horizontal axis.
        y: column of the vertical axis; that of the half widths is `y`_half.
        slope: a slope, drawn through the first point of the first line, and its name.
        lower: by which factor it lies lower than that point.
        ticks: whether to mark every x.
    """
    if not lines:
        kit.say_not_run(axes)
        return
    for points, look in lines:
        kit.band(axes, points[x], points[y], points[f"{y}_half"], positive=True, **look)
    at = sorted({value for points, _ in lines for value in points[x]})
    if slope:
        kit.slope_line(axes, at, lower * float(lines[0][0][y].iloc[0]), *slope)
    kit.log_scales(axes, at if ticks else ())


def framed(figure: Figure, panels: Sequence[Axes], x: str, y: str, entries: int) -> Figure:
    """Label a figure's axes and put its legend above, so many entries in a row or as fit."""
    kit.label_axes(figure, x, y)
    kit.legend(figure, kit.handles(panels), entries, 2.4)
    return kit.finished(figure)
