"""Where data sets lie, and what to say when one does not lie there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fedecho.core.checks import MissingDataError


def data_root(root: Path | None = None) -> Path:
    """Return the data folder: `root` where given, else the variable FEDECHO_DATA, else the user's cache folder."""
    if root is not None:
        return Path(root).expanduser()
    named = os.environ.get("FEDECHO_DATA")
    return Path(named).expanduser() if named else cache_folder() / "fedecho"


def cache_folder() -> Path:
    """Return the platform's folder for caches (XDG_CACHE_HOME or ~/.cache; ~/Library/Caches; LOCALAPPDATA)."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def missing(name: str, root: Path, by_hand: str, npz: str, *, fetchable: bool = True) -> MissingDataError:
    """Return the one-line error that names every way to get data set `name` into the folder `root`."""
    ways = [f"run `fedecho data fetch {name}`"] if fetchable else []
    ways += [f"put {by_hand} into {root} by hand"] if by_hand else []
    ways += [f"put an .npz of the same images at {root / npz} (another folder: FEDECHO_DATA or --data-root)"]
    listed = ", or ".join(f"({number}) {way}" for number, way in enumerate(ways, start=1))
    return MissingDataError("data", name, f"it is not in the data folder {root}; {listed}")
