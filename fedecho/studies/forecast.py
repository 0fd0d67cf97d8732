"""How long what is missing will take: said before any work starts, from the seconds that finished records took."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedecho.core.checks import RecordError
from fedecho.core.config import RunConfig
from fedecho.core.provenance import cores
from fedecho.learning.cost import duration, peak, room
from fedecho.learning.cost.duration import Rates
from fedecho.studies.comparison import Trained
from fedecho.studies.study import Study

BATCHES = "batches of trajectories or measurements"
"""What tables make that train nothing."""


@dataclass(frozen=True)
class Share:
    """What is made for a table and for none before it."""

    name: str
    count: int
    what: str
    seconds: float
    unknown: int = 0
    """How many of them nothing says how long they take."""

    def __str__(self) -> str:
        """Say it in a line."""
        rest = f"{self.unknown:,} of unknown length" if self.unknown else ""
        known = f"about {duration.text(self.seconds)} of one core" if self.unknown < self.count else ""
        return ", ".join(filter(None, [f"{self.name}: {self.count:,} {self.what}", known, rest]))


def trained(studies: Sequence[Trained], todo: Mapping[Path, Sequence[RunConfig]], rates: Rates) -> Iterator[Share]:
    """Yield for each table the runs to train that no table before it has."""
    left = {(place, run) for place, runs in todo.items() for run in runs}
    for study in studies:
        mine = left & {(study.places[0], run) for run in study.configs}
        left -= mine
        if mine:
            yield Share(study.name, len(mine), "runs", sum(rates.seconds(run) for _, run in mine))


def simulated(studies: Sequence[Study], fresh: bool) -> Iterator[Share]:
    """Yield for each other table what it makes itself and no table before it: as long as the last time, where that was
    recorded."""
    seen = set[Hashable]()
    for study in studies:
        mine = {*study.lacking(fresh)} - seen
        last = {path: r for path, r in _last(study, fresh).items() if r and path not in seen}
        seen |= mine | last.keys()
        if mine:
            seconds = sum(sum(record.phases.values()) for record in last.values())
            yield Share(study.name, len(mine), BATCHES, seconds, max(0, len(mine) - len(last)))


def _last(study: Study, fresh: bool) -> Mapping[Path, Any]:
    """Return what would be made again; where some of it cannot be believed, nothing says how long that took."""
    try:
        return study.records() if fresh else {}
    except RecordError:
        return {}


def outlook(
    studies: Sequence[Study],
    todo: Mapping[Path, Sequence[RunConfig]],
    profile: str,
    *,
    fresh: bool = False,
    jobs: int | None = None,
    device: str = "cpu",
) -> list[str]:
    """Say what is made for each table and how long about, and in the last line the sum and the largest run's memory."""
    tables = [study for study in studies if isinstance(study, Trained)]
    others = [study for study in studies if not isinstance(study, Trained)]
    rates = Rates(device, [pair for study in tables for pair in study.finished(device)])
    shares = [*trained(tables, todo, rates), *simulated(others, fresh)]
    runs = [run for some in todo.values() for run in some]
    how = "as measured" if all(map(rates.measured, runs)) else f"at {rates.prior:.0e} FLOP/s where none was measured"
    end = f", {how}, beside a few short examples; {peak.text(room.largest(runs, 1)[0][1])}" if runs else ""
    return [*map(str, shares), f"profile {profile}: {_in_all(len(runs), shares, jobs or cores())}{end}"]


def _in_all(runs: int, shares: Sequence[Share], processes: int) -> str:
    others = sum(share.count for share in shares) - runs
    seconds, unknown = sum(share.seconds for share in shares), sum(share.unknown for share in shares)
    at_once = f", {duration.text(seconds / processes)} on {processes} processes" if processes > 1 else ""
    return (
        f"{runs:,} runs to train"
        + (f" and {others:,} {BATCHES}" if others else "")
        + (f", in all about {duration.text(seconds)} of one core{at_once}" if seconds else "")
        + (f" (not counting {unknown:,} of unknown length)" if unknown and seconds else "")
    )
