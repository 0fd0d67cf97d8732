"""Each parameter of a table changes what it names, in the runs and in the numbers, and all else stays."""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fedecho import studies
from fedecho.core import files
from fedecho.core.clock import Clock
from fedecho.core.records import record_path, save
from fedecho.learning.experiment import new_record
from fedecho.report import parameters, summary
from fedecho.report.summary import Cell
from fedecho.studies import TABLES, cost, grid, plan
from fedecho.studies.comparison import Trained
from fedecho.studies.contenders import TUNED
from fedecho.studies.controls import CONTROLS
from fedecho.studies.delay import AT_THEIR_BEST, Gaps, gaps
from fedecho.studies.faulty import NORMS, RIVALS
from fedecho.studies.grid import MIXED, PURE
from fedecho.studies.server_cost import CostStudy
from fedecho.studies.tuning import Tuning
from tests.sound import sound
from tests.toy import doubles

Case = tuple[str, dict[str, Any], dict[str, list[str]], str, set[Any]]
"""Table, what it is given, the rows, settings or delays that change by it, a dotted field of the runs, its values."""
ECHO, WITHOUT_POOL = "FedEcho", ["FedBuff", "FedBuff + EMA"]
UNHEARD = [row.label for row in grid.main_methods("language-smoke", None)]
"""Rows of the table of texts where the chosen teachers are not run."""
MAIN: list[Case] = [
    ("vision", {"methods": ["FADAS"]}, {"method": ["FADAS", ECHO]}, "method.name", {"fadas", "fedecho"}),
    ("vision", {"settings": ["Dir(0.3)"]}, {"setting": ["Dir(0.3)"]}, "partition.alpha", {0.3}),
    ("vision", {"delays": ["mild"]}, {"delay": ["mild"]}, "delays.model", {"mild"}),
    ("cifar_small", {"methods": ["CA2FL"]}, {"method": ["CA2FL", ECHO]}, "method.name", {"ca2fl", "fedecho"}),
    ("cifar_small", {"settings": [PURE]}, {"setting": [PURE]}, "partition.straggler_mix", {"pure"}),
    ("cifar_small", {"delays": ["large"]}, {"delay": ["large"]}, "delays.model", {"large"}),
    ("cifar_clients", {"methods": ["CA2FL"]}, {"method": ["CA2FL", ECHO]}, "method.name", {"ca2fl", "fedecho"}),
    ("cifar_clients", {"settings": [MIXED]}, {"setting": [MIXED]}, "partition.straggler_mix", {"mixed"}),
    ("cifar_resnet", {"methods": ["FADAS"]}, {"method": ["FADAS", ECHO]}, "method.name", {"fadas", "fedecho"}),
    ("cifar_resnet", {"settings": [PURE]}, {"setting": [PURE], "delay": ["mild", "large"]},
     "partition.straggler_mix", {"pure"}),
    ("cifar_resnet", {"delays": ["large"]}, {"setting": ["Dir(0.1)", PURE, MIXED], "delay": ["large"]},
     "delays.model", {"large"}),
    ("language", {"methods": ["CA2FL"]}, {"method": ["CA2FL", ECHO]}, "method.name", {"ca2fl", "fedecho"}),
    ("language", {"texts": ["AG News"]},
     {"setting": ["AG News, Dir(0.1)", "AG News, Dir(0.3)", "AG News, stragglers own 1 class"],
      "method": UNHEARD}, "data.name", {"agnews"}),
    ("language", {"settings": ["Dir(0.3)"]},
     {"setting": ["Austen, Dir(0.3)", "Austen, names kept, Dir(0.1)", "SST-2, Dir(0.3)", "AG News, Dir(0.3)"],
      "delay": ["mild", "large"], "method": UNHEARD}, "partition.alpha", {0.1, 0.3}),
    ("language", {"delays": ["large"]}, {"delay": ["large"]}, "delays.model", {"large"}),
    ("language_pools", {"pools": ["TREC questions"]}, {"method": ["held-out", "TREC questions", *WITHOUT_POOL]},
     "data.pool", {"held-out", "trec"}),
    ("unlabeled", {"pools": ["noise"]}, {"method": ["held-out", "noise", *WITHOUT_POOL]},
     "data.pool", {"held-out", "noise"}),
    ("generation", {"methods": ["FADAS"]}, {"method": ["FADAS", ECHO]}, "method.name", {"fadas", "fedecho"}),
    ("generation", {"settings": ["Dir(0.1)"]}, {"setting": ["Dir(0.1)"]}, "partition.kind", {"dirichlet"}),
    ("generation", {"delays": ["mild"]}, {"delay": ["mild"]}, "delays.model", {"mild"}),
]  # fmt: skip
ABLATIONS: list[Case] = [
    ("ablation_alpha", {"alphas": [0.05]}, {"method": ["dynamic (0.2, 0.8)", "fixed 0.05"]},
     "method.distill.alpha_min", {0.2, 0.05}),
    ("ablation_alpha", {"ranges": [[0.1, 0.9]]}, {"method": ["dynamic (0.2, 0.8)", "dynamic (0.1, 0.9)"]},
     "method.distill.alpha_max", {0.8, 0.9}),
    ("alpha_landscape", {"levels": [0.25, 0.75]}, {"method": ["fixed 0.25", "dynamic (0.25, 0.75)", "fixed 0.75"]},
     "method.distill.alpha_max", {0.25, 0.75}),
    ("ablation_nu", {"nus": [0.25, None]}, {"method": ["nu = 5", "nu = 0.25", "no clipping"]},
     "method.distill.clip_norm", {5.0, 0.25, None}),
    ("ablation_data_size", {"sizes": [70]}, {"method": ["|U| = 70", "|U| = 200", *WITHOUT_POOL]},
     "data.pool_size", {70, 200}),
    ("ablation_delay", {"delays": ["pareto"]}, {"delay": ["pareto"]}, "delays.model", {"pareto"}),
    ("ablation_delay", {"methods": ["FADAS"]}, {"method": ["FADAS", ECHO]}, "method.name", {"fadas", "fedecho"}),
    ("heterogeneity_buffer", {"levels": [0.5]}, {"setting": ["Dir(0.5)"]}, "partition.alpha", {0.5}),
    ("heterogeneity_buffer", {"sizes": [4]}, {"delay": ["M = 4"]}, "protocol.buffer_size", {4}),
]  # fmt: skip
UNCHOSEN = ["lambda = 0.5, beta = 3", "FedAUX's certainties", "label counts", "seen prior", "FedBuff + EMA",
            "FedAvg (sync)"]  # fmt: skip
