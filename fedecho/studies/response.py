"""What a tuning shows: its trials as texts, and the response curve of each hyper-parameter."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from fedecho.report import captions
from fedecho.report.figures import COLOURS, WIDTH, finished, label_axes, legend, say_not_run, style

CAPTION = (
    "Response curves: validation accuracy in % against each hyper-parameter of a method (log scale; of a decay d: "
    "1 − d), mean over the seeds, a row for each method. Open: trials over the whole space; filled: around the best; "
    "square: the values in use before; ring: chosen. At the bottom: more than 20 points below the best (triangle); "
    "a run diverged (cross)."
)
SHOWN = 20.0
"""Points below the best trial at which a panel ends."""
STAGES = ("in use", "whole space", "around the best")
_BLUE, _RED = ({"color": colour, "markersize": 3, "linestyle": "none"} for colour in (COLOURS[1], COLOURS[0]))
_LOOKS: dict[str, dict[str, Any]] = {
    "in use before": _BLUE | {"marker": "s"},
    "over the whole space": _BLUE | {"marker": "o", "fillstyle": "none"},
    "around the best": _BLUE | {"marker": "o"},
    "far below": _BLUE | {"marker": "v"},
    "diverged": _RED | {"marker": "x"},
    "chosen": _RED | {"marker": "o", "markersize": 8, "fillstyle": "none", "zorder": 4},
}
"""What a trial can be -> its marker; first those of the stages."""


def values_text(point: Mapping[str, float]) -> str:
    """Write a point of a search space."""
    return ", ".join(f"{path.split('.', 1)[1]} {value:g}" for path, value in point.items())


def fields(frame: pd.DataFrame) -> list[str]:
    """Return the columns that are dotted fields of `RunConfig`."""
    return [str(column) for column in frame.columns if "." in str(column)]


def display(found: pd.DataFrame) -> pd.DataFrame:
    """Return the trials as texts to read, indexed by method and values."""
    texts = [{
        "method": row["method"],
        "values": values_text({path: row[path] for path in fields(found) if not np.isnan(row[path])}),
        "validation accuracy, %": captions.accuracy_text(row),
        "runs": f"{row['n']}/{row['runs']}" + (f" ({row['diverged']} diverged)" if row["diverged"] else ""),
        "stage": row["stage"],
        "chosen": "yes" if row["chosen"] else "",
    } for row in found.to_dict("records")]  # fmt: skip
    return pd.DataFrame(texts).set_index(["method", "values"])


@style()
def response_curves(found: pd.DataFrame, decays: Set[str]) -> Figure:
    """Draw validation accuracy against each hyper-parameter, or 1 - it for `decays`: a row of panels per contender."""
    blocks = dict(list(found.groupby("method", sort=False)))
    paths = {method: [path for path in fields(found) if block[path].notna().any()] for method, block in blocks.items()}
    columns = max(map(len, paths.values()))
    figure = Figure(figsize=(WIDTH, 0.74 * len(blocks) + 0.5))
    panels = figure.subplots(len(blocks), columns, squeeze=False, sharey="row")
    for row, (method, block) in zip(panels, blocks.items(), strict=True):
        row[0].set_title(method, loc="left")
        for axes in row[len(paths[method]) :]:
            axes.set_axis_off()
        for axes, path in zip(row, paths[method], strict=False):
            _response(axes, block, path, path in decays)
    label_axes(figure, y="validation accuracy, %")
    legend(figure, [Line2D([], [], label=name, **look) for name, look in _LOOKS.items()], len(_LOOKS), 1.0)
    return finished(figure)


def _response(axes: Axes, block: pd.DataFrame, path: str, decay: bool) -> None:
    """Draw the trials of one contender against one of its hyper-parameters."""
    if not block["runs"].eq(block["n"] + block["diverged"]).any():
        say_not_run(axes)
        return
    x = 1 - block[path] if decay else block[path]
    name = path.split(".", 1)[1]
    axes.set_xscale("log")
    axes.set_xlim(x.min() / 1.2, x.max() * 1.2)  # all that is tried, run or not
    steady, bottom = block["diverged"] == 0, axes.get_xaxis_transform()
    best = block["mean"][steady].max()
    low = max(best - SHOWN, 0.0)
    *stages, far, diverged, ring = _LOOKS.values()
    for stage, look in zip(STAGES, stages, strict=True):
        here = steady & (block["stage"] == stage) & (block["mean"] > low)
        axes.plot(x[here], block["mean"][here], **look)
    for hidden, look in ((steady & (block["mean"] <= low), far), (~steady, diverged)):
        axes.plot(x[hidden], np.full(hidden.sum(), 0.06), transform=bottom, **look)
    chosen = block["chosen"]
    axes.plot(x[chosen], block["mean"][chosen], clip_on=False, in_layout=False, **ring)
    axes.set_ylim(low - 2, best + 5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"1 − {name}" if decay else name, loc="right")
