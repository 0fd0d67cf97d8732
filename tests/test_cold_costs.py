"""What tables cost from scratch: counted once, as recorded; and what is said before work from what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest

from fedecho import studies
from fedecho.core import records
from fedecho.core.config import RunConfig
from fedecho.core.records import Record
from fedecho.learning.cost.duration import Rates, operations
from fedecho.learning.methods import FedBuff
from fedecho.studies import TABLES, forecast, plan
from fedecho.studies.cold_costs import draw, minutes_text
from fedecho.studies.comparison import Trained
from fedecho.studies.forecast import Share
from fedecho.studies.study import Study
from tests.test_experiment import tiny
from tests.test_summary import put


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, and few tables: `controls` asks for runs of `bank`, too."""
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    known = dict(TABLES)  # put back in its order, which says whose a shared run is
    for name in {*TABLES} - {"bank", "controls", "server_cost", "cold_costs"}:
        del TABLES[name]
    yield tmp_path / "paper"
    TABLES.clear()
    TABLES.update(known)


def timed(study: Trained, config: RunConfig, *, status: Literal["done", "diverged"] = "done", **seconds: float) -> None:
    """Give a run a record with these seconds, made on a CPU."""
    place = study.places[0]
    put(place, config, 0.5, status=status)
    record = cast(Record, records.find(place, config))
    made = {**record.provenance, "hardware": {"cpu": "a CPU", "gpu": None}}
    records.save(replace(record, seconds=seconds, provenance=made), records.record_path(place, config))


def bank_and_controls() -> tuple[Trained, Trained]:
    known = plan.trained("smoke")
    return known["bank"], known["controls"]


def test_a_run_that_two_tables_share_is_the_first_ones(paper: Path) -> None:
    bank, controls = bank_and_controls()
    (shared, *_) = {*bank.configs} & {*controls.configs}
    timed(bank, shared, local=60.0, bank=30.0, evaluation=6.0)
    timed(controls, next(c for c in controls.configs if c not in bank.configs), local=120.0)
    rows = studies.cold_costs("smoke").table().numbers.set_index("table")
    wanted = ["measured", "own measured", "minutes", "own minutes", "clients", "server", "evaluation"]
    assert rows.loc["bank", wanted].tolist() == pytest.approx([1, 1, 1.6, 1.6, 1.0, 0.5, 0.1])
    assert rows.loc["controls", wanted].tolist() == pytest.approx([2, 1, 3.6, 2.0, 2.0, 0.0, 0.0])
    whole, own = rows.loc["each run once"], len({*bank.configs, *controls.configs})
    assert whole[["runs", "own", "measured"]].tolist() == [own, own, 2] and whole["minutes"] == pytest.approx(3.6)


def test_what_is_not_recorded_is_said_and_not_counted(paper: Path) -> None:
    bank, controls = bank_and_controls()
    timed(bank, bank.configs[0], local=60.0)
    made = studies.write(studies.cold_costs("smoke"))
    assert f"| bank | {len(bank.configs)} | {len(bank.configs)} | 1.0 (1 of {len(bank.configs)} measured)" in made.text
    assert "| server_cost | 0 | 0 | not recorded | not recorded |" in made.text and "| not run |" in made.text
    assert "Records: 1, set " in made.text and "made on a CPU (1)." in made.text
    assert studies.cold_costs("smoke").missing() == 0
    assert len(made.study.caption.split()) <= 80 and "cold_costs |" not in made.text


def test_the_record_set_is_named_by_the_seconds_too(paper: Path) -> None:
    bank, _ = bank_and_controls()
    names = set()
    for seconds in (60.0, 61.0, 60.0):
        timed(bank, bank.configs[0], local=seconds)
        names.add(studies.cold_costs("smoke").table().record_set)
    assert len(names) == 2


@pytest.mark.parametrize(("numbers", "text"), [
    ((12.34, 5, 5), "12.3"), ((1234.0, 5, 1000), "1,234.0 (5 of 1,000 measured)"), ((0.0, 0, 5), "not run"),
    ((0.0, 0, 0), "–"),
])  # fmt: skip
def test_minutes_are_written_with_what_they_are_of(numbers: tuple[float, int, int], text: str) -> None:
    assert minutes_text(*numbers) == text


