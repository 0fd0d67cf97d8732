"""The `fedecho` command. Exit codes: 0 ok, 1 failed, 2 bad input, 130 stopped; an error is one line of advice."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fedecho.commands import changed as changed
from fedecho.commands import literal as literal
from fedecho.commands import run, sweep, use_data
from fedecho.core.checks import InputError, require
from fedecho.core.files import paper
from fedecho.publish.commands import cite, claims, latex, site

Only = Annotated[
    str,
    tyro.conf.arg(
        help="quickstart, algorithm, tuning, vision, unlabeled, cifar, ablations, cost, controls, theory, a notebook, "
        "or all"
    ),
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
    from fedecho import notebooks, presets, studies
    from fedecho.claims import ledger
    from fedecho.studies import wanted
    from fedecho.theory import writing as theory

    use_data(data_root)
    stems = notebooks.select(only)
    profile = presets.whole(profile).name
    require(jobs is None or jobs >= 1, "jobs", jobs, "give at least 1 process")
    names = [name for stem in stems for name in studies.sets_of(stem)]
    left_out = [why for stem in stems if (why := notebooks.left_out(stem, profile)) is not None]
    reasons = [*left_out, *(f"{name}: {o.why}" for name in names for o in wanted.obstacles(name, profile, fresh))]
    print(*reasons, wanted.outlook(profile, names, fresh, choose=wanted.trainable), sep="\n", file=sys.stderr)
    if any(stem in notebooks.GROUPS["theory"] for stem in stems):
        print(theory.outlook(profile, fresh), file=sys.stderr)
    wanted.train_all(names, profile, jobs, fresh, choose=wanted.trainable)
    for path in notebooks.make(profile, only=only, fresh=fresh, jobs=jobs):
        print(path)
    ledger.write(profile)
    print(*ledger.written(profile), sep="\n")


def verify(
    sample: int = 3,
    profile: str = "laptop",
    theory: bool = False,
    seed: int | None = None,
    jobs: int | None = None,
    data_root: Path | None = None,
) -> None:
    """Recompute some committed records, drawn at random, and compare them with what is stored.

    Args:
        sample: how many.
        theory: draw from the records of the theory notebooks in place of the training runs.
        profile: whose records.
        seed: makes the draw repeatable.
        jobs: processes (all cores if left out).
        data_root: folder of data sets (otherwise FEDECHO_DATA).
    """
    from fedecho.verify import verify as compare
    from fedecho.verify import verify_theory

    use_data(data_root)
    folder = paper() / "records" / profile
    outcomes = verify_theory(folder / "theory", sample, seed) if theory else compare(folder, sample, seed, jobs)
    for outcome in outcomes:
        print(outcome)
    if not all(outcome.ok for outcome in outcomes):
        sys.exit(1)


def check(profile: str = "laptop") -> None:
    """Rebuild every table, every figure and the ledger of claims elsewhere, and fail if a committed one differs.

    Args:
        profile: whose tables.
    """
    from fedecho import presets
    from fedecho.check import check as compare

    differences = compare(presets.whole(profile).name)
    print("\n".join(differences) or f"{profile}: every table, figure and claim is what the records give")
    if differences:
        sys.exit(1)


def data(
    action: tyro.conf.Positional[Literal["list", "fetch"]],
    name: tyro.conf.Positional[str | None] = None,
    data_root: Path | None = None,
) -> None:
    """List the data sets and where they are looked for, or fetch one into the data folder.

    Args:
        action: list or fetch.
        name: cifar10, cifar100 or stl10.
        data_root: the data folder (otherwise FEDECHO_DATA).
    """
    from fedecho import data as datasets

    if action == "fetch":
        require(name is not None, "name", name, "say which data set to fetch: cifar10, cifar100 or stl10")
        print(datasets.fetch(str(name), data_root))
        return
    print(f"data folder: {datasets.data_root(data_root)}")
    for known in dict.fromkeys((*datasets.DATASETS, *datasets.TEXTS, *datasets.POOLS)):
        print(f"{known:18} {_presence(known, data_root)}")


def _presence(name: str, root: Path | None) -> str:
    from fedecho import data as datasets

    try:
        if name in datasets.DATASETS:
            datasets.load(name, root)
        elif name in datasets.TEXTS:
            datasets.load_texts(name, root)
        else:
            datasets.load_unlabeled(name, root, count=1)
    except InputError as error:
        return str(error)
    return "present"


def bench(scale: Literal["laptop", "paper"] = "laptop", device: str = "cpu", processes: int | None = None) -> None:
    """Measure what the library adds to bare loops doing the same work, and what faster ways gain, as ratios of time.

    Args:
        scale: laptop, or paper: ResNet-18, on random images.
        device: cpu or cuda (at the scale paper).
        processes: runs at a time that are compared with one (left out: all cores, or 4 on a GPU).
    """
    from fedecho import bench, bench_paper
    from fedecho.learning.experiment import require_device

    require(device == "cpu" or scale == "paper", "device", device, "the laptop's ratios are of CPU time; use cpu")
    require(processes is None or processes >= 1, "processes", processes, "give at least 1")
    require_device(device)
    for line in [bench.report()] if scale == "laptop" else bench_paper.lines(device, processes):
        print(line, flush=True)


COMMANDS = (run, sweep, tables, verify, claims, check, data, bench, cite, site, latex)


def one_line(text: str) -> str:
    """Return tyro's message box as one line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return " ".join(re.sub(r"[│╭╮╰╯─]+", " ", plain).split())


def _parsed(args: Sequence[str]) -> Callable[[], None]:
    """Let tyro parse; turn its refusal into one line and exit code 2."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return _parse(args)
    except SystemExit as stop:
        if stop.code in (0, None):
            sys.stdout.write(out.getvalue())
            raise
        message = one_line(err.getvalue() or out.getvalue())
        sys.exit(_fail(message or "see fedecho --help", 2))


def _parse(args: Sequence[str]) -> Callable[[], None]:
    call: Callable[[], None] = tyro.extras.subcommand_cli_from_dict(
        {command.__name__: _deferred(command) for command in COMMANDS}, args=list(args), prog="fedecho",
        description=__doc__,
    )  # fmt: skip
    return call


def _deferred(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """Parse now, work later: a usage error is told apart from one that the work raises."""

    @functools.wraps(command)
    def defer(*args: Any, **kwargs: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **kwargs)

    return defer


def _fail(message: str, code: int) -> int:
    print(f"fedecho: {message}", file=sys.stderr)
    return code


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    from fedecho.notebooks import NotebookError

    call = _parsed(sys.argv[1:] if args is None else args)
    try:
        call()
    except InputError as error:
        sys.exit(_fail(str(error), error.code))
    except (NotebookError, BrokenProcessPool, OSError) as error:
        sys.exit(_fail(str(error), 1))
    except KeyboardInterrupt:
        sys.exit(_fail("stopped; records made so far are kept, and the same command without --fresh goes on", 130))


if __name__ == "__main__":
    main()
