"""What the library adds to bare loops that do the same work: ratios of CPU time, measured in turns in one run."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from fedecho.learning.bank import Bank
from fedecho.learning.client import batches, sgd
from fedecho.learning.distill import distil, pool_batches
from fedecho.learning.experiment import one_thread, run
from fedecho.learning.flat import predict
from fedecho.learning.methods import FedBuff
from fedecho.learning.task import Task, prepare
from fedecho.learning.teacher import teacher
from fedecho.studies import contenders, profiles

_KEY = (0, 0, 0)


@dataclass(frozen=True)
class Ratio:
    """CPU time of ours over CPU time of theirs: the median over turns, and its quartiles."""

    name: str
    median: float
    low: float
    high: float
    target: float | None
    """What it should not exceed; none = it is for information."""

    def __str__(self) -> str:
        """Say it in a line."""
        wanted = "" if self.target is None else f"  target <= {self.target}"
        return f"{self.name:54} {self.median:5.3f}  [{self.low:5.3f}, {self.high:5.3f}]{wanted}"


def cpu_ratio(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    target: float | None,
    turns: int = 40,
    now: Callable[[], float] | None = None,
) -> Ratio:
    """Time `ours` and `theirs` in turns, the order alternating, after one call of each as a warm-up.

    `now` tells the time in seconds, by default the processor's.
    """
    now = now or time.process_time
    ours(), theirs()
    ratios = []
    for turn in range(turns):
        seconds = {}
        for function in (ours, theirs) if turn % 2 else (theirs, ours):
            begin = now()
            function()
            seconds[function] = now() - begin
        ratios.append(seconds[ours] / seconds[theirs])
    low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return Ratio(name, float(median), float(low), float(high), target)


def _task() -> Task:
    return prepare(contenders.base("laptop", contenders.CONTENDERS["FedEcho"], 0), torch.device("cpu"))


def local_training() -> Ratio:
    """Compare one client's job with a bare loop: forward, backward, torch.optim.SGD over the same batches."""
    task, local = _task(), profiles.profile("laptop").local
    data = max(task.clients, key=lambda client: len(client.labels))
    start, module = task.model.weights(), copy.deepcopy(task.model.module)

    def bare() -> None:
        optimizer = torch.optim.SGD(module.parameters(), lr=local.lr, weight_decay=local.weight_decay)
        for batch in batches(len(data.labels), local, _KEY):
            optimizer.zero_grad()
            F.cross_entropy(module(data.images[batch]), data.labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return cpu_ratio("local training / bare SGD loop", lambda: sgd(task.model, start, data, local, _KEY), bare, 1.05)


def inference() -> Ratio:
    """Compare the predictions on U for one arrival with bare forward passes over the same batches."""
    task, size = _task(), 200
    start, module = task.model.weights(), copy.deepcopy(task.model.module).eval()

    @torch.no_grad()
    def bare() -> None:
        torch.cat([module(batch) for batch in torch.split(task.pool, size)])

    return cpu_ratio(
        "inference on U / bare forward passes", lambda: predict(task.model, start, task.pool, size), bare, 1.1
    )


def distillation() -> Ratio:
    """Compare Q clipped steps with a bare loop: forward, KL + CE, backward, clip_grad_norm_, torch.optim.SGD."""
    task, how = _task(), profiles.profile("laptop").distill
    bank = Bank.empty(1, (len(task.pool), 10), task.pool.device)
    bank.store(0, predict(task.model, task.model.weights(), task.pool, 200), 0)
    start, module, taught = task.model.weights(), copy.deepcopy(task.model.module).eval(), teacher(bank, how)

    def bare() -> None:
        optimizer = torch.optim.SGD(module.parameters(), lr=how.lr)
        for batch in pool_batches(len(task.pool), how, (0, 0)):
            student, probs = module(task.pool[batch]), taught.probs[batch]
            kl = F.kl_div(F.log_softmax(student, -1), probs, reduction="batchmean")
            optimizer.zero_grad()
            (0.5 * kl + 0.5 * F.cross_entropy(student, taught.labels[batch])).backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(module.parameters(), how.clip_norm or 1e9)
            optimizer.step()

    def ours() -> None:
        distil(task.model, start, task.pool, teacher(bank, how), how, (0, 0))

    return cpu_ratio("distillation / bare clipped KL + CE loop", ours, bare, 1.1)


def whole_run(rounds: int = 30) -> Ratio:
    """Compare a FedEcho run at laptop scale with the FedBuff run beside it; `rounds` of each per turn."""
    config = contenders.base("laptop", contenders.CONTENDERS["FedEcho"], 0)
    config = dataclasses.replace(config, protocol=dataclasses.replace(config.protocol, rounds=rounds))
    plain = dataclasses.replace(config, method=FedBuff())
    return cpu_ratio("FedEcho run / FedBuff run", lambda: run(config), lambda: run(plain), 1.8, turns=6)


BENCHMARKS: tuple[Callable[[], Ratio], ...] = (local_training, inference, distillation, whole_run)


@one_thread()
def report() -> str:
    """Run all benchmarks and return their ratios, a line each."""
    return "\n".join(str(benchmark()) for benchmark in BENCHMARKS)