FAULTY_ECHO = [ECHO, "FedEcho, norm bound", "FedEcho, median rows", "FedEcho, 30 % trimmed rows"]
BOUNDED = [f"{label}{words}" for label in RIVALS for words in ("", ", norm bound")]
ARRIVING = "clients start on arrival"


def instead(name: str, column: str, row: str) -> list[str]:
    """Return what the rows of a table of readings are called with this one instead of all temperatures."""
    usual = dict.fromkeys(getattr(cell, column) for cell in plan.trained("smoke")[name].asked())
    return list(dict.fromkeys(row if label.startswith("temperature") else label for label in usual))


OTHERS: list[Case] = [
    ("bank", {"forms": ["top-1"]}, {"method": ["float32", "top-1"]}, "method.distill.bank_top_k", {None, 1}),
    ("controls", {"methods": ["CA2FL"]}, {"method": [ECHO, "CA2FL", *(row.label for row in CONTROLS)]},
     "method.name", {"ca2fl", "fedecho"}),
    ("owners", {"owned": [3]}, {"setting": ["stragglers own 3 classes, pure"]}, "partition.straggler_classes", {3}),
    ("owners", {"methods": ["FADAS"]},
     {"method": ["FADAS", ECHO, "slow clients' rows left out", "probabilities averaged"]},
     "method.name", {"fadas", "fedecho"}),
    ("correlation", {"shares": [0.25]}, {"setting": ["correlation 0.25"]}, "partition.straggler_share", {0.25}),
    ("correlation", {"delays": ["pareto"]}, {"delay": ["pareto"]}, "delays.model", {"pareto"}),
    ("sensitivity", {"steps": [7]},
     {"method": [f"Q = {q}, eta_d = {lr:g}" for q in (3, 7) for lr in (0.0075, 0.0225, 0.0675)]},
     "method.distill.steps", {3, 7}),
    ("sensitivity", {"rates": [0.1]}, {"method": [f"Q = {q}, eta_d = {lr:g}" for q in (1, 3) for lr in (0.0225, 0.1)]},
     "method.distill.lr", {0.0225, 0.1}),
    ("readings", {"names": ["Adam", f"{ECHO}, {ARRIVING}"]},
     {"method": [ECHO, "FedBuff (tuned eta)", "FedBuff + EMA", "Adam", "Adam, own eta_d",
                 f"{ECHO}, {ARRIVING}",
                 f"FedBuff (tuned eta), {ARRIVING}", f"FedBuff + EMA, {ARRIVING}"],
      "setting": ["Dir(0.1)", PURE]}, "method.distill.optimizer", {"sgd", "adam"}),
    ("readings", {"temperatures": [4.0]}, {"method": instead("readings", "method", "temperature 4")},
     "method.distill.temperature", {1.0, 4.0}),
    ("teacher", {"strengths": [2.0]},
     {"method": [ECHO, "lambda = 2", "beta = 1", "beta = 3", *UNCHOSEN]},
     "method.distill.prior_correction", {0.0, 0.5, 2.0}),
    ("teacher", {"betas": [5.0]},
     {"method": [ECHO, "lambda = 0.25", "lambda = 0.5", "lambda = 1", "beta = 5", *UNCHOSEN]},
     "method.distill.energy_weight", {0.0, 3.0, 5.0}),
    ("teacher", {"settings": [PURE]}, {"setting": [PURE]}, "partition.straggler_mix", {"pure"}),
    ("teacher", {"delays": ["mild"]}, {"delay": ["mild"]}, "delays.model", {"mild"}),
    ("teacher_test", {"settings": [PURE]}, {"setting": [PURE]}, "partition.straggler_mix", {"pure"}),
    ("teacher_test", {"delays": ["mild"]}, {"delay": ["mild"]}, "delays.model", {"mild"}),
    ("faulty", {"methods": ["FADAS"]}, {"method": ["FADAS", "FADAS, norm bound", *FAULTY_ECHO]},
     "method.name", {"fadas", "fedecho"}),
    ("faulty", {"kinds": ["noise"]}, {"setting": ["no faults", "10 % noise", "30 % noise"]}, "faults.kind", {"noise"}),
    ("faulty", {"shares": [0.2]}, {"setting": ["no faults", "20 % flipped labels", "20 % noise", "20 % scaled"]},
     "faults.share", {0.0, 0.2}),
    ("faulty", {"trims": [0.1]}, {"method": [*BOUNDED, *FAULTY_ECHO[:2], "FedEcho, 10 % trimmed rows"]},
     "method.distill.trim", {0.0, 0.1}),
    ("faulty", {"multiples": [10.0]},
     {"method": [f"{label} × 10" if "bound" in label else label for label in (*BOUNDED, *FAULTY_ECHO)]},
     "protocol.max_delta_norm", {None, *(10 * norm for norm in NORMS["smoke"].values())}),
    ("faulty_bound", {"methods": ["FADAS"]}, {"method": ["FADAS", ECHO]}, "protocol.norm_quantiles", {True}),
    ("bank_vocabulary", {"forms": ["top-4"]}, {"method": ["all", "top-4"]}, "method.distill.bank_top_k", {None, 4}),
    ("bank_vocabulary", {"vocabularies": [400]}, {"setting": ["V = 400"]}, "data.vocabulary", {400}),
]  # fmt: skip
COMPARED = [
    name
    for name, study in plan.trained("smoke").items()
    if not isinstance(study, Tuning) and name not in ("delay_gap", "readings_tuning")
]
SEEDS: list[Case] = [(name, {"seeds": [5, 6]}, {}, "seed", {5, 6}) for name in COMPARED]
CASES = [*MAIN, *ABLATIONS, *OTHERS, *SEEDS]
TUNINGS = [name for name, study in plan.trained("smoke").items() if isinstance(study, Tuning)]
SPECIAL = {
    "cold_costs": set[str](), "readings_tuning": {"names", "temperatures", "seeds"},
    "delay_gap": {"delays", "methods", "seeds"}, "server_cost": {"methods", "sizes"},
    "server_cost_methods": {"methods", "sizes"}, "many_clients": {"clients", "methods"},
    "server_scale": {"models", "sizes"},
    **dict.fromkeys(TUNINGS, {"methods", "trials", "seeds"}),
}  # fmt: skip
"""Tables that no case above is about: they have tests of their own below, or in tests/test_readings.py."""


