"""What the theory tables share: the grids of each profile, the constants of each objective, methods, words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedecho.core.settings import Delays
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.methods import AREA, CA2FL, FADAS, AdaMasFL, FedAC, FedAsync, FedBuff, FedEcho, FedStaleAsync
from fedecho.report.captions import NOTHING
from fedecho.studies import profiles
from fedecho.theory.arrivals import Arrivals
from fedecho.theory.config import TheoryRun
from fedecho.theory.fits import FLOOR_BAND, LEAST_R2, SLOPE_BAND, Fit

Grid = Sequence[int]
"""T or M, rising; empty = that of the profile."""


@dataclass(frozen=True)
class Scale:
    """The grids of a profile; the defaults are the laptop's."""

    rounds: tuple[int, ...] = (250, 500, 1000, 2000, 4000, 8000)
    buffers: tuple[int, ...] = (1, 2, 4, 8, 16)
    few_rounds: tuple[int, ...] = (250, 500, 1000, 2000)
    few_buffers: tuple[int, ...] = (1, 4, 16)
    """Of what costs more."""
    late_rounds: tuple[int, ...] = (500, 1000, 2000)
    """Where trajectories have to be long: plateaus, images."""
    control_rounds: tuple[int, ...] = (250, 500, 1000, 2000)
    control_buffers: tuple[int, ...] = (1, 4, 16)
    echo_buffers: tuple[int, ...] = (1, 4)
    """Of what costs most: FedEcho, FedAC, FedAsync (M times as many steps), images, four steps of the network."""
    floor_rounds: int = 2000
    floor_buffers: tuple[int, ...] = (1, 2, 4, 8, 16)
    term_rounds: int = 3000
    walks: int = 24
    biased_walks: int = 24
    """Where a plateau is predicted for each trajectory."""
    lone_walks: int = 4
    """Of methods whose trajectories are simulated one by one."""
    seed: int = 0


SCALES = {
    "laptop": Scale(),
    "smoke": Scale(
        (100, 200, 400), (1, 2, 4), few_rounds=(50, 100), few_buffers=(1, 2), late_rounds=(50, 100),
        control_rounds=(100, 200, 400), control_buffers=(1, 2, 4), echo_buffers=(1, 2), floor_rounds=300,
        floor_buffers=(1, 4, 16), term_rounds=200, biased_walks=4, lone_walks=2,
    ),
    "paper": Scale(
        (*Scale.rounds, 16000), few_rounds=Scale.rounds[:5], late_rounds=Scale.rounds[2:5],
        control_rounds=Scale.rounds[:5], control_buffers=Scale.buffers, echo_buffers=(1, 4, 16), floor_rounds=4000,
        floor_buffers=(*Scale.buffers, 32), term_rounds=8000, walks=64, biased_walks=64, lone_walks=24,
    ),
}  # fmt: skip
CONVEX, NONCONVEX = ("quadratic", "logistic", "images"), ("bounded", "network")
CONSTANTS = {name: {"scale": 0.5, "variance": 4.0} for name in ("logistic", "images", "network")}
CONSTANTS |= {"quadratic": {"scale": 0.4, "variance": 4.0}, "bounded": {"scale": 0.2, "variance": 16.0}}
"""c and sigma^2: chosen so that transient and noise are of like size and nearly every step is below the limit of
stability; with a larger c the smallest T with the largest M are unstable, and the rule fails."""
ASSUMED = Arrivals("independent", clients=50)
"""The theorem's own assumption: every arrival uniform on the clients, staleness 0 to 10 rounds."""
DISTIL = Distillation(steps=1, lr=0.04, batch_size=32, clip_norm=0.25)
"""One step a round over the whole pool; nu = 1/4 is shorter than the gradients of a teacher that misleads."""
SOFT = replace(DISTIL, alpha_min=1.0, alpha_max=1.0)
"""Soft labels alone: hard ones pull towards being sure, wherever the optimum is."""
POWERS = {0.0: "constant", 0.5: "T^-1/2", 0.75: "T^-3/4", 1.0: "T^-1"}
"""How fast eta_d falls with T -> its name."""
DERIVED = 0.75
"""What the derived condition asks of eta_d with Q, nu and K fixed (with M^1/4): the rate survives any teacher."""
METHODS: dict[str, dict[str, Any]] = {
    "FedBuff": {"method": FedBuff()}, "CA2FL": {"method": CA2FL()}, "FADAS": {"method": FADAS()},
    "FedAC-public": {"method": FedAC()}, "FedAsync": {"method": FedAsync(staleness="constant", proximal=0.0)},
    "FedStaleAsync": {"method": FedStaleAsync()},
    "ACE (buffered)": {"method": FedStaleAsync(beta=1.0, participation="certain")}, "AREA": {"method": AREA()},
    "AdaMasFL-public": {"method": AdaMasFL()},
    "FedEcho": {"method": FedEcho(distill=DISTIL), "distil_power": DERIVED},
}  # fmt: skip
"""Name -> the method, and how its eta_d falls."""


