"""The `fedecho` command. Exit codes: 0 ok, 1 failed, 2 bad input, 130 stopped; an error is one line of advice."""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tqdm import tqdm

from fedecho.config import RunConfig, override_all, require
from fedecho.errors import InputError
from fedecho.paths import paper
from fedecho.publish.commands import cite, claims, latex, site
from fedecho.records import Record, Row, find, record_path, require_usable, save
from fedecho.schedule import Round

Only = Annotated[
    str,
    tyro.conf.arg(
        help="quickstart, algorithm, tuning, vision, unlabeled, ablations, cost, controls, theory, a notebook, or all"
    ),
]


def literal(text: str) -> Any:
    """Return the value of a word on the command line: a number, true, false, none, or the word itself."""
    named = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def changed(config: RunConfig, assignments: Sequence[str]) -> RunConfig:
    """Return `config` with `field=value` assignments, e.g. `method.distill.lr=0.1`, made all at once."""
    from fedecho.delays import pin_trace

    values = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        require(bool(equals), "set", assignment, "write field=value, e.g. method.distill.lr=0.1")
        values[path] = literal(text)
    config = override_all(config, values)
    return override_all(config, {"delays": pin_trace(config.delays)})


def use_data(root: Path | None) -> None:
    """Let this process and those it starts look for data sets in `root`."""
    if root is not None:
        os.environ["FEDECHO_DATA"] = str(root.resolve())


def run(
    method: str = "fedecho",
    profile: str = "laptop",
    seed: int = 0,
    set: tuple[str, ...] = (),
    fresh: bool = False,
    data_root: Path | None = None,
    device: str = "cpu",
) -> None:
    """Train one model, with a progress bar, and keep its record in `runs/`, apart from those of the tables.

    Args:
        method: fedavg, fedasync, fedbuff, ca2fl, fadas, fedac or fedecho.
        profile: smoke, laptop or paper.
        seed: whole number >= 0.
        set: changes to the run's config, as field=value, e.g. local.lr=0.05 method.distill.clip_norm=none.
        fresh: train even if there is a record.
        data_root: folder of data sets (otherwise FEDECHO_DATA).
        device: cpu or cuda.
    """
    from fedecho import presets

    use_data(data_root)
    config = changed(presets.single(method, profile, seed), set)
    folder = paper() / "records" / profile
    path = record_path(folder, config)  # a run of a table has its record there already
    path = path if path.is_file() else record_path(folder / "runs", config)
    require_usable(path.parent)
    record = None if fresh else find(path.parent, config)
    if record is None:
        path = record_path(folder / "runs", config)
        record = _train(config, device)
        save(record, path)
    score = "diverged" if record.score is None else f"score {100 * record.score:.2f} % (mean of the last 5 evaluations)"
    print(f"{method}, {profile}, seed {seed}: {score}\nrecord: {path}")


def _train(config: RunConfig, device: str) -> Record:
    from fedecho.experiment import run as run_experiment

    bar: tqdm[Round] | None = None

    def progress(rounds: Iterable[Round]) -> Iterable[Round]:
        nonlocal bar
        bar = tqdm(rounds, unit="round")
        return bar

    def on_row(row: Row) -> None:
        if bar is not None:
            bar.set_postfix(accuracy=f"{100 * row['accuracy']:.1f} %")

    return run_experiment(config, on_row=on_row, progress=progress, device=device)


def sweep(
    profile: str = "laptop",
    only: str = "vision",
    jobs: int | None = None,
    fresh: bool = False,
    cluster: bool = False,
    data_root: Path | None = None,
) -> None:
    """Train whatever a table still lacks, in parallel processes; Ctrl-C loses only the runs in progress.

    Args:
        profile: smoke, laptop or paper.
        only: which runs: vision, tuning, a study such as controls, or all.
        jobs: processes (all cores if left out).
        fresh: train everything again.
        cluster: use the Ray cluster that this machine belongs to; its nodes must share the records' folder.
        data_root: folder of data sets (otherwise FEDECHO_DATA).
    """
    from fedecho import presets
    from fedecho.studies import wanted

    use_data(data_root)
    scale = presets.profile(profile).name
    require(jobs is None or jobs >= 1, "jobs", jobs, "give at least 1 process")
    names = wanted.SETS if only == "all" else (only,)
    print(wanted.outlook(scale, names, fresh), file=sys.stderr)
    trained = wanted.train_all(names, scale, jobs, fresh, cluster)
    print(f"{only}, {profile}: {trained} runs trained, the others had records")


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
    from fedecho import notebooks, studies
    from fedecho.claims import ledger
    from fedecho.studies import wanted
    from fedecho.theory import writing as theory

    use_data(data_root)
    stems = notebooks.select(only)
    require(jobs is None or jobs >= 1, "jobs", jobs, "give at least 1 process")
    names = [name for stem in stems for name in studies.sets_of(stem)]
    print(wanted.outlook(profile, names, fresh), file=sys.stderr)
    if any(stem in notebooks.GROUPS["theory"] for stem in stems):
        print(theory.outlook(profile, fresh), file=sys.stderr)
    wanted.train_all(names, profile, jobs, fresh)
    for path in notebooks.make(profile, only=only, fresh=fresh, jobs=jobs):
        print(path)
    ledger.write(profile)
    print(*ledger.files(profile), sep="\n")


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

    differences = compare(presets.profile(profile).name)
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
    for known in dict.fromkeys((*datasets.DATASETS, *datasets.POOLS)):
        print(f"{known:18} {_presence(known, data_root)}")


def _presence(name: str, root: Path | None) -> str:
    from fedecho import data as datasets

    try:
        if name in datasets.DATASETS:
            datasets.load(name, root)
        else:
            datasets.load_unlabeled(name, root, count=1)
    except InputError as error:
        return str(error)
    return "present"


def bench() -> None:
    """Measure what the library adds to bare loops doing the same work, as ratios of CPU time."""
    from fedecho.bench import report as ratios

    print(ratios())


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
        sys.exit(_fail(str(error), 2))
    except (NotebookError, BrokenProcessPool, OSError) as error:
        sys.exit(_fail(str(error), 1))
    except KeyboardInterrupt:
        sys.exit(_fail("stopped; records made so far are kept, and the same command without --fresh goes on", 130))


if __name__ == "__main__":
    main()
