"""What a claim is: what is compared, where, and what a primary one says beforehand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from fedecho.core.checks import Checked, Count, Positive, Share, require

Kind = Literal["greater", "equivalent", "gap", "cost", "theory"]
Role = Literal["primary", "check", "exploratory"]
NEEDS: dict[str, tuple[str, ...]] = {
    "greater": ("study", "a", "b"),
    "equivalent": ("study", "a", "b"),
    "gap": ("study", "a", "b", "easier"),
    "cost": ("study", "a"),
    "theory": ("a",),
}
"""Kind of test -> the fields that it takes, all of them needed."""

Place = tuple[str, str]
"""Setting, delay."""
Term = tuple[float, str, str, str]
"""Weight, variant, setting, delay."""


@dataclass(frozen=True)
class Comparison(Checked):
    """What is compared: variants `a` and `b` of a study; an empty name is not part of the profile. For kind `theory`,
    `a` names one of a study's questions."""

    kind: Kind
    study: str | None = None
    a: str | None = None
    b: str | None = None
    easier: str | None = None
    """gap: the delay from which accuracy is lost."""
    column: Literal["score", "straggler"] = "score"
    """Test accuracy, or the same on the classes that only stragglers own; both in %."""

    def validate(self) -> None:
        """Check that the kind has the fields it takes, and no others."""
        takes = NEEDS[self.kind]
        for name in ("study", "a", "b", "easier"):
            value = getattr(self, name)
            require((value is not None) == (name in takes), name, value, f"kind {self.kind} takes {named(takes)}")

    @property
    def sign(self) -> int:
        """-1 where less is better."""
        return -1 if self.kind == "gap" else 1


@dataclass(frozen=True)
class Claim(Checked):
    """One line of the ledger."""

    id: str
    text: str
    test: Comparison
    table: str
    """Where its numbers are."""
    role: Role = "exploratory"
    places: tuple[Place, ...] = ()
    """Its value is the mean over them, seed by seed."""
    margin: Positive | None = None
    """primary: the smallest effect of interest, in points."""
    power: Share | None = None
    """primary: the chance of a verdict, as predicted from the seeds before the fresh ones (`planning`)."""
    seeds: Count = 10
    """primary: how many fresh ones that is on."""
    family: str = ""
    """primary: the claims that were written down with it; Holm's correction is over these."""
    given: str = ""
    """The choice of ours that it rests on."""
    source: Literal["paper", "package"] = "package"
    """Whose claim it is."""
    paper: str | None = None
    """The paper's own numbers, as the summary gives them."""
    note: str = ""

    def validate(self) -> None:
        """Check that a test on runs has a place, and what a primary claim has beyond others."""
        takes, primary = NEEDS[self.test.kind], self.role == "primary"
        wanted = "give at least one" if "study" in takes else f"kind {self.test.kind} has none"
        require(("study" in takes) == bool(self.places), "places", self.places, wanted)
        fits = "b" in takes if primary else (self.role == "check") == (self.test.kind == "theory")
        require(fits, "role", self.role, f"kind {self.test.kind} cannot have it")
        for name in ("margin", "power"):
            value = getattr(self, name)
            require((value is not None) == primary, name, value, "a primary claim has one, and no other")
        require(primary or not self.family, "family", self.family, "a primary claim can have one, and no other")

    @property
    def line(self) -> str:
        """The name of the line: the claim's and its place's, in letters, digits, dots and dashes."""
        places = [] if self.role == "primary" else [word for place in self.places for word in place]
        return re.sub(r"[^a-z0-9.]+", "-", " ".join([self.id, *places]).lower()).strip("-")

    def side(self, variant: str | None) -> list[Term]:
        """Return what makes the value of a variant in this test: a weighted sum of runs."""
        share, easier = 1 / max(1, len(self.places)), self.test.easier
        lost = [(share, str(variant), setting, easier) for setting, _ in self.places if easier]
        return [*lost, *((-share if easier else share, str(variant), *place) for place in self.places)]


def named(names: Any) -> str:
    """List names, each once."""
    return ", ".join(dict.fromkeys(names)) or "nothing"