def scale(profile: str, rounds: Grid = (), buffers: Grid = (), seed: int = 0) -> Scale:
    """Return the grids of a profile, or those given for every run; raises `InputError` for any that cannot be."""
    grids = replace(SCALES[profiles.profile(profile).name], seed=seed)
    checked = TheoryRun(rounds=rounds or grids.rounds, buffers=buffers or grids.buffers, seed=seed)  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    if rounds:
        given |= dict.fromkeys(("rounds", "few_rounds", "late_rounds", "control_rounds"), checked.rounds)
        given["floor_rounds"] = checked.rounds[-1]
    if buffers:
        names = ("buffers", "few_buffers", "control_buffers", "echo_buffers", "floor_buffers")
        given |= dict.fromkeys(names, checked.buffers)
    return replace(grids, **given)


def run_of(objective: str, grids: Scale, **changes: Any) -> TheoryRun:
    """Return an objective's run over the whole grid."""
    grid = {"rounds": grids.rounds, "buffers": grids.buffers, "walks": grids.walks, "seed": grids.seed}
    return TheoryRun(**{"objective": objective, **grid, **CONSTANTS[objective], **changes})


def few(run: TheoryRun, grids: Scale, **changes: Any) -> TheoryRun:
    """Return `run` over the smaller grid."""
    return replace(run, **{"rounds": grids.few_rounds, "buffers": grids.few_buffers, **changes})


# Kinds of arrivals

_LOOP = Arrivals(clients=50, per_buffer=5)
_COUNTS, _ALIKE = (25, 16, 9), (50, 0, 0)
KINDS = {
    "uniform": replace(_LOOP, delays=Delays("uniform")),
    "skewed, mild": replace(_LOOP, delays=Delays("mild", speed_counts=_COUNTS)),
    "skewed, large": replace(_LOOP, delays=Delays("large", speed_counts=_COUNTS)),
    "bursty": replace(_LOOP, delays=Delays("bursty", speed_counts=_ALIKE)),
    "Pareto 2.5": replace(_LOOP, delays=Delays("pareto", shape=2.5, speed_counts=_ALIKE)),
    "Pareto 1.5": replace(_LOOP, delays=Delays("pareto", shape=1.5, speed_counts=_ALIKE)),
    "Pareto 1.1": replace(_LOOP, delays=Delays("pareto", shape=1.1, speed_counts=_ALIKE)),
    "periodic": replace(_LOOP, delays=Delays("periodic")),
}
"""50 clients of which 25 are at work, M = 5; only in the skewed ones some clients are slower than others."""
KINDS["adversarial, one end"] = replace(KINDS["skewed, large"], dealt="slow high")
KINDS["adversarial, other end"] = replace(KINDS["skewed, large"], dealt="slow low")


def biased_run(law: Arrivals, grids: Scale, **changes: Any) -> TheoryRun:
    """Return logistic regression of clients who disagree about labels, under a law of arrivals, M = 5."""
    walks = grids.lone_walks if isinstance(changes["method"], FedAC) else grids.biased_walks
    return run_of("logistic", grids, disagreement=1.0, variance=0.25, arrivals=law, rounds=grids.late_rounds,
                  buffers=(5,), walks=walks, **changes)  # fmt: skip


# Words of captions

SLOPES = (
    "Slopes: exponents of the mean |grad f|² in T and M by least squares, with 95 % bootstrap intervals over the "
    "trajectories."
)
RULE = f"Rule: the intervals within [{SLOPE_BAND[0]:g}, {SLOPE_BAND[1]:g}] and R² above {LEAST_R2:g}."
SPEED_UP = f"speed-up: that of the noise floor in M within [{FLOOR_BAND[0]:g}, {FLOOR_BAND[1]:g}]."
LATE = "Late |grad f|²: mean over the second half of the rounds, at the largest T."
BANDS = "Bands: 95 % intervals over the trajectories (Student t); both axes logarithmic."
SETUP = (
    f"Event loop: N = {Arrivals.clients:,} equally fast clients with 50 objectives, M_c = {Arrivals.per_buffer} M at "
    f"work; independent arrivals: uniform on 50 clients, staleness 0 to 10. FedEcho: Q = {DISTIL.steps} step a round "
    f"over a pool of 32, nu = {DISTIL.clip_norm:g}, alpha from {DISTIL.alpha_min:g} to "
    f"{DISTIL.alpha_max:g}, eta_d = {DISTIL.lr:g} at the smallest T (and M), not tuned."
)
"""What PROTOCOL.md says of all theory tables, from their constants."""


def constants(names: Iterable[str]) -> str:
    """Say the constants of the step and the noise of some objectives."""
    parts = [f"{name} c = {CONSTANTS[name]['scale']:g}, sigma² = {CONSTANTS[name]['variance']:g}" for name in names]
    return f"Constants: {'; '.join(parts)}."


# Texts of tables


def slope_text(found: Fit | None, name: str) -> str:
    """Write the exponent in a factor with its interval."""
    if found is None or name not in found.slopes:
        return NOTHING
    slope = found.slopes[name]
    return f"{slope.value:.3f} [{slope.low:.3f}, {slope.high:.3f}]".replace("-", "−")


def power_text(value: float) -> str:
    """Write a small number to three digits."""
    return NOTHING if np.isnan(value) else f"{value:.2e}".replace("-", "−")


def interval_text(values: tuple[float, float, float]) -> str:
    """Write a ratio with its interval."""
    return "{:.3g} [{:.3g}, {:.3g}]".format(*values)


def r2_text(found: Fit | None) -> str:
    """Write R^2 to four decimals."""
    return NOTHING if found is None else f"{found.r2:.4f}".replace("-", "−")
