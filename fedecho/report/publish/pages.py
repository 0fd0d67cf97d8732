"""What the pages in `paper/site` are made of: manifests, claims and executed notebooks as sources for Sphinx.

`paper/web` has the settings and templates. Every source lies at the place that its file has in the repository, so that
links between them hold.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from fedecho.core import files
from fedecho.core.checks import InputError, require
from fedecho.core.store import require_sealed
from fedecho.report import drawings, manifest, notebooks
from fedecho.report.manifest import Manifest, Picture
from fedecho.report.publish import citation, readme, story
from fedecho.report.summary import VERDICTS

SOURCES = files.REPOSITORY / "paper" / "web"
WITHOUT_TABLE = ("00_quickstart", "01_algorithm_step_by_step", "03_your_own")
"""Notebooks that explain; every other one is a study, listed as not run until it has a table."""
HEADLINE = "vision_brief"
"""The figure on the front page."""
HEADLINES = ("vision", "owners", "controls", "language", "theory_distillation")
"""Tables whose findings open the front page."""
_CLAIM = ("id", "role", "claim", "place", "source", "profile", "test", "verdict", "qualifier", "paper_value",
          "our_value", "n", "pooled", "p", "notebook", "table", "note")  # fmt: skip
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\[\]\n]*)\]\((?P<to>[^)#\s]*)(#[^)\s]*)?\)")
Sources = Iterator[tuple[str, str | bytes]]
"""Files for Sphinx: place and content."""


@dataclass(frozen=True)
class Study:
    """A page: what a manifest describes, or a table that has not been made yet."""

    name: str
    title: str
    notebook: str
    command: str
    manifest: Manifest | None = None


def sources(profile: str, planned: Sequence[Any] = ()) -> dict[str, str | bytes]:
    """Return everything that Sphinx reads, by its place."""
    return _linked(dict(_written(profile, planned)))


def _linked(sources: dict[str, str | bytes]) -> dict[str, str | bytes]:
    """Show a link of a Markdown text as its words where it would lead to a file that the site does not have."""

    def known(place: str, link: re.Match[str]) -> str:
        there = posixpath.normpath(posixpath.join(posixpath.dirname(place), link["to"]))
        return (
            link[0]
            if there in sources or not link["to"] or link["to"].startswith(("https:", "http:"))
            else link["text"]
        )

    read = {place: text for place, text in sources.items() if isinstance(text, str)}
    return sources | {place: _LINK.sub(partial(known, place), text) for place, text in read.items()}


def _written(profile: str, planned: Sequence[Any]) -> Sources:
    manifests, claims = manifest.read_all(files.folder_of("tables", profile)), read_claims()
    told = studies(manifests, planned, profile)
    findings = story.findings(profile, [study.name for study in told])
    reference = readme.told(profile)  # of the package, once
    pages = _environment(
        profile=profile, findings=findings, protocol=files.protocol().is_file(), reference=reference,
        widths={figure.stem: _width(figure, found) for found in manifests for figure in found.figures},
    )  # fmt: skip
    for path in SOURCES.rglob("*"):
        if path.is_file() and path.suffix != ".j2" and (path.name != "api.rst" or reference):
            yield str(path.relative_to(SOURCES)), path.read_bytes()
    for found in manifests:
        yield from _copied(found)
    for study in told:
        cited = citation.record_set(study.manifest) if study.manifest else ""
        tables = _tables(study.manifest) if study.manifest else []
        page = pages.get_template("table.md.j2").render(study=study, tables=tables, bibtex=cited)
        yield f"paper/tables/{study.name}.md", page
    for stem, source in notebooks.catalogue().items():
        yield f"notebooks/{stem}.ipynb", _notebook(stem, source, profile)
    if files.protocol().is_file():
        yield "paper/PROTOCOL.md", files.protocol().read_text(encoding="utf-8")
    counts = Counter(claim["verdict"] for claim in claims)
    rule = _rule(files.paper() / "claims.md")
    ledger = pages.get_template("claims.html.j2").render(claims=claims, names={study.name for study in told})
    yield "paper/claims.md", pages.get_template("claims.md.j2").render(rule=rule, ledger=ledger)
    yield "index.md", pages.get_template("index.md.j2").render(
        chapters=story.chapters(told), headline=_figure(manifests),
        headlines=[study for name in HEADLINES for study in told if study.name == name and study.manifest],
        counts={verdict: counts[verdict] for verdict in VERDICTS}, guides=list(notebooks.catalogue()),
        title=citation.PAPER_TITLE,
    )  # fmt: skip


def _figure(manifests: Sequence[Manifest]) -> tuple[str, Picture] | None:
    """Return the figure that opens the front page, with its table; the first there is where that one is not made."""
    known = [(found.name, figure) for found in manifests for figure in found.figures]
    return next((pair for pair in known if pair[1].stem == HEADLINE), known[0] if known else None)


def _width(figure: Picture, found: Manifest) -> str:
    """Say how wide a figure is drawn; raises `InputError` where it is not there."""
    path = files.folder_of("figures", found.profile) / f"{figure.stem}.pdf"
    require(path.is_file(), "file", str(path), "a manifest names it; run `make tables` first")
    inches = drawings.inches(path.read_bytes())
    return "" if inches is None else f", {inches:.3g} inches wide"


def _environment(**known: Any) -> jinja2.Environment:
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SOURCES), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=jinja2.select_autoescape(["html.j2"]),
    )  # fmt: skip
    pages.globals |= known
    pages.filters["plain"] = plain
    return pages


def plain(text: str) -> str:
    """Return text as Markdown that shows it as it stands."""
    return re.sub(r"([\\`*_{}\[\]<>#$|~^])", r"\\\1", text)


def studies(manifests: Sequence[Manifest], planned: Sequence[Any], profile: str) -> list[Study]:
    """Return the pages of tables in reading order; a study without a table is there as not run."""
    made = {found.name: Study(found.name, found.title, found.notebook, found.command, found) for found in manifests}
    asked = ((s.name, s.title, s.notebook, manifest.command(s.notebook, profile)) for s in planned)
    known = {name: Study(name, *about) for name, *about in asked} | made
    listed = {study.notebook for study in known.values()}
    lone = [
        Study(stem, _title(source), stem, manifest.command(stem, profile))
        for stem, source in notebooks.catalogue().items() if stem not in {*WITHOUT_TABLE, *listed}
    ]  # fmt: skip
    return sorted([*known.values(), *lone], key=lambda study: study.notebook)


def _title(source: Path) -> str:
    text = "".join(json.loads(source.read_text(encoding="utf-8"))["cells"][0]["source"])
    return text.partition("\n")[0].removeprefix("# ").strip()


def _copied(found: Manifest) -> Sources:
    """Yield a study's figures, and its tables to take along; raises `InputError` for one that is not there."""
    tables, figures = files.folder_of("tables", found.profile), files.folder_of("figures", found.profile)
    paths = [tables / name for name in found.tables if not name.endswith(".md")]
    for path in [*paths, *(figures / f"{figure.stem}.{end}" for figure in found.figures for end in ("png", "pdf"))]:
        require(path.is_file(), "file", str(path), "a manifest names it; run `make tables` first")
        yield f"paper/{'figures' if path.parent == figures else 'tables'}/{path.name}", path.read_bytes()


