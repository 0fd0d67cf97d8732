"""29: in which teacher are stragglers heard? Weightings of the bank's rows, tried where nothing is reported; and those
that were chosen so, on seeds that had not been used before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import scipy.stats

from fedecho.report import captions, charts, curves
from fedecho.report.summary import REFERENCE, Cell
from fedecho.studies.comparison import Comparison, Draw
from fedecho.studies.grid import (
    DELAYS,
    DIR,
    MIXED,
    OWN,
    PURE,
    Seeds,
    Setting,
    Variant,
    echo,
    fresh,
    grid,
    main_methods,
    main_settings,
    plain,
    tried,
)
from fedecho.studies.profiles import WHOLE, profile as scale_of, unreported
from fedecho.studies.study import Study, table

LEVEL = "FedAvg (sync)"
"""What waits for all clients, stragglers too: the level to reach."""
RIVALS = ("FedBuff + EMA", LEVEL)
COMBINED = echo("lambda = 0.5, beta = 3", factors={"lambda": 0.5, "beta": 3}, prior_correction=0.5, energy_weight=3.0)
FEDAUX = echo("FedAUX's certainties", teacher_weights="fedaux")
PUBLISHED = (
    FEDAUX,
    echo("label counts", teacher_weights="label counts"),
    echo("seen prior", teacher_weights="seen prior"),
)


def _corrected(strength: float) -> Variant:
    return echo(f"lambda = {strength:g}", factors={"lambda": strength}, prior_correction=strength)


CHOSEN = (FEDAUX, _corrected(0.5))
"""The best mean validation accuracy over all settings, delays and seeds of the choice, and the best of those that ask
nothing of the clients beyond FedEcho's own uploads."""
HEARD = tuple(replace(row, label=f"{REFERENCE}, {row.label}", factors={}) for row in CHOSEN)
"""The same, as tables of methods call them."""
UNSEEN = {name: scale_of(name).later[-10:] for name in WHOLE}
"""Profile -> seeds that had not been used when they were chosen."""


@table
def teacher(
    profile: str = "laptop",
    *,
    strengths: Sequence[float] = (0.25, 0.5, 1.0),
    betas: Sequence[float] = (1.0, 3.0),
    settings: Sequence[str] | None = None,
    delays: Sequence[str] = DELAYS,
    seeds: Seeds = None,
) -> Study:
    """Return the choice of a teacher: weightings x strengths x settings on the validation split, on seeds of tuning."""
    energetic = [echo(f"beta = {b:g}", factors={"beta": b}, energy_weight=b) for b in betas]
    rows = [OWN, *map(_corrected, strengths), *energetic, COMBINED, *PUBLISHED, *plain(RIVALS)]
    chosen = unreported(profile, seeds)
    return Choice(
        name="teacher", title="Teachers that weight the bank's rows", notebook="29_teacher", profile=profile,
        cells=tried(profile, rows, main_settings(profile, settings, delays), chosen), tuning=True,
        figures={
            "owned_time": _owned_time(rows, "Validation"),
            "bars": (
                lambda found: charts.bars(over_seeds(found.summary), label="validation accuracy, %"),
                captions.BARS.replace("Test", "Validation").replace(
                    "95 % confidence intervals (Student t)", "95 % confidence intervals (two seeds: with both)"
                ),
            ),
        },
        note="FedEcho by how the bank's rows are weighted: prior correction (lambda), energy weights (beta), both, "
        f"three published ones. Used only to choose, on seeds {', '.join(map(str, chosen))}, which no table reports.",
        details="lambda: y_i(u)_c - lambda log m_i(c), m_i the mean prediction of client i's row over U. beta: weights "
        "softmax over clients of beta z_i(u), z_i the standardised log-sum-exp of the row. FedAUX's certainties: how "
        "likely each image of U is to be client i's, by a logistic regression that the client fits to its own images. "
        "Seen prior: m_i(c) as weights. Certainties and label counts are sent by the clients, all others are worked "
        "out of the bank. Sources: lambda, logit adjustment (arXiv 2007.07314); beta, energy scores (2010.03759); "
        "FedAUX (2102.02514); label counts, FedGen (ICML 2021); seen prior, FedRevive (2511.00655). All rows have "
        "FedEcho's tuned rates. Nothing here is scored on test images or on a seed that a table reports.",
    )  # fmt: skip


