"""Notes beside each executed notebook what it came from, so that it is executed again only if some of that changed.

Which files a notebook read and wrote is not declared but seen: Python tells whoever asks of each file it opens.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fedecho.core.files import PACKAGE, file_sha256, final_name, json_sha256, paper, write_whole
from fedecho.core.provenance import versions

_LIBRARIES = ("numpy", "scipy", "pandas", "matplotlib", "pillow", "jinja2", "torch", "papermill", "ipykernel")


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
        "libraries": versions(*_LIBRARIES),
    }
    return json_sha256(parts)


def write(executed: Path, made_from: str, touched: Iterable[str]) -> None:
    """Write the stamp of a notebook just executed; `touched` are the files in `paper` that it read or wrote."""
    write_whole(path_of(executed), json.dumps(_state(executed, made_from, touched), indent=1) + "\n")


def holds(executed: Path, made_from: str) -> bool:
    """Tell whether an executed notebook is there and neither it nor anything that it came from or wrote has changed."""
    try:
        stamp = json.loads(path_of(executed).read_text(encoding="utf-8"))
        return bool(executed.is_file() and stamp == _state(executed, made_from, stamp["files"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):  # no stamp, or not one
        return False


def _state(executed: Path, made_from: str, touched: Iterable[str]) -> dict[str, Any]:
    """Return what a stamp says, as things are now; of a folder of records the names, for a new one may belong to a
    table, too."""
    root, names = paper(), sorted({Path(name) for name in touched})
    folders = sorted({name.parent for name in names if name.parts[0] == "records"})
    return {
        "source": made_from,
        "files": {str(name): _digest(root / name) for name in names},
        "folders": {str(name): json_sha256(sorted(p.name for p in (root / name).glob("*.json"))) for name in folders},
        "executed": _digest(executed),
    }


def _digest(path: Path) -> str | None:
    """Return the digest of a file's bytes, none if it is not there."""
    return file_sha256(path) if path.is_file() else None


def trace(log: str) -> None:
    """From now on note in `log` each file in the folder of records, tables and figures that this process opens."""
    root = os.path.join(os.path.abspath(paper()), "")
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    seen: set[str] = set()

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | os.PathLike):
            return
        path = final_name(os.path.abspath(arguments[0]))
        if path not in seen and path.startswith(root):
            seen.add(path)
            os.write(out, f"{path.removeprefix(root)}\n".encode())  # at once, for the process will be killed

    sys.addaudithook(note)


def touched(log: Path) -> list[str]:
    """Return the files that are noted in a log, relative to the folder of records, tables and figures."""
    return log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
