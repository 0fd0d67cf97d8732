"""Verification recomputes what is stored, and notices when it was tampered with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fedecho.core import records
from fedecho.core.checks import InputError
from fedecho.learning.methods import FedBuff
from fedecho.studies import sweep
from fedecho.studies.verify import compare, verify, verify_theory
from fedecho.theory import engine
from fedecho.theory.arrivals import Arrivals
from fedecho.theory.config import TheoryRun
from fedecho.theory.records import THEORY
from tests.sound import sound
from tests.test_experiment import tiny
from tests.test_records import record


def test_a_record_verifies_and_a_forged_one_does_not(tmp_path: Path) -> None:
    sweep.run_and_save(tiny(FedBuff()), tmp_path)
    (stored,) = records.all_in(tmp_path)
    assert [outcome.identical for outcome in verify(tmp_path, 1, jobs=1)] == [True]
    better = [{**row, "accuracy": row["accuracy"] + 0.1} for row in stored.rows]
    records.save(replace(stored, rows=better), records.record_path(tmp_path, tiny(FedBuff())))
    (outcome,) = verify(tmp_path, 1, jobs=1)
    assert not outcome.ok and outcome.difference == pytest.approx(0.1) and "BEYOND" in str(outcome)


def test_forged_facts_do_not_pass(tmp_path: Path) -> None:
    sweep.run_and_save(tiny(FedBuff()), tmp_path)
    (stored,) = records.all_in(tmp_path)
    forged = replace(stored, facts={**stored.facts, "straggler_classes": [0, 1]})
    assert not compare(forged, stored).ok


def test_small_differences_are_within_tolerance() -> None:
    outcome = compare(record([0.50]), record([0.51]))
    assert outcome.ok and not outcome.identical and "within" in str(outcome)


def test_diverged_against_done_is_never_ok() -> None:
    assert not compare(record([0.5]), record([0.5], status="diverged")).ok
    assert compare(record([0.5], status="diverged"), record([0.5], status="diverged")).ok


def test_more_records_than_there_are(tmp_path: Path) -> None:
    records.save(sound(record([0.5])), tmp_path / "fedbuff-0.json")
    with pytest.raises(InputError, match="sample = 2"):
        verify(tmp_path, 2)


def test_a_theory_record_verifies_and_a_forged_one_does_not(tmp_path: Path) -> None:
    run = TheoryRun(scale=0.1, rounds=(4,), buffers=(2,), walks=2, arrivals=Arrivals("independent", clients=4))
    made = engine.execute(run)
    THEORY.save(made, tmp_path / "one.json")
    assert [outcome.identical for outcome in verify_theory(tmp_path, 1)] == [True]
    (row,) = made.rows
    half = [0.5 * value for value in row["mean"]]
    forgeries = [
        ({"rows": [{**row, "mean": half}]}, 0.5),
        ({"rows": [{**row, "late": [0.5 * value for value in row["late"]]}]}, 0.5),
        ({"rows": [{**row, "status": "diverged", "mean": [None, None]}]}, float("inf")),
        ({"facts": {**made.facts, "smoothness": 2 * made.facts["smoothness"]}}, 0.5),
        ({"facts": {}}, float("inf")),
    ]
    for changes, difference in forgeries:
        THEORY.save(replace(made, **changes), tmp_path / "one.json")  # type: ignore[arg-type]
        (outcome,) = verify_theory(tmp_path, 1)
        assert not outcome.ok and outcome.difference == pytest.approx(difference) and "BEYOND" in str(outcome)
    with pytest.raises(InputError, match="sample = 2"):
        verify_theory(tmp_path, 2)
