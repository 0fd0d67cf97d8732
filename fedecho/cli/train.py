"""The commands that train one method: a run, and the search for its rates."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from fedecho.cli.words import Profile, literal, outcome, require_read, tell, values_of
from fedecho.core import files, numerics, processes
from fedecho.core.checks import InputError, require, require_jobs
from fedecho.core.config import RunConfig
from fedecho.core.files import build, records_dir, use_data
from fedecho.core.records import Record, find, load, progress_path, record_path, save
from fedecho.learning.bar import Bar, saying
from fedecho.simulation.schedule import Round


def run(
    method: str = "fedecho",
    profile: Profile = "laptop",
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
    """Train one model with a progress bar and save its record apart from those of the tables.

    Args:
        method: fedavg, fedasync, fedbuff, ca2fl, fadas, fedac, fedstaleasync, area, adamasfl or fedecho, or a row of
            the main table such as "FedBuff + EMA".
        seed: whole number >= 0.
        set: changes to the run's config, as field=value, e.g. partition.alpha=0.3 delays.model=mild local.lr=0.05
            method.distill.clip_norm=none (a wrong name lists the fields); for your own data, model or delays:
            data.name=arrays.npz, model=module:function, or delays.model=function with
            delays.function=module:function.
        plugin: files with your own methods; they are imported.
        fresh: train even if there is a record.
        save_model: .safetensors file for the last scored weights; trains even if there is a record.
        records: folder of the record (if omitted: paper/records/PROFILE/runs, or build/own/PROFILE if any part is your
            own, in FEDECHO_HOME, else in the clone, else in the working directory).
        data_root: folder of data sets (if omitted: FEDECHO_DATA).
        device: cpu or cuda.
        force: train even if the predicted memory is not free.
    """
    from fedecho.core.provenance import require_device
    from fedecho.learning import export, plugins
    from fedecho.studies import contenders
    from fedecho.studies.changes import dotted

    use_data(data_root)
    require_device(device)
    plugins.load_all(plugin)
    changes = values_of(set)
    config = contenders.configure(method, profile, seed, changes)
    require_read(changes, [config])
    places = _places(config, profile, records)
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
        with dotted(config, changes):
            record = _trained(config, device, path, fresh, save_model, force)
    print(f"{method}, {profile}, seed {config.seed}: {outcome(record)}\nrecord: {path}")
    if save_model is not None:
        print(f"model: {save_model}")
    print(f"next: fedecho show {path}")


def _places(config: RunConfig, profile: str, records: Path | None) -> list[Path]:
    """Return the folders that may hold a run's record, the one for new records last; `InputError` for a bad one."""
    committed = [build("own", profile)] if config.is_own else [records_dir(profile), records_dir(profile) / "runs"]
    places = [numerics.place(place, config) for place in ([records] if records else committed)]
    for place in places:
        files.require_folder(place, "records", files.WRITABLE)
    return places


def _trained(config: RunConfig, device: str, path: Path, fresh: bool, model: Path | None, force: bool) -> Record:
    """Train a run, resuming it unless `fresh`; write its record and, if `model` is given, its weights."""
    from fedecho.learning import experiment, export
    from fedecho.learning.cost import room
    from fedecho.learning.resume import Keeper, Paused

    files.sweep_up(path.parent, deep=False)  # it may be any folder of the user's
    keeper, bar, keep = Keeper(progress_path(path.parent, config)), Bar(), model is not None
    if fresh:
        keeper.forget()

    def progress(rounds: Iterable[Round]) -> Iterable[Round]:
        prepared()
        if not force:  # now that all input has been found usable
            room.require_room([config], device=device)
        print(announcement(config, device), file=sys.stderr)
        return bar.rounds(rounds)

    what = "making ready: the data, the clients' shares of them, the schedule, the model"
    with processes.softly(), saying(what) as prepared:  # on a signal to end, it first saves the round in progress
        try:
            record = experiment.run(
                config, on_row=bar.row, progress=progress, device=device, keeper=keeper, keep_model=keep
            )
        except Paused:
            raise processes.Stopped(processes.asked() or signal.SIGTERM) from None
        except InputError as error:
            if error.field == "memory":  # what is predicted says by how much, and what would fit
                room.require_room([config], device=device)
            raise
    save(record, path)
    keeper.forget()
    if model is not None:
        export.save(record, model)
    return record


def tune(
    method: str = "fedecho",
    profile: Profile = "laptop",
    space: tuple[str, ...] = (),
    set: tuple[str, ...] = (),
    plugin: tuple[Path, ...] = (),
    trials: int = 12,
    refinements: int = 1,
    seeds: tuple[int, ...] = (1000, 1001),
    jobs: int | None = None,
    fresh: bool = False,
    data_root: Path | None = None,
    force: bool = False,
) -> None:
    """Tune a method like those of the tables: on the validation split, never on their seeds or test images.

    Args:
        method: a method's name, or a row of the main table such as "CA2FL (tuned eta)".
        space: one to three fields with their bounds, e.g. local.lr=0.01:0.5, searched on a log scale (if omitted: the
            search space of the table's row).
        set: changes to the config of every run, as field=value.
        plugin: files with your own methods; they are imported.
        trials: number of points over the whole space.
        refinements: number of times that 4 more points are tried around the best one.
        seeds: seeds of each trial; none that a table reports.
        jobs: number of processes (if omitted: all cores).
        fresh: train everything again.
        data_root: folder of data sets (if omitted: FEDECHO_DATA).
        force: train even if the predicted memory is not free.
    """
    from fedecho.learning import plugins
    from fedecho.studies import contenders, sweep, writing
    from fedecho.studies.tuning import tuning_of

    use_data(data_root)
    plugins.load_all(plugin)
    require_jobs(jobs)
    ends = [_ends(text) for text in space]
    for path, _ in ends:
        require([known for known, _ in ends].count(path) == 1, "space", path, "it is given twice; give each field once")
    contender = contenders.contender_of(method, dict(ends))
    changes = values_of(set)
    tuned = tuning_of(contender, profile, changes=changes, count=trials, refinements=refinements, seeds=seeds)
    require_read(changes, tuned.configs)
    if not force:
        sweep.require_room(tuned.trainable(fresh), jobs)
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

    if not peak.is_known(config.model):
        return f"what {config.model} costs is not predicted"
    rates = duration.Rates(device)
    about = f"about {duration.text(rates.seconds(config))} on {device} if it does {rates.prior:.0e} FLOP/s"
    return f"{about}; {peak.text(config)}"
