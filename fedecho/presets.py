"""Named settings: the three profiles, the methods as compared, and one function per table: profile -> cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.stats import qmc

from fedecho.core.checks import require
from fedecho.core.config import MethodConfig, RunConfig, method_class, override_all
from fedecho.core.rng import stream
from fedecho.core.settings import Data, Delays, Evaluation, Local, Partition, Protocol
from fedecho.learning.distill import Distillation
from fedecho.learning.methods import CA2FL, FADAS, FedAC, FedAsync, FedAvg, FedBuff, FedEcho
from fedecho.simulation.schedule import sequential, synchronous


@dataclass(frozen=True)
class Profile:
    """A scale at which every experiment can be run."""

    name: str
    data: Data
    model: str
    protocol: Protocol
    local: Local
    distill: Distillation
    seeds: tuple[int, ...]
    speed_counts: tuple[int, int, int]
    """Fast, medium and slow clients where stragglers own classes, so that seeds differ in data and not in kind."""
    min_size: int = 10
    too_small: Literal["redraw", "top up"] = "redraw"
    methods: tuple[str, ...] = ()
    """Contenders of the main table; none given = all."""
    settings: tuple[str, ...] = ()
    """Its partitions; none given = all."""
    boxes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Dotted field -> (lowest, highest), where another range than the contenders' own is searched."""


_BLOCK: Any = {
    "methods": ("FedBuff", "FedBuff + EMA", "CA2FL", "FADAS", "FedEcho"),
    "settings": ("Dir(0.1)", "Dir(0.1), stragglers own 2 classes, pure"),
}
_LANGUAGE: Any = {
    "methods": ("FedAvg (sync)", "FedBuff", "FedBuff + EMA", "CA2FL", "FedAC-public", "FADAS", "FedEcho"),
    "too_small": "top up",
}
_GENERATION: Any = _LANGUAGE | {"boxes": {"local.lr": (0.05, 2.0), "method.distill.lr": (0.01, 1.0)}}
PROFILES = {
    "smoke": Profile(
        "smoke", Data(train_size=2000, pool_size=200), "cnn", Protocol(20, 10, 2, 20), Local(epochs=1),
        Distillation(steps=3, batch_size=50), (0, 1), (10, 6, 4), min_size=5,
    ),
    "laptop": Profile(
        "laptop", Data(), "cnn", Protocol(50, 25, 5, 300), Local(), Distillation(steps=10, batch_size=100),
        (0, 1, 2, 3, 4), (25, 16, 9),
    ),
    "paper": Profile(
        "paper", Data("cifar10", pool="cifar100-20k", pool_size=5000), "resnet18", Protocol(50, 25, 5, 500),
        Local(augment=True), Distillation(steps=20, batch_size=128), (0, 1, 2), (25, 16, 9),
    ),
    "cifar-small": Profile(
        "cifar-small", Data("cifar10", 10_000, "cifar100-20k", 1000, validation_size=5000), "cnn",
        Protocol(50, 25, 5, 200), Local(), Distillation(steps=10, batch_size=100), (0, 1, 2), (25, 16, 9), **_BLOCK,
    ),
    "cifar-smoke": Profile(
        "cifar-smoke", Data("cifar10", 2000, "cifar100-20k", 200, validation_size=1000), "cnn", Protocol(20, 10, 2, 10),
        Local(epochs=1), Distillation(steps=3, batch_size=50), (0, 1), (10, 6, 4), min_size=5, **_BLOCK,
    ),
    "language": Profile(
        "language", Data("austen", pool_size=200), "text-encoder", Protocol(50, 25, 5, 150),
        Local(epochs=1, batch_size=20), Distillation(steps=5, batch_size=50), (0, 1, 2, 3, 4), (25, 16, 9), **_LANGUAGE,
    ),
    "language-smoke": Profile(
        "language-smoke", Data("austen", train_size=600, pool_size=50), "text-encoder", Protocol(20, 10, 2, 10),
        Local(epochs=1, batch_size=20), Distillation(steps=2, batch_size=25), (0, 1), (10, 6, 4), **_LANGUAGE,
    ),
    "generation": Profile(
        "generation", Data("austen", 3000, pool_size=50, task="generation"), "text-decoder", Protocol(50, 25, 5, 100),
        Local(epochs=1, batch_size=20), Distillation(steps=5, batch_size=25), (0, 1, 2, 3, 4), (25, 16, 9),
        **_GENERATION,
    ),
    "generation-smoke": Profile(
        "generation-smoke", Data("austen", 300, pool_size=10, task="generation", vocabulary=257), "text-decoder",
        Protocol(10, 5, 2, 5), Local(epochs=1, batch_size=20), Distillation(steps=1, batch_size=10), (0, 1), (5, 3, 2),
        **_GENERATION,
    ),
}  # fmt: skip
WHOLE = ("smoke", "laptop", "paper")
"""The profiles at which every table can be made."""
BLOCKS = {
    "cifar": {"smoke": "cifar-smoke", "laptop": "cifar-small", "paper": "cifar-small"},
    "language": {"smoke": "language-smoke", "laptop": "language", "paper": "language"},
    "generation": {"smoke": "generation-smoke", "laptop": "generation", "paper": "generation"},
}
"""Block -> profile of whole tables -> profile of the block beside them: other data, its own methods and settings."""


