"""The commands about records of single runs: what one of them was, and several side by side."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import tyro

from fedecho.cli.words import OptionalProfile, outcome, require_read, values_of
from fedecho.core.checks import require, require_jobs
from fedecho.core.files import build, paper, use_data
from fedecho.core.records import Record, load


def show(record: tyro.conf.Positional[str], plot: Path | None = None, plugin: tuple[Path, ...] = ()) -> None:
    """Print a run's settings and its result, with its accuracy curve in the terminal or, with --plot, in a file.

    Args:
        record: its file, or the first digits of its hash.
        plot: a file to draw the curve to: .png, .pdf or .svg.
        plugin: files with your own methods, where the run needs one.
    """
    from fedecho.learning import plugins
    from fedecho.studies import compare as comparing

    plugins.load_all(plugin)
    found = read(record)
    if plot is not None:
        kinds = (".png", ".pdf", ".svg")
        require(plot.suffix in kinds, "plot", str(plot), f"give a file that ends in {', '.join(kinds)}")
        require(plot.resolve().parent.is_dir(), "plot", str(plot), "its folder must be there")
    config = found.run_config()
    print(*described(found), sep="\n")
    if plot is None:
        print(*chart([row["round"] for row in found.rows], [100 * row["accuracy"] for row in found.rows]), sep="\n")
        return
    from fedecho.report import curves, figures

    with figures.style():
        curves.curves([(comparing.cell_of(config), found)]).savefig(plot)
    print(f"figure: {plot}")


def read(word: str) -> Record:
    """Return a record by its file or the first digits of its hash; raises `InputError` for a word that is neither."""
    if Path(word).is_file():
        return load(Path(word))
    homes = (paper() / "records", build("own"))
    hashed = len(word) >= 4 and word.isalnum()
    found = [path for home in homes for path in sorted(home.rglob(f"*-{word}*.json"))] if hashed else []
    allowed = "there is no such file; give one, or the first 4 digits or more of its hash, which `fedecho run` prints"
    if found:
        allowed = f"{len(found)} hashes begin so; give more digits, or a file such as {found[0]}"
    require(len(found) == 1, "record", word, allowed)
    return load(found[0])


def described(record: Record) -> list[str]:
    """Return lines that say what a run was and what came out."""
    from fedecho.studies.compare import cell_of, flat

    config, seconds = record.run_config(), sum(record.seconds.values())
    cell = cell_of(config)
    last = record.rows[-1] if record.rows else {"round": 0, "arrivals": 0, "virtual_time": 0.0}
    own = {path: value for path, value in flat(record.config).items() if path not in ("seed", "method.method")}
    return [
        f"{cell.method} on {config.data.name}, {cell.setting}, {cell.delay} delays, seed {config.seed}",
        *(f"  {path} = {value}" for path, value in own.items()),
        outcome(record),
        f"{last['round']} rounds, {last['arrivals']} arrivals, {last['virtual_time']:,.0f} s of virtual time",
        f"{record.origin}, {seconds:,.0f} s of work",
    ]


def chart(x: Sequence[float], y: Sequence[float], width: int = 60, height: int = 10) -> list[str]:
    """Return points as lines of text: y (percent) upwards between its ends, rounds to the right from 0."""
    if not x:
        return ["no evaluation was reached"]
    low, high = min(y), max(y)
    lines = [[" "] * width for _ in range(height)]
    for at, value in zip(x, y, strict=True):
        row = round((height - 1) * (value - low) / (high - low)) if high > low else 0
        lines[height - 1 - row][round((width - 1) * at / max(x))] = "•"
    marks = [f"{high:6.1f} %", *[" " * 8] * (height - 2), f"{low:6.1f} %"]
    drawn = [f"{mark} │{''.join(line).rstrip()}" for mark, line in zip(marks, lines, strict=True)]
    return [*drawn, f"{' ' * 9}└{'─' * width}", f"{' ' * 10}0{f'{max(x):g} rounds':>{width - 1}}"]


def compare(
    records: tyro.conf.Positional[tuple[str, ...]] = (),
    methods: tuple[str, ...] = (),
    set: tuple[str, ...] = (),
    plugin: tuple[Path, ...] = (),
    seeds: tuple[int, ...] = (),
    profile: OptionalProfile = None,
    jobs: int | None = None,
    fresh: bool = False,
    data_root: Path | None = None,
    force: bool = False,
) -> None:
    """Compare runs, given as records or as methods; methods are trained where records are missing.

    Writes a table with confidence intervals, paired tests and a figure to build/custom.

    Args:
        records: files, or the first digits of their hashes.
        methods: instead of records, methods or rows of the main table such as "FedBuff + EMA".
        set: changes to the config of every method, as field=value.
        plugin: files with your own methods; they are imported.
        seeds: seeds of each method (if omitted: those of the profile).
        jobs: number of processes (if omitted: all cores).
        fresh: train every run again.
        data_root: folder of data sets (if omitted: FEDECHO_DATA).
        force: train even if the predicted memory is not free.
    """
    from fedecho.learning import plugins
    from fedecho.studies import compare as comparing, contenders, profiles, sweep, writing

    use_data(data_root)
    plugins.load_all(plugin)
    require(bool(records) != bool(methods), "compare", (*records, *methods), "give records, or --methods, not both")
    require_jobs(jobs)
    if records:
        others = {"set": set, "seeds": seeds, "profile": profile, "fresh": fresh, "jobs": jobs, "force": force}
        for name, value in others.items():
            require(not value, name, value, "records are compared as they are; leave it out")
        made = comparing.compared([read(word) for word in records])
    else:
        scale = profile or "laptop"
        changes = values_of(set)
        configs = {
            contenders.contender_of(name, {}).label: contenders.configure(name, scale, 0, changes) for name in methods
        }
        require_read(changes, list(configs.values()))
        require(len(configs) == len(methods), "methods", methods, "one is given twice; give each once")
        require(len(methods) > 1, "methods", methods, "give at least two")
        chosen = seeds or profiles.profile(scale).seeds
        lists = {"methods": methods, "set": set, "plugin": plugin, "profile": [scale], "seeds": chosen}
        words = [word for name, given in lists.items() if given for word in (f"--{name}", *map(str, given))]
        command = shlex.join(["fedecho", "compare", *words])
        study = comparing.of_configs(configs, chosen, scale, command)
        if not force:
            sweep.require_room(study.trainable(fresh), jobs)
        made = writing.make(study, jobs, fresh)
    print(made.text, f"table: {made.tables['md']}", *(f"figure: {path}" for path in made.figures.values()), sep="\n")
