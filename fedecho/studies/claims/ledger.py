"""The ledger of claims as a table to read and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from fedecho.core import files, store
from fedecho.report import captions, render
from fedecho.report.summary import NOT_RUN, NOT_STATED, VERDICTS
from fedecho.studies.claims import table_of
from fedecho.studies.claims.claim import Role
from fedecho.studies.claims.lines import Line, evaluate
from fedecho.studies.claims.verdicts import COLUMNS, RULE

_TITLES: dict[tuple[Role, str], str] = {
    ("primary", ""): "Primary claims",
    ("primary", "teacher"): "Primary claims on the weighted teacher",
    ("check", ""): "Checks of the theory",
    ("exploratory", ""): "Exploratory estimates",
}
"""Role and family -> title."""
_COLUMNS: dict[Role, dict[str, Callable[[Line], object]]] = {
    "primary": {
        "verdict": lambda line: f"**{line.said}**",
        "fresh seeds": lambda line: line.our_value,
        "n": lambda line: line.n,
        "p (Holm)": lambda line: None if line.p is None else captions.p_text(line.p),
        "all seeds": lambda line: line.pooled,
        "smallest effect": lambda line: f"{line.margin:g}",
        "power": lambda line: f"{line.power:g}",
        "n for 80 %": lambda line: line.needed,
        "table": lambda line: _links(line),
    },
    "check": {"verdict": lambda line: f"**{line.said}**", "here": lambda line: line.our_value},
    "exploratory": {"here": lambda line: line.said, "n": lambda line: line.n},
}
"""Role -> what is shown between a claim with its place and the paper's number: heading -> cell."""


def written(profile: str) -> tuple[Path, Path]:
    """Return where the ledger is written, .md and .json: the default profile's have the plain name, no other can
    replace them."""
    name = "claims" if profile == "laptop" else f"claims-{profile}"
    return files.paper() / f"{name}.md", files.paper() / f"{name}.json"


def write(profile: str, path: Path | None = None) -> list[Line]:
    """Write the ledger's files (`written`), the same bytes each time, and return the lines; see `lines.evaluate`."""
    lines = evaluate(profile, path)
    page, data = written(profile)
    files.write_whole(page, markdown(lines))
    content = json.dumps([asdict(line) for line in lines], indent=1, ensure_ascii=False, allow_nan=False)
    files.write_whole(data, content + "\n")
    store.seal(data)
    return lines


def text(lines: Sequence[Line]) -> str:
    """Return the ledger for a terminal, and how many claims have each verdict."""
    rows = [
        "; ".join(filter(None, [f"{line.said}: {line.claim[:-1]}", line.place, line.our_value if line.verdict else ""]))
        for line in lines
    ]
    parts = {title: _part(lines, *of) for of, title in _TITLES.items() if of[0] != "exploratory"}
    return "\n".join([*rows, *(f"{title}: {_tally(part)}" for title, part in parts.items() if part)])


def _part(lines: Sequence[Line], role: Role, family: str) -> list[Line]:
    return [line for line in lines if (line.role, line.family) == (role, family)]


def _tally(lines: Sequence[Line]) -> str:
    counts = Counter(line.verdict for line in lines)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]) or NOT_RUN


def markdown(lines: Sequence[Line]) -> str:
    """Return the ledger as Markdown."""
    profile = lines[0].profile
    parts = [
        "# Claims",
        "What the paper, as a summary reports it, and this package claim, evaluated on the records of profile "
        f"`{profile}`. Made by `fedecho claims` from `claims.toml`. {captions.caveat(profile)}".strip(),
        RULE,
        f"Columns: {COLUMNS}",
    ]
    for (role, family), title in _TITLES.items():
        chosen = _part(lines, role, family)
        parts += [f"## {title}", *([] if role == "exploratory" else [f"{_tally(chosen)}."])] if chosen else []
        for table in dict.fromkeys(line.table for line in chosen) if role != "primary" else ():
            parts += _block(role, [line for line in chosen if line.table == table])
        parts += _block(role, chosen) if role == "primary" and chosen else []
    return "\n\n".join(parts) + "\n"


def _block(role: Role, lines: Sequence[Line]) -> Iterator[str]:
    """Yield numbers, and in words what is compared and noted; below a heading where lines are about one table."""
    if role != "primary":
        yield f"### {table_of(lines[0].table, lines[0].profile).title} ({_links(lines[0])})"
    columns, last = _COLUMNS[role], ""
    rows: list[list[object]] = [["claim", "place", *columns, "paper"]]
    said = list(dict.fromkeys(filter(None, map(_words, lines))))
    marked = role != "primary" and {*map(_words, lines)} > {*said[:1]}  # those of primary claims begin with the claim
    for line in lines:
        # A claim in many places is written once.
        about = "" if line.claim == last else _often(line.claim, lines)
        where = line.place or ("mean of several, see below" if role == "primary" else "")
        if marked and _words(line):
            where = f"{where} [{said.index(_words(line)) + 1}]".strip()
        cells = [where, *(cell(line) for cell in columns.values()), _paper(line)]
        rows.append([about, *(captions.NOTHING if cell is None else cell for cell in cells)])
        last = line.claim
    yield render.github(rows, [":--"] * len(rows[0]))
    if said:
        yield captions.bullets([f"[{k}] {words}" if marked else words for k, words in enumerate(said, start=1)])


def _words(line: Line) -> str:
    test = "" if line.role == "exploratory" else line.test
    named = f'<a id="{line.id}"></a>{line.claim}' if line.role == "primary" else ""
    return " ".join(filter(None, [named, test, line.note]))


def _often(claim: str, lines: Sequence[Line]) -> str:
    """Add to a claim in several places in how many of them its lead is above 0."""
    values = [line.our_value for line in lines if line.claim == claim and line.our_value]
    ahead = sum(value.startswith("+") for value in values)
    return f"{claim} The mean is above 0 in {ahead} of {len(values)} places." if len(values) > 1 else claim


def _paper(line: Line) -> str | None:
    return line.paper_value or (NOT_STATED if line.source == "paper" else None)


def _links(line: Line) -> str:
    """Name table and notebook, as links where they are there."""
    folder = "tables" if line.profile == "laptop" else f"tables/{line.profile}"
    found = [(line.table, f"{folder}/{line.table}.md"), (line.notebook, f"../notebooks/{line.notebook}.ipynb")]
    home = files.REPOSITORY / "paper"
    return ", ".join(f"[{name}]({link})" if (home / link).is_file() else name for name, link in found)
