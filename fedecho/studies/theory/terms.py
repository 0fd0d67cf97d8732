"""The terms of the bound one factor at a time, all else fixed: which quadratics are played, and what is predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

from fedecho.core.settings import Delays
from fedecho.theory.arrivals import Arrivals
from fedecho.theory.config import Entry, TheoryRun

ASSUMED = Arrivals("independent", clients=50)
"""The theorem's own assumption: every arrival uniform on the clients, staleness 0 to 10 rounds."""


@dataclass(frozen=True)
class Predicted:
    """A term of the bound and the exponent that it has in a factor."""

    term: str
    exponent: float
    joint: float | None = None
    """The exponent of tau_max tau_avg sigma_g^2, a joint term that bounds of asynchronous methods are said to have."""


_NOISE, _SAMPLING, _DRIFT = "L gamma sigma^2 / M", "L gamma sigma_g^2 / M", "(L eta_l K)^2 sigma_g^2"
_LATE, _LATE_CLIENTS = "(L gamma)^2 tau_avg sigma^2 / M", "(L gamma)^2 tau_avg sigma_g^2 / M"
PREDICTED = {
    "transient: T": Predicted("F_0 / (gamma T)", -1),
    "noise: M": Predicted(_NOISE, -1),
    "noise: gamma": Predicted(_NOISE, 1),
    "noise: sigma^2": Predicted(_NOISE, 1),
    "sampling: M": Predicted(_SAMPLING, -1),
    "sampling: h^2": Predicted(_SAMPLING, 1),
    "drift: K": Predicted(_DRIFT, 2),
    "drift: eta_l": Predicted(_DRIFT, 2),
    "drift: h^2": Predicted(_DRIFT, 1),
    "delay x noise: tau_avg": Predicted(_LATE, 1),
    "delay x noise: tau_max": Predicted(_LATE, 0),
    "delay x clients: tau_avg": Predicted(_LATE_CLIENTS, 1, joint=2),
    "delay x clients: tau_max": Predicted(_LATE_CLIENTS, 0, joint=1),
}
"""Series -> prediction. h is the clients' heterogeneity, and sigma_g^2 is proportional to h^2. Where tau_avg is varied
staleness is uniform on 0..2 tau_avg; where tau_max is varied, tau_avg is held at 2."""


def terms(rounds: int, walks: int) -> list[Entry]:
    """Return the runs of every series, over `rounds` rounds (a transient: up to as many)."""
    still = TheoryRun(
        start="stationary", step="constant", scale=0.02, heterogeneity=0.0, rounds=(rounds,), buffers=(4,),
        walks=walks, arrivals=replace(ASSUMED, tau_max=0),
    )  # fmt: skip
    quiet, spread = replace(still, variance=0.0), {"heterogeneity": 1.0}
    far = replace(quiet, start="far", scale=0.05)
    out = _series("transient: T", far, {t: {"rounds": (t,)} for t in _doubled(rounds, 4)})
    out += _series("noise: M", still, {m: {"buffers": (m,)} for m in (1, 2, 4, 8, 16)})
    out += _series("noise: gamma", still, {g: {"scale": g} for g in (0.01, 0.02, 0.04, 0.08)})
    out += _series("noise: sigma^2", still, {v: {"variance": v} for v in (0.25, 1.0, 4.0, 16.0)})
    out += _series("sampling: M", quiet, {m: {"buffers": (m,), **spread} for m in (1, 2, 4, 8, 16)})
    out += _series("sampling: h^2", quiet, {h * h: {"heterogeneity": h} for h in (0.25, 0.5, 1.0, 2.0)})
    return out + _drift(quiet) + _delay(still, quiet)


def _doubled(last: int, count: int) -> list[int]:
    return [last // 2**k for k in reversed(range(count))]


def _series(name: str, run: TheoryRun, changes: Mapping[Any, Mapping[str, Any]]) -> list[Entry]:
    return [
        Entry("term", f"{name} = {at:g}", replace(run, **change), series=name, at=float(at))
        for at, change in changes.items()
    ]


def _drift(quiet: TheoryRun) -> list[Entry]:
    """All clients take part at once and differ in curvature: what is left is the drift of their local steps."""
    everyone = Arrivals(clients=50, per_buffer=1, delays=Delays("constant"))
    run = replace(quiet, arrivals=everyone, buffers=(50,), curvature_spread=0.9, heterogeneity=1.0, walks=2)
    run = replace(run, rounds=(run.rounds[0] // 2,))
    eta, lr = sqrt(50), 0.001

    def steps(k: int, rate: float, spread: float = 1.0) -> dict[str, Any]:
        return {"local_steps": k, "scale": eta * rate * k, "heterogeneity": spread}

    out = _series("drift: K", run, {k: steps(k, lr) for k in (8, 16, 32, 64)})
    out += _series("drift: eta_l", run, {rate: steps(16, rate) for rate in (0.001, 0.002, 0.004, 0.008)})
    return out + _series("drift: h^2", run, {h * h: steps(16, lr, h) for h in (0.25, 0.5, 1.0, 2.0)})


def _delay(still: TheoryRun, quiet: TheoryRun) -> list[Entry]:
    """What delays add to the error without them, which stands at 0 in each series (the same noise in both)."""
    out = []
    for name, run in (("noise", still), ("clients", replace(quiet, heterogeneity=1.0))):
        late = {tau: {"arrivals": replace(ASSUMED, tau_max=tau)} for tau in (0, 8, 16, 32)}
        out += _series(f"delay x {name}: tau_avg", run, {tau / 2: change for tau, change in late.items()})
        rare: dict[int, dict[str, Any]] = {
            tau: {"arrivals": replace(ASSUMED, tau_max=tau, tau_avg=2.0)} for tau in (4, 8, 16, 32)
        }
        out += _series(f"delay x {name}: tau_max", run, {0: {}, **rare})
    return out
