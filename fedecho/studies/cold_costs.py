"""40: how long does each table take from scratch?"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fedecho.core.files import json_sha256
from fedecho.core.records import Record
from fedecho.report import captions, figures as kit
from fedecho.report.captions import NOTHING
from fedecho.report.summary import NOT_RUN
from fedecho.studies.study import TABLES, Study, Table, table
from fedecho.theory.records import TheoryRecord

PARTS = {
    "clients": ("local",), "server": ("aggregation", "inference", "bank", "distillation"),
    "evaluation": ("evaluation",), "theory": ("simulation",),
}  # fmt: skip
"""What a bar is made of -> the phases of a record."""
TOTAL = "in all"
PICTURE = "Minutes of one core for the runs that are each table's own, by what they are spent on."


@table
def cold_costs(profile: str = "laptop") -> Study:
    """Return the table: the recorded minutes of every other table."""
    return ColdCosts(
        name="cold_costs", title="What each table costs from scratch", notebook="40_cold_costs", profile=profile,
        note="Minutes of one core that the runs of each table took, as recorded, diverged ones included. "
        "Own runs: those that no table above has; the total counts each run once. Not recorded: timings of a server, "
        "which are measurements themselves.",
        details="Training runs are timed by the wall clock of their process, theory by processor time; start-up and "
        "loading of data are not timed. Records come from machines of different speed under varying load, mostly "
        "with two runs side by side. A run without a record counts as zero; the cell says how many were measured.",
    )  # fmt: skip


class ColdCosts(Study):
    """What the records of all other tables say of the time that they took."""

    def train(self, jobs: int | None = None, fresh: bool = False) -> None:
        """Do nothing: it reads what others made."""

    def lacking(self, fresh: bool = False) -> Sequence[Hashable]:
        """Return nothing: what has no record is other tables'."""
        return ()

    def table(self) -> Table:
        """Return the table with its figure."""
        records: dict[Path, Record | TheoryRecord | None] = {}
        numbers = total(pd.DataFrame([*self._rows(records)]))
        made = [record for record in records.values() if record]
        frame = pd.DataFrame(map(_provenance, made), columns=["hash", "commit", "dirty", "cpu"])
        name = json_sha256(sorted((record.hash, sum(record.phases.values())) for record in made))[:12]
        texts = pd.DataFrame([_texts(row) for row in numbers.to_dict("records")]).set_index(["profile", "table"])
        text = f"{machines(frame, name)} {captions.caveat(self.profile)}".strip()
        bold = (numbers["profile"] == TOTAL).tolist()
        return Table(frame, texts, numbers, text, {"bars": (draw(numbers), PICTURE)}, bold, name)

    def _rows(self, seen: dict[Path, Record | TheoryRecord | None]) -> Iterator[dict[str, Any]]:
        """Yield a row per table in the order in which they are made; `seen` takes up the records."""
        for study in (build(self.profile) for name, build in TABLES.items() if name != self.name):
            found = study.records()
            yield row(study, list(found.values()), [record for path, record in found.items() if path not in seen])
            seen |= found


def row(
    study: Study, asked: Sequence[Record | TheoryRecord | None], own: Sequence[Record | TheoryRecord | None]
) -> dict[str, Any]:
    """Return what a table asks for and what of that is its own: runs, those with a record, and their minutes."""
    spent = {
        part: sum(record.phases.get(phase, 0.0) for record in own if record for phase in phases) / 60
        for part, phases in PARTS.items()
    }
    every = sum(sum(record.phases.values()) for record in asked if record) / 60
    counts = {"runs": len(asked), "measured": _there(asked), "own": len(own), "own measured": _there(own)}
    return {"profile": study.at, "table": study.name, **counts, "minutes": every,
            "own minutes": sum(spent.values()), **spent}  # fmt: skip


def _there(records: Sequence[Record | TheoryRecord | None]) -> int:
    return sum(record is not None for record in records)


def total(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with their total, in which each run counts once: for the table whose own it is."""
    last: dict[str, Any] = {"profile": TOTAL, "table": "each run once", **rows.drop(columns=["profile", "table"]).sum()}
    last |= {"runs": last["own"], "measured": last["own measured"], "minutes": last["own minutes"]}
    rows = pd.DataFrame([*rows.to_dict("records"), last])
    return rows.astype({name: int for name in ("runs", "measured", "own", "own measured")})


def _texts(row: dict[Any, Any]) -> dict[str, str]:
    return {
        "profile": row["profile"], "table": row["table"], "runs": f"{row['runs']:,}", "own runs": f"{row['own']:,}",
        "min, own runs": minutes_text(row["own minutes"], row["own measured"], row["own"]),
        "min, all runs": minutes_text(row["minutes"], row["measured"], row["runs"]),
        **(dict.fromkeys(("min, own runs", "min, all runs"), "not recorded") if not row["runs"] else {}),
    }  # fmt: skip


def minutes_text(minutes: float, measured: int, runs: int) -> str:
    """Write minutes to a tenth, and of how many runs they are unless all of them were measured."""
    if not measured:
        return NOT_RUN if runs else NOTHING
    return f"{minutes:,.1f}" + (f" ({measured:,} of {runs:,} measured)" if measured < runs else "")


def _provenance(record: Record | TheoryRecord) -> tuple[Any, ...]:
    made = record.provenance
    return record.hash, made.get("commit"), made.get("dirty"), made.get("hardware", {}).get("cpu") or "unknown"


def machines(frame: pd.DataFrame, name: str) -> str:
    """Say how many records there are, the name of their set, and on which processors they were made."""
    if frame.empty:
        return "Records: none yet."
    return f"Records: {len(frame)}, set {name}, made{captions.processors(frame)}."


@kit.style()
def draw(numbers: pd.DataFrame) -> Figure:
    """Draw the minutes of each table's own runs as bars, stacked by what they were spent on."""
    shown = numbers[(numbers["own"] > 0) & (numbers["profile"] != TOTAL)]
    figure, (axes,) = kit.grid(1, 1, 0.3 + 0.14 * max(3, len(shown)))
    left = pd.Series(0.0, shown.index)
    for part, colour in zip(PARTS, kit.COLOURS, strict=False):
        axes.barh(range(len(shown)), shown[part], left=left, color=colour, label=part, edgecolor="white", linewidth=0.3)
        left += shown[part]
    kit.rows(axes, list(shown["table"]))
    kit.label_axes(figure, "minutes of one core")
    kit.legend(figure, kit.handles([axes]))
    return kit.finished(figure)
