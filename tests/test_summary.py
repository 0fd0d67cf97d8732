"""Tables from hand-made records: what is counted, what is left out, and how it is written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from fedecho.core import files, records
from fedecho.core.checks import InputError
from fedecho.core.clock import Clock
from fedecho.core.config import RunConfig
from fedecho.core.records import record_path, save
from fedecho.learning.experiment import new_record
from fedecho.report import captions, render, summary, tabular
from fedecho.report.reported import numbers
from fedecho.report.summary import Cell
from fedecho.studies import contenders, response
from tests import toy
from tests.sound import sound

tuning = import_module("fedecho.studies.tuning")  # the package's own name of it is the table's function

OWNERS = "Dir(0.1), stragglers own 2 classes, mixed"
REPORTED = pd.DataFrame(
    [("Dir(0.1)", "not stated", "FedBuff", 74.14), ("Dir(0.1)", "mild", "CA2FL", 1.5)],
    columns=["setting", "delay", "method", "value"],
)

CELLS = {(c.method, c.setting, c.delay): c for c in toy.main_cells("smoke")}


def put(
    folder: Path,
    config: RunConfig,
    accuracy: float,
    *,
    status: Literal["done", "diverged"] = "done",
    owned: Sequence[int] = (),
    dirty: bool = False,
) -> None:
    """Write a record: half of its evaluations at `accuracy` - 0.1, half at + 0.1; class k is at k / 10."""
    rows: list[dict[str, Any]] = [
        {"accuracy": accuracy + gap, "per_class": [k / 10 for k in range(10)], "rejected": 3} for gap in (-0.1, 0.1)
    ]  # fmt: skip
    facts = {"straggler_classes": list(owned), "arrivals_slow": 0.25, "characters_per_token": 1.5}
    cpu = "Intel(R) Xeon(R) Processor" if config.seed else "AMD EPYC"
    provenance = {"commit": "abcdef0123456", "dirty": dirty, "hardware": {"cpu": cpu}}
    record = new_record(config, status, rows, facts, Clock(), provenance)
    save(sound(record), record_path(folder, config))


def cell(method: str, seed: int = 0, setting: str = "Dir(0.1)", delay: str = "large") -> Cell:
    found = CELLS[method, setting, delay]
    return dataclasses.replace(found, config=dataclasses.replace(found.config, seed=seed))


def collected(cells: Sequence[Cell], folder: Path) -> pd.DataFrame:
    return summary.collect([(each, records.find(folder, each.config)) for each in cells])


def summary_of(cells: Sequence[Cell], folder: Path) -> pd.DataFrame:
    return summary.summarise(collected(cells, folder), reported=REPORTED)


def shown(found: pd.DataFrame) -> pd.DataFrame:
    return captions.display(found, "FedEcho", word="method")


def row(summary: pd.DataFrame, method: str) -> dict[str, Any]:
    (found,) = summary[summary["method"] == method].to_dict("records")
    return {str(name): value for name, value in found.items()}


@pytest.fixture
def compared(tmp_path: Path) -> list[Cell]:
    """Three seeds: FedEcho at 71, 72, 73 %, FedBuff at 70 % throughout, CA2FL diverged on seed 0 and without seed 2."""
    for seed in range(3):
        put(tmp_path, cell("FedEcho", seed).config, 0.71 + seed / 100)
        put(tmp_path, cell("FedBuff", seed).config, 0.70, dirty=seed == 1)
    put(tmp_path, cell("CA2FL", 0).config, 0.9, status="diverged")
    put(tmp_path, cell("CA2FL", 1).config, 0.60)
    return [cell(method, seed) for seed in range(3) for method in ("FedEcho", "FedBuff", "CA2FL", "FADAS")]


def test_collect_tells_done_from_diverged_from_not_run(compared: list[Cell], tmp_path: Path) -> None:
    frame = collected(compared, tmp_path).set_index(["method", "seed"])
    assert frame.loc[("FedEcho", 1), "score"] == pytest.approx(72)
    assert frame.loc[("CA2FL"), "status"].tolist() == ["diverged", "done", "not run"]
    assert frame.loc[("CA2FL"), "score"].isna().tolist() == [True, False, True]
    assert frame.loc[("FADAS", 0), "hash"] is None or pd.isna(frame.loc[("FADAS", 0), "hash"])
    assert frame["straggler"].isna().all()


def test_accuracy_on_the_classes_of_the_stragglers(tmp_path: Path) -> None:
    put(tmp_path, cell("FedEcho", 0, OWNERS).config, 0.5, owned=[2, 5])
    assert collected([cell("FedEcho", 0, OWNERS)], tmp_path)["straggler"].tolist() == [pytest.approx(35)]
    assert row(summary_of([cell("FedEcho", 0, OWNERS)], tmp_path), "FedEcho")["straggler_mean"] == pytest.approx(35)


def test_rows_keep_the_order_of_the_cells(compared: list[Cell], tmp_path: Path) -> None:
    assert summary_of(compared, tmp_path)["method"].tolist() == ["FedEcho", "FedBuff", "CA2FL", "FADAS"]


def test_a_row_of_the_same_runs_is_not_tested(compared: list[Cell], tmp_path: Path) -> None:
    twice = [dataclasses.replace(each, method="FedEcho, twice") for each in compared if each.method == "FedEcho"]
    one, two = (summary_of(cells, tmp_path) for cells in (compared, [*compared, *twice]))
    again = row(two, "FedEcho, twice")
    assert again["mean"] == row(two, "FedEcho")["mean"] and np.isnan(again["difference"]) and np.isnan(again["p"])
    assert row(two, "FedBuff")["p_holm"] == row(one, "FedBuff")["p_holm"]  # nor does it count in Holm's family


def test_factors_are_columns_beside_the_runs(tmp_path: Path) -> None:
    cells = [dataclasses.replace(cell("FedEcho"), factors={"nu": 0.5}), cell("FedBuff")]
    frame = collected(cells, tmp_path)
    assert frame["nu"].tolist()[0] == 0.5 and math.isnan(frame["nu"].tolist()[1])


def test_means_differences_and_counts(compared: list[Cell], tmp_path: Path) -> None:
    found = summary_of(compared, tmp_path)
    buff = row(found, "FedBuff")
    # FedEcho - FedBuff = 1, 2, 3 points: p = 0.0741799; the only test of its family, so Holm changes nothing.
    assert (buff["mean"], buff["difference"], buff["n"], buff["pairs"]) == pytest.approx((70, 2, 3, 3))
    assert buff["half"] == pytest.approx(0, abs=1e-9)
    assert (buff["p"], buff["p_holm"]) == pytest.approx((0.0741799, 0.0741799), rel=1e-4)
    assert math.isnan(row(found, "FedEcho")["p_holm"]) and math.isnan(row(found, "FedEcho")["difference"])


def test_the_median_does_not_follow_a_run_that_collapsed(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.10, 0.71, 0.75)):
        put(tmp_path, cell("FedEcho", seed).config, accuracy)
    cells = [cell(method, seed) for seed in range(3) for method in ("FedEcho", "FADAS")]
    found = summary_of(cells, tmp_path)
    assert (row(found, "FedEcho")["mean"], row(found, "FedEcho")["median"]) == pytest.approx((52, 71))
    assert math.isnan(row(found, "FADAS")["median"])


def test_a_diverged_run_is_counted_and_not_averaged(compared: list[Cell], tmp_path: Path) -> None:
    found = summary_of(compared, tmp_path)
    rival = row(found, "CA2FL")
    assert (rival["mean"], rival["n"], rival["diverged"], rival["runs"]) == (pytest.approx(60), 1, 1, 3)
    assert rival["difference"] == pytest.approx(12) and math.isnan(rival["p"])
    display = shown(found).xs("CA2FL", level="method").iloc[0]
    assert (display["accuracy, %"], display["n"]) == ("60.00", "1 (1 diverged)")
    assert display["FedEcho − method"] == "+12.00"


@pytest.mark.parametrize(("value", "text"), [(math.inf, "> 10^308"), (math.nan, "–"), (-1234.5, "−1,234.50")])
def test_numbers_of_a_study_are_written_in_full(value: float, text: str) -> None:
    assert captions._plain(value, 2) == text


@pytest.mark.parametrize(
    ("means", "chances", "bold"),
    [
        ([10.0, 10.0], [10.0, 10.0], [False, False]),  # both name one class of ten
        ([9.0, 8.0], [10.0, 10.0], [False, False]),
        ([10.5, 10.0], [10.0, 10.0], [True, False]),
        ([60.0, 55.0], [60.0, 50.0], [False, False]),  # the best names the most frequent of two classes
        ([14.0, 12.0], [math.nan, math.nan], [True, False]),  # running text
    ],
)
def test_nothing_is_bold_at_chance(means: list[float], chances: list[float], bold: list[bool]) -> None:
    rows = {"setting": "s", "delay": "d", "method": ["a", "b"], "mean": means, "chance": chances, "diverged": 0}
    assert summary.best_of_block(pd.DataFrame(rows | {"difference": math.nan})) == bold


def test_rows_of_fewer_seeds_are_judged_by_the_seeds_that_they_share() -> None:
    rows = {"setting": "s", "delay": "d", "method": ["FedEcho", "lucky", "better"], "mean": [80.0, 81.0, 79.0]}
    frame = pd.DataFrame(rows | {"chance": 10.0, "diverged": 0, "difference": [math.nan, 0.5, math.nan]})
    assert summary.best_of_block(frame) == [True, False, False]
    assert summary.best_of_block(frame.assign(difference=[math.nan, 0.5, -0.5])) == [False, False, True]
    assert summary.best_of_block(frame, "another") == [False, True, False]


def test_chance_is_one_class_of_ten_or_what_a_constant_classifier_scores(tmp_path: Path) -> None:
    put(tmp_path, cell("FedEcho").config, 0.7)
    found = records.find(tmp_path, cell("FedEcho").config)
    assert found and summary.chance(found) == pytest.approx(10) and not summary.idle(found)
    for row in found.rows:
        row["per_class"] = [0.0] * 9 + [1.0]
    assert summary.idle(found) and summary.chance(found) == pytest.approx(70)


def test_each_block_is_its_own_family_of_tests(tmp_path: Path) -> None:
    cells = []
    for seed in range(3):
        for delay, methods in (("mild", ("FedBuff",)), ("large", ("FedBuff", "FADAS"))):
            for method in ("FedEcho", *methods):
                cells.append(cell(method, seed, delay=delay))
                put(tmp_path, cells[-1].config, 0.71 + seed / 100 if method == "FedEcho" else 0.70)
    found = summary_of(cells, tmp_path).query("method == 'FedBuff'").set_index("delay")
    assert found.loc["mild", "p_holm"] == pytest.approx(0.0741799, rel=1e-4)
    assert found.loc["large", "p_holm"] == pytest.approx(2 * 0.0741799, rel=1e-4)


def test_the_papers_number_stands_beside_every_delay_unless_it_names_one(tmp_path: Path) -> None:
    cells = [cell(method, delay=delay) for delay in ("mild", "large") for method in ("FedBuff", "CA2FL")]
    found = summary_of(cells, tmp_path).set_index(["delay", "method"])["reported"]
    assert found["mild"].tolist() == [74.14, 1.5]
    assert found["large", "FedBuff"] == 74.14 and math.isnan(found["large", "CA2FL"])


def test_nothing_run_yet(tmp_path: Path) -> None:
    cells = [cell("FedBuff"), cell("FedEcho")]
    display = shown(summary_of(cells, tmp_path))
    assert set(display["accuracy, %"]) == {"not run"} and set(display["n"]) == {"0"}
    assert display["paper"].tolist() == ["74.14", "not stated"]
    assert "Records: none yet." in captions.notes(collected(cells, tmp_path), "laptop")


@pytest.mark.parametrize(("mean", "half", "sign", "text"), [
    (82.314, 0.852, "", "82.31 ± 0.85"), (1.2, math.nan, "+", "+1.20"), (-1.2, 0.6, "+", "−1.20 ± 0.60"),
    (math.nan, math.nan, "", "–"),
])  # fmt: skip
def test_numbers_as_text(mean: float, half: float, sign: str, text: str) -> None:
    assert captions.number(mean, half, sign) == text


def test_p_as_text() -> None:
    texts = {0.0421: "0.042", 0.0004: "<0.001", 0.0: "<0.001", 1.0: "1.000", math.nan: "–"}
    assert [captions.p_text(p) for p in texts] == list(texts.values())


def test_record_set_hash_names_the_set_and_not_the_order(compared: list[Cell], tmp_path: Path) -> None:
    frame = collected(compared, tmp_path)
    assert summary.record_set_hash(frame) == summary.record_set_hash(frame.iloc[::-1])
    assert summary.record_set_hash(frame) != summary.record_set_hash(frame.iloc[1:])
    assert len(summary.record_set_hash(frame)) == 12


def test_notes_name_profile_commit_and_uncommitted_changes(compared: list[Cell], tmp_path: Path) -> None:
    frame = collected(compared, tmp_path)
    notes = captions.notes(frame, "laptop")
    assert "Profile laptop." in notes and "not results" not in notes
    made = "made on AMD EPYC (3), Intel Xeon (5) by commit abcdef0, 1 of them with uncommitted changes."
    records = f"Records: 8, set {summary.record_set_hash(frame)}, {made}"
    assert records in notes
    assert "not results" in captions.notes(frame, "smoke")


def test_written_files(compared: list[Cell], tmp_path: Path) -> None:
    found = summary_of(compared, tmp_path)
    stem = tmp_path / "out" / "vision.v1"
    texts = []
    for _ in range(2):
        render.write(
            shown(found),
            summary.best_of_block(found),
            found,
            stem,
            "Main",
            "95 % of it.",
            details="../P.md#v",
            notes="n",
        )
        texts.append(
            [(stem.parent / f"vision.v1{end}").read_bytes() for end in (".md", ".tex", ".csv", "_tabular.tex")]
        )
    assert texts[0] == texts[1]
    md, tex, csv, _ = (text.decode() for text in texts[0])
    assert all(text.endswith("\n") and "\r" not in text for text in (md, tex, csv))
    assert "setting **Dir(0.1)**, delay **large**" in md
    assert "\n\n95 % of it. Details: [PROTOCOL.md](../P.md#v).\n\n" in md and md.endswith("|\n\nn\n")
    assert r"\noindent 95 \% of it. Details: PROTOCOL.md.\par\noindent n\par" in tex
    assert "| FedEcho | **72.00 ± 2.48** | 3 | – | – | not stated |" in md
    assert "| FedBuff | 70.00 ± 0.00 | 3 | +2.00 ± 2.48 | 0.074 | 74.14 |" in md
    assert csv.splitlines()[0].startswith("setting,delay,method,mean,half,median,n,diverged")
    assert "Dir(0.1),large,FedBuff,70," in csv


def test_latex_is_escaped_everywhere(compared: list[Cell], tmp_path: Path) -> None:
    display = shown(summary_of(compared, tmp_path)).rename(index={"FedBuff": "Fed_Buff & 5%"})
    tex = tabular.long(display, [True, False, False, False], "Title", "95 % of it", "tab:x")
    assert r"\textbf{72.00 $\pm$ 2.48}" in tex and tex.count(r"\textbf") == 1
    assert r"Fed\_Buff \& 5\%" in tex and r"accuracy, \%" in tex and r"95 \% of it" in tex
    assert r"FedEcho $-$ \\ method" in tex and tex.isascii()
    assert all(rule in tex for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\label{tab:x}"))


def tuning_of_toys(*labels: str) -> Any:
    """A tuning without records: three points over the space (a fourth is in use), two seeds, no refinement."""
    rows = tuple(contenders.CONTENDERS[label] for label in labels)
    return tuning.Tuning(
        name="tuning", title="Tuning", notebook="02_tuning", profile="smoke", contenders=rows, count=3, refinements=0,
        seeds=(5, 6),
    )  # fmt: skip


@pytest.fixture
def tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """FedBuff: the trial with the best run diverges once, and of the others one beats the values in use on both seeds;
    one run of FedAsync's lacks."""
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    study = tuning_of_toys("FedBuff", "FedAsync")
    scores = [(0.6, 0.7), (0.5, 0.85), (0.8, 0.8), (0.7, 0.8)]
    for label, last in (("FedBuff", 2), ("FedAsync", 1)):
        cells = [cell for cell in study.asked() if cell.method == label]
        for k, pair in enumerate(scores):
            for seed in (0, 1)[: last if k == 3 else 2]:
                status: Any = "diverged" if (label, k, seed) == ("FedBuff", 2, 1) else "done"
                put(study.places[0], cells[k + 4 * seed].config, pair[seed], status=status)
    return study