def chosen(name: str, **given: Any) -> Trained:
    study = TABLES[name]("smoke", **given)
    assert isinstance(study, Trained)
    return study


def once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def accuracies(cells: Iterable[Cell]) -> list[tuple[Cell, float]]:
    """Give the runs percentages that tell rows, places and seeds apart: 20, 21, ..., then tenths, then hundredths."""
    cells = list(cells)
    rows, places = once(cell.method for cell in cells), list(dict.fromkeys((c.setting, c.delay) for c in cells))
    return [
        (c, 20 + rows.index(c.method) + places.index((c.setting, c.delay)) / 10 + c.config.seed % 1000 / 100)
        for c in cells
    ]


def store(study: Trained) -> dict[tuple[str, str, str], float]:
    """Write a record for each run and return the mean accuracy by setting, delay and row."""
    by_place: dict[tuple[str, str, str], list[float]] = {}
    facts = {"straggler_classes": [], "arrivals_slow": 0.25, "characters_per_token": 1.5}
    for cell, accuracy in accuracies(study.asked()):
        record = new_record(cell.config, "done", [{"accuracy": accuracy / 100}], facts, Clock(), {})
        save(sound(record), record_path(study.places[0], cell.config))
        by_place.setdefault((cell.setting, cell.delay, cell.method), []).append(accuracy)
    return {place: sum(values) / len(values) for place, values in by_place.items()}


