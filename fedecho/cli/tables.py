"""The commands that make and check tables: execute notebooks, rebuild from records, recompute records."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import tyro

from fedecho.cli.words import Profile, tell
from fedecho.core import files, numerics
from fedecho.core.checks import is_named, require, require_jobs
from fedecho.core.files import paper, use_data
from fedecho.learning.bar import saying
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
    force: bool = False,
) -> None:
    """Execute the notebooks, which train what has no record; write tables, figures and claims to paper/.

    Args:
        profile: smoke, laptop or paper.
        fresh: train everything again, from the beginning.
        jobs: number of training processes (if omitted: all cores).
        data_root: folder of data sets (if omitted: FEDECHO_DATA).
        force: train even if the predicted memory is not free.
    """
    from fedecho.report.publish import readme
    from fedecho.studies import forecast, plan, profiles, sweep
    from fedecho.studies.claims import ledger
    from fedecho.studies.comparison import Trained
    from fedecho.studies.study import TABLES
    from fedecho.studies.writing import write_protocol

    files.require_clone("tables")
    files.require_writable()
    use_data(data_root)
    files.sweep_up(files.paper())
    stems = notebooks.select(only)
    profile = profiles.whole(profile).name
    require_jobs(jobs)
    studies = [study for build in TABLES.values() if (study := build(profile)).notebook in stems]
    tell(numerics.warning(part for study in studies for part in study.parts()))
    trained = [study for study in studies if isinstance(study, Trained)]
    left_out = [why for stem in stems if (why := notebooks.left_out(stem, profile)) is not None]
    reasons = [*left_out, *(f"{study.name}: {o.why}" for study in trained for o in study.obstacles(fresh))]
    with saying("reading the records that are there, and reckoning what is missing"):
        todo = plan.runs_of(trained, fresh, all_runs=False)
        said = forecast.outlook(studies, todo, profile, fresh=fresh, jobs=jobs)
    print(*reasons, *said, sep="\n", file=sys.stderr)
    if not force:
        sweep.require_room([run for runs in todo.values() for run in runs], jobs)
    sweep.sweep(todo, jobs=jobs, fresh=fresh)
    for path in notebooks.make(profile, only=only, fresh=fresh, jobs=jobs):
        print(path)
    ledger.write(profile)
    print(*ledger.written(profile), write_protocol(), *readme.write(profile), sep="\n")


def verify(
    sample: int | None = None,
    profile: Profile = "laptop",
    only: str | None = None,
    all: bool = False,
    theory: bool = False,
    records: Path | None = None,
    plugin: tuple[str, ...] = (),
    seed: int | None = None,
    jobs: int | None = None,
    data_root: Path | None = None,
) -> None:
    """Recompute some committed records, drawn at random, and compare every number with what is stored.

    If processor features, libraries and threads are those of the record, the bytes must be identical; otherwise numbers
    may differ by the tolerance measured for their kind of run (paper/tolerances.json).

    Args:
        sample: number of records (if omitted: 3, or all if there are fewer).
        only: draw from the records behind this table, e.g. vision.
        all: recompute all of them, which may take days.
        theory: draw from the records of the theory notebooks in place of the training runs.
        records: another folder of records, such as build/own/laptop.
        plugin: what records of your own code need: files with methods, and module:function of models and delays.
        seed: makes the draw repeatable.
        jobs: number of processes (if omitted: all cores).
        data_root: folder of data sets (if omitted: FEDECHO_DATA).
    """
    from fedecho.learning import plugins
    from fedecho.studies import profiles, verify as verifying

    use_data(data_root)
    functions = [name for name in plugin if is_named(name)]
    plugins.load_all(name for name in plugin if name not in functions)
    require_jobs(jobs)
    require(not (only and theory), "only", only, "a table has its own kind of records; leave out theory")
    verifying.require_draw(sample, seed)
    require(not (all and sample), "sample", sample, "--all takes every record; leave one out")
    folder = (records or paper() / "records" / profiles.profile(profile).name) / ("theory" if theory else "")
    require(bool(only) or folder.is_dir(), "records", str(folder), "no such folder; run `fedecho sweep` first")
    found = list(folder.glob("*.json")) if only is None else verifying.of_table(only, profile)
    count = None if all else sample or max(1, min(3, len(found)))
    outcomes, failed = verifying.verify(verifying.drawn(found, count, seed), jobs, functions), 0
    with saying("making the first of the records again") as first:
        for outcome in outcomes:
            first()
            print(outcome, flush=True)
            failed += not outcome.ok
    if failed:
        sys.exit(1)


def golden() -> None:
    """Run the tests' golden runs on the present code and, if they pass, list it in fedecho/core/golden.txt."""
    files.require_clone("golden")
    known = sorted((files.REPOSITORY / "tests").rglob("test_*.py"))
    having = [str(path) for path in known if "def test_golden" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "test_golden", *having]
    if subprocess.run(command, cwd=files.REPOSITORY).returncode:
        sys.exit("fedecho: the golden runs do not hold: a slip, or the numerics are new (see NUMERICS_VERSION)")
    print(f"listed in {numerics.LISTED}" if numerics.write() else "the golden runs hold; this code is listed already")