def test_the_chosen_trial_has_all_runs_and_none_that_diverged(tuned: Any) -> None:
    points = tuned.points(contenders.CONTENDERS["FedBuff"])
    assert tuned.chosen() == {"FedBuff": points[3]}
    found = tuned.trials()
    buff = found[found["method"] == "FedBuff"]
    assert buff["mean"].tolist() == pytest.approx([65, 67.5, 80, 75])
    assert buff[["n", "diverged", "runs"]].to_numpy().tolist() == [[2, 0, 2], [2, 0, 2], [1, 1, 2], [2, 0, 2]]
    assert buff["chosen"].tolist() == [False, False, False, True]
    assert not found[found["method"] == "FedAsync"]["chosen"].any()


def test_edges_of_what_is_chosen_are_named(tuned: Any) -> None:
    points = [point["local.lr"] for point in tuned.points(contenders.CONTENDERS["FedBuff"])]
    at_edge = points[3] in (min(points), max(points))
    end = "smallest" if points[3] == min(points) else "largest"
    assert tuned.edges() == ([f"FedBuff lr = {points[3]:g} ({end} tried)"] if at_edge else [])


def test_trials_as_text(tuned: Any) -> None:
    found = tuned.trials()
    text = render.markdown(response.display(found), found["chosen"].tolist(), "Tuning", "caption")
    lr = [point["local.lr"] for point in tuned.points(contenders.CONTENDERS["FedBuff"])]
    assert "method **FedBuff**" in text and f"| lr {lr[0]:g} | 65.00 | 2/2 | in use |  |" in text
    assert f"| lr {lr[2]:g} | 80.00 | 1/2 (1 diverged) | whole space |  |" in text
    assert f"| lr {lr[3]:g} | **75.00** | 2/2 | whole space | yes |" in text


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, float]]:
    """Every contender has chosen something, and the tables use it."""
    values = {
        label: contenders.complete(of, "laptop", {"local.lr": 0.123}) for label, of in contenders.CONTENDERS.items()
    }
    monkeypatch.setattr(contenders, "FOUND", {"laptop": {label: ({}, {"local.lr": 0.123}) for label in values}})
    monkeypatch.setattr(contenders, "PENDING", {})
    return values


