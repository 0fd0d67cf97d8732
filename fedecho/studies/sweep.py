"""Train runs that have no record yet, in parallel processes or on Ray; safe to stop at any moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
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
from fedecho.learning.bar import Wrap, bar
from fedecho.learning.checkpoint import forget
from fedecho.learning.cost import room
from fedecho.learning.experiment import run
from fedecho.learning.resume import Keeper, Paused
from fedecho.studies.cluster import Cluster, Nodes

Source = tuple[str, str]
"""A data set and the source of U."""


@dataclass(frozen=True)
class Done:
    """What one call of `run_and_save` did."""

    rounds: int | None
    """Rounds that are done and saved; none = all of them, and the record is written."""
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

    After Ctrl-C, finished records stay, no partial file is left, and a second call continues with the rest.
    `cluster` uses Ray's nodes instead of local processes, as many runs at a time as have room if `jobs` is none.
    An invalid record raises an error before any work; with `fresh` it is made again.
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
    with closing(each(runs, jobs=jobs, cluster=cluster, device=device)) as ended:
        for _ in bar(ended, len(runs), "run") if runs else ():
            pass
    return len(runs)


def require_room(runs: Sequence[RunConfig], jobs: int | None, device: str = "cpu") -> None:
    """Raise `InputError` if the largest runs, as many as are trained at once, need more memory than is free."""
    room.require_room(runs, min(jobs or cores(), MOST), device)


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
    with swept_up(todo), workers(name_of, cluster) as pool:
        yield from (config for config, _ in pool.each(tasks, min(jobs or pool.slots, len(tasks))))


@contextmanager
def swept_up(runs: Iterable[Wanted]) -> Iterator[None]:
    """Remove the partial files of dead processes from the folders of runs, before and after their training."""
    with ExitStack() as after:
        for folder in {run.folder for run in runs}:
            files.sweep_up(folder)
            after.callback(files.sweep_up, folder)
        yield


def workers(about: Callable[[Any], str], cluster: Cluster | None = None) -> Workers[Any] | Nodes[Any]:
    """Return a pool that trains runs: the nodes of a cluster, or local processes with one torch thread each.

    Local processes keep the memory of large tensors for reuse.
    """
    if cluster is not None:
        return Nodes(cluster, about)
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):  # read by glibc when a process starts
        os.environ.setdefault(name, "1000000000")
    code()  # if git refuses the clone, this warns once here, not in every worker
    return Workers(_single_threaded, about)


def name_of(config: RunConfig) -> str:
    """Return a readable one-line name of a run."""
    return f"{config.method.name}, seed {config.seed} (record {config_hash(config)})"


def _single_threaded() -> None:
    # Otherwise processes would compete for the cores.
    torch.set_num_threads(1)


def run_and_save(config: RunConfig, folder: Path, device: str = "cpu", deadline: float | None = None) -> Done:
    """Run one config, resuming saved progress if there is any, and write its record.

    If it cannot finish before `deadline` (seconds since the epoch), it saves its progress, from which a later call
    resumes.
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
