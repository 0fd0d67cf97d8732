"""What a run is: frozen dataclasses, their validation, and the canonical hash that names a record.

The hash covers every field that differs from its default, so a new field (with a default that keeps the old behaviour)
leaves all existing records valid; changing a default is a change of numerics and needs a new `NUMERICS_VERSION`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast, get_args

from fedecho.core.checks import Checked, Natural, is_named, kinds_of, require
from fedecho.core.files import file_sha256, is_file, json_sha256
from fedecho.core.settings import Data, Delays, Evaluation, Execution, Faults, Local, Partition, Protocol

NUMERICS_VERSION = 1
"""Bumped whenever the same config would give other numbers; records of an older version are not used."""

LORA = "lora:"
"""Prefix of a pretrained encoder with adapters; followed by a folder or a name on the Hugging Face hub."""
T = TypeVar("T")


class MethodConfig(Checked):
    """Base of the methods' own settings; each lives beside its algorithm in `fedecho/learning/methods/`."""

    name: ClassVar[str]
    plugin: ClassVar[str | None] = None
    """The user's file that defines it; none = a built-in method."""
    plugin_sha256: ClassVar[str | None] = None
    """SHA-256 of that file, which enters a run's hash; `plugins.load` fills in both."""

    def __init_subclass__(cls) -> None:
        """Register the method under its name in `METHODS`."""
        METHODS[cls.name] = cls


def methods_in(method: MethodConfig) -> Iterator[MethodConfig]:
    """Yield a method's settings and those of the methods inside it."""
    yield method
    for value in vars(method).values():
        if isinstance(value, MethodConfig):
            yield from methods_in(value)


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
    """One of `models.MODELS` or `models.texts.TEXT_MODELS`, ``lora:`` and a pretrained encoder (see `pretrained`), or
    ``module:function``, a function of an image's shape and the number of classes that returns a `torch.nn.Module`."""
    local: Local = Local()
    evaluation: Evaluation = Evaluation()
    execution: Execution = Execution()
    model_sha256: str | None = None
    """Digest of a pretrained encoder, or of the file of a model's function; filled in by `pins.pin`."""
    faults: Faults = Faults()

    @property
    def is_own(self) -> bool:
        """Whether its method, data, model or delays are the user's own."""
        named = is_named(self.model) and not self.model.startswith(LORA)
        plugin = any(method.plugin for method in methods_in(self.method))
        return named or plugin or self.data.is_file or self.delays.model in ("function", "trace")

    @property
    def distill(self) -> Any:
        """How the server distils (`Distillation`); none if it does not."""
        return getattr(self.method, "distill", None)

    @property
    def evaluations(self) -> int:
        """How many times the model is scored."""
        return -(-self.protocol.rounds // self.evaluation.every)

    def evaluated_rounds(self) -> Iterator[int]:
        """Yield the numbers of rounds (maybe millions) after which the model is scored: every so many, and the last."""
        rounds, every = self.protocol.rounds, self.evaluation.every
        return (min(number, rounds) for number in range(every, rounds + every, every))

    def validate(self) -> None:
        """Check constraints that involve more than one part of the config."""
        counts, clients = self.delays.speed_counts, self.protocol.clients
        require(counts is None or sum(counts) == clients, "speed_counts", counts, f"they must add up to N = {clients}")
        pinned = self.model_sha256 is None or self.model.startswith(LORA) or is_named(self.model)
        require(pinned, "model_sha256", self.model_sha256, f"only {LORA}... and module:function have one; leave it out")
        faulty = self.faults.count(clients)
        some = self.faults.share == 0 or 0 < faulty < clients
        require(some, "share", self.faults.share, f"that is {faulty} of {clients} clients; give another share")
        alone = "with M = 1 each arrival closes a round, and who starts is alone"
        self.protocol.unread(self.protocol.buffer_size == 1, alone, "dispatch", "delta")
        in_step = self.protocol.concurrency == self.protocol.buffer_size and self.protocol.dispatch == "on_flush"
        for method in methods_in(self.method):
            method.unread(in_step, "with M_c = M no update is stale", "staleness_exponent")
        owned, slow = self.partition.straggler_classes, 0 if counts is None else counts[2]
        words = "fix delays.speed_counts with at least 1 slow client first"
        require(slow > 0 or not (owned and self.partition.straggler_share), "straggler_classes", owned, words)
        written = self.data.pool != "self" or self.distill is None or self.distill.warmup_rounds > 0
        words = "with pool = self the model must have learnt something before it writes U; give 1 or more rounds"
        require(written, "warmup_rounds", 0, words)
        if self.distill is not None:
            warmup, rounds = self.distill.warmup_rounds, self.protocol.rounds
            require(warmup < rounds, "warmup_rounds", warmup, f"give fewer than the T = {rounds} rounds")
            self._check_weighting()

    def _check_weighting(self) -> None:
        """Check that the pool allows the chosen weighting of the rows (`learning/weighting.py`)."""
        beta, how = self.distill.energy_weight, self.distill.teacher_weights
        several = self.data.pool_size > 1 or self.data.task == "generation"
        require(beta == 0 or several, "energy_weight", beta, "energies of 1 image have no spread; give more, or 0")
        words = "clients rate a pool that is there from the start, not one that the server writes; choose another"
        require(how != "fedaux" or self.data.pool != "self", "teacher_weights", how, words)


def to_dict(config: object) -> dict[str, Any]:
    """Return `config` as plain JSON values, without the fields that stand at their defaults."""
    out: dict[str, Any] = {}
    if isinstance(config, MethodConfig):
        out["method"] = config.name
        if config.plugin_sha256 is not None:
            out |= {"plugin": config.plugin, "plugin_sha256": config.plugin_sha256}
    for f in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, f.name)
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if value != default or (isinstance(value, MethodConfig) and type(value) is not type(default)):
            out[f.name] = to_dict(value) if dataclasses.is_dataclass(value) else value
    return out


