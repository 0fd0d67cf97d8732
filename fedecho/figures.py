"""Figures from records; each function returns a `Figure` that belongs to no global state."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from fedecho import drawings, stats, tables
from fedecho.presets import REFERENCE, Cell, Trial
from fedecho.records import Record, find

LOOK: dict[str, tuple[str, str, str]] = {
    "FedAvg (sync)": ("#000000", ":", "P"),
    "FedAsync": ("#808080", "-", "X"),
    "FedBuff": ("#0072B2", "-", "s"),
    "FedBuff + EMA": ("#56B4E9", "--", "D"),
    "FedBuff (tuned eta)": ("#0072B2", ":", "v"),
    "CA2FL": ("#009E73", "-", "^"),
    "FedAC-public": ("#CC79A7", "--", "<"),
    "FADAS": ("#E69F00", "-", ">"),
    "FADAS-da": ("#E69F00", "-.", "*"),
    "FedEcho": ("#D55E00", "-", "o"),
}
"""Colour, line style and marker of each contender, the same in every figure; no two share all but the colour."""
_PLAIN = ("#404040", "-", ".")
_EMPHASISED = ("FedBuff", "FedBuff + EMA", REFERENCE)
_GRID = 200
Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""x, mean and half width of the 95 % interval, each `[points]`, in percent."""


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the package."""
    with matplotlib.style.context(Path(__file__).with_name("paper.mplstyle")):
        yield


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
        partial = stem.parent / f"{stem.name}.{suffix}.{os.getpid()}.partial"
        with style(), _as_it_lies():
            figure.savefig(partial, format=suffix, metadata=values)
        _settle(partial, stem.parent / f"{stem.name}.{suffix}")


def _settle(partial: Path, final: Path) -> None:
    if final.is_file() and drawings.same(final.read_bytes(), partial.read_bytes(), final.suffix):
        partial.unlink()
    else:
        partial.replace(final)


def finished(figure: Figure) -> Figure:
    """Lay the figure out while the style holds: matplotlib makes its ticks only now.

    This is done once: as it is written, once for each format, matplotlib would lay it out again and measure every text.
    """
    figure.draw_without_rendering()
    with _as_it_lies():
        figure.set_layout_engine(None)
    return figure


def say_not_run(axes: Axes) -> None:
    """Leave a panel without results empty but for the words."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, tables.NOT_RUN, transform=axes.transAxes, ha="center", va="center", color="#808080")


def _panels(places: Sequence[tuple[str, str]], height: float, **shared: Any) -> tuple[Figure, dict[Any, Axes]]:
    """Return a figure with a panel for each (setting, delay): settings down, delays across."""
    settings, delays = (list(dict.fromkeys(place[k] for place in places)) for k in (0, 1))
    figure = Figure(figsize=(7.0, height * len(settings) + 0.5))
    grid = figure.subplots(len(settings), len(delays), squeeze=False, **shared)
    for (i, setting), (j, delay) in ((a, b) for a in enumerate(settings) for b in enumerate(delays)):
        grid[i, j].set_title(f"{setting} · {delay} delays", loc="left", pad=10)
    return figure, {(s, d): grid[i, j] for i, s in enumerate(settings) for j, d in enumerate(delays)}


