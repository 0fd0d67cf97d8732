"""Figures show the numbers they are given, also where records are missing, and are saved as the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT, CARETRIGHT
from PIL import Image

from fedecho.core import files, records
from fedecho.core.clock import Clock
from fedecho.core.config import RunConfig
from fedecho.core.records import Record, record_path, save
from fedecho.core.settings import Delays, Protocol
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.experiment import new_record
from fedecho.report import charts, curves, figures, illustrations, summary
from fedecho.report.summary import Cell, Found
from fedecho.simulation.events import draw
from fedecho.simulation.schedule import Job, Round, Schedule
from fedecho.studies import response
from fedecho.studies.cost import SERVERS
from fedecho.studies.grid import PURE
from tests import toy
from tests.sound import sound

tuning = import_module("fedecho.studies.tuning")


def record(
    config: RunConfig, accuracies: Sequence[float], status: Literal["done", "diverged"] = "done", pace: float = 1.0
) -> Record:
    """Return a record with an evaluation every 10 arrivals, `pace` virtual seconds apart."""
    rows: list[dict[str, Any]] = [
        {
            "round": k,
            "arrivals": 10 * k,
            "virtual_time": pace * k,
            "accuracy": accuracy,
            "per_class": [accuracy] * 10,
            "rejected": 0,
        }
        for k, accuracy in enumerate(accuracies, start=1)
    ]
    return new_record(config, status, rows, {"straggler_classes": [1]}, Clock(), {})


CELLS = toy.main_cells("smoke")


def cells_of(*methods: str) -> list[Cell]:
    return [c for c in CELLS if c.method in methods and (c.setting, c.delay) == ("Dir(0.1)", "large")]


def stored(cells: Sequence[Cell], folder: Path) -> Found:
    return [(cell, records.find(folder, cell.config)) for cell in cells]


def put(folder: Path, cell: Cell, *accuracies: float, **options: Any) -> None:
    save(sound(record(cell.config, accuracies, **options)), record_path(folder, cell.config))


def line(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    (found,) = [each for each in axes.lines if each.get_label() == label]
    return np.asarray(found.get_xdata()).tolist(), np.asarray(found.get_ydata()).tolist()


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_mean_curve_on_common_evaluations() -> None:
    config = cells_of("FedEcho")[0].config
    x, mean, half = curves.mean_curve([record(config, (0.2, 0.4)), record(config, (0.4, 0.4))], "round", unit=2)
    assert x.tolist() == [5, 10]
    assert mean.tolist() == pytest.approx([30, 40])
    assert half[1] == pytest.approx(0) and half[0] == pytest.approx(10 * 12.7062, rel=1e-4)


def test_mean_curve_interpolates_where_all_seeds_have_data() -> None:
    config = cells_of("FedEcho")[0].config
    runs = [record(config, (0.0, 0.1, 0.2)), record(config, (0.0, 0.2), pace=1.25)]
    x, mean, _ = curves.mean_curve(runs, "virtual_time", unit=2)
    assert (x[0], x[-1]) == (1.25, 2.5)
    assert mean[[0, -1]].tolist() == pytest.approx([(2.5 + 0) / 2, (15 + 20) / 2])


def test_curves_show_finished_runs_and_name_the_rest(tmp_path: Path) -> None:
    cells = cells_of("FedEcho", "FADAS")
    for cell in cells:
        put(tmp_path, cell, 0.5, 0.7, status="done" if cell.method == "FedEcho" else "diverged")
    figure = curves.curves(stored(cells, tmp_path))
    x, y = line(figure.axes[0], "FedEcho")
    assert (x, y) == ([5, 6], pytest.approx([50, 70]))
    assert "no finished run: FADAS" in words(figure)
    assert [line.get_label() for line in figure.axes[0].lines] == ["FedEcho"]


def test_only_methods_that_are_asked_for_in_a_panel_are_missed_there() -> None:
    with_both, alone = ((place, cells_of("FedEcho", "FADAS")) for place in ("here", "there"))
    found: Found = [
        (replace(cell, setting=place), record(cell.config, (0.5, 0.6)) if cell.method == "FedEcho" else None)
        for place, cells in (with_both, alone) for cell in cells if (place, cell.method) != ("there", "FADAS")
    ]  # fmt: skip
    here, there = curves.curves(found).axes
    assert [text.get_text() for text in here.texts] == ["no finished run: FADAS"]
    assert [text.get_text() for text in there.texts] == [""]
    assert here.get_position().width == there.get_position().width


def test_what_is_said_above_a_panel_does_not_make_it_narrow() -> None:
    cell = cells_of("FedEcho")[0]
    done = (cell, record(cell.config, (0.5, 0.6)))
    plain, told = (curves.curves([done, *more]).axes[0] for more in ([], [(replace(cell, method="F" * 200), None)]))
    assert told.get_position().width > 0.95 * plain.get_position().width


def test_where_nothing_was_run_there_is_no_panel(tmp_path: Path) -> None:
    ran, other = cells_of("FedEcho")[0], next(cell for cell in CELLS if cell.setting == PURE)
    found: Found = [(ran, record(ran.config, (0.5, 0.6))), (other, None)]
    for figure in (charts.bars(summary.summarise(summary.collect(found))), curves.curves(found)):
        assert [title for axes in figure.axes if (title := axes.get_title("left"))] == ["Dir(0.1) · large delays"]


def test_virtual_time_ends_with_the_asynchronous_runs(tmp_path: Path) -> None:
    for cell in cells_of("FedEcho", "FedAvg (sync)"):
        put(tmp_path, cell, 0.5, 0.6, pace=3.0 if cell.method == "FedEcho" else 500.0)
    figure = curves.curves(stored(cells_of("FedEcho", "FedAvg (sync)"), tmp_path), "virtual_time")
    assert figure.axes[0].get_xlim() == (0, 6)
    assert "FedAvg (sync): 55.0 % at 1,000 s" in words(figure)


@pytest.mark.parametrize("x", ["round", "virtual_time"])
def test_curves_without_records_or_with_one_seed(x: Any, tmp_path: Path) -> None:
    cells = cells_of("FedEcho", "FedAvg (sync)")
    assert "not run" in words(curves.curves(stored(cells, tmp_path), x))
    put(tmp_path, cells[0], 0.5, 0.6)
    curves.curves(stored(cells, tmp_path), x)


def test_a_chosen_few_are_drawn_and_what_is_synchronous_still_told(tmp_path: Path) -> None:
    cells = cells_of("FedEcho", "FADAS", "FedAvg (sync)")
    for cell in cells:
        put(tmp_path, cell, 0.5, 0.6, pace=500.0 if cell.method == "FedAvg (sync)" else 3.0)
    figure = curves.curves(stored(cells, tmp_path), "virtual_time", methods=["FedEcho", "FedBuff"])
    assert [line.get_label() for line in figure.axes[0].lines] == ["FedEcho"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["FedEcho"]
    assert words(figure) == "FedAvg (sync): 55.0 % at 1,000 s"


@pytest.mark.parametrize(("seeds", "bands"), [(3, 0), (4, 0), (5, 1)])
def test_a_band_needs_five_seeds(seeds: int, bands: int) -> None:
    cell = cells_of("FedEcho")[0]
    runs = [replace(cell.config, seed=seed) for seed in range(seeds)]
    found = [(replace(cell, config=run), record(run, (0.5, 0.5 + run.seed / 100))) for run in runs]
    (axes,) = curves.curves(found).axes
    assert len(axes.lines) == 1 and len(axes.collections) == bands


def test_lines_differ_without_their_colours(tmp_path: Path) -> None:
    cells = [cell for cell in CELLS if (cell.setting, cell.delay, cell.config.seed) == ("Dir(0.1)", "large", 0)]
    for cell in cells:
        put(tmp_path, cell, *np.linspace(0.1, 0.6, 12))
    lines = curves.curves(stored(cells, tmp_path)).axes[0].lines
    drawn = {(str(line.get_linestyle()), line.get_marker()) for line in lines}
    assert len(drawn) == len(lines) == len(cells) >= 10 and not drawn & {(dash, "") for dash, _ in drawn}
    assert len({figures.markers(60, place)["markevery"] for place in range(5)}) == 5  # side by side


@pytest.mark.parametrize("looks", [figures.LOOK.values(), [tuple(figures.look("", k).values()) for k in range(32)]])
def test_looks_differ_without_their_colours(looks: Sequence[tuple[str, Any, str]]) -> None:
    assert len({(dash, marker) for _, dash, marker in looks}) == len(looks)


def bars_of(axes: Axes) -> list[tuple[float, float]]:
    """Return where the markers of a panel of bars stand."""
    return [(float(bar[0].get_xdata()[0]), float(bar[0].get_ydata()[0])) for bar in axes.containers]  # type: ignore[index]


def test_bars_show_means_and_beside_them_those_of_owned_classes(tmp_path: Path) -> None:
    cells = cells_of("FedBuff", "FedEcho", "FADAS")
    for cell in cells:
        if cell.method != "FADAS":
            put(tmp_path, cell, 0.6 if cell.method == "FedEcho" else 0.5)
    found = summary.summarise(summary.collect(stored(cells, tmp_path))).assign(straggler_mean=20.0)
    everything, owned = charts.bars(found).axes
    assert [label.get_text() for label in everything.get_yticklabels()] == ["FedBuff", "FADAS", "FedEcho"]
    assert {(50, 0), (60, 2)} <= set(bars_of(everything)) and (20, 2) not in bars_of(everything)
    assert bars_of(owned) == [(20, 0), (20, 1), (20, 2)] and owned.get_xlabel() == "slow clients' own classes"
    assert [text.get_text() for text in everything.texts] == ["not run"]


def test_only_where_classes_are_owned_is_a_panel_split(tmp_path: Path) -> None:
    cells = [cell for cell in CELLS if cell.method == "FedEcho" and cell.setting in ("Dir(0.1)", PURE)]
    for cell in cells:
        put(tmp_path, cell, 0.6)
    found = summary.summarise(summary.collect(stored(cells, tmp_path)))
    found.loc[found["setting"] == "Dir(0.1)", "straggler_mean"] = np.nan
    mild, large, *pure = charts.bars(found).axes
    assert [axes.get_title("left").split(" · ")[-1] for axes in pure] == ["mild delays", "", "large delays", ""]
    assert mild.get_position().width > 1.5 * pure[0].get_position().width
    assert mild.get_xlim() == large.get_xlim() and pure[0].get_xlim() == pure[2].get_xlim()
    assert all(axes.get_xlim()[0] >= -2 and axes.get_xlim()[1] <= 102 for axes in pure)
    for below in (pure[0], pure[2]):
        assert below.get_position().y1 < mild.get_position().y0


def test_an_interval_far_wider_than_the_others_does_not_take_their_room() -> None:
    rows = {"method": ["FedAvg", "FedBuff", "FedEcho"], "mean": [70.0, 80.0, 84.0], "half": [1.0, 36.0, 1.0]}
    found = pd.DataFrame(rows).assign(setting="Dir(0.1)", delay="mild", n=5, diverged=0, straggler_mean=np.nan)
    axes = charts.bars(found.assign(straggler_half=np.nan)).axes[0]
    assert axes.get_xlim() == pytest.approx((69 - 0.8, 85 + 0.8))  # 80 ± 4 is inside, and 5 % of 16 on both sides


def test_an_interval_is_cut_at_0_and_has_an_arrowhead_where_it_leaves_its_panel() -> None:
    rows = {"method": ["FedAvg", "FedBuff", "FADAS", "FedEcho"], "mean": [30.0, 1.0, 40.0, np.nan],
            "half": [1.0, 2.0, 36.0, np.nan], "n": [5, 5, 5, 0]}  # fmt: skip
    found = pd.DataFrame(rows).assign(setting="s", delay="d", diverged=0, straggler_mean=np.nan, straggler_half=np.nan)
    (axes,) = charts.bars(found).axes
    ends = [np.asarray(bar[2][0].get_segments()[0])[:, 0].tolist() for bar in axes.containers[:3]]  # type: ignore[index]
    assert ends == [[29, 31], [0, 3], [4, 76]]
    low, high = axes.get_xlim()
    assert low < 0 and 4 < high < 76
    heads = [line for line in axes.lines if line.get_marker() in (CARETLEFT, CARETRIGHT)]
    assert [(np.ravel(head.get_xdata())[0], np.ravel(head.get_ydata())[0]) for head in heads] == [(1, 2)]


def test_a_setting_without_a_kind_of_delay_has_no_panel_for_it(tmp_path: Path) -> None:
    wanted = [("Dir(0.1)", "large"), (PURE, "large"), ("Dir(0.1)", "mild")]
    cells = [cell for cell in CELLS if cell.method == "FedEcho" and (cell.setting, cell.delay) in wanted]
    for cell in cells:
        put(tmp_path, cell, 0.6)
    found = stored(cells, tmp_path)
    for figure in (charts.bars(summary.summarise(summary.collect(found))), curves.curves(found)):
        titles = [title for axes in figure.axes if (title := axes.get_title("left").strip())]
        assert sorted(titles) == sorted(f"{setting} · {delay} delays" for setting, delay in wanted)
        assert all(axes.lines for axes in figure.axes)


def test_bars_without_records(tmp_path: Path) -> None:
    found = summary.summarise(summary.collect(stored(cells_of("FedEcho"), tmp_path)))
    assert words(charts.bars(found)) == "not run"


FIRST, SECOND = Job(2.0, 0, 0, 0.0, 0), Job(5.0, 1, 0, 0.0, 1)
PLAN = Schedule(
    (Round(0, (FIRST,), frozenset({1})), Round(1, (SECOND,), frozenset({0}))), (Job(9.0, 0, 1, 2.0, 2),), (2, 0)
)


def test_gantt_draws_each_job_until_the_horizon_and_the_fast_first() -> None:
    axes = illustrations.schedule_gantt(PLAN).axes[0]
    bars = sorted((p.get_y() + p.get_height() / 2, p.get_x(), p.get_width()) for p in axes.patches)  # type: ignore
    assert np.allclose(bars, [(0, 0, 5), (1, 0, 2), (1, 2, 3)])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fast\n(1)", "slow\n(1)"]
    assert len(illustrations.schedule_gantt(PLAN, rounds=1, clients=[0]).axes[0].patches) == 1


def test_staleness_is_counted_by_speed() -> None:
    figure = illustrations.staleness_histogram(PLAN)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fast (1)", "slow (1)", "mean 0.50"]


def test_notebook_figures_on_a_real_schedule() -> None:
    plan = draw(Protocol(20, 10, 2, 20), Delays("large"), 0)
    illustrations.schedule_gantt(plan)
    illustrations.staleness_histogram(plan)


@pytest.mark.parametrize(("direction", "ends"), [("rising", (0.1, 0.9)), ("falling", (0.9, 0.1))])
def test_alpha_curve(direction: Any, ends: tuple[float, float]) -> None:
    axes = illustrations.alpha_curve(Distillation(alpha_min=0.1, alpha_max=0.9, alpha_direction=direction)).axes[0]
    drawn = np.asarray(axes.lines[0].get_ydata())
    assert drawn[[0, -1]].tolist() == pytest.approx(ends)
    assert [text.get_text() for text in axes.texts] == ["alpha_min = 0.1", "alpha_max = 0.9"]


def test_bank_ageing() -> None:
    figure = illustrations.bank_ageing(pd.DataFrame({"round": [1, 2], "age": [3, 4], "agreement": [0.5, 0.25]}))
    assert [np.asarray(axes.lines[0].get_ydata()).tolist() for axes in figure.axes] == [[3, 4], [50, 25]]


def trial_row(lr: float, mean: float, stage: int, *, ema: float = np.nan, **other: Any) -> dict[str, Any]:
    row = {"method": "FedBuff", "local.lr": lr, "method.ema": ema, "mean": mean, "n": 2, "diverged": 0, "runs": 2}
    return row | {"stage": response.STAGES[stage], "chosen": False} | other


def test_response_curves_mark_the_stages_and_the_chosen_trial() -> None:
    rows = [trial_row(0.1, 50, 0), trial_row(0.01, 45, 1), trial_row(0.3, 60, 2, chosen=True),
            trial_row(0.02, 39, 1), trial_row(0.9, np.nan, 1, n=0, diverged=2)]  # fmt: skip
    axes = response.response_curves(pd.DataFrame(rows), set()).axes[0]
    drawn = [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in axes.lines]
    assert drawn[:3] == [([0.1], [50]), ([0.01], [45]), ([0.3], [60])]
    assert drawn[3] == ([0.02], [0.06]) and drawn[4][0] == [0.9] and drawn[5] == ([0.3], [60])
    assert [line.get_fillstyle() for line in axes.lines[:3]] == ["full", "none", "full"]


def test_the_ring_of_a_chosen_trial_is_whole_and_every_marker_is_explained() -> None:
    figure = response.response_curves(pd.DataFrame([trial_row(0.1, 50, 0, chosen=True), trial_row(0.3, 45, 1)]), set())
    (axes,) = figure.axes
    ring = next(line for line in axes.lines if line.get_markersize() == 8)
    x, y = axes.transData.transform((0.1, 50))
    room = 0.5 * 8 * figure.dpi / 72
    assert not ring.get_clip_on() and y + room <= axes.bbox.y1 + 1
    drawn = {(line.get_marker(), line.get_fillstyle(), line.get_color()) for line in axes.lines}
    told = figure.legends[0].get_lines()
    assert {(line.get_marker(), line.get_fillstyle(), line.get_color()) for line in told} == drawn and len(told) == 6


def test_response_curves_have_a_panel_for_each_hyper_parameter() -> None:
    figure = response.response_curves(pd.DataFrame([trial_row(0.1, 50, 1, ema=0.75)]), {"method.ema"})
    assert [axes.get_title(loc="right") for axes in figure.axes] == [["local", "lr"][1], "1 − ema"]
    assert np.asarray(figure.axes[1].lines[1].get_xdata()).tolist() == [0.25]


def test_tuning_without_records() -> None:
    rows = [trial_row(0.1, np.nan, 0, n=0), trial_row(0.2, np.nan, 1, n=0)]
    assert words(response.response_curves(pd.DataFrame(rows), set())) == "not run"


def test_every_contender_has_its_own_look() -> None:
    assert set(figures.LOOK) == set(SERVERS)
    assert len({marker for _, _, marker in figures.LOOK.values()}) == len(figures.LOOK)


def test_saved_figures_are_the_same_bytes_and_name_their_records(tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        figures.save_figure(illustrations.alpha_curve(Distillation()), tmp_path / "out" / "a.v1", "0123456789ab")
        texts.append([(tmp_path / "out" / f"a.v1.{suffix}").read_bytes() for suffix in ("pdf", "png")])
    assert texts[0] == texts[1]
    pdf, png = texts[0]
    assert b"record set 0123456789ab" in pdf and b"record set 0123456789ab" in png
    assert b"fedecho" in pdf and b"fedecho" in png and b"CreationDate" not in pdf
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.v1.pdf", "a.v1.png"]


def test_what_a_user_has_set_changes_no_figure(tmp_path: Path) -> None:
    theirs = {
        "savefig.bbox": "tight", "savefig.dpi": 30, "savefig.facecolor": "black", "font.size": 20,
        "font.family": "serif",
        "axes.facecolor": "grey", "axes.formatter.use_locale": True, "figure.autolayout": True, "lines.linestyle": ":",
        "pdf.compression": 0, "path.simplify_threshold": 1.0, "axes.xmargin": 0.4, "mathtext.fontset": "stix",
    }  # fmt: skip
    made = []
    for name, rc in (("ours", {}), ("theirs", theirs)):
        with matplotlib.rc_context(rc):
            figures.save_figure(illustrations.alpha_curve(Distillation()), tmp_path / name, "0")
        made.append([(tmp_path / f"{name}.{suffix}").read_bytes() for suffix in ("pdf", "png")])
    assert made[0] == made[1]


@pytest.mark.parametrize("length", [1, 20, 45, 60])
def test_a_legend_stays_in_its_figure(length: int) -> None:
    with figures.style():
        figure = Figure(figsize=(figures.WIDTH, 2))
        axes = figure.subplots()
        for place in range(5):
            axes.plot([0, 1], label=f"{place}" + "m" * length)
        figures.legend(figure, figures.handles([axes]))
        box = figures.finished(figure).legends[0].get_window_extent()
    margin = 0.01 * figure.bbox.width  # of the frame that is not drawn
    assert box.x0 >= -margin and box.x1 <= figure.bbox.width + margin and len(figure.legends) == 1
    assert len(figure.legends[0].get_texts()) == 5


def test_a_legend_has_each_label_of_all_panels_once() -> None:
    few, many = Figure().subplots(1, 2)
    for axes, labels in ((few, "cd"), (many, "abc")):
        for label in labels:
            axes.plot([0, 1], label=label)
    assert [handle.get_label() for handle in figures.handles([few, many])] == [*"abcd"]


def test_no_figure_of_the_paper_is_cut_at_its_sides() -> None:
    for path in sorted((files.REPOSITORY / "paper" / "figures").glob("*.png")):
        with Image.open(path) as image:
            width, height = image.size
            for left in (0, width - 2):
                assert image.convert("L").crop((left, 0, left + 2, height)).getextrema()[0] > 250, path.name


def test_the_style_does_not_leak() -> None:
    before = dict(matplotlib.rcParams)
    illustrations.alpha_curve(Distillation())
    assert dict(matplotlib.rcParams) == before


def test_a_finished_figure_is_not_laid_out_again(tmp_path: Path) -> None:
    with figures.style():
        drawn = Figure(figsize=(2, 1))
        axes = drawn.subplots()
        axes.set_ylabel("a label that needs room")
        before = axes.get_position().x0
        laid_out = figures.finished(drawn).axes[0].get_position()
    assert drawn.get_layout_engine() is None and laid_out.x0 > before
    figures.save_figure(drawn, tmp_path / "drawn", "0")
    assert drawn.get_layout_engine() is None and axes.get_position().bounds == laid_out.bounds


def test_names_are_moved_apart_in_their_order_and_below_the_top() -> None:
    assert figures.spread([0.5, 0.1, 0.52], 0.2).tolist() == pytest.approx([0.5, 0.1, 0.7])
    assert figures.spread([0.9, 0.95, 0.2], 0.2).tolist() == pytest.approx([0.8, 1.0, 0.2])
