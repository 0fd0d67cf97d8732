"""FedEcho: "Stragglers can contribute more: uncertainty-aware distillation for asynchronous federated learning",
arXiv 2511.19966.

A composition: any method's parameter step (line 11 of Algorithm 1; FedBuff in the paper) followed by echo distillation
(lines 12-16). Only a summary of the paper was available; `Distillation` lists every open point and our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from fedecho.core.checks import BelowOne, require
from fedecho.core.config import MethodConfig
from fedecho.learning.bank import Bank
from fedecho.learning.certainty import reporter
from fedecho.learning.client import ClientData, Update
from fedecho.learning.distill import Teacher
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import Weights, predict
from fedecho.learning.methods.base import Method, Server, around, build, register
from fedecho.learning.methods.fedbuff import FedBuff, moved
from fedecho.learning.teacher import as_row, averaged_teacher, corrupted, teacher
from fedecho.learning.weighting import Evidence
from fedecho.simulation.delays import SLOW


@dataclass(frozen=True)
class FedEcho(MethodConfig):
    """`echo(inner, ...)`: the inner method's step, then Q clipped steps towards the average of all banked logits."""

    name: ClassVar[str] = "fedecho"
    inner: MethodConfig = field(default_factory=FedBuff)
    distill: Distillation = field(default_factory=Distillation)
    ema: BelowOne | None = None
    """Score the exponential moving average of the distilled models with this decay, as the control FedBuff + EMA does
    of its own; none = score the model itself."""

    def validate(self) -> None:
        """Refuse an averaged inner method: its average would never be scored."""
        ema = getattr(self.inner, "ema", None)
        require(ema is None, "inner.ema", ema, "FedEcho scores its own distilled model; leave it out, or set ema")


Packed = tuple[float, int, tuple[Tensor, ...]]
"""Arrival time of a row in virtual seconds, its client, and the row as the bank stores it."""


@dataclass(frozen=True, eq=False)
class Echo:
    """The inner method's state, the bank, the round's packed rows by (arrival, client), the last round's metrics."""

    inner: Any
    bank: Bank
    arrived: tuple[Packed, ...] = ()
    round: int = 0
    """t, taken from the uploads: a round in which every upload failed is never closed."""
    scored: Weights | None = None
    """The model to score: the distilled one, or its moving average (`ema`)."""
    metrics: dict[str, float] = field(default_factory=dict)
    average: Weights | None = None
    """Moving average of the models x_hat, where it is the teacher (`source`)."""
    pool: Tensor | None = None
    """U `[pool, length]`, where the server sampled it from its own model at the end of the warm-up."""
    evidence: Evidence | None = None
    """Determines the weights of the rows; none if all count equally."""
    heard: tuple[int, ...] = ()
    """Clients that have already reported about their data; each does so once."""


_AVERAGE_DECAY = 0.95
"""As in the control FedBuff + EMA."""


def echo(inner: Method[Any], server: Server, settings: Distillation, ema: float | None = None) -> Method[Echo]:
    """Return `inner` followed by echo distillation; with Q = 0 or eta_d = 0 it computes exactly what `inner` does.

    With `ema` the average of the distilled models is scored (`fedbuff.averaged`); what clients are sent stays the same.
    """
    said = reporter(server.model, server.pool, settings.teacher_weights)
    if not len(server.model.buffers):
        settings.unread(True, "the model has no BatchNorm", "client_buffers", "batchnorm")

    def init(x0: Weights, clients: int) -> Echo:
        shape = (len(server.pool), *predict(server.model, x0, server.pool[:1], 1).shape[1:])
        for name in ("bank_top_k", "bank_labels"):
            settings.unread(getattr(settings, name) == shape[-1], f"there are {shape[-1]} classes", name)
        bank = Bank.empty(clients, shape, server.pool.device, settings)
        evidence = Evidence.empty(clients, shape, settings, server.pool.device)
        averaged = x0 if settings.source == "average" else None
        scored = None if ema is None else x0
        return Echo(inner.init(x0, clients), bank, scored=scored, average=averaged, evidence=evidence)

    def report(state: Echo, client: int, data: ClientData) -> Tensor | None:
        return None if said is None or client in state.heard else said(data)

    def receive(state: Echo, update: Update) -> Echo:
        arrived = (*state.arrived, *_packed(state, update, server, settings))
        state, update = _heard(state, update)
        return replace(state, inner=inner.receive(state.inner, update), arrived=arrived, round=update.round)

    def close_round(state: Echo, x: Weights) -> tuple[Echo, Weights]:
        if settings.include_fresh:
            _store(state, server, settings)
        inner_state, x_hat = inner.close_round(state.inner, x)  # line 11: x_t + eta * mean Delta
        if state.average is not None:
            state = replace(state, average=moved(state.average, x_hat, _AVERAGE_DECAY))
        # Lines 12-16: Q clipped steps towards the mean of the rows.
        distilled, metrics = _distilled(state, x_hat, _with_own_pool(server, state), settings)
        if not settings.include_fresh:
            _store(state, server, settings)
        pool = state.pool
        if server.write is not None and pool is None and state.round + 1 >= settings.warmup_rounds:
            pool = server.write(distilled)
        scored = distilled if ema is None or state.scored is None else moved(state.scored, distilled, ema)
        state = replace(state, inner=inner_state, arrived=(), scored=scored, metrics=metrics, pool=pool)
        return state, distilled if settings.broadcast == "distilled" else x_hat

    method = Method(
        init,
        receive,
        close_round,
        report=report,
        evaluated=lambda state, x: x if state.scored is None else state.scored,
        metrics=lambda state: state.metrics,
    )
    return around(inner, method)


