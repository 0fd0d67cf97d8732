"""What a run is: frozen dataclasses, their validation, and the canonical hash that names a record.

The hash covers every field that differs from its default, so a new field (with a default that keeps the old behaviour)
leaves all existing records valid; changing a default is a change of numerics and needs a new `NUMERICS_VERSION`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args

from fedecho.checked import Checked as Checked
from fedecho.checked import field_hints
from fedecho.checked import require as require
from fedecho.data_config import Data as Data
from fedecho.data_config import PoolSource as PoolSource
from fedecho.data_config import TaskKind as TaskKind
from fedecho.execution import Execution

NUMERICS_VERSION = 1
"""Bumped whenever the same config would give other numbers; records of an older version are not used."""

DelayModel = Literal[
    "constant", "mild", "large", "uniform", "exponential", "lognormal", "pareto", "bursty", "periodic", "trace"
]
LORA = "lora:"
"""A model whose name begins so is a pretrained encoder with adapters; a folder or a name on the hub follows."""
T = TypeVar("T")


@dataclass(frozen=True)
class Partition(Checked):
    """How the labelled images are divided among the N clients."""

    kind: Literal["dirichlet", "iid", "natural"] = "dirichlet"
    """`natural`: what a client holds is of chapters of one novel that nobody else has."""
    alpha: float = 0.1
    """Dirichlet concentration over clients, one draw per class; small is heterogeneous."""
    straggler_classes: int = 0
    """k classes of which the slow clients own `straggler_share` of the images (label-speed correlation)."""
    straggler_share: float = 1.0
    straggler_mix: Literal["mixed", "pure"] = "mixed"
    """`mixed`: Dir(alpha) deals what the slow clients own among them, and they share in the other classes too; `pure`:
    they hold what they own in equal parts and nothing else."""
    min_size: int = 10
    """Every client has this many images at least. The official loop has no minimum and fails on an empty client."""
    too_small: Literal["redraw", "top up"] = "redraw"
    """What is done for a client with fewer. `redraw`: draw all shares again until none has; `top up`: it is given some
    of the client that holds most, which works with few classes too, where no draw would give everyone enough."""
    max_redraws: int = 10_000

    def validate(self) -> None:
        """Check ranges."""
        require(self.alpha > 0, "alpha", self.alpha, "the Dirichlet concentration must be > 0")
        require(self.straggler_classes >= 0, "straggler_classes", self.straggler_classes, "give 0 or more classes")
        owned = self.kind != "iid" or self.straggler_classes == 0
        require(owned, "straggler_classes", self.straggler_classes, "with kind iid nobody owns a class; give 0")
        require(0 <= self.straggler_share <= 1, "straggler_share", self.straggler_share, "give a share in [0, 1]")
        whole = self.kind != "natural" or self.straggler_share == 1
        require(
            whole, "straggler_share", self.straggler_share, "with kind natural a novel is one client's or not; give 1"
        )
        require(self.min_size >= 1, "min_size", self.min_size, "every client needs at least 1 image")
        require(self.max_redraws >= 1, "max_redraws", self.max_redraws, "give at least 1 draw")


@dataclass(frozen=True)
class Protocol(Checked):
    """Who is busy and when the server steps: N clients, M_c of them at work, a round every M arrivals, T rounds."""

    clients: int = 50
    """N"""
    concurrency: int = 25
    """M_c"""
    buffer_size: int = 5
    """M"""
    rounds: int = 300
    """T"""
    dispatch: Literal["on_flush", "on_arrival"] = "on_flush"
    """`on_flush`: M idle clients start when the round closes (official FADAS loop); `on_arrival`: one at once."""
    delta: Literal["sent", "fadas_code"] = "sent"
    """Delta_i against the version that was sent. `fadas_code`: as in the official FADAS loop, of the M that start
    when a round closes all but the last train from the version before, and Delta_i is against the new one."""
    reject_failed: bool = True
    """Reject an upload that is not finite, with its predictions; otherwise it ends the run as diverged."""

    def validate(self) -> None:
        """Check 1 <= M <= M_c <= N and T >= 1."""
        require(self.clients >= 1, "clients", self.clients, "N must be at least 1")
        require(
            1 <= self.concurrency <= self.clients,
            "concurrency",
            self.concurrency,
            f"M_c must be between 1 and N = {self.clients}",
        )
        require(
            1 <= self.buffer_size <= self.concurrency,
            "buffer_size",
            self.buffer_size,
            f"M must be between 1 and M_c = {self.concurrency}",
        )
        require(self.rounds >= 1, "rounds", self.rounds, "T must be at least 1")
        flushed = self.delta == "sent" or self.dispatch == "on_flush"
        require(flushed, "delta", self.delta, "the official loop starts clients on_flush; set dispatch to that")


@dataclass(frozen=True)
class Delays(Checked):
    """How long a job takes, in virtual seconds; clients are fast, medium or slow (see `delays.py`)."""

    model: DelayModel = "large"
    shape: float | None = None
    """Tail index of `pareto` (default 1.5), sigma of `lognormal` (default 1); no meaning elsewhere."""
    trace: str | None = None
    """CSV file with the columns client,duration for `trace`."""
    trace_sha256: str | None = None
    """Digest of that file; filled in by `delays.pin_trace`, so that the hash of a run names the content."""
    speed_counts: tuple[int, int, int] | None = None
    """Fixed numbers of fast, medium and slow clients; none = drawn per client by the official Dirichlet rule."""

    def validate(self) -> None:
        """Check that each option belongs to the model and is positive."""
        require(
            self.shape is None or self.model in ("pareto", "lognormal"),
            "shape",
            self.shape,
            f"it has no meaning for delay model {self.model}; leave it out",
        )
        require(self.shape is None or self.shape > 0, "shape", self.shape, "give a number > 0")
        require(
            (self.trace is not None) == (self.model == "trace"),
            "trace",
            self.trace,
            "give a CSV file exactly when the delay model is trace",
        )
        require(
            self.speed_counts is None or (len(self.speed_counts) == 3 and min(self.speed_counts) >= 0),
            "speed_counts",
            self.speed_counts,
            "give three counts >= 0: fast, medium, slow",
        )


@dataclass(frozen=True)
class Local(Checked):
    """Local SGD of one client: E epochs over its shuffled images; constant rate, no momentum."""

    lr: float = 0.1
    """eta_l"""
    epochs: int = 2
    """E"""
    batch_size: int = 50
    weight_decay: float = 1e-4
    augment: bool = False
    """Random crop (padding 4) and horizontal flip, as on CIFAR."""

    def validate(self) -> None:
        """Check ranges."""
        require(self.lr > 0, "lr", self.lr, "the local learning rate must be > 0")
        require(self.epochs >= 1, "epochs", self.epochs, "give at least 1 epoch")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "give at least 1 image")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "give a number >= 0")


@dataclass(frozen=True)
class Evaluation(Checked):
    """When and on what the server's model is scored."""

    every: int = 5
    """Rounds between evaluations; the last round is always evaluated."""
    split: Literal["test", "validation"] = "test"
    """`validation` while tuning; nothing is ever tuned on `test`."""
    scored: int = 5
    """The score is the mean of this many last evaluations. Unspecified in paper."""

    def validate(self) -> None:
        """Check the interval."""
        require(self.every >= 1, "every", self.every, "give at least 1 round")
        require(self.scored >= 1, "scored", self.scored, "give at least 1 evaluation")


