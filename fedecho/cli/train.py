"""The commands that train: one run, and everything that a table lacks."""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from fedecho.core.checks import require
from fedecho.core.config import RunConfig, override_all
from fedecho.core.files import paper, use_data
from fedecho.core.records import Record, Row, find, progress_path, record_path, require_usable, save
from fedecho.simulation.schedule import Round

if TYPE_CHECKING:
    from fedecho.learning.resume import Keeper


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
    from fedecho.learning.models.pretrained import pin
    from fedecho.simulation.delays import pin_trace

    config = override_all(config, _values(assignments))
    return pin(override_all(config, {"delays": pin_trace(config.delays)}))


def _values(assignments: Sequence[str]) -> dict[str, Any]:
    """Read field=value, several times."""
    values = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        require(bool(equals), "set", assignment, "write field=value, e.g. method.distill.lr=0.1")
        values[path] = literal(text)
    return values


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
        method: fedavg, fedasync, fedbuff, ca2fl, fadas, fedac, fedstaleasync, area, adamasfl or fedecho.
        profile: smoke, laptop or paper.
        seed: whole number >= 0.
        set: changes to the run's config, as field=value, e.g. local.lr=0.05 method.distill.clip_norm=none.
        fresh: train even if there is a record.
        data_root: folder of data sets (otherwise FEDECHO_DATA).
        device: cpu or cuda.
    """
    from fedecho.learning.experiment import require_device
    from fedecho.learning.resume import Keeper
    from fedecho.studies import contenders

    use_data(data_root)
    require_device(device)
    config = changed(contenders.single(method, profile, seed), set)
    folder = paper() / "records" / profile
    path = record_path(folder, config)  # a run of a table has its record there already
    path = path if path.is_file() else record_path(folder / "runs", config)
    require_usable(path.parent)
    record = None if fresh else find(path.parent, config)
    if record is None:
        path = record_path(folder / "runs", config)
        keeper = Keeper(progress_path(folder / "runs", config))
        if fresh:
            keeper.forget()
        record = _train(config, device, keeper)
        save(record, path)
        keeper.forget()
    score = "diverged" if record.score is None else f"score {100 * record.score:.2f} % (mean of the last 5 evaluations)"
    print(f"{method}, {profile}, seed {seed}: {score}\nrecord: {path}")


def tune(
    method: str = "fedecho",
    profile: str = "laptop",
    space: tuple[str, ...] = (),
    set: tuple[str, ...] = (),
    trials: int = 12,
    refinements: int = 1,
    seeds: tuple[int, ...] = (1000, 1001),
    jobs: int | None = None,
    fresh: bool = False,
    data_root: Path | None = None,
) -> None:
    """Tune a method as the tables' methods were: on the validation split, never on a seed or an image of theirs.

    Args:
        method: a method's name, or a row of the main table such as "CA2FL (tuned eta)".
        profile: smoke, laptop or paper, or that of a block: cifar-small, language, generation.
        space: one to three fields with their ends, searched on a log scale, e.g. local.lr=0.01:0.5 (left out: those of
            the table's row).
        set: changes to the config of every run, as field=value.
        trials: points over the whole space.
        refinements: how often 4 more are laid around the best.
        seeds: of each trial; none that a table reports.
        jobs: processes (left out: all cores).
        fresh: train everything again.
        data_root: folder of data sets (otherwise FEDECHO_DATA).
    """
    from fedecho.studies import contenders, writing
    from fedecho.studies.tuning import tuning_of

    use_data(data_root)
    require(jobs is None or jobs >= 1, "jobs", jobs, "give at least 1 process")
    contender = contenders.contender_of(method, dict(map(_ends, space)))
    tuned = tuning_of(contender, profile, changes=_values(set), count=trials, refinements=refinements, seeds=seeds)
    made = writing.make(tuned, jobs, fresh)
    print(f"{tuned.summary()}\ntable: {made.tables['md']}")


def _ends(text: str) -> tuple[str, tuple[float, float]]:
    """Read field=lowest:highest."""
    path, _, ends = text.partition("=")
    values = [literal(end) for end in ends.split(":")]
    numbers = len(values) == 2 and all(isinstance(value, int | float) for value in values)
    require(numbers, "space", text, "write field=lowest:highest, e.g. local.lr=0.01:0.5")
    return path, (float(values[0]), float(values[1]))


def announcement(config: RunConfig, device: str) -> str:
    """Say what a run is going to cost: seconds, by the rate assumed of the device, and bytes at its peak."""
    from fedecho.learning.cost import duration, peak

    rates = duration.Rates(device)
    about = f"about {duration.text(rates.seconds(config))} on {device} if it does {rates.prior:.0e} FLOP/s"
    return f"{about}; {peak.text(config)}"


def _train(config: RunConfig, device: str, keeper: Keeper) -> Record:
    from fedecho.learning.experiment import run as run_experiment

    bar: tqdm[Round] | None = None

    def progress(rounds: Iterable[Round]) -> Iterable[Round]:
        nonlocal bar
        print(announcement(config, device), file=sys.stderr)  # now that all input has been found usable
        bar = tqdm(rounds, unit="round")
        return bar

    def on_row(row: Row) -> None:
        if bar is not None:
            bar.set_postfix(accuracy=f"{100 * row['accuracy']:.1f} %")

    return run_experiment(config, on_row=on_row, progress=progress, device=device, keeper=keeper)


def sweep(
    profile: str = "laptop",
    only: str | None = None,
    budget: str | None = None,
    jobs: int | None = None,
    fresh: bool = False,
    cluster: bool = False,
    data_root: Path | None = None,
    device: str = "cpu",
) -> None:
    """Train whatever a table still lacks, in parallel processes; Ctrl-C loses only the runs in progress.

    Args:
        profile: smoke, laptop or paper, or that of a block: cifar-small, language, generation.
        only: which runs: vision, tuning, a study such as controls, or all (left out: vision; with a budget or of a
            block: all).
        budget: a time such as 25m or 1h30m: the most wanted runs first, an unfinished one is kept for the next call.
        jobs: processes (left out: all cores, or one on a GPU, which several can share).
        fresh: train everything again.
        cluster: use the Ray cluster that this machine belongs to; its nodes must share the records' folder.
        data_root: folder of data sets (otherwise FEDECHO_DATA).
        device: cpu or cuda.
    """
    began = time.time()  # before anything heavy is imported: a budget counts from here
    from fedecho.learning.experiment import require_device
    from fedecho.studies import forecast, plan, profiles

    use_data(data_root)
    scale = profiles.profile(profile).name
    require(jobs is None or jobs >= 1, "jobs", jobs, "give at least 1 process")
    require_device(device)
    jobs = jobs or (None if device == "cpu" else 1)
    known = plan.trained(scale)
    only = only or ("vision" if budget is None and "vision" in known else "all")
    names = list(known) if only == "all" else [only]
    if budget is not None:
        for name, chosen in (("fresh", fresh), ("cluster", cluster)):
            require(not chosen, name, chosen, "it does not go together with a budget; leave one of them out")
        _sweep_within(budget, began, scale, names, jobs, device)
        return
    studies, trained = plan.named(names, scale), 0
    todo = plan.runs_of(studies, fresh, all_runs=True)
    said = forecast.outlook(studies, todo, scale, jobs=jobs, device=device)
    print(*said, sep="\n", file=sys.stderr)
    while any(todo.values()):  # the trials of a tuning ask for others
        trained += plan.train_all(todo, jobs, fresh, cluster, device)
        todo, fresh = plan.runs_of(studies, False, all_runs=True), False
    print(f"{only}, {profile}: {trained} runs trained, the others had records")


def _sweep_within(budget: str, began: float, scale: str, names: Sequence[str], jobs: int | None, device: str) -> None:
    from fedecho.learning.cost import peak
    from fedecho.studies import budget as budgets
    from fedecho.studies import plan as plans
    from fedecho.studies.sweep import cores

    seconds = budgets.seconds_of(budget)
    plan = budgets.plan(plans.ordered(scale, names), device)
    if plan.todo:
        budgets.require_enough(plan, seconds, device)
    print(*plan.left_out, plan.outlook(f"{scale}: "), sep="\n", file=sys.stderr)
    if plan.todo:
        print(f"each of {jobs or cores()} at a time, the first one: {peak.text(plan.todo[0].config)}", file=sys.stderr)
        plan = budgets.work_off(plan, seconds - (time.time() - began), jobs=jobs or cores(), device=device)
        print(f"{len(plan.finished)} runs finished; {plan.outlook()}")
