"""The paper's own numbers, as its summary gives them: files that are written by hand, sealed, and checked."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from annotated_types import Interval

from fedecho.core.checks import Kind, Positive, check, kinds, require
from fedecho.core.files import REPOSITORY
from fedecho.core.store import require_sealed

FOLDER = REPOSITORY / "paper" / "reported"
Percent = Annotated[float, Interval(ge=0, le=100)]
_NUMBERS: dict[str, Kind] = kinds(value=Percent, low_seconds=Positive, high_seconds=Positive)


def numbers(name: str) -> pd.DataFrame:
    """Return the rows of a file: the numbers, dataset, model, source, note, and what they are about.

    Raises `InputError` without the file, for a number that none can be, and `RecordError` for a file that was edited
    or damaged.
    """
    path = FOLDER / f"{name}.csv"
    require(path.is_file(), "reported", str(path), "no such file; it belongs to the repository, paper/reported/*.csv")
    frame = pd.read_csv(require_sealed(path))
    for row in frame.to_dict("records"):
        given = {name: row[name] for name in _NUMBERS if name in row}
        whole = {name: float(value) if isinstance(value, int) else value for name, value in given.items()}
        check(whole, {name: _NUMBERS[name] for name in given}, f"{path.name}: ")
    return frame
