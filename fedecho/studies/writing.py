"""One way through every study: train what is missing, collect, summarise, caption, draw, write, remember."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from fedecho.core import files, numerics
from fedecho.report import captions, figures, manifest, render, summary
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
    study.train(jobs or None, fresh)
    return write(study)


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
    record_set = table.record_set or summary.record_set_hash(table.frame)
    stems = {end: study.folder("figures") / f"{study.name}_{end}" for end in table.figures}
    for end, (figure, _) in table.figures.items():
        figures.save_figure(figure, stems[end], record_set)
    described = manifest.describe(
        table.frame, record_set, name=study.name, title=study.title, caption=study.caption, profile=study.profile,
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


def write_protocol() -> Path:
    """Write PROTOCOL.md, how every committed table is made, and return it."""
    studies = sorted((build() for build in TABLES.values()), key=lambda study: study.notebook)
    text = "\n\n".join([CONVENTIONS.read_text(encoding="utf-8").strip(), *map(_section, studies)])
    files.write_whole(files.protocol(), text + "\n")
    return files.protocol()


def _section(study: Study) -> str:
    links = f"[table](tables/{study.name}.md), [notebook](../notebooks/{study.notebook}.ipynb)"
    return f"## {study.name}\n\n{study.title} ({links}). {study.details}".rstrip()
