"""BibTeX for the paper and for this package; `CITATION.cff` says the same."""

from __future__ import annotations

import importlib.metadata

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


def bibtex() -> str:
    """Return both entries; the package's carries the installed version."""
    return _TEMPLATE.format(
        paper_title=PAPER_TITLE, paper_authors=" and ".join(PAPER_AUTHORS), title=TITLE,
        version=importlib.metadata.version("fedecho"),
    )  # fmt: skip