def profile(name: str) -> Profile:
    """Return a profile by name; raise `InputError` naming the known ones otherwise."""
    require(name in PROFILES, "profile", name, f"choose one of {', '.join(PROFILES)}")
    return PROFILES[name]


def whole(name: str) -> Profile:
    """Return a profile at which every table can be made; raise `InputError` otherwise."""
    scale = profile(name)
    allowed = f"choose one of {', '.join(WHOLE)}; the tables of {name} are `fedecho tables --only {block_of(name)[0]}`"
    require(name in WHOLE, "profile", name, allowed)
    return scale


def block_of(name: str) -> tuple[str, str]:
    """Return the block of a profile, "" for none, and the profile of whole tables that it stands beside, or is."""
    beside = {scale: (block, whole) for block, scales in BLOCKS.items() for whole, scale in reversed(scales.items())}
    return beside.get(name, ("", name))


@dataclass(frozen=True)
class Contender:
    """A column of the comparison: a method, the box its hyper-parameters are searched in, and how it is scheduled."""

    label: str
    method: MethodConfig
    box: dict[str, tuple[float, float]]
    """Dotted field of `RunConfig` -> (lowest, highest), searched on a log scale."""
    protocol: Callable[[Protocol], Protocol] = lambda protocol: protocol


_LOCAL = {"local.lr": (0.01, 0.5)}
_ADAM = {"method.server_lr": (3e-4, 3e-2)}
_ALL = (
    Contender("FedAvg (sync)", FedAvg(), _LOCAL, synchronous),
    Contender("FedAsync", FedAsync(), _LOCAL | {"method.mixing": (0.03, 1.0)}, sequential),
    Contender("FedBuff", FedBuff(), _LOCAL),
    Contender("FedBuff + EMA", FedBuff(ema=0.95), _LOCAL),
    Contender("FedBuff (tuned eta)", FedBuff(), _LOCAL | {"method.server_lr": (0.1, 2.0)}),
    Contender("CA2FL", CA2FL(), _LOCAL),
    Contender("FedAC-public", FedAC(), _LOCAL | _ADAM),
    Contender("FADAS", FADAS(), _LOCAL | _ADAM),
    Contender("FADAS-da", FADAS(delay_adaptive=True), _LOCAL | _ADAM),
    Contender("FedEcho", FedEcho(), _LOCAL | {"method.distill.lr": (0.003, 0.3)}),
)
CONTENDERS = {contender.label: contender for contender in _ALL}
REFERENCE = "FedEcho"

