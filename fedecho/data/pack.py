"""Carries data sets to a bare machine in parts of a limited size, each with its SHA-256.

python -m fedecho.data.pack pack FOLDER cifar10 cifar100-20k     # here: FOLDER gets the parts and index.json
python -m fedecho.data.pack unpack FOLDER                        # there: the data folder gets the .npz files
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from fedecho.core.checks import InputError, require
from fedecho.core.files import data_root, file_sha256, is_file, whole
from fedecho.data import load, npz
from fedecho.data.command import command
from fedecho.data.pools import CIFAR100_PART, STL10, TINY_IMAGENET, read_unlabeled
from fedecho.data.sources import CIFARS, NPZ_KEYS

MIB = 2**20
INDEX = "index.json"
FILES = {name: f"{name}.npz" for name in CIFARS}
FILES |= {"cifar100-20k": CIFAR100_PART, "stl10": STL10, "tiny-imagenet-32": TINY_IMAGENET}
"""Data set -> the .npz that the loaders look for; STL-10 goes as it is used, averaged down to 32x32."""
Root = Annotated[Path | None, tyro.conf.arg(name="data-root")]


def pack(
    folder: tyro.conf.Positional[Path],
    names: tyro.conf.Positional[tuple[str, ...]],
    root: Root = None,
    part: float = 60,
) -> list[Path]:
    """Write data sets, checked by the loaders, to a folder and return its files: parts, then the index.

    InputError: an unknown name, bad data, or a folder that holds something. MissingDataError: not in the data folder.

    Args:
        folder: new or empty.
        names: cifar10, cifar100, cifar100-20k, stl10, tiny-imagenet-32.
        root: the data folder (otherwise FEDECHO_DATA).
        part: largest size of a part, in MiB.
    """
    chosen = list(dict.fromkeys(names))
    for name in chosen or [""]:
        require(name in FILES, "data", name, f"choose some of {', '.join(FILES)}")
    require(1 <= part * MIB < 2**53, "part", part, "give at least 1 byte, below 2^53")
    require(not folder.is_dir() or not any(folder.iterdir()), "folder", str(folder), "it must be new or empty")
    made = {FILES[name]: _arrays(name, root) for name in chosen}  # all of them, before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    entries = {file: _packed(folder, file, arrays, int(part * MIB)) for file, arrays in made.items()}
    index = folder / INDEX
    index.write_text(json.dumps(entries, indent=1) + "\n")
    return [*(folder / name for pieces in entries.values() for name in pieces), index]


def _arrays(name: str, root: Path | None) -> dict[str, Any]:
    if name not in CIFARS:
        return {"images": read_unlabeled(name, data_root(root)).images}
    train, test = load(name, root).train, load(name, root).test
    return dict(zip(NPZ_KEYS, (train.images, train.labels, test.images, test.labels), strict=True))


def _packed(folder: Path, file: str, arrays: dict[str, Any], part: int) -> dict[str, str]:
    """Write one .npz in parts and return their names with their SHA-256."""
    buffer = io.BytesIO()
    npz.write(buffer, arrays)
    content = buffer.getvalue()
    starts = range(0, len(content), part)
    pieces = {f"{file}.{number:02d}": content[start : start + part] for number, start in enumerate(starts)}
    for name, piece in pieces.items():
        (folder / name).write_bytes(piece)
    return {name: hashlib.sha256(piece).hexdigest() for name, piece in pieces.items()}


def unpack(folder: tyro.conf.Positional[Path], root: Root = None) -> list[Path]:
    """Put the data sets of a packed folder into the data folder and return their files, each written whole.

    InputError: no index, a part that is absent or has another SHA-256, or a file that is there with other content; then
    nothing is written.

    Args:
        folder: what `pack` wrote.
        root: the data folder (otherwise FEDECHO_DATA).
    """
    target, entries = data_root(root), _entries(folder / INDEX)
    for name, digest in (piece for pieces in entries.values() for piece in pieces.items()):
        path = folder / name
        require(is_file(path), "part", str(path), "it is not there; copy it again")
        require(file_sha256(path) == digest, "part", str(path), "its SHA-256 is another one; copy it again")
    new = {file: [folder / name for name in pieces] for file, pieces in entries.items()}
    for file in [file for file in new if os.path.lexists(target / file)]:
        whole_sha256 = hashlib.sha256(b"".join(part.read_bytes() for part in new.pop(file))).hexdigest()
        same = is_file(target / file) and file_sha256(target / file) == whole_sha256
        require(same, "file", str(target / file), "it is there with other content; move it away first")
    for file, parts in new.items():
        with whole(target / file) as partial, partial.open("wb") as out:
            for part in parts:
                out.write(part.read_bytes())
    return [target / file for file in entries]


def _entries(index: Path) -> dict[str, dict[str, str]]:
    """Return what an index lists: file -> its parts with their digests. Only files that `pack` writes can be in it."""
    require(is_file(index), "folder", str(index.parent), f"it has no {INDEX}; give the folder that `pack` wrote")
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))
        for file, parts in listed.items():
            named = [re.fullmatch(rf"{re.escape(file)}\.\d{{2,}}", part) is not None for part in parts]
            if file not in FILES.values() or not named or not all(named):
                raise ValueError("a name that `pack` does not write")
        return {file: dict(parts) for file, parts in listed.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        words = f"it is not an index ({type(error).__name__}: {error}); pack again"
        raise InputError("folder", str(index), words) from None


def main(args: Sequence[str] | None = None) -> None:
    """Pack or unpack, as the command line says."""
    for path in command(pack, unpack, args=args):
        print(f"{path} {path.stat().st_size / MIB:.1f} MiB")


if __name__ == "__main__":
    main()
