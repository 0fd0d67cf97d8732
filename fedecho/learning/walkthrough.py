"""A second implementation of FedEcho, line by line: slow but readable.

It uses plain dictionaries, `nn.Module` and `torch.optim.SGD`, and none of the package's server code. A test checks that
it equals the library. It uses the library's random draws (who arrives when, the order of minibatches) and is for models
without BatchNorm.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedecho.core.checks import require
from fedecho.core.config import RunConfig
from fedecho.core.settings import Local
from fedecho.learning.client import ClientData, batches
from fedecho.learning.distill import pool_batches
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.methods import FedBuff, FedEcho
from fedecho.learning.task import Task
from fedecho.simulation.schedule import Job, Schedule

KNOWN = frozenset(
    {"distill", "inner", "server_lr", "steps", "lr", "batch_size", "clip_norm", "alpha_min", "alpha_max", "epochs",
     "weight_decay", "clients", "concurrency", "buffer_size", "rounds"}
)  # fmt: skip
"""Options of Algorithm 1: Q, eta_d, `|B|`, nu, alpha's ends; the clients' SGD; N, M_c, M and T."""
Model = dict[str, Tensor]
"""The parameters of one version by name: the x of the paper."""


@dataclass(frozen=True)
class Moment:
    """What there is to see when round `index` has closed."""

    index: int
    x: Model
    """x_{t+1}, after distillation."""
    averaged: Model
    """x_t + eta * Delta_t, before it."""
    bank: dict[int, Tensor]
    """Client -> its last logits on U `[pool, classes]`."""
    uploaded: dict[int, int]
    """Client -> the round in which it brought them."""
    alphas: list[float]
    """The mixing weight of each of the Q steps."""


def train_client(net: nn.Module, x_s: Model, data: ClientData, local: Local, key: tuple[int, int, int]) -> Model:
    """Return Delta_i = x_i - x_s, the outcome of local SGD on the client's own labelled images."""
    net.load_state_dict(x_s)
    net.train()
    sgd = torch.optim.SGD(net.parameters(), lr=local.lr, weight_decay=local.weight_decay)
    for batch in batches(len(data.labels), local, key):
        sgd.zero_grad()
        torch.autograd.backward(F.cross_entropy(net(data.images[batch]), data.labels[batch]))
        sgd.step()
    return {name: x_i.detach() - x_s[name] for name, x_i in net.named_parameters()}


@torch.no_grad()
def client_logits(net: nn.Module, x_s: Model, delta: Model, pool: Tensor) -> Tensor:
    """Rebuild the client's model x_s + Delta_i, take its logits on U `[pool, classes]`, and forget it."""
    net.load_state_dict({name: x_s[name] + delta[name] for name in x_s})
    net.eval()
    logits: Tensor = net(pool)
    return logits


def average(x: Model, buffer: list[Model], eta: float) -> Model:
    """Line 11: x_t + eta * (1/M) sum_i Delta_i, stale or not."""
    return {name: x[name] + eta * sum(delta[name] for delta in buffer) / len(buffer) for name in x}


def entropy(log_p: Tensor) -> Tensor:
    """Eq. 3-4: H_u / log C in [0, 1] of each image `[pool]`."""
    return -(log_p.exp() * log_p).sum(dim=1) / math.log(log_p.shape[1])


def mixing_weight(levels: Tensor, settings: Distillation) -> float:
    """Eq. 3-4: alpha rises from alpha_min to alpha_max with the mean entropy of the minibatch."""
    return settings.alpha_min + (settings.alpha_max - settings.alpha_min) * float(levels.mean())


