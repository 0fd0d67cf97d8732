"""What the runs of the theory tables start from: the grids of each profile, the constants of each objective, methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedecho.core.checks import require
from fedecho.core.config import MethodConfig
from fedecho.learning.distill import Distillation
from fedecho.learning.methods import CA2FL, FADAS, FedAC, FedAsync, FedBuff, FedEcho
from fedecho.studies import profiles
from fedecho.theory.arrivals import Arrivals
from fedecho.theory.config import TheoryRun

Grid = Sequence[int]
"""T or M, rising; empty = that of the profile."""


@dataclass(frozen=True)
class Scale:
    """The grids of a profile."""

    rounds: tuple[int, ...]
    buffers: tuple[int, ...]
    few_rounds: tuple[int, ...]
    few_buffers: tuple[int, ...]
    """Of what costs more."""
    late_rounds: tuple[int, ...]
    """Where trajectories have to be long: plateaus, images."""
    control_rounds: tuple[int, ...]
    control_buffers: tuple[int, ...]
    echo_buffers: tuple[int, ...]
    """Of what costs most: FedEcho, FedAC, FedAsync (M times as many steps), images, four steps of the network."""
    floor_rounds: int
    floor_buffers: tuple[int, ...]
    term_rounds: int
    walks: int
    biased_walks: int
    """Where a plateau is predicted for each trajectory."""
    lone_walks: int
    """Of methods whose trajectories are simulated one by one."""
    seed: int = 0


_T, _M = (250, 500, 1000, 2000, 4000, 8000), (1, 2, 4, 8, 16)
SCALES = {
    "smoke": Scale(
        (100, 200, 400), (1, 2, 4), few_rounds=(50, 100), few_buffers=(1, 2), late_rounds=(50, 100),
        control_rounds=(100, 200, 400), control_buffers=(1, 2, 4), echo_buffers=(1, 2), floor_rounds=300,
        floor_buffers=(1, 4, 16), term_rounds=200, walks=24, biased_walks=4, lone_walks=2,
    ),
    "laptop": Scale(
        _T, _M, few_rounds=_T[:4], few_buffers=(1, 4, 16), late_rounds=_T[1:4], control_rounds=_T[:4],
        control_buffers=(1, 4, 16), echo_buffers=(1, 4), floor_rounds=2000, floor_buffers=_M, term_rounds=3000,
        walks=24, biased_walks=24, lone_walks=4,
    ),
    "paper": Scale(
        (*_T, 16000), _M, few_rounds=_T[:5], few_buffers=(1, 4, 16), late_rounds=_T[2:5], control_rounds=_T[:5],
        control_buffers=_M, echo_buffers=(1, 4, 16), floor_rounds=4000, floor_buffers=(*_M, 32), term_rounds=8000,
        walks=64, biased_walks=64, lone_walks=24,
    ),
}  # fmt: skip
CONSTANTS: dict[str, dict[str, float]] = {
    "quadratic": {"scale": 0.4, "variance": 4.0},
    "logistic": {"scale": 0.5, "variance": 4.0},
    "images": {"scale": 0.5, "variance": 4.0},
    "bounded": {"scale": 0.2, "variance": 16.0},
    "network": {"scale": 0.5, "variance": 4.0},
}
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
METHODS: dict[str, MethodConfig] = {
    "FedBuff": FedBuff(), "CA2FL": CA2FL(), "FADAS": FADAS(), "FedAC-public": FedAC(),
    "FedAsync": FedAsync(staleness="constant", proximal=0.0), "FedEcho": FedEcho(distill=DISTIL),
}  # fmt: skip


def scale(profile: str, rounds: Grid = (), buffers: Grid = (), seed: int = 0) -> Scale:
    """Return the grids of a profile, or those given for every run; raises `InputError` for any that cannot be."""
    grids = replace(SCALES[profiles.profile(profile).name], seed=seed)
    checked = TheoryRun(rounds=rounds or grids.rounds, buffers=buffers or grids.buffers, seed=seed)  # type: ignore[arg-type]
    if rounds:
        names = ("rounds", "few_rounds", "late_rounds", "control_rounds")
        grids = replace(grids, **dict.fromkeys(names, checked.rounds), floor_rounds=checked.rounds[-1])  # type: ignore[arg-type]
    if buffers:
        names = ("buffers", "few_buffers", "control_buffers", "echo_buffers", "floor_buffers")
        grids = replace(grids, **dict.fromkeys(names, checked.buffers))  # type: ignore[arg-type]
    return grids


def base(objective: str, grids: Scale, **changes: Any) -> TheoryRun:
    """Return an objective's run over the whole grid."""
    grid = {"rounds": grids.rounds, "buffers": grids.buffers, "walks": grids.walks, "seed": grids.seed}
    return TheoryRun(**{"objective": objective, **grid, **CONSTANTS[objective], **changes})


def few(run: TheoryRun, grids: Scale, **changes: Any) -> TheoryRun:
    """Return `run` over the smaller grid."""
    return replace(run, **{"rounds": grids.few_rounds, "buffers": grids.few_buffers, **changes})


def require_known(name: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise `InputError` for one of the values `given` for a parameter that is not known."""
    for value in given:
        require(value in known, name, value, f"choose among {', '.join(known)}")
