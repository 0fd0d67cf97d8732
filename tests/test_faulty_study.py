"""The table of faulty clients: its bounds come from honest runs that nothing reports, its losses are paired by seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedecho.core import files
from fedecho.core.clock import Clock
from fedecho.core.records import record_path, save
from fedecho.learning.experiment import new_record
from fedecho.report.publish import story
from fedecho.report.summary import PLACE, mean_of
from fedecho.studies import TABLES, profiles
from fedecho.studies.faulty import KINDS, LOST, MULTIPLE, NO_FAULTS, NORMS, Faulty, over_shares
from fedecho.studies.teacher import Choice
from tests.sound import sound


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    return tmp_path / "paper"


def faulty(profile: str = "smoke", **given: object) -> Faulty:
    study = TABLES["faulty"](profile, **given)
    assert isinstance(study, Faulty)
    return study


def bounds(profile: str = "laptop") -> Choice:
    study = TABLES["faulty_bound"](profile)
    assert isinstance(study, Choice)
    return study


def test_the_norms_are_those_of_honest_runs_that_nothing_reports() -> None:
    """Of the committed records: to three digits, on the validation split, on a seed of the tuning."""
    study, of = bounds(), profiles.profile("laptop")
    assert study.places == [files.tuning_dir("laptop")]
    for cell, record in study.found():
        config = cell.config
        assert config.evaluation.split == "validation" and config.faults.share == 0
        assert config.seed in {*of.tuning_seeds} - {*of.seeds, *of.fresh} and config.protocol.max_delta_norm is None
        assert record is not None and NORMS["laptop"][cell.method] == float(
            f"{mean_of('delta_norm_median', how=np.median)(record):.3g}"
        )


def test_a_bound_is_three_norms_of_its_method_and_the_scaled_updates_are_four() -> None:
    limits = {cell.method: cell.config.protocol.max_delta_norm for cell in faulty("laptop").asked()}
    for label, norm in NORMS["laptop"].items():
        assert limits[label] is None and limits[f"{label}, norm bound"] == MULTIPLE * norm
    assert {cell.config.faults.scale for cell in faulty("laptop").asked()} == {1.0, -4.0}
    assert not [cell.method for cell in faulty("paper").asked() if "bound" in cell.method]


def test_the_rows_without_faults_are_the_main_tables() -> None:
    main = set(TABLES["vision"]("laptop").configs)  # type: ignore[attr-defined]
    shared = {cell.method for cell in faulty("laptop").asked() if cell.config in main}
    assert shared == {*NORMS["laptop"]}


def test_losses_are_paired_over_the_seeds_that_finished_both_ways(paper: Path) -> None:
    study = faulty(kinds=["noise"], shares=[0.1], methods=["FedBuff"])
    for cell in study.asked():
        lost = 0.25 if cell.config.faults.share else 0.0
        done = not (cell.method == "FedEcho" and lost and cell.config.seed == 1)
        row = {"accuracy": 0.5 + cell.config.seed / 10 - lost, "rejected": 3, "arrivals": 12}
        rows = [row] if done else []
        record = new_record(cell.config, "done" if done else "diverged", rows, {}, Clock(), {})
        save(sound(record) if done else record, record_path(study.places[0], cell.config))
    found = study.results().summary.set_index(PLACE)
    for method in ("FedBuff", "FedEcho", "FedEcho, median rows"):
        assert found.loc[(NO_FAULTS, "large", method), LOST.name] == 0
        assert found.loc[("10 % noise", "large", method), LOST.name] == pytest.approx(25)  # not 30, of unpaired means
    assert found.loc[("10 % noise", "large", "FedEcho"), "n"] == 1


def test_the_share_that_was_refused_is_of_all_uploads(paper: Path) -> None:
    study = faulty()
    (column,) = (column for column in study.columns if column.name.startswith("refused"))
    record = new_record(study.configs[0], "done", [{"rejected": 3, "arrivals": 10}, {"rejected": 1, "arrivals": 20}],
                        {}, Clock(), {})  # fmt: skip
    assert column.value(record) == pytest.approx(20)
    assert np.isnan(column.value(new_record(study.configs[0], "diverged", [], {}, Clock(), {})))


def test_the_figure_has_a_panel_for_each_kind_and_no_faults_in_all(paper: Path) -> None:
    study = faulty(seeds=[0])
    for cell in study.asked():
        row = {"accuracy": 0.9 - cell.config.faults.share - 0.1 * (cell.config.faults.kind == "noise")}
        save(sound(new_record(cell.config, "done", [row], {}, Clock(), {})), record_path(study.places[0], cell.config))
    figure = over_shares(study.results(), KINDS, ["FedBuff", "FedEcho"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(KINDS)
    for axes, kind in zip(figure.axes, KINDS, strict=True):
        drawn = [np.asarray(line.lines[0].get_ydata(), dtype=float) for line in axes.containers]  # type: ignore
        wanted = [90, 80, 60] if kind != "noise" else [90, 70, 50]
        assert len(drawn) == 2 and all(values == pytest.approx(wanted) for values in drawn)


def test_the_story_tells_it_among_the_controls_and_the_bound_where_values_are_chosen() -> None:
    told = story.chapters([faulty("laptop"), bounds()])
    assert {title: [one.name for one in members] for title, members in told.items()} == {
        "Ablations and controls": ["faulty"], story.LAST: ["faulty_bound"],
    }  # fmt: skip
    assert story.aside(bounds()) and not story.aside(faulty("laptop"))
