"""What a method costs the server: seconds and bytes per round, measured on stand-in uploads and predicted by formula.

Only what the server does is played, on random images and uploads: neither data nor local work changes what it costs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fedecho import bank, models, presets, provenance
from fedecho.config import Data, RunConfig, config_hash, override, require
from fedecho.cost.stand_in import PHASES, Measurement, measure, shape_of
from fedecho.distill import Distillation
from fedecho.errors import InputError
from fedecho.methods import FedAC, FedEcho
from fedecho.notebooks import records_dir
from fedecho.paths import write_whole
from fedecho.presets import CONTENDERS, REFERENCE
from fedecho.text_models import example

FACTORS = {
    "N": "protocol.clients",
    "M_c": "protocol.concurrency",
    "M": "protocol.buffer_size",
    "|U|": "data.pool_size",
    "Q": "method.distill.steps",
    "P": "model",
}
"""What is varied, one at a time, and the field of `RunConfig` it is."""
VALUES: dict[str, dict[str, tuple[Any, ...]]] = {
    "smoke": {"N": (20, 40), "M_c": (5, 10), "M": (1, 2), "|U|": (100, 200), "Q": (1, 3), "P": ("cnn", "cnn-w2")},
    "laptop": {
        "N": (25, 50, 100, 200), "M_c": (5, 10, 25, 50), "M": (1, 5, 10, 25), "|U|": (250, 500, 1000, 2500, 5000),
        "Q": (1, 5, 10, 20, 50), "P": ("cnn", "cnn-w2", "cnn-w4", "cnn-w8"),
    },
    "paper": {"N": (25, 50), "|U|": (2500, 5000), "Q": (1, 20)},
}  # fmt: skip
"""Profile -> factor -> values; N starts at 25 because M_c = 25 clients are at work. Each holds the profile's own."""
BASELINES = ("FedBuff", "CA2FL", "FADAS", "FedAC-public")
_BASELINE_FACTORS = ("N", "M", "P")
_ROUNDS = {"smoke": 2, "laptop": 15, "paper": 3}
_TURNS = 3


@dataclass(frozen=True)
class Point:
    """One server: a method at a profile's scale, where `factor` is varied."""

    factor: str
    method: str
    config: RunConfig


def points(profile: str) -> list[Point]:
    """Return every point of the study; the profile's own scale is part of each factor."""
    varied = VALUES[presets.whole(profile).name]
    factors = {REFERENCE: varied} | {label: {f: varied[f] for f in _BASELINE_FACTORS if f in varied}
                                     for label in BASELINES}  # fmt: skip
    return [
        Point(factor, label, override(base(profile, label), FACTORS[factor], value))
        for label, chosen in factors.items()
        for factor, values in chosen.items()
        for value in values
    ]


def base(profile: str, label: str) -> RunConfig:
    """Return a contender's run at a profile's own scale, under large delays."""
    return presets.base(profile, CONTENDERS[label], 0)


# What is measured


def measured(profile: str, fresh: bool = False) -> dict[str, Any]:
    """Return the measurement of a profile's points, made now if it is missing or `fresh` is wanted; one at a time."""
    wanted = {config_hash(point.config): point.config for point in points(profile)}
    found = None if fresh else stored(profile)
    if found is not None and wanted.keys() <= found["points"].keys():
        return found
    device = "cuda" if profile == "paper" and torch.cuda.is_available() else "cpu"
    content = {"provenance": provenance.collect(device), "points": _measure_all(wanted, _ROUNDS[profile], device)}
    write_whole(measurement_path(profile), json.dumps(content, indent=1, allow_nan=False) + "\n")
    return content


def _measure_all(wanted: dict[str, RunConfig], rounds: int, device: str) -> dict[str, Any]:
    """Measure every config in several turns, so that whatever else the machine does in between hits all alike."""
    out: dict[str, Measurement] = {}
    for _ in range(_TURNS):
        for name, config in wanted.items():
            seen = measure(config, rounds, device)
            out[name] = out[name] + seen if name in out else seen
    return {name: seen.summary() for name, seen in out.items()}


def measurement_path(profile: str) -> Path:
    """Return the file of a profile's measurement, apart from the records: no two measurements are equal."""
    return records_dir(profile) / "cost" / "server.json"


def stored(profile: str) -> dict[str, Any] | None:
    """Return the measurement that is stored, if any; raises `InputError` for a file that is not one."""
    path = measurement_path(profile)
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        raise InputError("cost", str(path), "it cannot be read; delete it to measure again") from None
    require({"provenance", "points"} <= content.keys(), "cost", str(path), "it is incomplete; delete it")
    return content


def digest(measurement: Mapping[str, Any]) -> str:
    """Return 12 hex digits that name a measurement."""
    return hashlib.sha256(json.dumps(measurement, sort_keys=True).encode()).hexdigest()[:12]


# What is predicted


