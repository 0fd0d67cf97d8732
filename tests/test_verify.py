"""Verification recomputes what is stored, compares every number, and grants only what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedecho.core import records
from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig
from fedecho.core.records import Record
from fedecho.learning.methods import FedBuff
from fedecho.studies import sweep, tolerance
from fedecho.studies.tolerance import FACTOR, Tolerances
from fedecho.studies.verify import compare, drawn, of_table, verify
from fedecho.theory import engine
from fedecho.theory.arrivals import Arrivals
from fedecho.theory.config import TheoryRun
from fedecho.theory.records import THEORY
from tests.test_experiment import tiny
from tests.test_records import record

KNOWN = Tolerances({}, {"fedbuff, cnn": {"accuracy": 0.01, "per_class": 0.02}}, {"fedbuff, cnn": ["0: by hand"]})
NOTHING = Tolerances({})


def made(accuracy: float, capability: str = "AVX512", **changes: Any) -> Record:
    hardware = {"machine": "x86_64", "cpu": "Xeon", "cpu_capability": capability}
    out = replace(record([accuracy]), provenance={"hardware": hardware, "versions": {"torch": "2"}, "threads": 1})
    return replace(out, **changes)


@pytest.fixture(autouse=True)
def no_tolerances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))


def here(todo: Sequence[sweep.Wanted], jobs: int | None) -> Iterator[RunConfig]:
    """Train in this process."""
    for folder, config in todo:
        sweep.run_and_save(config, folder)
        yield config


def test_a_record_verifies_and_a_forged_one_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "each", here)
    sweep.run_and_save(tiny(FedBuff()), tmp_path)
    (path,) = tmp_path.glob("*.json")
    (outcome,) = verify([path], jobs=1)
    assert outcome.identical and outcome.ok and str(outcome).endswith("rows and facts are byte-equal")
    stored = records.load(path)
    forged = [{**row, "loss": row["loss"] + 1e-6} for row in stored.rows]  # a number that no score is made of
    records.save(replace(stored, rows=forged), path)
    (outcome,) = verify([path], jobs=1)
    assert not outcome.ok and outcome.gaps.keys() == {"loss"}
    assert "same features, libraries and threads; NOT byte-equal, as it has to be: loss differs by" in str(outcome)


def test_on_the_same_machine_nothing_is_granted() -> None:
    assert not compare(made(0.5), made(0.500001), KNOWN).ok
    assert compare(made(0.5), made(0.5), NOTHING).ok


def test_a_line_tells_how_long_two_runs_agree() -> None:
    """An oscillating run grows apart from its last bits: its beginning shows whether it is the same run."""
    one = replace(record([0.1, 0.2, 0.3, 0.4]), provenance=made(0.5).provenance)
    two = replace(record([0.1, 0.2009, 0.302, 0.4]), provenance=made(0.5, "AVX2").provenance)
    assert str(compare(one, two, KNOWN)).endswith("; the first 2 of 4 rows agree to 0.001")


def test_elsewhere_so_much_is_granted_as_was_measured() -> None:
    within = compare(made(0.5), made(0.5 + 0.9 * FACTOR * 0.01, "AVX2"), KNOWN)
    assert within.ok and not within.identical
    assert "made with AVX512, here AVX2; within the tolerance of fedbuff, cnn: accuracy differs by 0.027" in str(within)
    beyond = compare(made(0.5), made(0.5 + 1.1 * FACTOR * 0.01, "AVX2"), KNOWN)
    assert not beyond.ok and "BEYOND the tolerance of fedbuff, cnn: accuracy differs by 0.033" in str(beyond)
    other = compare(made(0.5), replace(made(0.5, "AVX2"), facts={"share": 0.4}), KNOWN)
    assert not other.ok and "facts.share" in str(other)  # no tolerance was measured for it: it never differs


def test_where_nothing_was_measured_nothing_is_granted() -> None:
    outcome = compare(made(0.5), made(0.500001, "AVX2"), NOTHING)
    assert not outcome.ok and "no tolerance was measured for fedbuff, cnn" in str(outcome)
    assert compare(made(0.5), made(0.5, "AVX2"), NOTHING).ok  # the same bytes need none


FORGED: list[Callable[[Record], Record]] = [
    lambda r: replace(r, status="diverged"),
    lambda r: replace(r, rows=[]),
    lambda r: replace(r, rows=[{**r.rows[0], "round": 7}]),
    lambda r: replace(r, facts={**r.facts, "straggler_classes": [0, 1]}),
]


@pytest.mark.parametrize("forge", FORGED)
def test_what_is_no_matter_of_rounding_is_never_granted(forge: Callable[[Record], Record]) -> None:
    assert not compare(forge(made(0.5)), made(0.5, "AVX2"), KNOWN).ok


def test_diverged_twice_is_the_same() -> None:
    assert compare(made(0.5, status="diverged"), made(0.5, status="diverged"), NOTHING).ok


def test_records_are_drawn_repeatably(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(10)]
    assert drawn(paths, 3, 1) == drawn(paths[::-1], 3, 1) != drawn(paths, 3, 2)
    assert drawn(paths, None) == paths
    with pytest.raises(InputError, match="sample = 11 .*there are 10 records"):
        drawn(paths, 11)
    with pytest.raises(InputError, match="sample = 'all' .*there are 0 records"):
        drawn([], None)


def test_tables_are_known_by_name() -> None:
    with pytest.raises(InputError, match="only = 'visoin' .*choose one of tuning, vision"):
        of_table("visoin", "laptop")
    with pytest.raises(InputError, match="only = 'server_cost' .*no records of runs"):
        of_table("server_cost", "laptop")


def test_a_theory_record_verifies_and_a_forged_one_does_not(tmp_path: Path) -> None:
    run = TheoryRun(scale=0.1, rounds=(4,), buffers=(2,), walks=2, arrivals=Arrivals("independent", clients=4))
    stored = engine.execute(run)
    path = tmp_path / "theory" / "one.json"
    THEORY.save(stored, path)
    assert [outcome.identical for outcome in verify([path])] == [True]
    (row,) = stored.rows
    forgeries: list[tuple[dict[str, Any], str, float]] = [
        ({"rows": [{**row, "mean": [0.5 * row["mean"][0], row["mean"][1]]}]}, "mean", 0.5),  # of one trajectory alone
        ({"rows": [{**row, "late": [0.5 * value for value in row["late"]]}]}, "late", 0.5),
        ({"rows": [{**row, "status": "diverged", "mean": [None, None]}]}, "status", float("inf")),
        ({"facts": {**stored.facts, "smoothness": 2 * stored.facts["smoothness"]}}, "facts.smoothness", 0.5),
        ({"facts": {}}, "facts.smoothness", float("inf")),
    ]
    for changes, column, distance in forgeries:
        THEORY.save(replace(stored, **changes), path)
        (outcome,) = verify([path])
        assert not outcome.ok and outcome.gaps[column] == pytest.approx(distance) and "NOT byte-equal" in str(outcome)


def test_the_committed_tolerances_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDECHO_PAPER")
    known = tolerance.committed()
    assert known.kinds and all(value > 0 for columns in known.kinds.values() for value in columns.values() if value)
    schedule = {"round", "virtual_time", "arrivals", "tau_mean", "tau_max", "rejected"}
    assert not any(schedule & columns.keys() for columns in known.kinds.values())  # those are not made of sums
