"""A drifted, missing or left-over file is named; equal folders pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedecho.core.checks import InputError
from fedecho.studies.check import check, differences


def test_differences_are_named(tmp_path: Path) -> None:
    one, two = tmp_path / "tables", tmp_path / "again"
    for folder in (one, two):
        (folder / "smoke").mkdir(parents=True)
        (folder / "same.md").write_text("1")
    assert differences(one, two) == []
    (one / "drifted.md").write_text("1")
    (two / "drifted.md").write_text("2")
    (one / "old.md").write_text("1")
    (two / "new.md").write_text("1")
    (one / "smoke" / "other.md").write_text("1")
    assert [line.split(":")[0] for line in differences(one, two)] == [
        "tables/drifted.md",
        "tables/new.md",
        "tables/old.md",
    ]


def test_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    with pytest.raises(InputError, match="tuning = '46 missing records'"):
        check("smoke")
    assert list(tmp_path.iterdir()) == []
