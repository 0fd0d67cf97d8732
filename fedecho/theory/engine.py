"""Simulates theory runs: the step of each method at every T and M of a grid, and one record of what was seen."""

from __future__ import annotations

import functools
import math
import time
import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fedecho.core import provenance
from fedecho.core.checks import InputError
from fedecho.core.config import MethodConfig, to_dict
from fedecho.core.settings import Local as ClientWork
from fedecho.learning import methods
from fedecho.learning.experiment import one_thread
from fedecho.theory import arrivals, echo, simulate
from fedecho.theory.config import TheoryRun, run_hash
from fedecho.theory.objectives import client_spread, suboptimality
from fedecho.theory.records import Row, TheoryRecord
from fedecho.theory.simulate import Local
from fedecho.theory.softmax import Softmax
from fedecho.theory.tasks import Built, build

_DIGITS = 8
_ASYNC_LR = 0.5
"""FedAsync's eta_l: with a rate that shrinks in place of the share mixed in, stale models would hold it back."""


class StabilityWarning(UserWarning):
    """A step so large that stale updates may amplify each other."""


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
    return run.scale * math.sqrt((buffer if run.step == "joint" else 1) / rounds)


def point(run: TheoryRun, rounds: int, buffer: int) -> Point:
    """Divide gamma into eta and eta_l = gamma / (eta K), with eta = sqrt(M), of the order that theorems choose.

    Adaptive methods divide their step by the size of the updates: their eta is c / sqrt(T), since a mean of M updates
    has noise of size 1/sqrt(M). FedAsync takes T M steps with gamma = c / sqrt(T M) = mixing * eta_l K. AREA has no
    eta, but a round renews M of the N models that it averages, so that gamma = (M/N) eta_l K.
    """
    gamma, eta, simulated = step_size(run, rounds, buffer), math.sqrt(buffer), (rounds, buffer)
    if run.local_lr is not None:
        eta = gamma / (run.local_lr * run.local_steps)
    method = run.method
    match method:
        case methods.FADAS() | methods.FedAC() | methods.AdaMasFL():
            eta, method = 1.0, replace(method, server_lr=run.scale / math.sqrt(rounds))
        case methods.FedAsync():
            simulated, gamma = (rounds * buffer, 1), step_size(run, rounds * buffer, 1)
            eta = min(1.0, gamma / (_ASYNC_LR * run.local_steps))
            method = replace(method, mixing=eta)
        case methods.AREA():
            eta = buffer / run.arrivals.clients
        case methods.FedEcho(inner=inner, distill=how):
            lr = how.lr * (run.rounds[0] / rounds) ** run.distil_power
            lr *= (buffer / run.buffers[0]) ** run.distil_buffer_power
            method = replace(method, inner=_with_server_lr(inner, eta), distill=replace(how, lr=lr))
        case _:
            method = _with_server_lr(method, eta)
    local = Local(gamma / (eta * run.local_steps), run.local_steps, run.variance)
    return Point(rounds, buffer, gamma, method, local, simulated)


def _with_server_lr(method: MethodConfig, eta: float) -> MethodConfig:
    """Set eta of a method whose step is linear in the updates."""
    if isinstance(method, methods.FedBuff | methods.CA2FL | methods.FedAvg | methods.FedStaleAsync):
        return replace(method, server_lr=eta)
    raise InputError("method", method.name, "there is no rule for its step; choose one of the methods that have one")


def stability_limit(smoothness: float, tau_max: float) -> float:
    """Return 1 / (L (tau_max + 1)): a larger gamma may let stale steps amplify each other."""
    return 1 / (smoothness * (tau_max + 1))


@one_thread()
def execute(run: TheoryRun) -> TheoryRecord:
    """Simulate every T and M of a run; warns with the number where a step exceeds the limit of stability."""
    begin, built = time.process_time(), build(run)
    rows = [_row(run, built, point(run, t, m)) for m in run.buffers for t in run.rounds]
    above = [row for row in rows if row["limit"] is not None and row["gamma"] > row["limit"]]
    if above:
        worst = max(above, key=lambda row: row["gamma"] / row["limit"])
        warnings.warn(
            f"{run.objective}: gamma = {worst['gamma']:.3g} at T = {worst['rounds']}, M = {worst['buffer']} is above "
            f"the stability limit 1/(L (tau_max + 1)) = {worst['limit']:.3g}; {len(above)} points are marked unstable",
            StabilityWarning, stacklevel=2,
        )  # fmt: skip
    facts, seconds = _facts(run, built), round(time.process_time() - begin, 2)
    return TheoryRecord(to_dict(run), run_hash(run), rows, facts, seconds, provenance.collect("cpu"))


