"""One way through every study: train what is missing, collect, summarise, caption, draw, write, remember."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedecho.core import files, numerics
from fedecho.core.checks import RecordError
from fedecho.core.processes import Stopped
from fedecho.report import captions, figures, manifest, render, summary
from fedecho.report.manifest import Manifest, Picture
from fedecho.studies.study import TABLES, Study, Table

CONVENTIONS = files.PACKAGE / "report" / "publish" / "templates" / "protocol.md"
"""What PROTOCOL.md says of all tables."""


@dataclass(frozen=True, eq=False)
class Made:
    """What `make` made: the table, and the files written."""

    study: Study
    table: Table
    tables: dict[str, Path]
    """md, tex, csv, _tabular.tex, ... -> file."""
    figures: dict[str, Path]
    """Name -> the PNG; the PDF lies beside it."""

    @property
    def files(self) -> list[Path]:
        """The table in all its forms and the figures."""
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
    words = numerics.warning(study.parts())
    if words is not None:
        print(f"fedecho: {words}", file=sys.stderr)
    try:
        study.train(jobs or None, fresh)
        return write(study)
    except KeyboardInterrupt:  # in a notebook: a line is all there is to say
        raise Stopped from None


def write(study: Study) -> Made:
    """Write a study's table, figures and manifest from the records that are there."""
    table, stem = study.table(), study.folder("tables") / study.name
    bold = list(table.bold) or [False] * len(table.texts)
    section = f"{Path(os.path.relpath(files.protocol(), stem.parent)).as_posix()}#{study.name}"
    details = "" if study.custom and study.name not in TABLES else section
    written = render.write(
        table.texts, bold, table.numbers, stem, study.title, study.caption, details=details, notes=table.notes
    )
    for name, text in table.beside.items():
        files.write_whole(stem.with_name(name), text)
    described = manifest_of(study, table, (path.name for path in written.values()))
    stems = {end: study.folder("figures") / f"{study.name}_{end}" for end in table.figures}
    for end, (figure, _) in table.figures.items():
        figures.save_figure(figure, stems[end], described.record_set)
    manifest.write(described, stem.parent)
    return Made(study, table, written, {end: path.with_name(f"{path.name}.png") for end, path in stems.items()})


def manifest_of(study: Study, table: Table, written: Iterable[str] = ()) -> Manifest:
    """Return what lies behind a study's table; `written`: the names of its files."""
    made = table.frame[table.frame["hash"].notna()]
    plain = manifest.command(study.notebook, study.profile)
    return Manifest(
        study.name, study.title, study.caption, study.profile, study.notebook,
        (study.command or _papermill(study)) if study.custom else plain,
        record_set=table.record_set or summary.record_set_hash(table.frame), records=tuple(sorted(set(made["hash"]))),
        commits=tuple(sorted({commit for commit in made["commit"] if isinstance(commit, str)})),
        tables=(*written, *table.beside),
        figures=tuple(Picture(f"{study.name}_{end}", text) for end, (_, text) in table.figures.items()),
    )  # fmt: skip


def require_true(told: Manifest) -> None:
    """Raise `RecordError` for a manifest that names other records, or another set of them, than there are."""
    known = told.name in TABLES
    study = TABLES[told.name](told.profile) if known else None
    found = manifest_of(study, study.table()) if study else None
    for field in ("record_set", "records", "commits"):
        stated, true = getattr(told, field), getattr(found, field, None)
        if stated != true:
            shown = f"the records give {true}" if field == "record_set" else "they are not those of the records there"
            raise RecordError(f"{told.name}.json: {field}", f"{stated!s:.60}", f"{shown}; run `fedecho tables` first")


def _papermill(study: Study) -> str:
    """Return what makes a custom table again by its notebook."""
    given = json.dumps({"profile": study.profile, **study.custom}, default=str)
    return f"papermill notebooks/{study.notebook}.ipynb out.ipynb -k python3 --cwd notebooks -y '{given}'"


def write_protocol() -> Path:
    """Write PROTOCOL.md, how every committed table is made, and return it."""
    studies = sorted((build() for build in TABLES.values()), key=lambda study: study.notebook)
    text = "\n\n".join([CONVENTIONS.read_text(encoding="utf-8").strip(), *map(_section, studies)])
    files.write_whole(files.protocol(), text + "\n")
    return files.protocol()


def _section(study: Study) -> str:
    # A new one may have been tried at smoke alone.
    there = (files.folder_of("tables", "laptop") / f"{study.name}.md").is_file()
    links = f"[table](tables/{study.name}.md), " * there + f"[notebook](../notebooks/{study.notebook}.ipynb)"
    return f"## {study.name}\n\n{study.title} ({links}). {study.details}".rstrip()
