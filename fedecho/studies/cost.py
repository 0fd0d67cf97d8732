"""What a method costs the server: seconds and bytes per round, measured on stand-in uploads and predicted by formula.

Only what the server does is simulated, on random images and uploads: neither data nor local work changes what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fedecho.core import provenance
from fedecho.core.config import RunConfig, config_hash, override, override_all
from fedecho.learning.cost import work
from fedecho.learning.cost.stand_in import COST, Measured, Measurement, measure
from fedecho.learning.cost.work import PHASES
from fedecho.report.summary import REFERENCE
from fedecho.studies import contenders
from fedecho.studies.contenders import CONTENDERS
from fedecho.studies.grid import Variant
from fedecho.studies.teacher import HEARD

MANY = "N, many at work"
FACTORS = {
    "N": "protocol.clients", "M_c": "protocol.concurrency", "M": "protocol.buffer_size", "|U|": "data.pool_size",
    "Q": "method.distill.steps", "P": "model",
    MANY: "protocol.clients",
}  # fmt: skip
"""What is varied, one at a time, and the field of `RunConfig` it is."""
Varied = Mapping[str, Sequence[Any]]
"""Factor -> values."""
VALUES: dict[str, Varied] = {
    "smoke": {"N": (20, 40), "M_c": (5, 10), "M": (1, 2), "|U|": (100, 200), "Q": (1, 3), "P": ("cnn", "cnn-w2")},
    "laptop": {
        "N": (25, 50, 100, 200), "M_c": (5, 10, 25, 50), "M": (1, 5, 10, 25), "|U|": (250, 500, 1000, 2500, 5000),
        "Q": (1, 5, 10, 20, 50), "P": ("cnn", "cnn-w2", "cnn-w4", "cnn-w8"),
    },
    "paper": {"N": (25, 50), "|U|": (2500, 5000), "Q": (1, 20)},
}  # fmt: skip
"""Profile -> factor -> values; N starts at 25 because M_c = 25 clients are at work. Each holds the profile's own."""
SERVERS = {label: Variant(label, contender=label) for label in CONTENDERS} | {row.label: row for row in HEARD}
"""What can be measured: every method, and FedEcho with the teachers that were chosen."""
BASELINES = ("FedBuff", "CA2FL", "FADAS", "FedAC-public", *(row.label for row in HEARD))
_BASELINE_FACTORS = ("N", "M", "P")
_ROUNDS = {"smoke": 2, "laptop": 15, "paper": 3}
_TURNS = 3


@dataclass(frozen=True)
class Point:
    """One server: a method at a profile's scale, where `factor` is varied."""

    factor: str
    method: str
    config: RunConfig

    @property
    def value(self) -> int:
        """The number that the factor stands at: for P, the parameters of the model."""
        value: Any = reduce(getattr, FACTORS[self.factor].split("."), self.config)
        return work.model_size(value, self.config.data)[0] if self.factor == "P" else int(value)


def points(profile: str, methods: Sequence[str] = BASELINES, sizes: Sequence[int] = ()) -> list[Point]:
    """Return every point of the study; the profile's own scale is part of each factor; `sizes`: other values of |U|."""
    varied = with_sizes(VALUES[profile], base(profile, REFERENCE), sizes)
    few = {factor: varied[factor] for factor in _BASELINE_FACTORS if factor in varied}
    servers = {REFERENCE: varied, **dict.fromkeys(methods, few)}
    return [point for label, chosen in servers.items() for point in along(base(profile, label), label, chosen)]


def with_sizes(varied: Varied, own: RunConfig, sizes: Sequence[int]) -> Varied:
    """Return what is varied with other values of |U|, if there are any, beside the one that `own` has."""
    return {**varied, "|U|": sorted({own.data.pool_size, *sizes})} if sizes else varied


def along(own: RunConfig, label: str, varied: Varied) -> list[Point]:
    """Return the points of a server at which one factor after the other is varied."""
    return [
        Point(factor, label, override(own, FACTORS[factor], value))
        for factor, values in varied.items()
        for value in values
    ]


def base(profile: str, label: str) -> RunConfig:
    """Return a server's run at a profile's own scale, under large delays."""
    row = SERVERS[label]
    return override_all(contenders.base(profile, CONTENDERS[row.contender], 0), row.changes)


# What is measured


def measured(folder: Path, wanted: Sequence[Point]) -> Measured | None:
    """Return the measurement in `folder` if it has all points; raises `RecordError` for a file that is not one."""
    found = COST.find(folder, "server")
    whole = found is not None and {config_hash(point.config) for point in wanted} <= found.points.keys()
    return found if whole else None


def measure_all(folder: Path, profile: str, wanted: Sequence[Point]) -> None:
    """Measure every point in several turns, one at a time, so that whatever else the machine does hits all alike."""
    device = "cuda" if profile == "paper" and torch.cuda.is_available() else "cpu"
    out: dict[str, Measurement] = {}
    for _ in range(_TURNS):
        for name, config in {config_hash(point.config): point.config for point in wanted}.items():
            seen = measure(config, _ROUNDS[profile], device)
            out[name] = out[name] + seen if name in out else seen
    made = Measured(provenance.collect(device), {name: seen.summary() for name, seen in out.items()})
    COST.save(made, COST.path(folder, "server"))


def frame(profile: str, wanted: Sequence[Point], measurement: Measured) -> pd.DataFrame:
    """Return one row per point: factor, value, method, hash, commit, dirty, base (whether it is the profile's own),
    rounds, and by phase (seconds a round: median, quartiles `_low` and `_high`) and holding (bytes) what was measured,
    with `_predicted` beside it."""
    return pd.DataFrame([_row(point, base(profile, point.method), measurement) for point in wanted])


def _row(point: Point, own: RunConfig, measurement: Measured) -> dict[str, Any]:
    name, made = config_hash(point.config), measurement.provenance
    seen, fitted = measurement.points[name], measurement.points[config_hash(own)]["seconds"]
    seconds = work.predicted_seconds(point.config, own, {phase: fitted[phase][1] for phase in PHASES})
    row = {
        "factor": point.factor, "value": point.value, "method": point.method, "base": point.config == own,
        "hash": name, "commit": made["commit"], "dirty": made["dirty"], "rounds": seen["rounds"],
    }  # fmt: skip
    for phase, (low, median, high) in seen["seconds"].items():
        row |= {phase: median, f"{phase}_low": low, f"{phase}_high": high, f"{phase}_predicted": seconds[phase]}
    for holding, size in work.predicted_bytes(point.config).items():
        row |= {holding: seen["bytes"][holding], f"{holding}_predicted": size}
    return row | {f"server{end}": sum(row[f"{phase}{end}"] for phase in PHASES) for end in ("", "_predicted")}
