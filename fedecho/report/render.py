"""One rendering of a table of texts: GitHub Markdown, LaTeX with booktabs, and a CSV of the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fedecho.core.files import write_whole
from fedecho.report.publish.latex import escape

_LATEX = {"±": r"$\pm$", "−": "$-$", "–": "--", "<": "$<$"}


def write(
    texts: pd.DataFrame, bold: list[bool], numbers: pd.DataFrame, stem: Path, title: str, caption: str, *,
    details: str, notes: str,
) -> None:  # fmt: skip
    """Write a table to `stem`.md, .tex (texts, with `bold` `[rows]` marking first cells) and .csv (all numbers); the
    caption ends with a reference to `details`, the section of PROTOCOL.md, where there is one."""
    linked, named = (f"{caption} Details: {text}." if details else caption for text in (
        f"[PROTOCOL.md]({details})", "PROTOCOL.md"
    ))  # fmt: skip
    files = {
        "md": markdown(texts, bold, title, linked, notes),
        "tex": latex(texts, bold, title, named, f"tab:{stem.name}", notes),
        "csv": numbers.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
    }
    for suffix, text in files.items():
        write_whole(stem.parent / f"{stem.name}.{suffix}", text)


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


def latex(texts: pd.DataFrame, bold: list[bool], title: str, caption: str, label: str, notes: str = "") -> str:
    """Write texts as a longtable with caption and notes below; it needs the packages booktabs and longtable."""
    texts = texts.rename_axis(index=[escape(str(name)) for name in texts.index.names])
    styler = texts.style.format(escape="latex")
    for axis in (0, 1):  # `format` escapes the cells alone
        styler = styler.format_index(escape="latex", axis=axis)
    styler = styler.apply(lambda column: ["textbf:--rwrap" if b else "" for b in bold], subset=[texts.columns[0]])
    table = styler.to_latex(
        hrules=True, environment="longtable", clines="skip-last;data", multirow_align="naive",
        column_format="p{2.2cm}" + "l" * (texts.index.nlevels - 1) + "r" * texts.shape[1],
        caption=escape(title), label=label,
    )  # fmt: skip
    words = "".join(f"\\noindent {escape(text)}\\par" for text in (caption, notes) if text)
    out = f"{{\\footnotesize\\setlength{{\\tabcolsep}}{{3pt}}\n{table}{words}}}\n"
    for glyph, command in _LATEX.items():
        out = out.replace(glyph, command)
    return out
