"""Parameters of notebooks are read by their declared types, whatever hands them over, or refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedecho.core import files
from fedecho.core.checks import InputError
from fedecho.report import kernels, notebooks, parameters
from tests.test_notebooks import tiny

PARAMETERS = """rounds = 3
lr = 0.1
name = 'x'
fresh = False
seeds: list[int] = [1, 2]
ranges: list[list[float]] = []
nus: list = []"""


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("rounds", 5, 5), ("rounds", "5", 5), ("lr", 1, 1.0), ("lr", "1e-3", 0.001), ("lr", "0.5", 0.5),
        ("name", "0042", "0042"), ("name", "", ""), ("fresh", True, True), ("fresh", "false", False),
        ("fresh", "True", True), ("seeds", [3], [3]), ("seeds", (3,), [3]), ("seeds", "[0, 1]", [0, 1]),
        ("seeds", ["4"], [4]), ("seeds", "[]", []), ("ranges", "[[0, 1], [.2, .8]]", [[0.0, 1.0], [0.2, 0.8]]),
        ("nus", "[1, null]", [1, None]), ("nus", [1.0, None], [1.0, None]), ("nus", "[2.5, none]", [2.5, None]),
    ],
)  # fmt: skip
def test_values_are_read_by_their_type(name: str, given: object, read: object, tmp_path: Path) -> None:
    found = parameters.read_all(tiny(tmp_path, PARAMETERS), {name: given})[name]
    assert found == read and type(found) is type(read)


@pytest.mark.parametrize("given", [
    {"round": 5}, {"rounds": 5.5}, {"rounds": "5.5"}, {"rounds": True}, {"rounds": None}, {"rounds": "many"},
    {"lr": True}, {"lr": float("inf")}, {"lr": "nan"}, {"lr": None}, {"name": 3}, {"name": None}, {"fresh": 1},
    {"fresh": "no"}, {"fresh": "0"}, {"seeds": 3}, {"seeds": "3"}, {"seeds": [1.5]}, {"seeds": ["a"]},
    {"seeds": "[1"}, {"ranges": [1, 2]}, {"seeds": {"a": 1}},
])  # fmt: skip
def test_what_does_not_fit_is_one_line_before_anything_starts(
    given: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(tmp_path, PARAMETERS)
    monkeypatch.setattr(notebooks.files, "notebooks", lambda: tmp_path)
    monkeypatch.setattr(kernels, "attempt", lambda job, fork: pytest.fail("a kernel was started"))
    with pytest.raises(InputError) as caught:
        notebooks.execute("tiny", given, tmp_path / "out", 10)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_unknown_parameter_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="parameter = 'round' is not usable: tiny has rounds, lr, name"):
        parameters.read_all(tiny(tmp_path, PARAMETERS), {"round": 5})


@pytest.mark.parametrize("code", ["total = rounds * 10", "import os", "print('x')", "a, b = 1, 2", "x: int"])
def test_parameters_cell_with_more_than_literals(code: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, ValueError)):
        parameters.declared(tiny(tmp_path, code))


def test_a_running_notebook_reads_its_own_and_refuses_what_was_injected_by_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(tmp_path, PARAMETERS)
    monkeypatch.setattr(parameters, "notebooks", lambda: tmp_path)
    space = {"rounds": "7", "lr": 0.1, "name": "x", "fresh": "false", "seeds": [1], "ranges": [], "nus": [], "other": 1}
    injected = '# Parameters\nrounds = "7"\nfresh = "false"\n'
    assert parameters.read("tiny", {**space, "In": ["", "x", injected]}) | {"nus": []} == {
        "rounds": 7, "lr": 0.1, "name": "x", "fresh": False, "seeds": [1], "ranges": [], "nus": [],
    }  # fmt: skip
    with pytest.raises(InputError, match="parameter = 'other' is not usable"):
        parameters.read("tiny", {**space, "In": ["", injected + "other = 1\n"]})


@pytest.mark.parametrize("path", sorted((files.REPOSITORY / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_reads_its_parameters_first_and_papermill_knows_them(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    first = "".join(cells[1]["source"])
    assert f'globals().update(parameters.read("{path.stem}", globals()))' in first
    lines = "".join(cells[0]["source"]).splitlines()
    assert all(line.partition("#")[2].count("=") == 0 for line in lines)
    assert all("|" not in line.partition("=")[0] for line in lines)
    known = parameters.declared(path)
    for name, parameter in known.items():
        assert parameter.read(parameter.default) == parameter.default, name


def test_papermill_lists_all_parameters() -> None:
    path = files.REPOSITORY / "notebooks" / "20_ablation_alpha.ipynb"
    code = (
        "from papermill.iorw import load_notebook_node as n; from papermill.inspection import _infer_parameters as i; "
    )
    code += "import sys; print(*(p.name for p in i(n(sys.argv[1]))))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(parameters.declared(path)) and "unknown" not in done.stderr.lower()
