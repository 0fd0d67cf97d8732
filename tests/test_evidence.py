"""Nothing that was run is left out: every committed record is in a table, and every finished seed in its block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedecho.core.records import load, record_path
from fedecho.studies import TABLES, generation, plan, profiles, vision
from fedecho.studies.comparison import Comparison


def left_out(study: Comparison) -> Iterator[tuple[str, str, str, int]]:
    """Yield table, setting, delay and seed where every row of a block has a record, but the table not that seed."""
    for place in dict.fromkeys((cell.setting, cell.delay) for cell in study.cells):
        block = [cell.config for cell in study.asked() if (cell.setting, cell.delay) == place]
        for seed in {*profiles.profile(study.at).seeds} - {config.seed for config in block}:
            if all(record_path(study.places[-1], replace(config, seed=seed)).is_file() for config in block):
                yield study.name, *place, seed


def without_seed_4(**given: Any) -> Comparison:
    whole = generation("laptop", **given)
    assert isinstance(whole, Comparison)
    return replace(whole, cells=[cell for cell in whole.cells if cell.config.seed != 4])


def test_every_committed_record_is_in_a_table_or_set_aside_as_superseded() -> None:
    assert plan.misplaced() == {}


def test_every_finished_seed_of_a_block_is_in_it() -> None:
    # The test of the chosen teachers is about seeds that had not been used before: it has no others.
    built = [build("laptop") for name, build in TABLES.items() if name != "teacher_test"]
    comparisons = [study for study in built if isinstance(study, Comparison)]
    assert [seed for study in comparisons for seed in left_out(study)] == []


def test_a_seed_that_a_table_drops_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {seed for *_, seed in left_out(without_seed_4(methods=["FedBuff"]))} == {4}
    monkeypatch.setitem(TABLES, "generation", lambda profile: without_seed_4())
    assert {load(old).seed for old in plan.misplaced()} == {4}


def test_records_are_set_aside_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    monkeypatch.setattr(plan, "TABLES", {"vision": vision})
    study = vision("laptop")
    assert isinstance(study, Comparison)
    asked = record_path(study.places[-1], study.configs[0])
    unasked, of_theory = asked.with_name("a-0.json"), asked.parent / "theory" / "b-0.json"
    aside = tmp_path / "records" / "superseded" / "laptop"
    for path in (unasked, of_theory, aside / asked.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    moved = {unasked: aside / "a-0.json", of_theory: aside / "theory" / "b-0.json", aside / asked.name: asked}
    assert plan.put_in_place() == moved
    assert all(new.is_file() and not old.exists() for old, new in moved.items()) and plan.misplaced() == {}
