"""What the paper (as a summary reports it) and this package claim, and how each claim is tested: paper/claims.toml.

An entry is one claim in one or more places (setting and delay); every place is a line of the ledger.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedecho.core import files
from fedecho.core.checks import Checked, InputError, Positive, require
from fedecho.core.config import RunConfig, from_dict
from fedecho.studies.profiles import WHOLE, whole
from fedecho.studies.study import TABLES, Question

Kind = Literal["greater", "at_least", "gap", "shortfall", "below", "equal", "cost", "theory", "untested"]
NEEDS: dict[str, tuple[str, ...]] = {
    "greater": ("study", "a", "b"),
    "at_least": ("study", "a", "b"),
    "gap": ("study", "a", "b", "easier"),
    "shortfall": ("study", "a", "b", "reference"),
    "below": ("study", "a", "limit"),
    "equal": ("study", "a", "b"),
    "cost": ("study", "a"),
    "theory": ("a",),
    "untested": (),
}
"""Kind of test -> the fields that it takes, all of them needed."""
_OPTIONAL = ("study", "a", "b", "easier", "reference", "limit")
_ENTRY = ("id", "text", "source", "notebook", "table", "paper", "note", "test", "places")
_REQUIRED = ("id", "text", "source", "notebook", "test")

Term = tuple[float, str, str]
"""Weight, variant, delay."""
Runs = Mapping[tuple[str, str, str], dict[int, RunConfig]]
"""Variant, setting, delay -> seed -> run."""


@dataclass(frozen=True)
class Comparison(Checked):
    """What is compared: variants `a` and `b` of a study; an empty name is not part of the profile. For kind `theory`,
    `a` names one of a study's questions."""

    kind: Kind
    study: str | None = None
    a: str | None = None
    b: str | None = None
    easier: str | None = None
    """gap: the delay from which accuracy is lost."""
    reference: str | None = None
    """shortfall: the variant that both fall short of."""
    limit: float | None = None
    """below: in the column's unit."""
    column: Literal["score", "straggler", "clipped"] = "score"
    """Test accuracy, the same on the classes that only stragglers own, or the share of clipped steps; all in %."""
    margin: Positive = 1.0
    """The smallest lead of interest (at_least: the largest deficit that does not count), in points."""
    beside: Literal["clipped"] | None = None
    """A column to be told beside the verdict, of variant `a`."""

    def validate(self) -> None:
        """Check that the kind has the fields it takes, and no others."""
        takes = NEEDS[self.kind]
        for name in _OPTIONAL:
            value = getattr(self, name)
            require((value is not None) == (name in takes), name, value, f"kind {self.kind} takes {_names(takes)}")


@dataclass(frozen=True)
class Claim(Checked):
    """A claim in one place: one line of the ledger."""

    id: str
    text: str
    source: Literal[
        "paper", "package", "package on CIFAR-10", "package on language", "package on running text",
        "package on running text, asked later",
    ]  # fmt: skip
    """Whose claim it is; also the family of tests over which p-values are corrected."""
    notebook: str
    test: Comparison
    setting: str = ""
    delay: str = ""
    table: str | None = None
    paper: str | None = None
    """The paper's own numbers, as the summary gives them."""
    note: str = ""

    def validate(self) -> None:
        """Check that a test on runs has a place, and only such a test."""
        placed = "study" in NEEDS[self.test.kind]
        wanted = "give at least one" if placed else f"kind {self.test.kind} has none"
        require(placed == bool(self.setting), "places", self.setting, wanted)

    @property
    def line(self) -> str:
        """The name of the line: the claim's and its place's, in letters, digits, dots and dashes."""
        return re.sub(r"[^a-z0-9.]+", "-", f"{self.id} {self.setting} {self.delay}".lower()).strip("-")

    @property
    def absent(self) -> bool:
        """Whether the profile has no such runs at all."""
        return "" in (self.test.a, self.test.b)

    @property
    def terms(self) -> list[Term]:
        """Every run that the test is made of."""
        return self.side(self.test.a) + self.side(self.test.b)

    def side(self, variant: str | None) -> list[Term]:
        """Return what makes the value of a variant in this test: a weighted sum of runs."""
        test = self.test
        match test.kind, variant:
            case _, None:
                return []
            case "gap", str():
                return [(1.0, variant, str(test.easier)), (-1.0, variant, self.delay)]
            case "shortfall", str():
                return [(1.0, str(test.reference), self.delay), (-1.0, variant, self.delay)]
        return [(1.0, str(variant), self.delay)]


