"""The figure kit: one style, panels, looks, intervals, bands, maps and legends; figures belong to no global state."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator
from numpy.typing import NDArray

from fedecho.core import files
from fedecho.report import drawings
from fedecho.report.summary import NOT_RUN

_LONG, _TUNED = (0, (7, 2)), (0, (3, 1, 1, 1, 1, 1))
LOOK: dict[str, tuple[str, Any, Any]] = {
    "FedAvg (sync)": ("#000000", ":", "P"),
    "FedAsync": ("#808080", "--", "X"),
    "FedBuff": ("#0072B2", "-", "s"),
    "FedBuff + EMA": ("#56B4E9", "--", "D"),
    "FedBuff (tuned eta)": ("#0072B2", _TUNED, "v"),
    "CA2FL": ("#009E73", "-.", "^"),
    "CA2FL (tuned eta)": ("#009E73", _TUNED, "d"),
    "FedAC-public": ("#CC79A7", _LONG, "<"),
    "FADAS": ("#E69F00", "-", ">"),
    "FADAS-da": ("#E69F00", "-.", "*"),
    "FedStaleAsync": ("#882255", "-", "h"),
    "ACE (buffered)": ("#882255", "-.", (3, 1, 0)),
    "AREA": ("#44AA99", "--", "8"),
    "AdaMasFL-public": ("#999933", _LONG, (4, 1, 0)),
    "FedEcho": ("#D55E00", "-", "o"),
    "FedEcho (tuned eta)": ("#D55E00", _TUNED, "p"),
    "FedEcho, FedAUX's certainties": ("#332288", "-", (6, 1, 0)),
    "FedEcho, lambda = 0.5": ("#332288", "-.", (4, 1, 45)),
}
"""Colour, line style and marker of each contender, the same in every figure; without colours they differ too."""
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#808080")
GREY = "#808080"
ACCURACY = "test accuracy, %"
Numbers = NDArray[np.float64]
_PLAIN = ("#404040", "-", ".")
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "X", "P", "*")
_FRAME = 1.01
"""Times a figure's width that a legend may have: at its ends are the margins of a frame that is not drawn."""
WIDTH, COLUMN = 7.0, 3.5
"""Of a figure over the whole page and over one column, in inches; no type in it is below 6.5 points at that size."""


