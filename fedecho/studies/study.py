"""The base class of studies, and the tables by name.

A table is one file of this folder: a function from a profile (and optional parameters) to a `Study`. With other
parameters than the committed table's it is a custom table, with a folder of its own.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from fedecho.core import files, numerics
from fedecho.core.checks import InputError, require
from fedecho.report import summary
from fedecho.studies import profiles


@dataclass(frozen=True, eq=False)
class Table:
    """What a study shows."""

    frame: pd.DataFrame
    """One row per record: hash, commit, dirty, status, score."""
    texts: pd.DataFrame
    """The cells as text, indexed by block and row."""
    numbers: pd.DataFrame
    """The numbers behind the texts, for the .csv."""
    notes: str
    """Below it: the records behind it, and what is computed from them."""
    figures: Mapping[str, tuple[Figure, str]] = field(default_factory=dict)
    """Name -> figure and caption."""
    bold: Sequence[bool] = ()
    record_set: str = ""
    """Names the records; none given = `summary.record_set_hash`."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Further files of the table: name -> text."""


@dataclass(frozen=True)
class Finding:
    """A verdict with the numbers behind it."""

    verdict: summary.Verdict
    value: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Question:
    """What a claim may ask of a study's records, beside comparisons of runs."""

    what: str
    """What is looked at."""
    answer: Callable[[], Finding]


@dataclass(frozen=True, eq=False, kw_only=True)
class Study(ABC):
    """A table with its figures, before anything is trained."""

    name: str
    """Stem of its files' names."""
    title: str
    notebook: str
    profile: str
    """Of whole tables."""
    custom: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that differ from the committed table's; empty = it is the committed table."""
    command: str = ""
    """Command that remakes a custom table; empty = its notebook, run by papermill."""
    reference: str = summary.REFERENCE
    """The row that all others of a block are compared with."""
    note: str = ""
    """What the caption has to say of this table."""
    details: str = ""
    """What PROTOCOL.md has to say of it."""

    @property
    def caption(self) -> str:
        """What the numbers are and how to read them, in 80 words at most."""
        return self.note

    @property
    def at(self) -> str:
        """The profile of its runs."""
        return self.profile

    def parts(self) -> Iterable[str]:
        """Return the parts of the code that its runs go through (`numerics`)."""
        return ()

    @cached_property
    def apart(self) -> Path | None:
        """Folder of what this code makes if its numerics are not listed; none if the golden runs hold for it."""
        return numerics.apart(self.parts())

    @property
    def home(self) -> Path:
        """The folder of everything that is written; records of a committed table lie in `paper/records`."""
        if not self.custom:
            if self.apart and any((self.apart / path.relative_to(files.paper())).is_file() for path in self.paths()):
                return self.apart
            return files.paper()
        said = json.dumps([self.name, self.profile, self.custom], sort_keys=True, default=str)
        root = self.apart / "custom" if self.apart else files.build("custom")
        return root / hashlib.sha256(said.encode()).hexdigest()[:12]

    def folder(self, kind: Literal["tables", "figures"]) -> Path:
        """Return where tables or figures are written."""
        return self.home / (kind if self.custom else files.folder_of(kind, self.profile).relative_to(files.paper()))

    def among(self, committed: Path) -> list[Path]:
        """Return the folders that records are looked for in, those in `committed` last; what is made is written to the
        first. A custom table of code with other numerics has only what that code made."""
        if self.custom:
            return [self.home / "records", *([] if self.apart else [committed])]
        return [*([self.apart / committed.relative_to(files.paper())] if self.apart else []), committed]

    @property
    def places(self) -> list[Path]:
        """The folders searched for records; new records are written to the first."""
        return self.among(files.records_dir(self.at))

    @abstractmethod
    def train(self, jobs: int | None = None, fresh: bool = False) -> None:
        """Make every record that is missing (if `fresh`, all that are the study's own)."""

    @abstractmethod
    def lacking(self, fresh: bool = False) -> Sequence[Hashable]:
        """Return what has no record, each once (if `fresh`, also all that is the study's own)."""

    def paths(self) -> set[Path]:
        """Return the committed records of runs that it reads, there or not."""
        return set()

    def records(self) -> Mapping[Path, Any]:
        """Return its committed records by file, each once, none where there is no record."""
        return {}

    def trainable(self, fresh: bool = False) -> Sequence[Hashable]:
        """Return the part of `lacking` that the table makes by itself."""
        return self.lacking(fresh)

    def missing(self) -> int:
        """Return how many of its records are missing."""
        return len(self.lacking())

    def asked(self) -> Sequence[summary.Cell]:
        """Return the training runs of the table, with their places in it; none where it has no such runs."""
        return ()

    def questions(self) -> Mapping[str, Question]:
        """Return by name what claims may ask of it."""
        return {}

    @abstractmethod
    def table(self) -> Table:
        """Return what the records say; nothing is trained."""


# Tables as functions

TABLES: dict[str, Callable[..., Study]] = {}
"""Name of a table -> the function that returns its study: `profile`, then what else one may choose."""


def table(build: Callable[..., Study]) -> Callable[..., Study]:
    """Register a table's function; calling it with non-default parameters (besides the profile) makes a custom table.

    Lists may be given as lists or tuples, and duplicates count once; none or an empty list stands for the default.
    """
    known = inspect.signature(build).parameters

    @functools.wraps(build)
    def chosen(profile: str = "laptop", **given: Any) -> Study:
        whole = profiles.whole(profile).name
        for name in given:
            require(name in known, name, given[name], f"{build.__name__} takes {', '.join(known)}")
        asked = {name: _each_once(value) for name, value in given.items()}
        custom = {name: value for name, value in asked.items() if value not in (None, (), known[name].default)}
        try:
            return replace(build(whole, **custom), custom=custom)
        except InputError as error:
            raise _by_parameter(error, custom) from None

    TABLES[build.__name__] = chosen
    return chosen


def _by_parameter(error: InputError, given: Mapping[str, Any]) -> InputError:
    """Return a refusal by the name of the parameter that the value was given for, not of the field that it sets."""
    field = error.field.rpartition(".")[2]
    names = [name for name, value in given.items() if error.value in (value, *_values(value))]
    names.sort(key=lambda name: not name.startswith(field))  # `seed` is of `seeds`, whatever else has that value
    return InputError(names[0], error.value, error.allowed) if names and type(error) is InputError else error


def _values(value: Any) -> list[Any]:
    """Return what a parameter's list holds, also inside its lists."""
    return [each for item in value for each in (item, *_values(item))] if isinstance(value, tuple) else []


def _each_once(value: Any) -> Any:
    return tuple(dict.fromkeys(map(_fixed, value))) if isinstance(value, list | tuple) else value


def _fixed(value: Any) -> Any:
    """Return lists as tuples, also inside lists."""
    return tuple(map(_fixed, value)) if isinstance(value, list | tuple) else value