def read(name: str, path: Path | None = None) -> list[Claim]:
    """Return the claims for a profile, in the file's order; `path` replaces paper/claims.toml.

    Raises `InputError` naming the entry, the field and what is allowed.
    """
    whole(name)
    content = _content(path or files.REPOSITORY / "paper" / "claims.toml")
    found: dict[str, Claim] = {}
    for position, entry in enumerate(content["claim"], start=1):
        with _naming(str(entry.get("id", f"claim {position}"))):
            for claim in _claims(entry, name, content["notebooks"]):
                require(claim.line not in found, "id", claim.id, "every claim and place comes once")
                _require_runs(claim, name)
                found[claim.line] = claim
    return list(found.values())


def _content(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("claims", str(path), f"it cannot be read ({error})".replace("\n", " ")) from None
    for name in ("notebooks", "claim"):
        require(isinstance(content.get(name), list), name, content.get(name), f"give a list of {name}s in {path.name}")
    return content


@contextmanager
def _naming(entry: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"claims.toml, {entry}: {error.field}", error.value, error.allowed) from None


def _claims(entry: Mapping[str, Any], name: str, notebooks: list[str]) -> list[Claim]:
    """Return an entry's claims, one for each place, with its variants' names at a profile."""
    for field in entry:
        require(field in _ENTRY, field, entry[field], f"an entry has {_names(_ENTRY)}")
    for field in _REQUIRED:
        require(field in entry, field, None, f"it is missing; every entry has {_names(_REQUIRED)}")
    require(entry["notebook"] in notebooks, "notebook", entry["notebook"], f"choose one of {_names(notebooks)}")
    fields = {field: value for field, value in entry.items() if field != "places"} | {
        "test": _test(entry["test"], name)
    }
    return [from_dict(Claim, {**fields, **_place(place)}) for place in entry.get("places", [["", ""]])]


def _test(test: Any, name: str) -> dict[str, Any]:
    require(isinstance(test, dict) and "kind" in test, "test", test, f"give a table with kind = {_names(NEEDS)}")
    return {field: _at_profile(field, value, name) for field, value in test.items()}


def _at_profile(field: str, value: Any, name: str) -> Any:
    """Return a variant's name at a profile, empty if it is named for others only."""
    if field not in ("a", "b") or not isinstance(value, dict):
        return value
    for known in value:
        require(known in WHOLE, f"{field}.{known}", value[known], f"choose one of {_names(WHOLE)}")
    return value.get(name, "")


def _place(place: Any) -> dict[str, Any]:
    pair = isinstance(place, list) and len(place) == 2
    require(pair, "places", place, "give pairs of setting and delay")
    return dict(zip(("setting", "delay"), place, strict=True))


def _require_runs(claim: Claim, name: str) -> None:
    """Check that the study has every run that the test is made of."""
    if claim.test.kind == "theory":
        asked = questions(name)
        require(claim.test.a in asked, "a", claim.test.a, f"choose one of {_names(asked)}")
    if claim.test.study is None or claim.absent:
        return
    runs, study = runs_of(claim.test.study, name), claim.test.study
    variants = {variant for variant, _, _ in runs}
    for field in ("a", "b", "reference"):
        value = getattr(claim.test, field)
        require(value is None or value in variants, field, value, f"{study} has {_names(v for v, _, _ in runs)}")
    for _, variant, delay in claim.terms:
        places = dict.fromkeys(f"{setting}, {kind}" for v, setting, kind in runs if v == variant)
        known = (variant, claim.setting, delay) in runs
        require(known, "places", f"{claim.setting}, {delay}", f"{variant} of {study} is run at {'; '.join(places)}")


@functools.cache
def runs_of(study: str, name: str) -> Runs:
    """Return the runs of a study at a profile; raises `InputError` naming the known studies."""
    runs: dict[tuple[str, str, str], dict[int, RunConfig]] = {}
    require(study in TABLES, "study", study, f"choose one of {', '.join(TABLES)}")
    for cell in TABLES[study](name).asked():
        runs.setdefault((cell.method, cell.setting, cell.delay), {})[cell.config.seed] = cell.config
    return runs


@functools.cache
def questions(name: str) -> dict[str, Question]:
    """Return by name what may be asked of the studies at a profile beside comparisons of runs."""
    return {asked: question for build in TABLES.values() for asked, question in build(name).questions().items()}


def _names(names: Any) -> str:
    return ", ".join(dict.fromkeys(names)) or "nothing"
