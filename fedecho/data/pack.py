"""Carries data sets to a bare machine in parts of a limited size, each with its SHA-256.

python -m fedecho.data.pack pack FOLDER cifar10 cifar100-20k     # here: FOLDER gets the parts and index.json
python -m fedecho.data.pack unpack FOLDER                        # there: the data folder gets the .npz files
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from fedecho.core.checks import InputError, require
from fedecho.core.files import data_root, file_sha256, whole
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
    require(part * MIB >= 1, "part", part, "give at least 1 byte")
    require(not folder.is_dir() or not any(folder.iterdir()), "folder", str(folder), "it must be new or empty")
    made = {FILES[name]: _arrays(name, root) for name in chosen}  # all of them, before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    entries = [_packed(folder, file, arrays, int(part * MIB)) for file, arrays in made.items()]
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


def unpack(folder: tyro.conf.Positional[Path], root: Root = None) -> list[Path]:
    """Put the data sets of a packed folder into the data folder and return their files, each written whole.

    InputError: no index, or a part that is absent or has another SHA-256; then nothing is written.

    Args:
        folder: what `pack` wrote.
        root: the data folder (otherwise FEDECHO_DATA).
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
    final = target / str(entry["file"])
    with whole(final) as partial:
        with partial.open("wb") as out:
            for piece in entry["parts"]:
                out.write((folder / piece["file"]).read_bytes())
        fits = file_sha256(partial) == entry["sha256"]
        require(fits, "file", final.name, "its parts do not add up to it; pack again")
    return final


def main(args: Sequence[str] | None = None) -> None:
    """Pack or unpack, as the command line says."""
    for path in command(pack, unpack, args=args):
        print(f"{path} {path.stat().st_size / MIB:.1f} MiB")


if __name__ == "__main__":
    main()