@table
def teacher_test(
    profile: str = "laptop",
    *,
    settings: Sequence[str] = (MIXED, DIR, PURE),
    delays: Sequence[str] = ("large",),
    seeds: Seeds = None,
) -> Study:
    """Return the test of the chosen teachers: on test images, on seeds that the choice has not seen."""
    rows = [OWN, *CHOSEN, *plain(RIVALS)]
    chosen = UNSEEN[profile] if seeds is None else seeds
    on = "seeds that had not been used before:" if seeds is None else "seeds"
    return Comparison(
        name="teacher_test", title="The chosen teachers on new seeds", notebook="29_teacher", profile=profile,
        by_sweep=True,
        cells=grid(profile, rows, main_settings(profile, settings, delays), seeds=chosen),
        figures={
            "owned_time": _owned_time(rows, "Test"),
            "bars": (lambda found: charts.bars(found.summary), captions.BARS),
        },
        note=f"FedEcho and the two chosen teachers, on {on} {_said(chosen)}.",
        details="The teachers are those with the best mean validation accuracy of the table before, over all of its "
        "settings, delays and seeds: of all, and of those that need nothing from the clients beyond FedEcho's own "
        "uploads. Both were written down, with four claims, before any of these seeds was run. All rows but the last "
        "two have FedEcho's tuned rates.",
    )  # fmt: skip


def over_seeds(summary: pd.DataFrame) -> pd.DataFrame:
    """Return a summary whose intervals over two seeds reach from one seed to the other: those of 95 % would cover
    the panel."""
    share = np.where(summary["n"] == 2, 1 / scipy.stats.t.ppf(0.975, 1), 1.0)
    return summary.assign(**{name: summary[name] * share for name in ("half", "straggler_half")})


def _said(seeds: Sequence[int]) -> str:
    whole = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))


def _owned_time(rows: Sequence[Variant], split: str) -> tuple[Draw, str]:
    """Return what draws the accuracy on the stragglers' own classes against virtual time, and its caption."""
    labels = [row.label for row in rows if row.label != LEVEL]
    shown = [row.label for row in (OWN, *CHOSEN, *plain(RIVALS)) if row.label in labels]
    others = [label for label in labels if label not in shown]
    return lambda found: curves.owned_curves(found.found, shown, LEVEL, others), (
        f"{split} accuracy in % on the classes that only slow clients own, against virtual time in seconds, mean over "
        f"the finished seeds; dotted: what {LEVEL} ends with. {'Grey: the other teachers. ' * bool(others)}Settings in "
        "which no class is theirs are left out."
    )


def with_heard(
    name: str, methods: Sequence[str] | None, settings: Sequence[Setting], seeds: Seeds, *,
    heard: Sequence[Setting] | None = None,
) -> list[Cell]:  # fmt: skip
    """Return the runs of a profile's main table seed by seed, the chosen teachers' too unless other methods are given,
    in all settings or in those of `heard`; these have the fresh seeds too."""
    ours = [row for row in HEARD if methods is None or row.label in methods]
    others = None if methods is None else [label for label in methods if label not in {row.label for row in ours}]
    cells, where = grid(name, main_methods(name, others), settings, seeds=seeds), settings if heard is None else heard
    cells += grid(name, ours, where, seeds=seeds) + grid(name, ours, where, seeds=fresh(name, seeds))
    return sorted(cells, key=lambda cell: cell.config.seed)


class Choice(Comparison):
    """A comparison on the validation split."""

    @property
    def caption(self) -> str:
        """What the numbers are and how to read them."""
        return (
            f"{self.note} Validation accuracy in %, mean ± 95 % CI over n seeds; diverged runs are left out. Bold: "
            "best of a block. Differences: in points, paired over seeds; p: paired t-test, Holm-corrected within "
            "a block. Slow classes: those only slow clients own."
        )
