"""Makes the tables and figures of the server's cost: measures what is missing, predicts the rest, writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fedecho import cost, output
from fedecho.core.checks import require
from fedecho.core.files import tables_dir
from fedecho.cost import drawing, tabulate

NOTEBOOK = "25_server_cost"
_LINES = "Dots: measured; lines: predicted, from the profile's own point (vertical line) alone; both axes logarithmic."
_FIGURES = {
    "seconds": f"Milliseconds a round of FedEcho's server by phase, a panel per factor. {_LINES}",
    "bytes": "MB that FedEcho's server holds at its peak, a panel per factor: the bank (state), the versions in flight "
    f"(checkpoints; the line is a bound) and the uploads of a round. {_LINES}",
    "methods": "Milliseconds a round (above) and MB beside checkpoints (below) of every method's server, a column per "
    "factor. Dots: measured; lines: predicted; both axes logarithmic.",
}


@dataclass(frozen=True, eq=False)
class CostReport:
    """The study: what was measured and predicted, what it says, and the files written."""

    frame: pd.DataFrame
    """One row per point (`cost.frame`)."""
    sentences: list[str]
    tables: dict[str, Path]
    """Name of a table -> its Markdown; .tex and .csv lie beside it."""
    figures: dict[str, Path]
    """seconds, bytes, methods -> the PNG; the PDF lies beside it."""


def report(profile: str = "laptop", fresh: bool = False) -> CostReport:
    """Make the study at a profile's scale; the servers are measured, one after the other, if missing or `fresh`."""
    cost.measured(profile, fresh)
    return write(profile)


def write(profile: str) -> CostReport:
    """Write tables and figures from what is stored; raises `InputError` where nothing is measured yet."""
    measurement = cost.stored(profile)
    require(measurement is not None, "cost", profile, "nothing is measured yet; run `fedecho tables --only cost`")
    assert measurement is not None
    frame, stem = cost.frame(profile, measurement), tables_dir(profile) / "server_cost"
    written, record_set = tabulate.write(frame, measurement, profile, stem), cost.digest(measurement)
    pictures: dict[str, Path] = {}
    for name, (title, caption) in written.items():  # the figures belong to the first table
        drawn = drawing.all_figures(frame) if name == stem.name else {}
        pictures |= output.finish(
            frame, record_set, drawn, _FIGURES, name=name, title=title, caption=caption, profile=profile,
            notebook=NOTEBOOK,
        )  # fmt: skip
    return CostReport(
        frame,
        tabulate.sentences(frame, profile),
        {name: stem.with_name(f"{name}.md") for name in written},
        pictures,
    )