def test_bars_are_stacked(paper: Path) -> None:
    bank, _ = bank_and_controls()
    timed(bank, bank.configs[0], local=60.0, bank=30.0, evaluation=6.0)
    (axes,) = draw(studies.cold_costs("smoke").table().numbers).axes
    ends = [bars.patches[0].get_x() + bars.patches[0].get_width() for bars in axes.containers]  # type: ignore[attr-defined]
    assert ends == pytest.approx([1.0, 1.5, 1.6, 1.6])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["bank", "controls"]


# Before work starts


def test_rates_are_operations_over_seconds_each_run_once() -> None:
    config = tiny(FedBuff())
    other = replace(config, seed=1)
    rates = Rates("cpu", [(config, 10.0), (other, 30.0), (config, 10.0)])
    assert rates.seconds(replace(config, seed=2)) == pytest.approx(20.0)
    far = replace(config, model="cnn-w2")
    assert rates.seconds(far) == pytest.approx(operations(far) / 6e10)


def test_only_whole_runs_on_the_device_at_hand_are_a_measure(paper: Path) -> None:
    bank, _ = bank_and_controls()
    one, two, *_ = bank.configs
    timed(bank, one, local=2.0, bank=1.0)
    timed(bank, two, status="diverged", local=1.0)
    assert bank.finished() == [(one, 3.0)] and bank.finished("cuda") == []


def test_each_table_has_a_line_and_all_of_them_a_sum(paper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedecho.learning.cost.duration.operations", lambda config: 1e9)
    bank, controls = bank_and_controls()
    timed(bank, bank.configs[0], local=60.0)
    both, todo = [bank, controls], plan.runs_of([bank, controls], False, False)
    counts = len(bank.configs) - 1, len({*controls.configs} - {*bank.configs})
    assert counts == (7, 61)
    first, second, last = forecast.outlook(both, todo, "smoke", jobs=4)
    assert first == "bank: 7 runs, about 7 min of one core"
    assert second == "controls: 61 runs, about 61 min of one core"
    assert last.startswith("profile smoke: 68 runs to train, in all about 68 min of one core, 17 min on 4 processes, ")
    assert "on 1 processes" not in forecast.outlook(both, todo, "smoke", jobs=1)[-1]


def test_what_is_simulated_again_takes_as_long_as_before() -> None:
    def study(name: str, seconds: dict[str, float | None]) -> Study:
        found = {Path(run): s and SimpleNamespace(phases={"simulation": s}) for run, s in seconds.items()}
        made: Any = SimpleNamespace(
            name=name, records=lambda: found,
            lacking=lambda fresh: [run for run, s in seconds.items() if fresh or s is None],
        )  # fmt: skip
        return cast(Study, made)

    both = [study("one", {"a": 40.0, "b": None}), study("two", {"a": 40.0, "c": 20.0})]
    assert [*forecast.simulated(both, True)] == [
        Share("one", 2, forecast.BATCHES, 40.0, 1), Share("two", 1, forecast.BATCHES, 20.0, 0),
    ]  # fmt: skip
    assert [*forecast.simulated(both, False)] == [untimed := Share("one", 1, forecast.BATCHES, 0, 1)]
    assert str(untimed) == f"one: 1 {forecast.BATCHES}, 1 of unknown length"
    assert forecast.outlook(both, {}, "smoke", fresh=True, jobs=2) == [
        f"one: 2 {forecast.BATCHES}, about 40 s of one core, 1 of unknown length",
        f"two: 1 {forecast.BATCHES}, about 20 s of one core",
        f"profile smoke: 0 runs to train and 3 {forecast.BATCHES}, in all about 60 s of one core, 30 s on 2 processes "
        "(not counting 1 of unknown length)",
    ]


def test_the_notebook_is_the_last_one_made() -> None:
    from fedecho.report import notebooks

    assert notebooks._ALONE[-1] == studies.cold_costs("smoke").notebook
    assert json.loads(notebooks.catalogue()["40_cold_costs"].read_text())["nbformat"] == 4
