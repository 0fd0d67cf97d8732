"""One run and two runs: the library and the command line do the same, and say what was made of a record."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import fedecho
from fedecho.cli import main, records as command
from fedecho.core import provenance, records
from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig, config_hash, override_all
from fedecho.core.files import REPOSITORY
from fedecho.core.records import Record
from fedecho.learning import experiment, export, models
from fedecho.learning.experiment import new_record
from fedecho.learning.methods import CA2FL, FADAS, FedBuff
from fedecho.learning.pins import pin
from fedecho.report import notebooks
from fedecho.studies import TABLES, compare as comparing, contenders, grid, sweep, writing
from tests.test_experiment import tiny
from tests.test_summary import put


@pytest.fixture(autouse=True)
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    return tmp_path / "paper"


# Names


@pytest.mark.parametrize("name", [*contenders.CONTENDERS, "fedavg", "FedEcho", "CA2FL"])
def test_a_contender_goes_by_its_name_in_any_case(name: str) -> None:
    runs = {config_hash(contenders.configure(word, "smoke", 3)) for word in (name, name.upper(), name.lower())}
    assert len(runs) == 1
    if name in contenders.CONTENDERS:
        place = grid.run_at("smoke", grid.plain([name])[0], grid.HERE, 3)
        assert runs == {config_hash(place)}


def test_help_of_tables_lists_all_that_only_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["tables", "--help"])
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert {"all", *notebooks.GROUPS, *notebooks.catalogue()} <= words


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["--version"])
    assert re.fullmatch(r"fedecho \d+\.\d+\.\d+( \(commit [0-9a-f]{7}(, with changes)?\))?\n", capsys.readouterr().out)


def test_a_clone_that_git_does_not_look_at_is_mentioned_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1", "HOME": tmp_path, "GIT_CONFIG_NOSYSTEM": "1",
                        "XDG_CONFIG_HOME": tmp_path, "LANGUAGE": "de"}.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("FEDECHO_GIT_REFUSED", "")  # is taken away again after the test, whoever sets it
    monkeypatch.delenv("FEDECHO_GIT_REFUSED")
    monkeypatch.setattr(provenance, "code", made := provenance.code.__wrapped__)
    monkeypatch.setattr(provenance, "in_clone", lambda: True)
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    monkeypatch.setattr(main, "code", made)
    for _ in range(2):  # and again in whatever is started from here
        main.main(["--version"])
    said = capsys.readouterr()
    assert re.fullmatch(r"(fedecho \d+\.\d+\.\d+ \(commit unknown \(git refused\)\)\n){2}", said.out)
    assert said.err.count("git refused") == said.err.count("\n") == 1 and f"safe.directory {tmp_path}`" in said.err
    assert made() == {"commit": None, "dirty": None}


@pytest.mark.parametrize("given, kept", [
    (["run", "--set", "a=1", "--set", "b=2", "c=3"], ["run", "--set", "a=1", "b=2", "c=3"]),
    (["run", "--set=a=1", "--seed", "2", "--set", "b=2"], ["run", "--set", "a=1", "b=2", "--seed", "2"]),
    (["tune", "--seeds", "1", "--space", "x", "--seeds", "2"], ["tune", "--seeds", "1", "2", "--space", "x"]),
    (["compare", "r", "--methods", "a", "--methods", "b"], ["compare", "r", "--methods", "a", "b"]),
    (["cite", "vision", "--profile", "smoke"], ["cite", "vision", "--profile", "smoke"]),
    (["run", "--set=a=1", "--help"], ["run", "--set", "a=1", "--help"]),
    (["--help"], ["--help"]),
])  # fmt: skip
def test_repeated_lists_are_gathered(given: list[str], kept: list[str]) -> None:
    assert main.gathered(given) == kept


# README


def test_both_ways_of_the_readme_train_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    section = (REPOSITORY / "README.md").read_text().split("## One run")[1].split("\n## ")[0]
    shell, python = (re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)[0] for kind in ("sh", "python"))
    asked: list[Any] = []

    def trained(config: RunConfig, **options: object) -> Record:
        asked.append(config_hash(config))
        return new_record(config, "diverged", [], {}, SimpleNamespace(phases=dict), {})  # type: ignore[arg-type]

    def side_by_side(study: comparing.Compared, *options: object) -> Any:
        asked.append([(cell.method, config_hash(cell.config)) for cell in study.cells])
        return SimpleNamespace(text="", tables={"md": ""}, figures={})

    monkeypatch.setattr(experiment, "run", trained)
    monkeypatch.setattr(comparing, "make", side_by_side)
    monkeypatch.setattr("fedecho.studies.writing.make", side_by_side)
    lines = [shlex.split(line, comments=True)[1:] for line in shell.splitlines()]
    for line in lines:
        if line[0] in ("run", "compare"):
            main.main(line)
    by_command, asked[:] = list(asked), []
    rows = SimpleNamespace(score=0.0, rows=[{"per_class": []}])

    def run(config: RunConfig, **options: object) -> object:
        trained(config)
        return rows

    face = ModuleType("fedecho")
    vars(face).update(run=run, compare=fedecho.compare, configure=fedecho.configure)
    monkeypatch.setitem(sys.modules, "fedecho", face)
    exec(python, {"print": lambda *words: None})
    assert len(by_command) == 2 and asked == by_command


def commands(text: str) -> list[str]:
    """Return the command lines of a Markdown text: those of its blocks of shell, and of `make` in its sentences."""
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    return [" ".join(shlex.split(line, comments=True)) for line in blocks.splitlines()] + re.findall(
        r"`(make .*?)`", text
    )


def recipes(command: str) -> list[list[str]]:
    """Return what a call of `make` would run of this package at smoke scale, without running it."""
    line = [*shlex.split(command), "PROFILE=smoke", "--dry-run", "--assume-old=.venv/.ready"]
    said = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    ours = [line for line in said.splitlines() if line.startswith(".venv/bin/fedecho")]
    return [shlex.split(line.replace("--sample 3", "--sample 1"))[1:] for line in ours]


@pytest.mark.slow
def test_the_commands_of_the_readme_run_at_smoke_scale(paper: Path) -> None:
    """As they stand, but for the scale. `make smoke` runs `tables` itself, which is only read here."""
    writing.write(TABLES["vision"]("smoke"))  # for `cite`; of no records
    own = ["--records", str(paper / "records" / "smoke" / "runs")]
    more = {"compare": ["--jobs", "1"], "cite": ["--profile", "smoke"], "verify": [*own, "--jobs", "1"]}
    told = commands((REPOSITORY / "README.md").read_text())
    ours = [shlex.split(line)[1:] for line in told if line.startswith("fedecho ")]
    for line in ours:
        main.main([word.replace("laptop", "smoke") for word in line] + more.get(line[0], []))
    assert {line[0] for line in ours} == {"run", "compare", "cite"}
    made = {line: recipes(line) for line in told if line.startswith("make ")}
    assert {"make tables", "make test", "make lab", "make verify"} <= {*made}
    for line in [line for lines in made.values() for line in lines]:
        asked = main._parsed(main.gathered(line + more.get(line[0], [])))
        if line[0] != "tables":
            asked()
    assert {line.split()[0] for line in told} == {"make", ".", "fedecho"}


# A run's model and bar


def test_a_run_keeps_its_model_where_it_is_asked_to() -> None:
    config = tiny(FedBuff(ema=0.5))
    kept, plain = experiment.run(config, keep_model=True), experiment.run(config)
    assert plain.model is None and kept.rows == plain.rows
    assert records.dumps(plain).count("\n") == records.dumps(kept).count("\n") and "_model" not in records.dumps(kept)
    module = models.build(config.model, (1, 28, 28), 10, seed=99)
    assert kept.model is not None
    module.load_state_dict(dict(kept.model))
    # The last evaluation again, from the weights alone: of the average, which is what was scored.
    task = experiment.prepare(config, torch.device("cpu"))
    _, rest = models.split_stem(module)
    with torch.no_grad():
        right = (rest.eval()(task.held_out.images).argmax(1) == task.held_out.labels).float().mean()
    assert float(right) == pytest.approx(kept.rows[-1]["accuracy"], abs=1e-6)


def test_batchnorm_statistics_are_part_of_a_model() -> None:
    model = experiment.run(tiny(FedBuff(), model="cnn-batchnorm"), keep_model=True).model
    assert model is not None and {"2.running_mean", "2.running_var", "1.weight"} <= set(model)


def test_weights_are_saved_with_what_they_are(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors", reason="the extra `weights` is not installed")
    record = experiment.run(tiny(FedBuff()), keep_model=True)
    path = tmp_path / "model.safetensors"
    export.save(record, path)
    with safetensors.safe_open(path, "pt") as file:
        assert set(file.keys()) == set(record.model or {}) and file.metadata()["record"] == record.hash
        assert json.loads(file.metadata()["config"]) == record.config
        assert all(torch.equal(file.get_tensor(name), value) for name, value in (record.model or {}).items())


def test_without_the_extra_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        main.main(["run", "--profile", "smoke", "--save-model", str(tmp_path / "m.safetensors")])
    assert stop.value.code == 2 and "install fedecho[weights]" in capsys.readouterr().err
    with pytest.raises(InputError, match="keep_model=True"):
        monkeypatch.undo()
        monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
        export.save(experiment.run(tiny(FedBuff())), tmp_path / "m.safetensors")


def test_a_model_is_trained_for_even_where_there_is_a_record(
    tmp_path: Path, paper: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = contenders.configure("fedbuff", "smoke")
    put(paper / "records" / "smoke", config, 0.9)
    asked: list[Any] = []

    def trained(run: RunConfig, **options: Any) -> Record:
        asked.append((run, options["keep_model"]))
        return new_record(run, "diverged", [], {}, SimpleNamespace(phases=dict), {})  # type: ignore[arg-type]

    monkeypatch.setattr(experiment, "run", trained)
    monkeypatch.setattr(export, "require_writable", lambda path: None)
    monkeypatch.setattr(export, "save", lambda record, path: path.write_text(record.hash))
    path = tmp_path / "m.safetensors"
    main.main(["run", "--method", "fedbuff", "--profile", "smoke", "--save-model", str(path)])
    assert asked == [(config, True)] and path.read_text() == config_hash(config)
    assert f"model: {path}" in capsys.readouterr().out


def test_the_library_shows_the_same_bar(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []
    experiment.run(tiny(FedBuff()), progress=True, on_row=lambda row: seen.append(row["round"]))
    assert seen == [3, 6] and "6 of 6" in (err := capsys.readouterr().err) and "accuracy=" in err


# A record, and several


def test_a_curve_in_text_by_hand() -> None:
    assert command.chart([5, 10], [20.0, 40.0], width=10, height=3) == [
        "  40.0 % │         •",
        "         │",
        "  20.0 % │    •",
        "         └──────────",
        "          0" + "10 rounds".rjust(9),
    ]
    assert command.chart([1], [50.0], 4, 2)[1] == "  50.0 % │   •" and command.chart([], []) == [
        "no evaluation was reached"
    ]


@pytest.fixture
def stored(paper: Path) -> Callable[..., Path]:
    """Writes a made-up record and returns its file."""

    def make(name: str, accuracy: float, seed: int = 0, **changes: Any) -> Path:
        config = contenders.configure(name, "smoke", seed, changes)
        put(paper / "records" / "smoke", config, accuracy)
        return records.record_path(paper / "records" / "smoke", config)

    return make


def test_show_says_what_a_run_was(
    stored: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stored("fedbuff", 0.7, 3, **{"partition.alpha": 0.5})
    outs = []
    for word in (str(path), path.stem.split("-")[1][:9]):
        main.main(["show", word])
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1] and "FedBuff on fashion-mnist, Dir(0.5), large delays, seed 3" in outs[0]
    assert "score 70.00 %" in outs[0] and "partition.alpha = 0.5" in outs[0] and "commit abcdef0" in outs[0]
    assert "•" in outs[0] and "rounds" in outs[0]
    main.main(["show", str(path), "--plot", str(tmp_path / "curve.png")])
    assert "•" not in capsys.readouterr().out and (tmp_path / "curve.png").read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize("plot, said", [("curve.gif", ".png, .pdf, .svg"), ("none/curve.png", "folder must be there")])
def test_a_plot_that_cannot_be_drawn(
    plot: str, said: str, stored: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(["show", str(stored("fedbuff", 0.7)), "--plot", plot])
    assert stop.value.code == 2 and said in capsys.readouterr().err


def test_records_are_compared_in_pairs(stored: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    paths = [stored("fedbuff", score, seed) for seed, score in enumerate((0.5, 0.6))]
    paths += [stored("fedecho", score, seed) for seed, score in enumerate((0.6, 0.72))]
    main.main(["compare", *map(str, paths)])
    out = capsys.readouterr().out
    # Differences of 10 and 12 points: 11 ± 12.706 * sqrt(2) / sqrt(2).
    assert "| FedBuff | 55.00 ± 63.53 | 2 | +11.00 ± 12.71 |" in out and "| **66.00 ± 76.24** |" in out
    table, figure = (Path(line.split(": ")[1]) for line in out.splitlines() if line.startswith(("table: ", "figure: ")))
    assert table.is_file() and figure.suffix == ".png" and figure.is_file()


def test_methods_are_trained_where_they_have_no_record(
    paper: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def at_once(todo: Mapping[Path, Sequence[RunConfig]], **options: object) -> int:
        ((folder, configs),) = todo.items()
        for config in sweep.missing(configs, folder):
            put(folder, config, 0.7)
            done.append((config.method.name, config.seed))
        return 0

    done: list[tuple[str, int]] = []
    monkeypatch.setattr(sweep, "sweep", at_once)
    put(paper / "records" / "smoke" / "runs", contenders.configure("fedbuff", "smoke", 4), 0.5)
    put(paper / "records" / "smoke", contenders.configure("CA2FL", "smoke", 4), 0.6)
    main.main(["compare", "--methods", "fedbuff", "CA2FL", "--profile", "smoke", "--seeds", "4", "--seeds", "5"])
    out = capsys.readouterr().out
    assert done == [("fedbuff", 5), ("ca2fl", 5)]
    assert "FedBuff | **60.00" in out or "FedBuff | 60.00" in out
    (described,) = (json.loads(path.read_text()) for path in (paper.parent / "build").rglob("compare.json"))
    assert described["command"] == "fedecho compare --methods fedbuff CA2FL --profile smoke --seeds 4 5"


OTHER_TASKS = [
    ({"data.train_size": 500}, "data.train_size", "500"),
    ({"evaluation.split": "validation"}, "evaluation.split", "validation"),
    ({"protocol.rounds": 7}, "protocol.rounds x buffer_size", "14"),
]


@pytest.mark.parametrize("changes, field, value", OTHER_TASKS)
def test_records_of_different_tasks_are_refused(
    changes: dict[str, Any], field: str, value: str, stored: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [stored("fedbuff", 0.7), stored("fedecho", 0.7, **changes)]
    with pytest.raises(SystemExit) as stop:
        main.main(["compare", *map(str, paths)])
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and f"{field} = " in line and value in line and "only runs of one task" in line


@pytest.mark.parametrize("seeds, said", [((0, 0), "given twice"), ((0,), "two different configs"), ((0, 1), "two")])
def test_records_that_are_no_comparison(
    seeds: tuple[int, ...], said: str, stored: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(["compare", *(str(stored("fedbuff", 0.7, seed)) for seed in seeds)])
    assert stop.value.code == 2 and said in capsys.readouterr().err


def test_rows_are_told_apart_by_what_differs() -> None:
    runs = [tiny(FedBuff()), tiny(FedBuff(server_lr=0.5)), tiny(CA2FL()), tiny(FADAS(delay_adaptive=True))]
    assert comparing.labels_of(runs) == [
        "FedBuff, method.server_lr=default", "FedBuff, method.server_lr=0.5", "CA2FL", "FADAS-da",
    ]  # fmt: skip
    iid = {"partition.kind": "iid", "partition.alpha": 0.1}
    heavy = pin(override_all(runs[0], {"delays.model": "pareto", "delays.shape": 1.5, **iid}))
    assert comparing.labels_of([runs[0], heavy]) == ["FedBuff", "FedBuff"]  # they are in two blocks
    assert (comparing.cell_of(heavy).setting, comparing.cell_of(heavy).delay) == ("iid", "pareto 1.5")


@pytest.mark.parametrize("name", grid.PARTITIONS)
def test_a_setting_is_named_as_in_the_tables(name: str) -> None:
    config = grid.run_at("smoke", grid.OWN, grid.Setting(name, "mild"), 0)
    cell = comparing.cell_of(config)
    assert (cell.method, cell.setting, cell.delay) == ("FedEcho", name, "mild")


def test_the_library_compares_configs(paper: Path) -> None:
    configs = {"a": contenders.configure("fedbuff", "smoke"), "b": contenders.configure("fedecho", "smoke")}
    for config, score in zip(configs.values(), (0.5, 0.6), strict=True):
        put(paper / "records" / "smoke", config, score)
    made = fedecho.compare(configs, seeds=(0,), profile="smoke")
    found = made.table.numbers.set_index("method")
    assert found["mean"].to_dict() == pytest.approx({"a": 50, "b": 60}) and np.isnan(found.loc["a", "p"])
    assert found.loc["b", "difference"] == pytest.approx(-10)  # the first one is what others are compared with
    with pytest.raises(InputError, match="at least two"):
        fedecho.compare([configs["a"]])
