"""23: what do the kinds of delay do to each method, and how much accuracy do large delays cost?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fedecho.core import own, stats
from fedecho.core.checks import is_named
from fedecho.core.settings import Delays
from fedecho.report import captions, charts, curves, summary
from fedecho.report.reported import numbers
from fedecho.report.summary import NOT_STATED, PLACE, REFERENCE
from fedecho.simulation.delays import pin_trace
from fedecho.studies.comparison import Comparison, Results
from fedecho.studies.grid import CORE, DIR, FEW, OWN, Seeds, Setting, grid, plain, run_at
from fedecho.studies.profiles import profile as scale_of
from fedecho.studies.study import Study, Table, table

NONE = "none (M_c = M)"
KINDS = (NONE, "mild", "large", "uniform", "exponential", "lognormal", "pareto", "bursty")
AT_THEIR_BEST = ("FedBuff", "FedBuff (tuned eta)", "FedBuff + EMA", "CA2FL", "CA2FL (tuned eta)", "FADAS")


@table
def ablation_delay(
    profile: str = "laptop", *, delays: Sequence[str] = KINDS, methods: Sequence[str] = CORE, seeds: Seeds = None
) -> Study:
    """Return the ablation: methods under kinds of delay."""
    named = {kind: setting(profile, kind) for kind in delays}
    rare = [named[kind] for kind in delays if kind not in (NONE, "mild", "large")]
    main = [named[kind] for kind in ("mild", "large") if kind in named]
    rows = plain(dict.fromkeys([*methods, REFERENCE]))
    cells = grid(profile, rows, [named[NONE]] if NONE in named else [], few=FEW, seeds=seeds)
    cells += grid(profile, rows, main, seeds=seeds) + grid(profile, rows, rare, few=FEW, seeds=seeds)
    return Comparison(
        name="ablation_delay", title="Kinds of delay", notebook="23_ablation_delay", profile=profile, cells=cells,
        columns=summary.TIME,
        figures={
            "accuracy": (
                lambda found: charts.over_factor(
                    found.summary, {kind: float(k) for k, kind in enumerate(dict.fromkeys(found.summary["delay"]))},
                    "delay", "kind of delay", joined=False,
                ),
                f"Test accuracy in % by kind of delay. {captions.POINTS} {captions.DIVERGED}",
            ),
            "curves_time": (
                lambda found: curves.curves(found.found, "virtual_time", wrapped=True),
                "Test accuracy in % against virtual time in seconds, mean over the finished seeds, a panel for each "
                f"kind of delay. {captions.BANDS}",
            ),
        },
        note="Dir(0.1) by kind of delay; none: synchronous rounds of M clients. Time: virtual seconds to the first "
        "evaluation of at least 75 %, over the runs that reached it; reached: their share.",
        details="uniform: all clients alike, 1-8 virtual seconds; exponential, lognormal (sigma 1) and pareto (tail "
        "index 1.5) have the class means of mild delays; bursty: mild delays with outages, after which uploads arrive "
        "all at once. mild and large have all seeds of the main table, the others three.",
    )  # fmt: skip


def setting(profile: str, kind: str) -> Setting:
    """Return Dir(0.1) under a kind of delay; none = synchronous rounds of M clients. The user's own kinds are a trace,
    `jobs.csv`, or a function, `my_delays.py:commuters`."""
    if kind.endswith(".csv"):
        traced = pin_trace(Delays("trace", trace=kind), scale_of(profile).protocol.clients)
        return Setting(DIR, Path(kind).stem, {"delays": traced}, (DIR, "large"))
    if is_named(kind):
        changes = {"delays": Delays("function", function=kind, function_sha256=own.digest(kind, "delays.function"))}
        return Setting(DIR, kind.rpartition(":")[2], changes, (DIR, "large"))
    if kind == NONE:
        return Setting(DIR, NONE, {"protocol.concurrency": scale_of(profile).protocol.buffer_size}, (DIR, "mild"))
    return (
        Setting(DIR, kind) if kind in ("mild", "large") else Setting(DIR, kind, {"delays.model": kind}, (DIR, "large"))
    )


# What large delays cost


@table
def delay_gap(
    profile: str = "laptop",
    *,
    delays: Sequence[str] = KINDS,
    methods: Sequence[str] = AT_THEIR_BEST,
    seeds: Seeds = None,
) -> Study:
    """Return the accuracy that each method loses to large delays, without delays if those are among `delays`, and in
    any case from mild ones."""
    for kind in delays:
        run_at(profile, OWN, setting(profile, kind), 0)  # refuses a kind that there is none of
    easier = [NONE] if NONE in delays else []
    runs = ablation_delay(profile, delays=[*easier, "mild", "large"], methods=methods, seeds=seeds)
    assert isinstance(runs, Comparison)
    return Gaps(
        name="delay_gap", title="Accuracy lost to large delays", notebook="23_ablation_delay", profile=profile,
        cells=runs.cells,
        figures={
            "dots": (
                lambda found: charts.dots(lost(found), "gap", "accuracy lost to delay, points"),
                f"Accuracy lost to large delays in points, a panel for each definition of the gap. {captions.POINTS}",
            )
        },
        note="Accuracy on Dir(0.1) without delays (M_c = M, synchronous) or under mild ones, minus that under large "
        "delays: points, mean ± 95 % CI, paired over n seeds. Negative: better under large delays. Row − FedEcho: "
        "difference of gaps, with p of a paired t-test, Holm-corrected over the whole table. Paper: as reported; to "
        "what its gap refers is not known.",
        details="The runs of [ablation_delay](#ablation_delay), and methods with a tuned eta. The paper states gaps "
        "of 2.3 points for FedEcho and 8.1 for CA2FL; what they are relative to is not known to us, hence two "
        "definitions, each of a method with itself.",
    )  # fmt: skip


class Gaps(Comparison):
    """A table of accuracies lost."""

    @property
    def caption(self) -> str:
        """What the gaps are and how to read them."""
        return self.note

    def table(self) -> Table:
        """Return the gaps, the paper's own beside them."""
        made, found = super().table(), lost(self.results())
        paper = numbers("delay_gap").set_index("method")["value"]
        return replace(made, texts=shown(found, self.reference, paper), numbers=found, bold=())


