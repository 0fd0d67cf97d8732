"""10: how accurate is each method after equal work, with images that are not iid and clients that are slow?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from fedecho.core.config import RunConfig
from fedecho.report import captions, charts, curves, render, summary
from fedecho.report.summary import REFERENCE
from fedecho.studies.comparison import Comparison, Results
from fedecho.studies.contenders import CONTENDERS, search_words
from fedecho.studies.grid import (
    DELAYS,
    DIR,
    HERE,
    LATER,
    MIXED,
    OWN,
    OWN_ETA,
    PURE,
    Seeds,
    Setting,
    fresh,
    grid,
    main_methods,
    main_settings,
    run_at,
)
from fedecho.studies.study import Study, Table, table
from fedecho.studies.teacher import with_heard

BARS = captions.BARS.replace("setting:", "setting (down) and kind of delay (across):").replace(
    "the row that the others are compared with", REFERENCE
)
OVER_TIME = (
    "Test accuracy in % against virtual time in seconds, as evaluated, not smoothed: mean over the finished seeds. "
    f"{captions.BANDS} A panel ends with the longest asynchronous curve; above it stands what synchronous FedAvg "
    "reaches and when."
)
OTHERS = (
    f" Shown: {REFERENCE} and the methods that the curves against virtual time leave out, but for the four later ones "
    f"and {OWN_ETA}."
)
AFTER = f" Shown: {REFERENCE} and the four methods that were compared later."
BRIEF = ("FedAvg (sync)", "FedBuff (tuned eta)", "FedBuff + EMA", "CA2FL (tuned eta)", REFERENCE)
"""Methods of the table's short form: one that waits for all, two rivals at their best, the control, and the method."""
TIMED = ("FedBuff (tuned eta)", "FedBuff + EMA", "CA2FL (tuned eta)", "FADAS", REFERENCE)
"""Methods of the curves against virtual time."""
BRIEF_SETTINGS = (DIR, PURE, MIXED)


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
    others = {*CONTENDERS, REFERENCE}.difference(TIMED[:-1], LATER, [OWN_ETA])
    timed, first = (TIMED, others) if methods is None else ((), ())
    places = main_settings(profile, settings, delays)
    whole, cells = methods is settings is None, with_heard(profile, methods, places, seeds)
    asked = ("FedBuff + EMA", REFERENCE, OWN_ETA) if methods is None else (*methods, REFERENCE)
    claimed = [row for row in main_methods(profile) if row.label in {"FedBuff + EMA", REFERENCE, OWN_ETA} & {*asked}]
    # The primary claim on this place takes more fresh seeds than the others do.
    cells += grid(profile, claimed, [p for p in places if p == Setting(MIXED)], seeds=fresh(profile, seeds, 1 / 2))
    return MainTable(
        name="vision", title="Vision: accuracy after equal work", notebook="10_table_vision", profile=profile,
        cells=cells, paper="vision", columns=summary.TIME,
        figures={
            **({"brief": (lambda found: charts.bars(brief(found.summary)), BARS)} if whole else {}),
            "bars": (lambda found: charts.bars(found.summary), BARS),
            "curves_time": (lambda found: curves.curves(found.found, "virtual_time", methods=timed), OVER_TIME),
            "curves_rounds": (
                lambda found: curves.curves(found.found, methods=first),
                captions.CURVES + (OTHERS if first else ""),
            ),
            **({"curves_later": (_later, captions.CURVES + AFTER)} if methods is None else {}),
        },
        note="After equal work and tuning. Time: virtual seconds, over the runs that reached 75 %. "
        "Paper: for CIFAR-10 and ResNet-18, whatever the delays.",
        details=f"{_scale(run_at(profile, OWN, HERE, 0))} Where stragglers own 2 classes, slow clients alone hold "
        "them: mixed, split unevenly among them by Dir(0.1), beside shares of the other classes; pure, in equal "
        "parts, and nothing else. Mixed was added after the ordinary settings, pure after mixed had been seen. Every "
        f"method is {search_words(profile)}. FedBuff, CA2FL and FedEcho fix the server's rate eta at 1 as published; "
        "rows “(tuned eta)” search it too. The last two rows are FedEcho, at its own rates, with the teachers that "
        "were chosen on other seeds; they had already been tried on mixed with large delays on seeds 0 to 2. "
        "All rows have the fresh seeds, 5 to 14; on mixed with large delays FedBuff + EMA and FedEcho have five "
        "more, 15 to 19. Paper: the same number is shown for both kinds of delay.",
    )  # fmt: skip