def _wrapped_panels(places: Sequence[tuple[str, str]], height: float) -> tuple[Figure, dict[Any, Axes]]:
    """Return a figure with a panel for each (setting, delay), two in a row."""
    rows = -(-len(places) // 2)
    figure = Figure(figsize=(7.0, height * rows + 0.5))
    grid = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes, (setting, delay) in zip(grid, places, strict=False):
        axes.set_title(f"{setting} · {delay}", loc="left", pad=10)
    for axes in grid[len(places) :]:
        axes.remove()
    return figure, dict(zip(places, grid, strict=False))


@style()
def vision_curves(
    cells: Sequence[Cell],
    folder: Path,
    x: Literal["virtual_time", "round"] = "round",
    wrapped: Sequence[tuple[str, str]] = (),
) -> Figure:
    """Draw accuracy against server rounds or virtual time: mean over the finished seeds, as evaluated, not smoothed.

    A panel for each setting (down) and delay (across), or for each of the `wrapped` ones, two in a row.

    The shaded 95 % intervals are those of three methods, for legibility. Against virtual time a panel ends with the
    longest asynchronous curve, and says how long the synchronous one takes.
    """
    places = [(cell.setting, cell.delay) for cell in cells]
    figure, panels = _wrapped_panels(wrapped, 1.7) if wrapped else _panels(places, 1.9, sharey="row")
    unit = max((cell.config.protocol.buffer_size for cell in cells), default=1)
    labels = dict.fromkeys(cell.method for cell in cells)
    for place, axes in panels.items():
        runs = {label: _finished_runs(cells, folder, place, label) for label in labels}
        if not any(runs.values()):
            say_not_run(axes)
            continue
        for label, records in runs.items():
            if records:
                _draw_curve(axes, label, mean_curve(records, x, unit))
        _frame_curves(axes, runs, x)
    text = f"server rounds (× {unit} arrivals)" if x == "round" else "virtual time, s"
    figure.supxlabel(text, fontsize=7)
    figure.supylabel("test accuracy, %", fontsize=7)
    _legend(figure, list(labels))
    return finished(figure)


def _finished_runs(cells: Sequence[Cell], folder: Path, place: tuple[str, str], label: str) -> list[Record]:
    chosen = [c for c in cells if (c.setting, c.delay) == place and c.method == label]
    records = [find(folder, cell.config) for cell in chosen]
    return [record for record in records if record is not None and record.status == "done"]


def mean_curve(records: Sequence[Record], x: str, unit: int) -> Curve:
    """Return the mean accuracy (percent) of finished runs, interpolated linearly between their evaluations onto a grid
    of x that all of them cover: virtual seconds, or rounds of `unit` arrivals."""
    column, scale = ("arrivals", unit) if x == "round" else ("virtual_time", 1)
    places = [np.array([row[column] for row in record.rows]) / scale for record in records]
    values = [100 * np.array([row["accuracy"] for row in record.rows]) for record in records]
    same = all(np.array_equal(place, places[0]) for place in places)
    grid = places[0] if same else np.linspace(max(p[0] for p in places), min(p[-1] for p in places), _GRID)
    curves = np.array([np.interp(grid, p, v) for p, v in zip(places, values, strict=True)])
    return grid, *stats.band(curves)


def _draw_curve(axes: Axes, label: str, curve: Curve) -> None:
    (x, mean, half), strong = curve, label in _EMPHASISED
    axes.plot(x, mean, zorder=3 if strong else 2, label=label, **_line(label))
    if strong:
        axes.fill_between(x, mean - half, mean + half, color=_line(label)["color"], alpha=0.15, linewidth=0)


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
        rows = axes.get_shared_y_axes().get_siblings(axes)
        axes.set_ylim(*_limits([line for row in rows for line in row.lines if line.get_label() not in slow]))
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


def _legend(figure: Figure, labels: Sequence[str]) -> None:
    handles = [Line2D([], [], label=label, **_line(label)) for label in labels]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, handlelength=2.6)


def _line(label: str) -> dict[str, Any]:
    colour, line, _ = LOOK.get(label, _PLAIN)
    width = 1.8 if label == REFERENCE else 1.2 if label in _EMPHASISED else 0.7
    return {"color": colour, "linestyle": line, "linewidth": width}


@style()
def bars(summary: pd.DataFrame, reference: str = REFERENCE) -> Figure:
    """Draw `tables.summarise`: each method's mean with its 95 % interval, the reference's mean as a line, and hollow
    markers for the accuracy on the classes that only slow clients own."""
    places = list(zip(summary["setting"], summary["delay"], strict=True))
    rows = int(summary.groupby(tables.BLOCK).size().max())
    figure, panels = _panels(places, 0.25 + 0.15 * rows, sharey="row", sharex="row")
    for (setting, delay), axes in panels.items():
        block = summary[(summary["setting"] == setting) & (summary["delay"] == delay)]
        _draw_block(axes, block, reference)
    for axes in panels.values():  # only now do panels that share an axis know their range
        left, right = axes.get_xlim() if summary["n"].any() else (0.0, 100.0)
        axes.set_xlim(max(-2.0, left), min(102.0, right))
    hollow = "; hollow: classes that only slow clients own" if summary["straggler_mean"].notna().any() else ""
    figure.supxlabel(f"test accuracy, % (filled: all classes{hollow})", fontsize=7)
    return finished(figure)


