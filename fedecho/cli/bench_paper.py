"""Where the time goes at the paper's scale, ResNet-18 at batch 50, and what each faster way gains: ratios, in turns."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedecho.cli.bench import Ratio, cpu_ratio
from fedecho.core.clock import Clock
from fedecho.core.rng import stream
from fedecho.core.settings import Execution, Local
from fedecho.learning import models
from fedecho.learning.client import ClientData, batches, crop_and_flip, sgd
from fedecho.learning.cost.duration import kind
from fedecho.learning.cost.stand_in import seconds_on
from fedecho.learning.experiment import one_thread
from fedecho.learning.flat import FlatModel, predict
from fedecho.studies import profiles, sweep

MODEL, CONTROL = "resnet18", "resnet18-groupnorm"
SHAPE, CLASSES = (3, 32, 32), 10
_KEY = (0, 0, 0)


class Size(NamedTuple):
    """How much is measured on a device."""

    steps: int
    """Local steps of one call."""
    turns: int
    pool: int
    large: int
    """Images of a large inference batch."""
    at_most: float | None
    """What the fastest way should take of a bare loop's time."""


_SIZES = {"cpu": Size(2, 3, 400, 400, None), "cuda": Size(40, 20, 5000, 2500, 0.333)}
_FEW_SECONDS = 20.0
_GROUP = 4
"""Clients that are trained at once."""
_WAYS = {
    "channels_last": Execution(channels_last=True),
    "bfloat16 autocast": Execution(autocast="bfloat16"),
    "compiled": Execution(compile=True),
    "channels_last + bfloat16 autocast": Execution(channels_last=True, autocast="bfloat16"),
    "channels_last + compiled": Execution(channels_last=True, compile=True),
}


@cache
def _client(device: str, steps: int) -> ClientData:
    """Random bytes for so many batches, and their moments."""
    count = steps * profiles.profile("paper").local.batch_size
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype=np.uint8)).to(device)
    moments = (torch.full((1, 3, 1, 1), 0.48, device=device), torch.full((1, 3, 1, 1), 0.2, device=device))
    return ClientData(pixels, torch.arange(count, device=device) % CLASSES, pixels.new_zeros(3), moments)


def _local() -> Local:
    return replace(profiles.profile("paper").local, epochs=1)


def _model(device: str, execution: Execution | None = None, model: str | None = None) -> FlatModel:
    module, full = models.build(model or MODEL, SHAPE, CLASSES, 0).to(device), frozenset([_local().batch_size])
    return FlatModel(module, execution or Execution(), full)


def _steps(flat: FlatModel, data: ClientData) -> Callable[[], object]:
    return partial(sgd, flat, flat.weights(), data, _local(), _KEY)


