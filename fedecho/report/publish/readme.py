"""README.md and RESULTS.md from their templates: numbers come from the committed tables, and a sentence that is untrue
stops them."""

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
from fedecho.core.sums import require_sealed

HOME = REPOSITORY / "paper"
PAGES = {HOME / "README.md.j2": REPOSITORY / "README.md", HOME / "RESULTS.md.j2": HOME / "RESULTS.md"}
"""Template -> the page that is made of it."""
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
        loader=jinja2.FileSystemLoader(HOME),
    )  # fmt: skip
    known.globals |= {"fact": fact, "span": span, "words": _WORDS, **asking(folder)}
    known.filters |= {f"d{digits}": partial(_number, digits=digits) for digits in range(3)} | {"size": size}
    return known


def pages(profile: str = "laptop") -> dict[Path, str]:
    """Return the pages as the tables of a profile have them: file -> text."""
    folder = folder_of("tables", profile)
    return {page: render(template.read_text(encoding="utf-8"), folder) for template, page in PAGES.items()}


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
        lines = json.loads(require_sealed(folder.parent / "claims.json").read_text(encoding="utf-8"))
        return [line for line in lines if line["role"] == role]

    def claim(name: str) -> dict[str, Any]:
        """The line of a primary claim."""
        found = [line for line in claims("primary") if line["id"] == name]
        require(len(found) == 1, "claim", name, "there is no primary claim of this name")
        return found[0]

    def verdict(*names: str) -> str:
        """The verdict that all of some primary claims have."""
        return " or ".join(dict.fromkeys(claim(name)["verdict"] for name in names))

    return {ask.__name__: ask for ask in (pick, at, each, lead, best, text, claims, claim, verdict)}


def span(numbers: Iterable[float], digits: int = 1) -> str:
    """Write the smallest and the largest of some numbers as `1.0 to 2.6`, as one where they read the same."""
    known = list(numbers)
    low, high = (_number(end, digits) for end in (min(known), max(known)))
    return low if low == high else f"{low} to {high}"


def size(value: str) -> str:
    """Shorten a claim's value, `+1.81 ± 0.36 points (83.99 against 82.17)`, to its size: `1.81 ± 0.36`."""
    return value.partition(" points")[0].lstrip("+−")


def fact(true: bool, sentence: str) -> str:
    """Return nothing if a sentence still holds; raises `InputError` with it otherwise."""
    require(bool(true), "README", sentence, "the tables say otherwise; rewrite it in its template, paper/*.j2")
    return ""


def are_about(folder: Path, profile: str) -> bool:
    """Tell whether the pages are about the tables of a profile in a folder of results: those of the source tree."""
    return profile == "laptop" and folder.resolve() == HOME.resolve() and all(page.is_file() for page in PAGES)


def write(profile: str) -> list[Path]:
    """Write the pages where they are about these tables; return what was written."""
    made = pages(profile) if are_about(paper(), profile) else {}
    for page, text in made.items():
        write_whole(page, text)
    return list(made)


def told(profile: str) -> bool:
    """Tell whether the templates are about the tables of a profile: those of the source tree."""
    return are_about(paper(), profile)


def _number(number: float, digits: int) -> str:
    return f"{number:.{digits}f}".replace("-", "−")
