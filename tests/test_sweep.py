"""Sweeps train what is missing, once; a stop leaves whole records and a second call goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fedecho.core import processes, records
from fedecho.core.checks import InputError
from fedecho.learning.methods import FedBuff
from fedecho.studies import sweep
from tests.test_experiment import tiny


def configs(count: int) -> list:
    return [replace(tiny(FedBuff()), seed=seed) for seed in range(count)]


def test_missing_runs_are_found_once(tmp_path: Path) -> None:
    todo = configs(2)
    assert sweep.missing([*todo, *todo], tmp_path) == todo
    sweep.run_and_save(todo[0], tmp_path)
    assert sweep.missing(todo, tmp_path) == [todo[1]]


def test_sweep_runs_in_processes_and_equals_a_direct_run(tmp_path: Path) -> None:
    from fedecho.learning.experiment import run

    runs = configs(2)
    todo = {tmp_path / "one": runs, tmp_path / "two": runs[:1]}
    assert sweep.sweep(todo, jobs=2) == 3
    found = [records.find(folder, config).rows for folder, wanted in todo.items() for config in wanted]  # type: ignore[union-attr]
    assert found == [run(config).rows for config in (*runs, runs[0])]
    assert sweep.sweep(todo, jobs=2) == 0


@pytest.mark.slow
def test_an_error_in_a_worker_keeps_its_line(tmp_path: Path) -> None:
    bad = replace(tiny(FedBuff()), model="perceptron")
    with pytest.raises(InputError, match="model = 'perceptron'"):
        sweep.sweep({tmp_path: [bad]}, jobs=1)
    assert list(tmp_path.iterdir()) == []


def test_jobs_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="jobs = 0"):
        sweep.sweep({tmp_path: configs(1)}, jobs=0)


def test_unreadable_record_stops_before_any_work(tmp_path: Path) -> None:
    todo = configs(2)
    records.record_path(tmp_path, todo[1]).write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        sweep.sweep({tmp_path: todo}, jobs=1)
    assert records.find(tmp_path, todo[0]) is None


SCRIPT = """
import signal
import sys
from pathlib import Path
from tests.test_sweep import configs
from fedecho.studies.sweep import sweep
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C
    sweep({Path(sys.argv[1]): configs(400)}, jobs=1)
"""


@pytest.mark.slow
def test_ctrl_c_keeps_whole_records_and_a_second_call_goes_on(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "records"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, script, folder], env=environment, stderr=subprocess.DEVNULL)
    while len(list(folder.glob("*.json"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    kept = [*map(records.load, folder.glob("*.json"))]
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".json", ".pt"}
    assert 2 <= len(kept) < 400
    todo = configs(400)
    assert len(sweep.missing(todo, folder)) == 400 - len(kept)
    first_missing = sweep.missing(todo, folder)[:1]
    assert sweep.sweep({folder: first_missing}, jobs=1) == 1


def test_workers_keep_freed_memory_unless_their_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
    for name in names:
        monkeypatch.setenv(name, "5")
    monkeypatch.delenv(names[0])
    sweep.workers(str)  # what a process starts with is set before there is any
    assert [os.environ[name] for name in names] == ["1000000000", "5"]


def test_a_run_that_is_asked_to_end_keeps_its_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config,) = configs(1)
    monkeypatch.setattr(processes, "asked", lambda: int(signal.SIGTERM))
    assert sweep.run_and_save(config, tmp_path).rounds == 1
    monkeypatch.undo()
    assert sweep.run_and_save(config, tmp_path).rounds_made == config.protocol.rounds - 1


@pytest.mark.slow
def test_what_the_dead_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale = tmp_path / "unfinished" / f"x.pt.{dead.pid}.partial"
    stale.parent.mkdir()
    stale.touch()
    sweep.sweep({tmp_path: configs(1)}, jobs=1)
    assert not stale.exists()


@pytest.mark.slow
def test_a_bad_record_is_made_again_only_if_that_is_asked_for(tmp_path: Path) -> None:
    (config,) = configs(1)
    sweep.run_and_save(config, tmp_path)
    (path,) = tmp_path.glob("*.json")
    good, bad = path.read_text(), path.read_text().replace('"accuracy": 0.', '"accuracy": 0.9', 1)
    path.write_text(bad)
    with pytest.raises(InputError, match="edited or damaged; delete it, or run it again with --fresh"):
        sweep.sweep({tmp_path: [config]}, jobs=1)
    assert path.read_text() == bad
    assert sweep.sweep({tmp_path: [config]}, jobs=1, fresh=True) == 1
    assert records.load(path).rows and path.read_text().partition('"rows"')[2] == good.partition('"rows"')[2]
