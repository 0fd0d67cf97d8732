"""AdaMasFL, public reading: Yan, Zhong, Wang, Zhang, "Momentum-driven adaptivity: towards tuning-free asynchronous
federated learning", ICML 2025, PMLR 267:70410-70441.

Unspecified in paper (as far as it could be read): all equations. They are those of one public re-implementation
(github.com/wangpengyu2004/AFVLM_CM, commit 5c376a2), itself of adapters to a frozen model; a poor result here may be
theirs or ours rather than the paper's.
Departure: clients count alike, as for all methods here; the re-implementation weighs them by their number of images.
Departure: Delta is divided by K eta_l, which the re-implementation does only where that is above 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from fedecho.core.checks import Positive, PositiveShare
from fedecho.core.config import MethodConfig
from fedecho.core.settings import Local
from fedecho.learning.client import Update
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import Buffer, Method, exchange, mean_buffers, register


@dataclass(frozen=True)
class AdaMasFL(MethodConfig):
    """Local steps `x <- x - eta_l d / |d|`, d = beta (grad F_i - c_i + c) + (1 - beta) g; then, G_j being the mean of
    the K gradients of client j, x <- x + eta (1/M) sum_j Delta_j / (K_j eta_l), g <- beta (c + (1/M) sum_j (G_j - c_j))
    + (1 - beta) g, c <- c + (1/N) sum_j (G_j - c_j) and c_j <- G_j.

    Only the direction of d counts, so clients add c + (1/beta - 1) g - c_i to their gradients; one vector is sent.
    """

    name: ClassVar[str] = "adamasfl"
    server_lr: Positive = 1.0
    """eta: a round moves x by at most about eta, in the norm over all parameters, whatever eta_l is."""
    beta: PositiveShare = 0.9


@dataclass(frozen=True, eq=False, kw_only=True)
class Momentum(Buffer):
    """The buffer, the server's control c and momentum g `[P]` and the clients' controls c_i `[N, P]`."""

    control: Tensor
    momentum: Tensor
    client_controls: Tensor


def adamasfl(config: AdaMasFL, local: Local) -> Method[Momentum]:
    """Return AdaMasFL-public as a method; its state is N + 2 vectors, 4 (N + 2) P bytes; each client needs one.

    Versions and uploads each carry one vector more than FedBuff's: c + (1/beta - 1) g and G_i.
    """

    def init(x0: Weights, clients: int) -> Momentum:
        zeros = torch.zeros_like(x0.params)
        return Momentum(control=zeros, momentum=zeros, client_controls=zeros.new_zeros(clients, len(zeros)))

    def broadcast(state: Momentum) -> Tensor:
        return state.control + (1 / config.beta - 1) * state.momentum

    def correction(state: Momentum, client: int, sent: Tensor | None) -> Tensor | None:
        return None if sent is None else sent - state.client_controls[client]

    def close_round(state: Momentum, x: Weights) -> tuple[Momentum, Weights]:
        updates = state.ordered()
        moves = torch.stack([_moved(state, update) for update in updates]).mean(0)
        # From where each began: a difference of versions in Delta_j would be divided by eta_l too.
        direction = torch.stack([update.moved / (update.steps * local.lr) for update in updates]).mean(0)
        momentum = config.beta * (state.control + moves) + (1 - config.beta) * state.momentum
        control = state.control + len(updates) / len(state.client_controls) * moves
        x_new = Weights(x.params + config.server_lr * direction, mean_buffers(updates))
        return replace(state, updates=(), control=control, momentum=momentum), x_new

    return Method(init, Momentum.add, close_round, broadcast=broadcast, correction=correction, normalised=True)


def _moved(state: Momentum, update: Update) -> Tensor:
    """Replace c_i with G_i and return the difference G_i - c_i."""
    assert update.gradient is not None  # clients of a method that is `normalised` send it
    return update.gradient - exchange(state.client_controls, update.client, update.gradient)


register(AdaMasFL, lambda config, server: adamasfl(config, server.local), Momentum)