def _draw_block(axes: Axes, block: pd.DataFrame, reference: str) -> None:
    labels = list(block["method"])
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    for y, row in enumerate(block.to_dict("records")):
        _draw_method(axes, y, row)
    line = block.loc[block["method"] == reference, "mean"]
    if line.notna().any():
        axes.axvline(float(line.iloc[0]), color=LOOK[REFERENCE][0], linewidth=0.6, zorder=1)


def _draw_method(axes: Axes, y: int, row: Mapping[Any, Any]) -> None:
    colour, _, marker = LOOK.get(row["method"], _PLAIN)
    for mean, half, fill in (("straggler_mean", "straggler_half", "white"), ("mean", "half", colour)):
        axes.errorbar(row[mean], y, xerr=np.nan_to_num(row[half]), color=colour, marker=marker, markerfacecolor=fill,
                      elinewidth=0.8, capsize=1.5, capthick=0.8)  # fmt: skip
    if not row["n"]:
        axes.text(0.02, y, "diverged" if row["diverged"] else tables.NOT_RUN, color="#808080", va="center", fontsize=6,
                  transform=axes.get_yaxis_transform())  # fmt: skip


@style()
def tuning_figure(trials: Sequence[Trial], folder: Path) -> Figure:
    """Draw validation accuracy against the local rate, a panel per contender; colour = its second hyper-parameter."""
    summary = tables.tuning_summary(trials, folder)
    methods = list(summary["method"].unique())
    rows = -(-len(methods) // 3)
    figure = Figure(figsize=(7.0, 1.45 * rows + 0.4))
    grid = figure.subplots(rows, 3, squeeze=False).ravel()
    for axes, method in zip(grid, methods, strict=False):
        axes.set_title(method, loc="left")
        axes.set_xscale("log")
        axes.margins(y=0.2)
        _draw_trials(figure, axes, summary[summary["method"] == method])
        axes.set_xticks([0.01, 0.03, 0.1, 0.3], ["0.01", "0.03", "0.1", "0.3"])
        axes.tick_params(axis="x", which="minor", length=0, labelbottom=False)
    for axes in grid[len(methods) :]:
        axes.remove()
    figure.supxlabel("local.lr (ring: chosen; × at the bottom: a run diverged)", fontsize=7)
    figure.supylabel("validation accuracy, %", fontsize=7)
    return finished(figure)


def _draw_trials(figure: Figure, axes: Axes, block: pd.DataFrame) -> None:
    done, failed = block[(block["n"] > 0) & (block["diverged"] == 0)], block[block["diverged"] > 0]
    second = [path for path in tables.tuned_fields(block) if path != "local.lr" and block[path].notna().any()]
    if done.empty and failed.empty:
        say_not_run(axes)
    elif second:
        _draw_coloured(figure, axes, done, second[0], block[second[0]])
    else:
        axes.plot(done["local.lr"], done["mean"], color="#0072B2", marker="o", linewidth=0.6)
    bottom = axes.get_xaxis_transform()
    axes.plot(failed["local.lr"], np.full(len(failed), 0.04), "x", color="#D55E00", transform=bottom)
    chosen = block[block["best"]]
    axes.plot(chosen["local.lr"], chosen["mean"], "o", markersize=8, fillstyle="none", color="#D55E00", zorder=4)


def _draw_coloured(figure: Figure, axes: Axes, done: pd.DataFrame, path: str, values: pd.Series[float]) -> None:
    """Draw trials with a second hyper-parameter `path` as dots coloured by it, on the log scale of all its `values`."""
    low, high = float(values.min()), float(values.max())
    dots = axes.scatter(done["local.lr"], done["mean"], c=done[path], norm=LogNorm(low, high), cmap="viridis", s=16)
    bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=14)
    ticks = [low, (low * high) ** 0.5, high]
    bar.set_ticks(ticks, labels=[f"{value:.2g}" for value in ticks])
    bar.minorticks_off()
    axes.set_title(f"{axes.get_title(loc='left')} (colour: {path.split('.', 1)[1]})", loc="left")
