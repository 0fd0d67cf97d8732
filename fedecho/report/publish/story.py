"""The order in which pages and paper tell the tables, and the sentence that each begins with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol, TypeVar

from fedecho.core.files import folder_of
from fedecho.report.publish import readme

CHAPTERS = {
    "Tables": r"1\d_",
    "Ablations and controls": r"2\d_|34_",
    "Theory": r"3\d_",
    "Tuning and cost": r"",
}
"""Title of a chapter -> what the names of its notebooks begin with."""
LAST = next(reversed(CHAPTERS))
TEMPLATE = "findings.md.j2"


class Told(Protocol):
    """What has a place in the story."""

    @property
    def name(self) -> str:
        """Of the table."""

    @property
    def notebook(self) -> str:
        """That makes it."""


T = TypeVar("T", bound=Told)


def chapters(told: Iterable[T]) -> dict[str, list[T]]:
    """Return tables by the title of their chapter, in the order in which they are given."""
    found: dict[str, list[T]] = {title: [] for title in CHAPTERS}
    for one in told:
        found[_chapter(one)].append(one)
    return {title: members for title, members in found.items() if members}


def aside(told: Told) -> bool:
    """Tell whether a table only chose values for another one, counts minutes, adds detail to one or has not been run:
    the paper says what it found and leaves the rest out."""
    names = "tuning$|methods$|^(faulty_bound|cold_costs|many_clients|server_scale|cifar_clients|cifar_resnet)$"
    return re.search(names, told.name) is not None


def _chapter(told: Told) -> str:
    if re.search("tuning|cost|^faulty_bound$|^many_clients$|^server_scale$", told.name):
        return LAST
    return next(title for title, begin in CHAPTERS.items() if re.match(begin, told.notebook))


def findings(profile: str, names: Iterable[str]) -> dict[str, str]:
    """Return the sentence of each table that has one, as Markdown; none for tables that the template is not about.

    Raises `InputError` with a sentence that is no longer true.
    """
    if not readme.told(profile):
        return {}
    said = readme.environment(folder_of("tables", profile)).get_template(TEMPLATE).module
    return {name: str(getattr(said, name)()).strip() for name in names if hasattr(said, name)}
