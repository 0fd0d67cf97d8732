"""The paper and its supplement, from manifests, templates and claims: no number in them is typed by hand.

The paper tells each table in the order of the story: its finding, its first figure, and the table where it is short or
has a compact form. The supplement has every table that is not in it, and the other figures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedecho.core import files
from fedecho.core.checks import require
from fedecho.report.manifest import Manifest, Picture, read_all
from fedecho.report.publish import readme, story
from fedecho.report.publish.latex import escape, prose, typeset

_FIGURE = r"""\begin{figure}[htbp]
  \centering
  \includegraphics[max width=\linewidth,max totalheight=%s\textheight]{%s}
  \caption{%s Record set \texttt{%s}.}\label{fig:%s}
\end{figure}"""
_TABLE = r"""\begin{table}[htbp]
  \centering
  \caption{%s. %s Record set \texttt{%s}.}\label{tab:%s}
  \input{%s}
\end{table}"""
_CLAIMS = r"""{\small
\newcolumntype{L}[1]{>{\raggedright\arraybackslash}p{#1\linewidth}}
\begin{longtable}{@{}L{.515}L{.17}L{.22}r@{}}
\caption{The primary claims, tested on fresh seeds alone, with Holm's correction} \label{tab:claims} \\
\toprule
claim & verdict & in points & n \\
\midrule
\endfirsthead
\toprule
claim & verdict & in points & n \\
\midrule
\endhead
\bottomrule
\endfoot
%s
\end{longtable}}"""


def documents(profile: str = "laptop", order: Sequence[str] = ()) -> dict[str, str]:
    """Return the bodies of `main.tex` and `supplement.tex`, generated.tex and generated-supplement.tex; paths are
    relative to their folder. `order`: names of tables within their chapters.

    Raises `InputError` when no study has been run, or a file that a manifest names is not there.
    """
    rank = {name: place for place, name in enumerate(order)}
    manifests = sorted(
        read_all(files.folder_of("tables", profile)), key=lambda m: (m.notebook, rank.get(m.name, len(rank)))
    )
    require(bool(manifests), "profile", profile, "it has no tables yet; run `make tables` first")
    names, chapters = [found.name for found in manifests], story.chapters(manifests)
    said, details = story.findings(profile, names), _details(files.protocol())
    main, more = [*_front(profile, said)], []
    for title, members in chapters.items():
        main.append(("\\appendix\n" if title == story.LAST else "") + rf"\section{{{typeset(title)}}}")
        more.append(rf"\section{{{typeset(title)}}}")
        for found in members:
            main.append(_told(found, said.get(found.name, ""), details.get(found.name, "")))
            more += _rest(found)
        more.append("\\clearpage")
    return {"generated.tex": "\n\n".join(main) + "\n", "generated-supplement.tex": "\n\n".join(more) + "\n"}


def _front(profile: str, said: dict[str, str]) -> list[str]:
    """Return abstract, findings, claims and protocol; of other tables than the templates' the protocol alone."""
    protocol = _conventions(files.protocol())
    if not readme.told(profile):
        return protocol
    tables = files.folder_of("tables", profile)
    ask = readme.environment(tables)
    found = {name: ask.get_template(f"{name}.md.j2").render() for name in ("abstract", "outcome", "theory")}
    names, claimed = {*said}, readme.Tables(tables).claims("primary", None)
    return [
        rf"\begin{{abstract}}{prose(found['abstract'])}\end{{abstract}}", r"\section{Findings}",
        prose(found["outcome"], names), r"\subsection*{The theory, checked}", prose(found["theory"], names),
        r"\section{Primary claims}", _claims(claimed), *protocol,
    ]  # fmt: skip


def _claims(lines: Sequence[dict[str, Any]]) -> str:
    rows = []
    for line in lines:
        place = f" ({line['place']})" if line["place"] else ""
        verdict = f"\\textbf{{{line['verdict']}}}" + (f", {typeset(line['qualifier'])}" if line["qualifier"] else "")
        cells = [typeset(f"{line['claim'].rstrip('.')}{place}"), verdict, typeset(line["our_value"] or "–"), line["n"]]
        rows.append(" & ".join(map(str, cells)) + r" \\")
    return _CLAIMS % "\n\\addlinespace\n".join(rows)


def _sections(protocol: Path) -> dict[str, str]:
    """Return the sections of PROTOCOL.md by their headings."""
    text = protocol.read_text(encoding="utf-8") if protocol.is_file() else ""
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))


def _details(protocol: Path) -> dict[str, str]:
    """Return what PROTOCOL.md says of each table, without its title and links."""
    return {name: text.partition("). ")[2] for name, text in _sections(protocol).items()}


def _conventions(protocol: Path) -> list[str]:
    """Return what PROTOCOL.md says of all tables, as a section."""
    shared = {title: text for title, text in _sections(protocol).items() if title.startswith("What ")}
    parts = [f"\\subsection*{{{typeset(title)}}}\n{prose(text)}" for title, text in shared.items()]
    return ["\\section{Protocol}", *parts] if parts else []


def _told(found: Manifest, finding: str, details: str) -> str:
    """Return the section of a table in the paper."""
    parts = [rf"\subsection{{{_title(found)}}}\label{{sec:{found.name}}}"]
    parts += [rf"\emph{{{prose(finding)}}}"] * bool(finding) + [prose(details)] * bool(details)
    if story.aside(found):
        return "\n\n".join([*parts, "Table and figures are in the supplement."])
    parts += [_figure(found, figure, 0.46) for figure in found.figures[:1]]
    forms = (f"{found.name}_tabular.tex", f"{found.name}_compact.tex")
    chosen = next((form for form in forms if form in found.tables), None)
    if chosen is None:
        parts.append("The table is in the supplement.")
    else:  # a float: what runs over pages may meet the figures there and leave the page
        path = _path(found, "tables", chosen)
        parts.append(_TABLE % (typeset(found.title), typeset(found.caption), found.record_set, found.name, path))
    return "\n\n".join(parts)


def _title(found: Manifest) -> str:
    printed, plain = typeset(found.title), escape(found.title)
    return printed if printed == plain else rf"\texorpdfstring{{{printed}}}{{{plain}}}"


def _rest(found: Manifest) -> list[str]:
    """Return the section of a table in the supplement, nothing where the paper has all of it."""
    whole = story.aside(found)
    short = f"{found.name}_tabular.tex" in found.tables  # it does not have to be parted (`tabular.plain`)
    tables = [] if short and not whole else [rf"\input{{{_path(found, 'tables', f'{found.name}.tex')}}}"]
    figures = [_figure(found, figure, 0.86) for figure in found.figures[0 if whole else 1 :]]
    return [rf"\subsection{{{_title(found)}}}", *tables, *figures] if tables or figures else []


def _figure(found: Manifest, figure: Picture, height: float) -> str:
    path = _path(found, "figures", f"{figure.stem}.pdf")
    return _FIGURE % (height, path, typeset(figure.caption), found.record_set, figure.stem)


def _path(found: Manifest, kind: str, name: str) -> str:
    path = files.folder_of("tables" if kind == "tables" else "figures", found.profile) / name
    require(path.is_file(), found.name, path.name, f"the file is not there; run `{found.command}`")
    return path.relative_to(files.paper()).as_posix()