def look(label: str, place: int | None = None) -> dict[str, Any]:
    """Return colour, line style and marker of a series: a contender's own, else the next of a cycle, or a plain one."""
    fallback = _PLAIN if place is None else (
        COLOURS[place % 8], _DASHES[(place + place // 8) % 4], _MARKERS[place % 8]
    )  # fmt: skip
    return dict(zip(("color", "linestyle", "marker"), LOOK.get(label, fallback), strict=True))


def markers(points: int, place: int) -> dict[str, Any]:
    """Return where a curve of many points has its six markers: not where the curves before it have theirs."""
    step = max(1, points // 6)
    return {"markevery": (int(0.618 * place % 1 * step), step), "markersize": 4, "markeredgecolor": "white",
            "markeredgewidth": 0.3}  # fmt: skip


style = partial(matplotlib.style.context, Path(__file__).with_name("paper.mplstyle"), after_reset=True)
"""Draws in the style of the package: matplotlib's own defaults with a few changes, whatever its user has set."""


def _as_it_lies() -> AbstractContextManager[None]:
    """Keep matplotlib from giving a figure without a layout engine a new one."""
    return matplotlib.rc_context({"figure.constrained_layout.use": False})


def save_figure(figure: Figure, stem: Path, record_set: str) -> None:
    """Write `stem`.pdf and .png whole, the same bytes each time, with the record set's hash in their metadata.

    A file that shows the same already is left as it is, so that another processor's rounding is no change.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    subject = f"record set {record_set}"
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"Creator": "fedecho", "Subject": subject, "CreationDate": None},
        "png": {"Software": "fedecho", "Description": subject},
    }
    for suffix, values in metadata.items():
        final = stem.parent / f"{stem.name}.{suffix}"
        drawn = io.BytesIO()
        with style(), _as_it_lies():
            figure.savefig(drawn, format=suffix, metadata=values)
        if not (final.is_file() and drawings.same(final.read_bytes(), drawn.getvalue(), final.suffix)):
            with files.whole(final) as partial:
                partial.write_bytes(drawn.getvalue())


def finished(figure: Figure) -> Figure:
    """Lay the figure out while the style holds: matplotlib makes its ticks only now.

    This is done once: as it is written, once for each format, matplotlib would lay it out again and measure every text.
    """
    figure.draw_without_rendering()
    with _as_it_lies():
        figure.set_layout_engine(None)
    return figure


def say_not_run(axes: Axes, why: str = NOT_RUN) -> None:
    """Leave a panel without results empty but for the words."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", color=GREY)


def note(axes: Axes, y: float, text: str, colour: str = GREY) -> None:
    """Write a few words at the left end of a row."""
    axes.text(0.02, y, text, color=colour, va="center", fontsize=6.5, transform=axes.get_yaxis_transform(),
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip


def grid(count: int, columns: int, height: float, extra: float = 0.5, **shared: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels of a height in inches, so many in a row, and those panels."""
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, height * rows + extra))
    panels = list(figure.subplots(rows, columns, squeeze=False, **shared).ravel())
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]


def panels(
    places: Sequence[tuple[str, str]], height: float, **shared: Any
) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    """Return a figure with a panel for each (setting, delay): settings down, delays across."""
    settings, delays = (list(dict.fromkeys(place[k] for place in places)) for k in (0, 1))
    figure = Figure(figsize=(WIDTH, height * len(settings) + 0.5))
    axes = figure.subplots(len(settings), len(delays), squeeze=False, **shared)
    found = {(s, d): axes[i, j] for i, s in enumerate(settings) for j, d in enumerate(delays)}
    for (setting, delay), panel in found.items():
        panel.set_title(f"{setting} · {delay} delays", loc="left", pad=10)
        if (setting, delay) not in places:
            panel.remove()
    return figure, {place: panel for place, panel in found.items() if place in places}


def label_axes(figure: Figure, x: str = "", y: str = "") -> None:
    """Write what the panels' axes show."""
    if x:
        figure.supxlabel(x, fontsize=7)
    if y:
        figure.supylabel(y, fontsize=7)


def handles(panels: Sequence[Axes]) -> list[Any]:
    """Return what a legend of panels shows: a handle for each label, those of the fullest panel first."""
    found: dict[str, Any] = {}
    for each in sorted((axes.get_legend_handles_labels()[0] for axes in panels), key=len, reverse=True):
        for handle in each:
            found.setdefault(str(handle.get_label()), handle)
    return list(found.values())


def legend(figure: Figure, shown: Sequence[Any], columns: int = 5, handlelength: float = 2.6) -> None:
    """Put a legend of handles above all panels, in fewer columns where so many are wider than the figure."""
    for count in range(max(1, columns), 0, -1):
        made = figure.legend(handles=shown, loc="outside upper center", ncols=count, handlelength=handlelength)
        if count == 1 or made.get_window_extent().width <= _FRAME * figure.bbox.width:
            return
        made.remove()


def band(axes: Axes, x: Any, mean: Any, half: Any, *, alpha: float = 0.2, positive: bool = False, **how: Any) -> None:
    """Draw means with the band of their intervals; on a log scale (`positive`) what would reach 0 is cut."""
    x, mean, half = (np.asarray(values, dtype=float) for values in (x, mean, half))
    axes.plot(x, mean, **how)
    low = np.maximum(mean - half, 0.05 * mean) if positive else mean - half
    axes.fill_between(x, low, mean + half, color=how["color"], alpha=alpha, linewidth=0)


def name_ends(axes: Axes, ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Write the names of lines beside their ends (x, y, colour), none over another; the axes' limits must be final."""
    low, high = axes.get_ylim()
    heights = spread([(y - low) / (high - low) for _, y, _ in ends.values()], 0.09)
    for height, (name, (x, y, colour)) in zip(heights, ends.items(), strict=True):
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 0,
                  "relpos": (0, 0.5)}  # fmt: skip
        axes.annotate(name, (x, y), (1.05, height), textcoords=axes.transAxes, va="center", fontsize=6.5,
                      arrowprops=leader, annotation_clip=False)  # fmt: skip


def spread(places: Sequence[float], gap: float, top: float = 1.0) -> Numbers:
    """Return places moved apart to at least `gap`, none above `top`, in the same order of height."""
    order, steps = np.argsort(places, kind="stable"), gap * np.arange(len(places))
    moved = np.empty(len(places))
    moved[order] = np.minimum(np.maximum.accumulate(np.asarray(places)[order] - steps) + steps, top - steps[::-1])
    return moved


def rows(axes: Axes, labels: Sequence[str]) -> None:
    """Name the rows of a panel of dots, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)


def log_scales(axes: Axes, ticks: Sequence[float] = ()) -> None:
    """Make both axes logarithmic, with plain numbers: at `ticks` where they are given."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())
    if len(ticks):
        axes.set_xticks(list(ticks), [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def slope_line(axes: Axes, at: Sequence[float], through: float, slope: float, label: str | None = None) -> None:
    """Draw a dashed line of a slope (both axes logarithmic) through `through` at the first of `at`."""
    x = np.array([min(at), max(at)], dtype=float)
    axes.plot(x, through * (x / x[0]) ** slope, color=GREY, linestyle=(0, (4, 2)), linewidth=0.8, label=label,
              marker="", zorder=1)  # fmt: skip


def fields(
    axes: Axes, table: pd.DataFrame, x: str, y: str, text: Callable[[int, int, float], dict[str, Any]], **how: Any
) -> Any:
    """Draw a map `[rows, columns]` with what `text` makes of each field (`Axes.text`); return the image."""
    values = table.to_numpy(dtype=float)
    image = axes.imshow(values, origin="lower", aspect="auto", **how)
    for (i, j), value in np.ndenumerate(values):
        axes.text(j, i, ha="center", va="center", **text(i, j, value))
    for names, ticks in ((table.columns, axes.set_xticks), (table.index, axes.set_yticks)):
        ticks(range(len(names)), [name if isinstance(name, str) else f"{name:g}" for name in names])
    axes.set(xlabel=x, ylabel=y)
    axes.grid(False)
    return image
