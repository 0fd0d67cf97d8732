"""The table of readings: every open point has a row, what has no effect is said, and eta_d is tuned again by a rule."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fedecho.core import files
from fedecho.core.clock import Clock
from fedecho.core.config import RunConfig, config_hash
from fedecho.core.records import record_path, save
from fedecho.core.settings import Protocol
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.experiment import new_record
from fedecho.report import specification
from fedecho.report.summary import Cell
from fedecho.studies import TABLES, grid, open_points, plan, profiles
from fedecho.studies.open_points import readings_of
from fedecho.studies.readings import NO_EFFECT, RIVALS, Readings, leads, unchanged
from fedecho.studies.readings_tuning import Rates
from tests.sound import sound


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    return tmp_path / "paper"


def table(profile: str = "laptop", **given: Any) -> Readings:
    study = TABLES["readings"](profile, **given)
    assert isinstance(study, Readings)
    return study


def search(profile: str = "laptop", **given: Any) -> Rates:
    study = TABLES["readings_tuning"](profile, **given)
    assert isinstance(study, Rates)
    return study


def put(place: Path, config: RunConfig, *accuracies: float, status: Any = "done") -> None:
    rows = [{"accuracy": accuracy} for accuracy in accuracies] or [{}]
    save(sound(new_record(config, status, rows, {}, Clock(), {})), record_path(place, config))


# What is read otherwise


def test_every_open_point_has_a_row_or_is_said_to_have_none() -> None:
    study = table()
    points = {reading.point.split()[0] for reading in study.readings.values()}
    said = set(re.findall(r"\((A\d+)\)", study.details))
    assert points - {"deltas", "dispatch"} | said == {f"A{number}" for number in range(1, 29)}
    assert said - points == {"A21", "A22"}


def test_every_option_of_the_distillation_and_of_the_protocol_is_in_a_table() -> None:
    runs = [config for study in plan.trained("laptop").values() for config in study.configs]
    by_hand = {"max_delta_norm", "clients"}  # tests/test_gate.py, tests/test_schedule.py
    for part, used in ((Distillation, [c.distill for c in runs if c.distill]), (Protocol, [c.protocol for c in runs])):
        for name, hint in get_type_hints(part).items():
            values = {getattr(settings, name) for settings in used}
            options = {value for value in get_args(hint) if isinstance(value, str)}
            assert options <= values and (len(values) > 1 or name in by_hand), name
    assert by_hand < {field.name for field in fields(Protocol)}


def test_a_reading_differs_in_what_it_names_alone_and_rivals_share_the_protocol() -> None:
    study = table(seeds=[0])
    runs = {(cell.setting, cell.method): cell.config for cell in study.asked()}
    (adam,) = (reading for reading in readings_of("laptop") if reading.label == "Adam")
    assert runs[grid.DIR, "Adam"] == grid.run_at("laptop", grid.Variant("Adam", adam.changes), grid.HERE, 0)
    for rival in RIVALS:
        theirs = runs[grid.PURE, f"{rival}, clients start on arrival"].protocol
        assert theirs == runs[grid.PURE, "FedEcho, clients start on arrival"].protocol != Protocol()
        assert runs[grid.PURE, rival].protocol == Protocol()
    normed = {method for (place, method), config in runs.items() if config.model == "cnn-batchnorm"}
    assert normed == {"FedEcho", *RIVALS, "statistics as sent", "BatchNorm in train mode"}
    assert all(config.model == "cnn" for (_, method), config in runs.items() if method not in normed)


def test_a_rate_of_its_own_is_a_second_row_where_it_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_points, "OWN_RATES", {"Adam": 0.0025, "reverse KL": 0.0225, "majority labels": 0.5})
    rates = {cell.method: cell.config.distill.lr for cell in table(seeds=[0]).asked() if cell.config.distill}
    assert rates["Adam"] == rates["reverse KL"] == 0.0225 and rates["Adam, own eta_d"] == 0.0025
    assert [label for label in rates if label.endswith("own eta_d")] == ["Adam, own eta_d"]


def test_those_about_batchnorm_are_run_on_the_model_that_has_it() -> None:
    cells = table("paper", seeds=[0]).asked()
    assert {cell.setting for cell in cells} == {grid.DIR, grid.PURE}  # ResNet-18 has it already
    assert {cell.config.model for cell in cells} == {"resnet18", "resnet18-groupnorm"}


# What the records say


def test_a_row_has_no_effect_if_every_number_of_every_seed_is_the_references(paper: Path) -> None:
    study = table(names=["no clipping", "majority labels", "failed uploads taken"], seeds=[0, 1])
    for cell in study.asked():
        if cell.setting == grid.DIR and not (cell.method == "failed uploads taken" and cell.config.seed == 1):
            last = 0.6 if (cell.method, cell.config.seed) == ("majority labels", 1) else 0.5
            put(study.places[0], cell.config, 0.25, last)
    same = unchanged(study.found())
    # Of the failed uploads, seed 1 was not run.
    assert {place[-1] for place in same if place[0] == grid.DIR} == {"no clipping", *RIVALS}
    assert not [place for place in same if place[0] == grid.PURE]  # nothing was run there
    texts = study.table().texts["FedEcho − row"]
    shown = {str(place[-1]): text for place, text in zip(texts.index, texts, strict=True) if place[0] == grid.DIR}
    assert shown["no clipping"] == NO_EFFECT and shown["majority labels"].startswith("−5.00")
    assert shown["failed uploads taken"] != NO_EFFECT and shown["FedBuff + EMA"] != NO_EFFECT


def test_leads_are_paired_and_against_rivals_under_the_same_protocol() -> None:
    def runs(*scores: float) -> pd.DataFrame:
        return pd.DataFrame({"seed": range(len(scores)), "score": scores})

    here = ("a", "large")
    found = {
        (*here, "FedEcho, late"): runs(80.0, 82.0), (*here, "FedBuff (tuned eta), late"): runs(79.0, 79.0),
        (*here, "FedBuff (tuned eta)"): runs(10.0, 10.0), (*here, "FedBuff + EMA"): runs(70.0, 76.0),
    }  # fmt: skip
    ahead = leads(found, (*here, "FedEcho, late"), lambda rival: f"{rival}, late")
    assert ahead["over_fedbuff"] == 2 and np.isnan(ahead["over_ema"])  # 1 and 3; nobody has run that
    plain = leads(found, (*here, "FedEcho, late"), str)
    assert (plain["over_fedbuff"], plain["over_ema"]) == (71, 8)
    assert plain["over_ema_half"] == pytest.approx(12.706 * 2, rel=1e-3)  # 10 and 6: sd / sqrt 2 = 2, t at 1 d.f.


# The tuning again


def scored(study: Rates, accuracy: Callable[[float, int], float | None]) -> None:
    """Write the runs that are asked for, and those that they ask for; none = diverged."""
    while todo := study.lacking():
        for config in todo:
            value = accuracy(config.distill.lr, config.seed)
            if value is None:
                put(study.places[0], config, status="diverged")
            else:
                put(study.places[0], config, value)


def test_the_best_mean_is_chosen_and_an_edge_is_widened_until_it_is_none(paper: Path) -> None:
    study = search(names=["Adam"])
    assert [cell.config.distill.lr for cell in study.asked()][::2] == [0.0025, 0.0075, 0.0225, 0.0675, 0.2025]
    assert study.chosen() == {}
    means = {0.0025: 0.6, 0.000833: 0.7, 0.000278: 0.65}  # 1/9, 1/27, 1/81
    scored(study, lambda rate, seed: means.get(rate, 0.5) + (0.01 if seed == 1000 else 0))
    assert study.chosen() == {"Adam": 0.000833}
    assert study.rates(study.readings[0]) == [0.0225, 0.0075, 0.0675, 0.0025, 0.2025, 0.000833, 0.000278]


def test_a_rate_that_diverged_on_a_seed_is_not_taken_and_is_no_edge(paper: Path) -> None:
    study = search(names=["Adam"])
    scored(study, lambda rate, seed: None if rate == 0.2025 and seed == 1001 else min(0.9, 10 * rate))
    assert study.chosen() == {"Adam": 0.0675} and len(study.rates(study.readings[0])) == 5


def test_below_a_smallest_rate_that_diverged_others_are_tried(paper: Path) -> None:
    study = search(names=["Adam"])
    scored(study, lambda rate, seed: None if 0.002 < rate < 0.01 else {0.000833: 0.8, 0.000278: 0.7}.get(rate, 0.1))
    assert study.chosen() == {"Adam": 0.000833}  # 0.0025 and 0.0075 diverged, all above is at chance


def test_seeds_are_dots_and_where_one_diverged_there_is_no_mean(paper: Path) -> None:
    study = search(names=["Adam"])
    scored(study, lambda rate, seed: None if rate == 0.2025 and seed == 1001 else min(0.9, 10 * rate) - seed / 1e5)
    draw, _ = study.figures["curves"]
    (axes,) = draw(study.results()).axes
    means, dots = ([*zip(*np.asarray(line.get_data()), strict=True)] for line in axes.lines)
    assert means[0] == pytest.approx((0.0025, 2.5 - 1.0005)) and len(means) == 5 and np.isnan(means[-1][1])
    assert dots[:2] == [pytest.approx((0.0025, 2.5 - 1.0)), pytest.approx((0.0025, 2.5 - 1.001))]
    assert axes.get_title("left") == "Adam" and axes.get_xscale() == "log"


@pytest.mark.parametrize("profile", profiles.WHOLE)
def test_nothing_is_tuned_on_what_is_reported(profile: str) -> None:
    study, of = search(profile), profiles.profile(profile)
    assert {config.evaluation.split for config in study.configs} == {"validation"}
    assert {config.seed for config in study.configs} == {*of.tuning_seeds}
    assert study.places == [files.tuning_dir(profile)] and "Validation accuracy" in study.caption
    assert {reading.label for reading in study.readings} >= {"Adam", "temperature 2", "probabilities averaged"}


def test_what_is_tuned_can_be_chosen() -> None:
    few = search(names=["temperature 4"], temperatures=[4.0], seeds=[77, 78])
    assert {(cell.setting, cell.config.distill.temperature, cell.config.seed) for cell in few.asked()} == {
        ("temperature 4", 4.0, 77), ("temperature 4", 4.0, 78),
    }  # fmt: skip
    assert "on seeds 77, 78" in few.caption


def test_the_rates_in_use_are_those_that_the_rule_gives_from_the_committed_trials() -> None:
    assert search().chosen() == open_points.OWN_RATES


# The figure


def summary(gaps: Mapping[str, float], **more: Any) -> pd.DataFrame:
    """A summary of readings that differ from FedEcho by so many points, in one setting."""
    rows = [
        {
            "method": label,
            "reading": label.removesuffix(", own eta_d"),
            "own": label.endswith("own eta_d"),
            "mean": 80 - gap,
            "difference": gap,
            "difference_half": 0.5,
        }
        for label, gap in gaps.items()
    ]
    rivals = [
        {"method": label, "reading": "", "own": False, "mean": 80 - gap, "difference": gap, "difference_half": 1.0}
        for label, gap in zip(RIVALS, (5.0, 1.0), strict=True)
    ]
    own = {
        "method": "FedEcho",
        "reading": "",
        "own": False,
        "mean": 80.0,
        "difference": np.nan,
        "difference_half": np.nan,
    }
    return pd.DataFrame([own, *rivals, *rows]).assign(setting="here", delay="large", **more)  # fmt: skip


def points(figure: Figure) -> list[tuple[float, float, str, bool]]:
    """x, y, marker and whether it is open, of the single points of all panels."""
    return [
        (float(np.ravel(line.get_xdata())[0]), float(np.ravel(line.get_ydata())[0]), str(line.get_marker()),
         line.get_markerfacecolor() == "white")
        for axes in figure.axes for line in axes.lines if len(np.ravel(line.get_xdata())) == 1
    ]  # fmt: skip


def test_the_curve_is_sorted_marks_the_reference_and_says_which_reading_each_is() -> None:
    found = summary({"Adam": 30.0, "Adam, own eta_d": 0.5, "reverse KL": -1.0})
    figure = specification.curve(found, list(RIVALS))
    over, under = figure.axes
    assert [label.get_text() for label in under.get_yticklabels()] == ["FedEcho", "Adam", "reverse KL"]
    assert points(figure) == [
        (0, 1.0, "o", False), (1, 0.0, "D", False), (2, -0.5, "o", True), (3, -7.5, "v", False),  # 30 points down
        (0, 2, "o", False), (1, 0, "D", False), (2, 1, "o", True), (3, 1, "o", False),
    ]  # fmt: skip
    levels = {str(line.get_label()): float(np.ravel(line.get_ydata())[0]) for line in over.lines}
    assert levels["FedBuff (tuned eta)"] == -5 and levels["FedBuff + EMA"] == -1 and levels["FedEcho (0)"] == 0


def test_panels_have_scales_of_their_own_and_the_legend_says_what_markers_mean() -> None:
    small = summary({"reverse KL": 0.5, "Adam, own eta_d": 1.0})
    large = summary({"reverse KL": 30.0, "Adam, own eta_d": 0.5}).assign(setting="there")
    figure = specification.curve(pd.concat([small, large]), list(RIVALS))
    assert figure.axes[0].get_ylim() != figure.axes[1].get_ylim()
    assert figure.axes[2].get_ylim() == figure.axes[3].get_ylim()  # the same rows
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(told) == sorted([*RIVALS, "FedEcho (0)", "at an eta_d tuned for it again", "further down"])


def test_what_was_not_run_is_counted_and_not_drawn() -> None:
    found = summary({"Adam": 2.0, "reverse KL": -1.0})
    found.loc[found["method"] == "Adam", ["mean", "difference", "difference_half"]] = np.nan
    over, _ = specification.curve(found, list(RIVALS)).axes
    assert [text.get_text() for text in over.texts] == ["1 without a finished run"]


def test_old_records_stay_in_use() -> None:
    """Rows that an earlier form of the table had, and rows of other tables, have the same runs as before."""
    hashes = {config_hash(cell.config) for cell in table().asked()}
    for name, rows in {"sensitivity": ["Q = 20, eta_d = 0.0225"],
                       "bank": ["top-3"], "controls": ["probabilities averaged", "rows decay, 0.99 per round"],
                       "ablation_alpha": ["per image (0.2, 0.8)", "clients' entropy"]}.items():  # fmt: skip
        theirs = [c for c in plan.trained("laptop")[name].asked() if c.method in rows and here(c)]
        assert theirs and {config_hash(cell.config) for cell in theirs} <= hashes, name


def here(cell: Cell) -> bool:
    return cell.setting == grid.DIR and cell.delay == "large" and cell.config.seed < grid.FEW


# The page of the open points


def test_the_page_of_open_points_has_each_once_and_names_fields_that_there_are() -> None:
    page = (files.REPOSITORY / "paper" / "OPEN_POINTS.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| A")]
    assert [row[0] for row in rows] == [f"| A{k}" for k in range(1, 29)]
    own = grid.run_at("laptop", grid.OWN, grid.HERE, 0)
    named = re.findall(r"`([a-z]+(?:\.[a-z_]+)+)`", page)
    assert len({*named}) > 25
    for field in named:
        assert functools.reduce(getattr, field.split("."), own) is not ...  # an unknown name raises AttributeError
    changed = {path for reading in readings_of("laptop") for path in reading.changes}
    assert changed - {"model", "local.weight_decay"} <= {*named}
