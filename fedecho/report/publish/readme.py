"""README.md from its template: numbers come from the committed tables, and a sentence that is untrue stops it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from fedecho.core.checks import require
from fedecho.core.files import REPOSITORY, folder_of, paper, write_whole

TEMPLATE, README = REPOSITORY / "paper" / "README.md.j2", REPOSITORY / "README.md"
Place = Sequence[str]
"""Setting and delay."""
_WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def render(template: str, folder: Path) -> str:
    """Return the text of a template from the tables of a folder.

    Raises `InputError` for a table, row or column that is not there, and for a sentence that is no longer true.
    """
    return environment(folder).from_string(template).render()


def environment(folder: Path) -> jinja2.Environment:
    """Return what templates of text are made in: they can ask the tables of a folder, and include those of `paper`."""
    known = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
    )  # fmt: skip
    known.globals |= {"fact": fact, "span": span, "words": _WORDS, **asking(folder)}
    known.filters |= {f"d{digits}": partial(_number, digits=digits) for digits in range(3)}
    return known


def readme(profile: str = "laptop") -> str:
    """Return README.md as the tables of a profile have it."""
    return render(TEMPLATE.read_text(encoding="utf-8"), folder_of("tables", profile))


def asking(folder: Path) -> dict[str, Callable[..., Any]]:
    """Return what a template can ask of the tables of a folder, by name."""

    @cache
    def frame(table: str) -> pd.DataFrame:
        path = folder / f"{table}.csv"
        require(path.is_file(), "table", table, "there is no such file in the folder of tables")
        return pd.read_csv(path)

    def pick(table: str, column: str, **where: Any) -> float:
        """The number of the only row that has these values."""
        known = frame(table)
        rows = known[[all(row[name] == value for name, value in where.items()) for _, row in known.iterrows()]]
        require(len(rows) == 1 and column in known, table, {"column": column, **where}, "name one cell that it has")
        return float(rows[column].iloc[0])

    def at(table: str, row: str, place: Place, column: str = "mean") -> float:
        """The number of a row at a place."""
        return pick(table, column, setting=place[0], delay=place[1], method=row)

    def each(table: str, rows: Iterable[str], places: Iterable[Place], column: str = "mean") -> list[float]:
        """The numbers of some rows at some places."""
        places = list(places)
        return [at(table, row, place, column) for row in rows for place in places]

    def lead(table: str, row: str, place: Place) -> tuple[float, float]:
        """The 95 % interval of the reference's lead over a row."""
        mean, half = at(table, row, place, "difference"), at(table, row, place, "difference_half")
        return mean - half, mean + half

    def best(table: str, place: Place) -> str:
        """The row of the highest mean at a place, of those of which no run diverged."""
        known = frame(table)
        block = known[(known["setting"] == place[0]) & (known["delay"] == place[1]) & (known["diverged"] == 0)]
        return str(block["method"].iloc[block["mean"].argmax()])

    def text(name: str) -> str:
        """A file of the folder, whole."""
        return (folder / name).read_text(encoding="utf-8")

    def claims(role: str) -> list[dict[str, Any]]:
        """The lines of the ledger of claims in one role."""
        lines = json.loads((folder.parent / "claims.json").read_text(encoding="utf-8"))
        return [line for line in lines if line["role"] == role]

    return {"pick": pick, "at": at, "each": each, "lead": lead, "best": best, "text": text, "claims": claims}


def span(numbers: Iterable[float], digits: int = 1) -> str:
    """Write the smallest and the largest of some numbers as `1.0 to 2.6`, as one where they read the same."""
    known = list(numbers)
    low, high = (_number(end, digits) for end in (min(known), max(known)))
    return low if low == high else f"{low} to {high}"


def fact(true: bool, sentence: str) -> str:
    """Return nothing if a sentence still holds; raises `InputError` with it otherwise."""
    require(bool(true), "README", sentence, "the tables say otherwise; rewrite the sentence in paper/*.md.j2")
    return ""


def write(profile: str) -> list[Path]:
    """Write README.md where the tables are the ones it is about, those of the source tree; return what was written."""
    if not told(profile):
        return []
    write_whole(README, readme(profile))
    return [README]


def told(profile: str) -> bool:
    """Tell whether the templates are about the tables of a profile: those of the source tree."""
    return profile == "laptop" and paper().resolve() == TEMPLATE.parent.resolve() and TEMPLATE.is_file()


def _number(number: float, digits: int) -> str:
    return f"{number:.{digits}f}".replace("-", "−")