class MethodConfig(Checked):
    """Base of the methods' own settings; each lives beside its algorithm in `fedecho/methods/`."""

    name: ClassVar[str]


@dataclass(frozen=True)
class RunConfig(Checked):
    """Everything that determines a run; `experiment.run` is a pure function of it."""

    method: MethodConfig
    seed: int = 0
    data: Data = field(default_factory=Data)
    partition: Partition = field(default_factory=Partition)
    protocol: Protocol = field(default_factory=Protocol)
    delays: Delays = field(default_factory=Delays)
    model: str = "cnn"
    """One of `models.MODELS` or `text_models.TEXT_MODELS`, or `lora:` and a pretrained encoder (see `pretrained`)."""
    local: Local = field(default_factory=Local)
    evaluation: Evaluation = field(default_factory=Evaluation)
    execution: Execution = field(default_factory=Execution)
    model_sha256: str | None = None
    """Digest of a pretrained encoder; filled in by `pretrained.pin`, so that the hash of a run names the content."""

    def validate(self) -> None:
        """Check what needs two parts at once."""
        require(self.seed >= 0, "seed", self.seed, "give a whole number >= 0")
        counts, clients = self.delays.speed_counts, self.protocol.clients
        require(counts is None or sum(counts) == clients, "speed_counts", counts, f"they must add up to N = {clients}")
        pinned = self.model_sha256 is None or self.model.startswith(LORA)
        require(pinned, "model_sha256", self.model_sha256, f"only a model {LORA}... has one; leave it out")
        needs_slow = self.partition.straggler_classes > 0 and self.partition.straggler_share > 0
        require(
            not needs_slow or (counts is not None and counts[2] > 0),
            "straggler_classes",
            self.partition.straggler_classes,
            "fix delays.speed_counts with at least 1 slow client first",
        )
        distill = getattr(self.method, "distill", None)
        written = self.data.pool != "self" or distill is None or distill.warmup_rounds > 0
        words = "with pool = self the model must have learnt something before it writes U; give 1 or more rounds"
        require(written, "warmup_rounds", 0, words)