def _tables(found: Manifest) -> list[str]:
    """Return the Markdown tables of a study, a compact one first, without title and caption: the page says these."""
    folder = files.folder_of("tables", found.profile)
    texts = []
    for name in sorted((n for n in found.tables if n.endswith(".md")), key=lambda n: "_compact" not in n):
        text, head = (folder / name).read_text(encoding="utf-8"), f"## {found.title}\n\n{found.caption}"
        texts.append(text.removeprefix(head).partition("\n\n")[2] if text.startswith(head) else text)
    return texts


def _notebook(stem: str, source: Path, profile: str) -> str:
    """Return a notebook as it was executed, or as it is where it was not, with a text for each of its pictures."""
    executed = files.folder_of("executed", profile) / source.name
    node = json.loads((executed if executed.is_file() else source).read_text(encoding="utf-8"))
    heading = ""
    for cell in node["cells"]:
        heads = re.findall(r"^#+ (.*)$", "".join(cell["source"]), re.MULTILINE)
        heading = heads[-1] if heads and cell["cell_type"] == "markdown" else heading
        cell["metadata"] = {**cell["metadata"], "mystnb": {"image": {"alt": f"Figure: {heading}"}}}
        for output in cell.get("outputs", []):
            readable(output.get("data", {}))
    if not executed.is_file():
        said = {"cell_type": "markdown", "id": "not-run", "metadata": {}, "source": "*Not executed yet.*"}
        node["cells"].insert(1, said)
    return json.dumps(node, indent=1)


def readable(data: dict[str, Any]) -> None:
    """Let the page colour source code that an output shows, and links of its tables lead on from the page."""
    if "text/x-python" in data:
        code = "".join(data["text/x-python"])
        data.clear()
        data["text/markdown"] = f"```python\n{code}\n```"
    if "text/markdown" in data:
        data["text/markdown"] = "".join(data["text/markdown"]).replace("](../PROTOCOL.md", "](../paper/PROTOCOL.md")


def _rule(path: Path) -> str:
    """Return what the ledger says before its first table: how claims are tested."""
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Claims\n\nNo claims yet.\n"
    return text.partition("\n## ")[0].partition("\n\n")[2]


def read_claims() -> list[dict[str, Any]]:
    """Return the claims of `paper/claims.json`, none if it is not there; `InputError` names what is wrong with it."""
    source = files.paper() / "claims.json"
    if not source.is_file():
        return []
    try:
        claims = json.loads(require_sealed(source).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError("claims", source.name, f"it is not JSON ({error})") from None
    require(isinstance(claims, list), "claims", source.name, "give a list of claims")
    for claim in claims:
        require(isinstance(claim, dict), "claim", claim, f"give {', '.join(_CLAIM)}")
        for name in _CLAIM:
            require(name in claim, f"{source.name}: {name}", None, f"it is missing in claim {claim.get('id')}")
        told = claim["verdict"] in (*VERDICTS, *([None] if claim["role"] == "exploratory" else []))
        require(told, f"{source.name}: verdict", claim["verdict"], f"use {', '.join(VERDICTS)}")
    return list(claims)
