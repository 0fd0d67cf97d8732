"""Charts against a factor, rows of dots, maps and curves of metrics show the numbers they are given."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedecho.core.clock import Clock
from fedecho.core.records import Record
from fedecho.learning.experiment import new_record
from fedecho.report import charts, curves
from fedecho.report.summary import Cell
from fedecho.studies.vision import compact
from tests.test_summary import cell, put, row, summary_of


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = [each for each in axes.lines if each.get_label() == label]
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def factor_rows(**column: list[Any]) -> pd.DataFrame:
    given = {"setting": "s", "delay": "d", "method": "m", "half": 1.0, "straggler_half": 2.0, **column}
    return pd.DataFrame(given)


def marks(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """Return label -> the points of a series."""
    lines = {str(bars.get_label()): bars[0] for bars in axes.containers}  # type: ignore[index]
    return {label: list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for label, line in lines.items()}


def test_methods_against_a_factor_lie_side_by_side() -> None:
    found = factor_rows(delay=["M = 1", "M = 10"] * 2, method=["a", "a", "b", "b"], mean=[50.0, 60.0, 70.0, 80.0])
    (axes,) = charts.over_factor(found, {"M = 1": 1.0, "M = 10": 10.0}, "delay", "M", log=True).axes
    drawn = marks(axes)
    assert [y for _, y in drawn["a"]] == [50, 60] and [y for _, y in drawn["b"]] == [70, 80]
    step = 10 ** (0.06 / 2)  # half of 6 % of the gap, on the log scale
    assert [x for x, _ in drawn["a"]] == pytest.approx([1 / step, 10 / step])
    assert [x for x, _ in drawn["b"]] == pytest.approx([step, 10 * step])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "10"] and axes.get_xscale() == "log"


def test_a_cross_at_the_bottom_tells_of_runs_that_diverged() -> None:
    found = factor_rows(delay=["x", "y", "z"], method=["a"] * 3, mean=[50.0, 60.0, math.nan], diverged=[0, 1, 3])
    (axes,) = charts.over_factor(found, {"x": 0.0, "y": 1.0, "z": 2.0}, "delay", "k").axes
    (crosses,) = [line for line in axes.lines if line.get_marker() == "x" and line.get_linestyle() == "None"]
    assert [*crosses.get_xdata()] == [1, 2] and {*crosses.get_ydata()} == {0.03}


def test_many_methods_stay_nearer_to_their_value_than_to_the_next() -> None:
    names = [f"m{k}" for k in range(20)]
    found = factor_rows(delay=["x", "y"] * 20, method=[name for name in names for _ in "xy"], mean=[50.0] * 40)
    (axes,) = charts.over_factor(found, {"x": 0.0, "y": 1.0}, "delay", "k").axes
    assert all(abs(at - k) < 0.35 for points in marks(axes).values() for k, (at, _) in enumerate(points))


def test_rows_that_are_the_factor_are_one_line_and_others_levels() -> None:
    found = factor_rows(method=["small", "large", "FedBuff", "FedBuff + EMA"], mean=[50.0, 60.0, 70.0, 80.0])
    levels = ["FedBuff", "FedBuff + EMA"]
    (axes,) = charts.over_factor(found, {"small": 1.0, "large": 2.0}, "method", "size", level=levels).axes
    assert marks(axes) == {"FedEcho": [(1, 50), (2, 60)]}
    drawn = [line for line in axes.lines if line.get_label() in levels]
    assert [np.asarray(line.get_ydata()).tolist() for line in drawn] == [[70, 70], [80, 80]]
    assert [(line.get_linestyle(), line.get_marker()) for line in drawn] == [("-", ""), ("--", "")]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["small", "large"]


def test_kinds_without_an_order_are_not_joined() -> None:
    found = factor_rows(delay=["x", "y"], mean=[50.0, 60.0])
    (axes,) = charts.over_factor(found, {"x": 0.0, "y": 1.0}, "delay", "kind", joined=False).axes
    assert {line.get_linestyle() for line in axes.lines} == {"None"}


def test_another_column_has_its_own_interval_or_none() -> None:
    found = factor_rows(delay=["x", "y"], mean=[1.0, 1.0], straggler_mean=[5.0, 6.0], seconds=[7.0, math.nan])
    for column, half in (("straggler_mean", 2.0), ("seconds", 0.0)):
        (axes,) = charts.over_factor(found, {"x": 0.0, "y": 1.0}, "delay", "k", column=column, label="s").axes
        assert marks(axes)["m"][0] == (0, {"straggler_mean": 5.0, "seconds": 7.0}[column])
        (bar,) = axes.collections
        ends = np.asarray(bar.get_segments()[0])[:, 1]  # type: ignore[attr-defined]
        assert ends[1] - ends[0] == 2 * half


def test_dots_have_a_panel_for_each_setting() -> None:
    found = pd.DataFrame(
        [("s", "a", 1.0, 0.5), ("s", "b", 2.0, math.nan), ("t", "a", math.nan, math.nan)],
        columns=["setting", "method", "gap", "gap_half"],
    )
    left, right = charts.dots(found, "gap", "points").axes
    spots = [(float(bar[0].get_xdata()[0]), float(bar[0].get_ydata()[0])) for bar in left.containers]  # type: ignore
    assert spots == [(1, 0), (2, 1)] and left.get_title("left") == "s"
    assert [text.get_text() for text in right.texts] == ["not run"]


def test_accuracies_side_by_side_have_the_same_axis_and_the_references_line() -> None:
    means = {"method": ["FedBuff", "FedEcho"] * 2, "straggler_mean": [20.0, 60.0, 30.0, 70.0], "straggler_half": 5.0}
    found = pd.DataFrame(means).assign(setting=["k = 1", "k = 1", "k = 2", "k = 2"], n=3, diverged=0)
    figure = charts.dots(found, "straggler_mean", "accuracy, %", "FedEcho")
    one, two = figure.axes
    assert [label.get_text() for label in one.get_yticklabels()] == ["FedBuff", "FedEcho"]
    assert one.get_xlim() == two.get_xlim() == (15 - 3, 75 + 3)
    assert figure.get_supxlabel() == "accuracy, % (line: FedEcho)"
    lines = [[line for line in axes.lines if len(np.ravel(line.get_xdata())) == 2] for axes in (one, two)]
    assert [np.asarray(of[0].get_xdata()).tolist() for of in lines] == [[60, 60], [70, 70]]


def test_a_mean_far_below_the_others_is_a_number_at_the_edge() -> None:
    """Beside 80, ..., 90 the lowest tenth is about 80 and the median 85: 20 is below 80 - 5 x 5, 60 is not."""
    for lowest, left, said in ((20.0, 79 - 0.05 * 12, ["20.0"]), (60.0, 59 - 0.05 * 32, [])):
        found = factor_rows(method=[str(k) for k in range(11)] + ["FedEcho"], n=3, diverged=0, half=1.0,
                            straggler_mean=[lowest, *range(80, 91)])  # fmt: skip
        found["straggler_half"] = 1.0
        (axes,) = charts.dots(found, "straggler_mean", "accuracy, %", "FedEcho").axes
        assert axes.get_xlim() == (
            pytest.approx(left),
            pytest.approx(91 + 0.05 * (91 - (lowest if not said else 80) + 1)),
        )
        assert [text.get_text() for text in axes.texts] == said


def test_a_map_names_its_factors_values() -> None:
    values = pd.DataFrame([[1.0, 2.0]], index=[0.0225], columns=[1.0, 10.0])
    (axes, _) = charts.landscape(values, "x", "y").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "10"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.0225"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "y")


@pytest.mark.parametrize("reference", ["FedEcho", "FedBuff"])
def test_bars_draw_a_line_at_the_reference(reference: str, tmp_path: Path) -> None:
    cells = [cell("FedBuff"), cell("FedEcho")]
    for each, accuracy in zip(cells, (0.5, 0.6), strict=True):
        put(tmp_path, each.config, accuracy)
    found = summary_of(cells, tmp_path)
    (vertical,) = [line for line in charts.bars(found, reference).axes[0].lines if len(line.get_xdata()) == 2]
    assert np.asarray(vertical.get_xdata()).tolist() == [pytest.approx(row(found, reference)["mean"])] * 2


# Metrics over the rounds


def reporting(method: str, *values: float | None) -> tuple[Cell, Record]:
    """A run of which evaluation k reports `values[k]` as alpha, in round 5 k."""
    rows = [{"round": 5 * k, "alpha": value} for k, value in enumerate(values, start=1)]
    found = replace(cell("FedEcho"), method=method)
    return found, new_record(found.config, "done", rows, {}, Clock(), {})


def test_metrics_are_averaged_where_all_runs_report_them() -> None:
    runs = [reporting("one", 0.2, None, 0.4), reporting("one", 0.4, 0.9, 0.6), reporting("two", None, 0.5, 0.5)]
    figure = curves.over_rounds([*runs, reporting("hidden", 1.0)], {"alpha": "its alpha"}, ["one", "two"])
    (axes,) = figure.axes
    assert line(axes, "one") == ([5, 15], pytest.approx([0.3, 0.5])) and line(axes, "two") == ([10, 15], [0.5, 0.5])
    assert axes.get_ylabel() == "its alpha" and axes.get_yscale() == "linear" and len(axes.lines) == 2
    assert curves.over_rounds(runs, {"alpha": "a"}, ["one"], log=True).axes[0].get_yscale() == "log"


def test_metrics_that_nobody_reports() -> None:
    assert "not run" in words(curves.over_rounds([reporting("one", None)], {"alpha": "its alpha"}, ["one"]))


# The compact table


def test_the_compact_table_by_hand(tmp_path: Path) -> None:
    cells = [cell(method, seed) for method in ("FedEcho", "CA2FL", "FADAS") for seed in (0, 1)]
    for each, accuracy, status in zip(cells, (0.7, 0.7, 0.6, 0.6), ("done", "done", "done", "diverged"), strict=False):
        put(tmp_path, each.config, accuracy, status=status)  # type: ignore[arg-type]
    found = summary_of(cells, tmp_path)
    frame = pd.DataFrame({"status": ["done"], "hash": [None], "commit": [None], "dirty": [None], "score": [math.nan]})
    lines = compact(found, frame).splitlines()
    assert lines[0] == "| method | Dir(0.1), large |"
    assert lines[2:5] == ["| FedEcho | **70.00 ± 0.00** |", "| CA2FL | 60.00* |", "| FADAS | not run |"]
    assert "diverged and are left out" not in lines[-1]
    twice = pd.concat([found, found[found["method"] == "CA2FL"].assign(method="CA2FL (tuned eta)")], ignore_index=True)
    assert compact(twice, frame).splitlines() == lines  # rows that are equal stand there once
    assert r"\* = some seeds diverged and are left out." in compact(found, frame.assign(status="diverged"))
