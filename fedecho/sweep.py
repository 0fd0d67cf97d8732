"""Runs what has no record yet, in parallel processes; survives being stopped at any moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

import torch
from tqdm import tqdm

from fedecho.config import RunConfig, require
from fedecho.records import Record, find, record_path, save


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
    progress: bool = True,
    data_root: Path | None = None,
) -> int:
    """Run what is missing in `folder` (everything if `fresh`) and return how many runs that was.

    Each record is written whole by the process that made it. On Ctrl-C the records made so far stay, nothing
    half-written does, and a second call goes on with the rest.
    """
    require(jobs is None or jobs >= 1, "jobs", jobs, "give at least 1 process")
    todo = list({record_path(folder, c): c for c in configs}.values()) if fresh else missing(configs, folder)
    if not todo:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    workers = min(jobs or cores(), len(todo))
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, initializer=_single_threaded)
    try:
        futures = [executor.submit(run_and_save, config, folder, data_root) for config in todo]
        _await(futures, progress)
    except BaseException:
        _abandon(executor)
        raise
    executor.shutdown()
    return len(todo)


def _await(futures: list[Future[Record]], progress: bool) -> None:
    bar = tqdm(as_completed(futures), total=len(futures), unit="run", disable=not progress, smoothing=0.05)
    for future in bar:
        record = future.result()
        bar.set_postfix_str(f"{record.hash[:6]} {record.status}", refresh=False)


def _abandon(executor: ProcessPoolExecutor) -> None:
    """Stop the workers now; a record is renamed into place, so a killed worker leaves at most a `.partial` file."""
    for process in list((executor._processes or {}).values()):
        process.terminate()
    executor.shutdown(wait=False, cancel_futures=True)


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
