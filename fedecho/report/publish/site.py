"""The pages in `paper/site`: claims, tables, figures and executed notebooks, made from manifests, readable offline."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from fedecho.core import files
from fedecho.core.checks import InputError, require
from fedecho.report import manifest, notebooks
from fedecho.report.manifest import Manifest
from fedecho.report.publish import citation, pages
from fedecho.report.summary import VERDICTS

WITHOUT_TABLE = ("00_quickstart", "01_algorithm_step_by_step", "03_your_own")
"""Notebooks that explain; every other one is a study, listed as not run until it has a table."""
_LONG = 40
_CLAIM = ("id", "role", "claim", "place", "source", "profile", "test", "verdict", "qualifier", "paper_value",
          "our_value", "n", "pooled", "p", "notebook", "table", "note")  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table as HTML; a long one, or one with a compact one before it, is folded."""

    html: str
    rows: int
    folded: bool


@dataclass(frozen=True)
class Study:
    """A section of the front page: what a manifest describes, or a notebook that has made nothing yet."""

    name: str
    title: str
    notebook: str
    command: str
    manifest: Manifest | None = None
    tables: tuple[Table, ...] = ()
    bibtex: str = ""


@dataclass(frozen=True)
class Guide:
    """A notebook with a page of its own, if it has been executed."""

    stem: str
    title: str
    executed: bool


@dataclass
class _Site:
    """The site while it is being made, in the folder `root`."""

    root: Path
    profile: str
    links: dict[str, str] = field(default_factory=dict)
    """File name -> place, from the top of the site."""

    def add(self, source: Path, folder: str) -> None:
        """Copy a file into a folder of the site; raises `InputError` if it is not there."""
        require(source.is_file(), "file", str(source), "a manifest names it; run `make tables` first")
        (self.root / folder).mkdir(exist_ok=True)
        shutil.copyfile(source, self.root / folder / source.name)
        self.links[source.name] = f"{folder}/{source.name}"

    def links_from(self, up: str) -> dict[str, str]:
        """Return the links as a page needs them whose way to the top is `up`."""
        return {name: f"{up}{place}" for name, place in self.links.items()}

    def write(self, name: str, template: str, up: str = "", **values: Any) -> None:
        """Render a template to a page."""
        made = _environment().get_template(template).render(
            up=up, profile=self.profile, version=citation.version(), paper=citation.PAPER_TITLE, **values
        )  # fmt: skip
        files.write_whole(self.root / name, made)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(files.PACKAGE / "report" / "publish" / "templates"), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def build(profile: str = "laptop", planned: Sequence[Study] = ()) -> Path:
    """Write the pages of a profile whole and return the front page; nothing is run; `planned`: every study.

    Raises `InputError` for a manifest or a list of claims that cannot be used.
    """
    final = files.folder_of("site", profile)
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=files.paper(), prefix="site.", suffix=".partial") as name:
        root = Path(name) / "site"
        root.mkdir()
        _fill(_Site(root, profile), planned)
        _replace(final, root)
    return final / "index.html"


def _replace(final: Path, made: Path) -> None:
    """Put the new pages where the old ones were; pages of other profiles inside them stay."""
    for page in final.glob("*/index.html"):
        page.parent.rename(made / page.parent.name)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(made, final)


def _fill(site: _Site, planned: Sequence[Study]) -> None:
    manifests, claims = manifest.read_all(files.folder_of("tables", site.profile)), read_claims()
    shutil.copyfile(files.PACKAGE / "report" / "publish" / "templates" / "site.css", site.root / "site.css")
    guides = [_guide(site, stem, source) for stem, source in notebooks.catalogue().items()]
    for found in manifests:
        _copy(site, found)
    _notebook_pages(site, guides)
    # First, so that captions and the ledger can refer to it.
    _page(site, files.protocol(), "protocol.html")
    ledger = _page(site, files.paper() / "claims.md", "claims.html")
    site.write(
        "index.html", "index.html.j2", claims=claims, ledger=ledger, guides=guides, places=site.links,
        studies=studies(manifests, planned, site.profile, site.links), verdicts=VERDICTS,
    )  # fmt: skip