def _packed(state: Echo, update: Update, server: Server, settings: Distillation) -> list[Packed]:
    """Return the client's packed row; empty if there is no U yet or the bank cannot store it (the old row stays)."""
    if state.pool is None and server.write is not None:
        return []
    with server.clock("inference"):
        row = _client_row(update, _with_own_pool(server, state), settings)
    if not state.bank.can_keep(row):
        return []
    with server.clock("bank"):
        return [(update.arrived_at, update.client, state.bank.pack(row))]


def _heard(state: Echo, update: Update) -> tuple[Echo, Update]:
    """Store what a client reports about its data, and return the update without the report."""
    if update.report is None or state.evidence is None:
        return state, update
    state.evidence.hear(update.client, update.report)
    return replace(state, heard=(*state.heard, update.client)), replace(update, report=None)


def _with_own_pool(server: Server, state: Echo) -> Server:
    return server if state.pool is None else replace(server, pool=state.pool)


def _client_row(update: Update, server: Server, settings: Distillation) -> Tensor:
    """Rebuild the client's model x_s + Delta_i, return its predictions on U `[pool, ..., classes]`, and discard it."""
    model = update.model if settings.client_buffers == "own" else Weights(update.model.params, update.start.buffers)
    return as_row(_predictions(server, model), settings)


def _predictions(server: Server, model: Weights) -> Tensor:
    return predict(server.model, model, server.pool, server.model.execution.inference_batch)


def _store(state: Echo, server: Server, settings: Distillation) -> None:
    """Move the round's rows into the bank, in order of arrival, whatever order they were received in."""
    with server.clock("bank"):
        for _, client, row in sorted(state.arrived, key=lambda entry: entry[:2]):
            state.bank.put(client, row, state.round)
            if state.evidence is not None:
                state.evidence.note(client, state.bank.row(client), settings)


def _distilled(state: Echo, x_hat: Weights, server: Server, settings: Distillation) -> tuple[Weights, dict[str, float]]:
    """Distil from the bank, unless distillation is off or no row teaches; return the model and metrics to record."""
    off = settings.steps == 0 or settings.lr == 0 or state.round < settings.warmup_rounds
    if off or not bool(state.bank.seen().any()):
        return x_hat, {}
    weights = row_weights(state.bank, server, settings, state.round)
    if weights is not None and not bool(weights.any()):
        return x_hat, {}
    taught = _teacher(state, server, settings, weights)
    with server.clock("distillation"):
        x, metrics = server.distil(server.model, x_hat, server.pool, taught, settings, (server.seed, state.round))
    used = state.bank.seen() if weights is None else weights > 0
    ages = (state.round - state.bank.uploaded)[used].float()
    return x, metrics | {"teachers": float(used.sum()), "bank_age": float(ages.mean())}


def _teacher(state: Echo, server: Server, settings: Distillation, weights: Tensor | None) -> Teacher:
    """Return this round's teacher: the bank, or the moving average of the server's models (`settings.source`)."""
    if state.average is None:
        with server.clock("bank"):
            taught = teacher(state.bank, settings, weights, state.evidence)
    else:
        with server.clock("inference"):
            taught = averaged_teacher(_predictions(server, state.average), settings)
    return corrupted(taught) if state.round < settings.corrupt_rounds else taught


def row_weights(bank: Bank, server: Server, settings: Distillation, round_index: int) -> Tensor | None:
    """Return the weight of each client's row `[clients]`; none if all rows seen count equally (the default)."""
    unlimited = settings.bank_decay == 1 and settings.bank_max_age is None
    if settings.teachers == "seen" and unlimited:
        return None
    age = round_index - bank.uploaded
    weights = bank.seen().float() * settings.bank_decay ** age.float()
    if settings.bank_max_age is not None:
        weights = weights * (age <= settings.bank_max_age)
    return weights * _chosen(bank, server, settings, round_index)


def _chosen(bank: Bank, server: Server, settings: Distillation, round_index: int) -> Tensor:
    """Tell which clients may teach under `settings.teachers`, `[clients]`."""
    slow = torch.tensor([speed == SLOW for speed in server.plan.speed_class])
    match settings.teachers:
        case "idle":
            busy = server.plan.rounds[round_index].busy
            return torch.tensor([client not in busy for client in range(len(slow))])
        case "fresh":
            return bank.uploaded == round_index
        case "fast":
            return ~slow
        case "slow":
            return slow
        case _:
            return torch.ones_like(slow)


register(FedEcho, lambda c, server: echo(build(c.inner, server), server, c.distill, c.ema), Echo, Bank, Evidence)
