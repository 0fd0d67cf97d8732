"""A notebook is executed again exactly if its sources, the records that it read or what it wrote have changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from fedecho.cli import main
from fedecho.core import files
from fedecho.report import notebooks, stamps
from tests.test_notebooks import tiny

READ = {"10_a": ["one", "both"], "11_b": ["two", "both"], "12_c": []}


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three notebooks of which two read three records, a package of one module, and nothing executed yet."""
    for name in ("notebooks", "package", "paper/records/laptop", "paper/tables"):
        (tmp_path / name).mkdir(parents=True)
    for stem in READ:
        tiny(tmp_path / "notebooks", "profile = 'laptop'\nfresh = False\njobs = 0", f"name = {stem!r}", stem=stem)
    for name in ("one", "two", "both", "none"):
        (tmp_path / f"paper/records/laptop/{name}.json").write_text(name)
    (tmp_path / "package/module.py").write_text("x = 1")
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    monkeypatch.setattr(stamps, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(files, "notebooks", lambda: tmp_path / "notebooks")
    return tmp_path / "paper"


def counted(monkeypatch: pytest.MonkeyPatch, paper: Path) -> list[str]:
    """Return the list that will name the notebooks that are executed; each writes a table."""
    executed: list[str] = []

    def execute(stem: str, given: Mapping[str, object], folder: Path, *_: object) -> Path:
        executed.append(stem)
        final = folder / f"{stem}.ipynb"
        folder.mkdir(exist_ok=True)
        final.write_text("executed")
        (paper / f"tables/{stem}.md").write_text(stem)
        touched = [f"tables/{stem}.md", *(f"records/laptop/{name}.json" for name in READ[stem])]
        stamps.write(final, stamps.source(notebooks.catalogue()[stem], given), touched)
        return final

    monkeypatch.setattr(notebooks, "execute", execute)
    return executed


def made(monkeypatch: pytest.MonkeyPatch, paper: Path, **options: bool | int) -> list[str]:
    """Return the notebooks that `make` executes."""
    executed = counted(monkeypatch, paper)
    paths_of = [path.resolve() for path in notebooks.make(jobs=1, **options)]  # type: ignore[arg-type]
    assert paths_of == [(paper / "executed" / f"{stem}.ipynb").resolve() for stem in READ]
    return executed


@pytest.mark.parametrize("changed, again", [
    ("paper/records/laptop/one.json", ["10_a"]), ("paper/records/laptop/two.json", ["11_b"]),
    ("paper/records/laptop/both.json", ["10_a", "11_b"]), ("paper/records/laptop/none.json", []),
    ("paper/tables/11_b.md", ["11_b"]), ("paper/executed/12_c.ipynb", ["12_c"]),
    ("paper/executed/12_c.stamp.json", ["12_c"]), ("paper/tables/other.md", []),
    ("paper/records/laptop/new.json", ["10_a", "11_b"]), ("package/module.py", list(READ)),
    ("package/new.py", list(READ)), ("package/__pycache__/module.pyc", []),
])  # fmt: skip
def test_what_has_changed_is_executed_again(
    changed: str, again: list[str], paper: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made(monkeypatch, paper) == list(READ)
    assert made(monkeypatch, paper) == []
    path = paper.parent / changed
    path.parent.mkdir(exist_ok=True)
    path.write_text("other")
    assert made(monkeypatch, paper) == again
    assert made(monkeypatch, paper) == []


@pytest.mark.parametrize("gone", ["records/laptop/one.json", "tables/10_a.md", "executed/10_a.ipynb",
                                  "executed/10_a.stamp.json"])  # fmt: skip
def test_what_is_gone_is_made_again(gone: str, paper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, paper)
    (paper / gone).unlink()
    expected = ["10_a", "11_b"] if gone.startswith("records") else ["10_a"]  # both saw what is in the folder
    assert made(monkeypatch, paper) == expected


def test_fresh_and_other_sources_are_executed(paper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, paper)
    assert made(monkeypatch, paper, fresh=True) == list(READ)
    tiny(paper.parent / "notebooks", "profile = 'laptop'\nfresh = False", "name = 'new'", stem="11_b")
    assert made(monkeypatch, paper) == ["11_b"]
    monkeypatch.setattr(stamps, "versions", lambda *names: dict.fromkeys(names, "99"))
    assert made(monkeypatch, paper) == list(READ)


def test_other_parameters_are_executed(paper: Path) -> None:
    source = notebooks.catalogue()["10_a"]
    digests = {stamps.source(source, given) for given in ({}, {"jobs": 1}, {"jobs": 2}, {"profile": "smoke"})}
    assert len(digests) == 4


def test_make_html_executes_only_what_has_changed(paper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["make", "-C", str(files.REPOSITORY), "--dry-run", "--no-print-directory", "html"]
    recipe = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    commands = [line.split()[1:] for line in recipe.splitlines() if line.startswith(".venv/bin/fedecho ")]
    assert commands == [["tables", "--profile", "laptop", "--only", "all"], ["site", "--profile", "laptop"]]
    for name in ("claims.ledger.write", "writing.write_protocol"):
        monkeypatch.setattr(f"fedecho.studies.{name}", lambda *arguments: None)
    monkeypatch.setattr("fedecho.studies.study.TABLES", {})
    executed = counted(monkeypatch, paper)
    main.main(commands[0])
    assert sorted(executed) == list(READ)
    main.main(commands[0])
    assert len(executed) == len(READ)


def test_touching_without_change_is_no_change(paper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(monkeypatch, paper)
    for path in (*paper.rglob("*.json"), *paper.parent.glob("package/*")):
        path.write_bytes(path.read_bytes())
    assert made(monkeypatch, paper) == []


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"source": 1, "files": 2}'])
def test_a_broken_stamp_holds_nothing(text: str, paper: Path) -> None:
    final = paper / "executed.ipynb"
    final.write_text("x")
    stamps.path_of(final).write_text(text)
    assert not stamps.holds(final, "1")


def test_a_process_notes_what_it_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = tmp_path / "paper"
    (paper / "records").mkdir(parents=True)
    (paper / "records" / "read.json").touch()
    (tmp_path / "elsewhere").touch()
    code = f"""
from fedecho.report import stamps
from pathlib import Path
stamps.trace({str(tmp_path / "log")!r})
paper = Path("paper")
for _ in range(2):
    (paper / "records" / "read.json").read_text()
(paper / "records" / "unread.json").is_file()
Path("elsewhere").read_text()
partial = paper / "written.md.123.partial"
partial.write_text("x")
partial.replace(paper / "written.md")
try:
    open("paper/absent")
except OSError:
    pass
import os
os._exit(9)
"""
    monkeypatch.setenv("FEDECHO_PAPER", "paper")
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 9
    assert stamps.touched(tmp_path / "log") == ["records/read.json", "written.md", "absent"]
    assert stamps.touched(tmp_path / "none") == []
