"""Makes a table with its figures: runs what has no record yet, collects, writes. Notebooks and commands call these."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fedecho import figures, output, presets, tables
from fedecho.core import files, records
from fedecho.core.config import RunConfig
from fedecho.core.files import records_dir, tables_dir, tuning_dir
from fedecho.core.records import Record
from fedecho.learning import experiment
from fedecho.presets import REFERENCE, Cell, Trial
from fedecho.simulation.schedule import Round
from fedecho.studies import wanted
from fedecho.tables import caveat as caveat

_VISION_FIGURES = {
    "bars": "Test accuracy in %, a panel for each setting (down) and kind of delay (across): filled markers are means "
    "over the finished seeds with 95 % confidence intervals (Student t), hollow ones the same on the classes that only "
    f"slow clients own; the vertical line is the mean of {REFERENCE}.",
    "curves_time": "Test accuracy in % against virtual time in seconds, as evaluated, not smoothed: mean over the "
    "finished seeds; bands are 95 % confidence intervals, drawn for three methods. A panel ends with the longest "
    "asynchronous curve; above it stands what synchronous FedAvg reaches and when.",
    "curves_rounds": "Test accuracy in % against server rounds, as evaluated, not smoothed: mean over the finished "
    "seeds; bands are 95 % confidence intervals, drawn for three methods.",
}
_TUNING_FIGURES = {
    "trials": "Validation accuracy in %, mean over the finished runs of a trial, against the local learning rate (log "
    "scale), a panel for each method; colour: its second hyper-parameter (log scale). Ring: the chosen trial; a cross "
    "at the bottom: a run of this trial diverged.",
}


@dataclass(frozen=True, eq=False)
class VisionReport:
    """The main table: its runs, what they gave, and the files written."""

    cells: list[Cell]
    records: Path
    frame: pd.DataFrame
    """One row per run (`tables.collect`)."""
    summary: pd.DataFrame
    """One row per setting, delay and method (`tables.vision_summary`)."""
    tables: dict[str, Path]
    """md, tex, csv -> file."""
    figures: dict[str, Path]
    """bars, curves over virtual time and over rounds -> the PNG; the PDF lies beside it."""


@dataclass(frozen=True, eq=False)
class TuningReport:
    """The tuning: its trials, what they gave, what was chosen, and the files written."""

    trials: list[Trial]
    records: Path
    summary: pd.DataFrame
    """One row per contender and trial (`tables.tuning_summary`)."""
    chosen: dict[str, dict[str, float]]
    """Contender -> dotted field -> value."""
    tables: dict[str, Path]
    figures: dict[str, Path]


def record_of(
    config: RunConfig, folder: Path, fresh: bool = False, progress: Callable[[Iterable[Round]], Iterable[Round]] = iter
) -> Record:
    """Return the record of one run from `folder`, after training it here if it is missing or `fresh` is wanted."""
    found = None if fresh else records.find(folder, config)
    if found is None:
        found = experiment.run(config, progress=progress)
        records.save(found, records.record_path(folder, config))
    return found


def vision(profile: str = "laptop", jobs: int | None = None, fresh: bool = False) -> VisionReport:
    """Make the main table at a profile's scale; `jobs` processes run what is missing, or everything if `fresh`."""
    wanted.train("vision", profile, jobs, fresh)
    cells, folder = presets.vision_table(profile), records_dir(profile)
    frame = tables.collect(cells, folder)
    summary = tables.vision_summary(frame, tables.reported(files.REPOSITORY / "paper" / "reported" / "vision.csv"))
    stem = tables_dir(profile) / "vision"
    title, caption = "Vision: accuracy after equal work", tables.vision_caption(frame, profile)
    tables.write_table(summary, stem, title, caption)
    tables.write_compact(summary, stem.with_name("vision_compact.md"), tables.compact_caption(frame))
    drawn = {
        "bars": figures.bars(summary),
        "curves_time": figures.vision_curves(cells, folder, "virtual_time"),
        "curves_rounds": figures.vision_curves(cells, folder, "round"),
    }
    pictures = output.finish(
        frame, tables.record_set_hash(frame), drawn, _VISION_FIGURES, name="vision", title=title, caption=caption,
        profile=profile, notebook="10_table_vision", beside=["vision_compact.md"],
    )  # fmt: skip
    return VisionReport(cells, folder, frame, summary, output.table_files(stem), pictures)


_TUNING_TITLES = {
    "tuning": ("Tuning on the validation split", "02_tuning"),
    "generation_tuning": ("Tuning of the generative task", "13_table_generation"),
    "language_tuning": ("Tuning of the language block", "11_table_language"),
    "cifar_tuning": ("Tuning of the reduced CIFAR-10 block", "14_table_cifar"),
}


def tuning(profile: str = "laptop", jobs: int | None = None, fresh: bool = False, name: str = "tuning") -> TuningReport:
    """Make a table of a tuning, one of `wanted.TUNINGS`: every trial, and what each method does best with."""
    wanted.train(name, profile, jobs, fresh)
    scale = wanted.scale(name, profile)
    trials, folder = presets.tuning(scale), tuning_dir(scale)
    summary, frame = tables.tuning_summary(trials, folder), tables.collect_trials(trials, folder)
    stem, (title, notebook) = tables_dir(profile) / name, _TUNING_TITLES[name]
    caption = tables.tuning_caption(frame, scale)
    tables.write_tuning(summary, stem, title, caption)
    drawn = {"trials": figures.tuning_figure(trials, folder)}
    pictures = output.finish(
        frame, tables.record_set_hash(frame), drawn, _TUNING_FIGURES, name=name, title=title, caption=caption,
        profile=profile, notebook=notebook,
    )  # fmt: skip
    chosen = tables.best_values(trials, folder)
    return TuningReport(trials, folder, summary, chosen, output.table_files(stem), pictures)


def tuned_verdict(report: TuningReport, profile: str) -> str:
    """Say whether the values that the tables use are those that this tuning chose; `profile`: of the trials."""
    if profile.endswith("smoke"):
        return "This profile borrows the values of a larger one from `presets.TUNED`; what it chose here is not used."
    used = presets.TUNED.get(profile, {})
    wrong = [label for label, values in report.chosen.items() if used.get(label) != values]
    missing = [label for label in presets.contenders(profile) if label not in report.chosen]
    if missing:
        return f"The tuning is not complete: nothing is chosen yet for {', '.join(missing)}."
    return f"`presets.TUNED` differs for {', '.join(wrong)}." if wrong else "`presets.TUNED` equals the chosen values."


def at_edge(report: TuningReport, profile: str) -> list[str]:
    """Name the values chosen at the edge of what was tried."""
    return presets.at_edge(report.chosen, presets.TUNING_TRIALS[profile], profile)
