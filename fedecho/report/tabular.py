"""Tables for LaTeX in three forms: one that runs over pages, plain ones for `table*`, a compact one for a column.

All need booktabs; the first longtable, the others graphicx. Blocks of a table stand one below the other, each with a
line that names it, so that no column is spent on that.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from fedecho.report.captions import NOTHING
from fedecho.report.publish.latex import typeset

_PAGE = 345.0
"""Width of the text of a plain article, in points."""
_SIZES = (("footnotesize", 8.5, 6.0), ("scriptsize", 8.0, 4.0))
"""Sizes of type: name, twice the width of a digit in points, points between columns."""
_ROWS = 48
"""That a plain table has at most; a longer one is parted between blocks."""
_FIT = r"""\ifdefined\fedechofit\else % no wider than the line, no higher than the page
\newsavebox\fedechobox
\gdef\fedechofit#1{\sbox\fedechobox{#1}%
  \ifdim\wd\fedechobox>\linewidth\sbox\fedechobox{\resizebox{\linewidth}{!}{\usebox\fedechobox}}\fi
  \ifdim\dimexpr\ht\fedechobox+\dp\fedechobox>.7\textheight
    \sbox\fedechobox{\resizebox*{!}{.7\textheight}{\usebox\fedechobox}}\fi
  \usebox\fedechobox}
\fi
"""
_CONTENT = "% The content of a {where}: \\usepackage{{booktabs,graphicx}}, then \\input it below the \\caption.\n"


@dataclass(frozen=True)
class Block:
    """Rows that belong together, as LaTeX, and what they are about."""

    name: str
    rows: list[list[str]]


def long(texts: pd.DataFrame, bold: Sequence[bool], title: str, caption: str, label: str, notes: str = "") -> str:
    """Return texts, indexed by blocks and row, as a longtable with caption and notes below; `bold` `[rows]` marks the
    first cells."""
    words = "".join(f"\\noindent {typeset(text)}\\par" for text in (caption, notes) if text)
    fitting = _size(texts)
    if fitting is None:  # it would leave the page: scaled, it cannot run over pages
        return _floats(plain(texts, bold), title, label, words)
    size, _, gap = fitting
    count, heads = 1 + texts.shape[1], rf"\toprule{_line(_heads(texts))}\midrule"
    body = "\n\\midrule\n".join(_body(block, count, "*") for block in _blocks(texts, bold))
    return (
        f"{{\\{size}\\setlength{{\\tabcolsep}}{{{gap / 2:g}pt}}\n"
        f"\\begin{{longtable}}{{{_columns(count)}}}\n\\caption{{{typeset(title)}}} \\label{{{label}}} \\\\\n"
        f"{heads}\n\\endfirsthead\n\\caption[]{{{typeset(title)}}} \\\\\n{heads}\n\\endhead\n"
        f"\\midrule\n\\multicolumn{{{count}}}{{r@{{}}}}{{Continued on next page}} \\\\\n\\endfoot\n"
        f"\\bottomrule\n\\endlastfoot\n{body}\n\\end{{longtable}}\n{words}}}\n"
    )


def _floats(parts: Sequence[str], title: str, label: str, words: str) -> str:
    """Return the parts of a table as floats, the words below the last."""
    out = []
    for number, part in enumerate(parts, 1):
        marked = f" \\label{{{label}}}" if number == 1 else ""
        said = f"\\par\\smallskip{{\\footnotesize {words}}}" if number == len(parts) else ""
        head = f"\\caption{'[]' * (number > 1)}{{{typeset(title)}}}{marked}"
        out.append(f"\\begin{{table}}[htbp]\n\\centering\n{head}\n{part}{said}\n\\end{{table}}\n")
    return "".join(out)


def plain(texts: pd.DataFrame, bold: Sequence[bool]) -> list[str]:
    """Return texts as `tabular`s of at most 48 lines where blocks allow, each with the headings."""
    count, heads = 1 + texts.shape[1], _line(_heads(texts))
    parts = []
    for blocks in _parted(_blocks(texts, bold)):
        body = "\n\\midrule\n".join(_body(block, count) for block in blocks)
        parts.append(_fitted("table*", _columns(count), f"\\toprule{heads}\\midrule\n{body}\n\\bottomrule"))
    return parts


def compact(texts: pd.DataFrame, bold: Sequence[bool]) -> str | None:
    """Return the first column alone, rows by blocks, for one column of a page; none where there are under 4 blocks, or
    one has rows that the longest lacks.

    Only the means are there, to one decimal; the blocks are lettered, and named below.
    """
    blocks = _blocks(texts.iloc[:, :1].map(_mean), bold)
    known = [{row: cell for row, cell in block.rows} for block in blocks]
    names = max((list(cells) for cells in known), key=len)
    if len(blocks) < 4 or any(not cells.keys() <= set(names) for cells in known):
        return None
    letters = [chr(ord("a") + k) if k < 26 else str(k - 25) for k in range(len(blocks))]
    lines = [[name, *(cells.get(name, typeset(NOTHING)) for cells in known)] for name in names]
    heads = _line(["", *letters])
    body = "\n".join(_line(line).strip() for line in lines)
    named = "; ".join(f"{letter}: {block.name}" for letter, block in zip(letters, blocks, strict=True))
    columns = _columns(1 + len(blocks)).replace("r", "c")
    table = _fitted("table", columns, f"\\toprule{heads}\\midrule\n{body}\n\\bottomrule", gap=3)
    return f"{table}\n\\par\\smallskip{{\\scriptsize\\raggedright {typeset(str(texts.columns[0]))}. {named}.\\par}}\n"


def _mean(text: str) -> str:
    """Return `81.49 ± 1.21` as `81.5`, and words as they are."""
    head, _, width = str(text).partition(" ± ")
    try:
        return f"{float(head):.1f}"
    except ValueError:
        return str(text)


def _blocks(texts: pd.DataFrame, bold: Sequence[bool]) -> list[Block]:
    *outer, _ = map(str, texts.index.names)
    marked = zip(texts.index, texts.to_numpy().tolist(), bold, strict=True)

    def place(row: tuple[Any, Any, bool]) -> tuple[object, ...]:
        return tuple(row[0][:-1]) if isinstance(row[0], tuple) else ()

    found = []
    for key, rows in groupby(marked, key=place):
        name = ", ".join(f"{level} {value}" for level, value in zip(outer, key, strict=True))
        found.append(Block(typeset(name), [_cells(*row) for row in rows]))
    return found


def _cells(key: object, cells: Sequence[object], bold: bool) -> list[str]:
    name = key[-1] if isinstance(key, tuple) else key
    first, *others = (typeset(str(cell)) for cell in cells)
    return [typeset(str(name)), f"\\textbf{{{first}}}" if bold else first, *others]


def _parted(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    part: list[Block] = []
    for block in blocks:
        if part and sum(len(known.rows) + 1 for known in part) + len(block.rows) > _ROWS:
            yield part
            part = []
        part.append(block)
    yield part


def _body(block: Block, count: int, stay: str = "") -> str:
    """Return the lines of a block below one that names it; `stay` is `*` where that must not end a page."""
    title = [f"\\multicolumn{{{count}}}{{@{{}}l@{{}}}}{{\\emph{{{block.name}}}}} \\\\{stay}"] * bool(block.name)
    return "\n".join([*title, *(f"{' & '.join(row)} \\\\" for row in block.rows)])


def _line(cells: Sequence[str]) -> str:
    return f"\n{' & '.join(cells)} \\\\\n"


def _columns(count: int) -> str:
    return f"@{{}}l{'r' * (count - 1)}@{{}}"


def _fitted(where: str, columns: str, body: str, gap: float = 6) -> str:
    table = f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}%\n"
    size = f"\\footnotesize\\setlength{{\\tabcolsep}}{{{gap / 2:g}pt}}%\n"
    return f"{_CONTENT.format(where=where)}{_FIT}{{{size}\\fedechofit{{%\n{table}}}}}%\n"


def _heads(texts: pd.DataFrame) -> list[str]:
    """Return the headings, in lines that are no longer than what stands below where words allow."""
    heads, cells = _read(texts)
    rooms = [max(map(len, column), default=0) for column in cells]
    return [
        _stacked(head, room, "r" if place else "l") for place, (head, room) in enumerate(zip(heads, rooms, strict=True))
    ]


def _read(texts: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the cells below each, as texts."""
    rows = [str(key[-1] if isinstance(key, tuple) else key) for key in texts.index]
    columns = [[str(cell) for cell in texts.iloc[:, k]] for k in range(texts.shape[1])]
    return [str(texts.index.names[-1]), *map(str, texts.columns)], [rows, *columns]


