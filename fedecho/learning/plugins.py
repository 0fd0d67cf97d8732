"""Methods of the user's own, each in a file that the user names: `fedecho run --plugin my_method.py --method mine`.

A plugin is written as a file of `methods/` is: a config with a `name`, a factory, and `register`. The configs of its
methods carry its path and digest, so that a record says which code it is of, and a worker process can import it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fedecho.core import own
from fedecho.core.checks import InputError, require
from fedecho.core.config import METHODS, MethodConfig
from fedecho.core.files import file_sha256
from fedecho.learning.methods.base import FACTORIES


def load_all(paths: Iterable[Path | str]) -> list[str]:
    """Import plugins and return the names of their methods."""
    return [name for path in paths for name in load(Path(path))]


def load(path: Path) -> list[str]:
    """Import a plugin, once for each content of the file, and return the names of its methods.

    Raises `InputError` for a file that does not import, registers no method, or takes a name that exists.
    """
    before, known = dict(METHODS), set(sys.modules)
    try:
        own.from_file(path, "plugin")
        sha256 = file_sha256(path)
        new = {name: cls for name, cls in METHODS.items() if before.get(name) is not cls}
        for name in new:
            require(name not in before, "plugin", str(path), f"there is a method {name} already; choose a new name")
        for name, cls in new.items():
            word = isinstance(name, str) and re.fullmatch(r"\w[\w-]{0,40}", name) is not None
            require(
                word, "plugin", str(path), f"its method is called {name!r}; give a word of letters, digits, - and _"
            )
            require(cls in FACTORIES, "plugin", str(path), f"say what makes {cls.name}: register({cls.__name__}, ...)")
            cls.plugin, cls.plugin_sha256 = str(path.resolve()), sha256
            cls.__reduce__ = _reduced  # type: ignore[method-assign, assignment]
        names = [name for name, cls in METHODS.items() if cls.plugin_sha256 == sha256]
        require(bool(names), "plugin", str(path), "it registers no method; see CONTRIBUTING.md for a whole one")
    except InputError:
        METHODS.clear()
        METHODS.update(before)
        for name in set(sys.modules) - known:
            if name.startswith("fedecho_own_"):
                del sys.modules[name]
        raise
    return names


def _reduced(method: MethodConfig) -> tuple[Any, ...]:
    """Let a config travel to another process as the file of its plugin, which is imported there."""
    return _restored, (method.plugin, method.plugin_sha256, method.name, vars(method))


def _restored(path: str, sha256: str, name: str, values: dict[str, Any]) -> MethodConfig:
    load(Path(path))
    require(file_sha256(Path(path)) == sha256, "plugin", path, "it was changed while its runs were made; start again")
    return METHODS[name](**values)