@pytest.mark.parametrize(("profile", "change", "said"), [
    ("laptop", {}, "`contenders.FOUND` equals the chosen values."),
    ("laptop", {"CA2FL": {"local.lr": 0.1}}, "`contenders.FOUND` differs for CA2FL."),
    ("laptop", {"FedAsync": None}, "nothing is chosen yet for FedAsync, whose tables use an earlier search."),
    ("smoke", {}, "what it chose here is not used."),
])  # fmt: skip
def test_whether_the_tables_use_what_was_chosen(
    profile: str,
    change: dict[str, Any],
    said: str,
    chosen: dict[str, dict[str, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {label: values for label, values in (chosen | change).items() if values is not None}
    assert tuning._used(found, profile).endswith(said)
    if said.startswith("`contenders.FOUND` equals"):
        monkeypatch.setattr(contenders, "PENDING", {profile: ("FADAS",)})
        assert tuning._used(found, profile).endswith("the tables still use what was chosen before for FADAS.")
        monkeypatch.setattr(contenders, "PENDING", {})
        for values in (contenders.FOUND, contenders.TUNED):
            monkeypatch.delitem(values[profile], "AREA")
        del found["AREA"]
        assert tuning._used(found, profile).endswith("; nothing is chosen yet for AREA, in no other table so far.")


SENTENCES = [
    ((1.5, 0.25, 0.004), "scores +1.50 ± 0.25 points relative to FedBuff, 5 paired seeds."),
    ((-1.5, 0.25, 0.0001), "scores −1.50 ± 0.25 points relative to FedBuff, 5 paired seeds."),
    ((1.5, math.nan, math.nan), "scores +1.50 points relative to FedBuff, 5 paired seeds."),
    ((math.nan, math.nan, math.nan), "FedEcho and FedBuff cannot be compared, no seed has both."),
]  # fmt: skip


@pytest.mark.parametrize(("numbers", "said"), SENTENCES)
def test_sentences_follow_the_numbers(numbers: tuple[float, float, float], said: str) -> None:
    columns = ["setting", "delay", "method", "difference", "difference_half", "p_holm", "pairs"]
    found = pd.DataFrame([("Dir(0.1)", "large", "FedBuff", *numbers, 5)], columns=columns)
    (line,) = captions.sentences(found)
    assert line.startswith("Dir(0.1), large delays: FedEcho ") and line.endswith(said)
    assert captions.sentences(found, rivals=["CA2FL"]) == []


def test_the_reported_numbers_name_their_source() -> None:
    assert numbers("vision").set_index("method")["value"].to_dict() == {
        "FedEcho": 75.39, "FedBuff": 74.14, "CA2FL": 74.22,
    }  # fmt: skip
    for path in (files.REPOSITORY / "paper" / "reported").glob("*.csv"):
        assert pd.read_csv(path)["source"].str.contains("2511.19966").all()


def test_absent_reported_numbers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("fedecho.report.reported"), "FOLDER", tmp_path)
    with pytest.raises(InputError, match=r"reported = .*vision.csv' is not usable: no such file"):
        numbers("vision")


def test_bars_in_names_do_not_split_cells() -> None:
    texts = pd.DataFrame({"method": ["|U| = 5"], "accuracy": ["1"]})
    assert render.markdown_rows(texts).splitlines()[-1] == r"| \|U\| = 5 | 1 |"


def test_titles_are_escaped_for_latex() -> None:
    texts = pd.DataFrame({"accuracy": ["1"]}, index=pd.Index(["FedEcho"], name="method"))
    assert r"\caption{Over $\alpha_{\min}$}" in tabular.long(texts, [False], "Over alpha_min", "nothing", "tab:x")


def test_names_of_index_levels_are_escaped_for_latex() -> None:
    texts = pd.DataFrame({"a_b": ["1"]}, index=pd.MultiIndex.from_tuples([("x_y", "z")], names=["tau_max", "eta_d"]))
    made = tabular.long(texts, [False], "title", "caption", "tab:x")
    assert r"\emph{$\tau_{\max}$ $x_{y}$}" in made and r"$\eta_{d}$ & $a_{b}$" in made
