"""Code of the user's own: imported only when the user has named it, and known by the digest of its file.

A function is named `module:function`, of a module that can be imported, or `folder/file.py:function`; without a suffix
a module is also looked for in the working directory.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fedecho.core.checks import InputError, require
from fedecho.core.files import file_sha256, is_file


def digest(name: str, field: str = "function") -> str:
    """Return the SHA-256 (hex) of the file that defines a function."""
    path = module(name.rpartition(":")[0], field).__file__
    require(path is not None, field, name, "it is defined in no file; name one that is")
    return file_sha256(Path(str(path)))


def function(name: str, field: str = "function") -> Callable[..., Any]:
    """Return a function by its name; raises `InputError` for a module that does not import or does not have it."""
    place, _, attribute = name.rpartition(":")
    found = getattr(module(place, field), attribute, None)
    require(callable(found), field, name, f"{place} has no function {attribute}")
    assert found is not None
    return found  # type: ignore[no-any-return]


def module(place: str, field: str) -> ModuleType:
    """Return a module by its name or file, imported once for each content of the file."""
    path = Path(place if place.endswith(".py") else f"{place.replace('.', '/')}.py")
    if place.endswith(".py") or (is_file(path) and place not in sys.modules):
        return from_file(path, field)
    with blamed(field, place, "it cannot be imported"):
        return importlib.import_module(place)


def from_file(path: Path, field: str) -> ModuleType:
    """Return the module that a file is; raises `InputError` where there is none, or it does not import."""
    there = path.suffix == ".py" and is_file(path)
    require(there, field, str(path), "there is no such file; name one that ends in .py")
    name = f"fedecho_own_{file_sha256(path)[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None and spec.loader is not None
    made = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their own module up
    try:
        with blamed(field, str(path), "it cannot be imported"):
            spec.loader.exec_module(made)
    except BaseException:
        del sys.modules[name]
        raise
    return made


@contextmanager
def blamed(field: str, name: str, what: str, most: int | None = None) -> Iterator[None]:
    """Let whatever the user's code raises inside become one line, an `InputError`; `most`: characters of its own."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:most]
        raise InputError(field, name, f"{what} ({type(error).__name__}: {text})") from None
