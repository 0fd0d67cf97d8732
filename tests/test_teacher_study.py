"""The choice of a teacher: nothing that is reported is looked at, and its figure shows the level to reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedecho.core import files, stats
from fedecho.core.checks import InputError
from fedecho.core.clock import Clock
from fedecho.core.records import record_path, save
from fedecho.learning.experiment import new_record
from fedecho.report import curves
from fedecho.studies import TABLES, grid, profiles
from fedecho.studies.teacher import CHOSEN, LEVEL, PUBLISHED, RIVALS, Choice, over_seeds
from tests.sound import sound


@pytest.fixture(autouse=True)
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    return tmp_path / "paper"


def choice(profile: str = "laptop", **given: object) -> Choice:
    study = TABLES["teacher"](profile, **given)
    assert isinstance(study, Choice)
    return study


@pytest.mark.parametrize("profile", profiles.WHOLE)
def test_nothing_is_chosen_on_what_is_reported(profile: str, paper: Path) -> None:
    study, of = choice(profile), profiles.profile(profile)
    assert {config.evaluation.split for config in study.configs} == {"validation"}
    seeds = {config.seed for config in study.configs}
    assert seeds == {*of.tuning_seeds} and not seeds & {*of.seeds, *of.fresh}
    assert study.places == [files.tuning_dir(profile)]
    sizes = {config.data.validation_size for config in study.configs}
    assert sizes == ({5000} if profile == "paper" else {0})  # CIFAR-10 has no validation split of its own
    assert "Validation accuracy" in study.caption and "est accuracy" not in study.caption


def test_every_weighting_is_run_in_every_setting_and_what_lacks_is_said() -> None:
    study = choice()
    rows = {cell.method for cell in study.asked()}
    assert len(study.asked()) == len(study.lacking()) == len(rows) * 4 * 2 * 2 and len(rows) == 12
    hows = [cell.config.distill for cell in study.asked() if cell.config.distill is not None]
    tried = {(how.prior_correction, how.energy_weight, how.teacher_weights) for how in hows}
    assert tried == {(0, 0, "equal"), (0.25, 0, "equal"), (0.5, 0, "equal"), (1, 0, "equal"), (0, 1, "equal"),
                     (0, 3, "equal"), (0.5, 3, "equal"), (0, 0, "fedaux"), (0, 0, "label counts"),
                     (0, 0, "seen prior")}  # fmt: skip
    first = study.configs[0]
    save(sound(new_record(first, "done", [{"accuracy": 0.5}], {}, Clock(), {})), record_path(study.places[0], first))
    assert len(study.lacking()) == len(study.configs) - 1 and first not in study.lacking()


@pytest.mark.parametrize("seed", [0, 5])
def test_a_seed_that_a_table_reports_is_refused(seed: int) -> None:
    with pytest.raises(InputError, match=f"seeds = .1000, {seed}. .* no table of laptop reports") as caught:
        choice(seeds=[1000, seed])
    assert "\n" not in str(caught.value)


def test_the_figure_has_the_classes_of_slow_clients_and_the_level_to_reach() -> None:
    study = choice("smoke", settings=[grid.MIXED, grid.DIR], delays=["large"])
    for cell in study.asked():
        share = 0.75 if cell.method == LEVEL else 0.25
        row = {"accuracy": 0.5, "per_class": [share if c in (1, 3) else 0.9 for c in range(10)]}
        record = new_record(cell.config, "done", [row], {"straggler_classes": [1, 3]}, Clock(), {})
        save(sound(record), record_path(study.places[0], cell.config))
    (axes,) = curves.owned_curves(study.found(), ["FedEcho", "lambda = 0.5"], LEVEL).axes  # no panel for Dir(0.1)
    drawn = {str(line.get_label()): set(np.asarray(line.get_ydata(), dtype=float)) for line in axes.lines}
    assert drawn["FedEcho"] == drawn["lambda = 0.5"] == {25.0}
    assert {75.0} in drawn.values()
    assert [text.get_text() for text in axes.texts] == ["FedEcho", "lambda = 0.5", f"{LEVEL}, at its end"]
    (axes,) = curves.owned_curves(study.found(), ["FedEcho"], LEVEL, ["lambda = 0.5", "beta = 1"]).axes
    assert [text.get_text() for text in axes.texts] == ["FedEcho", f"{LEVEL}, at its end"]
    widths = {str(line.get_label()): line.get_linewidth() for line in axes.lines}
    assert widths["FedEcho"] > 2 * widths["lambda = 0.5"] == 2 * widths["beta = 1"]
    (nothing,) = curves.owned_curves([], ["FedEcho"], LEVEL).axes
    assert nothing.texts[0].get_text() == "no class is owned by slow clients alone"


def test_the_chosen_teachers_are_those_that_the_rule_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best mean over all places and seeds of the committed trials: of all, and of what the bank alone gives."""
    monkeypatch.delenv("FEDECHO_PAPER")
    found = choice().results()
    assert set(found.frame["status"]) == {"done"} and len(found.frame) == 12 * 8 * 2
    means = found.summary.groupby("method")["mean"].mean().drop([grid.REFERENCE, *RIVALS])
    sent = [row.label for row in PUBLISHED if row.label != "seen prior"]  # by the clients
    assert [row.label for row in CHOSEN] == [means.idxmax(), means.drop(sent).idxmax()]


def test_of_two_seeds_the_figure_shows_both() -> None:
    # Seeds at 60 and 70 %: the 95 % interval is 65 ± 63.5, from one to the other 65 ± 5.
    two = stats.mean_ci([60.0, 70.0])
    found = pd.DataFrame({"n": [2, 3], "mean": 65.0, "half": two.half, "straggler_half": [two.half, np.nan]})
    shown = over_seeds(found)
    assert shown["half"].tolist() == pytest.approx([5.0, two.half]) and shown["straggler_half"][0] == pytest.approx(5.0)
