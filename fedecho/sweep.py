"""Runs what has no record yet, in parallel processes or on Ray; survives being stopped at any moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from fedecho.config import RunConfig, require
from fedecho.errors import InputError
from fedecho.records import Record, find, record_path, require_usable, save

T = TypeVar("T")


def missing(configs: Iterable[RunConfig], folder: Path) -> list[RunConfig]:
    """Return the configs without a record, each once, in order; raises `InputError` for an unreadable record."""
    seen: dict[Path, RunConfig] = {record_path(folder, config): config for config in configs}
    return [config for config in seen.values() if find(folder, config) is None]


def cores() -> int:
    """Return how many processes make sense here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sweep(
    configs: Sequence[RunConfig],
    folder: Path,
    *,
    jobs: int | None = None,
    fresh: bool = False,
    cluster: bool = False,
    progress: bool = True,
    data_root: Path | None = None,
) -> int:
    """Run what is missing in `folder` (everything if `fresh`) and return how many runs that was.

    Each record is written whole by the process that made it. On Ctrl-C the records made so far stay, nothing
    half-written does, and a second call goes on with the rest. `cluster` uses Ray instead of `jobs` local processes.
    """
    require(jobs is None or jobs >= 1, "jobs", jobs, "give at least 1 process")
    require_usable(folder)
    todo = list({record_path(folder, c): c for c in configs}.values()) if fresh else missing(configs, folder)
    if todo and cluster:
        _on_ray(todo, folder, progress, data_root)
    elif todo:
        _in_processes(todo, folder, min(jobs or cores(), len(todo)), progress, data_root)
    return len(todo)


def _in_processes(todo: list[RunConfig], folder: Path, workers: int, progress: bool, data_root: Path | None) -> None:
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, initializer=_single_threaded)
    try:
        futures = [executor.submit(run_and_save, config, folder, data_root) for config in todo]
        for future in _bar(as_completed(futures), len(futures), progress):
            future.result()
    except BaseException:
        _abandon(executor, folder)
        raise
    executor.shutdown()


def _bar(runs: Iterable[T], total: int, progress: bool) -> Iterable[T]:
    return tqdm(runs, total=total, unit="run", disable=not progress, smoothing=0.05)


def _abandon(executor: ProcessPoolExecutor, folder: Path) -> None:
    """Stop the workers now and sweep up what they were writing; whole records were renamed into place and stay."""
    workers = list((executor._processes or {}).values())
    for process in workers:
        process.terminate()
    executor.shutdown(wait=False, cancel_futures=True)
    for process in workers:
        process.join()
        for partial in folder.glob(f"*.{process.pid}.partial"):
            partial.unlink()


def _on_ray(todo: list[RunConfig], folder: Path, progress: bool, data_root: Path | None) -> None:
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError("cluster", True, "Ray is not installed; pip install -c constraints.txt ray") from None
    ray.init(address="auto", ignore_reinit_error=True)
    remote = ray.remote(num_cpus=1)(run_and_save)
    pending = [remote.remote(config, folder, data_root) for config in todo]

    def finished() -> Iterator[Any]:
        nonlocal pending
        while pending:
            done, pending = ray.wait(pending)
            yield from done

    for reference in _bar(finished(), len(todo), progress):
        ray.get(reference)


def _single_threaded() -> None:
    # The parent alone answers Ctrl-C; one torch thread per process, or they would compete for the cores.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def run_and_save(config: RunConfig, folder: Path, data_root: Path | None = None) -> Record:
    """Run one config and write its record."""
    from fedecho.experiment import run

    record = run(config, data_root=data_root)
    save(record, record_path(folder, config))
    return record
