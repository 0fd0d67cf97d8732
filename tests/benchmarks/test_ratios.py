"""The library's overhead over bare loops; not part of the ordinary tests: `pytest -m benchmark`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedecho.cli.bench import BENCHMARKS, Ratio


@pytest.mark.benchmark
@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda function: function.__name__)
def test_ratio_keeps_its_target(benchmark: Callable[[], Ratio]) -> None:
    ratio = benchmark()
    print(ratio)
    assert ratio.median <= ratio.target
