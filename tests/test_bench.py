"""The arithmetic of the benchmarks, without timing anything that matters."""

from __future__ import annotations

import pytest

from fedecho import bench


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
