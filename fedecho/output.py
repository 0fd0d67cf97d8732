"""What every table leaves behind: its figures, and the manifest that names files, captions and records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from fedecho import figures
from fedecho.core.files import figures_dir, tables_dir
from fedecho.publish import manifest


def table_files(stem: Path) -> dict[str, Path]:
    """Return md, tex, csv -> the file of a table."""
    return {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in ("md", "tex", "csv")}


def finish(
    frame: pd.DataFrame,
    record_set: str,
    drawn: Mapping[str, Figure],
    captions: Mapping[str, str],
    *,
    name: str,
    title: str,
    caption: str,
    profile: str,
    notebook: str,
    beside: Iterable[str] = (),
) -> dict[str, Path]:
    """Save the figures `<name>_<end>` and the manifest of the table `name`; return end -> PNG (the PDF lies beside it).

    `frame` has a row per record; `captions` are those of the figures; `beside` names further files with the table.
    """
    folder, files = tables_dir(profile), table_files(tables_dir(profile) / name)
    stems = {end: figures_dir(profile) / f"{name}_{end}" for end in drawn}
    for end, figure in drawn.items():
        figures.save_figure(figure, stems[end], record_set)
    described = manifest.describe(
        frame, record_set, name=name, title=title, caption=caption, profile=profile, notebook=notebook,
        tables=[*(path.name for path in files.values()), *beside],
        figures={stem.name: captions[end] for end, stem in stems.items()},
    )  # fmt: skip
    manifest.write(described, folder)
    return {end: stem.with_name(f"{stem.name}.png") for end, stem in stems.items()}
