"""21: does clipping the distillation gradient matter, and does it guard against a teacher that is wrong?"""

from __future__ import annotations

from collections.abc import Sequence

from fedecho.core.checks import require
from fedecho.report import captions, charts, curves
from fedecho.report.summary import Column, mean_of
from fedecho.studies.comparison import Comparison
from fedecho.studies.grid import DIR, FEW, HERE, Seeds, Setting, Variant, echo, fresh, grid
from fedecho.studies.profiles import profile as scale_of
from fedecho.studies.study import Study, table

OWN = 5.0
BAD_TEACHER = "Dir(0.1), teacher wrong for the first tenth"


@table
def ablation_nu(profile: str = "laptop", *, nus: Sequence[float | None] | None = None, seeds: Seeds = None) -> Study:
    """Return the ablation: thresholds (none: no clipping), and the same where the teacher is wrong at first."""
    rounds = max(1, scale_of(profile).protocol.rounds // 10)
    bad = Setting(BAD_TEACHER, "large", {"method.distill.corrupt_rounds": rounds}, (DIR, "large"))
    if nus is None:
        both = [clipped(OWN), clipped(None)]
        cells = grid(profile, both, [HERE], seeds=seeds) + grid(profile, both, [HERE], seeds=fresh(profile, seeds))
        cells += grid(profile, map(clipped, (0.1, 0.5, 1.0, 2.0, 10.0)), [HERE], few=FEW, seeds=seeds)
        cells += grid(profile, map(clipped, (0.1, 1.0, OWN, None)), [bad], few=FEW, seeds=seeds)
    else:
        cells = grid(profile, map(clipped, dict.fromkeys([OWN, *nus])), [HERE, bad], seeds=seeds)
    shown = ["nu = 0.1", "nu = 1", "nu = 5", "no clipping"]
    shown = shown if nus is None else list(dict.fromkeys(cell.method for cell in cells))
    norms = {"gradient_norm_median": "median gradient norm", "gradient_norm_max": "largest gradient norm"}
    return Comparison(
        name="ablation_nu", title="The clipping threshold nu", notebook="21_ablation_nu", profile=profile, cells=cells,
        reference=clipped(OWN).label,
        columns=(
            Column("clipped steps, %", mean_of("clipped", 100)),
            Column("gradient norm", mean_of("gradient_norm")),
            Column("largest norm", mean_of("gradient_norm_max", how=max)),
        ),
        figures={
            "bars": (lambda found: charts.bars(found.summary, clipped(OWN).label), captions.BARS),
            "norms": (
                lambda found: curves.over_rounds(found.found, norms, shown, log=True),
                "L2 norms of the distillation gradients over the server rounds (log scale): the median and the largest "
                "of each round's Q steps, averaged between evaluations and over the seeds; above, the ordinary runs, "
                "below, the stress test.",
            ),
        },
        note="nu bounds the L2 norm of distillation gradients; clipped: steps beyond it. Second block, a stress test: "
        "the teacher is wrong and sure for the first tenth of the rounds.",
        details="Clipped steps: share of a run's steps whose gradient was longer than nu; where it is 0 clipping "
        "never bound, and the row equals the one without clipping. Gradient norm: mean over all steps; largest norm: "
        "the largest of a round's Q steps, averaged between evaluations, at its highest. Stress test: the teacher "
        "takes every class for the next one and is sure of it (logits times 10). nu = 5 and no clipping have all "
        "seeds and the fresh ones at Dir(0.1), all other rows three.",
    )  # fmt: skip


def clipped(level: float | None) -> Variant:
    """Return FedEcho with a clipping threshold, or without one."""
    known = level is None or isinstance(level, int | float)
    require(known, "nus", level, "give numbers > 0, or none for no clipping")
    label = "no clipping" if level is None else f"nu = {level:g}"
    return echo(label, clip_norm=level, norm_quantiles=True, factors={} if level is None else {"nu": level})
