"""Carries data sets to a bare machine in parts of a limited size, each with its SHA-256.

python -m fedecho.data.pack pack FOLDER cifar10 cifar100-20k     # here: FOLDER gets the parts and index.json
python -m fedecho.data.pack unpack FOLDER                        # there: the data folder gets the .npz files
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fedecho.core.checks import InputError
from fedecho.data import load, npz
from fedecho.data.folders import data_root
from fedecho.data.sources import NPZ_KEYS
from fedecho.data.unlabeled import CIFAR100_PART, TINY_IMAGENET, read_unlabeled

PART = 60 * 2**20
"""Largest size of a part, in bytes."""
INDEX = "index.json"
FILES = {
    "cifar10": "cifar10.npz",
    "cifar100": "cifar100.npz",
    "cifar100-20k": CIFAR100_PART,
    "stl10": "stl10.npz",
    "tiny-imagenet-32": TINY_IMAGENET,
}
"""Data set -> the .npz that the loaders look for; STL-10 goes as it is used, averaged down to 32x32."""


def pack(folder: Path, names: Iterable[str], root: Path | None = None, part: int = PART) -> list[Path]:
    """Write the data sets `names`, checked by the loaders, to `folder` and return the files: parts, then the index.

    InputError: an unknown name, bad data, or a `folder` that holds something. MissingDataError: not in the data folder.
    """
    chosen = list(dict.fromkeys(names))
    for name in chosen:
        _require(name in FILES, "data", name, f"choose some of {', '.join(FILES)}")
    _require(bool(chosen), "data", "", f"choose some of {', '.join(FILES)}")
    _require(part >= 1, "part", part, "give at least 1 byte")
    _require(not folder.is_dir() or not any(folder.iterdir()), "folder", str(folder), "it must be new or empty")
    made = [_arrays(name, root) for name in chosen]  # all of them, before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    entries = [_packed(folder, FILES[name], arrays, part) for name, arrays in zip(chosen, made, strict=True)]
    index = folder / INDEX
    index.write_text(json.dumps(entries, indent=1) + "\n")
    return [*(folder / piece["file"] for entry in entries for piece in entry["parts"]), index]


def _arrays(name: str, root: Path | None) -> dict[str, Any]:
    if name in ("cifar10", "cifar100"):
        splits = load(name, root)
        parts = (splits.train.images, splits.train.labels, splits.test.images, splits.test.labels)
        return dict(zip(NPZ_KEYS, parts, strict=True))
    return {"images": read_unlabeled(name, data_root(root)).images}


def _packed(folder: Path, file: str, arrays: dict[str, Any], part: int) -> dict[str, Any]:
    """Write one .npz in parts and return its entry in the index."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        whole = Path(scratch) / file
        npz.write(whole, arrays)
        pieces, state = list[dict[str, str]](), hashlib.sha256()
        with whole.open("rb") as source:
            while content := source.read(part):
                name = f"{file}.{len(pieces):02d}"
                (folder / name).write_bytes(content)
                state.update(content)
                pieces.append({"file": name, "sha256": hashlib.sha256(content).hexdigest()})
    return {"file": file, "sha256": state.hexdigest(), "parts": pieces}


def unpack(folder: Path, root: Path | None = None) -> list[Path]:
    """Put the data sets of a packed `folder` into the data folder and return their files, each written whole.

    InputError: no index, or a part that is absent or has another SHA-256; then nothing is written.
    """
    index, target = folder / INDEX, data_root(root)
    _require(index.is_file(), "folder", str(folder), f"it has no {INDEX}; give the folder that `pack` wrote")
    try:
        entries = [_checked(entry) for entry in json.loads(index.read_text())]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError("folder", str(index), f"it is not an index ({type(error).__name__}); pack again") from None
    for entry in entries:
        for piece in entry["parts"]:
            path = folder / piece["file"]
            _require(path.is_file(), "part", str(path), "it is not there; copy it again")
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            _require(found == piece["sha256"], "part", str(path), "its SHA-256 is another one; copy it again")
    target.mkdir(parents=True, exist_ok=True)
    return [_joined(folder, entry, target) for entry in entries]


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry of the index whose names are plain file names."""
    names = [entry["file"], *(piece["file"] for piece in entry["parts"])]
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ValueError("a name that is a path")
    return entry


def _joined(folder: Path, entry: dict[str, Any], target: Path) -> Path:
    final = target / str(entry["file"])
    partial = target / f"{final.name}.{os.getpid()}.partial"
    state = hashlib.sha256()
    try:
        with partial.open("wb") as out:
            for piece in entry["parts"]:
                content = (folder / piece["file"]).read_bytes()
                state.update(content)
                out.write(content)
        _require(state.hexdigest() == entry["sha256"], "file", final.name, "its parts do not add up to it; pack again")
        partial.replace(final)
    finally:
        partial.unlink(missing_ok=True)
    return final


def _require(condition: bool, field: str, value: object, allowed: str) -> None:
    if not condition:
        raise InputError(field, value, allowed)


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
