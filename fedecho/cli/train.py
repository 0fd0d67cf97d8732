"""The commands that train: one run, and everything that a table lacks."""

from __future__ import annotations

import ast
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedecho.core import files, numerics, processes
from fedecho.core.checks import require, require_jobs
from fedecho.core.config import LORA, RunConfig
from fedecho.core.files import own_dir, records_dir, use_data
from fedecho.core.own import is_named
from fedecho.core.records import Record, find, load, progress_path, record_path, require_usable, save
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
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # of nested or unhashable ones
        return text


def values_of(assignments: Sequence[str]) -> dict[str, Any]:
    """Read `field=value`, e.g. `method.distill.lr=0.1`, several times; raises `InputError` for a field given twice."""
    values = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        require(bool(equals), "set", assignment, "write field=value, e.g. method.distill.lr=0.1")
        require(path not in values, "set", assignment, f"{path} is given twice; give it once")
        values[path] = literal(text)
    return values


def tell(words: str | None) -> None:
    """Say something beside the outcome, if there is anything to say."""
    if words is not None:
        print(f"fedecho: {words}", file=sys.stderr)


def run(
    method: str = "fedecho",
    profile: str = "laptop",
    seed: int = 0,
    set: tuple[str, ...] = (),
    plugin: tuple[Path, ...] = (),
    fresh: bool = False,
    save_model: Path | None = None,
    records: Path | None = None,
    data_root: Path | None = None,
    device: str = "cpu",
    force: bool = False,
) -> None:
    """Train one model, with a progress bar, and keep its record in `runs/`, apart from those of the tables.

    Args:
        method: fedavg, fedasync, fedbuff, ca2fl, fadas, fedac, fedstaleasync, area, adamasfl or fedecho, or a row of
            the main table such as "FedBuff + EMA".
        profile: smoke, laptop or paper.
        seed: whole number >= 0.
        set: changes to the run's config, as field=value, e.g. local.lr=0.05 method.distill.clip_norm=none; your
            own parts are data.name=arrays.npz, model=module:function, delays.model=function and
            delays.function=module:function.
        plugin: files with your own methods, which are imported.
        fresh: train even if there is a record.
        save_model: a file .safetensors for the weights that are scored last; trains even if there is a record.
        records: folder of the record (otherwise paper/records/PROFILE/runs of the clone, or of FEDECHO_HOME, or of the
            working directory; where anything is your own, build/own/PROFILE there).
        data_root: folder of data sets (otherwise FEDECHO_DATA).
        device: cpu or cuda.
        force: train even where the predicted memory is not free.
    """
    from fedecho.learning import export, plugins
    from fedecho.learning.experiment import require_device
    from fedecho.studies import contenders

    use_data(data_root)
    require_device(device)
    plugins.load_all(plugin)
    config = contenders.configure(method, profile, seed, values_of(set))
    committed = [own_dir(profile)] if config.is_own else [records_dir(profile), records_dir(profile) / "runs"]
    known = [records] if records else committed
    places = [numerics.place(place, config) for place in known]
    for place in places:
        require_usable(place)
    if save_model is not None:
        export.require_writable(save_model)
    tell(numerics.warning(numerics.of(config.method)))
    there = [place for place in places if find(place, config) is not None]  # a run of a table has its record there
    path = record_path(there[0] if there else places[-1], config)
    if there and not fresh and save_model is None:
        record = load(path)
        tell(f"from {record.origin}; `--fresh` trains")
    else:
        path = record_path(places[-1], config)
        record = _trained(config, device, path, fresh, save_model, force)
    print(f"{method}, {profile}, seed {seed}: {outcome(record)}\nrecord: {path}")
    if save_model is not None:
        print(f"model: {save_model}")
    print(f"next: fedecho show {path}")


def _require_room(config: RunConfig, device: str) -> None:
    from fedecho.learning.cost import peak

    if device == "cpu" and not _is_unknown(config.model):
        peak.require_room(config)


