"""A record is read back as it was written, or refused in one line; nothing half-written is ever left."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedecho import core
from fedecho.core import files, records
from fedecho.core.checks import InputError
from fedecho.core.clock import Clock
from fedecho.core.config import RunConfig
from fedecho.core.records import Record
from fedecho.learning.checkpoint import Journal
from fedecho.learning.experiment import new_record
from fedecho.learning.methods import FedBuff, FedEcho
from fedecho.simulation.schedule import Job, Round
from tests.sound import sound


def record(accuracies: list[float], status: Any = "done", config: RunConfig | None = None) -> Record:
    rows = [{"round": k + 1, "accuracy": a, "per_class": [a, 0.0]} for k, a in enumerate(accuracies)]
    return new_record(config or RunConfig(FedBuff()), status, rows, {"share": 1 / 3}, Clock(), {"commit": None})


def test_round_trip(tmp_path: Path) -> None:
    config = RunConfig(FedEcho(), seed=4)
    stored = sound(record([0.25, 0.5], config=config))
    path = records.record_path(tmp_path, config)
    records.save(stored, path)
    assert records.load(path) == stored and stored.run_config() == config
    assert records.find(tmp_path, config) == stored and records.find(tmp_path, replace(config, seed=5)) is None
    assert [p.name for p in tmp_path.iterdir()] == [f"fedecho-{stored.hash}.json"]


def test_a_file_of_another_run_is_refused(tmp_path: Path) -> None:
    one, other = RunConfig(FedBuff(), seed=1), RunConfig(FedBuff(), seed=2)
    records.save(sound(record([0.5], config=one)), records.record_path(tmp_path, other))
    with pytest.raises(InputError, match="belongs to another run"):
        records.find(tmp_path, other)


def test_one_row_a_line_and_plain_json(tmp_path: Path) -> None:
    text = records.dumps(record([0.1, 0.2, 0.3]))
    assert len(json.loads(text)["rows"]) == 3
    assert sum(line.strip().startswith('{"round"') for line in text.splitlines()) == 3


def test_score_is_the_mean_of_the_last_five() -> None:
    assert record([0.9, 0.1, 0.2, 0.3, 0.4, 0.5]).score == pytest.approx(0.3)
    assert record([0.4, 0.6]).score == pytest.approx(0.5)
    assert record([0.4], status="diverged").score is None


def test_class_score() -> None:
    stored = record([0.4, 0.6])
    assert stored.class_score([0]) == pytest.approx(0.5)
    assert stored.class_score([0, 1]) == pytest.approx(0.25)
    assert stored.class_score([]) is None
    stored.rows[-1]["per_class"][0] = None  # without held-out images
    assert stored.class_score([0]) == pytest.approx(0.4) and stored.class_score([0, 1]) == pytest.approx(0.4 / 3)
    stored.rows[0]["per_class"][0] = None
    assert stored.class_score([0]) is None


def test_numbers_that_are_not_finite_become_null() -> None:
    assert records.rounded([1 / 3, float("nan"), float("inf")]) == [0.333333, None, None]


def test_a_write_that_fails_leaves_nothing_to_be_mistaken_for_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(self: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        records.save(record([0.1]), tmp_path / "fedbuff-0.json")
    assert list(tmp_path.glob("*.json")) == []


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"hash": "x"}', "not json"])
def test_unreadable_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "fedbuff-0.json").write_text(text)
    with pytest.raises(InputError, match=r"fedbuff-0.json.*delete it"):
        records.load(tmp_path / "fedbuff-0.json")


def test_records_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("")
    for folder in (tmp_path / "records", tmp_path / "records" / "laptop"):
        with pytest.raises(InputError, match="records = .*must be a folder"):
            files.require_folder(folder, "records", files.WRITABLE)


def test_core_needs_no_torch() -> None:
    names = ", ".join(f"fedecho.core.{module.name}" for module in pkgutil.iter_modules(core.__path__))
    code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_journal_sums_up_the_rounds_since_the_last_row() -> None:
    journal = Journal()
    for index, base in ((4, 1), (5, 5)):
        journal.observe(Round(index, (Job(index / 2, 0, base, 0.0, 0),), frozenset()), 0, {"alpha": index / 10})
    row = journal.row(Round(5, (Job(2.5, 0, 5, 0.0, 0),), frozenset()), 3, {"accuracy": 0.5})
    assert row == {"round": 6, "virtual_time": 2.5, "arrivals": 18, "accuracy": 0.5, "tau_mean": 1.5, "tau_max": 3,
                   "rejected": 2, "alpha": 0.45}  # fmt: skip
    assert journal.taus == [] and journal.accepted == 0 and not journal.metrics


def test_clock_charges_inner_phases_once() -> None:
    now = iter([0.0, 1.0, 4.0, 6.0])
    clock = Clock(lambda: next(now))
    with clock("outer"), clock("inner"):
        pass
    assert clock.phases() == {"inner": 3.0, "outer": 3.0}
