"""Tolerances: distances between two records of a run, what differs between machines, and what measuring writes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedecho.core import provenance
from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig
from fedecho.core.records import RUNS, Record
from fedecho.learning.methods import FedBuff, FedEcho
from fedecho.studies import remake, tolerance
from fedecho.studies.tolerance import Tolerances, differing, distances, kind_of
from tests.sound import sound
from tests.test_records import record

HERE: dict[str, Any] = {
    "versions": {"torch": "2.13", "numpy": "2.4", "scipy": "1.17", "torchvision": "0.28"},
    "hardware": {"machine": "x86_64", "cpu": "Xeon", "cores": 2, "gpu": None, "cpu_capability": "AVX512"},
    "threads": 1,
}


def test_distances_are_relative_above_one_and_plain_below() -> None:
    one = record([0.5, 0.6])
    far = [{**one.rows[0], "loss": 2.0}, {**one.rows[1], "loss": 0.5, "per_class": [0.7, 0.0]}]
    near = [{**row, "loss": loss} for row, loss in zip(one.rows, (4.0, 0.25), strict=True)]
    found = distances(replace(one, rows=near), replace(one, rows=far))
    assert found.pop("loss") == 0.5  # |4 - 2| / 4, and |0.5 - 0.25| / 1
    assert found.pop("per_class") == pytest.approx(0.1)
    assert set(found.values()) == {0.0} and {"status", "round", "facts.share"} <= found.keys()


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"status": "diverged"}, "status"),
        ({"rows": [{"round": 1, "accuracy": None, "per_class": [0.5, 0.0]}]}, "accuracy"),
        ({"rows": [{"round": 1, "accuracy": 0.5, "per_class": [0.5]}]}, "per_class"),
        ({"rows": []}, "accuracy"),
        ({"facts": {"share": "a third"}}, "facts.share"),
        ({"facts": {}}, "facts.share"),
    ],
)
def test_what_is_no_difference_of_numbers_is_infinite(change: dict[str, Any], column: str) -> None:
    assert distances(record([0.5]), replace(record([0.5]), **change))[column] == math.inf


def test_what_differs_is_named() -> None:
    assert differing(HERE, HERE) == []
    hardware = {**HERE["hardware"], "cpu_capability": "AVX2"}
    other = {**HERE, "versions": {**HERE["versions"], "torch": "2.12"}, "hardware": hardware, "threads": 2}
    assert differing(HERE, other) == [
        "made with AVX512, here AVX2", "made with torch 2.13, here torch 2.12", "made with 1 thread, here 2 threads",
    ]  # fmt: skip
    amd = {**HERE, "hardware": {**HERE["hardware"], "cpu": "EPYC", "cores": 64}}
    assert differing(amd, HERE) == ["made with EPYC, here Xeon"]
    limited = {**HERE, "hardware": {**HERE["hardware"], "limits": {"MKL_CBWR": "COMPATIBLE"}}}
    assert differing(HERE, limited) == ["made with limits none, here limits {'MKL_CBWR': 'COMPATIBLE'}"]


def test_what_an_older_record_does_not_say_is_no_difference() -> None:
    said = {**HERE, "hardware": {**HERE["hardware"], "simd": ["X86_V3"]}}
    assert differing(HERE, said) == []


def test_limits_are_part_of_the_provenance(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in provenance.LIMITS:
        monkeypatch.delenv(name, raising=False)
    provenance._hardware.cache_clear()
    assert "limits" not in provenance.collect("cpu")["hardware"]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    provenance._hardware.cache_clear()
    assert provenance.collect("cpu")["hardware"]["limits"] == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    provenance._hardware.cache_clear()


def stored(folder: Path, config: RunConfig, accuracy: float) -> Path:
    path = RUNS.path(folder, config)
    RUNS.save(sound(record([accuracy], config=config)), path)
    return path


def test_measuring_keeps_the_largest_distance_of_any_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    again = {"AVX512, 1 thread": 0.5, "AVX2, 1 thread": 0.5312}

    def made_again(path: Path, limits: dict[str, str], threads: int) -> Record:
        accuracy = again["AVX2, 1 thread" if limits else "AVX512, 1 thread"]
        return sound(record([accuracy], config=tolerance.load(path).run_config()))  # type: ignore[union-attr]

    monkeypatch.setattr(remake, "_made_again", made_again)
    paths = [stored(tmp_path / "records", config, 0.5) for config in (RunConfig(FedBuff()), RunConfig(FedEcho()))]
    lines = list(remake.measure([paths[0]], list(again)))
    assert lines == [f"fedbuff, cnn: accuracy 0.031, per_class 0.031 ({paths[0].stem[8:]})"]
    found = tolerance.committed()
    assert found.kinds == {"fedbuff, cnn": {"accuracy": 0.032, "per_class": 0.032}}  # rounded up
    assert found.runs == {"fedbuff, cnn": [f"{paths[0].stem[8:]}: AVX512, 1 thread; AVX2, 1 thread"]}
    assert (found.allowed("fedbuff, cnn") or {})["accuracy"] == pytest.approx(0.096)
    assert found.allowed("fadas, cnn") is None
    again["AVX2, 1 thread"] = 0.51  # less than is known: a second kind, and the first stays
    list(remake.measure(paths, list(again)))
    assert tolerance.committed().kinds["fedbuff, cnn"] == {"accuracy": 0.032, "per_class": 0.032}
    assert tolerance.committed().kinds.keys() == {"fedbuff, cnn", "fedecho, cnn"}


def test_measuring_needs_what_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with pytest.raises(InputError, match="cpu_capability = 'AVX2' .*AVX512"):
        list(remake.measure([stored(tmp_path, RunConfig(FedBuff()), 0.5)]))


def test_one_record_of_each_kind(tmp_path: Path) -> None:
    paths = [
        stored(tmp_path, RunConfig(method, seed=seed), 0.5) for method in (FedBuff(), FedEcho()) for seed in (1, 2)
    ]
    assert [kind_of(tolerance.load(path)) for path in remake.one_of_each(paths)] == ["fedbuff, cnn", "fedecho, cnn"]
    assert remake.one_of_each(paths) == remake.one_of_each(reversed(paths))


def test_nothing_is_granted_where_nothing_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    assert tolerance.committed() == Tolerances({}) and tolerance.committed().allowed("fedbuff, cnn") is None
