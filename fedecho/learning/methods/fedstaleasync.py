"""FedStaleAsync: anonymous code, github.com/anon8281714-boop/FedStaleAsync (commit e4bd2e5); its synchronous ancestor
is FedStale (Rodio, Neglia, "FedStale: leveraging stale client updates in federated learning", arXiv 2405.04171).

With beta = 1 and p = 1 it is the buffered form of ACE (Chang et al., "Mitigating participation imbalance bias in
asynchronous federated learning", arXiv 2511.19066) that the same code has beside it.

Unspecified in paper: no text of FedStaleAsync could be found; equations as in the code, with weights that do not depend
on staleness. Its estimates of p by client (by group, by the intervals between arrivals) are left out.
Departure: clients count alike, as for all methods here; the code weighs them by their number of images too. ACE itself
steps at every arrival, by one gradient a visit; here it shares the buffer and the local epochs of the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fedecho.core.checks import Positive, Share
from fedecho.core.config import MethodConfig
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import Buffer, Method, exchange, mean_buffers, mean_delta, register


@dataclass(frozen=True)
class FedStaleAsync(MethodConfig):
    """x_{t+1} = x_t + eta * (1/n) (sum_j (Delta_j - beta h_j) / p + beta sum_i h_i), over the M updates j of the buffer
    and the n clients i heard so far; h_i is the last update of i before this round."""

    name: ClassVar[str] = "fedstaleasync"
    server_lr: Positive = 1.0
    """eta"""
    beta: Share = 0.5
    """How much a remembered update counts. Unspecified in paper: its value; 0 with uniform p is FedBuff."""
    participation: Literal["uniform", "certain"] = "uniform"
    """p, the probability that a client is in a buffer: M/n, as if all were equally fast, or 1 (ACE). With
    M/n, a share 1 - beta of the bias towards fast clients remains once updates no longer change."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Remembered(Buffer):
    """The buffer, every client's last update h_i `[N, P]` (0 before its first), and who was heard `[N]`."""

    cache: Tensor
    heard: Tensor


def fedstaleasync(config: FedStaleAsync) -> Method[Remembered]:
    """Return FedStaleAsync as a method; the server keeps a vector per client, 4 N P bytes, and N flags.

    The sum of all h_i is recomputed in each round, N P additions, so that rounding errors do not accumulate.
    """

    def init(x0: Weights, clients: int) -> Remembered:
        cache = x0.params.new_zeros(clients, len(x0.params))
        return Remembered(cache=cache, heard=torch.zeros(clients, dtype=torch.bool, device=cache.device))

    def close_round(state: Remembered, x: Weights) -> tuple[Remembered, Weights]:
        updates, remembered = state.ordered(), state.cache.sum(0)
        # A client's second update in a buffer is corrected by its first, which the code's buffer never holds.
        fresh = [replace(u, delta=u.delta - config.beta * exchange(state.cache, u.client, u.delta)) for u in updates]
        state.heard[[update.client for update in updates]] = True
        heard = int(state.heard.sum())
        share = 1.0 if config.participation == "uniform" else len(updates) / heard  # (1/n) M/p of the mean
        step = share * mean_delta(fresh) + config.beta / heard * remembered
        return replace(state, updates=()), Weights(x.params + config.server_lr * step, mean_buffers(updates))

    return Method(init, Remembered.add, close_round)


register(FedStaleAsync, lambda config, server: fedstaleasync(config), Remembered)
