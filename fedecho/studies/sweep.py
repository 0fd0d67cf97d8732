"""Runs what has no record yet, in parallel processes or on Ray; survives being stopped at any moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fedecho import data as datasets
from fedecho.core import files, numerics
from fedecho.core.checks import MissingDataError, require_jobs
from fedecho.core.config import RunConfig, config_hash
from fedecho.core.processes import Stopped
from fedecho.core.provenance import code, cores as cores
from fedecho.core.records import Record, find, progress_path, record_path, save
from fedecho.core.workers import MOST, Workers
from fedecho.learning.bar import bar
from fedecho.learning.checkpoint import forget
from fedecho.learning.cost import peak
from fedecho.learning.experiment import Wrap, run
from fedecho.learning.resume import Keeper, Paused
from fedecho.studies.cluster import Cluster, Nodes

Source = tuple[str, str]
"""A data set and the source of U."""


@dataclass(frozen=True)
class Done:
    """What one call made of a run."""

    rounds: int | None
    """Rounds that are done and kept; none = all of them, and the record is written."""
    rounds_made: int
    """Rounds that this call did."""
    seconds: float
    """Wall-clock seconds of this call."""


class Wanted(NamedTuple):
    """A run and the folder of its record."""

    folder: Path
    config: RunConfig

    @property
    def path(self) -> Path:
        """Its record."""
        return record_path(self.folder, self.config)

    @property
    def progress(self) -> Path:
        """The file of its progress, apart from the records."""
        return progress_path(self.folder, self.config)


def missing(configs: Iterable[RunConfig], folder: Path) -> list[RunConfig]:
    """Return the configs without a record, each once, in order; raises `InputError` for an unreadable record."""
    seen: dict[Path, RunConfig] = {record_path(folder, config): config for config in configs}
    return [config for config in seen.values() if find(folder, config) is None]


def absent_data(configs: Iterable[RunConfig]) -> dict[Source, MissingDataError]:
    """Return the data that runs need and that are not here, with how to get them; raises `InputError` for bad ones."""
    out = {}
    for name, pool in dict.fromkeys((config.data.name, config.data.pool) for config in configs):
        try:
            datasets.require_here(name, pool)
        except MissingDataError as error:
            out[name, str(pool)] = error
    return out


def sweep(
    todo: Mapping[Path, Sequence[RunConfig]],
    *,
    jobs: int | None = None,
    fresh: bool = False,
    cluster: Cluster | None = None,
    device: str = "cpu",
) -> int:
    """Run what is missing in each folder (everything if `fresh`) and return how many runs that was.

    On Ctrl-C the records made so far stay, nothing half-written does, and a second call goes on with the rest.
    `cluster` uses the nodes of Ray instead of local processes, as many as have room where `jobs` is left out.
    A record that cannot be believed stops everything before any work; `fresh` makes it again.
    """
    require_jobs(jobs)
    for folder in todo:
        files.require_folder(folder, "records", files.WRITABLE)
    runs = [
        Wanted(folder, config)
        for folder, configs in todo.items()
        for config in ({record_path(folder, c): c for c in configs}.values() if fresh else missing(configs, folder))
    ]
    for error in absent_data(wanted.config for wanted in runs).values():
        raise error
    for wanted in runs if fresh else ():
        forget(wanted.progress)
    ended = each(runs, jobs=jobs, cluster=cluster, device=device)
    with closing(ended):
        for _ in bar(ended, len(runs), "run") if runs else ended:
            pass
    return len(runs)


def require_room(runs: Sequence[RunConfig], jobs: int | None, device: str = "cpu") -> None:
    """Raise `InputError` where the largest of the runs, as many as are trained at once, need more memory than is
    free."""
    peak.require_room(runs, min(jobs or cores(), MOST), device)


def each(
    todo: Sequence[Wanted],
    *,
    jobs: int | None = None,
    cluster: Cluster | None = None,
    device: str = "cpu",
) -> Generator[RunConfig]:
    """Train runs, `jobs` at a time, and yield each as its record is written."""
    tasks = [(config, run_and_save, (config, folder, device)) for folder, config in todo]
    if not tasks:
        return
    folders = {folder for folder, _ in todo}
    for folder in folders:
        files.sweep_up(folder)
    try:
        with workers(name_of, cluster) as pool:
            yield from (config for config, _ in pool.each(tasks, min(jobs or pool.slots, len(tasks))))
    finally:
        for folder in folders:
            files.sweep_up(folder)


def workers(about: Callable[[Any], str], cluster: Cluster | None = None) -> Workers[Any] | Nodes[Any]:
    """Return what does runs: the nodes of a cluster, or processes here, each on one torch thread, which keep the memory
    of large tensors for the next ones."""
    if cluster is not None:
        return Nodes(cluster, about)
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):  # read by glibc when a process starts
        os.environ.setdefault(name, "1000000000")
    code()  # what git refuses is said here, once, and not by every worker
    return Workers(_single_threaded, about)


def name_of(config: RunConfig) -> str:
    """Name a run in a line for people."""
    return f"{config.method.name}, seed {config.seed} (record {config_hash(config)})"


def _single_threaded() -> None:
    # Or processes would compete for the cores.
    torch.set_num_threads(1)


def run_and_save(config: RunConfig, folder: Path, device: str = "cpu", deadline: float | None = None) -> Done:
    """Run one config and write its record, from where it was left if it was begun before.

    Before `deadline` (seconds since the epoch) its progress is written instead; a later call goes on from there.
    """
    began, keeper = time.monotonic(), Keeper(progress_path(folder, config), deadline=deadline)
    try:
        record = run(config, device=device, keeper=keeper)
    except Paused as pause:
        return Done(pause.round, pause.round - keeper.begun, time.monotonic() - began)
    save(record, record_path(folder, config))
    keeper.forget()
    return Done(None, config.protocol.rounds - keeper.begun, time.monotonic() - began)


def record_of(config: RunConfig, folder: Path, fresh: bool = False, progress: Wrap = iter) -> Record:
    """Return the record of one run from `folder`, after training it here if it is missing or `fresh` is wanted.

    Code with other numerics has a folder of its own (`numerics.place`).
    """
    folder = numerics.place(folder, config)
    found = None if fresh else find(folder, config)
    if found is None:
        try:
            found = run(config, progress=progress)
        except KeyboardInterrupt:  # in a notebook: a line is all there is to say
            raise Stopped from None
        save(found, record_path(folder, config))
    return found
