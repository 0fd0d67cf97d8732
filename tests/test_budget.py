"""A sweep with a budget: the most wanted first, a clean stop in time, and a second call that goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedecho.cli import main
from fedecho.core import records
from fedecho.core.checks import InputError, MissingDataError
from fedecho.core.config import RunConfig, config_hash, override
from fedecho.learning import experiment
from fedecho.learning.cost import advice, duration
from fedecho.learning.cost.duration import Rates, operations
from fedecho.learning.methods import FedBuff, FedEcho
from fedecho.learning.resume import Keeper
from fedecho.studies import profiles, sweep
from fedecho.studies.budget import plan, require_enough, seconds_of, work_off
from fedecho.studies.plan import named, ordered, trained
from fedecho.studies.sweep import Done, Wanted
from tests.test_experiment import tiny


def runs(folder: Path, count: int) -> list[Wanted]:
    return [Wanted(folder, replace(tiny(FedBuff()), seed=seed)) for seed in range(count)]


# How long things take


@pytest.mark.parametrize(("text", "seconds"), [("25m", 1500), ("90s", 90), ("1h30m", 5400), ("0.5h", 1800)])
def test_budgets_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "25", "m", "25 m", "-1m", "1d", "1m30"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="budget = .* such as 25m, 90s or 1h30m"):
        seconds_of(text)


def test_operations_of_a_run_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedecho.learning.cost.work.model_size", lambda model, data: (1, 0, 10))
    config = tiny(FedBuff())  # 500 images over 10 clients, 1 or 2 epochs; 6 rounds of 2 arrivals; 2 evaluations
    local = 3 * 10 * 50 * config.local.epochs * 2 * 6
    assert operations(config) == local + 2 * 5_000 * 10
    few = replace(config, evaluation=replace(config.evaluation, size=100))
    assert operations(few) == local + 2 * 100 * 10
    echo = replace(config, method=FedEcho())  # 20 steps of 128 of the 200 images of U: 10 passes
    server = 6 * 10 * (2 * 200 + 3 * 10 * 200)
    assert operations(echo) == operations(config) + server


def test_an_estimate_is_the_prior_until_something_was_measured() -> None:
    config, rates = tiny(FedBuff()), Rates("cpu")
    assert rates.seconds(config) == operations(config) / duration.PRIOR["cpu"] and not rates.measured(config)
    rates.saw(config, 3, 10.0)  # half of its 6 rounds
    assert rates.seconds(config) == pytest.approx(20.0) and rates.measured(config)
    assert rates.seconds(config, 1) == pytest.approx(20 / 6)
    assert not rates.measured(replace(config, model="cnn-w2"))


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.2, "8.2 s"), (720, "12 min"), (12_240, "3.4 h"), (440_000, "5.1 days"), (36_000, "10 h")]
)
def test_durations_are_written(seconds: float, text: str) -> None:
    assert duration.text(seconds) == text


# What is wanted most


def test_the_paper_profile_begins_with_its_main_comparison() -> None:
    order = [run.config for run in ordered("paper", list(trained("paper")))]
    assert [type(config.method).__name__ for config in order[:5]] == ["FedBuff", "FedEcho", "FedBuff", "CA2FL", "FADAS"]
    assert order[2].method == FedBuff(ema=0.95)
    assert [config.seed for config in order[:15:5]] == [0, 1, 2]
    assert {(c.delays.model, c.partition.straggler_classes, c.partition.alpha) for c in order[:15]} == {
        ("large", 0, 0.1)
    }
    assert {(c.delays.model, c.partition.straggler_mix) for c in order[15:30]} == {("large", "pure")}
    assert {c.delays.model for c in order[30:60]} == {"mild"} and {c.partition.alpha for c in order[60:90]} == {0.3}
    assert order[-1].evaluation.split == "validation"  # it is tuned last


def test_elsewhere_tuning_comes_first() -> None:
    order = [run.config for run in ordered("cifar-small", list(trained("cifar-small")))]
    assert order[0].evaluation.split == "validation" and order[-1].evaluation.split == "test"


@pytest.mark.parametrize("profile", profiles.PROFILES)
def test_the_order_has_every_run_once(profile: str) -> None:
    names = list(trained(profile))
    order = [run.path for run in ordered(profile, names)]
    everything = {Wanted(study.places[0], c).path for study in named(names, profile) for c in study.configs}
    assert len(order) == len(set(order)) > 0 and set(order) == everything


# The plan


def test_the_plan_has_what_is_missing_and_begins_with_what_was_begun(tmp_path: Path) -> None:
    first, second, third = runs(tmp_path, 3)
    sweep.run_and_save(first.config, tmp_path)
    third.progress.parent.mkdir()
    third.progress.touch()
    made = plan([first, second, third], "cpu")
    assert made.todo == [third, second]
    assert made.outlook().startswith("2 runs remain, 1 of them begun: about ")
    assert "not measured yet" in made.outlook()


def test_runs_without_data_are_left_out_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_DATA", str(tmp_path))
    (here,) = runs(tmp_path, 1)
    there = Wanted(tmp_path, override(here.config, "data.name", "cifar10"))
    made = plan([there, here], "cpu")
    assert made.todo == [here]
    assert "left out: 1 runs on cifar10 with U from held-out" in made.left_out[0]
    assert "fedecho data fetch cifar10" in made.left_out[0]
    with pytest.raises(MissingDataError, match="fedecho data fetch cifar10"):
        plan([there], "cpu")


def test_a_budget_without_room_for_an_evaluation_is_refused(tmp_path: Path) -> None:
    made = plan(runs(tmp_path, 1), "cpu")
    with pytest.raises(
        InputError, match=r"budget = '5s' .* fedbuff with cnn, is reckoned to need 5 s to start .* give 11s"
    ):
        require_enough(made, 5, "cpu")
    require_enough(made, 11, "cpu")


# At work, with a clock that only runs advance


class Here:
    """Does what is started at once, in this process."""

    slots = 1

    def __init__(self) -> None:
        self.done: list[tuple[Wanted, Any]] = []

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None: ...

    @property
    def busy(self) -> list[Wanted]:
        return [run for run, _ in self.done]

    def start(self, run: Wanted, call: Callable[..., Any], *arguments: Any) -> None:
        self.done.append((run, call(*arguments)))

    def ended(self, timeout: float) -> list[tuple[Wanted, Any]]:
        out, self.done = self.done, []
        return out


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Each run takes 100 s; the one in which the deadline falls is paused there."""
    time = {"now": 1000.0}

    def fake(config: RunConfig, folder: Path, device: str, deadline: float) -> Done:
        end = min(time["now"] + 100, deadline)
        seconds, time["now"] = end - time["now"], end
        rounds = int(6 * seconds / 100)
        return Done(None, 6, 100.0) if rounds == 6 else Done(rounds, rounds, seconds)

    monkeypatch.setattr(sweep, "workers", lambda *_: Here())
    monkeypatch.setattr(sweep, "run_and_save", fake)
    return time


