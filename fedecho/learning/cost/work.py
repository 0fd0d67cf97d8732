"""What a round costs the server, by formula: sizes of data and models, units of work, bytes by holding."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import cache

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fedecho import data as datasets
from fedecho.core.checks import is_named, require
from fedecho.core.config import LORA, RunConfig
from fedecho.core.settings import Data
from fedecho.data import TEXT_SHAPE, austen
from fedecho.data.tokens import CONTEXT as BLOCK
from fedecho.learning import models
from fedecho.learning.bank import row_bytes
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.models.pretrained import CONTEXT
from fedecho.learning.models.texts import example
from fedecho.learning.weighting import score_shape
from fedecho.simulation.schedule import Schedule

PHASES = ("inference", "bank", "aggregation", "distillation")
HOLDINGS = ("checkpoints", "uploads", "state")
"""Versions in flight; what the uploads of one round leave until it closes; what a method keeps between rounds."""
SHAPES: dict[str, tuple[tuple[int, ...], int]] = {
    "fashion-mnist": ((1, 28, 28), 10), "cifar10": ((3, 32, 32), 10), "cifar100": ((3, 32, 32), 100),
    "austen": (TEXT_SHAPE, 6), "sst2": (TEXT_SHAPE, 2), "agnews": (TEXT_SHAPE, 4), "trec": (TEXT_SHAPE, 6),
}  # fmt: skip
"""Data set -> shape of an image, or vocabulary and context of texts; number of classes."""
COUNTS = {
    "fashion-mnist": (10_000, 2_000, 5_000), "cifar10": (50_000, 0, 10_000), "cifar100": (50_000, 0, 10_000),
    "austen": (3_600, 720, 1_440), "sst2": (55_321, 6_657, 872), "agnews": (6_986, 1_000, 7_583),
    "trec": (3_880, 500, 489),
}  # fmt: skip
"""Data set -> client inputs, validation inputs of its own, test inputs."""
_VECTORS = {"adamasfl": (1, 2), "fedac": (1, 1)}
"""Method -> what its versions and its uploads carry besides the model, in vectors of P: the server's control variate;
what was added to each gradient, which is the control in use, and the mean gradient."""
_CHARACTERS = ((257, 400, 512, 1000, 2000, 4000, 8000, 16_000), (1.02, 2.08, 2.40, 3.10, 3.78, 4.29, 4.60, 4.71))
"""Sizes of a vocabulary, and the characters that a token of the novels then has on average."""


def shape_of(model: str, data: Data) -> tuple[tuple[int, ...], int]:
    """Return the shape of an image, or vocabulary and context of texts (a pretrained encoder has a context of its own);
    and the number of classes."""
    if data.task == "generation":
        return (data.vocabulary, BLOCK), data.vocabulary
    if data.is_file:
        own = datasets.load(data.name)
        height, width, channels = own.train.images.shape[1:]
        return (channels, height, width), len(own.classes)
    shape, classes = SHAPES[data.name]
    return ((shape[0], CONTEXT), classes) if model.startswith(LORA) and len(shape) == 2 else (shape, classes)


def counts_of(data: Data) -> tuple[int, int, int]:
    """Return client, validation and test images or texts; blocks of tokens to within a few per cent."""
    if data.is_file:
        own = datasets.load(data.name)
        return len(own.train), len(own.validation or ()), len(own.test)
    if data.task == "classification":
        return COUNTS[data.name]
    a_block = BLOCK * float(np.interp(math.log(data.vocabulary), np.log(_CHARACTERS[0]), _CHARACTERS[1]))
    splits = (austen.CHARACTERS[split] for split in ("train", "validation", "test"))
    train, validation, test = (round(len(austen.CLASSES) * characters / a_block) for characters in splits)
    return train, validation, test


def train_count(config: RunConfig) -> int:
    """Return how many images or texts the clients hold together."""
    clients, _, _ = counts_of(config.data)
    return config.data.train_size or clients - config.data.validation_size


def scored_count(config: RunConfig) -> int:
    """Return how many held-out images or texts the model is scored on."""
    _, validation, test = counts_of(config.data)
    whole = test if config.evaluation.split == "test" else validation or config.data.validation_size
    return min(whole, config.evaluation.size or whole)


@cache
def outline(model: str, data: Data) -> nn.Module:
    """Return a model for a data set without its numbers: shapes alone, which take no memory."""
    with nullcontext() if is_named(model) or model.startswith(LORA) else torch.device("meta"):
        return models.build(model, *shape_of(model, data), 0, data.task).to("meta")


def model_size(model: str, data: Data) -> tuple[int, int, int]:
    """Return P, the number of buffers B, and the FLOPs of one image's forward pass (2 per multiplication and addition
    of convolutions and matrix products; nothing else is counted). Frozen parameters are not in P."""
    return _traced(model, data)[0]


def predictions(config: RunConfig) -> tuple[int, int]:
    """Return the predictions that the model makes of the whole pool, `|U| L` with L positions a text (an image has
    one), and the classes C of each."""
    *positions, classes = _traced(config.model, config.data)[1]
    return config.data.pool_size * math.prod(positions), classes


@cache
def _traced(model: str, data: Data) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Return what a forward pass of one input tells: the sizes, and the shape `(..., classes)` of its logits."""
    module = outline(model, data).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = module(example(shape_of(model, data)[0], 1, "meta"))
    buffers = sum(b.numel() for b in module.buffers() if b.is_floating_point())
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return (trained, buffers, counter.get_total_flops()), tuple(logits.shape[1:])