def _wrapped(head: str, room: int) -> list[str]:
    """Return the lines of a heading; what stands between bars stays whole."""
    whole = re.sub(r"\|[^|]*\|", lambda found: found[0].replace(" ", "\u00a0"), head)
    longest = max(map(len, whole.split(" ")), default=1)
    return textwrap.wrap(whole, max(room, longest, 1), break_long_words=False, break_on_hyphens=False) or [""]


def _stacked(head: str, room: int, side: str) -> str:
    lines = [typeset(line) for line in _wrapped(head, room)]
    many = f"\\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{' BREAK '.join(lines)}\\end{{tabular}}".replace("BREAK", "\\\\")
    return many if len(lines) > 1 else lines[0]


def _size(texts: pd.DataFrame) -> tuple[str, float, float] | None:
    """Return the largest size of type at which the columns fit a page, none where there is none."""
    heads, cells = _read(texts)
    ems = 0.0
    for head, column in zip(heads, cells, strict=True):
        lines = _wrapped(head, max(map(len, column), default=0))
        ems += max(map(_ems, [*lines, *column]))
    return next((size for size in _SIZES if ems * size[1] + size[2] * (len(heads) - 1) <= _PAGE), None)


def _ems(text: str) -> float:
    """Estimate the width of a text in Computer Modern."""
    return (
        sum(0.28 if c in "il.,|'" else 0.78 if c in "mwMW±−+<=" else 0.7 if c.isupper() else 0.5 for c in text) * 1.04
    )
