"""26: what is FedEcho's gain made of, and where is it ahead of FedBuff + EMA?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fedecho.core.checks import require, require_known
from fedecho.report import captions, charts, figures
from fedecho.report.summary import REFERENCE, Cell, summarise
from fedecho.studies.comparison import BARS, Comparison, Results
from fedecho.studies.grid import (
    FEW,
    HERE,
    MIXED,
    OWN,
    PURE,
    PURE_LARGE,
    Seeds,
    Setting,
    Variant,
    echo,
    fresh,
    grid,
    has_fresh,
    main_methods,
    plain,
)
from fedecho.studies.study import Study, table

RIVALS = ("FedBuff", "FedBuff + EMA", "FedBuff (tuned eta)")
WITHOUT_SLOW = echo("slow clients' rows left out", teachers="fast")
ONLY_SLOW = echo("only slow clients' rows", teachers="slow")
PROBABILITIES = echo("probabilities averaged", average="probabilities")
AVERAGED = echo("teacher: averaged model", source="average")
CONTROLS = (
    echo("no distillation (Q = 0)", steps=0),
    WITHOUT_SLOW,
    ONLY_SLOW,
    echo("this round's M clients only", teachers="fresh"),
    echo("rows decay, 0.99 per round", bank_decay=0.99),
    AVERAGED,
    PROBABILITIES,
)
TAILS = ("mild", "pareto", "large")
_OWNERS = (
    f"{captions.POINTS[:-1]}, cut at 0 and 100. Arrowhead: an interval goes on beyond its panel. Vertical line: the "
    f"mean of {REFERENCE}."
)


@table
def controls(profile: str = "laptop", *, methods: Sequence[str] = RIVALS, seeds: Seeds = None) -> Study:
    """Return the controls: one thing of FedEcho changed at a time, in three settings."""
    rivals = plain(methods)
    cells = grid(profile, [OWN, *rivals, *CONTROLS], [HERE, PURE_LARGE], seeds=seeds)
    cells += grid(profile, [OWN, AVERAGED], [HERE], seeds=fresh(profile, seeds))
    cells += grid(profile, [OWN, WITHOUT_SLOW, PROBABILITIES], [PURE_LARGE], seeds=fresh(profile, seeds))
    cells += grid(
        profile, [OWN, *rivals, WITHOUT_SLOW, ONLY_SLOW, PROBABILITIES], [Setting(MIXED)], few=FEW, seeds=seeds
    )
    return Comparison(
        name="controls", title="What FedEcho's gain is made of", notebook="26_controls", profile=profile, cells=cells,
        figures=BARS,
        note="Large delays. Each row changes one thing of FedEcho, or is a control without distillation.",
        details="Slow clients' rows left out, only slow clients' rows, this round's M clients only: whose logits the "
        "teacher averages. Decay: a row's weight is 0.99 to the power of its age, the rounds since its upload. "
        "Averaged model: the teacher is the moving average (0.95) of the server's own models, without a bank. Fresh "
        "seeds: FedEcho and the averaged model at Dir(0.1); FedEcho, slow clients' rows left out and averaged "
        "probabilities where stragglers own classes, pure. Where they own them mixed, all rows have three seeds.",
    )  # fmt: skip


@table
def owners(
    profile: str = "laptop",
    *,
    owned: Sequence[int] = (1, 2, 4),
    methods: Sequence[str] | None = None,
    seeds: Seeds = None,
) -> Study:
    """Return the table of stragglers that alone hold k classes: all methods, and the bank without their rows."""
    for k in owned:
        require(k >= 1, "owned", k, "give whole numbers >= 1")
    settings = [
        Setting(f"stragglers own {k} class{'es' * (k > 1)}, pure", "large",
                {} if k == 2 else {"partition.straggler_classes": k}, (PURE, "large"), {"k": k})
        for k in owned
    ]  # fmt: skip
    rows = [*main_methods(profile, methods), WITHOUT_SLOW, PROBABILITIES]
    return Comparison(
        name="owners", title="Stragglers as sole owners of classes", notebook="26_controls", profile=profile,
        cells=[cell for place in settings for cell in _cells(profile, rows, place, seeds)],
        figures={
            "classes": (
                partial(over_owned, column="straggler_mean", label="accuracy on the slow clients' own classes, %"),
                f"Accuracy in % on the k classes that only slow clients own, a panel for each k. {_OWNERS}",
            ),
            "accuracy": (
                partial(over_owned, column="mean", label=figures.ACCURACY),
                "Test accuracy in % over all classes, a panel for each number k of those that only slow clients own. "
                f"{_OWNERS}",
            ),
        },
        note="Large delays. Slow clients hold k classes in equal parts and nothing else; the other classes are split "
        "among the other clients by Dir(0.1).",
        details="k = 2 is the pure setting of the main table and has its seeds; k = 1 and k = 4 have three.",
    )  # fmt: skip


def _cells(profile: str, rows: Sequence[Variant], place: Setting, seeds: Seeds) -> list[Cell]:
    if place.changes:
        return grid(profile, rows, [place], few=FEW, seeds=seeds)
    # Where they own two, all is run for the main table and the controls.
    late = [row for row in rows if has_fresh(profile, row, place)]
    return grid(profile, rows, [place], seeds=seeds) + grid(profile, late, [place], seeds=fresh(profile, seeds))


def over_owned(found: Results, column: str, label: str) -> Figure:
    """Draw a column of the summary, a panel for each number of classes that slow clients own."""
    k = found.summary["setting"].map(found.factor("k", "setting"))
    rows = found.summary.assign(k=k).sort_values("k", kind="stable")
    return charts.dots(rows.assign(setting=[f"k = {each:g}" for each in rows["k"]]), column, label, REFERENCE)


@table
def correlation(
    profile: str = "laptop",
    *,
    shares: Sequence[float] = (0.0, 0.5, 1.0),
    delays: Sequence[str] = TAILS,
    seeds: Seeds = None,
) -> Study:
    """Return the map: the share of two classes that slow clients own x the tail of the delays."""
    require_known("delays", delays, TAILS)
    settings = [
        Setting(f"correlation {share:g}", tail, shared(share) | ({"delays.model": tail} if tail == "pareto" else {}),
                (PURE, "large" if tail == "pareto" else tail))
        for share in shares
        for tail in delays
    ]  # fmt: skip
    return Comparison(
        name="correlation", title="Where FedEcho beats FedBuff + EMA, and where not", notebook="26_controls",
        profile=profile, cells=grid(profile, plain(("FedBuff + EMA", REFERENCE)), settings, few=FEW, seeds=seeds),
        family="table",
        figures={
            "map": (
                ahead,
                "FedEcho minus FedBuff + EMA in points, by correlation (up) and tail of the delays (across): purple "
                "where FedEcho is ahead, orange where it is behind; ±: half width of the 95 % confidence interval, n: "
                "seeds that are paired. Left: test accuracy over all classes, a dot for Holm-corrected p < 0.05 over "
                "the whole map. Right: accuracy on the classes that slow clients own.",
            )
        },
        note="Correlation: share of two classes that slow clients own, in equal parts and nothing else; at 0 all "
        "classes are split among all clients.",
        details="25 fast, 16 medium and 9 slow clients also at 0. pareto: tail index 1.5, with the class means of "
        "mild delays. Three seeds, but for correlation 1 under mild and large delays, blocks of the main table, which "
        "have the seeds of that.",
    )  # fmt: skip


def ahead(found: Results) -> Figure:
    """Draw by how much FedEcho is ahead, over all classes and over those that slow clients own, which have no test."""
    owned = summarise(found.frame.assign(score=found.frame["straggler"])).assign(p_holm=np.nan)
    maps = {"all classes": found.summary, "classes that slow clients own": owned}
    return charts.difference_map(
        {title: rows[rows["method"] != REFERENCE] for title, rows in maps.items()}, "tail of the delays"
    )


def shared(share: float) -> dict[str, Any]:
    """Return the changes to a share: at 0 the two classes are split like the others, and slow clients take part."""
    if share == 0:
        return {"partition.straggler_classes": 0, "partition.straggler_mix": "mixed"}
    return {} if share == 1 else {"partition.straggler_share": share}
