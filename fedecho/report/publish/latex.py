"""The body of the paper, from the manifests: a section per study with its table and figures, nothing by hand."""

from __future__ import annotations

import re
from pathlib import Path

from fedecho.core import files
from fedecho.core.checks import require
from fedecho.report.manifest import Manifest, read_all

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
_POWER = r"(?:_(?P<sub{0}>[A-Za-z0-9]+))?(?:\^(?P<sup{0}>[-−]?[\d/]+)|(?P<two{0}>²))?"
_SYMBOL = re.compile(
    rf"(?<![A-Za-z0-9_\\])(?:(?P<greek>{'|'.join(_GREEK)}){_POWER.format(1)}(?![A-Za-z0-9])"
    rf"|(?P<letter>[A-Za-z])(?=[_^]){_POWER.format(2)}(?![A-Za-z0-9]))"
)
_FORMULA = re.compile(rf"\|(?P<norm>[^|]+)\|(?P<square>²|\^2)?|(?<=\))\^(?P<power>\d)|{_SYMBOL.pattern}")
_FIGURE = r"""\begin{figure}[p]
  \centering
  \includegraphics[width=\linewidth,height=0.8\textheight,keepaspectratio]{%s}
  \caption{%s Record set \texttt{%s}.}\label{fig:%s}
\end{figure}"""


def escape(text: str) -> str:
    """Return `text` so that LaTeX prints it as it stands; `main.tex` declares the glyphs beyond Latin-1."""
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
    sub, sup = found[f"sub{group}"], "2" if found[f"two{group}"] else (found[f"sup{group}"] or "").replace("−", "-")
    if sub and len(sub) > 1:
        sub = f"\\{sub}" if sub in ("min", "max") else rf"\mathrm{{{sub}}}"
    return base + (f"_{{{sub}}}" if sub else "") + (f"^{{{sup}}}" if sup else "")


def body(profile: str = "laptop") -> str:
    """Return LaTeX with every table and figure of a profile; paths are relative to the folder of `main.tex`.

    Raises `InputError` when no study has been run, or a file that a manifest names is not there.
    """
    manifests = read_all(files.folder_of("tables", profile))
    require(bool(manifests), "profile", profile, "it has no tables yet; run `make tables` first")
    return "\n".join(_section(manifest, profile) for manifest in manifests)


def _section(manifest: Manifest, profile: str) -> str:
    sources = [name for name in manifest.tables if name.endswith(".tex")]
    tables = [rf"\input{{{_relative(files.folder_of('tables', profile) / name, manifest)}}}" for name in sources]
    figures = [_figure(manifest, stem.stem, stem.caption, profile) for stem in manifest.figures]
    return "\n".join([rf"\section{{{escape(manifest.title)}}}", *tables, *figures, "\\clearpage\n"])


def _figure(manifest: Manifest, stem: str, caption: str, profile: str) -> str:
    file = _relative(files.folder_of("figures", profile) / f"{stem}.pdf", manifest)
    return _FIGURE % (file, escape(caption), manifest.record_set, stem)


def _relative(path: Path, manifest: Manifest) -> str:
    require(path.is_file(), manifest.name, path.name, f"the file is not there; run `{manifest.command}`")
    return path.relative_to(files.paper()).as_posix()
