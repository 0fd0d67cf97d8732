"""27: how sensitive is FedEcho to the number of its distillation steps and to their size?"""

from __future__ import annotations

from collections.abc import Sequence

from fedecho.report import charts
from fedecho.studies.comparison import Comparison
from fedecho.studies.grid import FEW, HERE, OWN, Seeds, Variant, echo, grid, run_at
from fedecho.studies.study import Study, table

STEPS = {"smoke": (1, 3), "laptop": (1, 10, 20), "paper": (1, 5, 20, 50)}


@table
def sensitivity(
    profile: str = "laptop", *, steps: Sequence[int] | None = None, rates: Sequence[float] | None = None,
    seeds: Seeds = None,
) -> Study:  # fmt: skip
    """Return the landscape over Q and eta_d; the profile's own pair stays where others are asked for."""
    how = run_at(profile, OWN, HERE, 0).distill
    own, tuned = how.steps, how.lr
    known = (round(tuned / 3, 6), tuned, round(3 * tuned, 6))
    chosen = STEPS[profile] if steps is None else sorted({own, *steps})
    rows = [step(q, lr) for q in chosen for lr in (known if rates is None else sorted({tuned, *rates}))]
    return Comparison(
        name="sensitivity", title="Distillation steps and step size", notebook="27_sensitivity", profile=profile,
        cells=grid(profile, rows, [HERE], few=FEW, seeds=seeds), family="table",
        reference=step(own, tuned).label,
        figures={
            "map": (
                lambda found: charts.landscape(found.wide("Q", "eta_d"), "eta_d", "Q"),
                "Mean test accuracy in % over Q and eta_d; the highest in bold.",
            )
        },
        note="FedEcho with Q distillation steps a round at rate eta_d, large delays; the middle rate was tuned at Q = "
        "10.",
        details="Three seeds: a landscape, on which no claim rests.",
    )  # fmt: skip


def step(steps: int, rate: float) -> Variant:
    """Return FedEcho with Q steps at rate eta_d."""
    return echo(f"Q = {steps}, eta_d = {rate:g}", steps=steps, lr=rate, factors={"Q": steps, "eta_d": rate})
