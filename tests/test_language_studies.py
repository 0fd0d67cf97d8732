"""The language block: what is compared where, and what is trained without the other data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedecho import studies
from fedecho.studies import catalogue, language, wanted
from tests.test_tables import put

DOWNLOADED = set(language.OTHERS.values())


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    monkeypatch.setenv("FEDECHO_DATA", str(tmp_path / "nothing"))
    return tmp_path


def test_the_main_table_has_every_place_and_the_stated_seeds() -> None:
    cells = catalogue.cells("language", "laptop")
    places = {(cell.setting, cell.delay) for cell in cells}
    assert len(places) == 3 * 3 * 2 + 1 and len({cell.method for cell in cells}) == 7
    seeds = {name: tuple(sorted({c.config.seed for c in cells if c.config.data.name == name})) for name in ("austen", *DOWNLOADED)}
    assert set(seeds.values()) == {(0, 1, 2, 3, 4)}


def test_stragglers_own_two_novels_or_one_class() -> None:
    owned = {
        (cell.config.data.name, cell.config.partition.straggler_classes, cell.config.delays.speed_counts)
        for cell in catalogue.cells("language", "laptop")
        if "own" in cell.setting
    }
    assert owned == {("austen", 2, (25, 16, 9)), ("sst2", 1, (25, 16, 9)), ("agnews", 1, (25, 16, 9))}


def test_names_are_masked_but_for_one_place() -> None:
    kept = {cell.setting for cell in catalogue.cells("language", "laptop") if not cell.config.data.mask}
    assert kept == {"Austen, names kept, Dir(0.1)"}


@pytest.mark.parametrize("name", ["language", "language_pools"])
def test_what_lacks_its_data_is_told_and_the_rest_is_trained(name: str, nothing: Path) -> None:
    here = {(run.data.name, run.data.pool) for run in wanted.trainable(name, "smoke")}
    assert here and not {source for pair in here for source in pair} & {*DOWNLOADED, "trec"}
    refused = [run for obstacle in wanted.obstacles(name, "smoke") for run in obstacle.runs]
    assert len(refused) + len(wanted.trainable(name, "smoke")) == len(catalogue.cells(name, "smoke"))
    assert all(
        "put " in obstacle.why and "FEDECHO_DATA" in obstacle.why for obstacle in wanted.obstacles(name, "smoke")
    )


def test_records_make_a_table_where_the_data_are_absent(nothing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for cell in catalogue.cells("language", "smoke"):
        if cell.config.data.name == "austen":
            put(wanted.folder("language", "smoke"), cell.config, 0.5)
    made = studies.make("language", "smoke")
    assert "runs are not trained, data = 'sst2'" in capsys.readouterr().err
    assert made.tables["md"].read_text().count("not run") >= 7 * 12 and set(made.figures) == {
        "bars",
        "others",
        "curves_rounds",
    }
