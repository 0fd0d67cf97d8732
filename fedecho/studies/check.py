"""Rebuilds tables, figures and what is told of them elsewhere and compares all with what is committed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from fedecho.core import files
from fedecho.core.checks import InputError, require
from fedecho.core.records import RUNS
from fedecho.core.store import Store, require_sealed
from fedecho.learning.cost.stand_in import COST, MEASURED
from fedecho.report import drawings, manifest, reported
from fedecho.report.publish import readme
from fedecho.report.reported import numbers
from fedecho.studies import tolerance
from fedecho.studies.claims import ledger
from fedecho.studies.study import TABLES
from fedecho.studies.writing import write, write_protocol
from fedecho.theory.records import THEORY


def check(profile: str = "laptop") -> list[str]:
    """Return a line for each committed file that differs from its rebuild, or that exists on one side only.

    Raises `InputError` when a record is missing: nothing is trained here.
    """
    studies = [build(profile) for build in TABLES.values()]
    for study in studies:
        vars(study)["apart"] = None  # of the committed records alone, whatever this code's own give
        lacking = len(study.trainable())  # what a table does not train says "not run"
        require(not lacking, study.name, f"{lacking} missing records", "run `fedecho tables` first")
    committed, home = _folders(profile), files.paper()
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, FEDECHO_PAPER=folder):
        Path(folder, "records").symlink_to(home.resolve() / "records")  # the same records are read
        for study in studies:
            write(study)
        folders = zip(committed, _folders(profile), strict=True)
        drifted = [line for one, two in folders for line in differences(one, two)]
        protocol = _compare(home, files.paper(), write_protocol().name)
        drifted += [f"PROTOCOL.md: {protocol}"] * bool(protocol)
        return drifted + claims_differences(home, profile) + page_differences(home, profile)


def unsound() -> tuple[int, list[str]]:
    """Read every record there is, and what else is sealed: manifests, claims, the paper's numbers, tolerances.

    Return how many files that were, and a line for each that cannot be believed. A digest keeps out accidents; forgers
    are for `verify`.
    """
    home = files.paper()
    records = sorted(path for path in (home / "records").rglob("*.json"))
    readers: list[tuple[Path, Callable[[Path], object]]] = [(path, _read_record) for path in records]
    readers += [(path, manifest.read) for path in sorted((home / "tables").rglob("*.json"))]
    readers += [(path, require_sealed) for path in sorted(home.glob("claims*.json"))]
    readers += [(path, lambda path: numbers(path.stem)) for path in sorted(reported.FOLDER.glob("*.csv"))]
    readers += [(path, tolerance.STORE.load) for path in home.glob("tolerances.json")]
    lines = []
    for path, read in readers:
        try:
            read(path)
        except InputError as error:
            lines.append(str(error))
    return len(readers), lines


def _read_record(path: Path) -> None:
    stores: dict[str, Store[Any, Any]] = {"theory": THEORY, **dict.fromkeys(MEASURED, COST)}
    store = stores.get(path.parent.name, RUNS)
    name = store.own_name(store.load(path))
    require(name == path.stem, "record", str(path), f"it belongs to {name}; put it there")


def _folders(profile: str) -> tuple[Path, Path]:
    return files.folder_of("tables", profile), files.folder_of("figures", profile)


def claims_differences(home: Path, profile: str) -> list[str]:
    """Write the ledger of claims anew and compare it with the one in `home`; only the default profile's must exist."""
    ledger.write(profile)
    names = [path.name for path in ledger.written(profile) if profile == "laptop" or (home / path.name).is_file()]
    return [f"{name}: {why}" for name in names if (why := _compare(home, files.paper(), name))]


def page_differences(home: Path, profile: str) -> list[str]:
    """Compare README.md and RESULTS.md with what their templates make of the tables, where they are about `home`."""
    made = readme.pages(profile) if readme.are_about(home, profile) else {}
    return [
        f"{page.name}: differs from what its template, paper/{page.name}.j2, makes of the tables"
        for page, text in made.items()
        if not page.is_file() or page.read_text(encoding="utf-8") != text
    ]


def differences(committed: Path, rebuilt: Path) -> list[str]:
    """Compare the files of two folders, texts byte by byte and figures by what they show (`drawings.same`); folders of
    other profiles inside them are left alone."""
    names = {path.name for folder in (committed, rebuilt) for path in folder.glob("*.*") if path.is_file()}
    return [f"{committed.name}/{name}: {why}" for name in sorted(names) if (why := _compare(committed, rebuilt, name))]


def _compare(committed: Path, rebuilt: Path, name: str) -> str:
    if not (rebuilt / name).is_file():
        return "no table or figure of this name is made any more"
    if not (committed / name).is_file():
        return "is made from the records but not there"
    one, two = ((folder / name).read_bytes() for folder in (committed, rebuilt))
    return "" if drawings.same(one, two, Path(name).suffix) else "differs from what the records give"
