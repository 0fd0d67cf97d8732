"""Runs of your own side by side, with the grid, the paired tests and the figure that the tables have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fedecho.core import files
from fedecho.core.checks import require
from fedecho.core.config import MethodConfig, RunConfig, config_hash, to_dict
from fedecho.core.records import Record
from fedecho.core.settings import Partition
from fedecho.report import captions, summary
from fedecho.report.summary import Cell
from fedecho.studies import profiles
from fedecho.studies.comparison import BARS, Comparison
from fedecho.studies.contenders import CONTENDERS
from fedecho.studies.study import Table
from fedecho.studies.writing import Made, make, write


def compare(
    configs: Mapping[str, RunConfig] | Sequence[RunConfig],
    seeds: Sequence[int] = (0, 1, 2),
    *,
    profile: str = "laptop",
    jobs: int | None = None,
    fresh: bool = False,
) -> Made:
    """Train every config on every seed where there is no record yet, and return the table of their accuracies: means
    with 95 % intervals, differences paired over seeds with their tests, and a figure.

    `configs` are by label, or get one of their method and what else tells them apart. Runs in other partitions or under
    other delays are blocks of their own. FedEcho is the row that others are compared with, or else the first one.
    Records are looked for among those of the `profile`; all that is made lies in `build/custom`. Raises `InputError`
    before any training for less than two rows, a seed given twice, and configs of different tasks.
    """
    return make(of_configs(configs, seeds, profile), jobs, fresh)


def compared(records: Sequence[Record]) -> Made:
    """Return the table of records that there are; nothing is trained. Raises `InputError` as `compare` does."""
    hashes = [record.hash for record in records]
    for each in hashes:
        require(hashes.count(each) == 1, "record", each, "it is given twice; give each record once")
    runs = [record.run_config() for record in records]
    known = dict(zip(map(config_hash, runs), records, strict=True))
    study = _study(_cells(dict(zip(hashes, runs, strict=True)), labels_of(runs)), "laptop", known)
    return write(study)


def of_configs(
    configs: Mapping[str, RunConfig] | Sequence[RunConfig], seeds: Sequence[int], profile: str, command: str = ""
) -> Compared:
    """Return the study of configs on seeds, before anything is trained; `command` makes it again."""
    for seed in seeds:
        require(list(seeds).count(seed) == 1, "seeds", seed, "it is given twice; give each seed once")
    require(bool(seeds), "seeds", tuple(seeds), "give at least one")
    runs = list(configs.values() if isinstance(configs, Mapping) else configs)
    labels = list(configs) if isinstance(configs, Mapping) else labels_of(runs)
    require(len(set(labels)) > 1, "configs", labels, "give at least two that differ in more than the seed")
    grid = {f"{seed} {place}": replace(run, seed=seed) for seed in seeds for place, run in enumerate(runs)}
    return _study(_cells(grid, labels * len(seeds)), profile, command=command)


@dataclass(frozen=True, eq=False, kw_only=True)
class Compared(Comparison):
    """A table of the user's own runs."""

    given: Mapping[str, Record] = field(default_factory=dict)
    """Records by hash, where it is a table of these alone."""

    @property
    def places(self) -> list[Path]:
        """The folders that records are looked for in: its own, and, but for code with other numerics, those of the
        tables and of single runs."""
        own, *committed = super().places
        return [own, *(each for place in committed for each in (place, place / "runs", files.build("own", self.at)))]

    def find(self, config: RunConfig) -> Record | None:
        """Return the record of a run, none without one."""
        return self.given.get(config_hash(config)) if self.given else super().find(config)

    def table(self) -> Table:
        """Return the table with its figure; its runs are of no profile."""
        made = super().table()
        own = ", ".join(dict.fromkeys(cell.method for cell in self.cells if cell.config.method.plugin))
        words = f"Not tuned, unlike rows of the tables: {own}; `fedecho tune` searches its rates." if own else ""
        notes = [f"Compared with: {self.reference}.", words, captions.caveat(self.at)]
        return replace(made, notes=" ".join(filter(None, [captions.provenance_text(made.frame), *notes])))


