"""How long what is missing will take: said before any work starts, from the seconds that finished records took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedecho.core.config import RunConfig, config_hash
from fedecho.core.provenance import cores
from fedecho.learning.cost import duration, peak
from fedecho.learning.cost.duration import Rates
from fedecho.studies.study import Study
from fedecho.studies.training import Trained


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
        rest = f"{self.unknown:,} of them nobody timed" if self.unknown else ""
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
    """Yield for each other table what it makes itself: as long as the last time where that was recorded."""
    for study in studies:
        count = len(study.lacking(fresh))
        last = [sum(record.phases.values()) for record in study.records().values() if record and fresh]
        if count:
            yield Share(study.name, count, "batches of trajectories or measurements", sum(last), count - len(last))


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
    rates = Rates.of([pair for study in tables for pair in study.finished(device)], device)
    shares = [*trained(tables, todo, rates), *simulated(others, fresh)]
    runs = [run for some in todo.values() for run in some]
    said = f"profile {profile}: {len(runs):,} runs to train"
    if not shares:
        return [said]
    processes, seconds = jobs or cores(), sum(share.seconds for share in shares)
    how = "as measured" if all(map(rates.measured, runs)) else f"at {rates.prior:.0e} FLOP/s where nothing was measured"
    at_once = f" on {processes} processes about {duration.text(seconds / processes)}," if processes > 1 else ""
    said += f", in all about {duration.text(seconds)} of one core {how},{at_once} beside a few short examples"
    return [*map(str, shares), f"{said}; {_largest(runs)}" if runs else said]


def _largest(runs: Sequence[RunConfig]) -> str:
    # Seeds need alike, and each prediction draws a schedule.
    first = {config_hash(replace(run, seed=0)): run for run in runs}
    return peak.text(max(first.values(), key=lambda run: sum(peak.predicted_peak(run).values())))
