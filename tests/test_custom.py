"""Tables of one's own: what is chosen makes a table beside the committed one, from its records where there are any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedecho import studies
from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig
from fedecho.report import manifest, summary
from fedecho.report.summary import Cell
from fedecho.studies import TABLES, plan, profiles, sweep
from fedecho.studies.alpha import DYNAMIC
from fedecho.studies.comparison import Comparison, Results, Trained
from fedecho.studies.study import Study
from tests.test_figures import record
from tests.test_summary import put


def chosen(name: str, profile: str = "smoke", **given: Any) -> Trained:
    study = TABLES[name](profile, **given)
    assert isinstance(study, Trained)
    return study


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    return tmp_path / "paper"


# What is no default makes a table of one's own


def test_a_list_gives_exactly_those_rows_and_the_row_they_are_compared_with() -> None:
    rows = Counter(cell.method for cell in chosen("ablation_alpha", alphas=[0.05, 0.5], seeds=[0]).asked())
    assert rows == {DYNAMIC: 1, "fixed 0.05": 1, "fixed 0.5": 1}


@pytest.mark.parametrize("name", ["vision", "cifar_small", "language", "generation", "ablation_delay", "owners"])
def test_chosen_methods_stand_beside_the_one_they_are_compared_with(name: str) -> None:
    assert {cell.method for cell in chosen(name, methods=["FedBuff"]).asked()} >= {"FedBuff", "FedEcho"}
    assert {cell.method for cell in chosen(name, methods=["FedBuff"]).asked()}.isdisjoint({"CA2FL", "FADAS"})


def test_only_chosen_methods_are_tuned() -> None:
    study = chosen("tuning", methods=["FedBuff"], trials=3, seeds=[5])
    assert [(cell.method, cell.config.seed) for cell in study.asked()] == [("FedBuff", 5)] * 4


def test_what_is_chosen_twice_counts_once() -> None:
    once = chosen("heterogeneity_buffer", levels=[0.3], sizes=[2], seeds=[0])
    twice = chosen("heterogeneity_buffer", levels=[0.3, 0.3], sizes=[2, 2], seeds=[0, 0])
    assert twice.asked() == once.asked() and twice.home == once.home
    both = chosen("ablation_alpha", alphas=[0.5], ranges=[[0.5, 0.5], [0.2, 0.8]], seeds=[0])
    assert [cell.method for cell in both.asked()] == [DYNAMIC, "fixed 0.5"]


def test_a_gap_has_the_delays_that_it_is_between(paper: Path) -> None:
    study = chosen("delay_gap", delays=["pareto"], methods=["CA2FL"], seeds=[0])
    assert {cell.delay for cell in study.asked()} == {"mild", "large"}
    assert study.table().texts.index.tolist() == [
        ("mild − large", "large", "CA2FL"),
        ("mild − large", "large", "FedEcho"),
    ]


# Where it lies


@pytest.mark.parametrize("name", TABLES)
def test_defaults_given_outright_are_the_committed_table(name: str, paper: Path) -> None:
    defaults = TABLES[name].__wrapped__.__kwdefaults__ or {}  # type: ignore[attr-defined]
    lists = {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}
    for given in (defaults, lists, dict.fromkeys(defaults), {key: [] for key in defaults}):
        study = TABLES[name]("smoke", **given)
        assert study.custom == {} and study.home == paper
        assert study.folder("tables") == paper / "tables" / "smoke"
    assert TABLES[name]("laptop").folder("figures") == paper / "figures"


def test_custom_tables_lie_apart_by_what_was_chosen(paper: Path) -> None:
    one = chosen("ablation_alpha", alphas=[0.1])
    assert one.custom == {"alphas": (0.1,)} and one.home == chosen("ablation_alpha", alphas=(0.1,), seeds=None).home
    assert one.home.parent == paper.parent / "build" / "custom"
    assert one.folder("tables") == one.home / "tables" and one.folder("figures") == one.home / "figures"
    assert one.places == [one.home / "records", paper / "records" / "smoke"]
    others: list[Study] = [
        chosen("ablation_alpha", alphas=[0.2]), chosen("ablation_alpha", alphas=[0.1], seeds=[0]),
        chosen("ablation_alpha", "laptop", alphas=[0.1]), chosen("ablation_alpha", ranges=[[0.1, 0.1]]),
        chosen("ablation_nu", seeds=[0]), chosen("bank", seeds=[0]),
    ]  # fmt: skip
    assert len({study.home for study in (one, *others)}) == 7


# What it is made of


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, RunConfig]]:
    """Training without work, and the list of what was trained where: each run reaches 70 %."""
    done: list[tuple[Path, RunConfig]] = []

    def at_once(todo: Sequence[sweep.Wanted], **how: Any) -> Generator[RunConfig]:
        for folder, config in todo:
            put(folder, config, 0.7)
            done.append((folder, config))
            yield config

    monkeypatch.setattr(sweep, "each", at_once)
    return done


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_a_custom_table_reads_committed_records_and_writes_nothing_beside_them(
    paper: Path, trained: list[tuple[Path, RunConfig]], capsys: pytest.CaptureFixture[str]
) -> None:
    committed = replace(chosen("bank"), figures={})
    for cell in committed.asked():
        put(paper / "records" / "smoke", cell.config, 0.9 if cell.method == "float32" else 0.5)
    studies.write(committed)
    before = contents(paper)

    study = replace(chosen("bank", forms=["top-1"], seeds=[0, 7]), figures={})
    assert study.missing() == 2
    made = studies.make(study)
    assert [(place, run.seed) for place, run in trained] == [(study.home / "records", 7)] * 2
    assert f"custom table bank, in {study.home}: 2 runs to train" in capsys.readouterr().err
    means = made.table.numbers.set_index("method")["mean"].to_dict()
    assert means == pytest.approx({"float32": 80, "top-1": 60})  # of 90 and 70 %, of 50 and 70 %
    assert "Records: 4," in made.table.notes and made.table.notes.endswith("Compared with: float32.")
    assert made.text.startswith(f"Custom table, in `{study.home}`") and "| top-1 |" in made.text

    studies.make(study)  # nothing lacks any more
    assert len(trained) == 2
    studies.make(study, fresh=True)  # all that it shows, in its own folder
    assert [place for place, _ in trained[2:]] == [study.home / "records"] * 4
    assert contents(paper) == before


def test_a_custom_table_lies_in_its_own_folder_and_says_what_makes_it_again(paper: Path) -> None:
    made = studies.write(chosen("bank", forms=["top-1"], seeds=[0]))
    assert {path.parent for path in made.tables.values()} == {made.study.home / "tables"}
    assert {path.parent for path in made.figures.values()} == {made.study.home / "figures"}
    assert all(path.is_file() for path in made.files) and not paper.exists()
    (described,) = manifest.read_all(made.tables["md"].parent)
    given = '{"profile": "smoke", "forms": ["top-1"], "seeds": [0]}'
    assert described.command.startswith("papermill notebooks/25_server_cost.ipynb ") and given in described.command


# What cannot be chosen

ASKED: list[tuple[str, dict[str, Any], str]] = [
    ("ablation_alpha", {"alfas": [0.1]}, r"alfas = \[0.1\] is not usable: ablation_alpha takes .*alphas, ranges"),
    ("ablation_alpha", {"alphas": [1.5]}, "alphas = 1.5"),
    ("ablation_alpha", {"ranges": [[0.5]]}, r"ranges = \(0.5,\) is not usable: give pairs"),
    ("ablation_nu", {"nus": [0.0]}, "nus = 0.0"),
    ("ablation_data_size", {"sizes": [0]}, "sizes = 0 .*>= 1"),
    ("ablation_delay", {"delays": ["slow"]}, "delays = 'slow' .*mild, large"),
    ("ablation_delay", {"methods": ["FedEko"]}, "methods = 'FedEko' .*FedEcho"),
    ("bank", {"forms": ["top-2"]}, "forms = 'top-2' .*float32, float16, top-3, top-1"),
    ("bank_vocabulary", {"forms": ["top-2"]}, "forms = 'top-2' .*64 most frequent"),
    ("controls", {"methods": ["FedEko"]}, "methods = 'FedEko'"),
    ("correlation", {"delays": ["bursty"]}, "delays = 'bursty' .*mild, pareto, large"),
    ("correlation", {"shares": [1.5]}, "shares = 1.5"),
    ("faulty", {"methods": ["FedAC-public"]}, "methods = 'FedAC-public' .*FADAS, FedEcho, whose norms are known"),
    ("faulty", {"kinds": ["late"]}, "kinds = 'late' .*flipped labels, noise, scaled"),
    ("faulty", {"shares": [1.0]}, "shares = 1.0"),
    ("faulty", {"trims": [0.0]}, r"trims = 0.0 .*\(0, 0.5\]"),
    ("faulty", {"multiples": [0.0]}, "multiples = 0.0 .*> 0"),
    ("generation", {"settings": ["Dir(1)"]}, r"settings = 'Dir\(1\)' .*natural"),
    ("heterogeneity_buffer", {"sizes": [0]}, "sizes = 0 .* from 1 to 10"),
    ("heterogeneity_buffer", {"levels": [0.0]}, "levels = 0.0"),
    ("language", {"texts": ["Bronte"]}, "texts = 'Bronte' .*Austen"),
    ("language_pools", {"pools": ["IMDb"]}, "pools = 'IMDb' .*SST-2"),
    ("owners", {"owned": [0]}, "owned = 0 .*>= 1"),
    ("readings", {"temperatures": [0.0]}, "temperatures = 0.0"),
    ("readings", {"names": ["Adagrad"]}, "names = 'Adagrad' .*clip by value, .*Adam"),
    ("readings_tuning", {"seeds": [0]}, "seeds = .0. .* no table of smoke reports"),
    ("sensitivity", {"steps": [-1]}, "steps = -1"),
    ("tuning", {"trials": -7}, "trials = -7 .* 1 to 10,000"),
    ("unlabeled", {"pools": ["faces"]}, "pools = 'faces' .*digits"),
    ("vision", {"settings": ["Dir(1)"]}, r"settings = 'Dir\(1\)' .*Dir\(0.3\)"),
    ("vision", {"delays": ["slow"]}, "delays = 'slow' .*mild, large"),
    ("vision", {"seeds": [-1]}, "seeds = -1"),
]


@pytest.mark.parametrize(("name", "given", "said"), ASKED)
def test_what_cannot_be_chosen_is_one_line(name: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        chosen(name, **given)
    assert "\n" not in str(caught.value)


def test_a_custom_table_has_the_scale_of_a_whole_one() -> None:
    with pytest.raises(InputError, match="profile = 'cifar-small' .*--only cifar"):
        TABLES["bank"]("cifar-small", seeds=[0])


# What a row stands for is carried by its runs, not read off its name


def value(config: RunConfig, name: str) -> object:
    """What a run does about a factor."""
    distill = getattr(config.method, "distill", None)
    return {
        "alpha_min": getattr(distill, "alpha_min", None), "alpha_max": getattr(distill, "alpha_max", None),
        "nu": getattr(distill, "clip_norm", None), "Q": getattr(distill, "steps", None),
        "eta_d": getattr(distill, "lr", None), "|U|": config.data.pool_size, "M": config.protocol.buffer_size,
        "k": config.partition.straggler_classes,
        "lambda": getattr(distill, "prior_correction", None), "faulty": config.faults.share,
    }[name]  # fmt: skip


@pytest.mark.parametrize("profile", profiles.WHOLE)
def test_factors_are_what_the_runs_do(profile: str) -> None:
    known = {name: study for name, study in plan.trained(profile).items() if not study.tuning}
    varied = {name: {key for cell in study.asked() for key in cell.factors} for name, study in known.items()}
    assert {name: keys for name, keys in varied.items() if keys} == {
        "ablation_alpha": {"alpha_min", "alpha_max"}, "alpha_landscape": {"alpha_min", "alpha_max"},
        "ablation_nu": {"nu"}, "ablation_data_size": {"|U|"}, "heterogeneity_buffer": {"M"}, "owners": {"k"},
        "sensitivity": {"Q", "eta_d"}, "teacher_test": {"lambda"}, "faulty": {"faulty"},
    }  # fmt: skip
    for study in known.values():
        for cell in study.asked():
            assert dict(cell.factors) == {name: value(cell.config, name) for name in cell.factors}


def nameless(name: str, **given: Any) -> Results:
    """The results of a table whose names say nothing about factors; each run's accuracy is made of its factors."""
    study = chosen(name, seeds=[0], **given)
    assert isinstance(study, Comparison)
    texts = {text: f"no. {place}" for place, text in enumerate(
        dict.fromkeys(text for c in study.asked() if c.factors for text in (c.method, c.setting, c.delay))
    )}  # fmt: skip
    cells = [
        replace(cell, **{at: texts.get(text, text) for at in summary.PLACE if (text := getattr(cell, at))})
        for cell in study.asked()
    ]
    found = [(cell, record(cell.config, [accuracy(cell)])) for cell in cells]
    frame = summary.collect(found, study.columns)
    return Results(study, found, frame, summary.summarise(frame, texts[study.reference], study.columns))


