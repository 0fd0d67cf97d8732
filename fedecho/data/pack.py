"""Carries data sets to a bare machine in parts of a limited size, each with its SHA-256.

python -m fedecho.data.pack pack FOLDER cifar10 cifar100-20k     # here: FOLDER gets the parts and index.json
python -m fedecho.data.pack unpack FOLDER                        # there: the data folder gets the .npz files
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fedecho.core.checks import InputError, require
from fedecho.core.files import file_sha256
from fedecho.data import load, npz
from fedecho.data.catalogue import data_root
from fedecho.data.pools import CIFAR100_PART, STL10, TINY_IMAGENET, read_unlabeled
from fedecho.data.sources import CIFARS, NPZ_KEYS

PART = 60 * 2**20
"""Largest size of a part, in bytes."""
INDEX = "index.json"
FILES = {name: f"{name}.npz" for name in CIFARS}
FILES |= {"cifar100-20k": CIFAR100_PART, "stl10": STL10, "tiny-imagenet-32": TINY_IMAGENET}
"""Data set -> the .npz that the loaders look for; STL-10 goes as it is used, averaged down to 32x32."""


def pack(folder: Path, names: Iterable[str], root: Path | None = None, part: int = PART) -> list[Path]:
    """Write the data sets `names`, checked by the loaders, to `folder` and return the files: parts, then the index.

    InputError: an unknown name, bad data, or a `folder` that holds something. MissingDataError: not in the data folder.
    """
    chosen = list(dict.fromkeys(names))
    for name in chosen or [""]:
        require(name in FILES, "data", name, f"choose some of {', '.join(FILES)}")
    require(part >= 1, "part", part, "give at least 1 byte")
    require(not folder.is_dir() or not any(folder.iterdir()), "folder", str(folder), "it must be new or empty")
    made = {FILES[name]: _arrays(name, root) for name in chosen}  # all of them, before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    entries = [_packed(folder, file, arrays, part) for file, arrays in made.items()]
    index = folder / INDEX
    index.write_text(json.dumps(entries, indent=1) + "\n")
    return [*(folder / piece["file"] for entry in entries for piece in entry["parts"]), index]


def _arrays(name: str, root: Path | None) -> dict[str, Any]:
    if name not in CIFARS:
        return {"images": read_unlabeled(name, data_root(root)).images}
    train, test = load(name, root).train, load(name, root).test
    return dict(zip(NPZ_KEYS, (train.images, train.labels, test.images, test.labels), strict=True))


def _packed(folder: Path, file: str, arrays: dict[str, Any], part: int) -> dict[str, Any]:
    """Write one .npz in parts and return its entry in the index."""
    buffer, pieces = io.BytesIO(), []
    npz.write(buffer, arrays)
    whole = buffer.getvalue()
    for number, start in enumerate(range(0, len(whole), part)):
        content, name = whole[start : start + part], f"{file}.{number:02d}"
        (folder / name).write_bytes(content)
        pieces.append({"file": name, "sha256": hashlib.sha256(content).hexdigest()})
    return {"file": file, "sha256": hashlib.sha256(whole).hexdigest(), "parts": pieces}


def unpack(folder: Path, root: Path | None = None) -> list[Path]:
    """Put the data sets of a packed `folder` into the data folder and return their files, each written whole.

    InputError: no index, or a part that is absent or has another SHA-256; then nothing is written.
    """
    index, target = folder / INDEX, data_root(root)
    require(index.is_file(), "folder", str(folder), f"it has no {INDEX}; give the folder that `pack` wrote")
    try:
        entries = [_checked(entry) for entry in json.loads(index.read_text())]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError("folder", str(index), f"it is not an index ({type(error).__name__}); pack again") from None
    for piece in (piece for entry in entries for piece in entry["parts"]):
        path = folder / piece["file"]
        require(path.is_file(), "part", str(path), "it is not there; copy it again")
        require(file_sha256(path) == piece["sha256"], "part", str(path), "its SHA-256 is another one; copy it again")
    target.mkdir(parents=True, exist_ok=True)
    return [_joined(folder, entry, target) for entry in entries]


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of the index whose names are plain file names."""
    names = [entry["file"], *(piece["file"] for piece in entry["parts"])]
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ValueError("a name that is a path")
    return entry


def _joined(folder: Path, entry: dict[str, Any], target: Path) -> Path:
    final, partial = target / entry["file"], target / f"{entry['file']}.{os.getpid()}.partial"
    try:
        with partial.open("wb") as out:
            for piece in entry["parts"]:
                out.write((folder / piece["file"]).read_bytes())
        fits = file_sha256(partial) == entry["sha256"]
        require(fits, "file", final.name, "its parts do not add up to it; pack again")
        return partial.replace(final)
    finally:
        partial.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Pack or unpack, as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m fedecho.data.pack", description=__doc__)
    parser.add_argument("action", choices=["pack", "unpack"])
    parser.add_argument("folder", type=Path, help="folder of the parts")
    parser.add_argument("names", nargs="*", help=f"data sets to pack: {', '.join(FILES)}")
    parser.add_argument("--data-root", type=Path, help="the data folder (otherwise FEDECHO_DATA)")
    parser.add_argument("--part", type=float, default=PART / 2**20, help="largest size of a part, in MiB")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.action == "pack":
            files = pack(chosen.folder, chosen.names, chosen.data_root, int(chosen.part * 2**20))
        else:
            files = unpack(chosen.folder, chosen.data_root)
    except InputError as error:
        print(f"fedecho: {error}", file=sys.stderr)
        sys.exit(2)
    for path in files:
        print(f"{path} {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