def execute_quietly(run: TheoryRun) -> TheoryRecord:
    """Simulate a run without that warning: tables count the points that their records mark unstable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StabilityWarning)
        return execute(run)


def order_of(run: TheoryRun, at: Point) -> arrivals.Order:
    """Return the arrivals of one point: the first of those of the largest T.

    They come in steps of one arrival where the method takes M times as many steps.
    """
    rounds, buffer = at.simulated
    law = run.arrivals
    if isinstance(at.method, methods.FedAsync):
        law = replace(law, per_buffer=law.per_buffer * at.buffer, tau_max=(law.tau_max + 1) * at.buffer - 1)
    return arrivals.draw(law, run.rounds[-1] * rounds // at.rounds, buffer, run.seed).first(rounds)


def _row(run: TheoryRun, built: Built, at: Point) -> Row:
    order = order_of(run, at)
    assigned = arrivals.assign(run.arrivals, order, built.objective, run.walks, run.seed)
    x0 = built.x0.repeat(run.walks, 1)
    simulated = simulate.one_by_one if isinstance(at.method, simulate.ALONE) else simulate.together
    path = simulated(
        built.objective, _method(run, built, at, x0), order, assigned, at.local, x0, run.seed, at.simulated
    )
    taus = order.staleness
    limit = _limit(at, built.objective.smoothness, float(taus.max()))
    finite = bool(torch.isfinite(path.squares).all())
    return {
        "rounds": at.rounds, "buffer": at.buffer, "gamma": _number(at.gamma), "limit": _number(limit),
        "status": "diverged" if not finite else "unstable" if at.gamma > limit else "done",
        "tau_avg": _number(float(taus.mean())), "tau_max": int(taus.max()),
        **{name: _numbers(values) for name, values in path.measures().items()},
        **{name: _number(value) for name, value in path.metrics.items()},
    }  # fmt: skip


def _limit(at: Point, smoothness: float, tau_max: float) -> float:
    """Return the largest gamma that is stable: there is none where a step is not gamma, as those of adaptive methods;
    AREA averages models that each move by eta_l, and so has the limit of plain gradient descent, eta_l < 2/L."""
    match at.method:
        case methods.FADAS() | methods.FedAC() | methods.AdaMasFL():
            return math.inf
        case methods.AREA():
            return 2 / smoothness * at.gamma / at.local.lr
    return stability_limit(smoothness, tau_max)


def _method(run: TheoryRun, built: Built, at: Point, x0: Tensor) -> methods.Method[Any]:
    """Build the library's method; FedEcho gets a server for all trajectories, and a misleading teacher where asked."""
    if isinstance(at.method, methods.FedEcho):
        assert isinstance(built.objective, Softmax) and built.pool is not None
        server = echo.server(built.objective, built.pool, x0, run.seed)
        if run.teacher != "clients":
            return echo.misled(methods.build(at.method.inner, server), server, at.method.distill, run.teacher)
        return methods.build(at.method, server)
    local = ClientWork(lr=at.local.lr)  # FedAC divides an update by it
    none = torch.empty(0)
    return methods.build(at.method, methods.Server(None, none, None, local, run.seed))  # type: ignore[arg-type]


def _facts(run: TheoryRun, built: Built) -> dict[str, Any]:
    objective, law = built.objective, run.arrivals
    biased = law.bias != 1 or (law.kind == "event loop" and law.delays.model not in ("constant", "uniform"))
    return {
        "smoothness": _number(objective.smoothness),
        "client_spread": _number(client_spread(objective)),
        "suboptimality": _number(suboptimality(objective, built.x0)),
        **({"plateau": _numbers(plateau(run))} if biased and objective.convex else {}),
        "arrivals": {name: _number(v) for name, v in _last_order(run).statistics().items()},
    }  # fmt: skip


def _last_order(run: TheoryRun) -> arrivals.Order:
    return order_of(run, point(run, run.rounds[-1], run.buffers[-1]))


def plateau(run: TheoryRun) -> Tensor:
    """Return `|grad f|^2` `[trajectories]` where the arrival-weighted sum_i p_i F_i is least: there FedBuff is
    predicted to end.

    p_i are the shares of the arrivals over the second half of the rounds, at the largest T and M.
    """
    if isinstance(run.method, methods.FedAsync):  # its arrivals are counted one by one
        return _plateau(run)
    alike = {"teacher": "clients", "distil_power": 0.0, "distil_buffer_power": 0.0, "local_steps": 1, "local_lr": None}
    return _plateau(replace(run, method=methods.FedBuff(), **alike))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=32)
def _plateau(run: TheoryRun) -> Tensor:
    order, objective = _last_order(run), build(run).objective
    assigned = arrivals.assign(run.arrivals, order, objective, run.walks, run.seed)
    weights = torch.zeros(run.walks, objective.count, dtype=torch.float64)
    weights.scatter_add_(1, assigned, torch.from_numpy(order.shares(len(order.base) // 2)).expand(run.walks, -1))
    ends = torch.stack([objective.stationary(w) for w in weights])
    return (objective.mean_gradient(ends) ** 2).sum(-1)


def _number(value: float) -> float | None:
    """Round to 8 significant digits; what is not finite becomes none."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _numbers(values: Tensor) -> list[float | None]:
    return [_number(value) for value in values.tolist()]