@pytest.fixture(autouse=True)
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    monkeypatch.setattr(grid, "FRESH", {})  # the seeds of a table are then the profile's own
    # Where eta = 1 was chosen, both rows of a method are the same runs.
    for name in ("smoke", "language-smoke", "generation-smoke"):
        for label in doubles(name):
            eta = "method.inner.server_lr" if label.startswith("FedEcho") else "method.server_lr"
            monkeypatch.setitem(TUNED[name], label, {eta: 0.5})
    return tmp_path / "paper"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")
def test_a_parameter_changes_what_it_names(case: Case, paper: Path) -> None:
    name, given, changed, field, values = case
    study = replace(chosen(name, **given), figures={})  # type: ignore[call-arg]
    assert len(study.configs) == len(study.asked())
    for column in summary.PLACE:  # all else is as in the committed table
        usual = once(getattr(cell, column) for cell in plan.trained("smoke")[name].asked())
        assert once(getattr(cell, column) for cell in study.asked()) == changed.get(column, usual)
    found = [reduce(lambda at, part: getattr(at, part, "none"), field.split("."), config) for config in study.configs]
    assert {value for value in found if value != "none"} == values

    means, table = store(study), study.table()
    usual_seeds = {"teacher_test": (3,), "readings": (0,), "faulty": (0,)}.get(
        name, (1000,) if study.tuning else (0, 1) if study.at == "smoke" else (0,)
    )
    assert set(table.frame["seed"]) == set(given.get("seeds", usual_seeds))
    numbers = table.numbers.set_index(summary.PLACE)
    assert numbers["mean"].to_dict() == pytest.approx(means)
    places = Counter((cell.setting, cell.delay, cell.method) for cell in study.asked())
    assert numbers["n"].to_dict() == places
    for (setting, delay, row), mean in means.items():
        if row != study.reference:
            gap = means[setting, delay, study.reference] - mean
            assert numbers.loc[(setting, delay, row), "difference"] == pytest.approx(gap)
    assert len(list(study.places[0].iterdir())) == len(study.configs) and not paper.exists()


GAPS: list[tuple[dict[str, Any], list[str], list[str], set[int]]] = [
    ({"delays": ["mild", "bursty"], "methods": ["FADAS"]}, ["mild − large"], ["FADAS", ECHO], {0, 1}),
    ({"delays": ["none (M_c = M)"], "seeds": [4]}, ["none (M_c = M) − large", "mild − large"],
     [*AT_THEIR_BEST, ECHO], {4}),
]  # fmt: skip


@pytest.mark.parametrize(("given", "settings", "methods", "seeds"), GAPS)
def test_gaps_of_what_is_chosen(
    given: dict[str, Any], settings: list[str], methods: list[str], seeds: set[int]
) -> None:
    study = chosen("delay_gap", **given)
    assert isinstance(study, Gaps)
    means = store(study)
    frame = summary.collect(study.found())
    found = gaps(frame, ECHO, [setting.removesuffix(" − large") for setting in settings], "large")
    assert set(frame["seed"]) == seeds
    assert [once(found[column]) for column in ("setting", "method")] == [settings, methods]
    for row in found.to_dict("records"):
        easier = row["setting"].removesuffix(" − large")
        lost = means["Dir(0.1)", easier, row["method"]] - means["Dir(0.1)", "large", row["method"]]
        assert row["gap"] == pytest.approx(lost) and row["n"] == len(seeds)