def test_work_ends_inside_the_budget_and_says_what_remains(tmp_path: Path, clock: dict[str, float]) -> None:
    said: list[str] = []
    todo = runs(tmp_path, 5)
    made = work_off(plan(todo, "cpu"), 280, say=said.append, now=lambda: clock["now"])
    assert made.finished == todo[:2] and made.todo == todo[2:]
    assert clock["now"] == 1000 + 280 - 14  # 5 % are left for writing
    assert said[0].startswith("fedbuff, seed 0: done in 1.7 min; 4 runs remain: about 6.7 min")
    assert said[2] == "fedbuff, seed 2: 3 of 6 rounds are done and kept"
    assert "as measured" in made.outlook()


def test_no_run_is_started_that_cannot_reach_an_evaluation(tmp_path: Path, clock: dict[str, float]) -> None:
    # After one run 4.5 s are left: starting takes 5.
    made = work_off(plan(runs(tmp_path, 2), "cpu"), 110, now=lambda: clock["now"], say=lambda text: None)
    assert len(made.finished) == 1 and clock["now"] == 1100


@pytest.mark.slow
def test_real_processes_go_on_with_what_was_begun(tmp_path: Path) -> None:
    first, second = runs(tmp_path, 2)
    assert sweep.run_and_save(second.config, tmp_path, deadline=0.0).rounds == 1
    made = work_off(plan([first, second], "cpu"), 1e6, jobs=2, say=lambda text: None)
    assert made.todo == [] and set(made.finished) == {first, second}
    whole = experiment.run(second.config)
    found = records.find(*second)
    assert found is not None and found.rows == whole.rows


def test_a_finished_run_leaves_no_progress_behind(tmp_path: Path) -> None:
    (run,) = runs(tmp_path, 1)
    assert sweep.run_and_save(run.config, tmp_path, deadline=0.0) == Done(1, 1, pytest.approx(0, abs=60))
    assert run.progress.is_file()
    assert sweep.run_and_save(run.config, tmp_path).rounds_made == 5
    assert [path.name for path in tmp_path.iterdir()] == [run.path.name]


