"""Arrays in .npz files: no pickles, bad files refused with one line, the same bytes for the same arrays."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import InputError, require

LARGEST = 2**34
"""Bytes that an archive may have once it is unpacked: a small one can unpack to more than any memory holds."""


def read(path: Path, keys: Sequence[str]) -> list[npt.NDArray[np.generic]]:
    """Return the arrays of `path` under `keys`, in that order; InputError if unreadable or a key is lacking."""
    found = read_some(path, keys)
    require(set(keys) <= set(found), "data", str(path), f"the .npz must hold the arrays {', '.join(keys)}")
    return [found[key] for key in keys]


def read_some(path: Path, keys: Sequence[str]) -> dict[str, npt.NDArray[np.generic]]:
    """Return those arrays under `keys` that `path` has; InputError if it is unreadable or larger than `LARGEST`."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            require(size <= LARGEST, "data", str(path), f"it unpacks to {size:,} bytes; give at most {LARGEST:,}")
            there = [key for key in keys if f"{key}.npy" in archive.namelist()]
            return {key: _array(archive, f"{key}.npy") for key in there}
    except InputError:
        raise
    except (Exception, SystemError) as error:  # a bad file may fail in any way: zlib, lzma, NumPy's parser, memory
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError("data", str(path), f"must be a readable .npz without pickles ({reason})") from None


def _array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[np.generic]:
    """Return one array; NumPy would make room for what its header says, however little follows."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = head(file)
    require(not kind.hasobject, "data", name, "it holds objects, as pickles; give numbers, without pickles")
    held, said = archive.getinfo(name).file_size, math.prod(shape) * kind.itemsize
    require(said <= held, "data", name, f"its header says {said:,} bytes, and {held:,} are there")
    with archive.open(name) as file:
        found: npt.NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
        return found


def write(target: Path | BinaryIO, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write `arrays` to `target`, compressed; the same arrays give the same bytes at any time (with the same zlib)."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
            # A fixed date, so that two builds give the same file; numpy.savez would write the time of day.
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED)
