"""What a run is: frozen dataclasses, their validation, and the canonical hash that names a record.

The hash covers every field that differs from its default, so a new field (with a default that keeps the old behaviour)
leaves all existing records valid; changing a default is a change of numerics and needs a new `NUMERICS_VERSION`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

from fedecho.core.checks import Checked, Natural, kinds_of, require
from fedecho.core.files import file_sha256, json_sha256
from fedecho.core.settings import Data, Delays, Evaluation, Execution, Local, Partition, Protocol

NUMERICS_VERSION = 1
"""Bumped whenever the same config would give other numbers; records of an older version are not used."""

LORA = "lora:"
"""A model whose name begins so is a pretrained encoder with adapters; a folder or a name on the hub follows."""
T = TypeVar("T")


class MethodConfig(Checked):
    """Base of the methods' own settings; each lives beside its algorithm in `fedecho/learning/methods/`."""

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Make the method known by its name."""
        METHODS[cls.name] = cls


METHODS: dict[str, type[MethodConfig]] = {}
"""Name -> config of every method that has been imported."""


def method_class(name: str) -> type[MethodConfig]:
    """Return the config class of the method `name`; raise `InputError` naming the known ones otherwise."""
    require(name in METHODS, "method", name, f"choose one of {', '.join(METHODS)}")
    return METHODS[name]


@dataclass(frozen=True)
class RunConfig(Checked):
    """Everything that determines a run; `experiment.run` is a pure function of it."""

    method: MethodConfig
    seed: Natural = 0
    data: Data = Data()
    partition: Partition = Partition()
    protocol: Protocol = Protocol()
    delays: Delays = Delays()
    model: str = "cnn"
    """One of `models.MODELS` or `text_models.TEXT_MODELS`, or ``lora:`` and a pretrained encoder (see `pretrained`)."""
    local: Local = Local()
    evaluation: Evaluation = Evaluation()
    execution: Execution = Execution()
    model_sha256: str | None = None
    """Digest of a pretrained encoder; filled in by `pretrained.pin`, so that the hash of a run names the content."""

    @property
    def distill(self) -> Any:
        """How the server distils (`Distillation`); none if it does not."""
        return getattr(self.method, "distill", None)

    def evaluated_rounds(self) -> list[int]:
        """Return after how many rounds the model is scored: every so many, and at the end."""
        rounds = self.protocol.rounds
        return [*range(self.evaluation.every, rounds, self.evaluation.every), rounds]

    def validate(self) -> None:
        """Check what needs two parts at once."""
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
        written = self.data.pool != "self" or self.distill is None or self.distill.warmup_rounds > 0
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
        pinned = config.model_sha256 is not None
        require(pinned, "model_sha256", None, f"the digest of {config.model} is filled in by pretrained.pin")
        values["model"] = LORA + values.pop("model_sha256")
    return json_sha256([NUMERICS_VERSION, values])[:16]


def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
    """Rebuild a config from `to_dict`; an unknown or missing field raises `InputError` naming those there are."""
    values = dict(values)
    if issubclass(cls, MethodConfig):
        cls = method_class(values.pop("method"))  # type: ignore[assignment]
    known = kinds_of(cls)
    allowed = f"{cls.__name__} has the fields {', '.join(known)}"
    for name in values:
        require(name in known, name, values[name], allowed)
    for f in dataclasses.fields(cls):  # type: ignore[arg-type]
        optional = f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        require(optional or f.name in values, f.name, None, f"it is missing; {allowed}")
    return cls(**{name: _rebuild(known[name].hint, value) for name, value in values.items()})


def _rebuild(hint: Any, value: Any) -> Any:
    if isinstance(value, list):
        part = next(iter(get_args(hint)), Any)
        return tuple(_rebuild(part, item) for item in value)
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
    known = kinds_of(type(config)) if dataclasses.is_dataclass(config) else {}
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
        own = _rebuild(known[head].hint, values[head,]) if (head,) in values else getattr(config, head)
        changes[head] = _override(own, below, f"{prefix}{head}.") if below else own
    return dataclasses.replace(config, **changes)
