"""What a table compares: variants of the contenders, in settings, over seeds; and the runs that this asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedecho.core.checks import is_named, near, require, require_known
from fedecho.core.config import METHODS, RunConfig, override_all
from fedecho.core.settings import Delays
from fedecho.data.sources import CIFARS
from fedecho.report.summary import REFERENCE, Cell
from fedecho.studies.changes import changed
from fedecho.studies.contenders import CONTENDERS, TUNED, base, contender_of, rows_of, tuned
from fedecho.studies.profiles import profile

Changes = Mapping[str, Any]
"""Dotted field of `RunConfig` -> value."""
Seeds = Sequence[int] | None
"""None = those of the profile."""
DIR = "Dir(0.1)"
MIXED, PURE = (f"Dir(0.1), stragglers own 2 classes, {mix}" for mix in ("mixed", "pure"))
PARTITIONS: dict[str, dict[str, Any]] = {
    DIR: {"alpha": 0.1},
    "Dir(0.3)": {"alpha": 0.3},
    MIXED: {"alpha": 0.1, "straggler_classes": 2},
    PURE: {"alpha": 0.1, "straggler_classes": 2, "straggler_mix": "pure"},
}
"""Partitions of the main table. `mixed`: slow clients alone hold two classes, split among them by Dir(0.1), beside
shares of the other classes; `pure`: they hold those two classes in equal parts and nothing else."""
DELAYS = ("mild", "large")
CORE = ("FedBuff", "FedBuff (tuned eta)", "FedBuff + EMA", "CA2FL", "CA2FL (tuned eta)", "FADAS", REFERENCE)
WITHOUT_POOL = ("FedBuff", "FedBuff + EMA")
FEW = 3
"""Seeds of landscapes; what claims rest on and running text have all seeds of the profile."""
OWN_ETA = f"{REFERENCE} (tuned eta)"
_RIVALS = ("FedBuff (tuned eta)", "FedBuff + EMA", "CA2FL (tuned eta)", "FedAC-public", "FADAS", REFERENCE, OWN_ETA)
_OWNED = ("FedBuff + EMA", REFERENCE, OWN_ETA)
LATER = ("FedStaleAsync", "ACE (buffered)", "AREA", "AdaMasFL-public")
_IMAGES = {
    DIR: (*_RIVALS, *LATER), "Dir(0.3)": (*_RIVALS, *LATER), MIXED: (*_OWNED, *LATER), PURE: (*_OWNED, *LATER),
}  # fmt: skip
_TEXTS = {DIR: ("FedAC-public", REFERENCE)}
FRESH: dict[str, Mapping[str, Sequence[str]] | None] = {
    "smoke": _IMAGES,
    "language-smoke": _TEXTS,
    "laptop": None,
    "language": None,
}
"""Profile -> partition -> contenders of the main table that are run on the fresh seeds of the primary claims too: those
that a claim is about, and the methods of 2025 and 2026; none = all."""


@dataclass(frozen=True)
class Setting:
    """A partition and a kind of delay, as the table calls them, and how to get there from one of the main table's."""

    name: str = DIR
    delay: str = "large"
    changes: Changes = field(default_factory=dict)
    like: tuple[str, str] | None = None
    """Partition and delay of the main table that the `changes` start from; none = the same names."""
    factors: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """A row of a table: a contender with some fields changed."""

    label: str
    changes: Changes = field(default_factory=dict)
    contender: str = REFERENCE
    factors: Mapping[str, Any] = field(default_factory=dict)
    """The values that it stands for: name -> value."""


HERE, PURE_LARGE = Setting(), Setting(PURE)
OWN = Variant(REFERENCE)


def plain(labels: Iterable[str]) -> list[Variant]:
    """Return contenders as they stand in the main table, or methods of the user's own as `my_method.py:name`; raises
    `InputError` naming the known ones."""
    labels = [contender_of(label, {}).label if is_named(label) else label for label in labels]
    for label in labels:
        known = label in CONTENDERS or (label in METHODS and METHODS[label].plugin is not None)
        require(known, "methods", label, f"choose one of {', '.join(CONTENDERS)}{near(label, CONTENDERS)}")
    return [Variant(label, contender=label) for label in labels]


def echo(label: str, *, factors: Mapping[str, Any] | None = None, **fields: Any) -> Variant:
    """Return FedEcho with fields of its distillation changed."""
    return Variant(label, {f"method.distill.{name}": value for name, value in fields.items()}, factors=factors or {})