def to_dict(config: object) -> dict[str, Any]:
    """Return `config` as plain JSON values, without the fields that stand at their defaults."""
    out: dict[str, Any] = {}
    if isinstance(config, MethodConfig):
        out["method"] = config.name
    for f in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, f.name)
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if value != default or (isinstance(value, MethodConfig) and type(value) is not type(default)):
            out[f.name] = to_dict(value) if dataclasses.is_dataclass(value) else value
    return out


def config_hash(config: RunConfig) -> str:
    """Return the first 16 hex digits of the SHA-256 of the canonical JSON of `config` and `NUMERICS_VERSION`."""
    values = to_dict(config)
    if config.delays.trace is not None:  # a trace is named by its content, wherever it lies
        values["delays"]["trace"] = config.delays.trace_sha256 or file_sha256(Path(config.delays.trace))
    if config.model.startswith(LORA):  # and so is a pretrained encoder
        from fedecho.pretrained import digest

        values["model"] = LORA + (values.pop("model_sha256", None) or digest(config.model))
    canonical = json.dumps([NUMERICS_VERSION, values], sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
    """Rebuild a config from `to_dict`; an unknown field raises `InputError` naming the ones that exist."""
    from fedecho.methods import method_class

    values = dict(values)
    if issubclass(cls, MethodConfig):
        cls = method_class(values.pop("method"))  # type: ignore[assignment]
    hints = field_hints(cls)
    for name in values:
        require(name in hints, name, values[name], f"{cls.__name__} has the fields {', '.join(hints)}")
    return cls(**{name: _rebuild(hints[name], value) for name, value in values.items()})


def _rebuild(hint: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict):
        for option in (hint, *get_args(hint)):
            if option is MethodConfig or (isinstance(option, type) and dataclasses.is_dataclass(option)):
                return from_dict(option, value)
    return value


def override(config: T, path: str, value: Any) -> T:
    """Return a copy of `config` with the dotted field `path` (e.g. `method.distill.clip_norm`) set to `value`."""
    return override_all(config, {path: value})


def override_all(config: T, values: Mapping[str, Any]) -> T:
    """Return a copy of `config` with all the dotted fields set at once, so that only the outcome need be valid."""
    changed: T = _override(config, {tuple(path.split(".")): value for path, value in values.items()}, "")
    return changed


def _override(config: Any, values: Mapping[tuple[str, ...], Any], prefix: str) -> Any:
    known = field_hints(type(config)) if dataclasses.is_dataclass(config) else {}
    changes: dict[str, Any] = {}
    for head in dict.fromkeys(names[0] for names in values):
        below = {names[1:]: value for names, value in values.items() if names[0] == head and len(names) > 1}
        path = ".".join([head, *next(iter(below), ())])
        require(
            head in known,
            prefix + path,
            next(v for n, v in values.items() if n[0] == head),
            f"{type(config).__name__} has the fields {', '.join(known) or '(none)'}",
        )
        own = _rebuild(known[head], values[head,]) if (head,) in values else getattr(config, head)
        changes[head] = _override(own, below, f"{prefix}{head}.") if below else own
    return dataclasses.replace(config, **changes)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
