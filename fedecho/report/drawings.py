"""Tells whether two files of a figure show the same, where the last bit of a logarithm may differ between processors.

numpy takes log10 from another library where the processor has AVX-512. A point that lies on the border between two
steps of the rasteriser (1/256 of a pixel) then falls to the other side, and one pixel is a grey level lighter.
"""

from __future__ import annotations

import io
import re
import zlib
from itertools import zip_longest

import numpy as np
from PIL import Image

_LEVELS = 2
"""Largest difference of a colour, of 255: an edge moved by less than 1/100 of a pixel."""
_SHARE = 1e-4
"""Largest share of the pixels that may differ: a stretch of an edge, but no marker, and no field of a map."""
_POINTS = 1e-5
"""Largest difference of a number in a PDF, in points, colours in units; matplotlib writes 6 decimals."""

_STREAM = re.compile(rb"stream\n(.*?)\nendstream", re.DOTALL)
_LENGTH = re.compile(rb"\n\d+\nendobj")
_WORD = re.compile(rb"\((?:\\.|[^\\()])*\)|(?<![\w.])-?\d*\.?\d+(?![\w.])|[^\s\d(]+|.", re.DOTALL)
_NUMBER = re.compile(rb"-?\d*\.?\d+")


def same(one: bytes, two: bytes, suffix: str) -> bool:
    """Tell whether two files with this `suffix` are equal, or for .png and .pdf show the same under the same label."""
    if one == two:
        return True
    try:
        return suffix in _COMPARED and _COMPARED[suffix](one, two)
    except (OSError, SyntaxError, zlib.error):  # not a whole picture
        return False


def _same_png(one: bytes, two: bytes) -> bool:
    pictures = [Image.open(io.BytesIO(content)) for content in (one, two)]
    if len({(p.format, p.mode, p.size, repr(sorted(p.info.items()))) for p in pictures}) > 1:
        return False
    first, second = (np.asarray(picture).astype(np.int16) for picture in pictures)
    apart = np.abs(first - second).max(axis=-1)
    return bool(apart.max() <= _LEVELS and np.count_nonzero(apart) <= _SHARE * apart.size)


def _same_pdf(one: bytes, two: bytes) -> bool:
    return all(
        a is not None and b is not None and (a == b or _same_words(a, b))
        for a, b in zip_longest(_parts(one), _parts(two))
    )


def _parts(pdf: bytes) -> list[bytes]:
    """Return the objects without what only says where bytes lie, then every stream, unpacked."""
    streams = [zlib.decompress(found) for found in _STREAM.findall(pdf)]
    objects = _STREAM.sub(b"", pdf).partition(b"\nxref\n")[0]
    return [_LENGTH.sub(b"", objects), *streams]


def _same_words(one: bytes, two: bytes) -> bool:
    """Compare numbers within the tolerance, and all else, above all the text in brackets, byte by byte."""
    for a, b in zip_longest(_WORD.findall(one), _WORD.findall(two), fillvalue=b""):
        numbers = _NUMBER.fullmatch(a) and _NUMBER.fullmatch(b)
        if a != b and not (numbers and abs(float(a) - float(b)) <= _POINTS):
            return False
    return True


def inches(pdf: bytes) -> float | None:
    """Return how wide a PDF is, none where it does not say so."""
    box = re.search(rb"/MediaBox \[ *(?:[\d.]+ +){2}([\d.]+)", pdf)
    return float(box[1]) / 72 if box else None


_COMPARED = {".png": _same_png, ".pdf": _same_pdf}
