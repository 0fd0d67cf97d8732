"""Where things lie, independent of the folder a command is called from."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import platform
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import platformdirs

from fedecho.core.checks import require

PACKAGE = Path(__file__).resolve().parents[1]
REPOSITORY = PACKAGE.parent


def in_clone() -> bool:
    """Tell whether the package lies in a clone of its repository, and not in site-packages."""
    return (REPOSITORY / "pyproject.toml").is_file() and (REPOSITORY / "notebooks").is_dir()


def require_clone(command: str) -> None:
    """Raise `InputError` for a command that needs more of the repository than the package, where there is no more."""
    words = "it needs the notebooks and records of the repository; clone it, pip install -e . and call it from there"
    require(in_clone(), command, str(REPOSITORY), words)


def home() -> Path:
    """Return where `paper/` and `build/` are: FEDECHO_HOME, else the clone, else (a wheel) the working directory."""
    return Path(os.environ.get("FEDECHO_HOME") or (REPOSITORY if in_clone() else Path.cwd())).expanduser()


def paper() -> Path:
    """Return the folder of records, tables and figures: FEDECHO_PAPER, or `paper/` at `home`."""
    return Path(os.environ.get("FEDECHO_PAPER") or home() / "paper").expanduser()


def data_root(root: Path | None = None) -> Path:
    """Return the data folder: `root` where given, else the variable FEDECHO_DATA, else the user's cache folder."""
    cache = platformdirs.user_cache_dir("fedecho", appauthor=False, opinion=False)
    return Path(root or os.environ.get("FEDECHO_DATA") or cache).expanduser()


def use_data(root: Path | None) -> None:
    """Let this process and those it starts look for data sets in `root`, where given; raises `InputError` for a
    file."""
    if root is not None:
        require(not root.expanduser().is_file(), "data_root", str(root), "give a folder")
        os.environ["FEDECHO_DATA"] = str(root.expanduser().resolve())


def bundled_path(name: str) -> Path:
    """Return the path of the bundled file `name`."""
    return PACKAGE / "data" / "bundled" / name


_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
"""Of partial files: processes of several machines may share a folder."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL = re.compile(r"\.(?:([0-9a-f]{8})-)?(\d+)\.partial$")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield where to write a file, so that a reader sees all of it or nothing, and a failure leaves nothing.

    Raises `OSError` with the path where the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        yield partial
        partial.replace(path)
    except OSError as error:  # what a write raises does not know its file
        if error.errno not in _FULL or error.filename:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        partial.unlink(missing_ok=True)


def partial_of(path: Path) -> Path:
    """Return where this process writes a file before it gets its name."""
    return path.parent / f"{path.name}.{_HOST}-{os.getpid()}.partial"


def final_name(path: str) -> str:
    """Return the name that a file, partial or not, gets in the end."""
    return _PARTIAL.sub("", path)


def sweep_up(folder: Path) -> list[Path]:
    """Remove what processes that are gone were writing in a folder and those below, and return it."""
    stale = [path for path in folder.rglob("*.partial") if path.is_file() and _is_stale(path)]
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


def _is_stale(path: Path) -> bool:
    found = _PARTIAL.search(path.name)
    if found is None or found[1] not in (_HOST, None):  # not ours
        return False
    try:
        os.kill(int(found[2]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def custom() -> Path:
    """Return the folder of custom tables, `build/custom` beside `paper/`."""
    return paper().parent / "build" / "custom"


def own_dir(profile: str) -> Path:
    """Return the folder of the records of runs of the user's own method, data, model or delays."""
    return paper().parent / "build" / "own" / profile


def edited(state: str) -> Path:
    """Return where what code with other numerics makes lies, as in `paper/`; `state` names the code."""
    return paper().parent / "build" / "edited" / state


def notebooks() -> Path:
    """Return the folder of the notebooks."""
    return REPOSITORY / "notebooks"


def records_dir(profile: str) -> Path:
    """Return the folder of a profile's records."""
    return paper() / "records" / profile


def tuning_dir(profile: str) -> Path:
    """Return the folder of the tuning's records, apart from those that tables are made of."""
    return paper() / "records" / ("tuning" if profile == "laptop" else f"tuning-{profile}")


def folder_of(kind: Literal["tables", "figures", "executed", "site"], profile: str) -> Path:
    """Return the folder of what is made of a profile's records: the default profile's lies on top, so that no other can
    be taken for it."""
    return paper() / kind / ("" if profile == "laptop" else profile)


def protocol() -> Path:
    """Return the file that says how the tables are made."""
    return paper() / "PROTOCOL.md"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits; it is read again only once it has changed."""
    state = path.stat()
    return _sha256_as_of(path.resolve(), state.st_mtime_ns, state.st_size, state.st_ino)


@functools.lru_cache(maxsize=4096)
def _sha256_as_of(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_sha256(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON (keys sorted, no NaN or infinity) as hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
