"""Every ablation and control as a table with its figures: what is compared, what is measured, how it is drawn.

A notebook calls `make`; `fedecho check` goes through all of them. The words are in `studies.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from fedecho import figures, output, presets, render, tables, verdicts
from fedecho.core.checks import require
from fedecho.core.files import REPOSITORY, tables_dir
from fedecho.learning.cost import work
from fedecho.presets import Cell
from fedecho.studies import ablations, catalogue, drawing, language, tabulate, wanted
from fedecho.studies.tabulate import Column, largest_of, mean_of, server_seconds, time_to

Draw = Callable[["Results"], Figure]
TARGET = 0.75
"""Accuracy whose first reaching is timed: a round number that nearly every method of the main table reaches."""
_CAPTIONS = {
    "bars": "Test accuracy in %, a panel for each setting: filled markers are means over the finished seeds with 95 % "
    "confidence intervals (Student t), hollow ones the same on the classes that only slow clients own; the vertical "
    "line is the mean of the row that the others are compared with.",
    "points": "Markers are means over the finished seeds, bars 95 % confidence intervals (Student t).",
}
"""Captions, and ends of captions, that several figures share."""


@dataclass(frozen=True)
class Study:
    """A table and its figures; the runs are those of `catalogue.STUDIES` under the same name."""

    name: str
    title: str
    notebook: str
    reference: str
    """The row that all others of a block are compared with."""
    note: str
    """What the caption has to say of this study."""
    captions: Mapping[str, str]
    """Figure -> caption."""
    draw: Mapping[str, Draw] = field(default_factory=dict)
    """Figure -> what draws it."""
    columns: tuple[Column, ...] = ()
    family: Literal["block", "table"] = "block"
    """Over which tests Holm's correction goes: those of a block, or of the whole table."""


@dataclass(frozen=True, eq=False)
class Results:
    """The runs of a study and what they gave; figures are drawn from this."""

    study: Study
    profile: str
    cells: list[Cell]
    folder: Path
    frame: pd.DataFrame
    """One row per run (`tabulate.collect`)."""
    summary: pd.DataFrame
    """One row per setting, delay and method (`tabulate.summarise`)."""


@dataclass(frozen=True, eq=False)
class StudyReport:
    """What `make` made: the runs, their summary, and the files written."""

    results: Results
    tables: dict[str, Path]
    """md, tex, csv -> file."""
    figures: dict[str, Path]
    """name -> the PNG; the PDF lies beside it."""

    @property
    def files(self) -> list[Path]:
        """The table in its three forms and the figures."""
        return [*self.tables.values(), *self.figures.values()]

    @property
    def findings(self) -> str:
        """A Markdown list with a sentence for each comparison (`verdicts.all_rows`)."""
        sentences = verdicts.all_rows(self.results.summary, self.results.study.reference)
        return "\n".join(f"* {sentence}" for sentence in sentences)


def _bars(found: Results) -> Figure:
    return figures.bars(found.summary, found.study.reference)


def _order(found: Results, column: str) -> dict[str, float]:
    return {name: float(place) for place, name in enumerate(dict.fromkeys(found.summary[column]))}


def _numbered(found: Results, column: str) -> dict[str, float]:
    """Map texts that end in a number, such as `M = 5`, to it, in rising order; others are left out."""
    parts = {str(text): str(text).rpartition("= ") for text in found.summary[column]}
    numbers = {text: float(number) for text, (head, _, number) in parts.items() if head}
    return dict(sorted(numbers.items(), key=lambda item: item[1]))


def _wide(found: Results, rows: Callable[[str], str], columns: Callable[[str], str]) -> pd.DataFrame:
    """Return the means as a map, each row of the table finding its place by its name."""
    names = found.summary["method"]
    placed = found.summary.assign(row=names.map(rows).astype(float), column=names.map(columns).astype(float))
    return placed.pivot_table(index="row", columns="column", values="mean", dropna=False)


def _alpha_bound(place: int, text: str) -> str:
    """Return alpha_min (place 0) or alpha_max (1) of `fixed 0.5` or `dynamic (0, 1)`."""
    return text.split(" ", 1)[1].strip("()").split(", ")[-1 if place else 0]


def _alpha_map(found: Results) -> Figure:
    values = _wide(found, partial(_alpha_bound, 1), partial(_alpha_bound, 0))
    return drawing.landscape(values, "alpha_min", "alpha_max", "test accuracy, %")


def _alpha_rounds(found: Results) -> Figure:
    shown = ["dynamic (0.2, 0.8)", "dynamic (0, 1)", "dynamic (0.3, 0.7)", "dynamic (0.5, 1)", "fixed 0", "fixed 1"]
    shown += ["reversed (0.2, 0.8)", "clients' entropy"]
    metrics = {"alpha": "alpha", "entropy": "normalised entropy"}
    return drawing.over_rounds(found.cells, found.folder, metrics, shown)


def _norms(found: Results) -> Figure:
    metrics = {"gradient_norm_median": "median gradient norm", "gradient_norm_max": "largest gradient norm"}
    shown = ["nu = 0.1", "nu = 1", "nu = 5", "no clipping"]
    return drawing.over_rounds(found.cells, found.folder, metrics, shown, log=True)