def _guide(site: _Site, stem: str, source: Path) -> Guide:
    site.add(source, "notebooks")
    known = (files.folder_of("executed", site.profile) / source.name).is_file()
    # Links between notebooks lead to pages where there are any.
    site.links[stem] = site.links[source.name] = f"notebooks/{stem}.html" if known else f"notebooks/{source.name}"
    return Guide(stem, pages.title(source), known)


def _copy(site: _Site, found: Manifest) -> None:
    """Copy the files of a study; links to its table lead to its section."""
    for name in found.tables:
        site.add(files.folder_of("tables", site.profile) / name, "tables")
    for figure in found.figures:
        for suffix in ("png", "pdf"):
            site.add(files.folder_of("figures", site.profile) / f"{figure.stem}.{suffix}", "figures")
    site.links[found.name] = site.links[f"{found.name}.md"] = f"index.html#{found.name}"


def _notebook_pages(site: _Site, guides: Sequence[Guide]) -> None:
    for guide in guides:
        if guide.executed:
            body = pages.notebook(
                files.folder_of("executed", site.profile) / f"{guide.stem}.ipynb", site.links_from("../")
            )
            site.write(f"notebooks/{guide.stem}.html", "notebook.html.j2", up="../", guide=guide, body=body)


def _page(site: _Site, source: Path, name: str) -> bool:
    """Write the page of a Markdown text, if there is one."""
    from fedecho.report.publish import pages

    if source.is_file():
        site.links[source.name] = name
        text = source.read_text(encoding="utf-8")
        site.write(name, "text.html.j2", title=source.stem.capitalize(), body=pages.markdown(text, site.links))
    return source.is_file()


def studies(
    manifests: Sequence[Manifest], planned: Sequence[Study], profile: str, places: dict[str, str]
) -> list[Study]:
    """Return the sections of the front page in reading order; a study without a table is there as not run."""
    made = [_study(found, places) for found in manifests]
    names = {study.name for study in made}
    absent = [study for study in planned if study.name not in names]
    lone = [study for study in _unknown(profile) if study.notebook not in {known.notebook for known in made + absent}]
    return sorted([*made, *absent, *lone], key=lambda study: (study.notebook, study.name))


def _unknown(profile: str) -> list[Study]:
    """Return every notebook that might be a study: those that nobody listed are found here."""
    found = {stem: source for stem, source in notebooks.catalogue().items() if stem not in WITHOUT_TABLE}
    return [Study(stem, pages.title(source), stem, manifest.command(stem, profile)) for stem, source in found.items()]


def _study(found: Manifest, places: dict[str, str]) -> Study:
    return Study(
        found.name, found.title, found.notebook, found.command, found, _tables(found, places),
        citation.record_set(found),
    )  # fmt: skip


def _tables(found: Manifest, places: dict[str, str]) -> tuple[Table, ...]:
    """Return the Markdown tables of a study, a compact one first; title and caption are said by the section itself."""
    names = sorted((name for name in found.tables if name.endswith(".md")), key=lambda name: "_compact" not in name)
    out = []
    for position, name in enumerate(names):
        text = (files.folder_of("tables", found.profile) / name).read_text(encoding="utf-8")
        head = f"## {found.title}\n\n{found.caption}"
        text = text.removeprefix(head).partition("\n\n")[2] if text.startswith(head) else text
        made = pages.markdown(text, places)
        rows = made.count("<tr>") - made.count("<thead>")
        out.append(Table(made, rows, folded=position > 0 or rows > _LONG))
    return tuple(out)


def read_claims() -> list[dict[str, Any]]:
    """Return the claims of `paper/claims.json`, none if it is not there; `InputError` names what is wrong with it."""
    source = files.paper() / "claims.json"
    if not source.is_file():
        return []
    try:
        claims = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError("claims", source.name, f"it is not JSON ({error})") from None
    require(isinstance(claims, list), "claims", source.name, "give a list of claims")
    for claim in claims:
        require(isinstance(claim, dict), "claim", claim, f"give {', '.join(_CLAIM)}")
        for name in _CLAIM:
            require(name in claim, f"{source.name}: {name}", None, f"it is missing in claim {claim.get('id')}")
        told = claim["verdict"] in (*VERDICTS, *([None] if claim["role"] == "exploratory" else []))
        require(told, f"{source.name}: verdict", claim["verdict"], f"use {', '.join(VERDICTS)}")
    return list(claims)
