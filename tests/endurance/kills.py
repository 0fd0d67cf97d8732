"""Sweeps that are killed at random moments, and what is then in the folder of records."""

from __future__ import annotations

import functools
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedecho.core import records
from fedecho.core.clock import Clock
from fedecho.core.config import MethodConfig, RunConfig
from fedecho.learning import experiment
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.methods import CA2FL, FADAS, FedBuff, FedEcho
from fedecho.learning.resume import Keeper
from fedecho.studies import sweep
from tests.test_experiment import tiny

METHODS: tuple[MethodConfig, ...] = (FedEcho(distill=Distillation(steps=2)), CA2FL(), FADAS(), FedBuff(ema=0.9))
CONFIGS = [tiny(method, seed=seed) for method in METHODS for seed in range(2)]


class Counting(Clock):
    """Seconds that count calls: even these have to be equal."""

    def __init__(self) -> None:
        self._ticks = iter(range(10**9))
        super().__init__(lambda: float(next(self._ticks)))


def train(folder: Path, configs: list[RunConfig]) -> None:
    """Train what has no record, one after the other, and keep every round."""
    experiment.Clock = Counting  # type: ignore[misc]
    sweep.Keeper = functools.partial(Keeper, every=0.0)  # type: ignore[misc, assignment]
    sweep.files.sweep_up(folder)
    for config in sweep.missing(configs, folder):
        sweep.run_and_save(config, folder)


def forked(folder: Path) -> int:
    """Begin that in a process of its own, which has everything imported, and return its number."""
    child = os.fork()
    if child == 0:
        try:
            train(folder, CONFIGS)
        finally:
            os._exit(0)
    return child


def contents(folder: Path) -> dict[str, bytes]:
    """Return the records of a folder."""
    return {path.name: path.read_bytes() for path in folder.glob("*.json")}


def kills(count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Kill the training `count` times; after each say what the folder holds, and of which whole set of records."""
    with tempfile.TemporaryDirectory() as name:
        began, whole = time.monotonic(), Path(name) / "undisturbed"
        os.waitpid(forked(whole), 0)
        seconds, expected = time.monotonic() - began, contents(whole)
        assert len(expected) == len(CONFIGS)
        folders = (Path(name) / str(number) for number in range(count))
        folder = next(folders)
        for number in range(count):
            child = forked(folder)
            time.sleep(rng.uniform(0, 0.4 * seconds))
            os.kill(child, signal.SIGKILL)
            killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
            found = contents(folder)
            yield {
                "killed": killed,
                "records": len(found),
                "wrong": sum(expected[name] != content for name, content in found.items()),
                "unreadable": len(found) - sum(records.find(folder, c) is not None for c in CONFIGS),
            }
            if len(found) == len(CONFIGS) or number == count - 1:
                os.waitpid(forked(folder), 0)  # undisturbed to its end
                assert contents(folder) == expected, "what is made after kills is not what an undisturbed sweep makes"
                folder = next(folders, folder)


def measure(count: int = 100, seed: int = 0) -> str:
    """Kill until `count` processes died in the middle of their work, and say what was lost or altered."""
    rng, seen = random.Random(seed), list[dict[str, Any]]()
    for each in kills(2 * count, rng):
        seen.append(each)
        if sum(one["killed"] for one in seen) == count:
            break
    died = [one for one in seen if one["killed"]]
    wrong, unreadable = (sum(one[name] for one in seen) for name in ("wrong", "unreadable"))
    looked = sum(one["records"] for one in seen)
    return f"{len(died)} kills; of {looked} looks at a record {wrong} with other bytes, {unreadable} unreadable"