@pytest.mark.parametrize("name", TUNINGS)
def test_trials_of_what_is_chosen(name: str) -> None:
    few = chosen(name, methods=["FADAS"], trials=3, seeds=[1007])
    assert isinstance(few, Tuning)
    assert [(cell.method, cell.config.seed) for cell in few.asked()] == [("FADAS", 1007)] * 4  # and the values in use
    usual = chosen(name, methods=["FADAS"])
    assert len(usual.asked()) == 3 and {cell.config.seed for cell in usual.asked()} == {1000}
    for place, cell in enumerate(few.asked()):
        save(sound(new_record(cell.config, "done", [{"accuracy": (30 + 10 * place) / 100}], {}, Clock(), {})),
             record_path(few.places[0], cell.config))  # fmt: skip
    table = few.trials()
    assert table["mean"].tolist() == pytest.approx([30, 40, 50, 60])
    assert table["stage"].tolist() == ["in use", *3 * ["whole space"]]
    assert table["chosen"].tolist() == [False, False, False, True]
    assert few.chosen() == {"FADAS": few.asked()[3].factors}
    assert table[["n", "runs", "diverged"]].to_numpy().tolist() == [[1, 1, 0]] * 4


@pytest.mark.parametrize("name", ["tuning", "teacher_test", "faulty"])
def test_a_table_does_not_do_what_a_sweep_is_for_unless_asked_to(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    committed, own = TABLES[name]("laptop"), TABLES[name]("laptop", seeds=[1007])
    assert isinstance(committed, Trained) and isinstance(own, Trained)
    assert committed.trainable() == []
    assert f"fedecho sweep --profile laptop --only {name}`" in committed.obstacles()[0].why
    assert committed.trainable(fresh=True) == committed.configs == committed.lacking()
    assert len(own.trainable()) == len(own.configs) > 0


@pytest.mark.parametrize("name", ["server_cost", "server_cost_methods"])
@pytest.mark.parametrize("given", [{"methods": ["CA2FL"]}, {"sizes": [70]}])
def test_servers_of_what_is_chosen(name: str, given: dict[str, list[Any]]) -> None:
    study, usual = TABLES[name]("smoke", **given), cost.points("smoke")
    assert isinstance(study, CostStudy)
    methods = {point.method for point in usual}
    assert {point.method for point in study.points} == ({"CA2FL", ECHO} if "methods" in given else methods)
    sizes = {point.value for point in study.points if (point.method, point.factor) == (ECHO, "|U|")}
    own = {point.value for point in usual if (point.method, point.factor) == (ECHO, "|U|")}
    assert sizes == ({70, 200} if "sizes" in given else own)


# Nothing is forgotten


def test_every_parameter_of_every_table_has_a_case() -> None:
    tested: dict[str, set[str]] = {name: set(keys) for name, keys in SPECIAL.items()}
    for name, given, *_ in CASES:
        tested.setdefault(name, set()).update(given)
    known = {
        name: {key for key, value in inspect.signature(build).parameters.items() if value.kind == value.KEYWORD_ONLY}
        for name, build in TABLES.items()
        if ".theory." not in build.__module__
    }
    assert tested == known


NOTEBOOKS = ["02_tuning", *(path.stem for path in sorted(files.notebooks().glob("[12]*.ipynb"))), "34_faulty_clients"]


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_every_parameter_of_a_notebook_reaches_a_table(stem: str) -> None:
    source = files.notebooks() / f"{stem}.ipynb"
    cells = json.loads(source.read_text())["cells"]
    code = "".join(line for cell in cells if cell["cell_type"] == "code" for line in cell["source"])
    for name in parameters.declared(source):
        assert name in ("profile", "jobs", "fresh") or re.search(rf"""(\w=|": ){name}\b""", code), name


def test_the_numbers_are_those_of_the_csv() -> None:
    study = replace(chosen("bank", forms=["top-1"]), figures={})  # type: ignore[call-arg]
    store(study)
    made = studies.write(study)
    pd.testing.assert_frame_equal(
        pd.read_csv(made.tables["csv"]), made.table.numbers, check_dtype=False, rtol=1e-5, atol=1e-9
    )
