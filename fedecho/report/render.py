"""One rendering of a table of texts: GitHub Markdown, LaTeX (see `tabular`), and a CSV of the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fedecho.core.files import write_whole
from fedecho.report import tabular


def write(
    texts: pd.DataFrame, bold: list[bool], numbers: pd.DataFrame, stem: Path, title: str, caption: str, *,
    details: str, notes: str,
) -> dict[str, Path]:  # fmt: skip
    """Write a table to `stem`.md, .tex (texts, with `bold` `[rows]` marking first cells) and .csv (all numbers), and in
    the forms that go into other people's papers: `stem`_tabular.tex, or _tabular_1.tex and so on, and _compact.tex.

    The caption ends with a reference to `details`, the section of PROTOCOL.md, where there is one. Returns the files by
    what follows the stem, without the dot of a suffix alone.
    """
    parts, small = tabular.plain(texts, bold), tabular.compact(texts, bold)
    linked, named = (f"{caption} Details: {text}." if details else caption for text in (
        f"[PROTOCOL.md]({details})", "PROTOCOL.md"
    ))  # fmt: skip
    texts_of = {
        "md": markdown(texts, bold, title, linked, notes),
        "tex": tabular.long(texts, bold, title, named, f"tab:{stem.name}", notes),
        "csv": numbers.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        **{f"_tabular{f'_{k}' * (len(parts) > 1)}.tex": part for k, part in enumerate(parts, 1)},
        **({"_compact.tex": small} if small else {}),
    }
    paths = {end: stem.parent / (stem.name + (end if "." in end else f".{end}")) for end in texts_of}
    for end, text in texts_of.items():
        write_whole(paths[end], text)
    return paths


def markdown(texts: pd.DataFrame, bold: list[bool], title: str, caption: str, notes: str = "") -> str:
    """Write texts as GitHub tables, one per block of the outer index levels, with notes below; `bold` `[rows]` marks
    the first cells."""
    first = [f"**{text}**" if b else text for text, b in zip(texts.iloc[:, 0], bold, strict=True)]
    *outer, _ = map(str, texts.index.names)
    parts = [f"## {title}", caption]
    for _, block in texts.assign(**{str(texts.columns[0]): first}).reset_index().groupby(outer, sort=False):
        parts += [", ".join(f"{name} **{block[name].iloc[0]}**" for name in outer)]
        parts += [markdown_rows(block.drop(columns=outer))]
    return "\n\n".join(filter(None, [*parts, notes])) + "\n"


def markdown_rows(texts: pd.DataFrame) -> str:
    """Write texts as one GitHub table, the first column aligned left."""
    return github([texts.columns, *texts.to_numpy()], [":--"] + ["--:"] * (texts.shape[1] - 1))


def github(rows: Iterable[Iterable[object]], alignment: list[str]) -> str:
    """Write rows, the first of them the headings, as a GitHub table with an `alignment` such as `:--` per column."""
    heads, *body = ([str(cell).replace("|", r"\|") for cell in row] for row in rows)
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, alignment, *body])
