"""Words that the captions of several theory tables share."""

from __future__ import annotations

from collections.abc import Iterable

from fedecho.studies.theory.grids import CONSTANTS, DISTIL
from fedecho.theory.arrivals import Arrivals
from fedecho.theory.fits import FLOOR_BAND, LEAST_R2, SLOPE_BAND

RULE = (
    f"Rule: the 95 % intervals of both slopes within [{SLOPE_BAND[0]:g}, {SLOPE_BAND[1]:g}] and R² above {LEAST_R2:g} "
    "(“falls faster”: an interval lies below the band, none above); speed-up: the interval of the slope of the noise "
    f"floor in M within [{FLOOR_BAND[0]:g}, {FLOOR_BAND[1]:g}] and the same R². Intervals are not corrected for their "
    "number."
)
SLOPES = (
    "Slopes: exponents of least squares on log Y = a + b_T log T + b_M log M, Y = (1/T) sum_t |grad f(x_t)|² with "
    "exact gradients, from 100 to 250 rounds that stand for the stretch around them, mean over the walks; in brackets "
    "95 % intervals by bootstrap over the walks."
)
SHARED = (
    "Walks of a point differ in noise and in which client holds which objective; they share one schedule, so that "
    "intervals do not contain what another schedule would change."
)
LATE = "Late |grad f|²: mean over the second half of the rounds, at the largest T."
BANDS = "Bands: 95 % intervals over the walks (Student t); both axes logarithmic."
ECHO = (
    f"FedEcho: Q = {DISTIL.steps} step a round over a pool of 32, nu = {DISTIL.clip_norm:g}, alpha from "
    f"{DISTIL.alpha_min:g} to {DISTIL.alpha_max:g}, eta_d = {DISTIL.lr:g} at the smallest T (and M), not tuned."
)


def constants(names: Iterable[str]) -> str:
    """Say the constants of the step and the noise of some objectives."""
    parts = [f"{name} c = {CONSTANTS[name]['scale']:g}, sigma² = {CONSTANTS[name]['variance']:g}" for name in names]
    return (
        "gamma = eta eta_l K = c sqrt(M/T) where nothing else is said, noise of total variance sigma² "
        f"({'; '.join(parts)}); chosen so that transient and noise are of like size, not to fit a slope. Event loop: "
        f"N = {Arrivals.clients:,} equally fast clients with 50 objectives, M_c = {Arrivals.per_buffer} M at work; "
        "independent arrivals: uniform on 50 clients, staleness 0 to 10. Unstable: points with gamma above 1/(L "
        "(tau_max + 1)), L of the network measured at two points."
    )