def _later(found: Results) -> Figure:
    return curves.curves(found.found, methods=(*LATER, REFERENCE))


def _scale(run: RunConfig) -> str:
    """Say at which scale FedEcho's run is made."""
    work, local, echo = run.protocol, run.local, run.distill
    few = "or all shares are drawn again" if run.partition.too_small == "redraw" else "topped up where there are fewer"
    nu = "none" if echo.clip_norm is None else f"{echo.clip_norm:g}"
    return (
        f"N = {work.clients}, M_c = {work.concurrency}, M = {work.buffer_size}, T = {work.rounds}; {local.epochs} "
        f"local epochs in batches of {local.batch_size}, no momentum, weight decay {local.weight_decay:g}; each client "
        f"has at least {run.partition.min_size} images, {few}; |U| = {run.data.pool_size}, Q = "
        f"{echo.steps} steps on {echo.batch_size} images, nu = {nu}, alpha from {echo.alpha_min:g} to "
        f"{echo.alpha_max:g}; scored every {run.evaluation.every} rounds. Rates as chosen in [tuning](#tuning)."
    )


class MainTable(Comparison):
    """The main table, with the paper's own numbers, and compact and short forms for the pages that quote it."""

    def shown(self, found: Results) -> pd.DataFrame:
        """Return the summary as texts to read."""
        return captions.display(found.summary, self.reference, self.columns, word="method")

    def table(self) -> Table:
        """Return the table with its compact form beside it."""
        made = super().table()
        forms = {
            "compact": compact(made.numbers, made.frame),
            "brief": compact(brief(made.numbers), brief(made.frame)),
        }
        return replace(made, beside={f"vision_{name}.md": text for name, text in forms.items()})


def brief(found: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the short form, of a summary or of the runs behind it: under large delays."""
    kept = found["method"].isin(BRIEF) & found["setting"].isin(BRIEF_SETTINGS) & (found["delay"] == "large")
    return found[kept].sort_values(
        "setting", key=lambda s: s.map(BRIEF_SETTINGS.index), kind="stable", ignore_index=True
    )


def compact(found: pd.DataFrame, frame: pd.DataFrame) -> str:
    """Return the compact table: a row per method, equal ones once, and a column per setting and delay."""
    texts = [captions.accuracy_text(row) + "*" * bool(row["n"] and row["diverged"]) for row in found.to_dict("records")]
    cells = [f"**{t}**" if best else t for t, best in zip(texts, summary.best_of_block(found), strict=True)]
    columns = [f"{setting}, {delay}" for setting, delay in zip(found["setting"], found["delay"], strict=True)]
    long = pd.DataFrame({"method": found["method"], "column": columns, "cell": cells})
    wide = long.pivot(index="method", columns="column", values="cell")
    wide = wide.loc[list(dict.fromkeys(long["method"])), list(dict.fromkeys(columns))].drop_duplicates()
    note = " \\* = some seeds diverged and are left out." if (frame["status"] == "diverged").any() else ""
    return (
        f"{render.markdown_rows(wide.reset_index())}\n\nTest accuracy in %, mean ± half width of the 95 % confidence "
        "interval over the seeds; bold: the best of a column, among methods of which no run diverged."
        f"{note} {captions.provenance_text(frame)}\n"
    )
