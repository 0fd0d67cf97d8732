"""AREA: Iakovidou et al., "Asynchronous federated stochastic optimization for heterogeneous objectives under arbitrary
delays", arXiv 2405.10123; equations as in the authors' code
(github.com/chariako/asynchronous_federated_learning_simulation, commit 0c7e728, with its memory of models).

Departure: clients count equally, as for all methods here; the code multiplies a client's local rate by its weight.
Clients remember the model that they finished with. Another public version remembers the model that was received, which
is a different algorithm; one that remembers updates is related to CA2FL.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from fedecho.core.config import MethodConfig
from fedecho.learning.flat import Weights
from fedecho.learning.methods.base import Buffer, Method, exchange, mean_buffers, mean_delta, register


@dataclass(frozen=True)
class AREA(MethodConfig):
    """x_{t+1} = x_t + (1/N) sum_j (z_j - y_j) over the buffer: z_j is the model that client j finished with, y_j the
    one that it finished with the time before, x_0 at first. So x_t is the mean of all y_i, however often each arrives.

    There is no server rate: with one, x_t would be x_0 + eta (mean_i y_i - x_0), tied to x_0 for ever.
    """

    name: ClassVar[str] = "area"


@dataclass(frozen=True, eq=False, kw_only=True)
class Finished(Buffer):
    """The buffer, and the model y_i that every client finished with last `[N, P]`, which is at the client."""

    models: Tensor


def area(config: AREA) -> Method[Finished]:
    """Return AREA as a method; the server keeps nothing per client, each client keeps one model (4 P bytes).

    The simulation holds the models of all N clients.
    """

    def init(x0: Weights, clients: int) -> Finished:
        return Finished(models=x0.params.repeat(clients, 1))

    def close_round(state: Finished, x: Weights) -> tuple[Finished, Weights]:
        updates = state.ordered()
        ends = [update.model.params for update in updates]
        moves = [replace(u, delta=z - exchange(state.models, u.client, z)) for u, z in zip(updates, ends, strict=True)]
        share = len(updates) / len(state.models)  # (1/N) of the sum, as M/N of the mean
        return replace(state, updates=()), Weights(x.params + share * mean_delta(moves), mean_buffers(updates))

    return Method(init, Finished.add, close_round)


register(AREA, lambda config, server: area(config), Finished)
