"""The interface of a method: a frozen dataclass of functions, like fedjax's algorithms and optax's transformations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from fedecho.core.checks import require
from fedecho.core.clock import Clock
from fedecho.core.config import MethodConfig
from fedecho.core.settings import Local
from fedecho.learning.client import ClientData, Update
from fedecho.learning.distill import Teacher, distil
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import FlatModel, Weights
from fedecho.simulation.schedule import Schedule

S = TypeVar("S")
Distil = Callable[
    [FlatModel, Weights, Tensor, Teacher, Distillation, tuple[int, int]], tuple[Weights, dict[str, float]]
]
"""The signature of `distill.distil`."""


@dataclass(frozen=True, eq=False)
class Server:
    """What a method may use besides the updates: the pool, a workspace model, the schedule, its random streams."""

    model: FlatModel
    pool: Tensor
    """U `[pool, channels, height, width]`, normalised, never augmented, without labels."""
    plan: Schedule
    local: Local
    seed: int
    clock: Clock = field(default_factory=Clock)
    write: Callable[[Weights], Tensor] | None = None
    """Samples U from a version of the model, if U is the server's own text; `pool` then only gives its shape."""
    distil: Distil = distil
    """Takes the Q steps; replaced if one `FlatModel` stands for many models (theory runs)."""


@dataclass(frozen=True)
class Method(Generic[S]):
    """A server algorithm. Its functions consume the state: large tensors in it (caches, banks) are updated in place."""

    init: Callable[[Weights, int], S]
    """(x_0, N) -> state."""
    receive: Callable[[S, Update], S]
    """(state, update) -> state, for one arrival; must not depend on the order of different clients within a round."""
    close_round: Callable[[S, Weights], tuple[S, Weights]]
    """(state, x_t) -> (state, x_{t+1}) after the M-th arrival."""
    broadcast: Callable[[S], Tensor | None] = lambda state: None
    """What travels to clients with a new version besides the weights (FedAC: the server's control variate)."""
    correction: Callable[[S, int, Tensor | None], Tensor | None] = lambda state, client, sent: None
    """(state, client, what was broadcast with its version) -> what it adds to each local gradient `[P]`."""
    report: Callable[[S, int, ClientData], Tensor | None] = lambda state, client, data: None
    """(state, client, its data) -> what it also reports about its data, computed at the client."""
    evaluated: Callable[[S, Weights], Weights] = lambda state, x: x
    """(state, x) -> the model that is scored (e.g. an average of the iterates); clients always get x itself."""
    metrics: Callable[[S], dict[str, float]] = lambda state: {}
    """Numbers about the last closed round, for the record."""
    proximal: float = 0.0
    """rho of the clients' proximal term."""
    normalised: bool = False
    """Whether clients divide each local step by its norm, and send the mean of their gradients too (AdaMasFL)."""


@dataclass(frozen=True, eq=False)
class Buffer:
    """A method's state: the round's updates so far, kept until it closes so that no sum depends on their order.

    Methods that keep more between rounds subclass it.
    """

    updates: tuple[Update, ...] = ()

    def add(self, update: Update) -> Self:
        """Return the state with one more update."""
        return replace(self, updates=(*self.updates, update))

    def ordered(self) -> tuple[Update, ...]:
        """Return the updates by arrival time, then client."""
        return tuple(sorted(self.updates, key=lambda update: (update.arrived_at, update.client)))


def mean_delta(updates: Sequence[Update], weights: Sequence[float] | None = None) -> Tensor:
    """Return (1/M) sum_i w_i Delta_i `[P]` over the M accepted updates; w_i is not normalised and 1 by default."""
    deltas = torch.stack([update.delta for update in updates])
    return deltas.mean(0) if weights is None else (deltas * deltas.new_tensor(weights)[:, None]).mean(0)


def exchange(kept: Tensor, client: int, new: Tensor) -> Tensor:
    """Replace a client's row of `kept` `[N, P]` with `new` `[P]` and return the old row."""
    old = kept[client].clone()
    kept[client] = new
    return old


def mean_buffers(updates: Sequence[Update]) -> Tensor:
    """Return the plain mean of the clients' BatchNorm statistics `[B]`, as the official FADAS code does."""
    return torch.stack([update.buffers for update in updates]).mean(0)


Factory = Callable[[Any, Server], Method[Any]]
FACTORIES: dict[type[MethodConfig], Factory] = {}
STATES: set[type] = {Buffer, Update, Weights}


def register(config: type[MethodConfig], factory: Factory, *states: type) -> None:
    """Register the factory for a method's config; `states` are the classes that its saved state consists of."""
    FACTORIES[config] = factory
    STATES.update(states)


def build(config: MethodConfig, server: Server) -> Method[Any]:
    """Return the method that `config` describes; one of a user's own is checked as it goes."""
    method = FACTORIES[type(config)](config, server)
    return _checked(method, config.name) if config.plugin else method


def _checked(method: Method[S], name: str) -> Method[S]:
    """Return a method that raises `InputError` where a round does not end in a new model."""

    def close_round(state: S, x: Weights) -> tuple[S, Weights]:
        made = method.close_round(state, x)
        ended = isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], Weights)
        allowed = "its close_round has to return (state, Weights), the step of `buffered` Weights(params, buffers)"
        require(ended, "method", name, allowed)
        return made

    return replace(method, close_round=close_round)


def buffered(step: Callable[[tuple[Update, ...], Weights], Weights]) -> Method[Buffer]:
    """Return a method that keeps nothing between rounds: `step` maps a round's M updates and x_t to x_{t+1}."""

    def close_round(state: Buffer, x: Weights) -> tuple[Buffer, Weights]:
        return Buffer(), step(state.ordered(), x)

    return Method(lambda x0, clients: Buffer(), Buffer.add, close_round)


def around(inner: Method[Any], method: Method[Any]) -> Method[Any]:
    """Return `method` as a wrapper of `inner`, whose state it holds as `.inner`.

    Broadcast, correction, proximal term and normalised steps are those of `inner`; its metrics come first.
    """
    return replace(
        method,
        broadcast=lambda state: inner.broadcast(state.inner),
        correction=lambda state, client, sent: inner.correction(state.inner, client, sent),
        metrics=lambda state: inner.metrics(state.inner) | method.metrics(state),
        proximal=inner.proximal,
        normalised=inner.normalised,
    )
