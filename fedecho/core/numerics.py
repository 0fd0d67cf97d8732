"""Which code the numbers of a run go through, and whether the golden runs are known to hold for it.

A run goes through some *parts*: `run` (`learning.experiment` and all it imports: data, schedule, clients, models,
evaluation), the modules that its methods have beside those, or `theory`. The digest of a part covers the syntax trees
of its modules without comments, docstrings and layout. `golden.txt` has a line for each state of the code for which the
golden runs of the tests were seen to hold; `fedecho golden` writes one. A new method or study is a file in none of the
others' parts, and changes no digest of theirs.

What it does not see: libraries, bundled files (a record has the digest of its data), what a package's `__init__` does
while it imports a method, what is imported by name at run time, and the modules in `_WITHOUT_NUMBERS`. A change that
the golden runs are too few to notice is listed all the same.
"""

from __future__ import annotations

import ast
import datetime
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fedecho.core import files
from fedecho.core.config import MethodConfig, RunConfig, methods_in
from fedecho.core.files import PACKAGE, file_sha256, json_sha256

LISTED = Path(__file__).with_name("golden.txt")
RUN, THEORY = "run", "theory"
_ROOTS = {RUN: "fedecho.learning.experiment", THEORY: "fedecho.theory.engine"}
_METHODS = "fedecho.learning.methods"
_WITHOUT_NUMBERS = {
    *(f"fedecho.core.{name}" for name in ("checks", "clock", "files", "numerics", "own", "provenance", "store")),
    *(f"fedecho.learning.{name}" for name in ("bar", "export", "pins")),
    "fedecho.data.download",
    _METHODS,
}
"""Modules that validate, time, locate, store, display, fetch or list things, and change no number of a run."""
_DIGITS = 12


def of(method: MethodConfig) -> tuple[str, ...]:
    """Return the parts that a training run with a method goes through."""
    modules = (type(each).__module__ for each in methods_in(method))
    return (RUN, *(name.rpartition(".")[2] for name in modules if name.startswith(f"{_METHODS}.")))


def state() -> dict[str, str]:
    """Return the digest of every part, as the code is now."""
    methods = sorted(path.stem for path in (PACKAGE / "learning" / "methods").glob("*.py"))
    names = [name for name in methods if name not in ("__init__", "base")]
    return {name: digest(name) for name in (*names, *_ROOTS)}


@functools.cache
def digest(part: str) -> str:
    """Return the digest of a part, 12 hex digits, as it was when this process first asked."""
    modules = _closure(_ROOTS.get(part, f"{_METHODS}.{part}"))
    if part != RUN:
        modules = modules - _closure(_ROOTS[RUN])
    paths = [(name, path) for name in sorted(modules) if (path := _path(name))]
    return json_sha256([[name, _tree_sha256(path, file_sha256(path))] for name, path in paths])[:_DIGITS]


def name_of(parts: Iterable[str]) -> str:
    """Return what names the code of some parts together, 12 hex digits."""
    return json_sha256({part: digest(part) for part in parts})[:_DIGITS]


def unlisted(parts: Iterable[str]) -> tuple[str, ...]:
    """Return the parts in which the code differs from the nearest line of the list; none = it is listed."""
    now = {part: digest(part) for part in parts}
    others = [tuple(part for part, own in now.items() if line.get(part) != own) for line in _lines()]
    return min(others, key=len, default=tuple(now))


def apart(parts: Iterable[str]) -> Path | None:
    """Return the folder of what unlisted code makes, laid out as `paper/` is; none where the parts are listed."""
    parts = sorted(set(parts))
    return files.build("edited", name_of(parts)) if unlisted(parts) else None


def place(folder: Path, config: RunConfig) -> Path:
    """Return `folder`, in which records lie, or the one that stands for it where the code of a run is not listed."""
    other, root = apart(of(config.method)), files.paper()
    if other is None:
        return folder
    inside = folder.resolve().is_relative_to(root.resolve())
    return other / folder.resolve().relative_to(root.resolve()) if inside else folder / "edited" / other.name


def warning(parts: Iterable[str]) -> str | None:
    """Say in a line that the code is not listed, and what follows from that; none where it is."""
    parts = sorted(set(parts))
    changed, other = unlisted(parts), apart(parts)
    if other is None:
        return None
    return (
        f"the numerics of this code ({', '.join(changed)}) are none for which the golden runs are known to hold: "
        f"what it trains goes to {other}, apart from the records; `fedecho golden` lists it once they hold"
    )


def write() -> bool:
    """List the code as it is now; return whether it was not yet."""
    now = state()
    new = bool(unlisted(now))
    if new:
        said = " ".join(f"{name}={own}" for name, own in now.items())
        files.write_whole(LISTED, LISTED.read_text() + f"{datetime.date.today()} {said}\n")
    return new


def _lines() -> list[dict[str, str]]:
    """Return part -> digest, of each line."""
    return [dict(entry.split("=") for entry in line.split()[1:]) for line in LISTED.read_text().splitlines()]


# Syntax trees


def _closure(root: str) -> frozenset[str]:
    """Return a module of the package with all that it imports of it, but for what has no numbers."""
    found, todo = set[str](), [root]
    while todo:
        name = todo.pop()
        if name not in found and name not in _WITHOUT_NUMBERS:
            found.add(name)
            path = _path(name)
            todo += _imported(path, file_sha256(path)) if path else ()
    return frozenset(found)


def _path(module: str) -> Path | None:
    base = PACKAGE.parent.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@functools.lru_cache(maxsize=1024)
def _imported(path: Path, _sha256: str) -> tuple[str, ...]:
    """Return the modules of the package that a file imports, also inside functions."""
    out: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            out += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom) and node.module:
            out += [_home(node.module, alias.name) for alias in node.names]
    own = [name for name in dict.fromkeys(out) if name.startswith(f"{PACKAGE.name}.")]
    return tuple(name for name in own if _path(name))


def _home(module: str, name: str) -> str:
    """Return the module that `from module import name` is about, where a package passes it on the one it is from."""
    inner, path = f"{module}.{name}", _path(module)
    if _path(inner) or path is None or path.name != "__init__.py" or not module.startswith(f"{PACKAGE.name}."):
        return inner if _path(inner) else module
    return _passed_on(path, file_sha256(path)).get(name, module)


@functools.lru_cache(maxsize=64)
def _passed_on(path: Path, _sha256: str) -> dict[str, str]:
    """Return name -> module, of what a package imports by name."""
    nodes = [node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.asname or alias.name: node.module for node in nodes for alias in node.names if node.module}


@functools.lru_cache(maxsize=1024)
def _tree_sha256(path: Path, _sha256: str) -> str:
    """Return the SHA-256 of a file's syntax tree without comments, docstrings and layout, alike in all Pythons."""
    return json_sha256(_shape(ast.parse(path.read_bytes())))


def _shape(node: Any) -> Any:
    """Return a syntax tree as lists and texts; what is empty is left out, for newer Pythons know of more fields."""
    if isinstance(node, list):
        return [_shape(part) for part in node if not _is_docstring(part)]
    if isinstance(node, ast.Constant):
        return ["Constant", repr(node.value)]
    if isinstance(node, ast.AST):
        parts = ((name, value) for name, value in ast.iter_fields(node) if value is not None and value != [])
        return [type(node).__name__, *([name, _shape(value)] for name, value in parts if name != "ctx")]
    return str(node)


def _is_docstring(node: Any) -> bool:
    """Tell whether a statement is a text that nothing is done with."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
