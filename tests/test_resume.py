"""A run that is stopped at any round and continued gives the same bytes; a file of another run is refused."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from fedecho.core import provenance
from fedecho.core.checks import InputError
from fedecho.core.clock import Clock
from fedecho.core.config import MethodConfig, RunConfig
from fedecho.core.records import dumps
from fedecho.core.settings import Evaluation, Protocol
from fedecho.learning import checkpoint, experiment, resume
from fedecho.learning.checkpoint import Checkpoints, Journal, Progress, Version
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.methods import AREA, CA2FL, FADAS, AdaMasFL, FedAC, FedAsync, FedBuff, FedEcho, FedStaleAsync
from fedecho.learning.resume import Keeper, Paused
from fedecho.learning.task import Task
from fedecho.simulation.schedule import Job, Round, Schedule
from tests.conftest import weights
from tests.test_experiment import tiny

ROUNDS = 8
METHODS: dict[str, MethodConfig] = {
    "fedecho": FedEcho(distill=Distillation(steps=3)),
    "fedecho-ca2fl-average": FedEcho(inner=CA2FL(), distill=Distillation(steps=3, source="average")),
    "fedecho-averaged": FedEcho(distill=Distillation(steps=3, broadcast="averaged", bank_dtype="float16")),
    "fedecho-weighted": FedEcho(distill=Distillation(steps=3, prior_correction=0.5, energy_weight=3.0)),
    "fedecho-trimmed": FedEcho(distill=Distillation(steps=3, trim=0.3)),
    "fedecho-counts": FedEcho(distill=Distillation(steps=3, teacher_weights="label counts")),
    "ca2fl": CA2FL(),
    "fadas": FADAS(delay_adaptive=True),
    "fedac": FedAC(),
    "fedbuff-ema": FedBuff(ema=0.9),
    "fedasync": FedAsync(),
    "fedstaleasync": FedStaleAsync(),
    "area": AREA(),
    "adamasfl": AdaMasFL(),
}
KILLS = [
    (name, int(k))
    for name, rounds in zip(METHODS, np.random.default_rng(7).integers(1, ROUNDS, (len(METHODS), 2)), strict=True)
    for k in rounds
]
"""A round of each method, drawn at random, twice."""


def config_of(name: str, **changes: Any) -> RunConfig:
    protocol = Protocol(10, 6, 1 if name == "fedasync" else 2, ROUNDS)
    return tiny(METHODS[name], protocol=protocol, evaluation=Evaluation(every=3), **changes)


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds that count calls, so that even they have to be equal."""

    class Counting(Clock):
        def __init__(self) -> None:
            self.ticks = 0
            super().__init__(self.tick)

        def tick(self) -> float:
            self.ticks += 1
            return float(self.ticks)

    monkeypatch.setattr(experiment, "Clock", Counting)


def pause_after(rounds: int, path: Path, config: RunConfig) -> Paused:
    """Run a config until `rounds` rounds are done."""
    ticks = iter(range(10_000))
    # The keeper looks at its clock once at the start and then at the end and the beginning of each round.
    keeper = Keeper(path, every=1e9, deadline=2 * rounds, now=lambda: float(next(ticks)))
    with pytest.raises(Paused) as pause:
        experiment.run(config, keeper=keeper)
    return pause.value


@cache
def uninterrupted(name: str) -> str:
    return dumps(experiment.run(config_of(name)))


@pytest.mark.parametrize(("name", "rounds"), KILLS)
def test_continued_run_is_the_uninterrupted_one_byte_for_byte(name: str, rounds: int, tmp_path: Path) -> None:
    config, path = config_of(name), tmp_path / "run.pt"
    assert pause_after(rounds, path, config).round == rounds
    torch.manual_seed(99)
    continued = experiment.run(config, keeper=Keeper(path))
    assert dumps(continued) == uninterrupted(name)
    assert "earlier" not in continued.provenance


def test_a_run_may_be_stopped_again_and_again(tmp_path: Path) -> None:
    config, path = config_of("fedecho"), tmp_path / "run.pt"
    assert [pause_after(1, path, config).round for _ in range(3)] == [1, 2, 3]
    assert dumps(experiment.run(config, keeper=Keeper(path))) == uninterrupted("fedecho")


