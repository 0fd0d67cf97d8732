"""The committed records: each is named by the hash of its own config, whatever becomes of the code around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedecho.core import records
from fedecho.core.config import config_hash
from fedecho.core.files import REPOSITORY
from fedecho.theory import records as theory
from fedecho.theory.config import run_hash

HOME = REPOSITORY / "paper" / "records"
ALL = sorted(path for path in HOME.rglob("*-*.json") if path.parent.name not in ("examples", "runs", "unfinished"))
FOLDERS = sorted({path.parent for path in ALL if "smoke" not in path.parts[len(HOME.parts)]})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(HOME).as_posix())
def test_every_record_has_the_hash_of_its_config(folder: Path) -> None:
    found = sorted(folder.glob("*-*.json"))
    named = {path.name: _name(path) for path in found}
    assert named == {path.name: path.name for path in found}


def _name(path: Path) -> str:
    """The file's name as its content asks for it: first part of the config, hash, and the same hash inside."""
    if path.parent.name == "theory":
        played = theory.load(path)
        assert played.hash == run_hash(played.run())
        return f"{played.run().objective}-{played.hash}.json"
    stored = records.load(path)
    config = stored.run_config()
    assert stored.hash == config_hash(config) and stored.seed == config.seed
    return f"{config.method.name}-{stored.hash}.json"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(HOME).as_posix())
def test_every_record_is_written_again_as_it_was_read(folder: Path) -> None:
    load = theory.load if folder.name == "theory" else records.load
    for path in folder.glob("*-*.json"):
        assert records.dumps(load(path)) == path.read_text(), path.name