_LAPTOP_TUNED: dict[str, dict[str, float]] = {
    "FedAvg (sync)": {"local.lr": 0.147},
    "FedAsync": {"local.lr": 0.0903, "method.mixing": 0.803},
    "FedBuff": {"local.lr": 0.147},
    "FedBuff + EMA": {"local.lr": 0.0903},
    "FedBuff (tuned eta)": {"local.lr": 0.24, "method.server_lr": 0.175},
    "CA2FL": {"local.lr": 0.0554},
    "FedAC-public": {"local.lr": 0.0128, "method.server_lr": 0.00127},
    "FADAS": {"local.lr": 0.147, "method.server_lr": 0.00225},
    "FADAS-da": {"local.lr": 0.0903, "method.server_lr": 0.0225},
    "FedEcho": {"local.lr": 0.147, "method.distill.lr": 0.0225},
}
_CIFAR_TUNED: dict[str, dict[str, float]] = {
    "FedBuff": {"local.lr": 0.0208},
    "FedBuff + EMA": {"local.lr": 0.034},
    "CA2FL": {"local.lr": 0.0554},
    "FADAS": {"local.lr": 0.147, "method.server_lr": 0.00225},
    "FedEcho": {"local.lr": 0.0554, "method.distill.lr": 0.004},
}
_LANGUAGE_TUNED: dict[str, dict[str, float]] = {
    "FedAvg (sync)": {"local.lr": 0.0208},
    "FedBuff": {"local.lr": 0.0208},
    "FedBuff + EMA": {"local.lr": 0.0208},
    "CA2FL": {"local.lr": 0.034},
    "FedAC-public": {"local.lr": 0.0128, "method.server_lr": 0.00127},
    "FADAS": {"local.lr": 0.0128, "method.server_lr": 0.00127},
    "FedEcho": {"local.lr": 0.0128, "method.distill.lr": 0.0127},
}
_GENERATION_TUNED: dict[str, dict[str, float]] = {
    "FedAvg (sync)": {"local.lr": 1.0},
    "FedBuff": {"local.lr": 0.251},
    "FedBuff + EMA": {"local.lr": 0.398},
    "CA2FL": {"local.lr": 0.251},
    "FedAC-public": {"local.lr": 0.158, "method.server_lr": 0.004},
    "FADAS": {"local.lr": 1.59, "method.server_lr": 0.00711},
    "FedEcho": {"local.lr": 1.59, "method.distill.lr": 0.237},
}
TUNED: dict[str, dict[str, dict[str, float]]] = {
    "laptop": _LAPTOP_TUNED, "smoke": _LAPTOP_TUNED, "cifar-small": _CIFAR_TUNED, "cifar-smoke": _CIFAR_TUNED,
    "language": _LANGUAGE_TUNED, "language-smoke": _LANGUAGE_TUNED, "generation": _GENERATION_TUNED,
    "generation-smoke": _GENERATION_TUNED,
}  # fmt: skip
"""Profile -> contender -> the values that the tuning chose, from the records in paper/records/tuning and
tuning-<profile>.

The smoke profiles borrow them; the paper profile runs at the protocol's own values until it is tuned.
"""


def base(name: str, contender: Contender, seed: int) -> RunConfig:
    """Return a contender's run at a profile's scale: Dir(0.1), large delays, untuned defaults."""
    scale = profile(name)
    method = contender.method
    if isinstance(method, FedEcho):
        method = dataclasses.replace(method, distill=scale.distill)
    protocol = contender.protocol(scale.protocol)
    # The same number of arrivals between evaluations, however many of them make a round.
    every = Evaluation().every * scale.protocol.buffer_size // protocol.buffer_size
    partition = Partition(min_size=scale.min_size, too_small=scale.too_small)
    return RunConfig(
        method, seed, scale.data, partition, protocol, Delays(), scale.model, scale.local, Evaluation(every=every),
    )  # fmt: skip


def tuned(config: RunConfig, label: str, name: str) -> RunConfig:
    """Return `config` with the contender's values tuned at a profile, if there are any."""
    return override_all(config, TUNED.get(name, {}).get(label, {}))


def at_edge(chosen: dict[str, dict[str, float]], count: int, name: str = "laptop") -> list[str]:
    """Name the chosen values that are the smallest or largest of `count` tried: a wider box might have found better."""
    out = []
    for label, values in chosen.items():
        points = trials(CONTENDERS[label], count, name)
        for path, value in values.items():
            tried = [point[path] for point in points]
            if value in (min(tried), max(tried)):
                end = "smallest" if value == min(tried) else "largest"
                out.append(f"{label} {path.split('.', 1)[1]} = {value:g} ({end} tried)")
    return out


def single(method: str, name: str, seed: int) -> RunConfig:
    """Return the run behind `fedecho run`: the contender that uses the method's plain form, tuned."""
    cls = method_class(method)
    contender = next(c for c in CONTENDERS.values() if type(c.method) is cls)
    return tuned(base(name, contender, seed), contender.label, name)


@dataclass(frozen=True)
class Cell:
    """One run of a table and where it belongs in it."""

    method: str
    setting: str
    delay: str
    config: RunConfig