def bare_epoch(module: nn.Module, images: Tensor, labels: Tensor, padding: Tensor, local: Local) -> None:
    """Train as anybody would write it: an eager loop with torch.optim.SGD on images normalised beforehand."""
    optimizer = torch.optim.SGD(module.parameters(), lr=local.lr, weight_decay=local.weight_decay)
    rng = stream(_KEY[0], "augmentation", *_KEY[1:])
    for batch in batches(len(labels), local, _KEY):
        optimizer.zero_grad()
        logits = module(crop_and_flip(images[batch], padding, rng))
        F.cross_entropy(logits, labels[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _bare(device: str, data: ClientData) -> Callable[[], object]:
    module = copy.deepcopy(_model(device).module).train()
    black = data.normalised(data.padding.view(1, -1, 1, 1)).flatten()
    return partial(bare_epoch, module, data.normalised(data.images), data.labels, black, _local())


def grouped_epoch(module: nn.Module, data: ClientData, clients: int) -> dict[str, Tensor]:
    """Train as many copies of `module` at once, by torch.func.vmap over weights `[clients, ...]`; return their weights.

    Each copy sees its own crops of the same images; statistics of BatchNorm are kept for each too.
    """
    stacked, buffers = torch.func.stack_module_state([module] * clients)
    params = {name: value.detach() for name, value in stacked.items()}
    local, rng = _local(), stream(_KEY[0], "augmentation", *_KEY[1:])

    def loss(params: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(module, (params, buffers), (images,)), labels)

    gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(0, 0, 0, None))
    for batch in batches(len(data.labels), local, _KEY):
        crops = [data.normalised(crop_and_flip(data.images[batch], data.padding, rng)) for _ in range(clients)]
        moves = gradient(params, buffers, torch.stack(crops), data.labels[batch])
        params = {k: p * (1 - local.lr * local.weight_decay) - local.lr * moves[k] for k, p in params.items()}
    return params


def _grouped(device: str, data: ClientData) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the steps of `_GROUP` clients at once, and one client after the other."""
    module, one = copy.deepcopy(_model(device).module).train(), _steps(_model(device), data)
    return partial(grouped_epoch, module, data, _GROUP), lambda: [one() for _ in range(_GROUP)]


def shares(device: str) -> str:
    """Say what parts of a local step take: augmentation, forward, backward, gathering the gradient and the update."""
    data, flat, turns = _client(device, 1), _model(device), 2
    warm_up, spent = Clock(seconds_on(device)), Clock(seconds_on(device))
    flat.module.train()
    for clock in (warm_up, spent):
        for _ in range(turns):
            with clock("augmentation"):
                images = data.normalised(crop_and_flip(data.images, data.padding, np.random.default_rng(0)))
            with clock("forward"):
                loss = F.cross_entropy(flat.logits(images), data.labels)
            with clock("backward"):
                parts = torch.autograd.grad(loss, flat.parameters)
            with clock("update"), torch.no_grad():
                flat.params.mul_(1 - 1e-5).sub_(torch.cat([part.reshape(-1) for part in parts]), alpha=0.1)
    total = sum(spent.seconds.values())
    text = ", ".join(f"{name} {100 * seconds / total:.1f} %" for name, seconds in spent.seconds.items())
    return f"a local step of {MODEL} at batch 50: {1000 * total / turns:.0f} ms; {text}"


def ratios(device: str) -> Iterator[Ratio]:
    """Measure all ratios of time on one device, one after the other."""
    size = _SIZES[kind(device)]
    data, plain, pool = _client(device, size.steps), _model(device), torch.randn(size.pool, *SHAPE, device=device)
    compare = partial(cpu_ratio, turns=size.turns, now=seconds_on(device))
    yield compare("local steps / bare eager loop", _steps(plain, data), _bare(device, data), 1.05)
    for name, way in _WAYS.items():
        yield compare(f"local steps, {name} / plain", _steps(_model(device, way), data), _steps(plain, data), 1.0)
    everything = _steps(_model(device, Execution(channels_last=True, autocast="bfloat16", compile=True)), data)
    name = "local steps, all three ways at once / bare eager loop"
    yield compare(name, everything, _bare(device, data), size.at_most)
    yield compare(f"local steps of {_GROUP} clients at once / one after the other", *_grouped(device, data), 1.0)
    control = _steps(_model(device, model=CONTROL), data)
    yield compare("local steps, GroupNorm / BatchNorm", control, _steps(plain, data), None)
    in_batches = partial(predict, plain, plain.weights(), pool)
    name = f"inference in batches of {size.large} / of 200"
    yield compare(name, partial(in_batches, size.large), partial(in_batches, 200), 1.0)


def together(device: str, processes: int, seconds: float = _FEW_SECONDS) -> str:
    """Say how many local steps several processes on one device make, against one alone; by the wall clock."""
    gain = _throughput(device, processes, seconds) / _throughput(device, 1, seconds)
    return f"{processes} runs at a time / one: {gain:.2f} times the local steps"


def _throughput(device: str, processes: int, seconds: float) -> float:
    """Return steps a second of all processes together."""
    with sweep.workers(str) as pool:
        tasks = [(number, _work_for, (device, seconds)) for number in range(processes)]
        return float(sum(rate for _, rate in pool.each(tasks, processes)))


def _work_for(device: str, seconds: float) -> float:
    """Return steps a second of this process, after one call to warm up."""
    data, now = _client(device, 1), time.perf_counter
    work = _steps(_model(device), data)
    work()
    begin, steps = now(), 0
    while now() - begin < seconds:
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        steps += 1
    return steps / (now() - begin)


def lines(device: str = "cpu", processes: int | None = None) -> Iterator[str]:
    """Measure everything and yield a line each as it is known, after the device's name; about ten minutes on a CPU."""
    on_cpu = device == "cpu"
    name = f"cpu, one thread ({torch.backends.cpu.get_cpu_capability()})" if on_cpu else torch.cuda.get_device_name()
    with one_thread():
        yield f"device: {name}, torch {torch.__version__}"
        yield shares(device)
        yield from map(str, ratios(device))
        yield together(device, processes or (sweep.cores() if on_cpu else 4))
