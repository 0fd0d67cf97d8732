"""The committed records: each is named by the hash of its own config, whatever becomes of the code around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedecho.core.files import REPOSITORY
from fedecho.core.records import RUNS
from fedecho.core.store import Store, dumps
from fedecho.theory.records import THEORY

HOME = REPOSITORY / "paper" / "records"
ALL = sorted(path for path in HOME.rglob("*-*.json") if path.parent.name not in ("examples", "runs", "unfinished"))
FOLDERS = sorted({path.parent for path in ALL if "smoke" not in path.parts[len(HOME.parts)]})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(HOME).as_posix())
def test_every_record_has_the_hash_of_its_config(folder: Path) -> None:
    found = sorted(folder.glob("*-*.json"))
    records = [_store(folder).load(path) for path in found]  # which has the hash of its own config, or is refused
    assert [_store(folder).own_name(record) for record in records] == [path.stem for path in found]


def _store(folder: Path) -> Store[Any, Any]:
    return THEORY if folder.name == "theory" else RUNS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(HOME).as_posix())
def test_every_record_is_written_again_as_it_was_read(folder: Path) -> None:
    for path in folder.glob("*-*.json"):
        assert dumps(_store(folder).load(path)) == path.read_text(), path.name
