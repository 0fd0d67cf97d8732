"""Ablations and controls: what is run, what is compared, and how it is written and drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fedecho import studies
from fedecho.core import files
from fedecho.core.checks import InputError
from fedecho.core.config import config_hash, to_dict
from fedecho.core.records import Record
from fedecho.learning.cost import peak
from fedecho.report import charts, manifest, notebooks, summary
from fedecho.report.summary import Cell
from fedecho.studies import TABLES, forecast, grid, plan, profiles, response
from fedecho.studies.alpha import DYNAMIC
from fedecho.studies.comparison import Comparison, Results, Trained
from fedecho.studies.controls import ahead
from fedecho.studies.delay import gaps
from fedecho.studies.server_cost import CAPTIONS
from fedecho.studies.teacher import UNSEEN
from fedecho.studies.writing import write_protocol
from tests import toy
from tests.test_summary import put

NAMES = [name for name, study in plan.trained("smoke").items() if isinstance(study, Comparison)]
every_study = pytest.mark.parametrize("name", NAMES)


def trained(name: str, profile: str = "laptop") -> Trained:
    return plan.trained(profile)[name]


def cells_of(name: str, profile: str = "laptop") -> Sequence[Cell]:
    return trained(name, profile).asked()


# What is run


@every_study
@pytest.mark.parametrize("profile", list(profiles.WHOLE))
def test_every_study_is_whole_at_every_scale(name: str, profile: str) -> None:
    study = plan.trained(profile)[name]
    places = {(cell.method, cell.setting, cell.delay, cell.config.seed) for cell in study.asked()}
    assert len(places) == len(study.asked()) > 0
    known = {*profiles.profile(study.at).seeds, *grid.fresh(study.at), *grid.fresh(study.at, further=1 / 2)}
    if name == "teacher_test":
        known = {*UNSEEN[profile]} - known
    elif study.tuning:
        known = {*profiles.profile(study.at).tuning_seeds}
    assert {cell.config.seed for cell in study.asked()} <= known
    assert len({config_hash(config) for config in study.configs}) == len(study.configs)
    if profile == "laptop":  # elsewhere untuned contenders coincide
        same = toy.doubles(study.at)
        assert len(study.configs) == sum(cell.method not in same for cell in study.asked())


def test_a_variant_differs_from_its_contender_in_the_named_fields_only() -> None:
    rows = {cell.method: cell.config for cell in cells_of("ablation_alpha") if cell.config.seed == 0}
    assert rows[DYNAMIC] == grid.run_at("laptop", grid.Variant(DYNAMIC), grid.HERE, 0)
    theirs, ours = to_dict(rows[DYNAMIC]), to_dict(rows["fixed 0.5"])
    assert ours["method"]["distill"] == theirs["method"]["distill"] | {"alpha_min": 0.5, "alpha_max": 0.5}
    assert {k: v for k, v in ours.items() if k != "method"} == {k: v for k, v in theirs.items() if k != "method"}


def test_shared_runs_are_the_main_tables_own() -> None:
    main = {config_hash(cell.config) for cell in toy.main_cells("laptop")}
    for name in ("controls", "ablation_delay", "heterogeneity_buffer", "owners", "unlabeled"):
        assert {config_hash(c.config) for c in cells_of(name) if c.method in ("FedEcho", "held-out")} & main


def test_buffers_get_equal_work() -> None:
    for cell in cells_of("heterogeneity_buffer"):
        protocol, evaluation = cell.config.protocol, cell.config.evaluation
        assert protocol.rounds * protocol.buffer_size == 1500
        assert 20 <= evaluation.every * protocol.buffer_size <= 25


def test_correlation_goes_from_none_to_sole_ownership() -> None:
    by_setting = {cell.setting: cell.config.partition for cell in cells_of("correlation")}
    assert by_setting["correlation 0"].straggler_classes == 0
    assert by_setting["correlation 0.5"].straggler_share == 0.5
    assert by_setting["correlation 1"].straggler_share == 1.0
    assert {cell.config.delays.speed_counts for cell in cells_of("correlation")} == {(25, 16, 9)}


# Who trains what


def test_fresh_runs_are_trained_by_the_first_table_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, build in TABLES.items():
        monkeypatch.setitem(TABLES, name, cache(build))
    known = [study for study in plan.trained("smoke").values() if not study.tuning]
    every = [(study.places[0], config_hash(config)) for study in known for config in study.own()]
    assert len(every) == len(set(every))
    assert set(every) == {(study.places[0], config_hash(config)) for study in known for config in study.configs}


def test_the_memory_that_is_told_is_that_of_the_largest_run(tmp_path: Path) -> None:
    runs = trained("bank_vocabulary", "smoke").configs[::-1]  # small banks first
    peaks = [sum(peak.predicted_peak(run).values()) for run in runs]
    assert max(peaks) > peaks[0]
    assert forecast.outlook([], {tmp_path: runs}, "smoke")[-1].endswith(peak.text(runs[peaks.index(max(peaks))]))


def test_a_block_has_the_runs_of_its_own_tables() -> None:
    assert list(plan.trained("generation")) == ["generation", "generation_pools", "bank_vocabulary",
                                                "generation_tuning"]  # fmt: skip
    for name, study in plan.trained("language").items():
        assert study.configs == trained(name).configs and study.places == trained(name).places
    found = {name: profiles.block_of(name) for name in ("language-smoke", "paper", "cifar-small")}
    assert found == {
        "language-smoke": ("language", "smoke"),
        "paper": ("", "paper"),
        "cifar-small": ("cifar", "laptop"),
    }


def test_every_table_has_a_notebook() -> None:
    made = {name: build("smoke") for name, build in TABLES.items()}
    assert [study.name for study in made.values()] == list(TABLES)
    assert {study.notebook for study in made.values()} <= set(notebooks.catalogue())


def test_outlook_counts_what_is_missing(paper: Path) -> None:
    study = trained("bank", "smoke")
    count = len(study.configs)

    def said() -> str:
        named = plan.named(["bank", "bank"], "smoke")
        return forecast.outlook(named, plan.runs_of(named, False, False), "smoke")[-1]

    assert said().startswith(f"profile smoke: {count} runs to train,")
    put(study.places[0], study.configs[0], 0.5)
    assert said().startswith(f"profile smoke: {count - 1} runs")
    with pytest.raises(InputError, match="only = 'banks' .* bank"):
        plan.named(["banks"], "smoke")


# Tables


def fill(study: Trained, score: dict[str, float]) -> None:
    """Give each row of a study the accuracy `score`, the same for all places, a little more for the second seed."""
    for cell in study.asked():
        put(study.places[0], cell.config, score.get(cell.method, 0.5) + cell.config.seed % 1000 / 100, owned=(1, 3))


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    return tmp_path / "paper"


def test_a_study_is_written_with_its_figures_and_manifest(paper: Path) -> None:
    fill(trained("bank", "smoke"), {"float32": 0.8, "top-1": 0.6})
    made = studies.write(trained("bank", "smoke"))
    text = made.tables["md"].read_text()
    assert "| float32 | **80.50 ± 6.35** |" in text
    assert "+20.00" in text and "float32 − row" in text and "smoke profile tests the plumbing" in text
    assert all(path.stat().st_size > 1000 for path in made.figures.values())
    (described,) = manifest.read_all(made.tables["md"].parent)
    assert (described.name, described.notebook) == ("bank", "25_server_cost")
    assert len(described.records) == len(cells_of("bank", "smoke"))
    (line,) = [line for line in made.findings().splitlines() if "relative to top-1" in line]
    assert "float32 scores +20.00" in line and "top-1" in made.findings("top-1") and "\n" not in made.findings("top-1")


def test_holm_goes_over_the_block_or_the_table() -> None:
    frame = pd.DataFrame(
        [(s, "d", m, seed, "done", score + seed * wobble)
         for s, wobble in (("one", 1.0), ("two", 2.0))
         for m, score in (("a", 50.0), ("b", 40.0 + wobble))
         for seed in (0, 1, 2)],
        columns=["setting", "delay", "method", "seed", "status", "score"],
    ).assign(straggler=math.nan, rejected=0.0, chance=math.nan)  # fmt: skip
    frame["hash"] = frame.index.map(str)
    frame.loc[frame["method"] == "b", "score"] += [0.3, 0.1, 0.2, 0.1, 0.2, 0.3]
    block = summary.summarise(frame, "a")
    table = summary.summarise(frame, "a", family="table")
    tested = block["p"].notna()
    assert block.loc[tested, "p_holm"].tolist() == block.loc[tested, "p"].tolist()  # one test a block
    assert table.loc[tested, "p_holm"].min() == pytest.approx(2 * table["p"].min())
    assert block.loc[~tested, "method"].tolist() == ["a", "a"]


def test_gaps_by_hand() -> None:
    scores = {
        ("A", "mild"): (80.0, 82.0),
        ("A", "large"): (78.0, 81.0),
        ("B", "mild"): (70.0, 71.0),
        ("B", "large"): (60.0, 60.0),
    }
    frame = pd.DataFrame(
        [(m, d, seed, value) for (m, d), values in scores.items() for seed, value in enumerate(values)],
        columns=["method", "delay", "seed", "score"],
    )
    rows = gaps(frame, "A", ("mild", "none"), "large").set_index(["setting", "method"])
    assert rows.loc[("mild − large", "A"), "gap"] == 1.5 and rows.loc[("mild − large", "B"), "gap"] == 10.5
    assert rows.loc[("mild − large", "B"), "smaller"] == 9.0  # (10 - 2 + 11 - 1) / 2
    assert math.isnan(rows.loc[("mild − large", "A"), "p"]) and math.isnan(rows.loc[("none − large", "B"), "gap"])


def a_record(**columns: list[float | None]) -> Record:
    count = len(next(iter(columns.values())))
    rows = [{"virtual_time": 10.0 * k, **{name: values[k] for name, values in columns.items()}} for k in range(count)]
    return Record({}, "h", 0, "done", rows, {}, {"local": 5.0, "bank": 1.0, "inference": 2.0}, {})


def test_what_studies_measure() -> None:
    record = a_record(accuracy=[0.2, 0.8, 0.7], clipped=[0.5, None, 0.1], gradient_norm_max=[0.5, None, 0.1])
    assert summary.mean_of("clipped", 100)(record) == pytest.approx(30.0)
    assert math.isnan(summary.mean_of("alpha")(record))
    largest = summary.mean_of("gradient_norm_max", how=max)
    assert largest(record) == 0.5 and math.isnan(largest(a_record(accuracy=[0.7])))
    assert summary.time_to_target(record) == 10.0 and math.isnan(summary.time_to_target(a_record(accuracy=[0.7])))
    assert summary.server_seconds(record) == 3.0


# Figures


def words(figure: Figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


FEWER = {
    "vision": {"settings": [grid.PURE]},
    "language": {"settings": [grid.DIR]},
    "teacher": {"settings": [grid.MIXED], "delays": ["large"]},
}
"""Of the tables with many panels these are enough."""


@every_study
def test_every_figure_is_drawn_without_records_and_with(name: str, paper: Path) -> None:
    study = TABLES[name]("smoke", **FEWER.get(name, {}))
    assert isinstance(study, Trained)
    for empty in (True, False):
        for figure, caption in study.table().figures.values():
            assert caption and figure.axes and (("not run" in words(figure)) >= empty)
        fill(study, {})


FOREIGN = re.compile(r"\b(box|boxes|places?|walks?|deals?|dealt)\b", re.IGNORECASE)


@pytest.mark.parametrize("name", TABLES)
def test_captions_are_short_and_in_terms_of_the_field(name: str) -> None:
    study = TABLES[name]("laptop")
    drawn = [text for _, text in getattr(study, "figures", {}).values()] or [response.CAPTION, *CAPTIONS.values()]
    captions = [f"{study.caption} Details: PROTOCOL.md.", *drawn]
    assert [text for text in captions if len(text.split()) > 80 or FOREIGN.search(text)] == []
    assert len(study.caption.split()) > 20 and not FOREIGN.search(study.details)


def test_the_protocol_has_a_section_of_each_table_and_its_links_lead_somewhere(paper: Path) -> None:
    for name in TABLES:
        files.write_whole(paper / "tables" / f"{name}.md", "")
    text = write_protocol().read_text()
    sections = re.findall(r"^## (\w+)$", text, re.MULTILINE)
    assert sorted(sections) == sorted(TABLES) and not FOREIGN.search(text)
    assert text == (files.REPOSITORY / "paper" / "PROTOCOL.md").read_text(), "write it anew with `make tables`"
    assert set(re.findall(r"\]\(#(\w+)\)", text)) <= {*sections}
    # In the order of the notebooks.
    order = [TABLES[name]().notebook for name in sections]
    assert order == sorted(order)


def test_the_protocol_says_how_little_slow_clients_send() -> None:
    runs = {table: TABLES[table]("laptop") for table in ("vision", "teacher_test")}
    seen: dict[tuple[str, str, str], list[Record]] = {}
    for table, study in runs.items():
        for cell in study.asked():
            if isinstance(study, Trained) and cell.method in ("FedEcho", "FedAvg (sync)"):
                found = study.find(cell.config)
                seen.setdefault((table, cell.method, f"{cell.setting}, {cell.delay}"), []).append(found)  # type: ignore[arg-type]

    def share(table: str, setting: str, fact: str = "arrivals_slow") -> list[float]:
        return sorted(record.facts[fact] for record in seen[table, "FedEcho", setting])

    ordinary, later = share("vision", "Dir(0.1), large"), share("teacher_test", "Dir(0.1), large", "clients_slow")
    assert (ordinary[0], ordinary[-1]) == pytest.approx((0.002, 0.016)) and 1500 * np.median(ordinary) == pytest.approx(
        6
    )
    assert [share("vision", "Dir(0.1), large", "clients_slow")[k] for k in (0, -1)] == [2, 8] and later[:4] == [
        0,
        1,
        1,
        2,
    ]
    for setting in (grid.MIXED, grid.PURE):
        for table in runs:
            assert {round(100 * x, 1) for x in share(table, f"{setting}, large")} <= {1.6, 1.7, 1.8, 1.9}
        assert {round(100 * x) for x in share("vision", f"{setting}, mild")} <= {10, 11}

    def times(setting: str) -> list[float]:
        both = [seen["vision", method, f"{setting}, large"] for method in ("FedAvg (sync)", "FedEcho")]
        ends = [{record.seed: record.rows[-1]["virtual_time"] for record in of} for of in both]
        return sorted(ends[0][seed] / ends[1][seed] for seed in ends[0].keys() & ends[1].keys())

    assert [round(times("Dir(0.1)")[k], -1) for k in (0, -1)] == [30, 60]
    assert {round(ratio, -1) for ratio in (times(grid.MIXED)[0], *times(grid.PURE)[1:])} <= {50, 60}
    assert np.median(times(grid.MIXED)) == pytest.approx(60, rel=0.1)


def test_a_table_refers_to_its_section_wherever_it_lies(paper: Path) -> None:
    for build in (trained("bank", "smoke"), TABLES["bank"]("smoke", seeds=[0], forms=["top-1"])):
        file = studies.write(replace(build, figures={})).tables["md"]
        (link,) = re.findall(r"Details: \[PROTOCOL.md\]\((.*)#bank\)\.", file.read_text())
        assert (file.parent / link).resolve() == (paper / "PROTOCOL.md").resolve()


def test_a_map_shows_each_mean_and_marks_the_highest() -> None:
    values = pd.DataFrame([[1.0, 2.0], [math.nan, 3.0]], index=["0", "1"], columns=["a", "b"])
    (axes, _) = charts.landscape(values, "x", "y", "%").axes
    assert {t.get_text(): t.get_fontweight() for t in axes.texts if t.get_text()} == {
        "1.00": "normal",
        "2.00": "normal",
        "3.00": "bold",
    }


def test_the_map_of_differences_has_intervals_pairs_and_marks() -> None:
    one = pd.DataFrame(
        [("s", "mild", 2.0, 1.25, 3, 0.01), ("t", "mild", -1.0, 4.0, 2, 0.2)],
        columns=["setting", "delay", "difference", "difference_half", "pairs", "p_holm"],
    )
    other = one.assign(difference=[50.0, math.nan], p_holm=math.nan)
    left, right, *_ = charts.difference_map({"all": one, "owned": other}, "tail").axes
    assert [t.get_text() for t in left.texts] == ["+2.0 •\n± 1.2\nn = 3", "−1.0\n± 4.0\nn = 2"]
    assert [t.get_text() for t in right.texts] == ["+50.0\n± 1.2\nn = 3", "–"]
    assert (left.get_title("left"), right.get_title("left")) == ("all", "owned")


def test_owned_classes_are_compared_pair_by_pair_without_a_test() -> None:
    lines = [
        (setting, "mild", method, seed, 50.0, owned + seed * (method == "FedEcho"), "done", 0.0)
        for setting, owned in (("s", 10.0), ("t", math.nan))
        for seed in (0, 1)
        for method in ("FedBuff + EMA", "FedEcho")
    ]
    frame = pd.DataFrame(lines, columns=[*summary.PLACE, "seed", "score", "straggler", "status", "rejected"])
    frame["hash"], frame["chance"] = frame.index.map(str), math.nan
    left, right, *_ = ahead(Results(None, [], frame, summary.summarise(frame))).axes  # type: ignore[arg-type]
    assert [t.get_text()[:4] for t in left.texts] == ["+0.0", "+0.0"]
    assert [t.get_text() for t in right.texts] == ["+0.5\n± 6.4\nn = 2", "–"]  # t of 0.975 and one degree: 12.71