@cache
def outline(model: str, data: Data) -> nn.Module:
    """Return a model for a data set without its numbers: shapes alone, which take no memory."""
    return models.build(model, *shape_of(model, data), 0, data.task).to("meta")


def model_size(model: str, data: Data) -> tuple[int, int, int]:
    """Return P, the number of buffers B, and the FLOPs of one image's forward pass (2 per multiplication and addition
    of convolutions and matrix products; nothing else is counted). Frozen parameters are not in P."""
    return _traced(model, data)[0]


def predictions(config: RunConfig) -> tuple[int, int]:
    """Return the predictions that the model makes of the whole pool, |U| L with L positions a text (an image has one),
    and the classes C of each."""
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


def work(config: RunConfig) -> dict[str, float]:
    """Return the units of work a round: FLOPs of inference M |U| F and of distillation 3 Q b F (backward counts as two
    forward passes), entries of the bank written and averaged (M + 1) |U| L C, parameters aggregated M P."""
    parameters, _, flops = model_size(config.model, config.data)
    arrivals, pool = config.protocol.buffer_size, config.data.pool_size
    if not isinstance(config.method, FedEcho):
        return dict.fromkeys(PHASES, 0.0) | {"aggregation": arrivals * parameters}
    how = config.method.distill
    return {
        "inference": arrivals * pool * flops,
        "bank": (arrivals + 1) * math.prod(predictions(config)),
        "aggregation": arrivals * parameters,
        "distillation": 3 * distilled_images(how, pool) * flops,
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
    control = parameters if isinstance(config.method, FedAC) else 0  # travels with versions and uploads alike
    version = 4 * (parameters + buffers + control)
    models_kept = {"ca2fl": n + 1, "fadas": 3, "fedac": n + 3}.get(config.method.name, 0)
    out = {"checkpoints": (m_c - m + 1) * version, "uploads": m * version, "state": 4 * models_kept * parameters}
    if isinstance(config.method, FedEcho):  # beside the rows: their sum in float64, a round for each client
        rows, classes = predictions(config)
        row = row_bytes(classes, config.method.distill)
        out["uploads"] += m * rows * row
        out["state"] += n * rows * row + 8 * (rows * classes + n)
    return out


def row_bytes(classes: int, how: Distillation) -> int:
    """Return the bytes of one prediction in the bank: C b; m b + b for the first m classes; k (b + i) + b for the
    largest k; with b bytes an entry and i an index."""
    return bank.row_bytes(classes, bank.DTYPES[how.bank_dtype], how.bank_top_k, how.bank_labels)


def bank_bytes(config: RunConfig) -> tuple[int, int]:
    """Return the bytes of one input's row in the bank of a FedEcho run, L `row_bytes`, and of all N |U| of them."""
    require(isinstance(config.method, FedEcho), "method", config.method.name, "only fedecho has a bank")
    assert isinstance(config.method, FedEcho)
    rows, classes = predictions(config)
    size = rows * row_bytes(classes, config.method.distill)
    return size // config.data.pool_size, config.protocol.clients * size


def frame(profile: str, measurement: dict[str, Any]) -> pd.DataFrame:
    """Return one row per point: factor, value, method, hash, commit, dirty, base (whether it is the profile's own),
    rounds, and by phase (seconds a round: median, quartiles `_low` and `_high`) and holding (bytes) what was measured,
    with `_predicted` beside it."""
    return pd.DataFrame([_row(point, base(profile, point.method), measurement) for point in points(profile)])


def _row(point: Point, own: RunConfig, measurement: dict[str, Any]) -> dict[str, Any]:
    name, made = config_hash(point.config), measurement["provenance"]
    seen, fitted = measurement["points"][name], measurement["points"][config_hash(own)]["seconds"]
    seconds = predicted_seconds(point.config, own, {phase: fitted[phase][1] for phase in PHASES})
    row = {
        "factor": point.factor, "value": value_of(point), "method": point.method, "base": point.config == own,
        "hash": name, "commit": made["commit"], "dirty": made["dirty"], "rounds": seen["rounds"],
    }  # fmt: skip
    for phase, (low, median, high) in seen["seconds"].items():
        row |= {phase: median, f"{phase}_low": low, f"{phase}_high": high, f"{phase}_predicted": seconds[phase]}
    for holding, size in predicted_bytes(point.config).items():
        row |= {holding: seen["bytes"][holding], f"{holding}_predicted": size}
    total = {f"server{end}": sum(row[f"{phase}{end}"] for phase in PHASES) for end in ("", "_predicted")}
    return row | total


def value_of(point: Point) -> int:
    """Return the number that a point's factor stands at: for P, the parameters of its model."""
    section, _, field = FACTORS[point.factor].rpartition(".")
    place: Any = point.config
    for name in filter(None, section.split(".")):
        place = getattr(place, name)
    value = getattr(place, field)
    return model_size(value, point.config.data)[0] if point.factor == "P" else int(value)