def grid(
    name: str, variants: Iterable[Variant], settings: Sequence[Setting], *, few: int | None = None, seeds: Seeds = None
) -> list[Cell]:
    """Return every variant in every setting on the profile's seeds, or on `seeds` if given.

    Of the profile's seeds the first `few` are taken, but all where a block is the main table's: they are run there.
    The fresh ones are taken there too, if the contender has them (`FRESH`).
    """
    variants, whole = list(variants), profile(name).seeds
    mains = not any(v.changes for v in variants)
    chosen = (*whole, *fresh(name)) if seeds is None else seeds
    cells = [
        (s, v, Cell(v.label, s.name, s.delay, run_at(name, v, s, chosen[0]), {**s.factors, **v.factors}))
        for s in (settings if chosen else ())
        for v in variants
    ]  # checked once, not once a seed
    return [
        dataclasses.replace(cell, config=dataclasses.replace(cell.config, seed=seed))
        for seed in chosen
        for s, v, cell in cells
        if seeds is not None
        or seed in whole[:few]
        or (mains and not s.changes and (seed in whole or has_fresh(name, v, s)))
    ]


def tried(name: str, variants: Iterable[Variant], settings: Sequence[Setting], seeds: Sequence[int]) -> list[Cell]:
    """Return every variant in every setting as it is scored for a choice."""
    cells = grid(name, variants, settings, seeds=seeds)
    return [dataclasses.replace(cell, config=on_validation(cell.config)) for cell in cells]


def few_seeds(name: str) -> int:
    """Return how many seeds a table of many rows has: at smoke scale one, which shows that its runs work."""
    return 1 if name == "smoke" else FEW


def has_fresh(name: str, variant: Variant, setting: Setting) -> bool:
    """Tell whether a contender is run on the fresh seeds at a partition of the main table."""
    rows = FRESH.get(name, {})
    return rows is None or variant.contender in rows.get(setting.like[0] if setting.like else setting.name, ())


def fresh(name: str, seeds: Seeds = None, further: float = 0) -> tuple[int, ...]:
    """Return the fresh seeds of a profile, or `further` times as many that come after them; none where `seeds` are
    given, or before they are run (`FRESH`)."""
    if seeds is not None or name not in FRESH:
        return ()
    first = profile(name).fresh
    return tuple(range(first[-1] + 1, first[-1] + 1 + int(further * len(first)))) if further else first


def run_at(name: str, variant: Variant, setting: Setting, seed: int) -> RunConfig:
    """Return one run: the contender as tuned, in its setting, with the changes of both."""
    contender = CONTENDERS.get(variant.contender) or contender_of(variant.contender, {})
    config = tuned(base(name, contender, seed), contender.label, name)
    config = placed(config, name, *(setting.like or (setting.name, setting.delay)))
    return changed(config, {**setting.changes, **variant.changes})


def placed(config: RunConfig, name: str, partition: str, delay: str) -> RunConfig:
    """Return `config` with a partition and a kind of delay of the main table, at a profile's scale."""
    require_known("setting", [partition], PARTITIONS)
    require_known("delay", [delay], DELAYS)
    fields = PARTITIONS[partition]
    counts = profile(name).speed_counts if fields.get("straggler_classes") else None
    return dataclasses.replace(
        config,
        partition=dataclasses.replace(config.partition, **fields),
        delays=Delays(delay, speed_counts=counts),  # type: ignore[arg-type]
    )


def on_validation(config: RunConfig) -> RunConfig:
    """Return a run as it is scored for a choice: on the validation split (`set_aside`)."""
    return set_aside(override_all(config, {"evaluation.split": "validation"}))


def set_aside(config: RunConfig) -> RunConfig:
    """Return a run whose data have a validation split: where they have none of their own, the clients' last images."""
    carved = config.data.name in CIFARS and not config.data.validation_size
    return override_all(config, {"data.validation_size": 5000}) if carved else config


def main_settings(name: str, settings: Iterable[str] | None = None, delays: Iterable[str] = DELAYS) -> list[Setting]:
    """Return the settings of a profile's main table: its partitions (or those given) x kinds of delay."""
    chosen = list(settings if settings is not None else profile(name).settings or PARTITIONS)
    return [Setting(setting, delay) for setting in chosen for delay in delays]


def main_methods(name: str, methods: Iterable[str] | None = None) -> list[Variant]:
    """Return the contenders of a profile's main table, or those given and the one that they are compared with.

    Where methods are tuned, those that are not yet are left out.
    """
    if methods is not None:
        return plain(dict.fromkeys([*methods, REFERENCE]))
    found = TUNED.get(name)
    return plain(label for label in rows_of(name) if found is None or label in found)
