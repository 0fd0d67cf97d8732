"""10: how accurate is each method after equal work, with images that are not iid and clients that are slow?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from fedecho.core.checks import require
from fedecho.core.files import REPOSITORY
from fedecho.report import captions, charts, curves, render, summary
from fedecho.report.summary import NOT_STATED, REFERENCE
from fedecho.studies.comparison import Comparison, Results
from fedecho.studies.contenders import CONTENDERS
from fedecho.studies.grid import CORE, DELAYS, MIXED, Seeds, Setting, fresh, grid, main_methods, main_settings
from fedecho.studies.study import Study, Table, table

BARS = captions.BARS.replace("setting:", "setting (down) and kind of delay (across):").replace(
    "the row that the others are compared with", REFERENCE
)
OVER_TIME = (
    "Test accuracy in % against virtual time in seconds, as evaluated, not smoothed: mean over the finished seeds. "
    f"{captions.BANDS} A panel ends with the longest asynchronous curve; above it stands what synchronous FedAvg "
    "reaches and when."
)
OTHERS = f" Shown: {REFERENCE} and the methods that the curves against virtual time leave out."


@table
def vision(
    profile: str = "laptop",
    *,
    methods: Sequence[str] | None = None,
    settings: Sequence[str] | None = None,
    delays: Sequence[str] = DELAYS,
    seeds: Seeds = None,
) -> Study:
    """Return the main table: methods x partitions x delays, each method tuned."""
    core, others = (CORE, {*CONTENDERS, REFERENCE}.difference(CORE[:-1])) if methods is None else ((), ())
    rows, places = main_methods(profile, methods), main_settings(profile, settings, delays)
    cells = grid(profile, rows, places, seeds=seeds)
    claimed = [row for row in rows if row.label in ("FedBuff + EMA", REFERENCE)]
    # The primary claim on this place takes more fresh seeds than the others do.
    cells += grid(profile, claimed, [p for p in places if p == Setting(MIXED)], seeds=fresh(profile, seeds, 1 / 2))
    return MainTable(
        name="vision", title="Vision: accuracy after equal work", notebook="10_table_vision", profile=profile,
        cells=cells,
        figures={
            "bars": (lambda found: charts.bars(found.summary), BARS),
            "curves_time": (lambda found: curves.curves(found.found, "virtual_time", methods=core), OVER_TIME),
            "curves_rounds": (
                lambda found: curves.curves(found.found, methods=others),
                captions.CURVES + (OTHERS if others else ""),
            ),
        },
    )  # fmt: skip


def reported() -> pd.DataFrame:
    """Return the paper's own numbers: setting, delay, method, value (percent), dataset, model, source, note; raises
    `InputError` without their file."""
    path = REPOSITORY / "paper" / "reported" / "vision.csv"
    require(path.is_file(), "reported", str(path), "no such file; it belongs to the repository, paper/reported/*.csv")
    return pd.read_csv(path)


class MainTable(Comparison):
    """The main table, with the paper's own numbers and a compact form for the README."""

    def results(self) -> Results:
        """Return what the records say, the paper's numbers beside it."""
        found = self.found()
        frame = summary.collect(found)
        return Results(self, found, frame, summary.summarise(frame, self.reference, reported=reported()))

    def table(self) -> Table:
        """Return the table with its compact form beside it."""
        found, made = self.results(), super().table()
        texts = captions.display(found.summary, self.reference, word="method")
        return replace(made, texts=texts, beside={"vision_compact.md": compact(found.summary, found.frame)})

    def caption(self, frame: pd.DataFrame) -> str:
        """Say what the numbers of the main table are and which records they come from."""
        return (
            f"Profile {self.profile}. Accuracy: test accuracy, mean of a run's last 5 evaluations; mean ± half "
            "width of the 95 % confidence interval (Student t) over n seeds, no ± where n = 1. Bold: the highest "
            f"mean of a block, among methods of which no run diverged. {REFERENCE} − method: mean difference in "
            "points ± its 95 % interval, paired over the seeds both finished. p: two-sided paired t-test, "
            "Holm-corrected over the methods of a block. A run that diverged is left out of the mean and counted "
            "beside n; uploads that were not finite are rejected and counted in the .csv. Slow classes: accuracy "
            "on the classes that only slow clients own. Paper: as reported in arXiv 2511.19966 for CIFAR-10 and "
            "ResNet-18, known from a summary; it does not state the delay type, so the number stands beside both, "
            f"and {NOT_STATED} where it has none. {captions.provenance_text(frame)}"
            + f" {captions.caveat(self.profile)}".rstrip()
        )


def compact(found: pd.DataFrame, frame: pd.DataFrame) -> str:
    """Return the compact table, as the README shows it: a row per method and a column per setting and delay."""
    texts = [captions.accuracy_text(row) + "*" * bool(row["n"] and row["diverged"]) for row in found.to_dict("records")]
    cells = [f"**{t}**" if best else t for t, best in zip(texts, summary.best_of_block(found), strict=True)]
    columns = [f"{setting}, {delay}" for setting, delay in zip(found["setting"], found["delay"], strict=True)]
    long = pd.DataFrame({"method": found["method"], "column": columns, "cell": cells})
    wide = long.pivot(index="method", columns="column", values="cell")
    wide = wide.loc[list(dict.fromkeys(long["method"])), list(dict.fromkeys(columns))]
    note = " \\* = some seeds diverged and are left out." if (frame["status"] == "diverged").any() else ""
    return (
        f"{render.markdown_rows(wide.reset_index())}\n\nTest accuracy in %, mean ± half width of the 95 % confidence "
        "interval over the seeds; bold: the highest mean of a column, among methods of which no run diverged."
        f"{note} {captions.provenance_text(frame)}\n"
    )