def accuracy(cell: Cell) -> float:
    return sum(share * float(number) for share, number in zip((0.1, 0.2), cell.factors.values(), strict=False))


def test_a_map_is_placed_by_factors() -> None:
    alphas = nameless("alpha_landscape", levels=[0.0, 0.5, 1.0]).wide("alpha_max", "alpha_min")
    assert alphas.index.tolist() == alphas.columns.tolist() == [0.0, 0.5, 1.0]
    assert [alphas.loc[high, low] for low, high in ((0.0, 0.0), (0.0, 0.5), (0.5, 1.0))] == pytest.approx([0, 10, 25])
    assert alphas.isna().sum().sum() == 3  # alpha_min > alpha_max
    steps = nameless("sensitivity", steps=[1], rates=[0.5]).wide("Q", "eta_d")
    assert steps.index.tolist() == [1, 3] and steps.loc[1, 0.5] == pytest.approx(20)


@pytest.mark.parametrize(
    ("name", "given", "factor", "of", "values"),
    [
        ("ablation_data_size", {"sizes": [300, 100]}, "|U|", "method", [100, 200, 300]),
        ("heterogeneity_buffer", {"sizes": [5, 2], "levels": [0.1]}, "M", "delay", [2, 5]),
        ("owners", {"owned": [2, 1], "methods": ["FedBuff"]}, "k", "setting", [1, 2]),
        ("ablation_nu", {"nus": [None, 0.5]}, "nu", "method", [0.5, 5.0]),
    ],
)
def test_an_axis_is_marked_by_factors(name: str, given: dict[str, Any], factor: str, of: Any, values: Any) -> None:
    found = nameless(name, **given)
    labels = found.factor(factor, of)
    assert list(labels.values()) == values  # in order; rows without the factor are left out
    assert labels == {getattr(c, of): c.factors[factor] for c, _ in found.found if factor in c.factors}
    draw, _ = next(iter(found.study.figures.values()))
    assert draw(found).axes
