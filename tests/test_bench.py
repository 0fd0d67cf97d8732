"""The arithmetic of the benchmarks, without timing anything that matters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fedecho.cli import bench, bench_paper


def test_ratio_is_ours_over_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(bench.time, "process_time", lambda: clock[0])

    def work(seconds: float) -> object:
        def spend() -> None:
            clock[0] += seconds

        return spend

    ratio = bench.cpu_ratio("x", work(3.0), work(2.0), 1.6, turns=4)  # type: ignore[arg-type]
    assert (ratio.low, ratio.median, ratio.high) == (1.5, 1.5, 1.5)
    assert "1.500" in str(ratio) and "1.6" in str(ratio)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that takes milliseconds in the place of ResNet-18, and one turn."""
    monkeypatch.setattr(bench_paper, "MODEL", "cnn-batchnorm")
    monkeypatch.setattr(bench_paper, "CONTROL", "cnn")
    monkeypatch.setattr(bench_paper, "_SIZES", {"cpu": bench_paper._SIZES["cpu"]._replace(turns=1)})
    monkeypatch.setattr(torch, "compile", lambda module, **options: module)
    monkeypatch.setattr(bench_paper, "together", lambda device, count: f"{count} runs at a time")


def test_the_library_trains_what_the_bare_loop_trains(small: None) -> None:
    data = bench_paper._client("cpu", 2)
    flat = bench_paper._model("cpu")
    module = copy.deepcopy(flat.module).train()
    black = data.normalised(data.padding.view(1, -1, 1, 1)).flatten()
    bench_paper.bare_epoch(module, data.normalised(data.images), data.labels, black, bench_paper._local())
    trained, steps = bench_paper._steps(flat, data)()  # type: ignore[misc]
    assert steps == 2
    torch.testing.assert_close(trained.params, nn.utils.parameters_to_vector(module.parameters()))


def test_clients_trained_at_once_are_trained_as_one_by_one(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_paper, "crop_and_flip", lambda images, padding, rng: images)  # all see the same
    monkeypatch.setattr("fedecho.learning.client.crop_and_flip", lambda images, padding, rng: images)
    data, flat = bench_paper._client("cpu", 2), bench_paper._model("cpu")
    module = copy.deepcopy(flat.module).train()
    together = bench_paper.grouped_epoch(module, data, 2)
    bench_paper._steps(flat, data)()
    for name, alone in flat.module.named_parameters():
        for client in together[name]:
            torch.testing.assert_close(client, alone, rtol=1e-4, atol=1e-5)


def test_the_paper_scale_is_told_by_device_and_line(small: None) -> None:
    lines = list(bench_paper.lines("cpu", processes=3))
    assert lines[0].startswith("device: cpu, one thread") and "torch" in lines[0]
    assert "augmentation" in lines[1] and "backward" in lines[1] and lines[-1] == "3 runs at a time"
    for words in (
        "bare eager loop",
        "channels_last",
        "bfloat16",
        "compiled",
        "GroupNorm",
        "inference in batches of 400",
    ):
        assert any(words in line for line in lines)
