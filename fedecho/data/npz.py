"""Image arrays in .npz files: no pickles, bad files refused with one line, the same bytes for the same arrays."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import InputError, require
from fedecho.data.splits import Labels, Pixels


def read(path: Path, keys: Sequence[str]) -> list[npt.NDArray[np.generic]]:
    """Return the arrays of `path` under `keys`, in that order; InputError if unreadable or a key is lacking."""
    try:
        # NumPy leaves a file open that it fails to read, unless the file is ours.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return [archive[key] for key in keys]
    except KeyError:
        raise InputError("data", str(path), f"the .npz must hold the arrays {', '.join(keys)}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError("data", str(path), f"must be a readable .npz without pickles ({reason})") from None


def write(target: Path | BinaryIO, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write `arrays` to `target`, compressed; the same arrays give the same bytes at any time (with the same zlib)."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
            # A fixed date, so that two builds give the same file; numpy.savez would write the time of day.
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED)


def images(path: Path, *sides: int) -> Pixels:
    """Return the array `images` of `path`, see `as_pixels`."""
    return as_pixels(read(path, ("images",))[0], path, *sides)


def as_pixels(array: npt.NDArray[np.generic], path: Path, *sides: int) -> Pixels:
    """Return `array` as uint8 `[images, side, side, 3]` with a side among `sides`; InputError otherwise."""
    fits = array.dtype == np.uint8 and array.shape[1:] in [(side, side, 3) for side in sides] and len(array)
    allowed = " or ".join(f"[images, {side}, {side}, 3]" for side in sides)
    found = f"{array.dtype} {array.shape}"
    require(bool(fits), "data", str(path), f"its images must be uint8 {allowed}, not {found}")
    return array.astype(np.uint8, copy=False)


def as_labels(array: npt.NDArray[np.generic], path: Path, count: int, classes: int) -> Labels:
    """Return `array` as int64 `[count]`, every one of `classes` equally often; InputError otherwise."""
    fits, found = array.dtype.kind in "iu" and array.shape == (count,), f"{array.dtype} {array.shape}"
    require(fits, "data", str(path), f"its labels must be {count} integers, not {found}")
    labels = array.astype(np.int64)
    even = np.array_equal(np.sort(labels), np.repeat(np.arange(classes), count // classes))
    require(even, "data", str(path), f"its labels must be 0 .. {classes - 1}, each {count // classes} times")
    return labels