def config_hash(config: RunConfig) -> str:
    """Return the first 16 hex digits of the SHA-256 of the canonical JSON of `config` and `NUMERICS_VERSION`."""
    try:
        return (_hash if config.is_own else _remembered)(config)  # files of the user's may change
    except TypeError:  # a plugin's settings may be unhashable, e.g. a list
        return _hash(config)


def _hash(config: RunConfig) -> str:
    values = to_dict(config)
    if config.delays.trace is not None:  # a trace is named by its content, wherever it lies
        values["delays"]["trace"] = _digest_of(config.delays.trace, config.delays.trace_sha256, "trace")
    if config.delays.function is not None:  # and so is all else that is not ours
        values["delays"]["function"] = _pinned(config.delays.function, values["delays"].pop("function_sha256", None))
    if config.data.is_file:
        values["data"]["name"] = _digest_of(config.data.name, values["data"].pop("sha256", None), "data")
    if config.model.startswith(LORA):
        pinned = config.model_sha256 is not None
        require(pinned, "model_sha256", None, f"the digest of {config.model} is filled in by pins.pin")
        values["model"] = LORA + values.pop("model_sha256")
    elif is_named(config.model):
        values["model"] = _pinned(config.model, values.pop("model_sha256", None))
    return json_sha256([NUMERICS_VERSION, _without_paths(values)])[:16]


_remembered = functools.lru_cache(maxsize=16384)(_hash)


def _digest_of(path: str, sha256: str | None, field: str) -> str:
    """Return what stands for a file in a hash: its digest."""
    require(sha256 is not None or is_file(path), field, path, "no such file, and its digest is not given")
    return sha256 or file_sha256(Path(path))


def _pinned(function: str, sha256: str | None) -> str:
    """Return what stands for a user's function in a hash, its name and its file's digest; nothing is imported."""
    require(sha256 is not None, "sha256", None, f"the digest of the file of {function} is filled in by pins.pin")
    return f"{function.rpartition(':')[2]} of {sha256}"


def _without_paths(values: dict[str, Any]) -> dict[str, Any]:
    """Return a config's values without the paths of plugins."""
    kept = {name: value for name, value in values.items() if name != "plugin"}
    return {name: _without_paths(value) if isinstance(value, dict) else value for name, value in kept.items()}


def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
    """Rebuild a config from `to_dict`; an unknown or missing field raises `InputError` with the known ones."""
    values = dict(values)
    if issubclass(cls, MethodConfig):
        path, sha256, name = (values.pop(key, None) for key in ("plugin", "plugin_sha256", "method"))
        require(isinstance(name, str), "method", name, f"choose one of {', '.join(METHODS)}")
        known_here = METHODS[name].plugin_sha256 if name in METHODS else None
        words = f"its method {name} is code of a user's own: name that file, unchanged, with --plugin"
        require(sha256 == known_here, "plugin", path, words)
        cls = method_class(name)  # type: ignore[assignment]
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
    if isinstance(value, str) and value in METHODS and MethodConfig in (hint, *get_args(hint)):
        return METHODS[value]()
    return value


def override(config: T, path: str, value: Any) -> T:
    """Return a copy of `config` with the dotted field `path` (e.g. `method.distill.clip_norm`) set to `value`."""
    return override_all(config, {path: value})


def override_all(config: T, values: Mapping[str, Any]) -> T:
    """Return a copy of `config` with all the dotted fields set at once, so that only the outcome need be valid."""
    return cast(T, _override(config, {tuple(path.split(".")): value for path, value in values.items()}, ""))


def _override(config: Any, values: Mapping[tuple[str, ...], Any], prefix: str) -> Any:
    known = kinds_of(type(config)) if dataclasses.is_dataclass(config) else {}
    changes: dict[str, Any] = {}
    for head in dict.fromkeys(names[0] for names in values):
        below = {names[1:]: value for names, value in values.items() if names[0] == head}
        path, allowed = ".".join([head, *next(filter(None, below), ())]), ", ".join(known) or "(none)"
        words = f"{type(config).__name__} has the fields {allowed}"
        require(head in known, prefix + path, next(iter(below.values())), words)
        own = _rebuild(known[head].hint, below.pop(())) if () in below else getattr(config, head)
        changes[head] = _override(own, below, f"{prefix}{head}.") if below else own
    return dataclasses.replace(config, **changes)
