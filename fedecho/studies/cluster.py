"""Runs on the machines of a Ray cluster, which need no folder in common: what a run wrote comes back and is put here.

`Nodes` serves as `workers.Workers` does. A node works in an empty folder of its own and returns the files that it has
written: the record, or the progress of a run that a budget cut off. Data sets that lie in the data folder here reach it
through Ray's object store. A node that dies costs what was running on it, which is tried again elsewhere.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import torch

from fedecho import data as datasets
from fedecho.core import numerics
from fedecho.core.checks import InputError, require
from fedecho.core.config import RunConfig
from fedecho.core.files import require_folder, whole
from fedecho.core.provenance import require_device
from fedecho.core.records import progress_path, record_path
from fedecho.core.workers import WorkerDied

K = TypeVar("K")
RETRIES = 3
"""How often a run is tried again whose node died."""
PATIENCE = 11.0
"""Seconds in which a cluster has to answer."""
Files = dict[str, bytes]
"""Path below a folder -> content."""


@dataclass(frozen=True)
class Cluster:
    """How runs use the Ray cluster that this machine belongs to, or the one that RAY_ADDRESS names."""

    gpus_per_run: float | None = None
    """Share of a GPU that a run asks for, e.g. 0.25; none: no GPU."""
    shared: Path | None = None
    """A folder that all nodes see: a run whose node died goes on from what it kept there, and does not start over."""


def asked_for(cluster: bool, shared: Path | None, gpus: float | None, device: str) -> Cluster | None:
    """Return the cluster that a command asks for, none for none; raises `InputError` for what does not go together."""
    for name, value in (("shared", shared), ("gpus_per_run", gpus)):
        require(cluster or value is None, name, str(value), "it is for a cluster; give --cluster, or leave it out")
    if not cluster:
        require_device(device)
        return None
    require(device in ("cpu", "cuda"), "device", device, "the nodes of a cluster have cpu or cuda")
    require(gpus is None or device == "cuda", "gpus_per_run", gpus, "it goes with --device cuda")
    require(gpus is None or 0 < gpus <= 1, "gpus_per_run", gpus, "give a share above 0, 1 at most")
    return Cluster(None if device == "cpu" else gpus or 1.0, shared and require_folder(shared, "shared"))


@dataclass(frozen=True)
class Task:
    """A call for a node: `call(config, folder, *arguments)`, and what it needs there."""

    call: Callable[..., Any]
    config: RunConfig
    arguments: tuple[Any, ...]
    files: Files
    """What the folder is to hold: the progress of a run that was begun."""
    digests: Mapping[str, str]
    """Of the numerics that the run goes through, as they are here."""
    shared: Path | None


def at_node(task: Task, held: Mapping[str, Any]) -> tuple[Any, Files]:
    """Do a call on a node; return what it returned, or the error it raised, and the files that it wrote."""
    torch.set_num_threads(1)  # or the tasks of a node would compete for its cores
    datasets.HELD.update({name: data for name, data in held.items() if name not in datasets.HELD})
    with tempfile.TemporaryDirectory(prefix="fedecho-") as own:
        folder = task.shared or Path(own)
        try:
            _require_same_numerics(task.digests)
            _put({name: content for name, content in task.files.items() if not (folder / name).exists()}, folder)
            return task.call(task.config, folder, *task.arguments), _taken(task.config, folder)
        except Exception as error:  # as a value: Ray would wrap it
            return error, {}


def _require_same_numerics(digests: Mapping[str, str]) -> None:
    other = [part for part, digest in digests.items() if numerics.digest(part) != digest]
    words = (
        f"its fedecho computes {', '.join(other)} otherwise than the one here; install the same version on all nodes"
    )
    require(not other, "cluster", socket.gethostname(), words)


def _taken(config: RunConfig, folder: Path) -> Files:
    """Return what a run left in a folder; a record goes from there."""
    record, progress = record_path(folder, config), progress_path(folder, config)
    found = {str(path.relative_to(folder)): path.read_bytes() for path in (record, progress) if path.is_file()}
    record.unlink(missing_ok=True)
    return found


def _put(files: Files, folder: Path) -> None:
    for name, content in files.items():
        with whole(folder / name) as partial:
            partial.write_bytes(content)


def connect() -> Any:
    """Join the cluster at RAY_ADDRESS, or the one that this machine belongs to, and return the module ray.

    Raises `InputError` where Ray is not installed or none answers.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError("cluster", True, "Ray is not installed; pip install -c constraints.txt ray") from None
    address = os.environ.get("RAY_ADDRESS") or "auto"
    # In a process of its own: where something else answers, Ray would try for minutes, and then end this one.
    code = f"import ray; ray.init({address!r}, log_to_driver=False)"
    try:
        subprocess.run([sys.executable, "-c", code], timeout=PATIENCE, check=True, capture_output=True)
    except subprocess.SubprocessError:
        words = "no cluster answers there; start one with `ray start --head`, or name another in RAY_ADDRESS"
        raise InputError("cluster", address, words) from None
    ray.init(address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    return ray


@dataclass(eq=False)
class Nodes(Generic[K]):
    """The nodes of a Ray cluster, one call at a time for each core, or share of a GPU; see `workers.Workers`."""

    cluster: Cluster
    about: Callable[[K], str]
    """Says of a key what is done."""
    say: Callable[[str], None] = lambda words: print(f"fedecho: {words}", file=sys.stderr)
    _ray: Any = None
    _at_node: Any = None
    _held: dict[tuple[str, str], Any] = field(default_factory=dict)
    _running: dict[Any, tuple[K, Task, Path, int]] = field(default_factory=dict)
    """Reference of a result -> its key, its task, the folder of its record here, and how often it was tried before."""

    def __enter__(self) -> Self:
        """Join the cluster; raises `InputError` where none answers, or has no GPU that is asked for."""
        self._ray = connect()
        share = self.cluster.gpus_per_run
        gpus = self._ray.cluster_resources().get("GPU", 0)
        require(share is None or gpus >= share, "gpus_per_run", share, f"the cluster has {gpus:g} GPUs")
        self._at_node = self._ray.remote(num_cpus=1, num_gpus=share or 0, max_retries=0)(at_node)
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of what still runs, and leave."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    @property
    def slots(self) -> int:
        """Runs that the cluster has room for at a time."""
        found, share = self._ray.cluster_resources(), self.cluster.gpus_per_run
        return max(1, int(found.get("CPU", 1) if share is None else min(found["CPU"], found["GPU"] / share)))

    @property
    def busy(self) -> list[K]:
        """The keys of the calls that have not ended."""
        return [key for key, *_ in self._running.values()]

    def start(self, key: K, call: Callable[..., Any], config: RunConfig, folder: Path, *arguments: Any) -> None:
        """Let a node do a call for a run; `folder` is where its files are put in the end."""
        begun = progress_path(folder, config)
        files = {str(begun.relative_to(folder)): begun.read_bytes()} if begun.is_file() else {}
        digests = {part: numerics.digest(part) for part in numerics.of(config.method)}
        self._submit(key, Task(call, config, arguments, files, digests, self.cluster.shared), folder, 0)

    def _submit(self, key: K, task: Task, folder: Path, tried: int) -> None:
        data = task.config.data
        if (data.name, data.pool) not in self._held:
            self._held[data.name, data.pool] = self._ray.put(datasets.in_folder(data.name, data.pool))
        self._running[self._at_node.remote(task, self._held[data.name, data.pool])] = key, task, folder, tried

    def ended(self, timeout: float | None = None) -> list[tuple[K, Any]]:
        """Wait for the end of a call, or so many seconds; return keys and what the calls returned.

        Raises what a call raised, or `WorkerDied` after `RETRIES` nodes died under it.
        """
        references = self._ray.wait(list(self._running), timeout=timeout)[0]
        return [outcome for reference in references for outcome in self._outcome(reference)]

    def _outcome(self, reference: Any) -> Iterator[tuple[K, Any]]:
        key, task, folder, tried = self._running.pop(reference)
        try:
            value, files = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:  # what a call raises comes as a value: the node is gone
            what = type(error).__name__
            if tried == RETRIES:
                raise WorkerDied(f"{self.about(key)}: {RETRIES + 1} nodes or processes died ({what})", None) from None
            self.say(f"{self.about(key)}: its node or process died ({what}); tried again, {tried + 1} of {RETRIES}")
            self._submit(key, task, folder, tried + 1)
            return
        if isinstance(value, Exception):
            raise value
        _put(files, folder)
        if str(record_path(folder, task.config).relative_to(folder)) in files:
            progress_path(folder, task.config).unlink(missing_ok=True)
        yield key, value

    def each(self, tasks: Iterable[tuple[K, Callable[..., Any], tuple[Any, ...]]], count: int) -> Iterator[Any]:
        """Do tasks (key, call, arguments), `count` at a time; yield keys and what they returned."""
        left = list(tasks)[::-1]
        while left or self._running:
            while left and len(self._running) < count:
                key, call, arguments = left.pop()
                self.start(key, call, *arguments)
            yield from self.ended()
