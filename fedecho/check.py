"""Rebuilds tables, figures and the ledger of claims elsewhere and compares them with what is committed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedecho import cost, drawings, paths, report, studies, sweep
from fedecho.claims import ledger
from fedecho.config import require
from fedecho.cost import writing
from fedecho.notebooks import figures_dir, tables_dir
from fedecho.studies import wanted
from fedecho.theory import writing as theory


def check(profile: str = "laptop") -> list[str]:
    """Return a line for each committed file that differs from its rebuild, or that exists on one side only.

    Raises `InputError` when a record is missing: nothing is trained here.
    """
    for name in wanted.SETS:
        lacking = len(sweep.missing(wanted.configs(name, profile), wanted.folder(name, profile)))
        require(not lacking, name, f"{lacking} missing records", "run `fedecho tables` first")
    require(cost.stored(profile) is not None, "cost", "no measurement", "run `fedecho tables` first")
    lacking_theory = theory.lacking(profile)
    require(not lacking_theory, "theory", ", ".join(lacking_theory), "records are missing; run `fedecho tables` first")
    committed, home = (tables_dir(profile), figures_dir(profile)), paths.paper()
    with tempfile.TemporaryDirectory() as folder, _redirected(Path(folder)):
        rebuild(profile)
        rebuilt = (tables_dir(profile), figures_dir(profile))
        drifted = [line for one, two in zip(committed, rebuilt, strict=True) for line in differences(one, two)]
        return drifted + claims_differences(home, profile)


def claims_differences(home: Path, profile: str) -> list[str]:
    """Write the ledger of claims anew and compare it with the one in `home`; only the default profile's must exist."""
    ledger.write(profile)
    names = [path.name for path in ledger.files(profile) if profile == "laptop" or (home / path.name).is_file()]
    return [f"{name}: {why}" for name in names if (why := _compare(home, paths.paper(), name))]


def rebuild(profile: str) -> None:
    """Write every table and figure of a profile from its records."""
    report.vision(profile)
    for name in wanted.TUNINGS:
        report.tuning(profile, name=name)
    for name in studies.NAMES:
        studies.make(name, profile)
    studies.make_gaps(profile)
    writing.write(profile)
    for name in theory.STUDIES:
        theory.write(name, profile)


@contextmanager
def _redirected(folder: Path) -> Iterator[None]:
    """Write to `folder` while reading the same records."""
    before, records = os.environ.get("FEDECHO_PAPER"), paths.paper().resolve() / "records"
    (folder / "records").symlink_to(records)
    os.environ["FEDECHO_PAPER"] = str(folder)
    try:
        yield
    finally:
        del os.environ["FEDECHO_PAPER"]
        if before is not None:
            os.environ["FEDECHO_PAPER"] = before


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
