"""The scales at which everything can be run: smoke, laptop, paper, and the blocks beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fedecho.core.checks import require, require_known
from fedecho.core.settings import Data, Execution, Local, Protocol
from fedecho.learning.echo_settings import Distillation


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
    """Seeds of every table."""
    speed_counts: tuple[int, int, int]
    """Fast, medium and slow clients where stragglers own classes, so that seeds differ in data and not in kind."""
    scored: int | None = None
    """At most so many held-out images or texts are scored; none = all, as wherever numbers are reported."""
    min_size: int = 10
    too_small: Literal["redraw", "top up"] = "redraw"
    settings: tuple[str, ...] = ()
    """Its partitions; none given = all."""
    spaces: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Dotted field -> (lowest, highest): bounds that replace the contenders' own, for every method."""
    tuning_seeds: tuple[int, ...] = (1000,)
    """Seeds that no table reports."""
    trials: int = 12
    """Tuning trials per method: the same number for all, however many hyper-parameters a method has."""
    fresh: tuple[int, ...] = ()
    """Seeds that the primary claims are tested on, chosen after them and before any of their runs (`grid.fresh`)."""
    later: tuple[int, ...] = ()
    """Seeds that single claims use in addition to these or instead of them."""
    refinements: int = 1
    """How often each method's best trial is refined: more than once where a chosen value lay at an edge."""
    tuning_rounds: int = 0
    """T of a trial, where that is shorter than a run of the tables; 0 = the same."""
    execution: Execution = field(default_factory=Execution)

    @property
    def reported(self) -> set[int]:
        """The seeds that tables report, on which nothing may be tuned."""
        return {*self.seeds, *self.fresh, *self.later}


