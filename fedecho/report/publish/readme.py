"""README.md and RESULTS.md from their templates: numbers come from the committed tables, and a sentence that is untrue
stops them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from fedecho.core.checks import require
from fedecho.core.files import REPOSITORY, folder_of, paper, write_whole
from fedecho.core.store import require_sealed
from fedecho.report import manifest
from fedecho.report.summary import REFERENCE

HOME = REPOSITORY / "paper"
PAGES = {HOME / "README.md.j2": REPOSITORY / "README.md", HOME / "RESULTS.md.j2": HOME / "RESULTS.md"}
"""Template -> the page that is made of it."""
Place = Sequence[str]
"""Setting and delay."""
_WORDS = (
    "none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip


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
    known.globals |= {"fact": fact, "span": span, "words": _WORDS, **Tables(folder).asked()}
    known.filters |= {f"d{digits}": partial(_number, digits=digits) for digits in range(3)} | {"size": size}
    return known


def pages(profile: str = "laptop") -> dict[Path, str]:
    """Return the pages as the tables of a profile have them: file -> text."""
    folder = folder_of("tables", profile)
    return {page: render(template.read_text(encoding="utf-8"), folder) for template, page in PAGES.items()}


@dataclass(frozen=True)
class Tables:
    """What a template can ask of the tables in a folder."""

    folder: Path

    def pick(self, table: str, column: str, **where: Any) -> float:
        """Return the number of the only row that has these values."""
        known = _frame(self.folder / f"{table}.csv")
        rows = known[[all(row[name] == value for name, value in where.items()) for _, row in known.iterrows()]]
        require(len(rows) == 1 and column in known, table, {"column": column, **where}, "name one cell that it has")
        return float(rows[column].iloc[0])

    def at(self, table: str, row: str, place: Place, column: str = "mean") -> float:
        """Return the number of a row at a place."""
        return self.pick(table, column, setting=place[0], delay=place[1], method=row)

    def each(self, table: str, rows: Iterable[str], places: Iterable[Place], column: str = "mean") -> list[float]:
        """Return the numbers of some rows at some places."""
        places = list(places)
        return [self.at(table, row, place, column) for row in rows for place in places]

    def places(self, table: str) -> list[Place]:
        """Return all places of a table."""
        return list(
            _frame(self.folder / f"{table}.csv")[["setting", "delay"]].drop_duplicates().itertuples(index=False)
        )

    def below(self, table: str, place: Place, column: str, limit: float = 0.0) -> list[str]:
        """Return the rows of a place whose number in a column lies below a limit, the lowest first."""
        block = self._block(table, place)
        return list(block[block[column] < limit].sort_values(column)["method"])

    def lead(self, table: str, row: str, place: Place) -> tuple[float, float]:
        """Return the 95 % interval of the reference's lead over a row."""
        mean, half = (self.at(table, row, place, column) for column in ("difference", "difference_half"))
        return mean - half, mean + half

    def best(self, table: str, place: Place) -> str:
        """Return the row of the highest mean at a place, of those of which no run diverged; FedEcho with another
        teacher than the paper's is left aside."""
        block = self._block(table, place)
        block = block[~block["method"].str.startswith(f"{REFERENCE}, ") & (block["diverged"] == 0)]
        return str(block["method"].iloc[block["mean"].argmax()])

    def figure(self, stem: str, words: str) -> str:
        """Return a figure as Markdown, with the words for who cannot see it and its caption below."""
        found = [p for known in manifest.read_all(self.folder) for p in known.figures if p.stem == stem]
        require(len(found) == 1, "figure", stem, "no table has a figure of this name")
        return f"![{words}](figures/{stem}.png)\n\n*{found[0].caption}*"

    def _block(self, table: str, place: Place) -> pd.DataFrame:
        known = _frame(self.folder / f"{table}.csv")
        return known[(known["setting"] == place[0]) & (known["delay"] == place[1])]

    def text(self, name: str) -> str:
        """Return a file of the folder, whole."""
        return (self.folder / name).read_text(encoding="utf-8")

    def claims(self, role: str, family: str | None = "") -> list[dict[str, Any]]:
        """Return the lines of the ledger of claims in one role, those of a family that was written down together; none:
        of all families."""
        lines = json.loads(require_sealed(self.folder.parent / "claims.json").read_text(encoding="utf-8"))
        return [line for line in lines if line["role"] == role and family in (None, line["family"])]

    def claim(self, name: str) -> dict[str, Any]:
        """Return the line of a primary claim."""
        found = [line for line in self.claims("primary", None) if line["id"] == name]
        require(len(found) == 1, "claim", name, "there is no primary claim of this name")
        return found[0]

    def verdict(self, *names: str) -> str:
        """Return the verdict that all of some primary claims have."""
        return " or ".join(dict.fromkeys(self.claim(name)["verdict"] for name in names))

    def means(self, name: str) -> tuple[float, float]:
        """Return the two means that an exploratory claim compares, over the seeds that both rows have."""
        found = [line["our_value"] for line in self.claims("exploratory", None) if line["id"] == name]
        require(len(found) == 1, "claim", name, "there is no exploratory claim of this name")
        first, second = re.findall(r"[\d.]+", found[0].partition("(")[2])
        return float(first), float(second)

    def asked(self) -> dict[str, Callable[..., Any]]:
        """Return all of these by name."""
        names = "pick at each places below lead best text figure claims claim means verdict"
        return {name: getattr(self, name) for name in names.split()}


def _frame(path: Path) -> pd.DataFrame:
    require(path.is_file(), "table", path.stem, "there is no such file in the folder of tables")
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, _changed: int) -> pd.DataFrame:
    return pd.read_csv(path)


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
    made = pages(profile) if told(profile) else {}
    for page, text in made.items():
        write_whole(page, text)
    return list(made)


def told(profile: str) -> bool:
    """Tell whether the templates are about the tables of a profile: those of the source tree."""
    return are_about(paper(), profile)


def _number(number: float, digits: int) -> str:
    return f"{number:.{digits}f}".replace("-", "−")