def _over_size(found: Results, column: str, label: str) -> Figure:
    return drawing.over_factor(
        found.summary, _numbered(found, "method"), "method", "|U|", log=True, level=("FedBuff", "FedBuff + EMA"),
        column=column, label=label,
    )  # fmt: skip


def _over_delays(found: Results) -> Figure:
    return drawing.over_factor(found.summary, _order(found, "delay"), "delay", "kind of delay", joined=False)


def _delay_curves(found: Results) -> Figure:
    """Give each kind of delay a panel, two in a row."""
    kinds = list(dict.fromkeys(cell.delay for cell in found.cells))
    return figures.vision_curves(found.cells, found.folder, "virtual_time", [("Dir(0.1)", kind) for kind in kinds])


def _over_buffers(found: Results) -> Figure:
    return drawing.over_factor(found.summary, _numbered(found, "delay"), "delay", "buffer size M", log=True)


def _over_owned(found: Results, column: str, label: str) -> Figure:
    owned = {text: float(text.split()[2]) for text in dict.fromkeys(found.summary["setting"])}
    summary = found.summary.assign(all="slow clients hold k classes and nothing else; large delays")
    text = "k, classes that slow clients own"
    return drawing.over_factor(summary, owned, "setting", text, panels="all", column=column, label=label, log=True)


def _correlation_map(found: Results) -> Figure:
    rows = list(dict.fromkeys(found.summary["setting"]))
    return drawing.difference_map(found.summary, "FedBuff + EMA", rows, ablations.TAILS, "tail of the delays")


def _steps_map(found: Results) -> Figure:
    values = _wide(found, lambda text: text.split("= ")[1].split(",")[0], lambda text: text.rsplit("= ", 1)[1])
    return drawing.landscape(values, "eta_d", "Q", "test accuracy, %")


def _curves(found: Results) -> Figure:
    return figures.vision_curves(found.cells, found.folder, "round")


def _among(texts: Sequence[str], draw: Draw) -> Draw:
    """Return `draw` for the settings of some data sets alone, as masked: those of all would not fit on a page."""

    def chosen(found: Results) -> Figure:
        cells = [cell for cell in found.cells if cell.setting.split(", ")[0] in texts]
        cells = [cell for cell in cells if not cell.setting.startswith(language.KEPT)]
        keep = found.summary["setting"].isin({cell.setting for cell in cells})
        return draw(replace(found, cells=cells, summary=found.summary[keep].reset_index(drop=True)))

    return chosen


_SERVER = Column("server, s", server_seconds)
_ALPHAS = (Column("mean alpha", mean_of("alpha")), Column("mean entropy", mean_of("entropy")))
_CLIPPING = (
    Column("clipped steps, %", mean_of("clipped", 100)),
    Column("gradient norm", mean_of("gradient_norm")),
    Column("largest norm", largest_of("gradient_norm_max")),
)
_PERPLEXITY = Column("perplexity", tabulate.perplexity)
_TEXT = (_PERPLEXITY, Column("slow clients' arrivals, %", tabulate.fact("arrivals_slow", 100)))
_REACHED = {"mean": "accuracy, %", "perplexity": "perplexity"}
_VOCABULARY = (
    _PERPLEXITY,
    Column("bits a character", tabulate.bits, 3),
    Column("entropy", mean_of("entropy"), 3),
    Column("bytes", tabulate.position_bytes, 0),
    Column("bank, MB", lambda record: work.bank_bytes(record.run_config())[1] / 1e6),
    Column("allocated, MB", lambda record: tabulate.allocated(record)[0] / 1e6),
    Column("and the sum, MB", lambda record: sum(tabulate.allocated(record)) / 1e6),
)
_BANK = (
    Column("bytes an image", lambda record: float(work.bank_bytes(record.run_config())[0]), 0),
    Column("bank, MB", lambda record: work.bank_bytes(record.run_config())[1] / 1e6),
)
_MEASURED: dict[str, tuple[Column, ...]] = {
    "ablation_alpha": _ALPHAS,
    "ablation_nu": _CLIPPING,
    "ablation_data_size": (_SERVER,),
    "bank": _BANK,
    "generation": _TEXT,
    "generation_pools": _TEXT,
    "bank_vocabulary": _VOCABULARY,
    "ablation_delay": (Column(f"time to {100 * TARGET:g} %, s", time_to(TARGET), 0),),
}
_DRAWN: dict[str, dict[str, Draw]] = {
    "unlabeled": {"bars": _bars},
    "ablation_alpha": {"bars": _bars, "rounds": _alpha_rounds},
    "alpha_landscape": {"map": _alpha_map},
    "ablation_nu": {"bars": _bars, "norms": _norms},
    "ablation_data_size": {
        "accuracy": partial(_over_size, column="mean", label="test accuracy, %"),
        "seconds": partial(_over_size, column=_SERVER.name, label="server seconds per run"),
    },
    "ablation_delay": {"accuracy": _over_delays, "curves_time": _delay_curves},
    "heterogeneity_buffer": {"accuracy": _over_buffers},
    "bank": {"bars": _bars},
    "controls": {"bars": _bars},
    "owners": {
        "classes": partial(_over_owned, column="straggler_mean", label="accuracy on those classes, %"),
        "accuracy": partial(_over_owned, column="mean", label="test accuracy, %"),
    },
    "correlation": {"map": _correlation_map},
    "sensitivity": {"map": _steps_map},
    "readings": {"bars": _bars},
    "cifar_small": {"bars": _bars, "curves_rounds": _curves},
    "language": {
        "bars": _among((language.AUSTEN,), _bars),
        "others": _among(tuple(language.OTHERS), _bars),
        "curves_rounds": _among((language.AUSTEN,), _curves),
    },
    "language_pools": {"bars": _bars},
    "generation": {"bars": _bars, "curves_rounds": _curves},
    "generation_pools": {"bars": _bars},
    "bank_vocabulary": {"bytes": lambda found: drawing.against_bytes(found.summary, found.study.reference, _REACHED)},
}
_OVER_TABLE = ("alpha_landscape", "correlation", "sensitivity")