# What cannot be done


@pytest.mark.parametrize(
    ("arguments", "field", "allowed"),
    [
        (["--budget", "soon"], "budget = 'soon'", "25m"),
        (["--budget", "1s"], "budget = '1s'", "or more"),
        (["--budget", "5m", "--fresh"], "fresh = True", "leave one of them out"),
        (["--shared", "here"], "shared = 'here'", "give --cluster"),
        (["--gpus-per-run", "0.5"], "gpus_per_run = '0.5'", "give --cluster"),
        (["--cluster", "--gpus-per-run", "0.5"], "gpus_per_run = 0.5", "--device cuda"),
        (["--cluster", "--gpus-per-run", "1.5", "--device", "cuda"], "gpus_per_run = 1.5", "1 at most"),
        (["--cluster", "--device", "tpu"], "device = 'tpu'", "cpu or cuda"),
        (["--shard", "0/3"], "shard = '0/3'", "1 <= k <= n"),
        (["--shard", "4/3"], "shard = '4/3'", "1 <= k <= n"),
        (["--shard", "1.5/3"], "shard = '1.5/3'", "k/n"),
        (["--device", "cuda"], "device = 'cuda'", "this machine has cpu"),
        (["--budget", "5m", "--device", "cuda:1"], "device = 'cuda:1'", "this machine has cpu"),
        (
            ["--profile", "cifar-small", "--only", "bank"],
            "only = 'bank'",
            "all, cifar_small, cifar_clients, cifar_tuning",
        ),
        (["--profile", "cifar-small", "--budget", "5m"], "data = 'cifar10'", "fedecho data fetch cifar10"),
        (["--profile", "cifar-small"], "data = 'cifar10'", "fedecho data fetch cifar10"),
    ],
)
def test_bad_input(
    arguments: list[str],
    field: str,
    allowed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    monkeypatch.setenv("FEDECHO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    defaults = [] if "--profile" in arguments else ["--profile", "smoke"]
    with pytest.raises(SystemExit) as stop:
        main.main(["sweep", *defaults, *arguments])
    out, err = capsys.readouterr()
    line = err.strip().splitlines()[-1]
    assert stop.value.code == 2 and out == "" and field in line and allowed in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
     RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 8000000000 bytes")],
    ids=["gpu", "python", "cpu"],
)  # fmt: skip
def test_running_out_of_memory_names_the_levers(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(experiment, "work", exhausted)
    levers = r"memory = 'cpu' .*\|U\|: data.pool_size, .*inference_batch, now 200.*bank_dtype, now float32.*top_k"
    with pytest.raises(InputError, match=levers) as caught:
        experiment.run(tiny(FedEcho()))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError) as plain:
        experiment.run(tiny(FedBuff()))
    assert "bank_dtype" not in str(plain.value)


def test_other_errors_stay_as_they_are() -> None:
    assert not advice.is_out_of_memory(RuntimeError("shape mismatch"))


def test_how_a_run_is_executed_is_part_of_it() -> None:
    config = tiny(FedEcho())
    for field, value in (
        ("inference_batch", 1000),
        ("channels_last", True),
        ("autocast", "bfloat16"),
        ("compile", True),
    ):
        assert config_hash(override(config, f"execution.{field}", value)) != config_hash(config)
    assert config_hash(override(config, "execution.inference_batch", 200)) == config_hash(config)


def test_keepers_of_plain_sweeps_write_nothing_for_short_runs(tmp_path: Path) -> None:
    assert Keeper(tmp_path / "x.pt").every == 30
    sweep.run_and_save(tiny(FedBuff()), tmp_path)
    assert not (tmp_path / "unfinished").exists()


def test_a_round_without_end_is_stopped_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time, stopped = {"now": 0.0}, list[Wanted]()

    class Stuck(Here):
        def start(self, run: Wanted, call: Callable[..., Any], *arguments: Any) -> None:
            time["now"] = 100.0
            self.done.append((run, None))

        def ended(self, timeout: float) -> list[tuple[Wanted, Any]]:
            return []

        def __exit__(self, *_: object) -> None:
            stopped.extend(self.busy)

    monkeypatch.setattr(sweep, "workers", lambda *_: Stuck())
    said: list[str] = []
    made = work_off(plan(runs(tmp_path, 2), "cpu"), 100, say=said.append, now=lambda: time["now"])
    assert len(made.todo) == 2 and stopped == made.todo[:1]
    assert said == ["fedbuff, seed 0: stopped in the middle of a long round"]
