"""What a run carries from one round to the next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from fedecho.core.records import Row
from fedecho.core.settings import Protocol
from fedecho.learning.evaluation import Journal
from fedecho.learning.flat import Weights
from fedecho.simulation.schedule import Schedule


class Version(NamedTuple):
    """A model version as it was sent out."""

    model: Weights
    """x_s"""
    extra: Tensor | None
    """What the method broadcast with it."""
    before: Weights | None = None
    """x_{s-1}, kept only where the protocol has clients start from it (`Protocol.delta`)."""


@dataclass(eq=False)
class Checkpoints:
    """The versions that jobs in flight started from, and no others."""

    uses: Counter[int]
    """Version -> arrivals from it that are still to come."""
    with_before: bool = False
    """Whether x_{s-1} is wanted beside x_s."""
    versions: dict[int, Version] = field(default_factory=dict)
    last: Weights | None = None

    @staticmethod
    def of(plan: Schedule, protocol: Protocol) -> Checkpoints:
        """Return an empty store for a run."""
        return Checkpoints(plan.uses_of_version(), protocol.delta == "fadas_code")

    def __len__(self) -> int:
        """Return how many versions are held."""
        return len(self.versions)

    def keep(self, number: int, version: Version) -> None:
        """Hold a version if any job will arrive from it."""
        if self.uses[number]:
            self.versions[number] = version._replace(before=self.last)
        self.last = version.model if self.with_before else None

    def take(self, number: int) -> Version:
        """Return a version for one arrival, and let go of it after the last."""
        self.uses[number] -= 1
        return self.versions[number] if self.uses[number] else self.versions.pop(number)


class Progress(NamedTuple):
    """All that a run carries from one round to the next."""

    round: int
    """Rounds that are done."""
    x: Weights
    state: Any
    """The method's own."""
    checkpoints: Checkpoints
    journal: Journal
    rows: list[Row]