def _read() -> dict[str, Study]:
    """Join the words of `studies.toml` with what draws and measures."""
    words = tomllib.loads(Path(__file__).with_name("studies.toml").read_text(encoding="utf-8"))
    return {name: _study(name, entry) for name, entry in words.items()}


def _study(name: str, entry: dict[str, Any]) -> Study:
    captions = {figure: _caption(text.strip()) for figure, text in entry.pop("figures").items()}
    return Study(
        name, **{key: text.strip() for key, text in entry.items()}, captions=captions, draw=_DRAWN.get(name, {}),
        columns=_MEASURED.get(name, ()), family="table" if name in _OVER_TABLE else "block",
    )  # fmt: skip


def _caption(text: str) -> str:
    *start, end = text.rsplit(" ", 1)
    return " ".join([*start, _CAPTIONS.get(end, end)])


STUDIES = _read()
NAMES = tuple(_DRAWN)
"""The studies that `make` makes."""


def sets_of(stem: str) -> list[str]:
    """Return the sets of runs (`wanted.SETS`) behind a notebook."""
    alone = {
        "02_tuning": ["tuning"], "10_table_vision": ["vision"], "11_table_language": ["language_tuning"],
        "13_table_generation": ["generation_tuning"], "14_table_cifar": ["cifar_tuning"],
    }  # fmt: skip
    return alone.get(stem, []) + [name for name in NAMES if STUDIES[name].notebook == stem]


def results(name: str, profile: str) -> Results:
    """Return what the records say of a study; nothing is run. Raises `InputError` for an unknown study."""
    require(name in NAMES, "study", name, f"choose one of {', '.join(NAMES)}")
    study, cells, folder = STUDIES[name], catalogue.cells(name, profile), wanted.folder(name, profile)
    frame = tabulate.collect(cells, folder, study.columns)
    summary = tabulate.summarise(frame, study.reference, study.columns, study.family)
    return Results(study, profile, cells, folder, frame, summary)


def make(name: str, profile: str = "laptop", jobs: int | None = None, fresh: bool = False) -> StudyReport:
    """Make a study's table and figures; `jobs` processes run what is missing (if `fresh`, all that is its own)."""
    require(name in NAMES, "study", name, f"choose one of {', '.join(NAMES)}")
    wanted.train(name, presets.whole(profile).name, jobs, fresh)
    found = results(name, profile)
    shown = tabulate.display(found.summary, found.study.reference, found.study.columns)
    return _written(found, shown, tables.best_of_block(found.summary))


def make_gaps(profile: str = "laptop") -> StudyReport:
    """Make the table of what large delays cost, from the records of `ablation_delay`."""
    found, study = results("ablation_delay", profile), STUDIES["delay_gap"]
    summary = tabulate.gaps(found.frame, study.reference, (ablations.NO_DELAY, "mild"), "large")
    reported = pd.read_csv(REPOSITORY / "paper" / "reported" / "delay_gap.csv").set_index("method")["value"]
    shown = tabulate.gaps_display(summary, study.reference, reported)
    study = replace(study, draw={"dots": lambda results: drawing.gap_dots(results.summary)})
    return _written(replace(found, study=study, summary=summary), shown, [False] * len(shown))


def _words(found: Results) -> str:
    scale = wanted.scale(found.study.name, found.profile)
    return tabulate.caption(found.frame, scale, found.study)


def _written(found: Results, shown: pd.DataFrame, bold: Sequence[bool]) -> StudyReport:
    """Write a study's table (`bold` marks rows), figures and manifest."""
    study, record_set = found.study, tables.record_set_hash(found.frame)
    stem, text = tables_dir(found.profile) / study.name, _words(found)
    render.write(shown, list(bold), found.summary, stem, study.title, text)
    drawn = {name: draw(found) for name, draw in study.draw.items()}
    pictures = output.finish(
        found.frame, record_set, drawn, study.captions, name=study.name, title=study.title, caption=text,
        profile=found.profile, notebook=study.notebook,
    )  # fmt: skip
    return StudyReport(found, output.table_files(stem), pictures)
