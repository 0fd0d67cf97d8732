"""The commands that make and check tables: execute notebooks, rebuild from records, recompute records."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import tyro

from fedecho.cli.train import tell
from fedecho.core import files, numerics
from fedecho.core.checks import require
from fedecho.core.files import paper, use_data
from fedecho.report import notebooks

Only = Annotated[
    str, tyro.conf.arg(help=f"all, {', '.join(notebooks.GROUPS)}, or one of {', '.join(notebooks.catalogue())}")
]


def tables(
    profile: str = "laptop",
    only: Only = "all",
    fresh: bool = False,
    jobs: int | None = None,
    data_root: Path | None = None,
) -> None:
    """Execute the notebooks, which train what has no record; write tables, figures and claims to paper/.

    Args:
        profile: smoke, laptop or paper.
        fresh: train everything again, from the beginning.
        jobs: processes for training (all cores if left out).
        data_root: folder of data sets (otherwise FEDECHO_DATA).
    """
    from fedecho.report.publish import readme
    from fedecho.studies import forecast, plan, profiles
    from fedecho.studies.claims import ledger
    from fedecho.studies.study import TABLES
    from fedecho.studies.training import Trained
    from fedecho.studies.writing import write_protocol

    files.require_clone("tables")
    use_data(data_root)
    stems = notebooks.select(only)
    profile = profiles.whole(profile).name
    require(jobs is None or jobs >= 1, "jobs", jobs, "give at least 1 process")
    studies = [study for build in TABLES.values() if (study := build(profile)).notebook in stems]
    tell(numerics.warning(part for study in studies for part in study.parts()))
    trained = [study for study in studies if isinstance(study, Trained)]
    left_out = [why for stem in stems if (why := notebooks.left_out(stem, profile)) is not None]
    reasons = [*left_out, *(f"{study.name}: {o.why}" for study in trained for o in study.obstacles(fresh))]
    todo = plan.runs_of(trained, fresh, all_runs=False)
    said = forecast.outlook(studies, todo, profile, fresh=fresh, jobs=jobs)
    print(*reasons, *said, sep="\n", file=sys.stderr)
    plan.train_all(todo, jobs, fresh)
    for path in notebooks.make(profile, only=only, fresh=fresh, jobs=jobs):
        print(path)
    ledger.write(profile)
    print(*ledger.written(profile), write_protocol(), *readme.write(profile), sep="\n")


def verify(
    sample: int = 3,
    profile: str = "laptop",
    theory: bool = False,
    records: Path | None = None,
    plugin: tuple[str, ...] = (),
    seed: int | None = None,
    jobs: int | None = None,
    data_root: Path | None = None,
) -> None:
    """Recompute some committed records, drawn at random, and compare them with what is stored.

    Args:
        sample: how many.
        theory: draw from the records of the theory notebooks in place of the training runs.
        profile: whose records.
        records: another folder of records, such as build/own/laptop.
        plugin: what records of one's own need: files of methods, and module:function of models and delays.
        seed: makes the draw repeatable.
        jobs: processes (all cores if left out).
        data_root: folder of data sets (otherwise FEDECHO_DATA).
    """
    from fedecho.core.own import is_named
    from fedecho.learning import plugins
    from fedecho.studies.verify import verify as compare
    from fedecho.studies.verify import verify_theory

    use_data(data_root)
    functions = [name for name in plugin if is_named(name)]
    plugins.load_all(name for name in plugin if name not in functions)
    folder = records or paper() / "records" / profile
    if theory:
        outcomes = verify_theory(folder / "theory", sample, seed)
    else:
        outcomes = compare(folder, sample, seed, jobs, functions)
    for outcome in outcomes:
        print(outcome)
    if not all(outcome.ok for outcome in outcomes):
        sys.exit(1)


def golden() -> None:
    """Run the golden runs of the tests on the code as it is, and list it in fedecho/core/golden.txt if they hold."""
    files.require_clone("golden")
    known = sorted((files.REPOSITORY / "tests").rglob("test_*.py"))
    having = [str(path) for path in known if "def test_golden" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-k", "test_golden", *having]
    if subprocess.run(command, cwd=files.REPOSITORY).returncode:
        sys.exit("fedecho: the golden runs do not hold: a slip, or the numerics are new (see NUMERICS_VERSION)")
    print(f"listed in {numerics.LISTED}" if numerics.write() else "the golden runs hold; this code is listed already")


def check(profile: str = "laptop") -> None:
    """Rebuild every table, every figure and the ledger of claims elsewhere, and fail if a committed one differs.

    Args:
        profile: whose tables.
    """
    from fedecho.studies import profiles
    from fedecho.studies.check import check as compare

    files.require_clone("check")
    differences = compare(profiles.whole(profile).name)
    print("\n".join(differences) or f"{profile}: every table, figure and claim is what the records give")
    if differences:
        sys.exit(1)
