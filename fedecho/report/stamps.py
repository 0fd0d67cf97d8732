"""Notes beside each executed notebook what it came from, so that it is executed again only if some of that changed.

Which files a notebook read and wrote is not declared but seen: Python tells whoever asks of each file it opens.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from fedecho.core.files import PACKAGE, paper, write_whole

_LIBRARIES = ("numpy", "scipy", "pandas", "matplotlib", "pillow", "jinja2", "torch", "papermill", "ipykernel")
_PARTIAL = re.compile(r"\.\d+\.partial$")


def path_of(executed: Path) -> Path:
    """Return the file of the stamp of an executed notebook."""
    return executed.with_suffix(".stamp.json")


def source(notebook: Path, parameters: Mapping[str, object]) -> str:
    """Return a digest of what a notebook is and runs on: its cells, its parameters, this package, its libraries."""
    files = (path for path in sorted(PACKAGE.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    parts = {
        "notebook": _digest(notebook),
        "parameters": dict(parameters),
        "package": {str(path.relative_to(PACKAGE)): _digest(path) for path in files},
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def write(executed: Path, made_from: str, touched: Iterable[str]) -> None:
    """Write the stamp of a notebook just executed; `touched` are the files in `paper` that it read or wrote."""
    root, names = paper(), {Path(name) for name in touched}
    folders = {name.parent for name in names if name.parts[0] == "records"}
    content = {
        "source": made_from,
        "files": {str(name): _digest(root / name) for name in sorted(names)},
        "folders": {str(name): _listing(root / name) for name in sorted(folders)},
        "executed": _digest(executed),
    }
    write_whole(path_of(executed), json.dumps(content, indent=1) + "\n")


def holds(executed: Path, made_from: str) -> bool:
    """Tell whether an executed notebook is there and neither it nor anything that it came from or wrote has changed."""
    try:
        stamp = json.loads(path_of(executed).read_text())
        return bool(stamp["source"] == made_from and stamp["executed"] == _digest(executed) and _all_there(stamp))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no stamp, or not one
        return False


def _all_there(stamp: dict[str, Any]) -> bool:
    root = paper()
    return all(_digest(root / name) == digest for name, digest in stamp["files"].items()) and all(
        _listing(root / name) == digest for name, digest in stamp["folders"].items()
    )


def _listing(folder: Path) -> str:
    """Return a digest of the names of the records in a folder: one that is new may belong to a table, too."""
    names = sorted(path.name for path in folder.glob("*.json"))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _digest(path: Path) -> str | None:
    """Return the digest of a file's bytes, none if it is not there."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return _digest_as_of(str(path), seen.st_size, seen.st_mtime_ns, seen.st_ino)


@cache
def _digest_as_of(path: str, *_: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def trace(log: str) -> None:
    """From now on note in `log` each file in the folder of records, tables and figures that this process opens."""
    root = os.path.join(os.path.abspath(paper()), "")
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    seen: set[str] = set()

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | os.PathLike):
            return
        path = _PARTIAL.sub("", os.path.abspath(arguments[0]))
        if path not in seen and path.startswith(root):
            seen.add(path)
            os.write(out, f"{path.removeprefix(root)}\n".encode())  # at once, for the process will be killed

    sys.addaudithook(note)


def touched(log: Path) -> list[str]:
    """Return the files that are noted in a log, relative to the folder of records, tables and figures."""
    return log.read_text().splitlines() if log.is_file() else []