def _is_unknown(model: str) -> bool:
    """Tell whether a model is the user's own, some of which cannot be traced."""
    return is_named(model) and not model.startswith(LORA)


def outcome(record: Record) -> str:
    """Say how a run ended."""
    if record.score is None:
        return "diverged"
    last = min(len(record.rows), record.run_config().evaluation.scored)
    return f"score {100 * record.score:.2f} % (mean of the last {last} evaluations)"


def _trained(config: RunConfig, device: str, path: Path, fresh: bool, model: Path | None, force: bool) -> Record:
    """Train a run, from where it was left unless `fresh`, and write its record and, where wanted, its model."""
    from fedecho.learning import export
    from fedecho.learning.resume import Keeper, Paused

    files.sweep_up(path.parent, deep=False)  # it may be any folder of the user's
    keeper = Keeper(progress_path(path.parent, config))
    if fresh:
        keeper.forget()
    with processes.softly():  # asked to end, it first keeps the round that it is in
        try:
            record = _train(config, device, keeper, model is not None, force)
        except Paused:
            raise processes.Stopped(processes.asked() or signal.SIGTERM) from None
    save(record, path)
    keeper.forget()
    if model is not None:
        export.save(record, model)
    return record


def tune(
    method: str = "fedecho",
    profile: str = "laptop",
    space: tuple[str, ...] = (),
    set: tuple[str, ...] = (),
    plugin: tuple[Path, ...] = (),
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
        plugin: files with your own methods, which are imported.
        trials: points over the whole space.
        refinements: how often 4 more are laid around the best.
        seeds: of each trial; none that a table reports.
        jobs: processes (left out: all cores).
        fresh: train everything again.
        data_root: folder of data sets (otherwise FEDECHO_DATA).
    """
    from fedecho.learning import plugins
    from fedecho.studies import contenders, writing
    from fedecho.studies.tuning import tuning_of

    use_data(data_root)
    plugins.load_all(plugin)
    require_jobs(jobs)
    ends = [_ends(text) for text in space]
    for path, _ in ends:
        require([known for known, _ in ends].count(path) == 1, "space", path, "it is given twice; give each field once")
    contender = contenders.contender_of(method, dict(ends))
    tuned = tuning_of(contender, profile, changes=values_of(set), count=trials, refinements=refinements, seeds=seeds)
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
    if _is_unknown(config.model):
        return f"what {config.model} costs is not predicted"
    from fedecho.learning.cost import duration, peak

    rates = duration.Rates(device)
    about = f"about {duration.text(rates.seconds(config))} on {device} if it does {rates.prior:.0e} FLOP/s"
    return f"{about}; {peak.text(config)}"


def _train(config: RunConfig, device: str, keeper: Keeper, keep_model: bool, force: bool) -> Record:
    from fedecho.learning.bar import Bar
    from fedecho.learning.experiment import run as run_experiment

    bar = Bar()

    def progress(rounds: Iterable[Round]) -> Iterable[Round]:
        # Now that all input has been found usable.
        if not force:
            _require_room(config, device)
        print(announcement(config, device), file=sys.stderr)
        return bar.rounds(rounds)

    return run_experiment(
        config, on_row=bar.row, progress=progress, device=device, keeper=keeper, keep_model=keep_model
    )


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
    require_jobs(jobs)
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
    tell(numerics.warning(part for study in studies for part in study.parts()))
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
    tell(numerics.warning(part for study in plans.named(names, scale) for part in study.parts()))
    plan = budgets.plan(plans.ordered(scale, names), device)
    if plan.todo:
        budgets.require_enough(plan, seconds, device)
    print(*plan.left_out, plan.outlook(f"{scale}: "), sep="\n", file=sys.stderr)
    if plan.todo:
        print(f"each of {jobs or cores()} at a time, the first one: {peak.text(plan.todo[0].config)}", file=sys.stderr)
        plan = budgets.work_off(plan, seconds - (time.time() - began), jobs=jobs or cores(), device=device)
        print(f"{len(plan.finished)} runs finished; {plan.outlook()}")