def clip(parameters: list[nn.Parameter], nu: float | None) -> None:
    """Eq. 2: shorten the whole gradient to length nu if it is longer."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    length = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    for gradient in gradients:
        gradient *= 1 if nu is None or length <= nu else nu / length


def distil(
    net: nn.Module, x_hat: Model, pool: Tensor, bank: dict[int, Tensor], settings: Distillation, key: tuple[int, int]
) -> tuple[Model, list[float]]:
    """Lines 12-16: Q clipped SGD steps from the averaged model towards what the clients say about U."""
    net.load_state_dict(x_hat)
    net.eval()
    sgd = torch.optim.SGD(net.parameters(), lr=settings.lr)
    teacher = F.log_softmax(torch.stack(list(bank.values())).mean(dim=0), dim=1)
    levels, alphas = entropy(teacher), []
    for batch in pool_batches(len(pool), settings, key):
        alphas.append(mixing_weight(levels[batch], settings))
        student = F.log_softmax(net(pool[batch]), dim=1)
        soft = F.kl_div(student, teacher[batch], reduction="batchmean", log_target=True)
        hard = F.nll_loss(student, teacher[batch].argmax(dim=1))
        sgd.zero_grad()
        torch.autograd.backward(alphas[-1] * soft + (1 - alphas[-1]) * hard)
        clip(list(net.parameters()), settings.clip_norm)
        sgd.step()
    return copy_of(net), alphas


def copy_of(net: nn.Module) -> Model:
    """Return the present parameters."""
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def fedecho(task: Task, config: RunConfig) -> Iterator[Moment]:
    """Algorithm 1, one `Moment` per round; raises `InputError` for options that it does not know (`KNOWN`)."""
    method, net = plain(config), copy.deepcopy(task.model.module)
    assert isinstance(method.inner, FedBuff)
    x, versions, bank, uploaded = copy_of(net), list[Model](), dict[int, Tensor](), dict[int, int]()
    for rnd in task.plan.rounds:
        versions.append(x)  # x_t is what clients start from now; kept for good here
        buffer = []
        for job in rnd.arrivals:
            x_s = versions[job.base_version]
            buffer.append(train_client(net, x_s, task.clients[job.client], config.local, work_key(config, job)))
            bank[job.client] = client_logits(net, x_s, buffer[-1], task.pool)  # in the place of its last ones
            uploaded[job.client] = rnd.index
        x_hat = average(x, buffer, method.inner.server_lr)
        x, alphas = distil(net, x_hat, task.pool, bank, method.distill, (config.seed, rnd.index))
        yield Moment(rnd.index, x, x_hat, dict(bank), dict(uploaded), alphas)


def plain(config: RunConfig) -> FedEcho:
    """Return the method of a config, or raise `InputError` for an option of it that Algorithm 1 does not have."""
    method, words = config.method, "the readable version is Algorithm 1 alone"
    ours = isinstance(method, FedEcho) and isinstance(method.inner, FedBuff)
    require(ours, "method", method.name, f"{words}; give fedecho with fedbuff inside")
    assert isinstance(method, FedEcho)
    for part in (method, method.inner, method.distill, config.local, config.protocol, config.faults):
        part.unread(True, words, *set(vars(part)) - KNOWN)
    return method


def work_key(config: RunConfig, job: Job) -> tuple[int, int, int]:
    """Name the random stream of one job's minibatches."""
    return (config.seed, job.client, job.number)


@torch.no_grad()
def accuracy(net: nn.Module, x: Model, data: ClientData) -> float:
    """Return the accuracy in [0, 1] of one version on labelled images."""
    net.load_state_dict(x)
    net.eval()
    return float((net(data.images).argmax(dim=1) == data.labels).double().mean())


def straggler(plan: Schedule) -> int:
    """Return the client of the slowest class that arrives most often."""
    arrivals = Counter(job.client for rnd in plan.rounds for job in rnd.arrivals)
    return max(arrivals, key=lambda client: (plan.speed_class[client], arrivals[client]))


def ageing(moments: Sequence[Moment], client: int) -> pd.DataFrame:
    """Return the life of one client's row: round, age (rounds), agreement (share of U labelled as by the teacher)."""
    rows = []
    for moment in moments:
        if client in moment.bank:
            taught = torch.stack(list(moment.bank.values())).mean(dim=0).argmax(dim=1)
            same = (moment.bank[client].argmax(dim=1) == taught).double().mean()
            age = moment.index - moment.uploaded[client]
            rows.append({"round": moment.index + 1, "age": age, "agreement": float(same)})
    return pd.DataFrame(rows, columns=["round", "age", "agreement"])