def test_the_official_loops_versions_are_kept_too(tmp_path: Path) -> None:
    protocol = replace(config_of("ca2fl").protocol, delta="fadas_code")
    config, path = replace(config_of("ca2fl"), protocol=protocol), tmp_path / "run.pt"
    pause_after(4, path, config)
    assert dumps(experiment.run(config, keeper=Keeper(path))) == dumps(experiment.run(config))


def test_a_continued_run_holds_versions_for_the_jobs_that_are_left(tmp_path: Path) -> None:
    # Version 0 starts the job of round 0 and that of round 1: after round 0 it is needed once more, and then let go.
    jobs = [Job(float(now + 1), now, 0, 0.0, now) for now in range(2)]
    rounds = tuple(Round(now, (job,), frozenset()) for now, job in enumerate(jobs))
    plan, protocol = Schedule(rounds, (), (0, 0)), Protocol(2, 2, 1, 2)
    config, task = replace(config_of("ca2fl"), protocol=protocol), cast(Task, SimpleNamespace(plan=plan, facts={}))
    fresh = Progress(0, weights(5.0), None, Checkpoints(plan.uses_of_version()), Journal(), [])
    keeper, path = Keeper(tmp_path / "run.pt", every=0.0), tmp_path / "run.pt"
    keeper.begin(fresh, config, task.facts, Clock(), "cpu")
    fresh.checkpoints.keep(0, Version(fresh.x, None))
    fresh.checkpoints.take(0)
    keeper.after(fresh._replace(round=1))

    again = fresh._replace(checkpoints=Checkpoints(plan.uses_of_version()))
    held = Keeper(path).begin(again, config, task.facts, Clock(), "cpu").checkpoints
    assert len(held) == 1
    assert held.take(0).model.params.item() == 5.0 and len(held) == 0


def test_a_pause_comes_before_the_deadline_and_leaves_one_file(tmp_path: Path) -> None:
    # Rounds of 1 second: after 3 of them a fourth, taken half as long again, no longer fits into 4.4 s.
    seconds = iter([0.0, *(t for k in range(1, 99) for t in (k, k))])
    with pytest.raises(Paused) as pause:
        experiment.run(
            config_of("fedbuff-ema"), keeper=Keeper(tmp_path / "run.pt", 1e9, 4.4, lambda: float(next(seconds)))
        )
    assert pause.value.round == 3
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_progress_is_saved_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(checkpoint, "write", lambda path, run, progress, made: saved.append(progress.round))
    ticks = iter(range(10_000))
    experiment.run(
        config_of("fedbuff-ema"), keeper=Keeper(tmp_path / "x.pt", every=4.0, now=lambda: float(next(ticks)))
    )
    assert saved == [3, 5, 7]  # begun at 0; after round 3 it is 5, saved at 6, and after round 5 it is 10


def test_a_failed_write_leaves_the_file_before_it_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, path = config_of("ca2fl"), tmp_path / "run.pt"
    pause_after(2, path, config)
    kept = path.read_bytes()

    def full(content: object, target: Any) -> None:
        target.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    record = experiment.run(config, keeper=Keeper(path, every=0.0))
    assert path.read_bytes() == kept and len(list(tmp_path.iterdir())) == 1
    assert dumps(record) == uninterrupted("ca2fl")
    (line,) = capsys.readouterr().err.splitlines()  # once, though no round could be kept
    assert re.search(r"checkpoint .*run.pt cannot be written .*No space left on device: .*run.pt", line)


