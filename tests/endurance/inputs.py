"""Hostile inputs by the hundred: how many gave a traceback."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import ENTRANCES, answered, walled


def measure(count: int = 100) -> str:
    """Give every entrance `count` inputs at most, and say what came of them."""
    seen, slips, name_now = Counter[bool](), list[str](), [""]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        walled(patch, Path(name) / "walled")
        for entrance, (_, values) in ENTRANCES.items():
            name_now[0] = entrance

            @seed(0)
            @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate],
                      suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(values)
            def try_one(value: Any) -> None:
                try:
                    seen[answered(name_now[0], value)] += 1
                except Exception as error:
                    slips.append(f"{name_now[0]}: {value!r:.200}: {type(error).__name__}: {str(error)[-300:]}")

            try_one()
        written = (Path(name) / "walled").exists()
    print(*slips[:20], sep="\n")
    total = sum(seen.values()) + len(slips)
    return f"{total} inputs: {seen[True]} refused in one line, {seen[False]} usable, {len(slips)} tracebacks; " + (
        "something was written" if written else "nothing was written"
    )