def _study(
    cells: Sequence[Cell], profile: str, given: Mapping[str, Record] | None = None, command: str = ""
) -> Compared:
    labels = list(dict.fromkeys(cell.method for cell in cells))
    require(len(labels) > 1, "records", labels, "give those of two different configs at least")
    block, whole = profiles.block_of(profiles.profile(profile).name)
    reference = summary.REFERENCE if summary.REFERENCE in labels else labels[0]
    return Compared(
        name="compare", title=f"Compared: {', '.join(labels)}", notebook="compare", profile=whole,
        scale=profile if block else "", cells=cells, reference=reference, given=given or {},
        custom={"runs": [[cell.method, config_hash(cell.config)] for cell in cells]},
        command=command or "fedecho.compare(configs, seeds)", note="Your own runs.",
        figures=BARS,
    )  # fmt: skip


def _cells(runs: Mapping[str, RunConfig], labels: Sequence[str]) -> list[Cell]:
    """Return each run in its place; raises `InputError` unless all are of one task."""
    first, *others = [(name, task_of(run)) for name, run in runs.items()]
    for _, task in others:
        for path, value in task.items():
            allowed = f"only runs of one task can be compared, and the first one has {first[1][path]!r}"
            require(value == first[1][path], path, value, allowed)
    return [replace(cell_of(run), method=label) for run, label in zip(runs.values(), labels, strict=True)]


def cell_of(config: RunConfig) -> Cell:
    """Return a run with its method, partition and delays named as the tables do."""
    return Cell(label_of(config.method), setting_of(config.partition), delay_of(config), config)


def task_of(config: RunConfig) -> dict[str, Any]:
    """Return what two runs must share for their accuracies to be about the same: field -> value. Methods, rates, models
    and pools may differ; the work, counted in arrivals, may not."""
    data, protocol = config.data, config.protocol
    same = ("name", "task", "train_size", "validation_size", "mask", "vocabulary")
    return {
        **{f"data.{name}": getattr(data, name) for name in same},
        "protocol.clients": protocol.clients,
        "protocol.rounds x buffer_size": protocol.rounds * protocol.buffer_size,
        "evaluation.split": config.evaluation.split,
        "evaluation.scored": config.evaluation.scored,
    }


def setting_of(partition: Partition) -> str:
    """Name a partition as the tables do."""
    kind = f"Dir({partition.alpha:g})" if partition.kind == "dirichlet" else partition.kind
    if not partition.straggler_classes:
        return kind
    share = "" if partition.straggler_share == 1 else f" {100 * partition.straggler_share:g} % of"
    return f"{kind}, stragglers own{share} {partition.straggler_classes} classes, {partition.straggler_mix}"


def delay_of(config: RunConfig) -> str:
    """Name a kind of delay."""
    delays = config.delays
    return delays.model + ("" if delays.shape is None else f" {delays.shape:g}")


def labels_of(configs: Sequence[RunConfig]) -> list[str]:
    """Return a label for each run: its method's, with the fields in which runs of that method differ; runs that differ
    in seed, partition or delays alone have the same one."""
    names = [label_of(config.method) for config in configs]
    blocks = ("seed", "partition", "delays")
    fields_of = [flat({k: v for k, v in to_dict(config).items() if k not in blocks}) for config in configs]
    out = []
    for name, own in zip(names, fields_of, strict=True):
        alike = [fields for other, fields in zip(names, fields_of, strict=True) if other == name]
        keys = dict.fromkeys(key for fields in alike for key in fields)
        apart = [key for key in keys if any(fields.get(key) != own.get(key) for fields in alike)]
        out.append(", ".join([name, *(f"{key}={own.get(key, 'default')}" for key in apart)]))
    return out


def label_of(method: MethodConfig) -> str:
    """Return the label of the tables' row that has a method in this form, or else the method's name."""
    form = _form(method)
    return next((c.label for c in CONTENDERS.values() if _form(c.method) == form), method.name)


def _form(method: MethodConfig) -> tuple[Any, ...]:
    """Return a method's class and which of its options are on; the values of those are left out."""
    return (type(method), *((value is None, value is True) for value in vars(method).values()))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted path."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return out
