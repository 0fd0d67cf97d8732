"""What the command line says of bad input, word for word: one line with the dotted path and what may be meant."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from fedecho.cli import main
from fedecho.core.checks import InputError, MissingDataError, near, require_known
from fedecho.data.command import plainer, unboxed
from fedecho.studies import TABLES, contenders, profiles
from fedecho.studies.changes import dotted

_COMMANDS = (
    "run, show, compare, sweep, tune, tables, verify, tolerances, claims, check, golden, data, bench, cite, site, latex"
)
_OPTIONS = (
    "--method, --profile, --seed, --set, --plugin, --fresh, --save-model, --records, --data-root, --device, --force, "
    "--no-fresh, --no-force"
)
_FIELDS = (
    "RunConfig has the fields method, seed, data, partition, protocol, delays, model, local, evaluation, execution, "
    "model_sha256, faults"
)
_PROFILES = (
    "choose one of smoke, laptop, paper, cifar-small, cifar-smoke, cifar-resnet, resnet-smoke, language, "
    "language-smoke, generation, generation-smoke"
)
SAID = [
    ("", f"command = '' is not usable: choose one of {_COMMANDS}"),
    ("dance --set a", f"command = 'dance' is not usable: choose one of {_COMMANDS}"),
    ("train", f"command = 'train' is not usable: choose one of {_COMMANDS}; did you mean `run`?"),
    ("train --help", f"command = 'train' is not usable: choose one of {_COMMANDS}; did you mean `run`?"),
    ("tabels --only vision", f"command = 'tabels' is not usable: choose one of {_COMMANDS}; did you mean `tables`?"),
    ("--verson", f"command = '--verson' is not usable: choose one of {_COMMANDS}; did you mean `--version`?"),
    ("run --alpha -1", f"option = '--alpha' is not usable: choose one of {_OPTIONS}"),
    ("run --sede=7", f"option = '--sede' is not usable: choose one of {_OPTIONS}; did you mean `--seed`?"),
    ("run --no_frsh", f"option = '--no-frsh' is not usable: choose one of {_OPTIONS}; did you mean `--no-fresh`?"),
    ("show --record x", "option = '--record' is not usable: choose one of --plot, --plugin"),
    ("run x", "Unrecognized options: x"),
    ("run --seed x", "Error parsing --seed: invalid literal for int() with base 10: 'x'"),
    ("data ftech", "invalid choice 'ftech' for argument 'action'. Expected one of ('list', 'fetch')."),
    ("data fetch cifar01",
     "data = 'cifar01' is not usable: choose one of cifar10, cifar100, stl10; did you mean `cifar10`?"),
    ("run --profile latop", f"profile = 'latop' is not usable: {_PROFILES}; did you mean `laptop`?"),
    ("verify --profile huge", f"profile = 'huge' is not usable: {_PROFILES}"),
    ("claims --profile latop",
     "profile = 'latop' is not usable: choose one of smoke, laptop, paper; did you mean `laptop`?"),
    ("compare --methods fedbuff", "methods = ('fedbuff',) is not usable: give at least two"),
    ("run --set partition.alpha=-1", "partition.alpha = -1 is not usable: give a number > 0"),
    ("run --set local.lr=-1 method.distill.lr=0.1", "local.lr = -1 is not usable: give a number > 0"),
    ("run --set local.lr=0.1 method.distill.lr=-1", "method.distill.lr = -1 is not usable: give a number >= 0"),
    ("run --set method.distill.alpha_min=-0.1",
     "method.distill.alpha_min = -0.1 is not usable: give a number in [0, 1]"),
    ("run --set method.distill.alpha_min=0.9",
     "method.distill.alpha_max = 0.8 is not usable: give a number in [alpha_min, 1] = [0.9, 1]; "
     "you set method.distill.alpha_min"),
    ("run --set protocol.clients=10 evaluation.every=1",
     "protocol.concurrency = 25 is not usable: M_c must be between 1 and N = 10; you set protocol.clients"),
    ("run --set alpha_min=-0.5",
     f"alpha_min = -0.5 is not usable: {_FIELDS}; did you mean `method.distill.alpha_min`?"),
    ("run --set alpah=1", f"alpah = 1 is not usable: {_FIELDS}; did you mean `partition.alpha`?"),
    ("run --set distill.lr=1", f"distill.lr = 1 is not usable: {_FIELDS}; did you mean `method.distill.lr`?"),
    ("run --set colour=1", f"colour = 1 is not usable: {_FIELDS}"),
    ("run --method fedbuff --set method.ena=0.5",
     "method.ena = 0.5 is not usable: FedBuff has the fields server_lr, staleness_exponent, ema; "
     "did you mean `method.ema`?"),
    ("run --method fedbuff --set method.distill.lr=1",
     "method.distill.lr = 1 is not usable: FedBuff has the fields server_lr, staleness_exponent, ema"),
    ("run --set data.name=none.npz",
     "data.name = 'none.npz' is not usable: no such file; give an .npz with x, y and, if you like, pool"),
    ("run --set data.pool_size=9999", "data.pool_size = 9999 is not usable: the pool has 5000 images"),
    ("run --set delays.model=midl",
     "delays.model = 'midl' is not usable: give one of constant, mild, large, uniform, exponential, lognormal, pareto, "
     "bursty, periodic, trace, function; did you mean `mild`?"),
    ("run --profile language --set data.name=fashion-mnist delays.model=mild",
     "model = 'text-encoder' is not usable: choose one of cnn, cnn-w2, cnn-w4, cnn-w8, cnn-batchnorm, resnet8, "
     "resnet8-groupnorm, resnet18, resnet18-fan-out, resnet18-groupnorm, or module:function of your own"),
    ("tune --space local.lr=-1:1", "local.lr = -1.0 is not usable: give a number > 0"),
    ("tune --set data.name=cifar10 data.validation_size=0",
     "data.validation_size = 0 is not usable: a trial is scored on a validation split; leave it out, or give more"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), SAID, ids=[line for line, _ in SAID])
def test_a_refusal_word_for_word(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        main.main(line.split())
    assert stop.value.code == 2 and capsys.readouterr() == ("", f"fedecho: {said}\n")


@pytest.mark.parametrize(("line", "meant"), [
    ("run --method fedeco", "FedEcho"), ("compare --methods fedbuff fedbuf", "FedBuff"),
    ("tune --method fedbuff+ema", "FedBuff + EMA"), ("sweep --only visoin", "vision"),
    ("tables --only visoin", "vision"), ("verify --only visoin", "vision"),
    ("tables --only 10_table_visoin", "10_table_vision"),
])  # fmt: skip
def test_a_refused_name_ends_with_the_one_that_may_be_meant(
    line: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    with pytest.raises(SystemExit):
        main.main(line.split())
    err = capsys.readouterr().err
    assert "choose one of " in err and err.endswith(f"; did you mean `{meant}`?\n")


def test_the_nearest_word_in_any_case_and_none_that_is_far() -> None:
    assert near("FEDECO", ["fedavg", "FedEcho"]) == "; did you mean `FedEcho`?"
    assert near("dance", ["run", "tune"]) == near("", ["run"]) == near(None, []) == ""
    assert near("abcd", ["abxy"], 0.6) == "" != near("abcd", ["abxy"], 0.5)
    with pytest.raises(InputError, match=r"^a = 'onf' is not usable: choose one of one, two; did you mean `one`\?$"):
        require_known("a", ["two", "onf"], ["one", "two"])


@pytest.mark.parametrize(("table", "given", "said"), [
    ("ablation_alpha", {"alphas": [0.5, -0.1]}, "alphas = -0.1 is not usable: give a number in [0, 1]"),
    ("ablation_alpha", {"ranges": [[0.2, 2.0]]}, "ranges = 2.0 is not usable: give a number in [0, 1]"),
    ("ablation_nu", {"nus": [-1]}, "nus = -1 is not usable: give a number > 0 or none"),
    ("ablation_data_size", {"sizes": [0]}, "sizes = 0 is not usable: give a whole number >= 1"),
    ("heterogeneity_buffer", {"levels": [-1.0], "seeds": [-1]}, "seeds = -1 is not usable: give a whole number >= 0"),
    ("faulty", {"shares": [1.5]}, "shares = 1.5 is not usable: give a number in [0, 1)"),
    ("faulty", {"multiples": [-2.0]}, "multiples = -2.0 is not usable: give numbers > 0"),
    ("faulty_bound", {"seeds": [2000, 1]}, "seeds = [2000, 1] is not usable: give some that no table of smoke reports"),
    ("heterogeneity_buffer", {"sizes": [11]},
     "sizes = 11 is not usable: give whole numbers from 1 to 10, the clients at work"),
    ("tuning", {"seeds": [-1]}, "seeds = -1 is not usable: give whole numbers >= 0"),
    ("tuning", {"seeds": [0]}, "seeds = [0] is not usable: give some that no table of smoke reports"),
    ("tuning", {"trials": 10**9},
     "trials = 1000000000 is not usable: give 1 to 10,000, or 0 for as many as the table has"),
])  # fmt: skip
def test_a_parameter_of_a_study_is_refused_by_its_own_name(table: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        TABLES[table]("smoke", **given)
    assert str(caught.value) == said


def test_a_refusal_keeps_its_kind_and_a_name_that_is_no_field() -> None:
    config = contenders.configure("fedecho", "smoke")
    with pytest.raises(MissingDataError, match="^memory = 3 is not usable: buy more$"), dotted(config, {"seed": 3}):
        raise MissingDataError("memory", 3, "buy more")
    with pytest.raises(InputError, match="^lr = 7 is not usable: give less$"), dotted(config, {"seed": 3}):
        raise InputError("lr", 7, "give less")  # there are several


def helped(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main.main([command, "--help"])
    assert stop.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", main.COMMANDS, ids=lambda command: command.__name__)
def test_a_help_says_once_what_is_done_without_an_option(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    said = helped(command.__name__, capsys)
    assert "None" not in said and "(default: )" not in said
    assert not re.search(r"\(if omitted[^)]*\)\.? \(default", said)


@pytest.mark.parametrize(
    "command", [command for command in main.COMMANDS if "profile" in inspect.signature(command).parameters
                and command is not main.tolerances],  # which takes several, and lists those that it takes by default
    ids=lambda command: command.__name__,
)  # fmt: skip
def test_a_help_lists_the_profiles_that_its_command_takes(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (said,) = re.findall(r"--profile STR (.*?) --", helped(command.__name__, capsys) + " --")
    known = profiles.WHOLE if "profiles.whole(" in inspect.getsource(command) else profiles.PROFILES
    assert set(re.findall(r"[\w-]+", said)) & set(profiles.PROFILES) == set(known)


def test_the_help_of_run_agrees_on_where_records_go(capsys: pytest.CaptureFixture[str]) -> None:
    said = helped("run", capsys)
    assert re.findall(r"[^ ]*runs\b[^ ]*|[^ ]*own/[^ ]*", said) == ["paper/records/PROFILE/runs,", "build/own/PROFILE"]
    assert "--records PATH folder of the record (if omitted: paper/records/PROFILE/runs, or build/own/PROFILE" in said


BOXED = """\
╭─ Value error ──────────────────────╮
│ Error parsing --seed: it is        │
│ 'x'                                │
│ ────────────────────────────────── │
│ For full helptext, see run --help  │
╰────────────────────────────────────╯
"""
RULED = """\
 Value error
 ---------------------------------
 Error parsing --seed: it is
 'x'
  --------------------------------
 For full helptext, see run --help
"""


@pytest.mark.parametrize("text", [BOXED, RULED, "\x1b[31mError parsing --seed: it is\x1b[0m\n 'x'"])
def test_a_message_of_the_parser_has_no_box(text: str) -> None:
    assert unboxed(text) == "Error parsing --seed: it is 'x'" and unboxed("") == ""


def test_a_column_of_the_help_stays_where_it_was() -> None:
    text = "  --jobs {None}|INT   n. (default: None)\n  --a {None}|PATH\n  --c STR             c. (default:\n  None)\n"
    assert plainer(text) == "  --jobs INT          n.\n  --a PATH\n  --c STR             c.\n"
