"""What the paper (as a summary reports it) and this package claim, and how each claim is tested: paper/claims.toml.

Every place (setting and delay) of an entry is an exploratory line of the ledger. A primary entry is one line over all
of its places, and has those lines too where it has several.
"""

from __future__ import annotations

import functools
import itertools
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedecho.core import files
from fedecho.core.checks import InputError, near, require
from fedecho.core.config import RunConfig, from_dict
from fedecho.studies.claims.claim import NEEDS, Claim, Comparison, Place, named
from fedecho.studies.profiles import WHOLE, whole
from fedecho.studies.study import TABLES, Question, Study

_PRIMARY = ("role", "margin", "power", "seeds", "family")
_ENTRY = ("id", "text", "test", *_PRIMARY, "given", "source", "table", "paper", "note", "places")

Runs = Mapping[tuple[str, str, str], dict[int, RunConfig]]
"""Variant, setting, delay -> seed -> run."""


def read(name: str, path: Path | None = None) -> list[Claim]:
    """Return the claims for a profile, in the file's order; `path` replaces paper/claims.toml.

    Claims on variants that the profile has not are left out. Raises `InputError` naming the entry, the field and what
    is allowed.
    """
    whole(name)
    found: dict[str, Claim] = {}
    for position, entry in enumerate(_entries(path or files.REPOSITORY / "paper" / "claims.toml"), start=1):
        try:
            for claim in _claims(entry, name):
                require(claim.line not in found, "id", claim.id, "every claim and place comes once")
                found[claim.line] = claim
        except InputError as error:
            place = f"claims.toml, {entry.get('id', f'claim {position}')}: {error.field}"
            raise InputError(place, error.value, error.allowed) from None
    return list(found.values())


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("claim")
    except (OSError, ValueError) as error:
        raise InputError("claims", str(path), f"it cannot be read ({error})".replace("\n", " ")) from None
    require(isinstance(entries, list), "claim", entries, f"give a list of claims in {path.name}")
    return list(entries or ())


def _claims(entry: Mapping[str, Any], name: str) -> Iterator[Claim]:
    """Yield an entry's lines at a profile."""
    for field in entry:
        require(field in _ENTRY, field, entry[field], f"an entry has {named(_ENTRY)}")
    for field in ("id", "text", "test"):
        require(field in entry, field, None, "it is missing; every entry has an id, a text and a test")
    test = _test(entry["test"], name)
    if "" in (test.a, test.b):
        return
    places = _places(entry.get("places", []), test, name)
    own = ("exploratory", test.study) if test.study else ("check", questions(name)[str(test.a)][0])
    line = from_dict(Claim, {**dict(zip(("role", "table"), own, strict=True)), **entry, "test": test, "places": places})
    table_of(line.table, name)
    if line.role != "exploratory":
        yield line
    if line.role == "exploratory" or len(places) > 1:
        about = {field: value for field, value in vars(line).items() if field not in _PRIMARY}
        yield from (Claim(**about | {"places": (place,)}) for place in places)


def _test(test: Any, name: str) -> Comparison:
    """Return a test with its variants' names at a profile, after a look at what there is."""
    require(isinstance(test, dict) and "kind" in test, "test", test, f"give a table with kind = {named(NEEDS)}")
    out = from_dict(Comparison, {field: _at_profile(field, value, name) for field, value in test.items()})
    if out.kind == "theory":
        require(out.a in questions(name), "a", out.a, f"choose one of {named(questions(name))}")
    elif "" not in (out.a, out.b):
        variants = dict.fromkeys(variant for variant, _, _ in runs_of(str(out.study), name))
        for field in ("a", "b"):
            value = getattr(out, field)
            require(value is None or value in variants, field, value, f"{out.study} has {named(variants)}")
    return out


def _at_profile(field: str, value: Any, name: str) -> Any:
    """Return a variant's name at a profile, empty if it is named for others only."""
    if field not in ("a", "b") or not isinstance(value, dict):
        return value
    for known in value:
        require(known in WHOLE, f"{field}.{known}", value[known], f"choose one of {named(WHOLE)}")
    return value.get(name, "")


def _places(places: Any, test: Comparison, name: str) -> tuple[Place, ...]:
    """Return pairs of setting and delay, for "all" every one in which the study has the variants."""
    runs = runs_of(test.study, name) if test.study else {}
    rows = [row for row in (test.a, test.b) if row is not None]
    if places == "all":
        found = dict.fromkeys((setting, delay) for _, setting, delay in runs)
        return tuple(place for place in found if all((row, *place) in runs for row in rows))
    pairs = isinstance(places, list) and all(isinstance(place, list) and len(place) == 2 for place in places)
    require(pairs, "places", places, 'give pairs of setting and delay, or "all"')
    for (setting, delay), row in itertools.product(places, rows if runs else ()):
        there = [f"{place}, {kind}" for other, place, kind in runs if other == row]
        for kind in (delay, test.easier or delay):
            where = f"{setting}, {kind}"
            require(where in there, "places", where, f"{row} of {test.study} is run at {'; '.join(there)}")
    return tuple((setting, delay) for setting, delay in places)


@functools.cache
def table_of(table: str, name: str) -> Study:
    """Return a table at a profile; raises `InputError` naming the known ones."""
    require(table in TABLES, "table", table, f"choose one of {named(TABLES)}{near(table, TABLES)}")
    return TABLES[table](name)


@functools.cache
def runs_of(study: str, name: str) -> Runs:
    """Return the runs of a study at a profile."""
    runs: dict[tuple[str, str, str], dict[int, RunConfig]] = {}
    for cell in table_of(study, name).asked():
        runs.setdefault((cell.method, cell.setting, cell.delay), {})[cell.config.seed] = cell.config
    return runs


@functools.cache
def questions(name: str) -> dict[str, tuple[str, Question]]:
    """Return by name what may be asked of the studies at a profile beside comparisons of runs, each with its table."""
    found = {table: table_of(table, name).questions() for table in TABLES}
    return {asked: (table, question) for table, known in found.items() for asked, question in known.items()}