@cache
def activations(model: str, data: Data) -> int:
    """Return the numbers that the layers of a model put out in one input's forward pass."""
    module, sizes = outline(model, data).eval(), list[int]()
    layers = [layer for layer in module.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(lambda _, __, out: sizes.append(out.numel())) for layer in layers]
    with torch.no_grad():
        module(example(shape_of(model, data)[0], 1, "meta"))
    for hook in hooks:
        hook.remove()
    return sum(sizes)


def work(config: RunConfig) -> dict[str, float]:
    """Return the units of work a round: FLOPs of inference `M |U| F` and of distillation 3 Q b F (backward counts as
    two forward passes), entries of the bank written and averaged `(M + 1) |U| L C`, or `(M + N) |U| L C` where all rows
    are weighted, parameters aggregated M P; (M + N) P where the server adds up what it remembers of all clients."""
    parameters, _, flops = model_size(config.model, config.data)
    arrivals, pool = config.protocol.buffer_size, config.data.pool_size
    if config.distill is None:
        memory = config.protocol.clients if config.method.name == "fedstaleasync" else 0
        return dict.fromkeys(PHASES, 0.0) | {"aggregation": (arrivals + memory) * parameters}
    averaged = 1 if _scores(config) is None else config.protocol.clients
    return {
        "inference": arrivals * pool * flops,
        "bank": (arrivals + averaged) * math.prod(predictions(config)),
        "aggregation": arrivals * parameters,
        "distillation": 3 * distilled_images(config.distill, pool) * flops,
    }


def distilled_images(how: Distillation, pool: int) -> int:
    """Return the images in Q minibatches of passes over U, of which each pass may end with a smaller one."""
    passes, rest = divmod(how.steps, -(-pool // how.batch_size))
    return passes * pool + min(rest * how.batch_size, pool)


def predicted_seconds(config: RunConfig, fitted: RunConfig, seconds: dict[str, float]) -> dict[str, float]:
    """Scale the `seconds` by phase measured at `fitted` by the ratio of work: one measured point, no other fit."""
    here, there = work(config), work(fitted)
    return {phase: seconds[phase] * here[phase] / there[phase] if there[phase] else 0.0 for phase in PHASES}


def predicted_bytes(config: RunConfig) -> dict[str, int]:
    """Return the bytes by holding; that of checkpoints is a bound.

    M of the M_c clients at work start from the newest version, so at most M_c - M + 1 versions are in flight.
    """
    parameters, buffers, _ = model_size(config.model, config.data)
    n, m, m_c = config.protocol.clients, config.protocol.buffer_size, config.protocol.concurrency
    name, vectors = config.method.name, _VECTORS.get(config.method.name, (0, 0))
    version, upload = (4 * ((1 + more) * parameters + buffers) for more in vectors)
    kept = {"adamasfl": n + 2, "area": n, "ca2fl": n + 1, "fadas": 3, "fedac": n + 3, "fedstaleasync": n}.get(name, 0)
    flags = n if name == "fedstaleasync" else 0
    out = {"checkpoints": (m_c - m + 1) * version, "uploads": m * upload, "state": 4 * kept * parameters + flags}
    if config.distill is not None:  # beside the rows: their sum in float64, a round for each client
        rows, classes = predictions(config)
        row = row_bytes(classes, config.distill)
        out["uploads"] += m * rows * row
        out["state"] += n * rows * row + 8 * (rows * classes + n) + 4 * n * evidence(config)
    return out


def evidence(config: RunConfig) -> int:
    """Return how many numbers the server keeps of each client to weigh its row (`weighting`): C, `|U| L`, `|U|`, 0."""
    priors = predictions(config)[1] if config.distill.prior_correction else 0
    return priors + math.prod(_scores(config) or (0,))


def _scores(config: RunConfig) -> tuple[int, ...] | None:
    rows, classes = predictions(config)
    return score_shape((config.data.pool_size, rows // config.data.pool_size, classes), config.distill)


def peak_versions(plan: Schedule) -> int:
    """Return the largest number of versions that `Checkpoints` holds at once in a whole run."""
    last = {job.base_version: rnd.index for rnd in plan.rounds for job in rnd.arrivals}
    change = np.zeros(len(plan.rounds) + 1, np.int64)
    for version, end in last.items():  # it is held from its own round until that of its last arrival
        change[version] += 1
        change[end + 1] -= 1
    return int(change.cumsum().max())


def bank_bytes(config: RunConfig) -> tuple[int, int]:
    """Return the bytes of one input's row in the bank of a FedEcho run, `L row_bytes`, and of all `N |U|` of them."""
    require(config.distill is not None, "method", config.method.name, "only fedecho has a bank")
    rows, classes = predictions(config)
    size = rows * row_bytes(classes, config.distill)
    return size // config.data.pool_size, config.protocol.clients * size