_SMOKE: Any = {
    "seeds": (0, 1), "fresh": (2,), "later": (3,), "speed_counts": (10, 6, 4), "trials": 2, "refinements": 0,
    "scored": 300,
}  # fmt: skip
_FEW: Any = _SMOKE | {"seeds": (0,), "speed_counts": (5, 3, 2)}
_FULL: Any = {"speed_counts": (25, 16, 9), "tuning_seeds": (1000, 1001)}
_FRESH = tuple(range(5, 15))
_CIFAR: Any = {
    "spaces": {"method.distill.lr": (3e-4, 0.3)},
    "settings": ("Dir(0.1)", "Dir(0.1), stragglers own 2 classes, pure"),
}
_RESNET: Any = {"spaces": _CIFAR["spaces"], "execution": Execution(channels_last=True)}
_LANGUAGE: Any = {"too_small": "top up", "spaces": {"local.lr": (0.001, 0.2), "method.distill.lr": (1e-3, 0.3)}}
_GENERATION: Any = _LANGUAGE | {"spaces": {"local.lr": (0.05, 5.0), "method.distill.lr": (0.01, 3.0)}}
_ALL = (
    Profile(
        "smoke", Data(train_size=2000, pool_size=200), "cnn", Protocol(20, 10, 2, 6), Local(epochs=1),
        Distillation(steps=3, batch_size=50), min_size=5, **_SMOKE,
    ),
    Profile(
        "laptop", Data(), "cnn", Protocol(50, 25, 5, 300), Local(), Distillation(steps=10, batch_size=100),
        (0, 1, 2, 3, 4), fresh=_FRESH, later=tuple(range(15, 30)), **_FULL,
    ),
    Profile(
        "paper", Data("cifar10", pool="cifar100-20k", pool_size=5000), "resnet18", Protocol(50, 25, 5, 500),
        Local(augment=True), Distillation(steps=20, batch_size=128), (0, 1, 2), (25, 16, 9),
        later=tuple(range(20, 30)),
    ),
    Profile(
        "cifar-small", Data("cifar10", 10_000, "cifar100-20k", 1000, validation_size=5000), "cnn",
        Protocol(50, 25, 5, 200), Local(), Distillation(steps=10, batch_size=100), (0, 1, 2, 3, 4), **_FULL, **_CIFAR,
    ),
    Profile(
        "cifar-smoke", Data("cifar10", 2000, "cifar100-20k", 200, validation_size=1000), "cnn", Protocol(20, 10, 2, 6),
        Local(epochs=1), Distillation(steps=3, batch_size=50), min_size=5, **_SMOKE | {"seeds": (0,)}, **_CIFAR,
    ),
    Profile(
        "cifar-resnet", Data("cifar10", 25_000, "cifar100-20k", 1000, validation_size=5000), "resnet8",
        Protocol(50, 25, 5, 500), Local(augment=True), Distillation(steps=10, batch_size=100), (0, 1, 2),
        trials=6, refinements=2, tuning_rounds=100, **_FULL | {"tuning_seeds": (1000,)}, **_RESNET,
    ),
    Profile(
        "resnet-smoke", Data("cifar10", 1000, "cifar100-20k", 100, validation_size=1000), "resnet8",
        Protocol(10, 5, 2, 5), Local(epochs=1, augment=True), Distillation(steps=2, batch_size=50), min_size=5,
        **_FEW, **_RESNET,
    ),
    Profile(
        "language", Data("austen", pool_size=200), "text-encoder", Protocol(50, 25, 5, 150),
        Local(epochs=1, batch_size=20), Distillation(steps=5, batch_size=50), (0, 1, 2, 3, 4), fresh=_FRESH, **_FULL,
        **_LANGUAGE,
    ),
    Profile(
        "language-smoke", Data("austen", train_size=300, pool_size=50), "text-encoder", Protocol(10, 5, 2, 6),
        Local(epochs=1, batch_size=20), Distillation(steps=2, batch_size=25), **_FEW, **_LANGUAGE,
    ),
    Profile(
        "generation", Data("austen", 3000, pool_size=50, task="generation"), "text-decoder", Protocol(50, 25, 5, 100),
        Local(epochs=1, batch_size=20), Distillation(steps=5, batch_size=25), tuple(range(8)), **_FULL, **_GENERATION,
    ),
    Profile(
        "generation-smoke", Data("austen", 300, pool_size=10, task="generation", vocabulary=257), "text-decoder",
        Protocol(10, 5, 2, 5), Local(epochs=1, batch_size=20), Distillation(steps=1, batch_size=10),
        **_FEW, **_GENERATION,
    ),
)  # fmt: skip
PROFILES = {profile.name: profile for profile in _ALL}
WHOLE = ("smoke", "laptop", "paper")
"""The profiles at which every table can be made."""
BLOCKS = {
    "cifar": {"smoke": "cifar-smoke", "laptop": "cifar-small", "paper": "cifar-small"},
    "resnet": {"smoke": "resnet-smoke", "laptop": "cifar-resnet", "paper": "cifar-resnet"},
    "language": {"smoke": "language-smoke", "laptop": "language", "paper": "language"},
    "generation": {"smoke": "generation-smoke", "laptop": "generation", "paper": "generation"},
}
"""Block -> profile of whole tables -> profile of the block beside them: other data, its own methods and settings."""


def profile(name: str) -> Profile:
    """Return a profile by name; raise `InputError` naming the known ones otherwise."""
    require_known("profile", [name], PROFILES)
    return PROFILES[name]


def whole(name: str) -> Profile:
    """Return a profile at which every table can be made; raise `InputError` otherwise."""
    if name not in PROFILES:
        require_known("profile", [name], WHOLE)
    scale = profile(name)
    allowed = f"choose one of {', '.join(WHOLE)}; the tables of {name} are `fedecho tables --only {block_of(name)[0]}`"
    require(name in WHOLE, "profile", name, allowed)
    return scale


def unreported(name: str, seeds: Sequence[int] | None) -> tuple[int, ...]:
    """Return the seeds given, or those of tuning; raises `InputError` if there is none, or one that a table of the
    profile reports."""
    of = profile(name)
    chosen = of.tuning_seeds if seeds is None else tuple(seeds)
    for seed in chosen:
        require(isinstance(seed, int) and seed >= 0, "seeds", seed, "give whole numbers >= 0")
    free = bool(chosen) and not of.reported & {*chosen}
    require(free, "seeds", list(chosen), f"give some that no table of {name} reports")
    return chosen


def block_of(name: str) -> tuple[str, str]:
    """Return the block of a profile, "" for none, and the profile of whole tables that it stands beside, or is."""
    beside = {scale: (block, whole) for block, scales in BLOCKS.items() for whole, scale in reversed(scales.items())}
    return beside.get(name, ("", name))
