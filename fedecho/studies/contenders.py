"""The columns of every comparison: methods with their search spaces, and the values that tuning chose for them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

from fedecho.core.config import MethodConfig, RunConfig, method_class, override_all
from fedecho.core.settings import Delays, Evaluation, Partition, Protocol
from fedecho.learning.methods import CA2FL, FADAS, FedAC, FedAsync, FedAvg, FedBuff, FedEcho
from fedecho.simulation.schedule import sequential, synchronous
from fedecho.studies.profiles import profile
from fedecho.studies.search import Point, Range, Space


@dataclass(frozen=True)
class Contender:
    """A column of the comparison: a method, its search space, and how it is scheduled."""

    label: str
    method: MethodConfig
    space: Space
    protocol: Callable[[Protocol], Protocol] = lambda protocol: protocol


_LOCAL = {"local.lr": Range(0.003, 0.5)}
_ETA = {"method.server_lr": Range(0.1, 2.0)}
_ADAM = {"method.server_lr": Range(3e-4, 0.1), "method.beta1": Range(0.3, 0.97, decay=True)}
_ECHO = {"method.distill.lr": Range(0.003, 0.3)}
_ALL = (
    Contender("FedAvg (sync)", FedAvg(), _LOCAL | _ETA, synchronous),
    Contender("FedAsync", FedAsync(), _LOCAL | {"method.mixing": Range(0.03, 1.0, limit=1.0)}, sequential),
    Contender("FedBuff", FedBuff(), _LOCAL),
    Contender("FedBuff (tuned eta)", FedBuff(), _LOCAL | _ETA),
    Contender("FedBuff + EMA", FedBuff(ema=0.95), _LOCAL | _ETA | {"method.ema": Range(0.5, 0.99, decay=True)}),
    Contender("CA2FL", CA2FL(), _LOCAL),
    Contender("CA2FL (tuned eta)", CA2FL(), _LOCAL | _ETA),
    Contender("FedAC-public", FedAC(), _LOCAL | _ADAM),
    Contender("FADAS", FADAS(), _LOCAL | _ADAM),
    Contender("FADAS-da", FADAS(delay_adaptive=True), _LOCAL | _ADAM),
    Contender("FedEcho", FedEcho(), _LOCAL | _ECHO),
    Contender("FedEcho (tuned eta)", FedEcho(), _LOCAL | {"method.inner.server_lr": Range(0.1, 2.0)} | _ECHO),
)
"""The local rate, the server's rate (eta, or FedAsync's mixing), and what a method alone has. A published form that
fixes eta = 1 has a row of its own, and one in which eta is tuned."""
CONTENDERS = {contender.label: contender for contender in _ALL}

_LAPTOP: dict[str, tuple[Point, ...]] = {
    "FedAvg (sync)": ({"local.lr": 0.147},),
    "FedAsync": ({"local.lr": 0.0903, "method.mixing": 0.803},),
    "FedBuff": ({"local.lr": 0.147},),
    "FedBuff + EMA": ({"local.lr": 0.0903},),
    "FedBuff (tuned eta)": ({"local.lr": 0.24, "method.server_lr": 0.175},),
    "CA2FL": ({"local.lr": 0.0554},),
    "FedAC-public": ({"local.lr": 0.0128, "method.server_lr": 0.00127},),
    "FADAS": ({"local.lr": 0.147, "method.server_lr": 0.00225},),
    "FADAS-da": ({"local.lr": 0.0903, "method.server_lr": 0.0225},),
    "FedEcho": ({"local.lr": 0.147, "method.distill.lr": 0.0225},),
}
_CIFAR: dict[str, tuple[Point, ...]] = {
    "FedBuff": ({"local.lr": 0.0208},),
    "FedBuff + EMA": ({"local.lr": 0.034},),
    "CA2FL": ({"local.lr": 0.0554},),
    "FADAS": ({"local.lr": 0.147, "method.server_lr": 0.00225},),
    "FedEcho": ({"local.lr": 0.0554, "method.distill.lr": 0.004},),
}
_LANGUAGE: dict[str, tuple[Point, ...]] = {
    "FedAvg (sync)": ({"local.lr": 0.0208},),
    "FedBuff": ({"local.lr": 0.0208},),
    "FedBuff + EMA": ({"local.lr": 0.0208},),
    "CA2FL": ({"local.lr": 0.034},),
    "FedAC-public": ({"local.lr": 0.0128, "method.server_lr": 0.00127},),
    "FADAS": ({"local.lr": 0.0128, "method.server_lr": 0.00127},),
    "FedEcho": ({"local.lr": 0.0128, "method.distill.lr": 0.0127},),
}
_GENERATION: dict[str, tuple[Point, ...]] = {
    "FedAvg (sync)": ({"local.lr": 1.0},),
    "FedBuff": ({"local.lr": 0.251},),
    "FedBuff + EMA": ({"local.lr": 0.398},),
    "CA2FL": ({"local.lr": 0.251},),
    "FedAC-public": ({"local.lr": 0.158, "method.server_lr": 0.004},),
    "FADAS": ({"local.lr": 1.59, "method.server_lr": 0.00711},),
    "FedEcho": ({"local.lr": 1.59, "method.distill.lr": 0.237},),
}
FOUND: dict[str, dict[str, tuple[Point, ...]]] = {
    "laptop": _LAPTOP, "smoke": _LAPTOP, "cifar-small": _CIFAR, "cifar-smoke": _CIFAR, "language": _LANGUAGE,
    "language-smoke": _LANGUAGE, "generation": _GENERATION, "generation-smoke": _GENERATION,
}  # fmt: skip
"""Profile -> contender -> the values that its search began with, and those that it chose where they are others, from
the records in paper/records/tuning and tuning-<profile>.

The smoke profiles borrow them; the paper profile runs at the protocol's own values until it is tuned.
"""
TUNED: dict[str, dict[str, Point]] = {
    name: {label: points[-1] for label, points in found.items()} for name, found in FOUND.items()
}
"""Profile -> contender -> the values that every table uses."""


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


def single(method: str, name: str, seed: int) -> RunConfig:
    """Return the run behind `fedecho run`: the contender that uses the method's plain form, tuned."""
    cls = method_class(method)
    contender = next(c for c in CONTENDERS.values() if type(c.method) is cls)
    return tuned(base(name, contender, seed), contender.label, name)


def space_of(label: str, name: str) -> Space:
    """Return a contender's search space at a profile, where another range may be searched than elsewhere."""
    return {path: profile(name).spaces.get(path, of) for path, of in CONTENDERS[label].space.items()}


def start_of(label: str, name: str) -> Point:
    """Return the values that a search begins with: those in use before it, else those of the method's other row, else
    the protocol's own."""
    found = FOUND.get(name, {})
    known = found.get(label) or found.get(label.removesuffix(" (tuned eta)")) or ({},)
    return complete(label, name, known[0])


def complete(label: str, name: str, values: Point) -> Point:
    """Return a point of a contender's search space, with the protocol's own value where `values` has none."""
    config = base(name, CONTENDERS[label], 0)
    return {path: values.get(path, field_of(config, path)) for path in CONTENDERS[label].space}


def field_of(config: object, path: str) -> float:
    """Return the value of a dotted field."""
    return float(functools.reduce(getattr, path.split("."), config))
