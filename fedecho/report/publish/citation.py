"""BibTeX for the paper, for this package (`CITATION.cff` says the same) and for the records behind a table.

Entries are `@article` and `@misc`, which every style and parser knows, and say versions where the classic styles
(plain, IEEEtran, plainnat, ACM) print them: in `howpublished`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from fedecho.core import files
from fedecho.core.checks import require, require_known
from fedecho.report.manifest import Manifest, read_all
from fedecho.report.publish.latex import escape

TITLE = "fedecho: FedEcho and its baselines, re-implemented"
PAPER_TITLE = "Stragglers Can Contribute More: Uncertainty-Aware Distillation for Asynchronous Federated Learning"
PAPER_AUTHORS = ("Wang, Yujia", "Ma, Fenglong", "Chen, Jinghui")

_OWN = ("Repository", "Source", "Homepage")
"""Labels of `[project.urls]` under which a package has its address."""

_TEMPLATE = """\
@article{{wang2025stragglers,
  title   = {{{{{paper_title}}}}},
  author  = {{{paper_authors}}},
  journal = {{arXiv preprint arXiv:2511.19966}},
  year    = {{2025}},
  url     = {{https://arxiv.org/abs/2511.19966}}
}}

@misc{{fedecho,
  title        = {{{{{title}}}}},
  author       = {{{{The fedecho developers}}}},
  year         = {{2026}},
  howpublished = {{Python package, version {version}}},{url}
  note         = {{Records, tables and figures of this version}}
}}"""

_RECORD_SET = """\
@misc{{fedecho-{name}-{record_set},
  title        = {{{{{title}}}}},
  author       = {{{{The fedecho developers}}}},
  year         = {{2026}},
  howpublished = {{Record set {record_set} of fedecho {version}: {count} records, profile {profile}}},{url}
  note         = {{Records made by commit {commits}; table and figures by \\texttt{{{command}}}}}
}}"""


def version() -> str:
    """Return the installed version of the package."""
    return importlib.metadata.version("fedecho")


def _url() -> str:
    """Return the line with the package's own address, nothing where its metadata name none: the paper has its entry."""
    named = importlib.metadata.metadata("fedecho").get_all("Project-URL") or []
    own = [address for label, _, address in (entry.partition(", ") for entry in named) if label in _OWN]
    return f"\n  url          = {{{own[0]}}}," if own else ""


def bibtex() -> str:
    """Return both entries; the package's carries the installed version."""
    return _TEMPLATE.format(
        paper_title=PAPER_TITLE, paper_authors=" and ".join(PAPER_AUTHORS), title=TITLE, version=version(), url=_url(),
    )  # fmt: skip


def record_set(manifest: Manifest) -> str:
    """Return the entry for the records behind a table and its figures."""
    return _RECORD_SET.format(
        name=manifest.name, record_set=manifest.record_set, title=escape(manifest.title), version=version(),
        count=len(manifest.records), profile=escape(manifest.profile), command=escape(manifest.command), url=_url(),
        commits=", ".join(commit[:7] for commit in manifest.commits) or "unknown",
    )  # fmt: skip


def cite(names: Sequence[str], profile: str = "laptop") -> str:
    """Return the entries of paper and package, and of the record set behind each table or figure, each key once.

    Raises `InputError` for an unknown name.
    """
    return "\n\n".join(dict.fromkeys([bibtex(), *(record_set(manifest_behind(name, profile)) for name in names)]))


def manifest_behind(name: str, profile: str = "laptop") -> Manifest:
    """Return the manifest of a table or figure; `InputError` for an unknown name."""
    manifests = read_all(files.folder_of("tables", profile))
    known = {figure.stem: manifest for manifest in manifests for figure in manifest.figures}
    known |= {manifest.name: manifest for manifest in manifests}
    require(bool(known), "name", name, "no table made yet")
    require_known("name", [name], sorted(known))
    return known[name]
