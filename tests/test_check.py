"""A drifted, missing or left-over file is named; equal folders pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fedecho.core.checks import InputError
from fedecho.core.records import RUNS
from fedecho.learning.methods import FedBuff
from fedecho.report import reported
from fedecho.studies.check import check, differences, unsound
from tests import toy
from tests.sound import sound
from tests.test_experiment import tiny
from tests.test_records import record


def test_differences_are_named(tmp_path: Path) -> None:
    one, two = tmp_path / "tables", tmp_path / "again"
    for folder in (one, two):
        (folder / "smoke").mkdir(parents=True)
        (folder / "same.md").write_text("1")
    assert differences(one, two) == []
    (one / "drifted.md").write_text("1")
    (two / "drifted.md").write_text("2")
    (one / "old.md").write_text("1")
    (two / "new.md").write_text("1")
    (one / "smoke" / "other.md").write_text("1")
    assert [line.split(":")[0] for line in differences(one, two)] == [
        "tables/drifted.md",
        "tables/new.md",
        "tables/old.md",
    ]


def test_every_sealed_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(toy.furnish(tmp_path)))
    config, folder = tiny(FedBuff()), tmp_path / "records" / "laptop"
    paths = [RUNS.path(folder, replace(config, seed=seed)) for seed in range(4)]
    for seed, path in enumerate(paths):
        RUNS.save(sound(record([0.5], config=replace(config, seed=seed))), path)
    count, lines = unsound()
    assert lines == [] and count == 4 + 2 + 1 + len(list(reported.FOLDER.glob("*.csv")))
    paths[0].write_text(paths[0].read_text().replace("0.5", "0.6", 1))
    paths[1].write_text(paths[1].read_text().replace('"done"', '"finished"'))
    paths[2].rename(folder / "fedbuff-0123456789abcdef.json")
    claims, told = tmp_path / "claims.json", tmp_path / "tables" / "toy.json"
    claims.write_text(claims.read_text().replace('"p": 0.01', '"p": 0.02', 1))
    told.write_text(told.read_text().replace("0123456789ab", "ffffffffffff"))
    said = unsound()[1]
    names = (paths[0].name, paths[1].name, "0123456789abcdef", "toy.json", "claims.json")
    assert [sum(name in line for line in said) for name in names] == [1] * 5
    assert len(said) == 5 and not any("\n" in line for line in said)


def test_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    with pytest.raises(InputError, match="tuning = '46 missing records'"):
        check("smoke")
    assert list(tmp_path.iterdir()) == []
