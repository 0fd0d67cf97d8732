"""Which runs a table needs, where their records lie, and the training of those that are missing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fedecho import presets, records
from fedecho.config import RunConfig, config_hash, require
from fedecho.notebooks import records_dir, tuning_dir
from fedecho.studies import ablations
from fedecho.sweep import missing, sweep

SETS = ("tuning", *ablations.STUDIES)
"""Every set of runs, in the order in which tables are made: a run that several share belongs to the first of them."""


def sets(profile: str) -> tuple[str, ...]:
    """Return the sets of a profile: a block has its main table and the tuning behind it."""
    return SETS if profile in presets.BLOCKS else ("tuning", "vision")


def configs(name: str, profile: str) -> list[RunConfig]:
    """Return the runs of a set at a profile's scale; raises `InputError` naming the known sets."""
    require(name in sets(profile), "only", name, f"choose one of all, {', '.join(sets(profile))}")
    if name == "tuning":
        return [trial.config for trial in presets.tuning(profile)]
    return [cell.config for cell in ablations.cells(name, profile)]


def folder(name: str, profile: str) -> Path:
    """Return where the records of a set lie."""
    return tuning_dir(profile) if name == "tuning" else records_dir(profile)


def own(name: str, profile: str) -> list[RunConfig]:
    """Return the runs of a set that no earlier one has: what is trained again where everything is wanted fresh."""
    if name == "tuning":
        return configs(name, profile)
    earlier = list(ablations.STUDIES)[: list(ablations.STUDIES).index(name)]
    theirs = {config_hash(config) for other in earlier for config in configs(other, profile)}
    return [config for config in configs(name, profile) if config_hash(config) not in theirs]


def train(name: str, profile: str = "laptop", jobs: int | None = None, fresh: bool = False) -> int:
    """Run what a set lacks, and where `fresh` all runs that are its own; return how many runs that was."""
    place, made = folder(name, profile), 0
    if fresh:
        made = sweep(own(name, profile), place, jobs=jobs, fresh=True)
    return made + sweep(configs(name, profile), place, jobs=jobs)


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
        sweep(runs, place, jobs=jobs, fresh=fresh, cluster=cluster, device=device) for place, runs in together.items()
    )


def outlook(profile: str, names: Iterable[str], fresh: bool) -> str:
    """Say how many runs the sets `names` are going to train; raises `InputError` for unusable records."""
    presets.profile(profile)
    todo: set[Path] = set()
    for name in names:
        place = folder(name, profile)
        records.require_usable(place)
        chosen = configs(name, profile) if fresh else missing(configs(name, profile), place)
        todo |= {records.record_path(place, config) for config in chosen}
    return f"profile {profile}: {len(todo)} runs to train" + (", beside a few short examples" if todo else "")
