"""What a theory run is: an objective, a law of arrivals, a method, a step-size rule, and the grid of T and M."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Annotated, Literal

from annotated_types import Interval

from fedecho.core.checks import BelowOne, Checked, Count, InputError, Natural, NotNegative, Positive, require
from fedecho.core.config import MethodConfig, to_dict
from fedecho.core.files import json_sha256
from fedecho.learning.methods import CA2FL, FADAS, FedAC, FedAsync, FedAvg, FedBuff, FedEcho
from fedecho.theory.arrivals import Arrivals
from fedecho.theory.simulate import Local

VERSION = 1
"""Bumped whenever the same run would give other numbers; records of an older version are not used."""

ObjectiveName = Literal["quadratic", "logistic", "images", "bounded", "network"]
_ASYNC_LR = 0.5
"""FedAsync's eta_l: with a rate that shrinks in place of the share mixed in, stale models would hold it back."""
PREDICTS = ("logistic", "images", "network")
"""Objectives with predictions, which distillation needs."""


@dataclass(frozen=True)
class TheoryRun(Checked):
    """A batch of trajectories at every T and M of a grid; `gamma` = eta eta_l K is the step of a round."""

    objective: ObjectiveName = "quadratic"
    heterogeneity: NotNegative = 0.5
    """How far apart the clients' objectives are (shift of centres or features, in standard deviations)."""
    disagreement: NotNegative = 0.0
    """logistic, network: how far apart the rules are by which clients label (standard deviations of their weights)."""
    curvature_spread: BelowOne = 0.0
    """quadratic: how much the clients' curvatures differ, in [0, 1); with 0 local steps cause no drift."""
    variance: NotNegative = 1.0
    """sigma^2: total variance of the noise on every local gradient."""
    start: Literal["far", "stationary"] = "far"
    """x_0: the objective's own start, or its stationary point, from where only noise and drift lead away."""
    method: MethodConfig = field(default_factory=FedBuff)
    teacher: Literal["clients", "adversarial", "random"] = "clients"
    """FedEcho: whose predictions teach; any but the clients' misleads (`echo.misled`)."""
    arrivals: Arrivals = field(default_factory=Arrivals)
    local_steps: Count = 1
    """K"""
    local_lr: Positive | None = None
    """eta_l where it does not shrink with gamma (long local training); none = gamma / (eta K)."""
    step: Literal["joint", "without M", "constant"] = "joint"
    """gamma = c sqrt(M / T), c / sqrt(T), or c."""
    scale: Positive = 0.4
    """c"""
    distil_power: NotNegative = 0.0
    """FedEcho: eta_d falls as T^-power from its value at the smallest T."""
    distil_buffer_power: NotNegative = 0.0
    """FedEcho: eta_d grows as M^power from its value at the smallest M."""
    rounds: tuple[Count, ...] = (250, 500, 1000, 2000, 4000, 8000)
    """T"""
    buffers: tuple[Count, ...] = (1, 2, 4, 8, 16)
    """M"""
    walks: Annotated[int, Interval(ge=2)] = 24
    """Independent trajectories of every point; an interval needs two."""
    seed: Natural = 0

    def validate(self) -> None:
        """Check that the grid rises and has enough clients, and that only what has predictions is distilled."""
        for name in ("rounds", "buffers"):
            values = getattr(self, name)
            rising = len(values) > 0 and list(values) == sorted(set(values))
            require(rising, name, values, "give whole numbers >= 1 in rising order")
        law = self.arrivals
        most = law.clients // law.per_buffer if law.kind == "event loop" else self.buffers[-1]
        allowed = f"give at most {most}: {law.per_buffer} M of {law.clients} clients are at work"
        require(self.buffers[-1] <= most, "buffers", self.buffers, allowed)
        distilled = isinstance(self.method, FedEcho)
        fits = not distilled or self.objective in PREDICTS
        require(fits, "objective", self.objective, f"FedEcho needs predictions: choose one of {', '.join(PREDICTS)}")
        by_norm = not isinstance(self.method, FedEcho) or self.method.distill.clip == "norm"
        require(by_norm, "clip", "value", "each trajectory is clipped by its own norm; set distill.clip to norm")
        require(distilled or self.teacher == "clients", "teacher", self.teacher, "only FedEcho has a teacher")


@dataclass(frozen=True)
class Point:
    """One T and M of a run with everything that depends on them."""

    rounds: int
    """T"""
    buffer: int
    """M"""
    gamma: float
    method: MethodConfig
    local: Local
    simulated: tuple[int, int]
    """Rounds and buffer that the method is simulated with: T and M, or T M steps of one arrival (FedAsync)."""


def step_size(run: TheoryRun, rounds: int, buffer: int) -> float:
    """Return gamma of the rule."""
    if run.step == "constant":
        return run.scale
    return run.scale * sqrt((buffer if run.step == "joint" else 1) / rounds)


def point(run: TheoryRun, rounds: int, buffer: int) -> Point:
    """Divide gamma into eta and eta_l = gamma / (eta K), with eta = sqrt(M), of the order that theorems choose.

    Adaptive methods divide their step by the size of the updates: their eta is c / sqrt(T), since a mean of M updates
    has noise of size 1/sqrt(M). FedAsync takes T M steps with gamma = c / sqrt(T M) = mixing * eta_l K.
    """
    gamma, eta, simulated = step_size(run, rounds, buffer), sqrt(buffer), (rounds, buffer)
    if run.local_lr is not None:
        eta = gamma / (run.local_lr * run.local_steps)
    method = run.method
    match method:
        case FADAS() | FedAC():
            eta, method = 1.0, replace(method, server_lr=run.scale / sqrt(rounds))
        case FedAsync():
            simulated, gamma = (rounds * buffer, 1), step_size(run, rounds * buffer, 1)
            eta = min(1.0, gamma / (_ASYNC_LR * run.local_steps))
            method = replace(method, mixing=eta)
        case FedEcho(inner=inner, distill=how):
            lr = how.lr * (run.rounds[0] / rounds) ** run.distil_power
            lr *= (buffer / run.buffers[0]) ** run.distil_buffer_power
            method = replace(method, inner=_with_server_lr(inner, eta), distill=replace(how, lr=lr))
        case _:
            method = _with_server_lr(method, eta)
    local = Local(gamma / (eta * run.local_steps), run.local_steps, run.variance)
    return Point(rounds, buffer, gamma, method, local, simulated)


def _with_server_lr(method: MethodConfig, eta: float) -> MethodConfig:
    """Set eta of a method whose step is linear in the updates."""
    if isinstance(method, FedBuff | CA2FL | FedAvg):
        return replace(method, server_lr=eta)
    raise InputError("method", method.name, "there is no rule for its step; choose one of the methods that have one")


def stability_limit(smoothness: float, tau_max: float) -> float:
    """Return 1 / (L (tau_max + 1)): a larger gamma may let stale steps amplify each other."""
    return 1 / (smoothness * (tau_max + 1))


def run_hash(run: TheoryRun) -> str:
    """Return the first 16 hex digits of the SHA-256 of the canonical JSON of `run` and `VERSION`."""
    return json_sha256([VERSION, to_dict(run)])[:16]
