"""20: does the mixing weight alpha matter, and does it matter that it follows the teacher's entropy?"""

from __future__ import annotations

from collections.abc import Sequence

from fedecho.core.checks import require
from fedecho.report import captions, charts, curves
from fedecho.report.summary import Column, mean_of
from fedecho.studies.comparison import Comparison
from fedecho.studies.grid import FEW, HERE, Seeds, Variant, echo, fresh, grid
from fedecho.studies.study import Study, table

Range = tuple[float, float]
DYNAMIC = "dynamic (0.2, 0.8)"
CLAIMED = [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.0, 1.0)]
"""What a claim rests on, on all seeds; the others have three."""
OTHERS = [(0.25, 0.25), (0.75, 0.75), (0.3, 0.7), (0.5, 1.0)]
REVERSED = echo("reversed (0.2, 0.8)", alpha_direction="falling")
SCOPES = [echo("per image (0.2, 0.8)", alpha_scope="sample"), echo("clients' entropy", entropy_of="clients")]
DRAWN = [DYNAMIC, "dynamic (0, 1)", "dynamic (0.3, 0.7)", "dynamic (0.5, 1)", "fixed 0", "fixed 1",
         "reversed (0.2, 0.8)", "clients' entropy"]  # fmt: skip


@table
def ablation_alpha(
    profile: str = "laptop",
    *,
    alphas: Sequence[float] | None = None,
    ranges: Sequence[Range] | None = None,
    seeds: Seeds = None,
) -> Study:
    """Return the ablation: fixed weights, ranges of dynamic ones, and what else alpha could follow."""
    own = Variant(DYNAMIC)
    if alphas is None and ranges is None:
        claims = [own, *map(mixing, CLAIMED), REVERSED]
        cells = grid(profile, claims, [HERE], seeds=seeds)
        cells += grid(profile, [own, mixing((1.0, 1.0))], [HERE], seeds=fresh(profile, seeds))
        cells += grid(profile, [*map(mixing, OTHERS), *SCOPES], [HERE], few=FEW, seeds=seeds)
    else:
        for pair in ranges or ():
            require(len(pair) == 2, "ranges", pair, "give pairs, the lowest and the highest alpha")
        chosen = [own, *(mixing((a, a)) for a in alphas or ()), *map(mixing, ranges or ())]
        cells = grid(profile, {row.label: row for row in chosen}.values(), [HERE], seeds=seeds)
    shown = DRAWN if alphas is None and ranges is None else list(dict.fromkeys(cell.method for cell in cells))
    metrics = {"alpha": "alpha", "entropy": "normalised entropy"}
    return Comparison(
        name="ablation_alpha", title="The mixing weight alpha", notebook="20_ablation_alpha", profile=profile,
        cells=cells, reference=DYNAMIC,
        columns=(Column("mean alpha", mean_of("alpha")), Column("mean entropy", mean_of("entropy"))),
        figures={
            "bars": (lambda found: charts.bars(found.summary, DYNAMIC), captions.BARS),
            "rounds": (
                lambda found: curves.over_rounds(found.found, metrics, shown),
                "alpha and the teacher's normalised entropy, both in [0, 1], over the server rounds; means over the "
                "seeds.",
            ),
        },
        note="alpha weighs KL (soft labels) against cross-entropy (hard labels). dynamic (low, high): it rises "
        "with the teacher's normalised entropy from low to high; reversed: it falls. per image: one alpha an "
        "image, not a batch. clients' entropy: the mean of the clients' entropies in place of the entropy of their "
        "average.",
    )  # fmt: skip


def mixing(bounds: Sequence[float]) -> Variant:
    """Return FedEcho with alpha between two bounds, or fixed where they are equal."""
    low, high = bounds
    label = f"fixed {low:g}" if low == high else f"dynamic ({low:g}, {high:g})"
    return echo(label, alpha_min=low, alpha_max=high, factors={"alpha_min": low, "alpha_max": high})


@table
def alpha_landscape(
    profile: str = "laptop", *, levels: Sequence[float] = (0.0, 0.5, 1.0), seeds: Seeds = None
) -> Study:
    """Return the landscape over alpha_min <= alpha_max."""
    pairs = [(low, high) for low in levels for high in levels if low <= high]
    whole = mixing((min(levels), max(levels))).label
    return Comparison(
        name="alpha_landscape", title="The landscape over alpha_min and alpha_max", notebook="20_ablation_alpha",
        profile=profile, cells=grid(profile, map(mixing, pairs), [HERE], few=FEW, seeds=seeds), reference=whole,
        family="table", note="fixed: alpha_min = alpha_max.",
        figures={
            "map": (
                lambda found: charts.landscape(found.wide("alpha_max", "alpha_min"), "alpha_min", "alpha_max"),
                "Mean test accuracy in % over (alpha_min, alpha_max); the diagonal is fixed alpha; the highest in "
                "bold.",
            )
        },
    )  # fmt: skip
