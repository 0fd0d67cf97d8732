"""The theory tables: what each compares at every scale, and what the parameters of its notebook change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from fedecho import studies
from fedecho.core import files
from fedecho.core.checks import InputError
from fedecho.learning.methods import FedAC
from fedecho.report import parameters
from fedecho.report.captions import NOTHING
from fedecho.report.summary import NOT_RUN
from fedecho.studies import TABLES, make, write
from fedecho.studies.study import Study
from fedecho.studies.theory.arrivals import theory_arrivals
from fedecho.studies.theory.bound import theory_bound
from fedecho.studies.theory.distillation import theory_distillation
from fedecho.studies.theory.methods import theory_methods
from fedecho.studies.theory.rates import theory_convex, theory_nonconvex
from fedecho.studies.theory.results import points
from fedecho.studies.theory.study import TheoryStudy
from fedecho.studies.writing import Made
from fedecho.theory import engine
from fedecho.theory.records import THEORY

NAMES = [name for name in TABLES if name.startswith("theory")]
STEMS = sorted({TABLES[name]("smoke").notebook for name in NAMES})
TINY = {"rounds": [4, 8], "buffers": [1, 2]}


@pytest.fixture(autouse=True)
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    return tmp_path / "paper"


def study(name: str, profile: str = "smoke", **given: Any) -> TheoryStudy:
    found = TABLES[name](profile, **given)
    assert isinstance(found, TheoryStudy)
    return found


def made(build: Callable[..., Study], **given: Any) -> tuple[Made, pd.DataFrame]:
    """Make a custom table; return it and its numbers."""
    out = make(build("smoke", **given))
    return out, pd.read_csv(out.tables["csv"], keep_default_na=False)


def numbers(build: Callable[..., Study], **given: Any) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """Simulate a custom table; return the numbers and the texts of its rows, without the figures."""
    found = build("smoke", **given)
    assert isinstance(found, TheoryStudy) and found.custom
    found.train()
    own = found.results()[: len(found.entries)]
    return points(own), [dict(row) for row in found.rows(own)]


# Every table


@pytest.mark.parametrize("profile", ["smoke", "laptop", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_every_table_has_its_runs_once(name: str, profile: str) -> None:
    entries = study(name, profile).entries
    names = [(e.group, e.label, e.series) for e in entries]
    assert len(set(names)) == len(names) > 5
    few = [e for e in entries if e.run.walks < 24 and e.group != "term"]
    assert profile == "smoke" or all(isinstance(e.run.method, FedAC) for e in few)


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_written_before_anything_is_simulated(name: str) -> None:
    out = write(study(name))
    assert all(path.is_file() for path in out.files)
    assert {entry.run for entry in study(name).entries} <= set(out.study.lacking())
    assert NOT_RUN in out.text or NOTHING in out.text
    assert "Records: none yet." in out.text


def test_a_table_is_simulated_once_and_written_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"teachers": ["honest"], "schedules": [0.6], "rounds": [4, 8]}
    out, _ = made(theory_distillation, **given)
    assert out.study.missing() == 0 and "Records: 2, set" in out.text
    before = {path: path.read_bytes() for path in [*out.files, *(out.study.home / "records").iterdir()]}
    monkeypatch.setattr(engine, "execute", lambda run: pytest.fail("simulated again"))
    made(theory_distillation, **given)
    assert before == {path: path.read_bytes() for path in before}


def test_a_custom_table_reads_committed_records_and_writes_its_own(paper: Path) -> None:
    given = study("theory_distillation", teachers=["honest"], schedules=[0.0], rounds=[4, 8])
    reference, other = (entry.run for entry in given.entries)
    THEORY.save(engine.execute_quietly(reference), THEORY.path(paper / "records" / "smoke" / "theory", reference))
    given.train()
    assert [path.name for path in (given.home / "records").iterdir()] == [THEORY.path(Path(), other).name]
    assert given.home.parent == files.build("custom") and not list(paper.glob("tables/**/*"))
    given.train(fresh=True)
    assert len(list((given.home / "records").iterdir())) == 2


SAMPLES: dict[str, Any] = {
    "objectives": {"30_theory_convex": ["logistic"], "31_theory_nonconvex": ["network"]}, "rounds": [4, 8],
    "buffers": [1, 2], "step": "without M", "seed": 3, "terms": ["drift"], "term_rounds": 16, "kinds": ["bursty"],
    "rows": ["CA2FL"], "methods": ["CA2FL"], "biased": "bursty", "teachers": ["random"], "schedules": [0.5],
    "buffer": 2,
}  # fmt: skip


@pytest.mark.parametrize("stem", STEMS)
def test_every_parameter_of_a_notebook_reaches_its_tables(stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = files.notebooks() / f"{stem}.ipynb"
    cells = {cell["id"]: "".join(cell["source"]) for cell in json.loads(source.read_text())["cells"]}
    asked: list[Study] = []

    def catch(wanted: Study, fresh: bool) -> SimpleNamespace:
        asked.append(wanted)
        return SimpleNamespace(text="", study=wanted)

    def made_with(**given: Any) -> list[Study]:
        asked.clear()
        exec(f"{cells['parameters']}\n", namespace := {})
        exec(cells["make"].replace("%matplotlib inline", ""), namespace | {"profile": "smoke"} | given)
        return list(asked)

    monkeypatch.setattr(studies, "make", catch)
    assert not any(wanted.custom for wanted in made_with())
    for name in set(parameters.declared(source)) - {"profile", "fresh"}:
        sample = SAMPLES[name][stem] if isinstance(SAMPLES[name], dict) else SAMPLES[name]
        value = tuple(sample) if isinstance(sample, list) else sample
        assert any(value in wanted.custom.values() for wanted in made_with(**{name: sample})), name


# 30, 31


def test_objectives() -> None:
    entries = study("theory_nonconvex", objectives=["bounded"]).entries
    assert {e.run.objective for e in entries} == {"bounded"} and {e.group for e in entries} >= {"rate", "control"}
    assert {e.run.objective for e in study("theory_nonconvex", objectives=["network"]).entries} == {"network"}
    out, table = made(theory_convex, objectives=["images"], **TINY)
    # Images have no controls and no floor: clients cannot be made equal.
    assert set(table["label"]) == {"images, K = 1"} and set(out.figures) == {"rates", "controls"}
    assert "images c = 0.5, sigma² = 4." in out.study.details


@pytest.mark.parametrize("build", [theory_convex, theory_nonconvex])
def test_rounds_and_buffers(build: Callable[..., Study]) -> None:
    entries = build("smoke", **TINY).entries  # type: ignore[attr-defined]
    grids = {(e.run.rounds, e.run.buffers) for e in entries if e.group != "speed-up"}
    assert grids == {((4, 8), (1, 2))}
    assert {(e.run.rounds, e.run.buffers) for e in entries if e.group == "speed-up"} == {((8,), (1, 2))}


def test_points_are_those_asked_for() -> None:
    table, _ = numbers(theory_convex, objectives=["images"], rounds=[4, 6], buffers=[3])
    assert table[["rounds", "buffer"]].to_numpy().tolist() == [[4, 3], [6, 3]]


def test_step() -> None:
    (joint, expected), (without, rows) = (
        numbers(theory_convex, objectives=["images"], step=step, seed=1, **TINY) for step in ("joint", "without M")
    )
    assert (joint["gamma"] / without["gamma"]).tolist() == pytest.approx([1.0, 1.0, 2**0.5, 2**0.5])
    assert (expected[0]["expected"], rows[0]["expected"]) == ("passes", NOTHING)  # of another step nothing is expected
    constant, _ = numbers(theory_convex, objectives=["images"], step="constant", **TINY)
    assert set(constant["gamma"]) == {0.05}


@pytest.mark.parametrize(
    ("build", "given"),
    [
        (theory_convex, {"objectives": ["images"], **TINY}),
        (theory_nonconvex, {"objectives": ["bounded"], **TINY}),
        (theory_bound, {"terms": ["drift"], "term_rounds": 8, **TINY}),
        (theory_arrivals, {"kinds": ["uniform"], "methods": ["FedBuff"], "rounds": [4, 8]}),
        (theory_methods, {"methods": ["FedBuff"], **TINY}),
        (theory_distillation, {"teachers": ["random"], "schedules": [1], "rounds": [4, 8]}),
    ],
)
def test_seed(build: Callable[..., Study], given: dict[str, Any]) -> None:
    runs = {seed: {e.run.seed for e in build("smoke", seed=seed, **given).entries} for seed in (0, 7)}  # type: ignore[attr-defined]
    assert runs == {0: {0}, 7: {7}}


def test_seeds_give_other_numbers() -> None:
    given = {"objectives": ["images"], "rounds": [4], "buffers": [1]}
    one, two = (numbers(theory_convex, seed=seed, **given)[0]["mean"].item() for seed in (1, 2))
    assert one != two


def test_terms_of_the_bound() -> None:
    out, table = made(theory_bound, terms=["sampling", "transient"], term_rounds=16, **TINY)
    assert list(dict.fromkeys(table["series"])) == ["transient: T", "sampling: M", "sampling: h^2"]
    assert table["rounds"].max() == 16 and set(table[table["series"] == "transient: T"]["rounds"]) == {2, 4, 8, 16}
    assert set(out.figures) == {"terms", "measured"}
    beside = [(e.run.rounds, e.run.buffers) for e in out.study.beside]  # type: ignore[attr-defined]
    assert beside == [((4, 8), (1, 2))] * 2
    figure = out.table.figures["measured"][0]
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["4", "8"]
        assert all(tick.label1.get_visible() for tick in axes.xaxis.get_major_ticks())
    assert figure.get_supylabel().startswith("mean of |∇f(x_t)|²")


# 32


def test_kinds_and_methods() -> None:
    table, rows = numbers(theory_arrivals, kinds=["bursty"], methods=["FedAsync", "CA2FL, long"], rounds=[4, 8])
    names = ["FedBuff", "FedBuff, long", "FedAsync", "CA2FL, long"]
    assert list(dict.fromkeys(zip(table["label"], table["series"], strict=True))) == [
        (kind, name) for kind in ("uniform", "bursty") for name in names
    ]
    assert set(table["rounds"]) == {4, 8} and set(table["buffer"]) == {5}
    compared = {row["method"]: row["/ FedBuff's"] != NOTHING for row in rows if row["arrivals"] == "bursty"}
    assert compared == {"FedBuff": False, "FedBuff, long": False, "FedAsync": True, "CA2FL, long": True}
    predicted = [(row["arrivals"], row["method"]) for row in rows if row["/ prediction"] != NOTHING]
    assert predicted == [("bursty", "FedBuff")]


def test_methods_and_their_biased_arrivals() -> None:
    out, table = made(theory_methods, methods=["FedAC-public"], kind="skewed, large", **TINY)
    assert list(dict.fromkeys(table["label"])) == ["FedBuff", "FedAC-public"]
    rates = table[table["series"] == "rate"]
    assert set(rates["rounds"]) == {4, 8} and set(rates["buffer"]) == {1, 2}
    assert "biased arrivals: skewed, large." in out.text
    biased = [e.run.arrivals.delays.model for e in out.study.entries if e.series == "biased"]  # type: ignore[attr-defined]
    assert biased == ["large", "large"]


# 33


@pytest.mark.parametrize("schedules", [[], [0.9, 0.1, 0.4]])
def test_a_schedule_looks_the_same_in_every_panel(schedules: list[float]) -> None:
    # The first of them has fewer schedules than the second unless they are given.
    out, _ = made(theory_distillation, teachers=["honest, soft labels", "honest"], schedules=schedules, rounds=[4, 8])
    figure, _ = out.table.figures["schedules"]
    looks: dict[str, set[tuple[str, ...]]] = {}
    for line in [*(line for axes in figure.axes for line in axes.lines), *figure.legends[0].get_lines()]:
        look = str(line.get_color()), str(line.get_marker()), str(line.get_linestyle())
        looks.setdefault(str(line.get_label()), set()).add(look)
    assert {len(of) for of in looks.values()} == {1} and len(set.union(*looks.values())) == len(looks)
    assert len(looks) == 2 + (len(schedules) or 4)  # no distillation and the slope beside them
    assert {*looks} == {text.get_text() for text in figure.legends[0].get_texts()}


def test_teachers_schedules_and_buffer() -> None:
    out, table = made(theory_distillation, teachers=["random"], schedules=[0, 0.6], rounds=[4, 8], buffer=2)
    assert list(dict.fromkeys(zip(table["label"], table["series"], strict=True))) == [
        ("none (FedBuff)", "none"), ("random", "constant"), ("random", "T^-0.6")
    ]  # fmt: skip
    assert set(table["buffer"]) == {2} and set(table["rounds"]) == {4, 8} and "M = 2, K = 1" in out.text
    assert [e.run.distil_power for e in out.study.entries] == [0, 0, 0.6]  # type: ignore[attr-defined]


# Bad values


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("theory_convex", {"objectives": ["bounded"]}, "objectives = 'bounded' is not usable: choose one of quadratic"),
        ("theory_nonconvex", {"objectives": ["quadratic"]}, "objectives = 'quadratic' .* bounded, network"),
        ("theory_convex", {"rounds": [8, 4]}, r"rounds = \(8, 4\) is not usable: give whole numbers >= 1 in rising"),
        ("theory_convex", {"rounds": 8}, "rounds = 8 is not usable"),
        ("theory_convex", {"buffers": [0]}, r"buffers = \(0,\)"),
        ("theory_convex", {"buffers": [1000]}, r"buffers = \(1000,\) is not usable: give at most 500"),
        ("theory_nonconvex", {"step": "falling"}, "step = 'falling' is not usable: give one of joint, without M"),
        ("theory_convex", {"seed": -1}, "seed = -1"),
        ("theory_bound", {"terms": ["noises"]}, "terms = 'noises' .* transient, noise"),
        ("theory_bound", {"term_rounds": 4}, "term_rounds = 4 is not usable: give at least 8 rounds"),
        ("theory_arrivals", {"kinds": ["late"]}, "kinds = 'late' .* uniform, skewed, mild"),
        ("theory_arrivals", {"methods": ["FedAvg"]}, "methods = 'FedAvg' .* FedBuff, CA2FL"),
        ("theory_methods", {"methods": ["FedEcho, long"]}, "methods = 'FedEcho, long' .* FedBuff, CA2FL"),
        ("theory_methods", {"kind": "late"}, "kind = 'late'"),
        ("theory_distillation", {"teachers": ["wise"]}, "teachers = 'wise' .* adversarial, random, honest"),
        ("theory_distillation", {"schedules": [-1]}, "schedules = -1 is not usable: give powers >= 0"),
        ("theory_distillation", {"buffer": 0}, "buffer = 0 is not usable: give a whole number >= 1"),
    ],
)
def test_bad_values_are_refused_in_a_line_before_anything_is_simulated(
    name: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        TABLES[name]("smoke", **given)
    assert "\n" not in str(caught.value)
