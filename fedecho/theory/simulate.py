"""Trajectories: a method of the library replayed over an order of arrivals, for many trajectories at a time.

Those of a batch lie one after the other in the flat vector `[trajectories * P]` that a method works on. A method whose
step treats the numbers one by one does not notice; one that looks at whole vectors gets each alone (`ALONE`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedecho.core.rng import stream
from fedecho.learning.client import LEAST_NORM, Update
from fedecho.learning.flat import Weights
from fedecho.learning.methods import FedAC, Method
from fedecho.theory.arrivals import Order
from fedecho.theory.objectives import Objective

ALONE = (FedAC,)
"""Methods that look at a whole update at once (the cosine of two vectors): one trajectory each."""
FINENESS = 1.03
"""In the first half rounds are measured at this ratio: all of the first, then one in the middle of each stretch."""
LATE = 48
"""So many rounds are measured in the second half, at most: one in the middle of each of as many equal stretches."""
_CHUNK, _LOOK, _AT_ONCE = 64, 100, 8
_NOTHING = torch.empty(0, dtype=torch.float64)


@dataclass(frozen=True)
class Local:
    """A client's work: K steps x <- x - eta_l (grad F_i(x) + noise), its noise of total variance sigma^2."""

    lr: float
    steps: int = 1
    variance: float = 1.0


@dataclass(frozen=True, eq=False)
class Path:
    """What was measured along trajectories: `|grad f(x_t)|^2` `[rounds, trajectories]` at some rounds."""

    squares: Tensor
    at: Tensor
    """The rounds t that were measured `[rounds]`."""
    stands_for: Tensor
    """How many of the T rounds each of them stands for `[rounds]`."""
    metrics: dict[str, float]
    """Means over the rounds of what the method reports."""

    def measures(self) -> dict[str, Tensor]:
        """Return by name `[trajectories]`: the mean `(1/T) sum_t |grad f(x_t)|^2`, which the theorem bounds; late, the
        same over the second half of the rounds; and the least, which falls faster than the mean and proves nothing."""
        late = self.stands_for * (self.at >= int(self.stands_for.sum()) // 2)
        return {"mean": self._mean(self.stands_for), "late": self._mean(late), "least": self.squares.amin(0)}

    def _mean(self, weight: Tensor) -> Tensor:
        return (weight[:, None] * self.squares).sum(0) / weight.sum()


def measured_rounds(rounds: int) -> tuple[Tensor, Tensor]:
    """Return the rounds in 0..T-1 that are measured, and how many of the T each stands for."""
    half = rounds // 2
    first = np.ceil(FINENESS ** np.arange(1 + np.log(max(half, 1)) / np.log(FINENESS))) - 1
    late = np.linspace(half, rounds, LATE + 1).round()
    edges = np.unique(np.concatenate([first[first < half], late])).astype(np.int64)
    edges[0] = 0
    return torch.from_numpy((edges[:-1] + edges[1:] - 1) // 2), torch.from_numpy(np.diff(edges))


def noise(local: Local, shape: tuple[int, ...], seed: int, identity: tuple[int, ...]) -> Iterator[Tensor]:
    """Yield the noise of one local step of one round `[M, trajectories, P]` after the other; zeros where there is none.

    Each of the P numbers has the variance sigma^2 / P.
    """
    if local.variance == 0:
        yield from itertools.repeat(torch.zeros(shape, dtype=torch.float64))
    rng, scale = stream(seed, "theory-noise", *identity), math.sqrt(local.variance / shape[-1])
    while True:
        yield from torch.from_numpy(scale * rng.standard_normal((_CHUNK, *shape)))


def work(
    objective: Objective, starts: Tensor, which: Tensor, local: Local, noises: Iterator[Tensor], extra: Tensor | float,
    proximal: float, normalised: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return Delta_i `[M, trajectories, P]` of local work from `starts`, and the mean of its K gradients; `extra` is
    added to every gradient, and where steps are `normalised` the sum is divided by its norm."""
    x, gradients = starts, torch.zeros_like(starts)
    for _ in range(local.steps):
        gradient = objective.gradient(x, which) + next(noises)
        gradients += gradient
        step = gradient + extra
        step = step + proximal * (x - starts) if proximal else step
        x = x - local.lr * (step / step.norm(dim=-1, keepdim=True).clamp_min(LEAST_NORM) if normalised else step)
    return x - starts, gradients / local.steps


def together(
    objective: Objective, method: Method[Any], order: Order, assigned: Tensor, local: Local, x0: Tensor, seed: int,
    identity: tuple[int, ...] = (),
) -> Path:  # fmt: skip
    """Simulate `method` over `order` from `x0` `[trajectories, P]`, all trajectories at once.

    `assigned` `[trajectories, N]` names the objective of each place; `seed` and `identity` name the stream of noise. A
    trajectory that leaves the finite numbers stays there, as not finite; once all have left them the run is over.
    """
    rounds, buffer = order.client.shape
    which = assigned.T[torch.from_numpy(order.client)]  # [T, M, trajectories]
    noises = noise(local, (buffer, *x0.shape), seed, identity)
    history = torch.empty(rounds + 1, *x0.shape, dtype=torch.float64)
    history[0] = x0
    state, sent, metrics = method.init(Weights(x0.reshape(-1), _NOTHING), len(order.speed)), [], []
    for t in range(rounds):
        if t % _LOOK == 0 and not torch.isfinite(history[t]).all(-1).any():
            history[t:] = torch.nan
            break
        sent.append(method.broadcast(state))
        bases = order.base[t]
        starts = history[torch.from_numpy(bases)]
        terms = [method.correction(state, int(i), sent[s]) for i, s in zip(order.client[t], bases, strict=True)]
        extra = 0.0 if terms[0] is None else torch.stack([c for c in terms if c is not None]).view_as(starts)
        done = work(objective, starts, which[t], local, noises, extra, method.proximal, method.normalised)
        deltas, gradients = (vectors.reshape(buffer, -1) for vectors in done)
        for j, (client, base) in enumerate(zip(order.client[t].tolist(), bases.tolist(), strict=True)):
            start = Weights(starts[j].reshape(-1), _NOTHING)
            upload = Update(client, base, t, float(j), start, deltas[j], _NOTHING, local.steps, terms[j],
                            gradient=gradients[j])  # fmt: skip
            state = method.receive(state, upload)
        state, x = method.close_round(state, Weights(history[t].reshape(-1), _NOTHING))
        history[t + 1] = x.params.view_as(x0)
        metrics.append(method.metrics(state))
    at, stands_for = measured_rounds(rounds)
    # All at once they would not fit the cache: the points of all clients, for each trajectory and each measured round.
    squares = [(objective.mean_gradient(some) ** 2).sum(-1) for some in torch.split(history[at], _AT_ONCE)]
    names = metrics[-1] if metrics else ()
    means = {name: float(np.mean([m[name] for m in metrics if name in m])) for name in names}
    return Path(torch.cat(squares), at, stands_for, means)


def one_by_one(objective: Objective, method: Method[Any], order: Order, assigned: Tensor, local: Local, x0: Tensor,
               seed: int, identity: tuple[int, ...] = ()) -> Path:  # fmt: skip
    """Simulate each trajectory alone; otherwise like `together`."""
    paths = [
        together(objective, method, order, assigned[k : k + 1], local, x0[k : k + 1], seed, (*identity, k))
        for k in range(len(x0))
    ]
    return replace(paths[0], squares=torch.cat([path.squares for path in paths], 1))
