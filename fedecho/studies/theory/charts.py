"""The chart of the theory tables: panels of lines with bands, beside them a line of a slope, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedecho.report import figures as kit
from fedecho.report.summary import NOT_RUN

COLOURS = ("#000000", "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "X")
MEASURED: dict[str, Any] = {"color": COLOURS[4], "marker": "o"}
SQUARES, ROUNDS = "mean of |∇f(x_t)|² over the rounds", "T, server rounds"


@dataclass(frozen=True, eq=False)
class Line:
    """Means with the half widths of their intervals (none = no band) over x, and their look."""

    x: Any
    mean: Any
    half: Any
    look: Mapping[str, Any]


def line(points: pd.DataFrame, x: str = "rounds", y: str = "mean", **look: Any) -> Line:
    """Return the line of a measure in a frame of `results.points`."""
    return Line(points[x], points[y], points[f"{y}_half"], look)


@dataclass(frozen=True, eq=False)
class Panel:
    """A panel of a chart; without lines it says why."""

    title: str
    lines: Sequence[Line]
    slope: tuple[float, str] | None = None
    """A slope, drawn through the first point of the first line, and its name."""
    lower: float = 1.0
    """By which factor it lies lower than that point."""
    ticks: Sequence[float] = ()
    under: Callable[[Axes], object] = lambda axes: None
    """Draws what lies under the lines."""
    over: Callable[[Axes], object] = lambda axes: None
    """Draws what lies over them."""
    why: str = NOT_RUN


@kit.style()
def chart(
    panels: Iterable[Panel], columns: int, height: float, x: str, y: str, entries: int, title: float = 7.5, **shared: Any
) -> Figure | None:
    """Draw panels, so many in a row, of a height in inches, with the labels of the axes, so many entries of the legend
    in a row and titles of a size in points; none where there are no panels."""
    panels = list(panels)
    if not panels:
        return None
    figure, places = kit.grid(len(panels), columns, height, **shared)
    for axes, panel in zip(places, panels, strict=True):
        axes.set_title(panel.title, loc="left", fontsize=title)
        panel.under(axes)
        if not panel.lines:
            kit.say_not_run(axes, panel.why)
            continue
        for drawn in panel.lines:
            if drawn.half is None:
                axes.plot(drawn.x, drawn.mean, **drawn.look)
            else:
                kit.band(axes, drawn.x, drawn.mean, drawn.half, positive=True, **drawn.look)
        if panel.slope:
            at = [value for drawn in panel.lines for value in drawn.x]
            kit.slope_line(axes, at, panel.lower * next(iter(panel.lines[0].mean)), *panel.slope)
        kit.log_scales(axes, panel.ticks)
        panel.over(axes)
    kit.label_axes(figure, x, y)
    kit.legend(figure, kit.fullest(places), entries, 2.4)
    return kit.finished(figure)
