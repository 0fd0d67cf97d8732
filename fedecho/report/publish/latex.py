"""Text for LaTeX: escaped, typeset with its formulas, or Markdown as prose."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import PurePosixPath

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{glyph: f"\\{glyph}" for glyph in "%_&#{}$"},
}
_PRINTED = _SPECIAL | {
    "|": r"\textbar{}", "<": "$<$", ">": "$>$", "±": r"$\pm$", "−": "$-$", "–": "--", "—": "---", "²": "$^2$",
    "×": r"$\times$", "≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$", "∈": r"$\in$", "∞": r"$\infty$",
    "→": r"$\rightarrow$", "‘": "`", "’": "'", "“": "``", "”": "''", "…": r"\ldots{}", "\u00a0": "~",
}  # fmt: skip
"""What is printed alike with every encoding of fonts."""
_GREEK = ("alpha", "beta", "gamma", "eta", "lambda", "mu", "nu", "rho", "sigma", "tau")
_POWER = r"(?:_(?P<sub{0}>[A-Za-z0-9]+))?(?:\^(?P<sup{0}>[-−]?[\d/]+|\([-−]?[\d/]+\))|(?P<two{0}>²))?"
_SYMBOL = re.compile(
    rf"(?<![A-Za-z0-9_\\])(?:(?P<greek>{'|'.join(_GREEK)}){_POWER.format(1)}(?![A-Za-z0-9])"
    rf"|(?P<letter>[A-Za-z])(?=[_^]){_POWER.format(2)}(?![A-Za-z0-9]))"
)
_FORMULA = re.compile(rf"\|(?P<norm>[^|]+)\|(?P<square>²|\^2)?|(?<=\))\^(?P<power>\d)|{_SYMBOL.pattern}")


def escape(text: str) -> str:
    """Return `text` so that LaTeX prints it as it stands."""
    return re.sub(r"[\\~^%_&#{}$]", lambda match: _SPECIAL[match[0]], text)


def typeset(text: str) -> str:
    """Return `text` for print, in ASCII: symbols such as `eta_d`, `T^-3/4` and `|grad f|²` as formulas."""
    parts, end = [], 0
    for found in _FORMULA.finditer(text):
        parts += [_printed(text[end : found.start()]), f"${_formula(found)}$"]
        end = found.end()
    return "".join([*parts, _printed(text[end:])])


def _printed(text: str) -> str:
    return "".join(_PRINTED.get(glyph, glyph) for glyph in text)


def _formula(found: re.Match[str]) -> str:
    if found["norm"]:
        inner = re.sub(r"\bgrad\b\s*", r"\\nabla ", _SYMBOL.sub(_symbol, found["norm"])).replace("\u00a0", " ")
        return f"|{inner}|" + "^2" * bool(found["square"])
    return f"^{found['power']}" if found["power"] else _symbol(found)


def _symbol(found: re.Match[str]) -> str:
    base, group = (f"\\{found['greek']}", 1) if found["greek"] else (found["letter"], 2)
    sub, sup = (
        found[f"sub{group}"],
        "2" if found[f"two{group}"] else (found[f"sup{group}"] or "").strip("()").replace("−", "-"),
    )
    if sub and len(sub) > 1:
        sub = f"\\{sub}" if sub in ("min", "max") else rf"\mathrm{{{sub}}}"
    return base + (f"_{{{sub}}}" if sub else "") + (f"^{{{sup}}}" if sup else "")


_INLINE = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<bold>.+?)\*\*|\*(?P<slanted>[^*]+)\*|\[(?P<text>[^\]]+)\]\((?P<to>[^)]+)\)"
)


def prose(markdown: str, sections: Container[str] = ()) -> str:
    """Return Markdown of paragraphs, lists, bold and slanted words, code and links for print.

    A link to the table of one of the `sections` leads there, one to the web is a link, any other is its words.
    """
    blocks = [block for block in re.split(r"\n\s*\n", markdown.strip()) if not block.startswith(("#", "!", "|", "```"))]
    return "\n\n".join(
        _listed(block, sections) if block.startswith("* ") else _inline(block, sections) for block in blocks
    )


def _listed(block: str, sections: Container[str]) -> str:
    items = re.split(r"^\* ", block, flags=re.MULTILINE)[1:]
    return "\\begin{itemize}\n" + "".join(f"\\item {_inline(i, sections)}\n" for i in items) + "\\end{itemize}"


def _inline(text: str, sections: Container[str]) -> str:
    text, parts, end = " ".join(text.split()), [], 0
    for found in _INLINE.finditer(text):
        parts += [typeset(text[end : found.start()]), _marked(found, sections)]
        end = found.end()
    return "".join([*parts, typeset(text[end:])])


def _marked(found: re.Match[str], sections: Container[str]) -> str:
    if found["code"]:
        return rf"\texttt{{{escape(found['code'])}}}"
    for name, command in (("bold", "textbf"), ("slanted", "emph")):
        if found[name]:
            return rf"\{command}{{{_inline(found[name], sections)}}}"
    words, name = _inline(found["text"], sections), PurePosixPath(found["to"]).stem
    if found["to"].startswith("https://"):
        return rf"\href{{{escape(found['to'])}}}{{{words}}}"
    return rf"\hyperref[sec:{name}]{{{words}}}" if "tables/" in found["to"] and name in sections else words
