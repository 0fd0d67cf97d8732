"""Reading image arrays from .npz files: no pickles, and bad files refused with one line."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fedecho.data.canonical import Labels, Pixels
from fedecho.errors import InputError


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