SETTINGS: dict[str, dict[str, Any]] = {
    "Dir(0.1)": {"alpha": 0.1},
    "Dir(0.3)": {"alpha": 0.3},
    "Dir(0.1), stragglers own 2 classes, mixed": {"alpha": 0.1, "straggler_classes": 2},
    "Dir(0.1), stragglers own 2 classes, pure": {"alpha": 0.1, "straggler_classes": 2, "straggler_mix": "pure"},
}
"""`mixed`: slow clients alone hold two classes, dealt among them by Dir(0.1), beside shares of the other classes;
`pure`: they hold those two classes in equal parts and nothing else (`Partition.straggler_mix`)."""
DELAYS = ("mild", "large")


def placed(config: RunConfig, scale: Profile, setting: str, delay: str) -> RunConfig:
    """Return `config` in a setting of heterogeneity and delay."""
    require(setting in SETTINGS, "setting", setting, f"choose one of {', '.join(SETTINGS)}")
    require(delay in DELAYS, "delay", delay, f"choose one of {', '.join(DELAYS)}")
    fields = SETTINGS[setting]
    counts = scale.speed_counts if fields.get("straggler_classes") else None
    return dataclasses.replace(
        config,
        partition=dataclasses.replace(config.partition, **fields),
        delays=Delays(delay, speed_counts=counts),  # type: ignore[arg-type]
    )


def contenders(name: str) -> dict[str, Contender]:
    """Return the contenders of a profile's main table, by label."""
    return {label: CONTENDERS[label] for label in profile(name).methods or CONTENDERS}


def vision_table(name: str) -> list[Cell]:
    """Return the runs of the main table: the profile's methods x its partitions x two delays x its seeds."""
    scale = profile(name)
    return [
        Cell(label, setting, delay, placed(tuned(base(name, contender, seed), label, name), scale, setting, delay))
        for seed in scale.seeds
        for setting in scale.settings or SETTINGS
        for delay in DELAYS
        for label, contender in contenders(name).items()
    ]


TUNING_SEEDS = {
    "smoke": (1000,), "laptop": (1000, 1001), "paper": (1000,), "cifar-small": (1000, 1001), "cifar-smoke": (1000,),
    "language": (1000, 1001), "language-smoke": (1000,), "generation": (1000,), "generation-smoke": (1000,),
}  # fmt: skip
"""Seeds that no table reports."""
TUNING_TRIALS = {
    "smoke": 2, "laptop": 8, "paper": 8, "cifar-small": 8, "cifar-smoke": 2, "language": 8, "language-smoke": 2,
    "generation": 8, "generation-smoke": 2,
}  # fmt: skip
"""Trials per method: the same for all, whatever the number of its hyper-parameters."""
TUNING_SETTING = ("Dir(0.1)", "large")


def trials(contender: Contender, count: int, name: str = "laptop") -> list[dict[str, float]]:
    """Return `count` points in the contender's box at a profile, to 3 digits: a centred Latin hypercube on the log
    scale.

    With one hyper-parameter this is a plain geometric grid; with two, each of them still takes `count` distinct values.
    """
    box = {path: profile(name).boxes.get(path, bounds) for path, bounds in contender.box.items()}
    lowest, highest = np.log(np.array(list(box.values()))).T
    cube = qmc.LatinHypercube(len(box), scramble=False, optimization="random-cd", rng=stream(0, "tuning"))
    points = np.exp(qmc.scale(cube.random(count), lowest, highest))
    return [{path: float(f"{v:.3g}") for path, v in zip(box, point, strict=True)} for point in points]


@dataclass(frozen=True)
class Trial:
    """One run of the tuning: which contender, with which values."""

    method: str
    values: dict[str, float]
    config: RunConfig


def tuning(name: str) -> list[Trial]:
    """Return every trial: each contender's box, on the validation split, in one setting, on seeds not reported."""
    scale, out = profile(name), []
    # The bundled data has a validation split of its own; elsewhere the clients' last images are set aside.
    own = scale.data.pool == "held-out" or scale.data.validation_size > 0
    held_out: dict[str, object] = {} if own else {"data.validation_size": 5000}
    for seed in TUNING_SEEDS[name]:
        for label, contender in contenders(name).items():
            for values in trials(contender, TUNING_TRIALS[name], name):
                config = placed(base(name, contender, seed), scale, *TUNING_SETTING)
                config = override_all(config, {"evaluation.split": "validation"} | held_out | values)
                out.append(Trial(label, values, config))
    return out
