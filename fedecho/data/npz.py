"""Image arrays in .npz files: no pickles, bad files refused with one line, the same bytes for the same arrays."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import InputError
from fedecho.data.canonical import Labels, Pixels


def read(path: Path, keys: tuple[str, ...]) -> list[npt.NDArray[np.generic]]:
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


def write(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write `arrays` to `path`, compressed; the same arrays give the same bytes at any time (with the same zlib)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
            # A fixed date, so that two builds give the same file; numpy.savez would write the time of day.
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue())


def as_pixels(array: npt.NDArray[np.generic], sides: tuple[int, ...], path: Path) -> Pixels:
    """Return `array` as uint8 `[images, side, side, 3]` with a side among `sides`; InputError otherwise."""
    shapes = [(side, side, 3) for side in sides]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] not in shapes or not len(array):
        allowed = " or ".join(f"[images, {side}, {side}, 3]" for side in sides)
        raise InputError("data", str(path), f"its images must be uint8 {allowed}, not {array.dtype} {array.shape}")
    return array.astype(np.uint8, copy=False)


def as_labels(array: npt.NDArray[np.generic], count: int, classes: int, path: Path) -> Labels:
    """Return `array` as int64 `[count]`, every one of `classes` equally often; InputError otherwise."""
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise InputError("data", str(path), f"its labels must be {count} integers, not {array.dtype} {array.shape}")
    labels = array.astype(np.int64)
    in_range = labels.min() >= 0 and labels.max() < classes
    if not in_range or np.any(np.bincount(labels, minlength=classes) != count / classes):
        raise InputError("data", str(path), f"its labels must be 0 .. {classes - 1}, each {count // classes} times")
    return labels
