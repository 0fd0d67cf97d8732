"""Which missing run is wanted most: the one place that says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fedecho import presets
from fedecho.core import records
from fedecho.core.config import RunConfig
from fedecho.studies import wanted
from fedecho.studies.ablations import DIR, PURE

METHODS = ("FedBuff", "FedEcho", "FedBuff + EMA", "CA2FL", "FADAS")
PLACES = ((DIR, "large"), (PURE, "large"), (DIR, "mild"), (PURE, "mild"), ("Dir(0.3)", "large"), ("Dir(0.3)", "mild"))
"""The main table's first places: the paper's own kind of setting, then where stragglers alone hold two classes."""
SETS = ("ablation_nu", "ablation_alpha", "unlabeled")
"""What follows after those; then the rest of the main table, and every other set."""


class Wanted(NamedTuple):
    """A run and the folder of its record."""

    folder: Path
    config: RunConfig

    @property
    def path(self) -> Path:
        """Its record."""
        return records.record_path(self.folder, self.config)

    @property
    def progress(self) -> Path:
        """The file of its progress, apart from the records."""
        return records.progress_path(self.folder, self.config)


def ordered(profile: str, names: Iterable[str]) -> list[Wanted]:
    """Return the runs of the sets `names`, each once, the most wanted first."""
    chosen = list(names)
    runs = (Wanted(wanted.folder(name, profile), config) for name, config in _all(profile) if name in chosen)
    return list({run.path: run for run in runs}.values())


def _all(profile: str) -> Iterator[tuple[str, RunConfig]]:
    # Tables use what tuning chose, so it comes first; the paper's scale runs at the protocol's own values meanwhile.
    chosen, main = wanted.sets(profile), "vision" in wanted.sets(profile)
    tuned = [name for name in (wanted.TUNINGS if not main else ("tuning",)) if name in chosen]
    for name in () if profile == "paper" else tuned:
        yield from _set(name, profile)
    if main:
        yield from (("vision", config) for config in _first(profile))
    others = [name for name in chosen if name not in tuned]
    for name in dict.fromkeys((*SETS, "vision", *others, *tuned)):
        if name in chosen:
            yield from _set(name, profile)


def _set(name: str, profile: str) -> Iterator[tuple[str, RunConfig]]:
    yield from ((name, config) for config in wanted.configs(name, profile))


def _first(profile: str) -> Iterator[RunConfig]:
    """Yield the main table's first runs: place by place, and seed by seed so that comparisons are complete early."""
    cells = {(c.setting, c.delay, c.config.seed, c.method): c.config for c in presets.vision_table(profile)}
    for setting, delay in PLACES:
        for seed in presets.profile(profile).seeds:
            for method in METHODS:
                if (setting, delay, seed, method) in cells:
                    yield cells[setting, delay, seed, method]
