"""The commands that pass on what was made, without training anything: claims, citations, pages, the paper's body."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import tyro

from fedecho.core.checks import require
from fedecho.core.files import require_clone, require_writable, write_whole
from fedecho.learning.bar import saying


def claims(profile: str = "laptop", power: bool = False) -> None:
    """Test every claim of the paper and this package on the records; print and write verdicts and estimates.

    Writes paper/claims.md and .json.

    Args:
        profile: whose: smoke, laptop or paper; all but laptop write claims-PROFILE.md and .json.
        power: instead, print the chance of a verdict on each primary claim, predicted from the seeds before the fresh
            ones.
    """
    from fedecho.report.publish import readme
    from fedecho.studies import profiles
    from fedecho.studies.claims import ledger, lines

    require_clone("claims")
    if power:
        print(lines.planning(profiles.whole(profile).name))
        return
    require_writable()
    print(ledger.text(ledger.write(profiles.whole(profile).name)))
    print(*ledger.written(profile), *readme.write(profile), sep="\n")


def cite(names: tyro.conf.Positional[tuple[str, ...]] = (), profile: str = "laptop") -> None:
    """Print BibTeX for the paper and for this package, and for the records behind tables or figures, each key once;
    these records are read, to see that what is cited is there.

    Args:
        names: tables or figures, e.g. vision owners_classes.
        profile: whose tables: smoke, laptop or paper.
    """
    from fedecho.report.publish import citation
    from fedecho.studies import profiles, writing

    scale = profiles.whole(profile).name
    for name in names:
        writing.require_true(citation.manifest_behind(name, scale))
    print(citation.cite(names, scale))


def site(profile: str = "laptop") -> None:
    """Write tables, figures, claims and executed notebooks as pages to paper/site, readable without a network.

    Args:
        profile: whose: smoke, laptop or paper; any but laptop gets a folder of its own in paper/site.
    """
    require_clone("site")
    require_writable()
    from fedecho.report.publish.site import build
    from fedecho.studies import profiles
    from fedecho.studies.study import TABLES

    name = profiles.whole(profile).name
    there = {found.name.lower().replace("_", "-") for found in importlib.metadata.distributions()}
    for package in ("sphinx", "furo", "myst-nb", "sphinx-design", "sphinx-mathjax-offline"):
        require(package in there, "site", package, "install fedecho[docs] first")
    with saying("writing the pages"):
        print(build(name, [table(name) for table in TABLES.values()]))


def latex(profile: str = "laptop", output: Path = Path("build/paper")) -> None:
    """Write the bodies of the paper and its supplement, which paper/main.tex and paper/supplement.tex include.

    Args:
        profile: whose tables and figures: smoke, laptop or paper.
        output: the folder.
    """
    from fedecho.report.publish.paper import documents
    from fedecho.studies import profiles
    from fedecho.studies.study import TABLES

    require_clone("latex")
    for name, text in documents(profiles.whole(profile).name, list(TABLES)).items():
        write_whole(output / name, text)
        print(output / name)
