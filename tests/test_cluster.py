"""Runs on the nodes of a Ray cluster: with a stand-in for Ray, and on two real nodes of which one is killed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fedecho import data as datasets
from fedecho.core import numerics, records
from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig
from fedecho.core.workers import WorkerDied
from fedecho.data import Images
from fedecho.learning.methods import FedBuff
from fedecho.studies import budget, cluster, plan, sweep
from fedecho.studies.cluster import Cluster, Nodes, Task, at_node
from fedecho.studies.sweep import Done, Wanted
from tests.test_experiment import tiny


def configs(count: int, **changes: Any) -> list[RunConfig]:
    return [replace(tiny(FedBuff()), seed=seed, **changes) for seed in range(count)]


def task(call: Callable[..., Any], config: RunConfig, *arguments: Any, **changes: Any) -> Task:
    given: dict[str, Any] = {"files": {}, "digests": {}, "shared": None} | changes
    return Task(call, config, arguments, **given)


# What a node does


def test_a_node_returns_the_files_that_it_wrote(tmp_path: Path) -> None:
    (config,) = configs(1)
    done, found = at_node(task(sweep.run_and_save, config), {})
    here = records.record_path(tmp_path, config)
    sweep.run_and_save(config, tmp_path)
    assert done.rounds is None and list(found) == [here.name]
    assert _content(found[here.name]) == _content(here.read_bytes())


def test_a_run_that_was_cut_off_travels_both_ways(tmp_path: Path) -> None:
    (config,) = configs(1)
    paused, left = at_node(task(sweep.run_and_save, config, "cpu", 0.0), {})  # a deadline long ago: one round
    assert paused.rounds == 1 and [Path(name).parent.name for name in left] == ["unfinished"]
    done, found = at_node(task(sweep.run_and_save, config, files=left), {})
    assert (done.rounds, done.rounds_made) == (None, config.protocol.rounds - 1)
    assert list(found) == [records.record_path(Path(), config).name]


def test_progress_in_a_shared_folder_is_that_of_the_node_that_died(tmp_path: Path) -> None:
    (config,) = configs(1)
    at_node(task(sweep.run_and_save, config, "cpu", 0.0, shared=tmp_path), {})
    done, found = at_node(task(sweep.run_and_save, config, shared=tmp_path), {})
    assert done.rounds_made == config.protocol.rounds - 1  # and not all of them
    assert list(found) and not [path for path in tmp_path.rglob("*") if path.is_file()]  # a record goes from there


def test_what_a_shared_folder_has_is_newer_than_what_was_sent(tmp_path: Path) -> None:
    (config,) = configs(1)
    (tmp_path / "there").write_bytes(b"new")
    sent = {"there": b"old", "not there": b"old"}
    found, _ = at_node(task(_contents, config, files=sent, shared=tmp_path), {})
    assert found == {"there": b"new", "not there": b"old"}


def _contents(_: RunConfig, folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_has_one_thread_whatever_the_node_had() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert at_node(task(lambda *_: torch.get_num_threads(), configs(1)[0]), {}) == (1, {})
    finally:
        torch.set_num_threads(before)


def test_an_error_comes_back_as_a_value() -> None:
    error, found = at_node(task(sweep.run_and_save, replace(configs(1)[0], model="perceptron")), {})
    assert isinstance(error, InputError) and "model = 'perceptron'" in str(error) and found == {}


def test_a_node_with_other_numerics_is_refused() -> None:
    (config,) = configs(1)
    here = {part: numerics.digest(part) for part in numerics.of(config.method)}
    error, _ = at_node(task(lambda *_: None, config, digests=here | {"run": "another"}), {})
    assert "computes run otherwise than the one here" in str(error)
    assert at_node(task(lambda *_: "done", config, digests=here), {}) == ("done", {})


def test_data_that_came_along_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "HELD", {})
    monkeypatch.setenv("FEDECHO_DATA", str(tmp_path / "nothing"))
    datasets._load_unlabeled.cache_clear()
    held = {"pool stl10": Images(np.full((3, 32, 32, 3), 7, np.uint8))}
    seen, _ = at_node(task(lambda *_: datasets.load_unlabeled("stl10").images.sum(), configs(1)[0]), held)
    datasets._load_unlabeled.cache_clear()
    assert seen == 3 * 32 * 32 * 3 * 7


def test_what_is_in_the_package_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert datasets.in_folder("fashion-mnist", "held-out") == datasets.in_folder("austen", "self") == {}
    monkeypatch.setattr(datasets, "HELD", {})
    monkeypatch.setattr(datasets, "_load", lambda name, root: f"{name} in {root}")
    monkeypatch.setattr(datasets, "_load_unlabeled", lambda name, root: f"U: {name}")
    found = datasets.in_folder("cifar10", "cifar100-20k", Path("there"))
    assert found == {"cifar10": "cifar10 in there", "pool cifar100-20k": "U: cifar100-20k"}


# What the driver does, with a stand-in for Ray


class Gone(Exception):
    """A node that is no more."""


class Ray(SimpleNamespace):
    """Does each task when its result is fetched; the first `deaths` of them die."""

    def __init__(self, deaths: int = 0, **resources: float) -> None:
        super().__init__(exceptions=SimpleNamespace(RayError=Gone), left=deaths, stopped=[], options={})
        self.cluster_resources = lambda: resources or {"CPU": 2.0}
        self.put = lambda value: value
        self.wait = lambda pending, timeout: (pending[:1], pending[1:])
        self.cancel = lambda reference, force: self.stopped.append(reference)
        self.shutdown = lambda: None

    def remote(self, **options: Any) -> Any:
        self.options.update(options)
        return lambda function: SimpleNamespace(remote=lambda *arguments: lambda: function(*arguments))

    def get(self, reference: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise Gone
        return reference()


def stand_in(monkeypatch: pytest.MonkeyPatch, ray: Ray) -> Ray:
    monkeypatch.setattr(cluster, "connect", lambda: ray)
    return ray


def test_records_come_back_and_a_death_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, Ray(deaths=3))
    todo = configs(2)
    assert sweep.sweep({tmp_path: todo}, cluster=Cluster()) == 2
    assert sweep.missing(todo, tmp_path) == []
    said = capsys.readouterr().err.splitlines()
    assert [line.rpartition("tried again, ")[2] for line in said if "tried" in line] == [
        "1 of 3",
        "1 of 3",
        "2 of 3",
    ]  # of two runs


def test_a_fourth_death_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, Ray(deaths=4))
    with pytest.raises(WorkerDied, match="fedbuff, seed 0 .*4 nodes or processes died"):
        sweep.sweep({tmp_path: configs(1)}, cluster=Cluster())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_run_raises_is_raised_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, Ray())
    with pytest.raises(InputError, match="model = 'perceptron'"):
        sweep.sweep({tmp_path: [replace(configs(1)[0], model="perceptron")]}, cluster=Cluster())


def test_no_more_runs_are_sent_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, Ray())
    tasks = [(run.seed, lambda config, _: config.seed, (run, tmp_path)) for run in configs(4)]
    with Nodes[int](Cluster(), str) as pool:
        assert [(value, len(pool.busy)) for _, value in pool.each(tasks, 2)] == [(0, 1), (1, 1), (2, 1), (3, 0)]


def test_a_budget_works_on_a_cluster_and_what_it_cut_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, Ray())
    run = Wanted(tmp_path, configs(1)[0])
    with Nodes[Wanted](Cluster(), str) as pool:
        pool.start(run, sweep.run_and_save, *run[::-1], "cpu", 0.0)
        assert pool.ended() == [(run, Done(1, 1, pytest.approx(0, abs=60)))]
        assert run.progress.is_file() and not run.path.exists()
        pool.start(run, sweep.run_and_save, *run[::-1], "cpu", 0.0)
        assert pool.ended() == [(run, Done(2, 1, pytest.approx(0, abs=60)))]  # the first round came along
    left = budget.work_off(budget.plan([run], "cpu"), 1e4, cluster=Cluster(), say=lambda words: None)
    assert left.finished == [run] and run.path.is_file() and not run.progress.exists()


def test_what_still_runs_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = stand_in(monkeypatch, Ray())
    with pytest.raises(KeyboardInterrupt), Nodes[int](Cluster(), str) as pool:
        pool.start(0, sweep.run_and_save, configs(1)[0], tmp_path)
        raise KeyboardInterrupt
    assert len(ray.stopped) == 1


def test_a_share_of_a_gpu_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = stand_in(monkeypatch, Ray(CPU=16.0, GPU=2.0))
    with Nodes[int](Cluster(gpus_per_run=0.25), str) as pool:
        assert (pool.slots, ray.options["num_gpus"]) == (8, 0.25)
    with Nodes[int](Cluster(), str) as pool:
        assert (pool.slots, ray.options["num_gpus"]) == (16, 0)
    stand_in(monkeypatch, Ray(CPU=6.0, GPU=2.0))
    with Nodes[int](Cluster(gpus_per_run=0.25), str) as pool:
        assert pool.slots == 6  # a core for each
    stand_in(monkeypatch, Ray(CPU=16.0))
    with pytest.raises(InputError, match=r"gpus_per_run = 1.0 .*the cluster has 0 GPUs"), Nodes[int](Cluster(1.0), str):
        pass


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="cluster = True .*pip install"):
        sweep.sweep({tmp_path: configs(1)}, cluster=Cluster())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_each_run_is_in_one_shard() -> None:
    runs = configs(20)
    parts = [[run.seed for run in runs if plan.shard(f"{k}/3")(run)] for k in (1, 2, 3)]
    assert sorted(sum(parts, [])) == list(range(20)) and all(parts)
    assert all(map(plan.shard(None), runs)) and all(map(plan.shard("1/1"), runs))


# A real cluster


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a cluster of a head that does no work and two nodes of one core, which knows no folder of ours."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install -c constraints.txt '.[cluster]'")
    from ray.cluster_utils import Cluster as Machines

    room = {"object_store_memory": 2**27, "include_dashboard": False}
    made = Machines(initialize_head=True, head_node_args={"num_cpus": 0, **room})
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    made.nodes = [made.add_node(num_cpus=1, **room) for _ in range(2)]
    yield made
    made.shutdown()


def marked(config: RunConfig, folder: Path, marks: Path) -> Done:
    """Leave a mark that says on which node a run is, and do it."""
    import ray

    (marks / f"{ray.get_runtime_context().get_node_id()}-{config.seed}").touch()
    return sweep.run_and_save(config, folder)


@pytest.mark.cluster
@pytest.mark.timeout(400)
def test_two_nodes_one_killed_in_the_middle(machines: Any, tmp_path: Path) -> None:
    long = [replace(run, protocol=replace(run.protocol, rounds=300)) for run in configs(3)]
    there, here, marks, said = tmp_path / "there", tmp_path / "here", tmp_path / "marks", list[str]()
    marks.mkdir()
    with Nodes[int](Cluster(), str, say=said.append) as pool:
        for run in long:
            pool.start(run.seed, marked, run, there, marks)
        while not (lost := list(marks.glob(f"{machines.nodes[1].node_id}-*"))):
            time.sleep(0.01)
        machines.remove_node(machines.nodes[1], allow_graceful=False)
        ended = [key for _ in iter(lambda: pool.busy, []) for key, _ in pool.ended()]
    assert sorted(ended) == [0, 1, 2]
    assert [line.partition(":")[0] for line in said] == [path.name.rpartition("-")[2] for path in lost]
    assert "tried again, 1 of 3" in said[0]
    sweep.sweep({here: long}, jobs=2)
    for run in long:
        paths = [records.record_path(folder, run) for folder in (there, here)]
        assert _content(paths[0].read_bytes()) == _content(paths[1].read_bytes())
    assert [path for path in there.rglob("*") if path.is_file() and path.suffix != ".json"] == []


@pytest.mark.cluster
def test_an_address_where_nothing_answers(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install -c constraints.txt '.[cluster]'")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match=r"cluster = '127.0.0.1:1' .*no cluster answers there"):
        cluster.connect()
    assert capfd.readouterr() == ("", "")


def _content(record: bytes) -> dict[str, Any]:
    """Return a record but for how long its phases took, and the digest over that."""
    return {name: value for name, value in json.loads(record).items() if name not in ("seconds", "sha256", "digest")}