def lost(found: Results) -> pd.DataFrame:
    """Return by how much accuracy is lower under large delays than under each easier kind (`gaps`)."""
    easier = [kind for kind in (NONE, "mild") if kind in set(found.frame["delay"])]
    return gaps(found.frame, found.study.reference, easier, "large")


def gaps(frame: pd.DataFrame, reference: str, easier: Sequence[str], harder: str) -> pd.DataFrame:
    """Return one row per kind of delay in `easier` and method: accuracy there minus accuracy under `harder` delays, in
    points, paired over seeds, with its interval; and how much smaller the reference's gap is, with its p and Holm's."""
    rows = []
    for delay in easier:
        losses = {m: _losses(runs, delay, harder) for m, runs in frame.groupby("method", sort=False)}
        for method, loss in losses.items():
            mean, half, n = stats.mean_ci(list(loss.values()))
            less, less_half, p, _ = stats.paired_difference(loss, {} if method == reference else losses[reference])
            rows.append({
                "setting": f"{delay} − {harder}", "delay": harder, "method": method, "gap": mean, "gap_half": half,
                "n": n, "smaller": less, "smaller_half": less_half, "p": np.nan if p is None else p,
            })  # fmt: skip
    out = pd.DataFrame(rows)
    return out.assign(p_holm=summary.holm(out["p"]))


def _losses(runs: pd.DataFrame, easier: str, harder: str) -> dict[int, float]:
    """Return seed -> points lost from one kind of delay to the other."""
    one, two = (summary.by_seed(runs[runs["delay"] == delay]) for delay in (easier, harder))
    return {seed: one[seed] - two[seed] for seed in sorted(one.keys() & two.keys())}


def shown(found: pd.DataFrame, reference: str, paper: pd.Series[float]) -> pd.DataFrame:
    """Return the gaps as texts to read."""
    texts = [{
        **{name: row[name] for name in PLACE},
        "gap, points": captions.number(row["gap"], row["gap_half"]), "n": str(row["n"]),
        f"row − {reference}": captions.number(row["smaller"], row["smaller_half"], "+"),
        "p (Holm)": captions.p_text(row["p_holm"]),
        "paper": f"{paper[row['method']]:.1f}" if row["method"] in paper.index else NOT_STATED,
    } for row in found.to_dict("records")]  # fmt: skip
    return pd.DataFrame(texts).set_index(PLACE)
