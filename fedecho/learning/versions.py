"""The model versions that jobs in flight started from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from fedecho.core.settings import Protocol
from fedecho.learning.flat import Weights
from fedecho.simulation.schedule import Round, Schedule


class Version(NamedTuple):
    """A model version as it was sent out."""

    model: Weights
    """x_s"""
    extra: Tensor | None
    """What the method broadcast with it."""
    before: Weights | None = None
    """x_{s-1}, kept only where the protocol has clients start from it (`Protocol.delta`)."""


class Checkpoints:
    """The versions that jobs in flight started from, and no others."""

    def __init__(self, uses: Counter[int], with_before: bool = False) -> None:
        """Take the number of arrivals that will start from each version, and whether x_{s-1} is wanted beside x_s."""
        self._uses = Counter(uses)
        self._versions: dict[int, Version] = {}
        self._with_before = with_before
        self._last: Weights | None = None

    @staticmethod
    def of(plan: Schedule, protocol: Protocol) -> Checkpoints:
        """Return an empty store for a run."""
        return Checkpoints(plan.uses_of_version(), protocol.delta == "fadas_code")

    def __len__(self) -> int:
        """Return how many versions are held."""
        return len(self._versions)

    def keep(self, number: int, version: Version) -> None:
        """Hold a version if any job will arrive from it."""
        if self._uses[number]:
            self._versions[number] = version._replace(before=self._last) if self._with_before else version
        self._last = version.model if self._with_before else None

    def take(self, number: int) -> Version:
        """Return a version for one arrival, and let go of it after the last."""
        self._uses[number] -= 1
        return self._versions[number] if self._uses[number] else self._versions.pop(number)

    def content(self) -> tuple[dict[int, Version], Weights | None]:
        """Return what is held: the versions by number, and x_{s-1} where it is wanted."""
        return dict(self._versions), self._last

    def restored(self, done: Iterable[Round], content: tuple[dict[int, Version], Weights | None]) -> Checkpoints:
        """Return the store as it was after the rounds `done`, with the `content` it had then."""
        out = Checkpoints(
            self._uses - Counter(job.base_version for rnd in done for job in rnd.arrivals), self._with_before
        )
        out._versions, out._last = dict(content[0]), content[1]
        return out
