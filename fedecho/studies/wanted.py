"""Which runs a table needs, where their records lie, and the training of those that are missing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from fedecho import presets, sweep
from fedecho.core import records
from fedecho.core.checks import require
from fedecho.core.config import RunConfig, config_hash
from fedecho.core.files import records_dir, tuning_dir
from fedecho.learning.cost import peak
from fedecho.learning.cost.duration import Rates
from fedecho.learning.cost.duration import text as duration_text
from fedecho.studies import catalogue
from fedecho.sweep import missing

SETS = ("tuning", *catalogue.STUDIES, "cifar_tuning", "language_tuning", "generation_tuning")
"""Every set of runs, in the order in which tables are made: a run that several share belongs to the first of them."""
TUNINGS = ("tuning", "cifar_tuning", "language_tuning", "generation_tuning")
_OF_BLOCK = {
    "cifar_small": "cifar",
    "cifar_tuning": "cifar",
    "language": "language",
    "language_tuning": "language",
    "language_pools": "language",
    "generation": "generation",
    "generation_tuning": "generation",
    "generation_pools": "generation",
    "bank_vocabulary": "generation",
}
"""Set of runs -> block whose profile it has; all others have the profile of the whole."""

Choose = Callable[[str, str, bool], list[RunConfig]]
"""Set, profile, fresh -> the runs of the set that are meant."""


def sets(profile: str) -> tuple[str, ...]:
    """Return the sets of a profile: a block has its own tables and the tuning behind them."""
    block, _ = presets.block_of(profile)
    return tuple(name for name in SETS if _OF_BLOCK.get(name) == block) if block else SETS


def scale(name: str, profile: str) -> str:
    """Return the profile of a set's runs: that of the block where they are one."""
    own = profile in presets.WHOLE and name in _OF_BLOCK
    return presets.BLOCKS[_OF_BLOCK[name]][profile] if own else profile


def configs(name: str, profile: str) -> list[RunConfig]:
    """Return the runs of a set at a profile's scale; raises `InputError` naming the known sets."""
    require(name in sets(profile), "only", name, f"choose one of all, {', '.join(sets(profile))}")
    if name in TUNINGS:
        return [trial.config for trial in presets.tuning(scale(name, profile))]
    return [cell.config for cell in catalogue.cells(name, presets.block_of(profile)[1])]


def folder(name: str, profile: str) -> Path:
    """Return where the records of a set lie."""
    return (tuning_dir if name in TUNINGS else records_dir)(scale(name, profile))


def own(name: str, profile: str) -> list[RunConfig]:
    """Return the runs of a set that no earlier one has: what is trained again where everything is wanted fresh."""
    if name in TUNINGS:
        return configs(name, profile)
    before = list(catalogue.STUDIES)[: list(catalogue.STUDIES).index(name)]
    earlier = [other for other in before if other in sets(profile)]
    theirs = {config_hash(config) for other in earlier for config in configs(other, profile)}
    return [config for config in configs(name, profile) if config_hash(config) not in theirs]


@dataclass(frozen=True)
class Obstacle:
    """Runs that a table does not train, and why."""

    runs: tuple[RunConfig, ...]
    why: str


def obstacles(name: str, profile: str, fresh: bool = False) -> list[Obstacle]:
    """Return which runs that a table lacks (all, if `fresh`) it does not train: absent data, or days of training."""
    todo = configs(name, profile) if fresh else missing(configs(name, profile), folder(name, profile))
    if todo and scale(name, profile) == "paper":
        asked = "`fedecho sweep --profile paper --budget 25m` trains them"
        return [
            Obstacle(tuple(todo), f"{len(todo)} runs, {_about(todo)} on a CPU, are not trained by a table: {asked}")
        ]
    out = []
    for source, error in sweep.absent_data(todo).items():
        runs = tuple(config for config in todo if (config.data.name, config.data.pool) == source)
        out.append(Obstacle(runs, f"{len(runs)} runs are not trained, {error}"))
    return out


def trainable(name: str, profile: str, fresh: bool = False) -> list[RunConfig]:
    """Return the runs of a set that a table trains where they lack a record, or are all wanted `fresh`."""
    refused = {config for obstacle in obstacles(name, profile, fresh) for config in obstacle.runs}
    return [config for config in configs(name, profile) if config not in refused]


def train(name: str, profile: str = "laptop", jobs: int | None = None, fresh: bool = False) -> int:
    """Run what a set lacks, and where `fresh` all runs that are its own; return how many runs that was.

    What must not or cannot be trained here (`obstacles`) stays as it is; the table then says that it was not run.
    """
    for obstacle in obstacles(name, profile, fresh):
        print(f"{name}: {obstacle.why}", file=sys.stderr)
    runs, place, made = trainable(name, profile, fresh), folder(name, profile), 0
    if fresh:
        mine = set(own(name, profile))
        made = sweep.sweep([config for config in runs if config in mine], place, jobs=jobs, fresh=True)
    return made + sweep.sweep(runs, place, jobs=jobs)


def train_all(
    names: Iterable[str],
    profile: str,
    jobs: int | None = None,
    fresh: bool = False,
    cluster: bool = False,
    device: str = "cpu",
    choose: Choose = lambda name, profile, fresh: configs(name, profile),
) -> int:
    """Run what the sets `names` lack (everything if `fresh`), shared runs once; return how many runs that was.

    `choose` says which runs of a set are meant: all, or (`trainable`) those that a table trains here.
    """
    together: dict[Path, list[RunConfig]] = {}
    for name in names:
        together.setdefault(folder(name, profile), []).extend(choose(name, profile, fresh))
    return sum(
        sweep.sweep(runs, place, jobs=jobs, fresh=fresh, cluster=cluster, device=device)
        for place, runs in together.items()
    )


def outlook(
    profile: str,
    names: Iterable[str],
    fresh: bool,
    device: str = "cpu",
    choose: Choose = lambda name, profile, fresh: configs(name, profile),
) -> str:
    """Say how many runs the sets `names` are going to train, and how long about (`choose`: as in `train_all`).

    Raises `InputError` for unusable records.
    """
    presets.profile(profile)
    todo: dict[Path, RunConfig] = {}
    for name in names:
        place, runs = folder(name, profile), choose(name, profile, fresh)
        records.require_usable(place)
        todo |= {records.record_path(place, config): config for config in (runs if fresh else missing(runs, place))}
    said = f"profile {profile}: {len(todo)} runs to train"
    if not todo:
        return said
    about = _about(todo.values(), device)
    # Seeds need alike, and each prediction draws a schedule.
    first = {config_hash(replace(run, seed=0)): run for run in todo.values()}
    largest = max(first.values(), key=lambda run: sum(peak.predicted_peak(run).values()))
    return f"{said}, {about}, beside a few short examples; {peak.text(largest)}"


def _about(todo: Iterable[RunConfig], device: str = "cpu") -> str:
    rates = Rates(device)
    return f"about {duration_text(sum(map(rates.seconds, todo)))} one after the other at {rates.prior:.0e} FLOP/s"
