"""Curves over the rounds of a run: accuracy against rounds or virtual time, and what methods report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from fedecho.core import stats
from fedecho.core.records import Record
from fedecho.report import figures as kit
from fedecho.report.captions import BANDED, BANDED_SEEDS
from fedecho.report.summary import REFERENCE, Found, straggler_score

_POINTS = 200
Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""x, mean and half width of the 95 % interval, each `[points]`, in percent."""


def finished_runs(found: Found, **place: str) -> list[Record]:
    """Return the records of finished runs of the cells with these fields (method, setting, delay)."""
    chosen = [record for cell, record in found if all(getattr(cell, name) == value for name, value in place.items())]
    return [record for record in chosen if record is not None and record.status == "done"]


@kit.style()
def curves(
    found: Found, x: Literal["virtual_time", "round"] = "round", wrapped: bool = False, methods: Collection[str] = ()
) -> Figure:
    """Draw accuracy against server rounds or virtual time: mean over the finished seeds, as evaluated, not smoothed.

    A panel for each setting (down) and delay (across), or (`wrapped`) two in a row; a line for each of the `methods`
    (none given = all). Three methods have shaded 95 % intervals where enough seeds finished. Against virtual time a
    panel ends with the longest asynchronous curve, and says how long the synchronous one takes. A panel in which
    nothing was run is left out, unless all are.
    """
    ran = [cell for cell, record in found if record is not None]
    places = list(dict.fromkeys((cell.setting, cell.delay) for cell in ran or [cell for cell, _ in found]))
    figure, axes_of = _two_in_a_row(places) if wrapped else kit.panels(places, 1.9, sharey="row")
    unit = max((cell.config.protocol.buffer_size for cell, _ in found), default=1)
    labels = list(dict.fromkeys(cell.method for cell, _ in found))
    shown = [label for label in labels if label in (methods or labels)]
    for (setting, delay), axes in axes_of.items():
        here = [(cell, record) for cell, record in found if (cell.setting, cell.delay) == (setting, delay)]
        runs = {label: finished_runs(here, method=label) for label in dict.fromkeys(cell.method for cell, _ in here)}
        if not any(runs.get(label) for label in shown):
            kit.say_not_run(axes)
            continue
        for place, label in enumerate(shown):
            if runs.get(label):
                _draw_curve(axes, label, mean_curve(runs[label], x, unit), len(runs[label]), place)
        _frame_curves(axes, runs, shown, x)
    kit.label_axes(figure, f"server rounds (× {unit} arrivals)" if x == "round" else "virtual time, s", kit.ACCURACY)
    handles = [Line2D([], [], label=label, **_line(label)) for label in shown]
    kit.legend(figure, handles, handlelength=3.2)
    return kit.finished(figure)


def _two_in_a_row(places: Sequence[tuple[str, str]]) -> tuple[Figure, dict[tuple[str, str], Axes]]:
    figure, axes = kit.grid(len(places), 2, 1.7)
    for panel, (setting, delay) in zip(axes, places, strict=True):
        panel.set_title(f"{setting} · {delay}", loc="left", pad=10)
    return figure, dict(zip(places, axes, strict=True))


def _of_all(record: Record) -> list[float]:
    return [row["accuracy"] for row in record.rows]


def mean_curve(records: Sequence[Record], x: str, unit: int, value: Callable[[Record], list[float]] = _of_all) -> Curve:
    """Return the mean accuracy (percent) of finished runs, interpolated linearly between their evaluations onto a grid
    of x that all of them cover: virtual seconds, or rounds of `unit` arrivals. `value`: the accuracy at each."""
    column, scale = ("arrivals", unit) if x == "round" else ("virtual_time", 1)
    places = [np.array([row[column] for row in record.rows]) / scale for record in records]
    values = [100 * np.array(value(record)) for record in records]
    same = all(np.array_equal(place, places[0]) for place in places)
    at = places[0] if same else np.linspace(max(p[0] for p in places), min(p[-1] for p in places), _POINTS)
    return at, *stats.band(np.array([np.interp(at, p, v) for p, v in zip(places, values, strict=True)]))


def _draw_curve(axes: Axes, label: str, curve: Curve, seeds: int, place: int) -> None:
    how = _line(label) | kit.markers(len(curve[0]), place) | {"label": label, "zorder": 2 + (label in BANDED)}
    if label in BANDED and seeds >= BANDED_SEEDS:
        kit.band(axes, *curve, alpha=0.15, **how)
    else:
        axes.plot(*curve[:2], **how)


def _frame_curves(axes: Axes, runs: Mapping[str, Sequence[Record]], shown: Sequence[str], x: str) -> None:
    """Fix the limits by the means, not the intervals, and say above the panel what it does not show."""
    absent = [label for label in shown if runs.get(label) == []]  # of those that are asked for here
    notes = [f"no finished run: {'; '.join(absent)}"] if absent else []
    slow = {label for label, records in runs.items() if x == "virtual_time" and records and _waits_for_all(records[0])}
    slow = set() if slow >= {label for label, records in runs.items() if records} else slow
    ends = [np.max(line.get_xdata()) for line in axes.lines if line.get_label() not in slow]
    if ends:
        axes.set_xlim(0, max(ends))
        notes += [_beyond(label, runs[label]) for label in sorted(slow)]
        shared = axes.get_shared_y_axes().get_siblings(axes)
        axes.set_ylim(*_limits([line for row in shared for line in row.lines if line.get_label() not in slow]))
    told = axes.annotate(" · ".join(notes), (0, 1), (0, 2), xycoords="axes fraction", textcoords="offset points",
                         fontsize=6.5)  # fmt: skip
    told.set_in_layout(False)  # its room is kept by the title's; a long one must not make the panels narrow


