"""One study, one way through it: train what is missing, collect, summarise, caption, draw, write, remember.

A table is one file of this folder: a function from a profile (and what else one may choose) to a `Study`. What is not
the committed table is a custom one, with a folder of its own.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from fedecho.core import files
from fedecho.core.checks import require
from fedecho.report import captions, figures, manifest, render, summary
from fedecho.studies import profiles


@dataclass(frozen=True, eq=False)
class Table:
    """What a study shows."""

    frame: pd.DataFrame
    """One row per record: hash, commit, dirty, status, score."""
    texts: pd.DataFrame
    """To read, indexed by block and row."""
    numbers: pd.DataFrame
    """Behind the texts, for the .csv."""
    caption: str
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
    """Of its files."""
    title: str
    notebook: str
    profile: str
    """Of whole tables."""
    custom: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that are not the committed table's; nothing = it is the committed one."""
    command: str = ""
    """What makes a custom one again; none given = its notebook by papermill."""
    reference: str = summary.REFERENCE
    """The row that all others of a block are compared with."""

    @property
    def at(self) -> str:
        """The profile of its runs."""
        return self.profile

    @property
    def home(self) -> Path:
        """The folder of everything that is written; records of a committed table lie in `paper/records`."""
        if not self.custom:
            return files.paper()
        said = json.dumps([self.name, self.profile, self.custom], sort_keys=True, default=str)
        return files.custom() / hashlib.sha256(said.encode()).hexdigest()[:12]

    def folder(self, kind: Literal["tables", "figures"]) -> Path:
        """Return where tables or figures are written."""
        if self.custom:
            return self.home / kind
        return (files.tables_dir if kind == "tables" else files.figures_dir)(self.profile)

    @abstractmethod
    def train(self, jobs: int | None = None, fresh: bool = False) -> None:
        """Make every record that is missing (if `fresh`, all that are the study's own)."""

    @abstractmethod
    def lacking(self, fresh: bool = False) -> Sequence[Hashable]:
        """Return what has no record, each once (if `fresh`, also all that is the study's own)."""

    def paths(self) -> set[Path]:
        """Return the committed records of runs that it reads, there or not."""
        return set()

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


@dataclass(frozen=True, eq=False)
class Made:
    """What `make` made: the table, and the files written."""

    study: Study
    table: Table
    tables: dict[str, Path]
    """md, tex, csv -> file."""
    figures: dict[str, Path]
    """Name -> the PNG; the PDF lies beside it."""

    @property
    def files(self) -> list[Path]:
        """The table in its three forms and the figures."""
        return [*self.tables.values(), *self.figures.values()]

    @property
    def text(self) -> str:
        """The table in Markdown; of a custom one, where it is comes first."""
        text = self.tables["md"].read_text(encoding="utf-8")
        return f"Custom table, in `{self.study.home}`\n\n{text}" if self.study.custom else text

    def findings(self, *rivals: str) -> str:
        """Return a Markdown list: how the reference stands to each of the `rivals` (none given = to all rows)."""
        return captions.bullets(captions.sentences(self.table.numbers, self.study.reference, rivals))


def make(study: Study, jobs: int | None = None, fresh: bool = False) -> Made:
    """Make a study's table and figures; `jobs` processes (0 or none = cores) train what is missing."""
    study.train(jobs or None, fresh)
    return write(study)


def write(study: Study) -> Made:
    """Write a study's table, figures and manifest from the records that are there."""
    table, stem = study.table(), study.folder("tables") / study.name
    bold = list(table.bold) or [False] * len(table.texts)
    render.write(table.texts, bold, table.numbers, stem, study.title, table.caption)
    for name, text in table.beside.items():
        files.write_whole(stem.with_name(name), text)
    record_set = table.record_set or summary.record_set_hash(table.frame)
    stems = {end: study.folder("figures") / f"{study.name}_{end}" for end in table.figures}
    for end, (figure, _) in table.figures.items():
        figures.save_figure(figure, stems[end], record_set)
    written = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in ("md", "tex", "csv")}
    described = manifest.describe(
        table.frame, record_set, name=study.name, title=study.title, caption=table.caption, profile=study.profile,
        notebook=study.notebook, tables=[*(path.name for path in written.values()), *table.beside],
        figures={stems[end].name: text for end, (_, text) in table.figures.items()},
    )  # fmt: skip
    manifest.write(
        replace(described, command=study.command or _papermill(study)) if study.custom else described, stem.parent
    )
    return Made(study, table, written, {end: path.with_name(f"{path.name}.png") for end, path in stems.items()})


def _papermill(study: Study) -> str:
    """Return what makes a custom table again by its notebook."""
    given = json.dumps({"profile": study.profile, **study.custom}, default=str)
    return f"papermill notebooks/{study.notebook}.ipynb out.ipynb -k python3 --cwd notebooks -y '{given}'"


# Tables as functions

TABLES: dict[str, Callable[..., Study]] = {}
"""Name of a table -> the function that returns its study: `profile`, then what else one may choose."""


def table(build: Callable[..., Study]) -> Callable[..., Study]:
    """Register the function of a table; what it is given beside the profile and is no default makes a custom table.

    A list may be given as a list or a tuple, and what it holds twice counts once; none and an empty one stand for the
    default.
    """
    known = inspect.signature(build).parameters

    @functools.wraps(build)
    def chosen(profile: str = "laptop", **given: Any) -> Study:
        whole = profiles.whole(profile).name
        for name in given:
            require(name in known, name, given[name], f"{build.__name__} takes {', '.join(known)}")
        asked = {name: _each_once(value) for name, value in given.items()}
        custom = {name: value for name, value in asked.items() if value not in (None, (), known[name].default)}
        return replace(build(whole, **custom), custom=custom)

    TABLES[build.__name__] = chosen
    return chosen


def _each_once(value: Any) -> Any:
    return tuple(dict.fromkeys(map(_fixed, value))) if isinstance(value, list | tuple) else value


def _fixed(value: Any) -> Any:
    """Return lists as tuples, also inside lists."""
    return tuple(map(_fixed, value)) if isinstance(value, list | tuple) else value
