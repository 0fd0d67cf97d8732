"""Ablations and controls: what is run, what is compared, and how it is written and drawn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from fedecho import notebooks, presets, studies, tables, verdicts
from fedecho.core.checks import InputError
from fedecho.core.config import config_hash
from fedecho.core.records import Record
from fedecho.learning.cost import peak
from fedecho.publish import manifest
from fedecho.studies import ablations, catalogue, drawing, tabulate, wanted
from tests.test_tables import put

NAMES = [name for name in catalogue.STUDIES if name != "vision"]
every_study = pytest.mark.parametrize("name", NAMES)


# What is run


@every_study
@pytest.mark.parametrize("profile", list(presets.WHOLE))
def test_every_study_is_whole_at_every_scale(name: str, profile: str) -> None:
    cells = catalogue.cells(name, profile)
    places = {(cell.method, cell.setting, cell.delay, cell.config.seed) for cell in cells}
    assert len(places) == len(cells) > 0
    assert {cell.config.seed for cell in cells} <= set(presets.profile(wanted.scale(name, profile)).seeds)
    if profile == "laptop":  # elsewhere untuned contenders coincide
        assert len({config_hash(cell.config) for cell in cells}) == len(cells)


def test_a_variant_differs_from_its_contender_in_the_named_fields_only() -> None:
    (fixed,) = [c for c in ablations.alpha("laptop") if c.method == "fixed 0.5" and c.config.seed == 0]
    (plain,) = [c for c in ablations.alpha("laptop") if c.method == ablations.DYNAMIC and c.config.seed == 0]
    changed = {"distill": {"alpha_min": 0.5, "alpha_max": 0.5}}
    assert plain.config == ablations.run_at("laptop", ablations.OWN, ablations.HERE, 0)
    theirs, ours = (json.loads(json.dumps(records_form(c.config))) for c in (plain, fixed))
    assert ours["method"]["distill"] == theirs["method"]["distill"] | changed["distill"]
    assert {k: v for k, v in ours.items() if k != "method"} == {k: v for k, v in theirs.items() if k != "method"}


def records_form(config: object) -> object:
    from fedecho.core.config import to_dict

    return to_dict(config)


def test_shared_runs_are_the_main_tables_own() -> None:
    main = {config_hash(cell.config) for cell in presets.vision_table("laptop")}
    for name in ("controls", "ablation_delay", "heterogeneity_buffer", "owners", "unlabeled"):
        own = {config_hash(cell.config) for cell in catalogue.cells(name, "laptop") if cell.method == "FedEcho"}
        held_out = {config_hash(c.config) for c in catalogue.cells(name, "laptop") if c.method == "held-out"}
        assert (own | held_out) & main


def test_buffers_get_equal_work() -> None:
    for cell in ablations.heterogeneity("laptop"):
        protocol, evaluation = cell.config.protocol, cell.config.evaluation
        assert protocol.rounds * protocol.buffer_size == 1500
        assert 20 <= evaluation.every * protocol.buffer_size <= 25


def test_correlation_goes_from_none_to_sole_ownership() -> None:
    by_setting = {cell.setting: cell.config.partition for cell in ablations.correlation("laptop")}
    assert by_setting["correlation 0"].straggler_classes == 0
    assert by_setting["correlation 0.5"].straggler_share == 0.5
    assert by_setting["correlation 1"].straggler_share == 1.0
    assert {cell.config.delays.speed_counts for cell in ablations.correlation("laptop")} == {(25, 16, 9)}


def test_unknown_study() -> None:
    with pytest.raises(InputError, match="study = 'alfa' .* controls"):
        catalogue.cells("alfa", "smoke")
    with pytest.raises(InputError, match="study = 'alfa'"):
        studies.make("alfa", "smoke")


# Who trains what


def test_fresh_runs_are_trained_by_the_first_set_that_has_them() -> None:
    every = [config_hash(config) for name in wanted.SETS for config in wanted.own(name, "smoke")]
    assert len(every) == len(set(every))
    everything = {config_hash(config) for name in wanted.SETS for config in wanted.configs(name, "smoke")}
    assert set(every) == everything


def test_the_memory_that_is_told_is_that_of_the_largest_run(paper: Path) -> None:
    runs = wanted.configs("bank_vocabulary", "smoke")[::-1]  # small banks first
    peaks = [sum(peak.predicted_peak(run).values()) for run in runs]
    assert max(peaks) > peaks[0]
    largest = peak.text(runs[peaks.index(max(peaks))])
    said = wanted.outlook("smoke", ["bank_vocabulary"], fresh=True, choose=lambda name, profile, fresh: runs)
    assert said.endswith(largest)


def test_a_block_has_the_runs_of_its_own_tables() -> None:
    assert wanted.sets("generation") == ("generation", "generation_pools", "bank_vocabulary", "generation_tuning")
    for name in wanted.sets("language"):
        assert wanted.configs(name, "language") == wanted.configs(name, "laptop")
        assert wanted.folder(name, "language") == wanted.folder(name, "laptop")
    assert presets.block_of("language-smoke") == ("language", "smoke") and presets.block_of("paper") == ("", "paper")
    assert presets.block_of("cifar-small") == ("cifar", "laptop")


def test_every_set_has_a_notebook_and_every_notebook_its_sets() -> None:
    behind = [name for stem in notebooks.catalogue() for name in studies.sets_of(stem)]
    assert sorted(behind) == sorted(wanted.SETS)


def test_outlook_counts_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    count = len({config_hash(c.config) for c in catalogue.cells("bank", "smoke")})
    assert wanted.outlook("smoke", ["bank", "bank"], fresh=False).startswith(f"profile smoke: {count} runs to train,")
    put(wanted.folder("bank", "smoke"), catalogue.cells("bank", "smoke")[0].config, 0.5)
    assert wanted.outlook("smoke", ["bank"], fresh=False).startswith(f"profile smoke: {count - 1} runs")
    with pytest.raises(InputError, match="only = 'banks' .* bank"):
        wanted.outlook("smoke", ["banks"], fresh=False)


# Tables


def fill(folder: Path, name: str, score: dict[str, float]) -> None:
    """Give each row of a study the accuracy `score`, the same for all places, a little more for the second seed."""
    for cell in catalogue.cells(name, "smoke"):
        put(folder, cell.config, score.get(cell.method, 0.5) + cell.config.seed / 100, owned=(1, 3))


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    return tmp_path


def test_a_study_is_written_with_its_figures_and_manifest(paper: Path) -> None:
    fill(paper / "records" / "smoke", "bank", {"float32": 0.8, "top-1": 0.6})
    made = studies.make("bank", "smoke")
    text = made.tables["md"].read_text()
    assert "| **float32** | **80.50 ± 6.35** |" in text.replace("float32 | **", "**float32** | **")
    assert "+20.00" in text and "float32 − row" in text and "smoke profile tests the plumbing" in text
    assert all(path.stat().st_size > 1000 for path in made.figures.values())
    (described,) = manifest.read_all(made.tables["md"].parent)
    assert (described.name, described.notebook) == ("bank", "25_server_cost")
    assert len(described.records) == len(catalogue.cells("bank", "smoke"))
    (line,) = [s for s in verdicts.all_rows(made.results.summary, "float32") if "relative to top-1" in s]
    assert "float32 is better" in line


def test_holm_goes_over_the_block_or_the_table() -> None:
    frame = pd.DataFrame(
        [(s, "d", m, seed, "done", score + seed * wobble)
         for s, wobble in (("one", 1.0), ("two", 2.0))
         for m, score in (("a", 50.0), ("b", 40.0 + wobble))
         for seed in (0, 1, 2)],
        columns=["setting", "delay", "method", "seed", "status", "score"],
    ).assign(straggler=math.nan, rejected=0.0)  # fmt: skip
    frame.loc[frame["method"] == "b", "score"] += [0.3, 0.1, 0.2, 0.1, 0.2, 0.3]
    block = tables.summarise(frame, "a")
    table = tables.summarise(frame, "a", family="table")
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
    rows = tabulate.gaps(frame, "A", ("mild", "none"), "large").set_index(["setting", "method"])
    assert rows.loc[("mild − large", "A"), "gap"] == 1.5 and rows.loc[("mild − large", "B"), "gap"] == 10.5
    assert rows.loc[("mild − large", "B"), "smaller"] == 9.0  # (10 - 2 + 11 - 1) / 2
    assert math.isnan(rows.loc[("mild − large", "A"), "p"]) and math.isnan(rows.loc[("none − large", "B"), "gap"])


def a_record(**columns: list[float | None]) -> Record:
    count = len(next(iter(columns.values())))
    rows = [{"virtual_time": 10.0 * k, **{name: values[k] for name, values in columns.items()}} for k in range(count)]
    return Record({}, "h", 0, "done", rows, {}, {"local": 5.0, "bank": 1.0, "inference": 2.0}, {})


def test_what_studies_measure() -> None:
    record = a_record(accuracy=[0.2, 0.8, 0.7], clipped=[0.5, None, 0.1])
    assert tabulate.mean_of("clipped", 100)(record) == pytest.approx(30.0)
    assert tabulate.largest_of("clipped")(record) == 0.5
    assert math.isnan(tabulate.mean_of("alpha")(record)) and math.isnan(tabulate.largest_of("alpha")(record))
    assert tabulate.time_to(0.75)(record) == 10.0 and math.isnan(tabulate.time_to(0.9)(record))
    assert tabulate.server_seconds(record) == 3.0


# Figures


def words(figure: Figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


@every_study
def test_every_figure_is_drawn_without_records_and_with(name: str, paper: Path) -> None:
    for expected in (True, False):
        found = studies.results(name, "smoke")
        for draw in found.study.draw.values():
            figure = draw(found)
            assert figure.axes and (("not run" in words(figure)) >= expected)
        fill(paper / "records" / "smoke", name, {})
    assert set(found.study.draw) == set(found.study.captions)


def test_forms_of_a_bank_stand_at_their_bytes() -> None:
    forms = [{"setting": "V", "method": m, "mean": 3.0, "half": h, "bytes": b, "perplexity": p} for m, h, b, p in
             (("all", 1.0, 400, 9.0), ("top", math.nan, 8, 12.0))]  # fmt: skip
    absent = [line | {"setting": "W", "mean": math.nan, "perplexity": math.nan} for line in forms]
    figure = drawing.against_bytes(pd.DataFrame(forms + absent), "all", {"mean": "accuracy", "perplexity": "nats"})
    accuracy, _, perplexity, missing = figure.axes
    assert [bars.lines[0].get_xdata()[0] for bars in perplexity.containers] == [400, 8]
    assert [bars.lines[0].get_ydata()[0] for bars in perplexity.containers] == [9, 12]
    assert perplexity.lines[-1].get_ydata() == [9, 9] and accuracy.get_xscale() == "log"
    assert [text.get_text() for text in missing.texts] == ["not run"]


def test_a_map_shows_each_mean_and_marks_the_highest() -> None:
    values = pd.DataFrame([[1.0, 2.0], [math.nan, 3.0]], index=["0", "1"], columns=["a", "b"])
    (axes, _) = drawing.landscape(values, "x", "y", "%").axes
    assert {t.get_text(): t.get_fontweight() for t in axes.texts} == {
        "1.00": "normal",
        "2.00": "normal",
        "3.00": "bold",
    }


def test_the_map_of_differences_marks_what_is_significant() -> None:
    summary = pd.DataFrame(
        [("s", "mild", "FedEcho", math.nan, math.nan, 60.0), ("s", "mild", "E", 2.0, 0.01, 10.0),
         ("t", "mild", "FedEcho", math.nan, math.nan, math.nan), ("t", "mild", "E", -1.0, 0.2, math.nan)],
        columns=["setting", "delay", "method", "difference", "p_holm", "straggler_mean"],
    )  # fmt: skip
    left, right, *_ = drawing.difference_map(summary, "E", ["s", "t"], ["mild"], "tail").axes
    assert [t.get_text() for t in left.texts] == ["+2.0 •", "−1.0"]
    assert [t.get_text() for t in right.texts] == ["+50.0", "–"]
