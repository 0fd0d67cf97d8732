"""The parameters of a notebook: what its cell declares, and what papermill, YAML or a reader hands over, read by type.

papermill passes what it does not recognise as text (`-p fresh false`, `-p alphas "[0.05, 0.5]"`, `-r rounds 5`) and
lets unknown names pass; here each value is read as its declaration says, or refused in one line before anything starts.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedecho.core.checks import InputError, require
from fedecho.core.files import notebooks

_NONE = ("none", "None", "null")
_LARGEST = 2**53
_TRUTHS = {"true": True, "false": False}


@dataclass(frozen=True)
class Parameter:
    """What a notebook's parameters cell says about one name."""

    default: object
    hint: str
    """The accepted type, e.g. `list[float]`: the annotation, or else the type of the default."""

    def read(self, value: object) -> object:
        """Return a value as the declared type; raises `ValueError` for what is not of it."""
        return _read(ast.parse(self.hint, mode="eval").body, value)


def _read(hint: ast.expr, value: object) -> object:
    """Read `value` by a hint: the name of a plain type, `list[...]`, or `list` of anything; papermill knows no `|`."""
    match hint:
        case ast.Name(id="list") | ast.Subscript():
            items = _from_text(value) if isinstance(value, str) else value
            if isinstance(items, list | tuple):
                return [_read(hint.slice, i) if isinstance(hint, ast.Subscript) else _known(i) for i in items]
        case ast.Name(id=name):
            return _plain(name, value)
    raise ValueError(value)


def _plain(name: str, value: object) -> object:
    """Read a text, truth value, whole number or finite number."""
    match name, value:
        case "str", str():
            return value
        case "bool", bool():
            return value
        case "bool", str() if value.lower() in _TRUTHS:
            return _TRUTHS[value.lower()]
        case "int", int() | str() if not isinstance(value, bool) and abs(int(value)) < _LARGEST:
            return int(value)
        case "float", int() | float() | str() if not isinstance(value, bool) and abs(float(value)) < math.inf:
            return float(value)
    raise ValueError(value)


def _known(item: object) -> object:
    return None if isinstance(item, str) and item in _NONE else item


def _from_text(text: str) -> Any:
    import yaml  # with the extra `notebooks`, as all that executes them

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, TypeError):
        raise ValueError(text) from None


def declared(source: Path) -> dict[str, Parameter]:
    """Return what the cell tagged `parameters` declares; it holds assignments of literals and nothing else."""
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    tagged = ("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    return dict(_parameter(statement) for statement in ast.parse(next(tagged, "")).body)


def _parameter(statement: ast.stmt) -> tuple[str, Parameter]:
    match statement:
        case ast.AnnAssign(target=ast.Name(name), annotation=hint, value=ast.expr() as value):
            return name, Parameter(ast.literal_eval(value), ast.unparse(hint))
        case ast.Assign(targets=[ast.Name(name)], value=value):
            default = ast.literal_eval(value)
            return name, Parameter(default, type(default).__name__)
    raise InputError("parameters", ast.unparse(statement), "the cell may only assign literals to names")


def read_all(source: Path, given: Mapping[str, object]) -> dict[str, object]:
    """Return the values of `given` by the types that a notebook declares.

    Raises `InputError` for a name that it does not declare, or a value of another type or not finite.
    """
    known, out = declared(source), dict[str, object]()
    for name, value in given.items():
        require(name in known, "parameter", name, f"{source.stem} has {', '.join(known)}")
        try:
            out[name] = known[name].read(value)
        except (ValueError, OverflowError):
            raise InputError(name, value, f"{source.stem} takes {known[name].hint}") from None
    return out


def read(stem: str, namespace: Mapping[str, Any]) -> dict[str, object]:
    """Return a running notebook's parameters by their types, for its first code cell: `globals().update(read(...))`.

    Raises `InputError` for a value of another type, and for a name that papermill injected and nobody declared.
    """
    source = notebooks() / f"{stem}.ipynb"
    injected = [cell for cell in namespace.get("In", []) if cell.startswith("# Parameters\n")][-1:]
    names = [name for cell in injected for name in _assigned(cell)]
    return read_all(source, {name: namespace[name] for name in dict.fromkeys([*declared(source), *names])})


def _assigned(cell: str) -> list[str]:
    targets = (statement.targets for statement in ast.parse(cell).body if isinstance(statement, ast.Assign))
    return [target.id for names in targets for target in names if isinstance(target, ast.Name)]
