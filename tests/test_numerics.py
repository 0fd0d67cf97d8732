"""Which code a run goes through: what changes its digest, what does not, and what follows where it is not listed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedecho.cli import main
from fedecho.core import files, numerics
from fedecho.core.config import RunConfig
from fedecho.core.numerics import unlisted
from fedecho.learning.methods import CA2FL, FedBuff, FedEcho
from fedecho.report.summary import Cell
from fedecho.studies import contenders, writing
from fedecho.studies.comparison import Comparison
from tests.test_summary import put

SOURCES = {
    "learning/experiment.py": "from fedecho.learning.methods.base import build\nfrom fedecho.data import load\n",
    "learning/methods/__init__.py": "from fedecho.learning.methods.one import One\n",
    "learning/methods/base.py": "def build(config):\n    return config\n",
    "learning/methods/one.py": "from fedecho.learning.methods.base import build\nRATE = 1.0\n",
    "learning/methods/two.py": "from fedecho.learning.methods import One\n",
    "theory/engine.py": "from fedecho.learning import methods\nfrom fedecho.learning.methods import One\n",
    "data/__init__.py": "from fedecho.data.sources import load as load\nfrom fedecho.core.files import home\n",
    "data/sources.py": "def load():\n    from fedecho.core import rng\n    return rng\n",
    "core/rng.py": "SEED = 0\n",
    "core/files.py": "home = 1\n",
    "studies/new.py": "x = 1\n",
}


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what conftest does for all other tests."""
    monkeypatch.setattr(numerics, "unlisted", unlisted)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: None) -> Iterator[Path]:
    """A package of a few lines, its code listed."""
    home = tmp_path / "fedecho"
    for name, text in SOURCES.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    monkeypatch.setattr(numerics, "PACKAGE", home)
    monkeypatch.setattr(numerics, "LISTED", home / "golden.txt")
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    numerics.LISTED.touch()
    numerics.digest.cache_clear()
    numerics.write()
    yield home
    numerics.digest.cache_clear()


def changed(package: Path, name: str, text: str) -> set[str]:
    """Return the parts whose digests change with a file."""
    before = numerics.state()
    (package / name).write_text(text)
    numerics.digest.cache_clear()
    return {part for part, own in numerics.state().items() if before.get(part) != own}


@pytest.mark.parametrize("name, text, parts", [
    ("core/rng.py", "SEED = 1\n", {"run"}),  # reached through an import inside a function
    ("core/rng.py", '"""A comment."""\n\nSEED = (0)  # none\n', set()),
    ("learning/methods/base.py", 'def build(config):\n    """Return it."""\n\n    return config\n', set()),
    ("learning/methods/base.py", "def build(config):\n    return 0 * config\n", {"run"}),
    ("learning/methods/one.py", SOURCES["learning/methods/one.py"].replace("1.0", "1"), {"one", "two", "theory"}),
    ("learning/methods/two.py", "x = 1\n", {"two"}),
    ("learning/methods/three.py", "x = 1\n", {"three"}),
    ("learning/methods/__init__.py", SOURCES["learning/methods/__init__.py"] + "\nx = 1\n", set()),
    ("theory/engine.py", "x = 1\n", {"theory"}),
    ("studies/new.py", "x = 2\n", set()),
    ("core/files.py", "home = 2\n", set()),
])  # fmt: skip
def test_a_change_is_seen_in_the_parts_that_go_through_it(name: str, text: str, parts: set[str], package: Path) -> None:
    assert changed(package, name, text) == parts


def test_a_run_goes_through_its_methods() -> None:
    assert numerics.of(FedBuff()) == ("run", "fedbuff")
    assert numerics.of(FedEcho(inner=CA2FL())) == ("run", "fedecho", "ca2fl")


def test_a_state_is_listed_as_a_whole_and_once(package: Path) -> None:
    first = dict(numerics.state())
    assert numerics.unlisted(("run", "one")) == () and numerics.apart(("run", "one")) is None
    assert numerics.warning(("run", "one")) is None
    assert changed(package, "learning/methods/one.py", "RATE = 2.0\n") == {"one", "two", "theory"}
    assert numerics.unlisted(("run", "one")) == ("one",) and numerics.unlisted(("run",)) == ()
    said = numerics.warning(("run", "one"))
    assert said is not None and "(one)" in said and "`fedecho golden`" in said
    assert numerics.write() and not numerics.write()
    assert numerics.unlisted(numerics.state()) == () and len(numerics.LISTED.read_text().splitlines()) == 2
    # What two branches listed each for itself is not listed together.
    changed(package, "learning/methods/one.py", SOURCES["learning/methods/one.py"])
    assert numerics.state() == first and numerics.unlisted(first) == ()
    changed(package, "core/rng.py", "SEED = 1\n")
    numerics.write()
    changed(package, "learning/methods/one.py", "RATE = 2.0\n")
    assert numerics.unlisted(("run",)) == numerics.unlisted(("one",)) == () != numerics.unlisted(("run", "one"))


