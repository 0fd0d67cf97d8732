"""What a method costs the server: seconds and bytes per round, measured on stand-in uploads and predicted by formula.

Only what the server does is played, on random images and uploads: neither data nor local work changes what it costs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fedecho import presets
from fedecho.core import provenance
from fedecho.core.checks import InputError, require
from fedecho.core.config import RunConfig, config_hash, override
from fedecho.core.files import records_dir, write_whole
from fedecho.learning.cost import work
from fedecho.learning.cost.stand_in import Measurement, measure
from fedecho.learning.cost.work import PHASES
from fedecho.presets import CONTENDERS, REFERENCE

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


def frame(profile: str, measurement: dict[str, Any]) -> pd.DataFrame:
    """Return one row per point: factor, value, method, hash, commit, dirty, base (whether it is the profile's own),
    rounds, and by phase (seconds a round: median, quartiles `_low` and `_high`) and holding (bytes) what was measured,
    with `_predicted` beside it."""
    return pd.DataFrame([_row(point, base(profile, point.method), measurement) for point in points(profile)])


def _row(point: Point, own: RunConfig, measurement: dict[str, Any]) -> dict[str, Any]:
    name, made = config_hash(point.config), measurement["provenance"]
    seen, fitted = measurement["points"][name], measurement["points"][config_hash(own)]["seconds"]
    seconds = work.predicted_seconds(point.config, own, {phase: fitted[phase][1] for phase in PHASES})
    row = {
        "factor": point.factor, "value": value_of(point), "method": point.method, "base": point.config == own,
        "hash": name, "commit": made["commit"], "dirty": made["dirty"], "rounds": seen["rounds"],
    }  # fmt: skip
    for phase, (low, median, high) in seen["seconds"].items():
        row |= {phase: median, f"{phase}_low": low, f"{phase}_high": high, f"{phase}_predicted": seconds[phase]}
    for holding, size in work.predicted_bytes(point.config).items():
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
    return work.model_size(value, point.config.data)[0] if point.factor == "P" else int(value)
