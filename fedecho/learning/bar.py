"""A progress bar over the rounds of a run, with the accuracy of the last evaluation."""

from __future__ import annotations

from collections.abc import Iterable

from tqdm import tqdm

from fedecho.core.records import Row
from fedecho.simulation.schedule import Round


class Bar:
    """Wraps the rounds of one run, and is told of each evaluation."""

    _shown: tqdm[Round]

    def rounds(self, rounds: Iterable[Round]) -> Iterable[Round]:
        """Return the rounds in a bar."""
        self._shown = tqdm(rounds, unit="round")
        return self._shown

    def row(self, row: Row) -> None:
        """Show an evaluation."""
        self._shown.set_postfix(accuracy=f"{100 * row['accuracy']:.1f} %")
