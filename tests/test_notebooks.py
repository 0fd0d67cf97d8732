"""What every notebook promises, and that the wrapper around papermill lets no mistake pass for a result."""

from __future__ import annotations

import ast
import json
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fedecho.core import files
from fedecho.core.checks import InputError
from fedecho.report import kernels, notebooks, parameters
from fedecho.report.notebooks import NotebookError
from fedecho.studies import profiles

ALL = sorted((files.REPOSITORY / "notebooks").glob("*.ipynb"))
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
every_notebook = pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)


def cells(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if kind in (None, cell["cell_type"])]


def code(cell: dict[str, Any]) -> str:
    """The source without the lines that only IPython understands."""
    return "".join(line for line in cell["source"] if not line.startswith("%"))


# What every notebook promises


@every_notebook
def test_metadata_is_bare_and_names_python3(path: Path) -> None:
    notebook = json.loads(path.read_text())
    assert notebook["metadata"] == {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)


@every_notebook
def test_cells_are_few_named_and_unexecuted(path: Path) -> None:
    ids = [cell["id"] for cell in cells(path)]
    assert len(ids) <= 12
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z-]+", ident) for ident in ids)  # given by hand, not drawn at random
    for cell in cells(path):
        assert set(cell["metadata"]) <= {"tags"}
    for cell in cells(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@every_notebook
def test_begins_with_title_and_cost_then_parameters(path: Path) -> None:
    title, parameters = cells(path)[:2]
    text = "".join(title["source"])
    assert text.startswith("# ")
    assert "*Cost:*" in text
    assert parameters["metadata"] == {"tags": ["parameters"]}
    assert [cell["id"] for cell in cells(path) if cell["metadata"]] == ["parameters"]


@every_notebook
def test_parameters_are_literals_with_a_known_profile(path: Path) -> None:
    known = parameters.declared(path)  # raises for anything but literals
    assert known["profile"].default == "laptop"
    assert {"profile", "fresh"} <= set(known)
    assert not known["fresh"].default


@every_notebook
def test_code_is_thin(path: Path) -> None:
    for cell in cells(path, "code"):
        for node in ast.walk(ast.parse(code(cell))):
            assert not isinstance(node, ast.ClassDef | ast.While | ast.Try)
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 5


@every_notebook
def test_names_no_folder_of_anyone(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"(?<![\w.)])/(home|root|tmp|work|Users|mnt|opt)\b|[A-Z]:\\\\", text)
    assert "../" not in text


def test_sources_stand_alone() -> None:
    folder = files.REPOSITORY / "notebooks"
    assert [p.name for p in folder.iterdir() if p.suffix == ".py"] == []  # one named like a module would shadow it
    assert {stem for stems in notebooks.GROUPS.values() for stem in stems} == {path.stem for path in ALL}


# The folders


def test_only_the_default_profile_writes_to_the_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    assert files.folder_of("tables", "laptop") == tmp_path / "tables"
    assert files.tuning_dir("laptop") == tmp_path / "records" / "tuning"
    for function in (partial(files.folder_of, "tables"), files.records_dir, files.tuning_dir):
        assert len({function(name) for name in profiles.PROFILES}) == len(profiles.PROFILES)


# Choosing


def test_select() -> None:
    assert notebooks.select() == [path.stem for path in ALL]
    assert notebooks.select("vision") == ["10_table_vision"]
    assert notebooks.select("02_tuning") == ["02_tuning"]
    assert notebooks.select("faulty_clients") == ["34_faulty_clients"] != notebooks.select("controls")
    with pytest.raises(InputError, match=r"^only = 'visoin' is not usable: choose one of all, quickstart, .*10_table"):
        notebooks.select("visoin")


def tiny(folder: Path, *codes: str, stem: str = "tiny") -> Path:
    """Write a notebook of code cells, the first with the parameters."""
    made = [{"cell_type": "code", "id": f"c{k}", "metadata": {} if k else {"tags": ["parameters"]}, "outputs": [],
             "execution_count": None, "source": [text]} for k, text in enumerate(codes)]  # fmt: skip
    path = folder / f"{stem}.ipynb"
    path.write_text(json.dumps({"cells": made, "metadata": {"kernelspec": KERNEL}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_unknown_notebook(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="notebook = '99' is not usable: choose one of 00_quickstart"):
        notebooks.execute("99", {}, tmp_path, 10)
    with pytest.raises(InputError, match="timeout = 0"):
        notebooks.execute("00_quickstart", {}, tmp_path, 0)


# Executing


def test_runs_here_with_our_python_and_typed_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One real run: the folder it is called from, the user's kernels and matplotlib backend have no influence."""
    foreign = tmp_path / "user" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text('{"argv": ["false"], "display_name": "Python 3", "language": "python"}')
    for name, value in {"JUPYTER_DATA_DIR": tmp_path / "user", "JUPYTER_PREFER_ENV_PATH": 0, "MPLBACKEND": "Agg",
                        "FEDECHO_PAPER": "here"}.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    probe = "import os, sys\nfrom fedecho.core import files\n[sys.executable, rounds, limit, name, str(files.paper()), "
    tiny(tmp_path, "rounds = 1\nlimit = 1.0\nname = 'x'", probe + "os.environ.get('MPLBACKEND')]")
    monkeypatch.setattr(files, "notebooks", lambda: tmp_path)
    done = notebooks.execute("tiny", {"rounds": 7, "limit": 2, "name": "0042"}, Path("out"), 100)
    assert done == tmp_path / "out" / "tiny.ipynb"
    assert sorted(p.name for p in done.parent.iterdir()) == ["tiny.ipynb", "tiny.stamp.json"]
    seen = ast.literal_eval("".join(cells(done, "code")[-1]["outputs"][0]["data"]["text/plain"]))
    inline = "module://matplotlib_inline.backend_inline"
    assert seen == [sys.executable, 7, 2.0, "0042", str(tmp_path / "here"), inline]


@pytest.mark.slow
def test_failed_run_leaves_only_the_partial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny(tmp_path, "rounds = 1", "x = 2", "raise ValueError('broken\\nsecond line')", "y = 3")
    monkeypatch.setattr(files, "notebooks", lambda: tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "tiny.ipynb").write_text("of an earlier run")
    with pytest.raises(NotebookError) as caught:
        notebooks.execute("tiny", {}, out, 100)
    partial = out / "tiny.partial.ipynb"
    assert str(caught.value) == f"tiny: cell [3] failed: ValueError: broken; see {partial}"
    assert list(out.iterdir()) == [partial]


@pytest.mark.parametrize("kinds, calls, works", [
    (["done"], 1, True), (["start", "done"], 2, True), (["start", "start"], 2, False), (["cell"], 1, False),
    (["lost"], 1, False),
])  # fmt: skip
def test_only_a_kernel_that_did_not_start_is_tried_again(
    kinds: list[str], calls: int, works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(tmp_path, "rounds = 1")
    made: list[str] = []

    def attempt(job: dict[str, Any], fork: bool) -> dict[str, Any]:
        made.append(kinds[len(made)])
        Path(job["partial"]).write_text("{}")
        return {"kind": made[-1], "message": "it went wrong", "touched": []}

    monkeypatch.setattr(files, "notebooks", lambda: tmp_path)
    monkeypatch.setattr(kernels, "attempt", attempt)
    if works:
        assert notebooks.execute("tiny", {}, tmp_path / "out", 10).name == "tiny.ipynb"
    else:
        with pytest.raises(NotebookError, match="it went wrong"):
            notebooks.execute("tiny", {}, tmp_path / "out", 10)
        assert not (tmp_path / "out" / "tiny.ipynb").exists()
    assert len(made) == calls


def sleep(*_: object) -> None:
    time.sleep(60)


def test_time_limit_ends_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "work", sleep)
    monkeypatch.setattr(kernels, "_START_LIMIT", 0)
    outcome = kernels.attempt({"timeout": 1})
    assert outcome == {"kind": "lost", "message": "TimeoutError: not finished after 1 s"}


def test_make_passes_each_notebook_what_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny(tmp_path, "profile = 'laptop'\nfresh = False", stem="00_a")
    tiny(tmp_path, "profile = 'laptop'\njobs = 0", stem="01_b")
    monkeypatch.setattr(files, "notebooks", lambda: tmp_path)
    monkeypatch.setattr(notebooks, "execute", lambda stem, given, folder, *_: (stem, given, folder.name))
    assert list(notebooks.make("smoke", jobs=3)) == [
        ("00_a", {"profile": "smoke", "fresh": False}, "smoke"), ("01_b", {"profile": "smoke", "jobs": 3}, "smoke"),
    ]  # fmt: skip


def test_what_measures_time_runs_last_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stem in ("20_a", "25_server_cost", "26_c"):
        tiny(tmp_path, "profile = 'laptop'\nfresh = False", stem=stem)
    monkeypatch.setattr(files, "notebooks", lambda: tmp_path)
    monkeypatch.setattr(notebooks, "execute", lambda stem, given, folder, *_: (stem, given["fresh"]))
    # What sweeps train is trained before; a second `fresh` would train it twice.
    assert list(notebooks.make("smoke", fresh=True)) == [("20_a", False), ("26_c", False), ("25_server_cost", True)]


def test_limits_are_none_that_the_system_cannot_wait_for() -> None:
    assert max(notebooks._LIMITS.values()) + kernels._START_LIMIT < 2**31 / 1000  # poll counts milliseconds in 32 bits
