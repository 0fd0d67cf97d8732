"""Runs what has no record yet, in parallel processes or on Ray; survives being stopped at any moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from fedecho import data as datasets
from fedecho.core import numerics
from fedecho.core.checks import InputError, MissingDataError, require
from fedecho.core.config import RunConfig
from fedecho.core.provenance import cores as cores
from fedecho.core.records import Record, find, progress_path, record_path, require_usable, save
from fedecho.learning.experiment import run
from fedecho.learning.resume import Keeper, Paused
from fedecho.simulation.schedule import Round

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


def absent_data(configs: Iterable[RunConfig], root: Path | None = None) -> dict[Source, MissingDataError]:
    """Return the data that runs need and that are not here, with how to get them; raises `InputError` for bad ones."""
    out = {}
    for name, pool in dict.fromkeys((config.data.name, config.data.pool) for config in configs):
        try:
            datasets.require_here(name, pool, root)
        except MissingDataError as error:
            out[name, str(pool)] = error
    return out


def sweep(
    configs: Sequence[RunConfig],
    folder: Path,
    *,
    jobs: int | None = None,
    fresh: bool = False,
    cluster: bool = False,
    progress: bool = True,
    data_root: Path | None = None,
    device: str = "cpu",
) -> int:
    """Run what is missing in `folder` (everything if `fresh`) and return how many runs that was.

    Each record is written whole by the process that made it. On Ctrl-C the records made so far stay, nothing
    half-written does, and a second call goes on with the rest. `cluster` uses Ray instead of `jobs` local processes.
    """
    require(jobs is None or jobs >= 1, "jobs", jobs, "give at least 1 process")
    require_usable(folder)
    todo = list({record_path(folder, c): c for c in configs}.values()) if fresh else missing(configs, folder)
    for error in absent_data(todo, data_root).values():
        raise error
    for config in todo if fresh else ():
        progress_path(folder, config).unlink(missing_ok=True)
    if todo:
        count, how = min(jobs or cores(), len(todo)), (folder, data_root, device)
        ended = _on_ray(todo, *how) if cluster else _in_processes(todo, count, *how)
        with closing(ended):
            for _ in tqdm(ended, total=len(todo), unit="run", disable=not progress, smoothing=0.05):
                pass
    return len(todo)


def workers(count: int) -> ProcessPoolExecutor:
    """Return processes that each run on one torch thread and keep the memory of large tensors for the next ones."""
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):  # read by glibc when a process starts
        os.environ.setdefault(name, "1000000000")
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_single_threaded)


def _in_processes(todo: list[RunConfig], count: int, folder: Path, *how: Any) -> Generator[Done]:
    """Yield what each run came to as it ends."""
    executor = workers(count)
    try:
        for future in as_completed([executor.submit(run_and_save, config, folder, *how) for config in todo]):
            yield future.result()
    except BaseException:
        abandon(executor, [folder])
        raise
    executor.shutdown()


def abandon(executor: ProcessPoolExecutor, folders: Iterable[Path]) -> None:
    """Stop the workers now and sweep up what they were writing; whole files were renamed into place and stay."""
    processes = list((executor._processes or {}).values())
    for process in processes:
        process.terminate()
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.join()
        for folder in set(folders):
            for partial in folder.rglob(f"*.{process.pid}.partial"):
                partial.unlink()


def _on_ray(todo: list[RunConfig], folder: Path, *how: Any) -> Generator[Done]:
    """Yield what each run came to as it ends."""
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError("cluster", True, "Ray is not installed; pip install -c constraints.txt ray") from None
    ray.init(address="auto", ignore_reinit_error=True)
    remote = ray.remote(num_cpus=1)(run_and_save)
    pending = [remote.remote(config, folder, *how) for config in todo]
    while pending:
        done, pending = ray.wait(pending)
        yield from map(ray.get, done)


def _single_threaded() -> None:
    # The parent alone answers Ctrl-C; one torch thread per process, or they would compete for the cores.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def run_and_save(
    config: RunConfig, folder: Path, data_root: Path | None = None, device: str = "cpu", deadline: float | None = None
) -> Done:
    """Run one config and write its record, from where it was left if it was begun before.

    Before `deadline` (seconds since the epoch) its progress is written instead; a later call goes on from there.
    """
    began, keeper = time.monotonic(), Keeper(progress_path(folder, config), deadline=deadline)
    try:
        record = run(config, data_root=data_root, device=device, keeper=keeper)
    except Paused as pause:
        return Done(pause.round, pause.round - keeper.begun, time.monotonic() - began)
    save(record, record_path(folder, config))
    keeper.forget()
    return Done(None, config.protocol.rounds - keeper.begun, time.monotonic() - began)


def record_of(
    config: RunConfig, folder: Path, fresh: bool = False, progress: Callable[[Iterable[Round]], Iterable[Round]] = iter
) -> Record:
    """Return the record of one run from `folder`, after training it here if it is missing or `fresh` is wanted.

    Code with other numerics has a folder of its own (`numerics.place`).
    """
    folder = numerics.place(folder, config)
    found = None if fresh else find(folder, config)
    if found is None:
        found = run(config, progress=progress)
        save(found, record_path(folder, config))
    return found