def test_a_full_disk_does_not_end_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, path = config_of("ca2fl"), tmp_path / "run.pt"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        record = experiment.run(config, keeper=Keeper(path, every=0.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert dumps(record) == uninterrupted("ca2fl") and list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_what_is_lost_is_half_a_minute_or_a_twentieth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[float] = []
    now = [0.0]
    monkeypatch.setattr(checkpoint, "write", lambda *_: saved.append(now[0]))
    keeper = Keeper(tmp_path / "x.pt", now=lambda: now[0])
    keeper._rounds = 10_000
    for second in range(1, 2000):
        now[0] = float(second)
        keeper.after(cast(Progress, SimpleNamespace(round=second)))
    gaps = np.diff([0.0, *saved])
    assert gaps[0] == 30 and all(gap <= max(30, 0.05 * end + 1) for gap, end in zip(gaps, saved, strict=True))
    assert max(gaps) > 90  # long runs are not held up by files


# Files that rotted


def test_no_flipped_bit_is_accepted(tmp_path: Path) -> None:
    config, path = config_of("fedecho"), tmp_path / "run.pt"
    pause_after(3, path, config)
    whole, rng = bytearray(path.read_bytes()), np.random.default_rng(3)
    places = [*range(40), *rng.integers(0, len(whole), 300)]
    for place in places:
        rotten = whole.copy()
        rotten[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(rotten)
        with pytest.raises(checkpoint.Rotten, match="digest|cannot be read"):
            checkpoint.read(path, config)
    path.write_bytes(whole)
    assert checkpoint.read(path, config)["progress"].round == 3


def test_a_rotten_file_costs_the_time_since_the_one_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, path = config_of("fedecho"), tmp_path / "run.pt"
    for _ in range(2):
        pause_after(2, path, config)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.before.pt", "run.pt"]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert pause_after(1, path, config).round == 3
    said = capsys.readouterr().err
    assert "run.pt" in said and "goes on from the file before it, round 2" in said
    # The one that could be believed was not replaced by the rotten one.
    assert checkpoint.read(checkpoint.before(path), config)["progress"].round == 2
    assert dumps(experiment.run(config, keeper=Keeper(path))) == uninterrupted("fedecho")


def test_without_any_that_can_be_believed_the_run_starts_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, path = config_of("fedecho"), tmp_path / "run.pt"
    for file in (path, checkpoint.before(path)):
        file.write_bytes(b"rotten")
    keeper = Keeper(path)
    assert dumps(experiment.run(config, keeper=keeper)) == uninterrupted("fedecho") and keeper.begun == 0
    assert capsys.readouterr().err.rstrip().endswith("the run starts over")


def edited(path: Path, config: RunConfig, **changes: Any) -> None:
    """Write a file again, sealed, with another progress."""
    kept = checkpoint.read(path, config)
    progress = kept.pop("progress")._replace(**changes)
    checkpoint.write(path, kept, progress, kept.pop("made"))


WRONG: list[tuple[Callable[[Progress], dict[str, Any]], str]] = [
    (lambda p: {"round": 999}, "it says round 999 of 8"),
    (lambda p: {"round": 0}, "it says round 0 of 8"),
    (lambda p: {"round": 4}, "arrivals are to come|versions it holds"),
    (lambda p: {"round": 2, "rows": []}, "arrivals are to come|versions it holds"),
    (lambda p: {"rows": []}, "after round 3 it has 0 rows, not 1"),
    (lambda p: {"x": p.x._replace(params=p.x.params * float("nan"))}, "its weights are not finite"),
    (lambda p: {"x": p.x._replace(params=p.x.params[:-1])}, "its tensors are not those of this model"),
    (lambda p: {"x": p.x._replace(params=p.x.params.double())}, "its tensors are not those of this model"),
    (lambda p: {"state": replace(p.state, bank=replace(p.state.bank, uploaded=p.state.bank.uploaded[:-1]))}, "tensors"),
    (lambda p: {"state": p.state.inner}, "its tensors are not those of this model and method"),
    (lambda p: {"checkpoints": replace(p.checkpoints, versions={})}, "versions it holds"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_what_no_run_can_have_had_is_not_believed(
    change: Callable[[Progress], dict[str, Any]], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, path = config_of("fedecho"), tmp_path / "run.pt"
    pause_after(3, path, config)
    edited(path, config, **change(checkpoint.read(path, config)["progress"]))
    checkpoint.before(path).unlink()
    assert dumps(experiment.run(config, keeper=Keeper(path))) == uninterrupted("fedecho")
    assert re.search(words, capsys.readouterr().err)


# Files that cannot be used


def test_a_file_of_another_run_is_refused_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    pause_after(2, path, config_of("ca2fl"))
    other = replace(config_of("ca2fl"), seed=1)
    with pytest.raises(InputError, match=r"checkpoint = .*run.pt.* belongs to run \w{16}, not to \w{16}; delete it"):
        experiment.run(other, keeper=Keeper(path))


def test_a_file_of_other_numerics_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, path = config_of("ca2fl"), tmp_path / "run.pt"
    monkeypatch.setattr(resume, "NUMERICS_VERSION", 0)
    pause_after(2, path, config)
    monkeypatch.undo()
    with pytest.raises(InputError, match="it is of NUMERICS_VERSION 0, this is 1; delete it"):
        checkpoint.read(path, config)


def test_a_run_goes_on_where_its_arithmetic_is_the_same(tmp_path: Path) -> None:
    config, path = config_of("ca2fl"), tmp_path / "run.pt"
    pause_after(2, path, config)
    with pytest.raises(InputError, match="it was begun on cpu, not cuda: go on there, or delete it"):
        checkpoint.read(path, config, "cuda:0")


def test_only_what_lay_on_a_gpu_is_moved_to_one() -> None:
    storage = torch.zeros(3).untyped_storage()
    assert checkpoint._place("cuda")(storage, "cpu") is storage  # rounds of the bank's uploads stay there
    assert checkpoint._place("cpu")(storage, "cuda:0") is storage  # that is: wherever `device` says


def test_other_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, path = config_of("ca2fl"), tmp_path / "run.pt"
    pause_after(2, path, config)
    prepare = experiment.prepare

    def other(*arguments: Any) -> Any:
        task = prepare(*arguments)
        task.facts["data_digest"] = "0"
        return task

    monkeypatch.setattr(experiment, "prepare", other)
    with pytest.raises(InputError, match="data or schedule differ"):
        experiment.run(config, keeper=Keeper(path))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_an_unreadable_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.pt").write_bytes(content)
    with pytest.raises(checkpoint.Rotten, match="checkpoint = .*run.pt' .* it was damaged"):
        checkpoint.read(tmp_path / "run.pt", config_of("ca2fl"))


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    config, path = config_of("ca2fl"), tmp_path / "run.pt"
    pause_after(2, path, config)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(checkpoint.Rotten, match="it was damaged"):
        checkpoint.read(path, config)


def test_a_file_cannot_carry_code(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "exploded"),))

    checkpoint.write(tmp_path / "run.pt", {"hash": Bomb()}, cast(Progress, None), [])
    with pytest.raises(InputError, match="cannot be read .UnpicklingError"):
        checkpoint.read(tmp_path / "run.pt", config_of("ca2fl"))
    assert not (tmp_path / "exploded").exists()


def test_the_record_names_who_made_the_earlier_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, path = config_of("fedbuff-ema"), tmp_path / "run.pt"
    here = provenance.collect("cpu")
    monkeypatch.setattr(resume.provenance, "collect", lambda device: {**here, "commit": "abc"})
    pause_after(2, path, config)
    monkeypatch.undo()
    made = experiment.run(config, keeper=Keeper(path)).provenance
    assert [part["commit"] for part in made["earlier"]] == ["abc"] and made["commit"] == here["commit"]
    assert json.loads(json.dumps(made)) == made


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_process_is_continued_by_another(tmp_path: Path) -> None:
    path, config = tmp_path / "run.pt", config_of("fedecho")
    keeper = Keeper(path, every=0.0)
    process = multiprocessing.get_context("fork").Process(
        target=experiment.run, args=[config], kwargs={"keeper": keeper}
    )
    process.start()
    while not path.is_file() and process.is_alive():
        time.sleep(0.005)
    process.kill()
    process.join(60)
    assert process.exitcode in (-signal.SIGKILL, 0)  # 0: it was faster than we are
    continued, whole = experiment.run(config, keeper=Keeper(path)), experiment.run(config)
    assert (continued.rows, continued.facts, continued.status) == (whole.rows, whole.facts, whole.status)
    assert continued.seconds != {}
