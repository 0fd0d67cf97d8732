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
_FIGURE = r"""\begin{figure}[p]
  \centering
  \includegraphics[width=\linewidth,height=0.8\textheight,keepaspectratio]{%s}
  \caption{%s Record set \texttt{%s}.}\label{fig:%s}
\end{figure}"""


def escape(text: str) -> str:
    """Return `text` so that LaTeX prints it as it stands; `main.tex` declares the glyphs beyond Latin-1."""
    return re.sub(r"[\\~^%_&#{}$]", lambda match: _SPECIAL[match[0]], text)


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
