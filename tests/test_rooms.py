"""The rooms of the package: each imports only those before it in the list, and no modules import each other in a
circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

import fedecho

ROOMS = ("core", "data", "simulation", "learning", "theory", "report", "studies", "cli")
HOME = Path(fedecho.__file__).parent
FILES = {".".join(path.relative_to(HOME.parent).with_suffix("").parts): path for path in HOME.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}


def imported(tree: ast.AST, known: set[str], folder: str) -> Iterator[str]:
    """Yield the modules of the package that a module in the package `folder` imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        if isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), folder)
            inner = [f"{source}.{alias.name}" for alias in node.names]  # a folder without an __init__ holds modules too
            yield from (name if name in known else source for name in inner if {name, source} & known)


def imports_of(sources: dict[str, str]) -> dict[str, set[str]]:
    parents = {name: name.rpartition(".")[0] for name in sources}
    folders = {name: name if name in parents.values() else parent for name, parent in parents.items()}
    return {name: set(imported(ast.parse(text), {*sources}, folders[name])) - {name} for name, text in sources.items()}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def floor(module: str) -> int:
    """Return the number of a module's room; the package itself, with names out of several rooms, is above them all."""
    return ROOMS.index(room(module)) if room(module) in ROOMS else len(ROOMS)


def upward(imports: dict[str, set[str]]) -> list[str]:
    """Return the imports that go from a room to a later one, or to the package itself."""
    return [f"{a} imports {b}" for a, others in imports.items() for b in others if floor(b) > floor(a)]


def taken_down(imports: dict[str, set[str]]) -> tuple[int, set[str]]:
    """Take away the modules that import nothing of the rest, again and again; return how often, which is the length of
    the longest chain of imports, and what is left, which is in circles or above one."""
    left, times = dict(imports), 0
    while free := [name for name, others in left.items() if not others & left.keys()]:
        left, times = {name: others for name, others in left.items() if name not in free}, times + 1
    return times, {*left}


IMPORTS = imports_of({name: path.read_text(encoding="utf-8") for name, path in MODULES.items()})


def test_nothing_lies_directly_in_the_package() -> None:
    assert {path.name for path in HOME.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {room(name) for name in MODULES} - {"", "__main__"} == {*ROOMS}


def test_rooms_import_only_those_before_them() -> None:
    assert upward(IMPORTS) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert taken_down(IMPORTS)[1] == set()


def test_chains_of_imports_are_short() -> None:
    assert taken_down(IMPORTS)[0] <= 14
    chain = {f"m{k}": {f"m{k + 1}"} for k in range(3)} | {"m3": set(), "other": {"m3"}}
    assert taken_down(chain) == (4, set())


@pytest.mark.parametrize("text", [
    "import fedecho.cli.main", "from fedecho.cli import main", "from fedecho.cli.main import main",
    "def late():\n    from fedecho.cli import main", "if TYPE_CHECKING:\n    from fedecho.cli.main import main",
    "from ..cli import main", "from ..cli.main import main",
])  # fmt: skip
@pytest.mark.parametrize("empty", [{"fedecho.cli": ""}, {}], ids=["a package", "a folder"])
def test_an_import_upward_and_a_circle_are_seen(text: str, empty: dict[str, str]) -> None:
    texts = {"fedecho": "", "fedecho.core": "", "fedecho.core.toy": text, "fedecho.cli.main": "import fedecho.core.toy"}
    made = imports_of(texts | empty)
    assert upward(made) == ["fedecho.core.toy imports fedecho.cli.main"]
    assert taken_down(made)[1] == {"fedecho.core.toy", "fedecho.cli.main"}


@pytest.mark.parametrize("text", ["from fedecho import run", "from .. import run"])
def test_the_public_face_is_for_users(text: str) -> None:
    made = imports_of({"fedecho": "from fedecho.core import toy", "fedecho.core": "", "fedecho.core.toy": text})
    assert upward(made) == ["fedecho.core.toy imports fedecho"]