def test_the_code_as_it_is_is_listed(real: None) -> None:
    assert unlisted(numerics.state()) == (), "run `fedecho golden`: it lists this code if the golden runs hold"


SMALL = ["--profile", "smoke", "--set", "protocol.rounds=2", "data.train_size=500", "partition.min_size=1"]
RUN = ["run", "--method", "fedbuff", *SMALL, "--set", "partition.alpha=1.0"]


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: None) -> Path:
    """FedBuff's code is none that is listed; where records lie."""
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    monkeypatch.setattr(numerics, "_lines", lambda: [numerics.state() | {"fedbuff": "of old"}])
    return tmp_path


def test_a_run_of_edited_code_is_trained_and_kept_apart(edited: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = contenders.configure("fedbuff", "smoke", 0, {
        "protocol.rounds": 2, "data.train_size": 500, "partition.min_size": 1, "partition.alpha": 1.0,
    })  # fmt: skip
    for place in ("smoke", "smoke/runs"):
        put(edited / "paper" / "records" / place, config, 0.9)
    before = sorted((edited / "paper").rglob("*"))
    main.main(RUN)
    said = capsys.readouterr()
    (made,) = (edited / "build" / "edited").rglob("*.json")
    assert f"record: {made}" in said.out and "90.00 %" not in said.out and made.parent.name == "runs"
    assert "(fedbuff)" in said.err and "apart from the records" in said.err and "from the record of" not in said.err
    main.main(RUN)  # its own record
    said = capsys.readouterr()
    assert f"record: {made}" in said.out and "from the record of" in said.err and "(fedbuff)" in said.err
    assert sorted((edited / "paper").rglob("*")) == before
    other = [word.replace("fedbuff", "ca2fl") for word in RUN]  # goes through nothing that was edited
    main.main(other)
    said = capsys.readouterr()
    assert str(edited / "paper" / "records" / "smoke" / "runs") in said.out and "(fedbuff)" not in said.err


def test_a_table_of_edited_code_shows_its_records_until_others_are_made(edited: Path) -> None:
    runs = [contenders.configure(name, "smoke") for name in ("fedbuff", "ca2fl")]
    cells = [Cell(run.method.name, "Dir(0.1)", "large", run) for run in runs]

    def study(*names: str, **custom: str) -> Comparison:
        own = [cell for cell in cells if cell.method in names]
        return Comparison(
            name="t", title="T", notebook="n", profile="smoke", cells=own, reference="ca2fl", custom=custom
        )

    committed = edited / "paper" / "records" / "smoke"
    for run in runs:
        put(committed, run, 0.7)
    assert study("ca2fl").places == [committed] and study("ca2fl").home == edited / "paper"
    both = study("fedbuff", "ca2fl")
    assert both.lacking() == [] and both.home == edited / "paper" and both.places[1:] == [committed]
    put(both.places[0], runs[0], 0.2)
    assert [record.score for _, record in both.found() if record] == pytest.approx([0.2, 0.7])
    again = study("fedbuff", "ca2fl")
    assert again.home.parent == edited / "build" / "edited"
    made = writing.write(again)
    assert made.tables["md"].parent == again.home / "tables" / "smoke" and not (edited / "paper" / "tables").exists()
    # A custom one has only what the edited code made.
    assert len(study("fedbuff", "ca2fl", seeds="x").lacking()) == 2
    assert study("ca2fl", seeds="x").lacking() == []


def test_a_folder_of_ones_own_has_one_for_edited_code(edited: Path) -> None:
    config, folder = RunConfig(FedBuff()), edited / "mine"
    assert numerics.place(folder, config).parent == folder / "edited"
    assert numerics.place(folder, RunConfig(CA2FL())) == folder
    assert numerics.place(files.paper() / "records" / "x", config).parts[-2:] == ("records", "x")
