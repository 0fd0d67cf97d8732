"""Arrays in .npz files: no pickles, bad files refused with one line, the same bytes for the same arrays."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fedecho.core.checks import InputError


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
