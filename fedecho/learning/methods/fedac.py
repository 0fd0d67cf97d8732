"""FedAC-public: Zang et al., "Efficient asynchronous federated learning with prospective momentum aggregation and
fine-grained correction", AAAI 2024, doi 10.1609/aaai.v38i15.29603.

Unspecified in paper (as far as it could be read): all equations. This is what independent public re-implementations
agree on, with the correction of SCAFFOLD inside each step; a poor result here may be theirs or ours rather than the
paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fedecho.core.checks import BelowOne, Positive, PositiveShare
from fedecho.core.config import MethodConfig
from fedecho.core.settings import Local
from fedecho.learning.client import Update
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import Buffer, Method, exchange, mean_buffers, register


@dataclass(frozen=True)
class FedAC(MethodConfig):
    """Similarity-weighted buffer, look-ahead momentum over an adaptive step, control variates on the clients."""

    name: ClassVar[str] = "fedac"
    server_lr: Positive = 1e-3
    """eta_g"""
    beta1: BelowOne = 0.6
    beta2: BelowOne = 0.9
    eps: Positive = 1e-8
    similarity_floor: PositiveShare = 0.1
    """Least weight r_i of an update before normalisation."""
    correction: Literal["per_step", "none"] = "per_step"
    """Add c - c_i to every local gradient, or leave the clients' gradients alone."""
    control_step: Literal["scaffold", "weighted"] = "scaffold"
    """c moves by (1/N) sum dC_i, or by sum w_i dC_i (N/M times more; over-reactive)."""

    def validate(self) -> None:
        """Check that `control_step` is set only if there is a correction."""
        self.unread(self.correction == "none", "with correction = none c stays 0", "control_step")


@dataclass(frozen=True, eq=False, kw_only=True)
class Controlled(Buffer):
    """The buffer, moments m, v `[P]`, the server's control c `[P]` and the clients' c_i `[N, P]`."""

    first: Tensor
    second: Tensor
    control: Tensor
    client_controls: Tensor


def similarity(update: Update, x: Weights, floor: float) -> float:
    """Return r_i = max(cos(x_t - x_s, Delta_i), floor); 1 for a fresh update, whose temporal gradient is 0."""
    if update.staleness == 0:
        return 1.0
    return max(float(F.cosine_similarity(x.params - update.start.params, update.delta, dim=0)), floor)


def fedac(config: FedAC, local: Local) -> Method[Controlled]:
    """Return FedAC-public as a method; its state has the size of N + 3 models."""

    def init(x0: Weights, clients: int) -> Controlled:
        zeros = torch.zeros_like(x0.params)
        controls = zeros.new_zeros(clients, len(zeros))
        return Controlled(first=zeros, second=zeros, control=zeros, client_controls=controls)

    def correction(state: Controlled, client: int, sent: Tensor | None) -> Tensor | None:
        if sent is None or config.correction == "none":
            return None
        return sent - state.client_controls[client]

    def close_round(state: Controlled, x: Weights) -> tuple[Controlled, Weights]:
        updates = state.ordered()
        similarities = [similarity(update, x, config.similarity_floor) for update in updates]
        weights = [value / sum(similarities) for value in similarities]
        delta = torch.stack([w * u.delta for w, u in zip(weights, updates, strict=True)]).sum(0)
        first = config.beta1 * state.first + (1 - config.beta1) * delta
        second = config.beta2 * state.second + (1 - config.beta2) * delta**2
        ahead = config.beta1 * first + (1 - config.beta1) * delta
        params = x.params + config.server_lr * ahead / (second.sqrt() + config.eps)
        control = state.control + move_controls(state, updates, weights)
        state = replace(state, updates=(), first=first, second=second, control=control)
        return state, Weights(params, mean_buffers(updates))

    def move_controls(state: Controlled, updates: tuple[Update, ...], weights: list[float]) -> Tensor:
        """Set c_i <- (x_s - x_i) / (K eta_l) - (c - c_i), with c - c_i as it was during the job; return the step of c.

        Clients keep c_i, so x_s is the version that they started from, whichever version Delta_i is relative to.
        """
        moves = []
        for update in updates:
            if update.correction is None:
                return torch.zeros_like(state.control)
            new = -update.moved / (update.steps * local.lr) - update.correction
            moves.append(new - exchange(state.client_controls, update.client, new))
        scaffold = [1 / len(state.client_controls)] * len(moves)
        shares = scaffold if config.control_step == "scaffold" else weights
        return torch.stack([share * move for share, move in zip(shares, moves, strict=True)]).sum(0)

    return Method(init, Controlled.add, close_round, broadcast=lambda state: state.control, correction=correction)


register(FedAC, lambda config, server: fedac(config, server.local), Controlled)
