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

from fedecho.core.checks import InputError, require

_LONGEST_NAME = 255
"""Bytes in the name of a file or folder on the usual file systems."""
WRITABLE = os.R_OK | os.W_OK | os.X_OK
"""What a folder that is written to has to allow."""
PACKAGE = Path(__file__).resolve().parents[1]
REPOSITORY = PACKAGE.parent


def in_clone() -> bool:
    """Tell whether the package lies in a clone of its repository, and not in site-packages."""
    return (REPOSITORY / "pyproject.toml").is_file() and (REPOSITORY / "notebooks").is_dir()


def require_clone(command: str) -> None:
    """Raise `InputError` for a command that needs more of the repository than the package, where there is no more."""
    words = "it needs the notebooks and records of the repository; clone it, pip install -e . and call it from there"
    require(in_clone(), command, str(REPOSITORY), words)


def expanded(path: Path | str, field: str) -> Path:
    """Return a path with `~` as the home folder; raises `InputError` for `~name` of nobody."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(field, str(path), "nobody here has this home folder; write the whole path") from None


def is_file(path: Path | str) -> bool:
    """Tell whether a path is a file that can be read; one that no file can have is none."""
    try:
        return Path(path).is_file() and os.access(path, os.R_OK)
    except (OSError, ValueError):  # too long, or with a null byte
        return False


def require_folder(path: Path, field: str, mode: int = os.R_OK | os.X_OK) -> Path:
    """Return a path that is a folder which allows `mode`, or can become one; raises `InputError` for any other."""
    nearest = next(place for place in (path, *path.parents) if os.path.lexists(place))
    named = all(len(os.fsencode(part)) <= _LONGEST_NAME for part in path.parts)
    allowed = named and os.path.isdir(nearest) and os.access(nearest, mode)
    words = " that can be read and written" if mode & os.W_OK else " that can be read"
    require(allowed, field, str(path), f"it must be a folder{words}")
    return path


def home() -> Path:
    """Return where `paper/` and `build/` are: FEDECHO_HOME, else the clone, else (a wheel) the working directory."""
    return expanded(os.environ.get("FEDECHO_HOME") or (REPOSITORY if in_clone() else Path.cwd()), "FEDECHO_HOME")


def paper() -> Path:
    """Return the folder of records, tables and figures: FEDECHO_PAPER, or `paper/` at `home`."""
    return expanded(os.environ.get("FEDECHO_PAPER") or home() / "paper", "FEDECHO_PAPER")


def require_writable() -> None:
    """Raise `InputError` unless results can be written to `paper`: a clone may be read-only."""
    require_folder(paper(), "FEDECHO_PAPER", WRITABLE)


def data_root(root: Path | None = None) -> Path:
    """Return the data folder: `root` where given, else the variable FEDECHO_DATA, else the user's cache folder."""
    cache = platformdirs.user_cache_dir("fedecho", appauthor=False, opinion=False)
    return require_folder(expanded(root or os.environ.get("FEDECHO_DATA") or cache, "data_root"), "data_root")


def use_data(root: Path | None) -> None:
    """Let this process and those it starts look for data sets in `root`, where given; raises `InputError` for a
    file."""
    if root is not None:
        os.environ["FEDECHO_DATA"] = str(data_root(root).resolve())


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


def sweep_up(folder: Path, *, deep: bool = True) -> list[Path]:
    """Remove what processes that are gone were writing in a folder of records and those below (if not `deep`: in it and
    that of unfinished runs), and return it."""
    near = (next(os.walk(place), ("", [], [])) for place in (folder, folder / "unfinished"))
    found = (Path(place) / name for place, _, names in (os.walk(folder) if deep else near) for name in names)
    stale = [path for path in found if _is_stale(path) and is_file(path)]
    for path in stale:
        path.unlink(missing_ok=True)
    return stale


def _is_stale(path: Path) -> bool:
    found = _PARTIAL.search(path.name)
    if found is None or found[1] not in (_HOST, None):  # not ours
        return False
    try:
        os.kill(int(found[2]), 0)
    except (OSError, OverflowError) as error:  # the latter: a number that no process has, so no file of ours
        return isinstance(error, ProcessLookupError)
    return False


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def build(kind: Literal["custom", "own", "edited"], name: str = "") -> Path:
    """Return a folder beside `paper/`: of custom tables; of the records of a profile's runs of the user's own method,
    data, model or delays; of what code with other numerics, which `name` names, makes, laid out as in `paper/`."""
    return paper().parent / "build" / kind / name


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