def tolerances(
    profile: tuple[str, ...] = ("laptop", "cifar-small", "cifar-resnet", "language", "generation"),
    kind: tuple[str, ...] = (),
    variant: tuple[str, ...] = ("AVX512, 1 thread", "AVX2, 1 thread"),
    seed: int = 0,
    data_root: Path | None = None,
) -> None:
    """Measure how far a run's numbers differ under other processor instructions or numbers of threads.

    Recomputes a record of each kind under each variant and writes the largest differences to paper/tolerances.json.

    Args:
        profile: profiles whose records are drawn from.
        kind: kinds of run, e.g. "fedbuff, cnn" (if omitted: all that have records).
        variant: "AVX512, 1 thread", "AVX512, 2 threads", "AVX2, 1 thread" or "AVX2, 2 threads".
        seed: seed of the draw; another one adds other runs to those measured before.
        data_root: folder of data sets (if omitted: FEDECHO_DATA).
    """
    from fedecho.studies import remake, tolerance

    use_data(data_root)
    files.require_writable()
    for name in variant:
        require(name in remake.VARIANTS, "variant", name, f"choose one of {'; '.join(remake.VARIANTS)}")
    folders = [paper() / "records" / name / part for name in profile for part in ("", "theory")]
    found = remake.one_of_each([path for folder in folders for path in folder.glob("*-*.json")], seed)
    known = {tolerance.kind_of(tolerance.load(path)): path for path in found}
    for name in kind:
        require(name in known, "kind", name, f"choose one of {'; '.join(known)}")
    with saying("making records again under other instructions") as first:
        for line in remake.measure([known[name] for name in kind or known], variant):
            first()
            print(line, flush=True)


def check(profile: str = "laptop", records: bool = False) -> None:
    """Read all records, rebuild every table, every figure and the ledger of claims elsewhere, and fail if a record
    cannot be believed or a committed file differs.

    Args:
        profile: whose tables: smoke, laptop or paper.
        records: only read every record, manifest and other sealed file of all profiles, in seconds.
    """
    from fedecho.studies import check as checking, profiles

    files.require_clone("check")
    count, unsound = checking.unsound()
    if unsound or records:
        print("\n".join(unsound) or f"{count:,} records and other sealed files: each has its digest and can be one")
        if unsound:
            sys.exit(1)
        return
    with saying("making every table, figure and claim again from the records, which takes minutes"):
        differences = checking.check(profiles.whole(profile).name)
    print("\n".join(differences) or f"{profile}: every table, figure and claim is what the records give")
    if differences:
        sys.exit(1)
