"""Every error of the command line is one line that says what to do, with exit code 2 and nothing written;
a stored record that cannot be believed ends with exit code 1."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedecho import studies
from fedecho.cli import main, words
from fedecho.core import files, records
from fedecho.core.checks import InputError
from fedecho.core.clock import Clock
from fedecho.core.config import MethodConfig, RunConfig, config_hash, override_all
from fedecho.core.files import write_whole
from fedecho.learning import experiment
from fedecho.learning.cost import peak, room
from fedecho.learning.experiment import new_record
from fedecho.learning.methods import FedBuff, FedEcho
from fedecho.learning.pins import pin
from fedecho.report import manifest
from fedecho.report.publish import citation
from fedecho.studies import contenders, sweep, writing
from fedecho.studies.comparison import Trained
from fedecho.studies.theory.study import TheoryStudy
from tests import toy
from tests.fuzz import Reached, walled
from tests.sound import sound

SMALL = ["--set", "protocol.rounds=2", "data.train_size=500", "partition.min_size=1", "partition.alpha=1.0"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    return tmp_path


BAD = [
    (["run", "--method", "fedmagic"], "method = 'fedmagic'", "fedbuff"),
    (["run", "--profile", "huge"], "profile = 'huge'", "smoke, laptop, paper"),
    (["run", "--seed", "-1"], "seed = -1", ">= 0"),
    (["run", "--seed", "x"], "seed", "int"),
    (["run", "--sede", "7"], "--sede", "--seed"),
    (["dance"], "dance", "run"),
    (["run", "--set", "method.distill.alpha_min=0.9"], "method.distill.alpha_max = 0.8", "[0.9, 1]"),
    (["run", "--set", "protocol.buffer_size=26"], "protocol.buffer_size = 26", "M_c = 25"),
    (["run", "--set", "protocol.concurrency=51"], "protocol.concurrency = 51", "N = 50"),
    (["run", "--set", "partition.alpha=0"], "partition.alpha = 0 ", "> 0"),
    (["run", "--set", "local.lr=-1"], "local.lr = -1 ", "> 0"),
    (["run", "--set", "local.lr=fast"], "local.lr = 'fast'", "a number"),
    (["run", "--set", "method.distill.clip_norm=0"], "method.distill.clip_norm = 0 ", "> 0 or none"),
    (["run", "--set", "data.pool_size=9999"], "data.pool_size = 9999", "5000 images"),
    (["run", "--set", "method.momentum=0.9"], "method.momentum", "inner, distill"),
    (["run", "--set", "seed"], "set = 'seed'", "field=value"),
    (["run", "--set", "local.lr=1", "local.epochs=1", "--set", "local.lr=2"], "set = 'local.lr=2'", "given twice"),
    (["run", "--seed", "5", "--set", "seed=3"], "set = 'seed=3'", "--seed"),
    (["verify", "--all", "--sample", "2"], "sample = 2", "leave one out"),
    (["tune", "--space", "local.lr=0.1:1", "--space", "local.lr=0.2:1"], "space = 'local.lr'", "given twice"),
    (["run", "--seed", "1", "--seed", "2"], "seed = '--seed'", "given twice"),
    (["run", "--data-root=a", "--data_root", "b"], "data_root = ", "given twice"),
    (["run", "--save-model", "m.pt"], "save_model = 'm.pt'", ".safetensors"),
    (["run", "--save-model", "/none/m.safetensors"], "save_model = ", "folder must be there"),
    (["run", "--records", "/proc/version"], "records = '/proc/version'", "folder"),
    (["show", "00ff00ff"], "record = '00ff00ff'", "no such file"),
    (["show", "*"], "record = '*'", "no such file"),
    (["compare"], "compare = ()", "give records, or --methods"),
    (["compare", "x", "--methods", "fedbuff"], "compare = ('x', 'fedbuff')", "not both"),
    (["compare", "x", "--seeds", "1"], "seeds = (1,)", "leave it out"),
    (["compare", "x", "y"], "record = 'x'", "no such file"),
    (["compare", "--methods", "fedbuff"], "methods = ('fedbuff',)", "at least two"),
    (["compare", "--methods", "fedbuff", "FedBuff"], "methods = ('fedbuff', 'FedBuff')", "given twice"),
    (["compare", "--methods", "fedbuff", "fedmagic"], "method = 'fedmagic'", "FedBuff + EMA"),
    (["compare", "--methods", "fedbuff", "fedecho", "--seeds", "1", "1"], "seeds = 1", "given twice"),
    (["compare", "--methods", "fedbuff", "fedecho", "--seeds", "-1"], "seed = -1", ">= 0"),
    (["compare", "--methods", "fedbuff", "fedecho", "--set", "method.distill.lr=1"], "method.distill.lr", "server_lr"),
    (["compare", "--methods", "fedbuff", "fedecho", "--jobs", "0"], "jobs = 0", "1 to 1,000"),
    (["compare", "--methods", "fedbuff", "fedecho", "--profile", "huge"], "profile = 'huge'", "laptop"),
    (["run", "--set", "local.lr={}"], "local.lr = {}", "a number"),
    (["run", "--set", "method=fedbuff"], "set = 'method=fedbuff'", "give the method with --method"),
    (["run", "--method", "own/m.py"], "method = 'own/m.py'", "write own/m.py:NAME"),
    (["run", "--method", "fedbuff", "--set", "ema=0.5"], "ema = 0.5", "RunConfig has the fields"),
    (["run", "--device", "abacus"], "device = 'abacus'", "cpu"),
    (
        ["run", "--set", "partition.kind=iid", "partition.straggler_classes=2"],
        "partition.straggler_classes = 2",
        "give 0",
    ),
    (["run", "--set", "method.distill.teachers=fresh", "method.distill.include_fresh=false"], "include_fresh", "on"),
    # Numbers that no experiment has, and values that no line could show.
    (
        ["run", "--set", "protocol.clients=99999999999999999999"],
        "protocol.clients = 99999999999999999999",
        "below 9,007",
    ),
    (["run", "--set", "protocol.clients=100000000"], "protocol.clients = 100000000", "1,000,000 clients"),
    (["run", "--set", "protocol.rounds=10000000"], "protocol.rounds = 10000000", "10,000,000"),
    (["run", "--set", f"protocol.rounds={'9' * 400}"], "protocol.rounds = 9999", "(400 characters)"),
    (["run", "--set", f"local.batch_size={10**30}"], "local.batch_size = 1000", "below 9,007"),
    (["run", "--set", f"method.distill.steps={'9' * 400}"], "method.distill.steps = 9999", "(400 characters)"),
    (["run", "--set", "local.batch_size=999999999"], "memory = ", "--force"),
    (["run", "--method", "fedbuff", "--set", "data.pool_size=9"], "data.pool_size = 9", "fedbuff has no use for U"),
    (["run", "--set", "partition.kind=iid", "partition.too_small=top up"], "partition.too_small = 'top up'", "shares"),
    (["compare", "--methods", "fedbuff", "ca2fl", "--set", "data.pool=noise"], "data.pool = 'noise'", "no use for U"),
    (["tune", "--method", "fedbuff", "--set", "data.pool_mix=0.1"], "data.pool_mix = 0.1", "no use for U"),
    (
        ["run", "--method", "fedbuff", "--set", "data.validation_size=100"],
        "data.validation_size = 100",
        "its own validation split",
    ),
    (
        ["run", "--profile", "language", "--set", "execution.channels_last=true"],
        "execution.channels_last = True",
        "leave it off",
    ),
    (["run", "--set", f"local.lr={'[' * 5000}"], "local.lr = '[[[", "(5,002 characters)"),
    (["run", "--set", f"data.name={'x' * 5000}"], "data.name = 'xxx", "(5,002 characters)"),
    (["run", "--set", "local.lr=nan"], "local.lr = 'nan'", "number > 0"),
    (["run", "--set", "local.lr=1e400"], "local.lr = inf", "finite number"),
    (["run", "--set", "data.name=../../etc/passwd"], "data.name = '../../etc/passwd'", ".npz"),
    (["run", "--set", "data.name=a\nb"], "data.name = 'a\\nb'", ".npz"),
    (["run", "--set", "model=os:system"], "os:system", "model"),
    (["run", "--set", "__class__=3"], "__class__", "method"),
    (["run", "--plugin", "/etc/passwd"], "/etc/passwd", ".py"),
    (["sweep", "--jobs", "999999999999"], "jobs = 999999999999", "1,000"),
    (["sweep", "--budget", "99999999999999h"], "budget = '99999999999999h'", "10000h"),
    (["sweep", "--budget", "1y"], "budget = '1y'", "1h30m"),
    (["sweep", "--only", "nothing"], "'nothing'", "vision"),
    (["sweep", "--data-root", "/proc/version"], "data_root = '/proc/version'", "folder"),
    (["claims", "--profile", "huge"], "profile = 'huge'", "smoke, laptop, paper"),
    (["verify", "--seed", "-1"], "seed = -1", ">= 0"),
    (["tables", "--jobs", "0"], "jobs = 0", "1 to 1,000"),
    (["sweep", "--jobs", "0"], "jobs = 0", "1 to 1,000"),
    (["tables", "--only", "tabel"], "only = 'tabel'", "vision"),
    (["tables", "--profile", "huge"], "profile = 'huge'", "laptop"),
    (["tune", "--trials", "0"], "trials = 0", "give 1 to 10,000"),
    (["tune", "--refinements", "-1"], "refinements = -1", "give 0 to 10,000"),
    (["tune", "--jobs", "0"], "jobs = 0", "1 to 1,000"),
    (["tune", "--method", "nope"], "method = 'nope'", "fedbuff"),
    (["tune", "--seeds", "0", "1000"], "seeds = [0, 1000]", "no table of laptop reports"),
    (["tune", "--seeds", "7"], "seeds = [7]", "no table of laptop reports"),
    (["tune", "--space", "local.lr"], "space = 'local.lr'", "field=lowest:highest"),
    (["tune", "--space", "local.lr=0.5:0.1"], "space = 'local.lr=0.5:0.1'", "0 < lowest < highest"),
    (["tune", "--space", "local.lr=-1:1"], "local.lr = -1.0", "> 0"),
    (["tune", "--method", "fedbuff", "--space", "method.ema=0.5:1.0"], "method.ema = 1.0", "[0, 1)"),
    (["tune", "--method", "fedbuff", "--space", "method.foo=0.1:1"], "method.foo = 0.1", "server_lr"),
    (
        [
            "tune",
            "--space",
            *(
                f"{name}=0.1:1"
                for name in ("local.lr", "method.distill.lr", "partition.alpha", "method.inner.server_lr")
            ),
        ],
        "space = ",
        "three fields",
    ),
    (["tune", "--set", "data.name=cifar10", "data.validation_size=0"], "data.validation_size = 0", "validation split"),
    (["verify", "--sample", "0"], "sample = 0", "at least 1"),
    (["verify"], "no such folder", "sweep"),
    (["data", "fetch"], "name = None", "cifar10"),
    (["cite", "visoin"], "name = 'visoin'", "no table"),
    (["cite", "vision", "--profile", "huge"], "profile = 'huge'", "laptop"),
    (["site", "--profile", "huge"], "profile = 'huge'", "laptop"),
    (["latex"], "profile = 'laptop'", "make tables"),
]


@pytest.mark.parametrize(("arguments", "field", "allowed"), BAD, ids=lambda value: str(value)[:40])
def test_bad_input(
    arguments: list[str], field: str, allowed: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == ""
    line = err.strip().splitlines()[-1]
    assert line.startswith("fedecho: ") and field in line and allowed in line
    assert len(err.strip().splitlines()) == 1
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("command", [["tables", "--only", "tuning"], ["claims"], ["check"], ["verify"]], ids=str)
def test_a_record_that_cannot_be_believed(
    command: list[str], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for study in (studies.vision("smoke"), studies.tuning("smoke")):
        assert isinstance(study, Trained)
        for run in study.configs:
            write_whole(records.record_path(study.places[0], run), "{}")
    with pytest.raises(SystemExit) as stop:
        main.main([*command, "--profile", "smoke"])
    out, err = capsys.readouterr()
    lines = out.splitlines() if command == ["check"] else err.splitlines()  # check reads all, and lists what is not
    assert stop.value.code == 1 and (command == ["check"] or len(lines) == 1)
    assert all(re.search(r"record = .*\.json' is not usable: its sha256 is None", line) for line in lines) and lines


def test_run_ends_with_the_score_and_the_record(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["run", "--method", "fedecho", "--profile", "smoke", "--seed", "7", *SMALL])
    out, err = capsys.readouterr()
    (record,) = map(records.load, (elsewhere / "records" / "smoke" / "runs").glob("*.json"))
    assert record.seed == 7 and record.score is not None
    assert f"score {100 * record.score:.2f} %" in out and record.hash in out
    assert "2 of 2 rounds" in err and "accuracy=" in err  # the bar
    assert out.endswith(f"next: fedecho show {next((elsewhere / 'records/smoke/runs').glob('*.json'))}\n")
    main.main(["run", "--method", "FedEcho", "--profile", "smoke", "--seed", "7", *SMALL])
    again = capsys.readouterr()
    assert again.out == out.replace("fedecho, smoke", "FedEcho, smoke")  # the record was there
    (said,) = again.err.splitlines()
    assert said == f"fedecho: from {record.origin}; `--fresh` trains"
    assert record.provenance["date"] in said and record.provenance["commit"][:7] in said


def test_tune_names_what_it_chose_and_where_the_trials_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(todo: Mapping[Path, Sequence[RunConfig]], **options: object) -> int:
        ((folder, configs),) = todo.items()
        for config in configs:  # the nearer to .02, the better
            score = 0.5 - abs(math.log10(config.local.lr / 0.02)) / 10
            record = new_record(config, "done", [{"accuracy": score}], {}, Clock(), {})
            records.save(sound(record), records.record_path(folder, config))
        return len(configs)

    monkeypatch.setattr(sweep, "sweep", trained)
    main.main(["tune", "--method", "fedbuff", "--profile", "smoke", "--space", "local.lr=0.01:1", "--trials", "2"])
    said = capsys.readouterr().out.splitlines()
    # A quarter and three quarters of two decades in powers of ten; then around .0316, half as far apart.
    assert said[0] == "FedBuff: lr 0.0178"
    table = Path(said[-1].removeprefix("table: ")).read_text()
    assert "| lr 0.0178 | **49.49** | 2/2 | around the best | yes |" in table
    assert "--method 'FedBuff' --profile smoke --space local.lr=0.01:1 --trials 2" in str(
        json.loads((Path(said[-1].removeprefix("table: ")).parent / "tune.json").read_text())
    )


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(command.__name__ in out for command in main.COMMANDS)


def test_verify_compares_and_fails_on_a_forgery(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fedecho.studies import verify as module

    forged = module.Outcome("fedecho-0 (seed 0)", "fedecho, cnn", {"accuracy": 0.3}, ["made with AVX512, here AVX2"])
    asked: list[int] = []
    monkeypatch.setattr(module, "verify", lambda paths, jobs, named: asked.append(len(paths)) or [forged])
    records = elsewhere / "records" / "laptop"
    records.mkdir(parents=True)
    for name in "abcd":
        (records / f"{name}.json").touch()
    for options in ([], ["--all"], ["--sample", "2"]):
        with pytest.raises(SystemExit) as stop:
            main.main(["verify", *options])
        assert stop.value.code == 1 and "BEYOND" in capsys.readouterr().out
    for name in "cd":
        (records / f"{name}.json").unlink()
    with pytest.raises(SystemExit):
        main.main(["verify"])
    with pytest.raises(SystemExit) as stop:
        main.main(["verify", "--sample", "3"])
    assert stop.value.code == 2 and "there are 2 records" in capsys.readouterr().err
    assert asked == [3, 4, 2, 2]


def test_tables_say_beforehand_what_is_simulated_each_run_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fedecho.report.notebooks.make", lambda *arguments, **more: [])
    monkeypatch.setattr("fedecho.studies.claims.ledger.write", lambda profile: [])
    monkeypatch.setattr("fedecho.studies.writing.write_protocol", lambda: None)
    theory = [study for build in studies.TABLES.values() if isinstance(study := build("smoke"), TheoryStudy)]
    runs = {entry.run for study in theory for entry in study.entries}
    assert len(runs) < sum(len(study.results()) for study in theory)  # some are in several tables

    def said(only: str, *more: str) -> str:
        main.main(["tables", "--profile", "smoke", "--only", only, *more])
        return capsys.readouterr().err

    assert f"and {len(runs)} batches" in said("theory")
    monkeypatch.setattr(TheoryStudy, "find", lambda self, run: "a record")
    assert "batches" not in said("theory") and f"and {len(runs)} batches" in said("theory", "--fresh")


def test_ctrl_c_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*arguments: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("fedecho.cli.bench.report", interrupted)
    with pytest.raises(SystemExit) as stop:
        main.main(["bench"])
    assert stop.value.code == 130 and "without --fresh goes on" in capsys.readouterr().err


def test_data_list_says_what_is_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["data", "list", "--data-root", str(tmp_path)])
    out = capsys.readouterr().out
    assert "fashion-mnist      present" in out and "fedecho data fetch cifar10" in out


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("0.1", 0.1), ("1e-3", 0.001), ("none", None), ("true", True), ("fast", "fast"), ("(1, 2)", (1, 2))],
)
def test_literals(text: str, value: object) -> None:
    assert words.literal(text) == value and type(words.literal(text)) is type(value)


def changed(assignments: Sequence[str], method: MethodConfig | None = None) -> RunConfig:
    return pin(override_all(RunConfig(method or FedEcho()), words.values_of(assignments)))


def test_changes_reach_nested_fields() -> None:
    config = changed(["method.distill.clip_norm=none", "delays.model=mild"])
    assert isinstance(config.method, FedEcho) and config.method.distill.clip_norm is None
    assert config.delays.model == "mild"


def test_changes_are_made_at_once_in_any_order() -> None:
    changes = ["protocol.clients=10", "protocol.concurrency=5", "method.distill.alpha_min=0.9"]
    for assignments in ([*changes, "method.distill.alpha_max=1.0"], ["method.distill.alpha_max=1.0", *changes[::-1]]):
        config = changed(assignments)
        assert config.protocol.clients == 10 and config.method.distill.alpha_min == 0.9  # type: ignore[attr-defined]


def test_a_trace_is_named_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    hashes = []
    for name, duration in (("a.csv", 1), ("b.csv", 1), ("c.csv", 2)):
        jobs = "".join(f"{client},{duration}\n" for client in range(50))
        (tmp_path / name).write_text(f"client,duration\n{jobs}")
        changes = [f"delays.trace={tmp_path / name}", "delays.model=trace"]
        config = changed(changes, FedBuff())
        assert len(config.delays.trace_sha256 or "") == 64
        hashes.append(config_hash(config))
    assert hashes[0] == hashes[1] != hashes[2]


def test_cite_names_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["cite"])
    out = capsys.readouterr().out
    assert "2511.19966" in out and out.count("@") == 2
    # Classic styles and parsers know no @software, and print no field version.
    version = importlib.metadata.version("fedecho")
    assert "@software" not in out and f"howpublished = {{Python package, version {version}}}" in out


def test_cite_takes_several_names_and_gives_each_key_once(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "require_true", lambda told: None)  # no record is behind the toys
    toy.furnish(elsewhere)
    main.main(["cite", "toy_bars", "other", "toy"])
    keys = re.findall(r"^@(\w+){(.*),$", capsys.readouterr().out, re.MULTILINE)
    names = ["wang2025stragglers", "fedecho", "fedecho-toy-0123456789ab", "fedecho-other-ba9876543210"]
    assert [key for _, key in keys] == names and {kind for kind, _ in keys} == {"article", "misc"}


def test_an_entry_of_the_package_has_its_address_and_never_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    named = ["Paper, https://arxiv.org/abs/2511.19966"]
    monkeypatch.setattr("importlib.metadata.metadata", lambda name: SimpleNamespace(get_all=lambda field: named))
    assert "url" not in citation.bibtex().partition("@misc")[2]
    named.append("Repository, https://example.org/fedecho")
    for entry in (citation.bibtex().partition("@misc")[2], citation.record_set(toy.TOY)):
        assert entry.count("url ") == 1 and "url          = {https://example.org/fedecho}," in entry


@pytest.fixture
def toy_table(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the manifest of a table, and records that give the same."""
    monkeypatch.setattr(writing, "TABLES", {"toy": lambda profile: SimpleNamespace(table=lambda: None)})
    monkeypatch.setattr(writing, "manifest_of", lambda study, table: toy.TOY)
    return toy.furnish(elsewhere)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"record_set": "f" * 12}, "toy.json: record_set = 'ffffffffffff' .*the records give 0123456789ab"),
     ({"records": ("aa", "cc")}, "toy.json: records = .*not those of the records there"),
     ({"commits": ("d" * 40,)}, "toy.json: commits = "), ({"name": "other"}, "record_set = .*the records give None")],
)  # fmt: skip
def test_what_no_record_is_behind_is_not_cited(
    change: dict[str, Any], said: str, toy_table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sealed again, as a forger would."""
    forged = replace(toy.TOY, **change)
    manifest.write(forged, toy_table / "tables")
    with pytest.raises(SystemExit) as stop:
        main.main(["cite", forged.name])
    out, err = capsys.readouterr()
    assert stop.value.code == 1 and out == "" and re.search(said, err)


def test_cite_names_the_records_behind_a_table_or_figure(toy_table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outs = []
    for name in ("toy", "toy_bars"):
        main.main(["cite", name])
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1] and outs[0].count("\n@") == 2 and "2511.19966" in outs[0]
    entry = outs[0].split("@misc")[-1]
    for said in ("0123456789ab", "2 records", "profile laptop", "c" * 7, r"ONLY=10\_table\_vision", r"A toy \& more"):
        assert said in entry
    with pytest.raises(SystemExit) as stop:
        main.main(["cite", "tyo"])
    assert stop.value.code == 2 and "choose one of other, toy, toy_bars" in capsys.readouterr().err


def test_a_bug_has_its_traceback_and_one_line_that_asks_for_a_report(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: Any) -> None:
        raise ZeroDivisionError("slip")

    monkeypatch.setattr(main, "_parsed", lambda args: broken)
    with pytest.raises(SystemExit) as stop:
        main.main(["claims"])
    *trace, last = capsys.readouterr().err.splitlines()
    assert stop.value.code == 1 and trace[-1] == "ZeroDivisionError: slip"
    assert re.match(r"fedecho: this is a bug of fedecho \d.*; please report it", last)


def test_a_run_that_memory_does_not_hold_is_not_begun(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = sum(peak.predicted_peak(contenders.configure("fedbuff", "smoke", 7, {"protocol.rounds": 2})).values())
    monkeypatch.setattr(room, "free_memory", lambda: needed - 1)
    command = ["run", "--method", "fedbuff", "--profile", "smoke", "--seed", "7", "--set", "protocol.rounds=2"]
    with pytest.raises(SystemExit) as stop:
        main.main(command)
    (line,) = capsys.readouterr().err.splitlines()
    said = peak.megabytes(needed)
    assert stop.value.code == 2 and re.search(rf"memory = '{said} MB' is not usable: {said} MB are free; .*data", line)
    assert list(elsewhere.iterdir()) == []
    main.main([*command, "--force"])
    assert "score" in capsys.readouterr().out


def test_where_memory_runs_out_the_prediction_is_told(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bank is asked for before the first round, and so before what was predicted is looked at."""

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(experiment, "build", full)
    command = ["run", "--method", "fedecho", "--profile", "smoke", "--seed", "7"]
    for free, said in (
        (10**12, "memory = 'cpu' is not usable: it ran out; lower one of"),
        (1, " MB are free; lower what"),
    ):
        monkeypatch.setattr(room, "free_memory", lambda free=free: free)
        with pytest.raises(SystemExit) as stop:
            main.main(command)
        assert stop.value.code == 2 and said in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []


def test_what_one_of_several_methods_reads_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [contenders.configure(name, "smoke", 0, {"data.pool_size": 9}) for name in ("fedbuff", "fedecho")]
    words.require_read({"data.pool_size": 9}, runs)
    with pytest.raises(InputError, match="no use for U; leave it out"):
        words.require_read({"data.pool_size": 9}, runs[:1])
    monkeypatch.setattr(FedBuff, "plugin", "mine.py")  # a method of one's own may use the server's pool
    words.require_read({"data.pool_size": 9}, runs[:1])


@pytest.mark.parametrize(
    "command",
    [
        ["sweep", "--profile", "smoke", "--only", "vision"],
        ["sweep", "--profile", "smoke", "--only", "vision", "--budget", "2h"],
        ["tables", "--profile", "smoke", "--only", "20_ablation_alpha"],
        ["tune", "--profile", "smoke", "--method", "fedbuff", "--trials", "2"],
        ["compare", "--profile", "smoke", "--methods", "fedbuff", "ca2fl"],
    ],
    ids=" ".join,
)
def test_runs_that_memory_does_not_hold_are_not_begun(
    command: list[str], elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many as are trained at once: two of them and their workers, of which either alone would fit."""
    walled(monkeypatch, elsewhere / "home")
    monkeypatch.setattr(room, "free_memory", lambda: 2 * room.WORKER)
    with pytest.raises(SystemExit) as stop:
        main.main([*command, "--jobs", "2"])
    line = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and re.match(r"fedecho: memory = '\d+ MB of 2 workers' is not usable: 600 MB are", line)
    for allowed in (["--jobs", "1"], ["--jobs", "2", "--force"]):
        with pytest.raises(Reached):
            main.main([*command, *allowed])
    assert not (elsewhere / "home").exists()


@pytest.mark.slow
def test_whoever_reads_the_output_may_stop(tmp_path: Path) -> None:
    """Into a pipe that is closed before anything is written, and under a locale without UTF-8."""
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "fedecho", "cite"]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    environment["FEDECHO_PAPER"] = str(tmp_path)
    with open(theirs, "wb") as out:
        ended = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=environment, check=False)
    assert ended.stderr == b"" and ended.returncode == 128 + signal.SIGPIPE
    ended = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert ended.returncode == 0 and "2511.19966" in ended.stdout.decode("utf-8") and ended.stderr == b""


def test_a_tilde_in_a_path_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FEDECHO_PAPER", "~/records")
    assert files.paper() == tmp_path / "records"
    monkeypatch.delenv("FEDECHO_DATA", raising=False)
    files.use_data(Path("~/sets"))
    assert os.environ["FEDECHO_DATA"] == str(tmp_path / "sets")
