"""Which runs a table needs, where their records lie, and the training of those that are missing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from fedecho import presets, records, sweep
from fedecho.config import RunConfig, config_hash, require
from fedecho.cost import memory
from fedecho.cost.duration import Rates
from fedecho.cost.duration import text as duration_text
from fedecho.notebooks import records_dir, tuning_dir
from fedecho.studies import ablations
from fedecho.sweep import missing

SETS = ("tuning", *ablations.STUDIES, "cifar_tuning", "language_tuning")
"""Every set of runs, in the order in which tables are made: a run that several share belongs to the first of them."""
TUNINGS = ("tuning", "cifar_tuning", "language_tuning")
_OF_BLOCK = {
    "cifar_small": "cifar", "cifar_tuning": "cifar", "language": "language", "language_tuning": "language",
}  # fmt: skip
"""Set of runs -> block whose profile it has; all others have the profile of the whole."""


def sets(profile: str) -> tuple[str, ...]:
    """Return the sets of a profile: a block has its main table and the tuning behind it."""
    return SETS if profile in presets.WHOLE else ("tuning", "vision")


def scale(name: str, profile: str) -> str:
    """Return the profile of a set's runs: that of the block where they are one."""
    return presets.BLOCKS[_OF_BLOCK[name]][profile] if name in _OF_BLOCK else profile


def configs(name: str, profile: str) -> list[RunConfig]:
    """Return the runs of a set at a profile's scale; raises `InputError` naming the known sets."""
    require(name in sets(profile), "only", name, f"choose one of all, {', '.join(sets(profile))}")
    if name in TUNINGS:
        return [trial.config for trial in presets.tuning(scale(name, profile))]
    return [cell.config for cell in ablations.cells(name, profile)]


def folder(name: str, profile: str) -> Path:
    """Return where the records of a set lie."""
    return (tuning_dir if name in TUNINGS else records_dir)(scale(name, profile))


def own(name: str, profile: str) -> list[RunConfig]:
    """Return the runs of a set that no earlier one has: what is trained again where everything is wanted fresh."""
    if name in TUNINGS:
        return configs(name, profile)
    earlier = list(ablations.STUDIES)[: list(ablations.STUDIES).index(name)]
    theirs = {config_hash(config) for other in earlier for config in configs(other, profile)}
    return [config for config in configs(name, profile) if config_hash(config) not in theirs]


def train(name: str, profile: str = "laptop", jobs: int | None = None, fresh: bool = False) -> int:
    """Run what a set lacks, and where `fresh` all runs that are its own; return how many runs that was.

    What must not or cannot be trained here (`obstacle`) stays as it is; the table then says that it was not run.
    """
    place, made = folder(name, profile), 0
    if (why := obstacle(name, profile, fresh)) is not None:
        print(f"{name}: {why}", file=sys.stderr)
        return 0
    if fresh:
        made = sweep.sweep(own(name, profile), place, jobs=jobs, fresh=True)
    return made + sweep.sweep(configs(name, profile), place, jobs=jobs)


def obstacle(name: str, profile: str, fresh: bool = False) -> str | None:
    """Say why a table does not train the runs it lacks, none if it does: data that are not here, days of training."""
    todo = configs(name, profile) if fresh else missing(configs(name, profile), folder(name, profile))
    if not todo:
        return None
    if scale(name, profile) == "paper":
        asked = "`fedecho sweep --profile paper --budget 25m` trains them"
        return f"{len(todo)} runs, {_about(todo)} on a CPU, are not trained by a table: {asked}"
    return next((f"{len(todo)} runs are not trained, {error}" for error in sweep.absent_data(todo).values()), None)


def train_all(
    names: Iterable[str],
    profile: str,
    jobs: int | None = None,
    fresh: bool = False,
    cluster: bool = False,
    device: str = "cpu",
) -> int:
    """Run what the sets `names` lack (everything if `fresh`), shared runs once; return how many runs that was."""
    together: dict[Path, list[RunConfig]] = {}
    for name in names:
        together.setdefault(folder(name, profile), []).extend(configs(name, profile))
    return sum(
        sweep.sweep(runs, place, jobs=jobs, fresh=fresh, cluster=cluster, device=device)
        for place, runs in together.items()
    )


def outlook(profile: str, names: Iterable[str], fresh: bool, device: str = "cpu") -> str:
    """Say how many runs the sets `names` are going to train, and how long about; raises `InputError` for unusable
    records."""
    presets.profile(profile)
    todo: dict[Path, RunConfig] = {}
    for name in names:
        place = folder(name, profile)
        records.require_usable(place)
        chosen = configs(name, profile) if fresh else missing(configs(name, profile), place)
        todo |= {records.record_path(place, config): config for config in chosen}
    said = f"profile {profile}: {len(todo)} runs to train"
    if not todo:
        return said
    about = _about(todo.values(), device)
    return f"{said}, {about}, beside a few short examples; {memory.text(next(iter(todo.values())))}"


def _about(todo: Iterable[RunConfig], device: str = "cpu") -> str:
    rates = Rates(device)
    return f"about {duration_text(sum(map(rates.seconds, todo)))} one after the other at {rates.prior:.0e} FLOP/s"
