"""What a theory run is: an objective, a law of arrivals, a method, a step-size rule, and the grid of T and M."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Interval

from fedecho.core.checks import BelowOne, Checked, Count, Natural, NotNegative, Positive, require
from fedecho.core.config import MethodConfig, to_dict
from fedecho.core.files import json_sha256
from fedecho.learning.methods.fedbuff import FedBuff
from fedecho.theory.arrivals import Arrivals

VERSION = 1
"""Bumped whenever the same run would give other numbers; records of an older version are not used."""

ObjectiveName = Literal["quadratic", "logistic", "images", "bounded", "network"]
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
        distill = getattr(self.method, "distill", None)
        fits = distill is None or self.objective in PREDICTS
        require(fits, "objective", self.objective, f"FedEcho needs predictions: choose one of {', '.join(PREDICTS)}")
        by_norm = distill is None or distill.clip == "norm"
        require(by_norm, "clip", "value", "each trajectory is clipped by its own norm; set distill.clip to norm")
        require(distill is not None or self.teacher == "clients", "teacher", self.teacher, "only FedEcho has a teacher")


def run_hash(run: TheoryRun) -> str:
    """Return the first 16 hex digits of the SHA-256 of the canonical JSON of `run` and `VERSION`."""
    return json_sha256([VERSION, to_dict(run)])[:16]
