"""BibTeX for the paper, for this package (`CITATION.cff` says the same) and for the records behind a table."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from fedecho.core import files
from fedecho.core.checks import require
from fedecho.report.manifest import Manifest, read_all
from fedecho.report.publish.latex import escape

TITLE = "fedecho: FedEcho and its baselines, reproduced"
PAPER_TITLE = "Stragglers Can Contribute More: Uncertainty-Aware Distillation for Asynchronous Federated Learning"
PAPER_AUTHORS = ("Wang, Yujia", "Ma, Fenglong", "Chen, Jinghui")

_TEMPLATE = """\
@article{{wang2025stragglers,
  title   = {{{{{paper_title}}}}},
  author  = {{{paper_authors}}},
  journal = {{arXiv preprint arXiv:2511.19966}},
  year    = {{2025}},
  url     = {{https://arxiv.org/abs/2511.19966}}
}}

@software{{fedecho,
  title   = {{{{{title}}}}},
  author  = {{{{The fedecho developers}}}},
  version = {{{version}}},
  year    = {{2026}},
  note    = {{Records, tables and figures of this version}}
}}"""

_RECORD_SET = """\
@misc{{fedecho-{name}-{record_set},
  title        = {{{{{title}}}}},
  author       = {{{{The fedecho developers}}}},
  year         = {{2026}},
  howpublished = {{Record set {record_set} of fedecho {version}: {count} records, profile {profile}}},
  note         = {{Records made by commit {commits}; table and figures by \\texttt{{{command}}}}}
}}"""


def version() -> str:
    """Return the installed version of the package."""
    return importlib.metadata.version("fedecho")


def bibtex() -> str:
    """Return both entries; the package's carries the installed version."""
    return _TEMPLATE.format(
        paper_title=PAPER_TITLE, paper_authors=" and ".join(PAPER_AUTHORS), title=TITLE, version=version(),
    )  # fmt: skip


def record_set(manifest: Manifest) -> str:
    """Return the entry for the records behind a table and its figures."""
    return _RECORD_SET.format(
        name=manifest.name, record_set=manifest.record_set, title=escape(manifest.title), version=version(),
        count=len(manifest.records), profile=escape(manifest.profile), command=escape(manifest.command),
        commits=", ".join(commit[:7] for commit in manifest.commits) or "unknown",
    )  # fmt: skip


def cite(name: str, profile: str = "laptop") -> str:
    """Return three entries for a table or figure: paper, package and record set; `InputError` for an unknown name."""
    return f"{bibtex()}\n\n{record_set(manifest_behind(name, profile))}"


def manifest_behind(name: str, profile: str = "laptop") -> Manifest:
    """Return the manifest of a table or figure; `InputError` for an unknown name."""
    return behind(name, read_all(files.folder_of("tables", profile)))


def behind(name: str, manifests: Sequence[Manifest]) -> Manifest:
    """Return the manifest that has `name` as its own or as the stem of a figure; raises `InputError` without one."""
    known = {figure.stem: manifest for manifest in manifests for figure in manifest.figures}
    known |= {manifest.name: manifest for manifest in manifests}
    require(name in known, "name", name, f"choose one of {', '.join(sorted(known))}" if known else "no table made yet")
    return known[name]
