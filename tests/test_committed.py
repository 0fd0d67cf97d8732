"""The committed records: each is named by the hash of its own config, whatever becomes of the code around it, and a
copy that was edited or damaged is refused in one line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedecho.core.checks import RecordError
from fedecho.core.files import REPOSITORY
from fedecho.core.records import RUNS
from fedecho.core.store import Store, dumps
from fedecho.studies.cost import COST
from fedecho.theory.records import THEORY

HOME = REPOSITORY / "paper" / "records"
ALL = sorted(path for path in HOME.rglob("*-*.json") if path.parent.name not in ("examples", "runs", "unfinished"))
FOLDERS = sorted({path.parent for path in ALL if "smoke" not in path.parts[len(HOME.parts)]})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(HOME).as_posix())
def test_every_record_has_the_hash_of_its_config_and_is_written_again_as_it_was_read(folder: Path) -> None:
    store: Store[Any, Any] = THEORY if folder.name == "theory" else RUNS
    for path in folder.glob("*-*.json"):
        record = store.load(path)  # which has the hash of its own config, or is refused
        assert (store.own_name(record), dumps(record)) == (path.stem, path.read_text())


# What is refused

Edit = Callable[[dict[str, Any]], object]
RUN = min((HOME / "laptop").glob("fedecho-*.json"))
WALKS = min((HOME / "laptop" / "theory").glob("logistic-*.json"))
SERVER = HOME / "laptop" / "cost" / "server.json"
KINDS: dict[Path, Store[Any, Any]] = {RUN: RUNS, WALKS: THEORY, SERVER: COST}


def _refused(path: Path, text: str, folder: Path, message: str) -> None:
    copy = folder / path.name
    copy.write_text(text)
    with pytest.raises(
        RecordError, match=f"^record = .*{path.name}' .*{message}.*; delete it, or run it again with --fresh$"
    ) as caught:
        KINDS[path].load(copy)
    assert "\n" not in str(caught.value)


def _sealed(content: dict[str, Any]) -> str:
    """Return the text of a record whose digest is that of its content, whatever that is."""
    del content["sha256"]
    canonical = json.dumps(content, sort_keys=True)
    return json.dumps({**content, "sha256": hashlib.sha256(canonical.encode()).hexdigest()})


@pytest.mark.parametrize("path", KINDS, ids=lambda path: path.stem.split("-")[0])
def test_a_digit_that_was_edited_is_noticed(path: Path, tmp_path: Path) -> None:
    assert KINDS[path].load(path)
    number = r'("accuracy": 0\.|"mean": \[\d+\.|"inference": \[\s+0\.0)(\d)'
    text = re.sub(number, lambda found: f"{found[1]}{(int(found[2]) + 1) % 10}", path.read_text(), count=1)
    assert text != path.read_text()
    _refused(path, text, tmp_path, "its sha256 is '[0-9a-f]{64}': its content gives [0-9a-f]{64}, so it was edited")


DAMAGED: list[tuple[Path, Edit, str]] = [
    (RUN, lambda r: r["rows"][3].update(accuracy=5.0), r"its rows\[3\].accuracy is 5.0: give a number in \[0, 1\]"),
    (RUN, lambda r: r["rows"][3].update(accuracy=None), r"its rows\[3\].accuracy is None: give a number in"),
    (RUN, lambda r: r["rows"][3].update(loss=None), r"its rows\[3\].loss is None: give a number"),
    (RUN, lambda r: r["rows"][3].update(loss=-0.5), r"its rows\[3\].loss is -0.5: give a number >= 0"),
    (RUN, lambda r: r["rows"][3].update(loss=float("inf")), "it cannot be read .*not JSON compliant"),
    (RUN, lambda r: r["rows"][3].update(accuracy=float("nan")), "it cannot be read .*not JSON compliant"),
    (RUN, lambda r: r["rows"][3].update(alpha="large"), r"its rows\[3\].alpha is 'large': give a number"),
    (
        RUN,
        lambda r: r["rows"][3]["per_class"].append(2.0),
        r"its rows\[3\].per_class is \[.*: give a list, each part a number in \[0, 1\] or none",
    ),
    (RUN, lambda r: r["rows"][3].pop("rejected"), r"its rows\[3\].rejected is None: give a whole number >= 0"),
    (RUN, lambda r: r["rows"][3].update(virtual_time=1e6), "its virtual_time is "),
    (RUN, lambda r: r["rows"][3].update(arrivals=1), r"its rows is .*its config asks for others"),
    (RUN, lambda r: r["rows"].pop(3), r"its status is 'done': it has \d+ of \d+ rows"),
    (RUN, lambda r: r.update(status="diverged"), r"its status is 'diverged': it has (\d+) of \1 rows"),
    (RUN, lambda r: r.update(status="finished"), "its status is 'finished': give one of done, diverged"),
    (RUN, lambda r: r.update(seed="0"), "its seed is '0': give a whole number"),
    (RUN, lambda r: r.update(seed=10_000), "its seed is 10000: its config has"),
    (RUN, lambda r: r.update(hash="0" * 16), "its hash is '0000000000000000': its config has"),
    (RUN, lambda r: r["config"].update(colour="red"), "its colour is 'red': RunConfig has the fields method, "),
    (RUN, lambda r: r.update(remark="none"), "it cannot be read .*'remark'"),
    (RUN, lambda r: r.pop("provenance"), "its provenance is None: give names, each with a value"),
    (RUN, lambda r: r.update(schema=0), "its schema is 0: this version reads 1"),
    (
        WALKS,
        lambda r: r["rows"][0].update(status="good"),
        r"its rows\[0\].status is 'good': give one of done, ",
    ),
    (WALKS, lambda r: r["rows"][0]["late"].__setitem__(0, None), r"its rows\[0\].status is '\w+': it needs 24 numbers"),
    (WALKS, lambda r: r["rows"][0]["least"].__setitem__(0, -1.0), r"its rows\[0\].least is "),
    (WALKS, lambda r: r["rows"][0]["mean"].pop(), "it needs 24 numbers of each measure"),
    (WALKS, lambda r: r["rows"].pop(), r"its rows is .*its config asks for others \(T, M\)"),
    (WALKS, lambda r: r.update(hash="0" * 16), "its hash is '0000000000000000': its config has"),
    (SERVER, lambda r: [*r["points"].values()][0].pop("bytes"), r"its points\.[0-9a-f]{16}\.bytes is None"),
    (SERVER, lambda r: [*r["points"].values()][0]["bytes"].update(state=-1), r"its points\.[0-9a-f]{16}\.bytes is {"),
    (SERVER, lambda r: r.pop("points"), "its points is None"),
]


@pytest.mark.parametrize(("path", "edit", "message"), DAMAGED)
def test_what_no_run_can_have_given_is_refused(path: Path, edit: Edit, message: str, tmp_path: Path) -> None:
    content = json.loads(path.read_text())
    edit(content)
    _refused(path, _sealed(content), tmp_path, message)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    text = RUN.read_text().replace('"accuracy": ', '"accuracy": 0.99, "accuracy": ', 1)
    _refused(RUN, text, tmp_path, r"its name is \['accuracy'\]: each stands once in an object")


@pytest.mark.parametrize("text", ["", "[1]", "{}", "null", "not json", "[" * 100_000, '{"sha256": "x"}', "\xff"])
def test_what_is_no_record_is_refused(text: str, tmp_path: Path) -> None:
    _refused(RUN, text, tmp_path, "")
