"""Which runs the tables need, in which order they are wanted, and the training of those that lack; and which records
none needs any more."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

from fedecho.core import files
from fedecho.core.checks import near, require
from fedecho.core.config import RunConfig, config_hash
from fedecho.studies import profiles
from fedecho.studies.comparison import Trained
from fedecho.studies.grid import DIR, PURE
from fedecho.studies.study import TABLES
from fedecho.studies.sweep import Wanted

FIRST_METHODS = ("FedBuff", "FedEcho", "FedBuff + EMA", "CA2FL", "FADAS")
FIRST_SETTINGS = (
    (DIR, "large"), (PURE, "large"), (DIR, "mild"), (PURE, "mild"), ("Dir(0.3)", "large"), ("Dir(0.3)", "mild"),
)  # fmt: skip
"""The main table's first runs: the paper's own kind of setting, then where stragglers alone hold two classes."""
THEN = ("ablation_nu", "ablation_alpha", "unlabeled")
"""What follows after those; then the rest of the main table, and every other one."""


@functools.cache
def trained(profile: str) -> dict[str, Trained]:
    """Return the tables of training runs at a profile by name, in the order in which they are made: a run that several
    share belongs to the first of them. A block has its own tables, and the tuning behind them."""
    block, whole = profiles.block_of(profiles.profile(profile).name)
    studies = [build(whole) for build in TABLES.values()]
    return {s.name: s for s in studies if isinstance(s, Trained) and (not block or s.at == profile)}


def named(names: Iterable[str], profile: str) -> list[Trained]:
    """Return tables by name; raises `InputError` naming the known ones."""
    known = trained(profile)
    for name in names:
        require(name in known, "only", name, f"choose one of all, {', '.join(known)}{near(name, known)}")
    return [known[name] for name in names]


def runs_of(
    studies: Iterable[Trained], fresh: bool, all_runs: bool, wanted: Callable[[RunConfig], bool] = lambda run: True
) -> dict[Path, list[RunConfig]]:
    """Return folder -> runs to train for several tables, those that are shared once and `wanted`; with `all_runs` also
    those that a table by itself does not train."""
    out: dict[Path, dict[RunConfig, None]] = {}
    for study in studies:
        files.require_folder(study.places[0], "records", files.WRITABLE)
        todo = study.lacking(fresh) if all_runs else study.trainable(fresh)
        out.setdefault(study.places[0], {}).update(dict.fromkeys(filter(wanted, todo)))
    return {place: list(runs) for place, runs in out.items()}


def shard(part: str | None) -> Callable[[RunConfig], bool]:
    """Return what tells whether a run is in one part of several, "k/n" with 1 <= k <= n (none: it is). The hash of its
    config decides: each run is in one part, whatever has been made."""
    if part is None:
        return lambda run: True
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", part)
    k, n = map(int, found.groups()) if found else (0, 0)
    require(1 <= k <= n, "shard", part, "write k/n, part k of n, with 1 <= k <= n, e.g. 3/16")
    return lambda run: int(config_hash(run), 16) % n == k - 1


# In which order runs are wanted


def ordered(profile: str, names: Sequence[str]) -> list[Wanted]:
    """Return the runs of the tables `names`, each once, the most wanted first."""
    parts = {study.name: (study.places[0], study.configs) for study in named(names, profile)}
    if "vision" in parts:
        parts["first"] = parts["vision"][0], _first(trained(profile)["vision"])
    # Tables use what tuning chose, so it comes first; the paper's scale runs at the protocol's own values meanwhile.
    known = trained(profile)
    tunings = ["tuning"] if "vision" in known else [study.name for study in known.values() if study.tuning]
    others = [name for name in known if name not in tunings]
    order = [*([] if profile == "paper" else tunings), "first", *THEN, "vision", *others, *tunings]
    chosen = [parts[name] for name in order if name in parts]
    runs = [Wanted(place, config) for place, configs in chosen for config in configs]
    return list({run.path: run for run in runs}.values())


def _first(study: Trained) -> list[RunConfig]:
    """Return the main table's first runs: setting by setting, seed by seed, so that comparisons are complete early."""
    cells = {((c.setting, c.delay), c.config.seed, c.method): c.config for c in study.asked()}
    places = product(FIRST_SETTINGS, profiles.profile(study.at).seeds, FIRST_METHODS)
    return [cells[place] for place in places if place in cells]


# What no table asks for any more


def misplaced() -> dict[Path, Path]:
    """Return where a record lies -> where it belongs: in `records/superseded`, which no table reads, once no table asks
    for it at any profile (say, what it used was tuned anew), and out of there if one does again."""
    home, asked = files.paper() / "records", _asked()
    aside = home / "superseded"
    kept = [path for depth in ("*", "*/theory") for path in home.glob(f"{depth}/*-*.json")]
    kept = [path for path in kept if "smoke" not in path.relative_to(home).parts[0]]  # those are never committed
    moves = {path: aside / path.relative_to(home) for path in kept if path not in asked}
    back = {path: home / path.relative_to(aside) for path in aside.rglob("*-*.json")}
    # One that was made again stays beside what replaced it.
    return moves | {old: new for old, new in back.items() if new in asked and not new.exists()}


def put_in_place() -> dict[Path, Path]:
    """Move the records that are misplaced, and return them."""
    moves = misplaced()
    for old, new in moves.items():
        new.parent.mkdir(parents=True, exist_ok=True)
        old.rename(new)
    return moves


def _asked() -> set[Path]:
    """Return the committed records, there or not, of every table at every profile."""
    return {path for name in profiles.WHOLE for build in TABLES.values() for path in build(name).paths()}