def _limits(lines: Sequence[Line2D]) -> tuple[float, float]:
    """Return the range of the curves after the first fifth of each: the first steep rise would flatten the rest."""
    points = [np.asarray(line.get_ydata(), dtype=float) for line in lines]
    later = np.concatenate([values[len(values) // 5 :] for values in points])
    return max(0.0, later.min() - 2), min(100.0, later.max() + 3)


def _beyond(label: str, records: Sequence[Record]) -> str:
    end = np.mean([record.rows[-1]["virtual_time"] for record in records])
    scores = [record.score for record in records if record.score is not None]
    return f"{label}: {100 * np.mean(scores):.1f} % at {end:,.0f} s"


def _waits_for_all(record: Record) -> bool:
    protocol = record.run_config().protocol
    return protocol.concurrency == protocol.buffer_size


def _line(label: str) -> dict[str, Any]:
    width = 1.8 if label == REFERENCE else 1.2 if label in BANDED else 0.8
    return kit.look(label) | {"linewidth": width}


@kit.style()
def owned_curves(found: Found, methods: Sequence[str], level: str, others: Sequence[str] = ()) -> Figure:
    """Draw the accuracy on the classes that only slow clients own against virtual time, mean over the finished seeds.

    A panel for each setting (down) in which they own any and delay (across), a line for each of the `methods`, named
    at its end, and a thin grey one for each of the `others`; what `level` scores at its end is a horizontal line.
    """
    owned = [(cell, record) for cell, record in found if cell.config.partition.straggler_classes]
    places = list(dict.fromkeys((cell.setting, cell.delay) for cell, _ in owned))
    figure, axes_of = kit.panels(places or [("no setting", "no")], 2.1, sharey="row")
    looks, ends = _owned_looks(methods, others), {}
    for (setting, delay), axes in axes_of.items():
        of = partial(finished_runs, owned, setting=setting, delay=delay)
        drawn = {label: _owned_line(axes, of(method=label), how) for label, how in looks.items() if of(method=label)}
        ends[axes] = {label: end for label, end in drawn.items() if label in methods}
        scores = [straggler_score(record) for record in of(method=level)]
        if scores:
            axes.axhline(float(np.mean(scores)), **(kit.look(level) | {"marker": "", "linewidth": 1.0}))
            ends[axes][f"{level}, at its end"] = (axes.get_xlim()[1], float(np.mean(scores)), kit.look(level)["color"])
        if not axes.lines:
            kit.say_not_run(axes, *([] if places else ["no class is owned by slow clients alone"]))
    for axes, named in ends.items():
        kit.name_ends(axes, named)
    kit.label_axes(figure, "virtual time, s", "accuracy on slow clients' own classes, %")
    return kit.finished(figure)


def _owned_looks(methods: Sequence[str], others: Sequence[str]) -> dict[str, dict[str, Any]]:
    strong = {label: kit.look(label, place) | {"marker": "", "linewidth": 1.3} for place, label in enumerate(methods)}
    faint = dict.fromkeys(others, {"color": "#b0b0b0", "linewidth": 0.6})
    return {label: how | {"label": label} for label, how in (faint | strong).items()}


def _owned_line(axes: Axes, runs: Sequence[Record], how: Mapping[str, Any]) -> tuple[float, float, str]:
    """Draw the mean curve of runs and return its end and colour."""
    at, mean, _ = mean_curve(runs, "virtual_time", 1, _of_owned)
    axes.plot(at, mean, **how)
    return float(at[-1]), float(mean[-1]), how["color"]


def _of_owned(record: Record) -> list[float]:
    """Return the accuracy at each evaluation on the classes that only slow clients own."""
    chosen = record.facts["straggler_classes"]
    return [float(np.nanmean(np.asarray(row["per_class"], dtype=float)[chosen])) for row in record.rows]


@kit.style()
def over_rounds(found: Found, metrics: Mapping[str, str], methods: Sequence[str], log: bool = False) -> Figure:
    """Draw metrics of the runs against server rounds, a panel for each (name -> axis text), mean over the seeds."""
    settings = list(dict.fromkeys(cell.setting for cell, _ in found))
    figure, axes = kit.grid(len(settings) * len(metrics), len(metrics), 2.4, 0.4)
    places = [(setting, metric) for setting in settings for metric in metrics]
    for panel, (setting, metric) in zip(axes, places, strict=True):
        panel.set_title(setting, loc="left")
        panel.set_ylabel(metrics[metric])
        for place, method in enumerate(methods):
            curve = _mean_metric(finished_runs(found, setting=setting, method=method), metric)
            if curve is not None:
                panel.plot(*curve, label=method, **kit.look(method, place), **kit.markers(len(curve[0]), place))
        if not panel.lines:
            kit.say_not_run(panel)
        if log:
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter("{x:g}")
    kit.label_axes(figure, "server rounds")
    kit.legend(figure, kit.handles(axes), 4)
    return kit.finished(figure)


def _mean_metric(records: Sequence[Record], metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return rounds and the mean of a metric over the records, at the rounds where all of them report it."""
    reported = [{row["round"]: row[metric] for row in r.rows if row.get(metric) is not None} for r in records]
    shared = sorted(set.intersection(*map(set, reported))) if reported else []
    if not shared:
        return None
    return np.array(shared, dtype=float), np.array([np.mean([run[t] for run in reported]) for t in shared])
