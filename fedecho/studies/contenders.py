"""The rows of every comparison: methods with their search spaces, and the values that tuning chose for them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedecho.core.checks import is_named, kinds_of, near, require
from fedecho.core.config import METHODS, MethodConfig, RunConfig, override_all
from fedecho.core.settings import Delays, Evaluation, Partition, Protocol
from fedecho.learning import plugins
from fedecho.learning.methods import AREA, CA2FL, FADAS, AdaMasFL, FedAC, FedAsync, FedAvg, FedBuff, FedStaleAsync
from fedecho.learning.methods.fedecho import FedEcho
from fedecho.learning.pins import pin
from fedecho.simulation.schedule import sequential, synchronous
from fedecho.studies.changes import changed, dotted
from fedecho.studies.found import FOUND as FOUND, PENDING as PENDING
from fedecho.studies.profiles import block_of, profile
from fedecho.studies.search import AROUND, Point, Range, Space


@dataclass(frozen=True)
class Contender:
    """A row of the comparison: a method, its search space, and how it is scheduled."""

    label: str
    method: MethodConfig
    space: dict[str, tuple[float, float]]
    """Dotted field of `RunConfig` -> (lowest, highest), searched on a log scale."""
    protocol: Callable[[Protocol], Protocol] = lambda protocol: protocol


_LOCAL = {"local.lr": (0.003, 0.5)}
_ETA = {"method.server_lr": (0.1, 2.0)}
_ADAM = {"method.server_lr": (3e-4, 0.1), "method.beta1": (0.3, 0.97)}
_ECHO = {"method.distill.lr": (0.003, 0.3)}
_ALL = (
    Contender("FedAvg (sync)", FedAvg(), _LOCAL | _ETA, synchronous),
    Contender("FedAsync", FedAsync(), _LOCAL | {"method.mixing": (0.03, 1.0)}, sequential),
    Contender("FedBuff", FedBuff(), _LOCAL),
    Contender("FedBuff (tuned eta)", FedBuff(), _LOCAL | _ETA),
    Contender("FedBuff + EMA", FedBuff(ema=0.95), _LOCAL | _ETA | {"method.ema": (0.5, 0.99)}),
    Contender("CA2FL", CA2FL(), _LOCAL),
    Contender("CA2FL (tuned eta)", CA2FL(), _LOCAL | _ETA),
    Contender("FedAC-public", FedAC(), _LOCAL | _ADAM),
    Contender("FADAS", FADAS(), _LOCAL | _ADAM),
    Contender("FADAS-da", FADAS(delay_adaptive=True), _LOCAL | _ADAM),
    Contender("FedStaleAsync", FedStaleAsync(), _LOCAL | _ETA | {"method.beta": (0.05, 1.0)}),
    Contender("ACE (buffered)", FedStaleAsync(beta=1.0, participation="certain"), _LOCAL | _ETA),
    Contender("AREA", AREA(), _LOCAL),
    Contender("AdaMasFL-public", AdaMasFL(), _LOCAL | {"method.server_lr": (0.03, 3.0), "method.beta": (0.1, 1.0)}),
    Contender("FedEcho", FedEcho(), _LOCAL | _ECHO),
    Contender("FedEcho (tuned eta)", FedEcho(), _LOCAL | {"method.inner.server_lr": (0.1, 2.0)} | _ECHO),
)
"""The local rate, the server's rate (eta, or FedAsync's mixing), and what a method alone has. A published form that
fixes eta = 1 has a row of its own, and one in which eta is tuned; AREA has no eta.

A row whose tuning has not been decided is in the tables of tuning, and in no other until it has values in `FOUND`."""
CONTENDERS = {contender.label: contender for contender in _ALL}

TUNED: dict[str, dict[str, Point]] = {
    name: {label: points[0 if label in PENDING.get(name, ()) else -1] for label, points in found.items() if points}
    for name, found in FOUND.items()
}
"""Profile -> contender -> the values that every table uses."""


def rows_of(name: str) -> Iterable[str]:
    """Return the contenders that are tuned at a profile: for a block, those listed in `FOUND`; otherwise all."""
    return FOUND[name] if block_of(name)[0] else CONTENDERS


def base(name: str, contender: Contender, seed: int, rounds: int = 0) -> RunConfig:
    """Return a contender's untuned run at a profile's scale: Dir(0.1), large delays.

    `rounds` > 0: as much work as that many asynchronous rounds, in place of the profile's.
    """
    scale = profile(name)
    plain = dataclasses.replace(scale.protocol, rounds=rounds or scale.protocol.rounds)
    method = contender.method
    if isinstance(method, FedEcho):
        method = dataclasses.replace(method, distill=scale.distill)
    protocol = contender.protocol(plain)
    # The same number of arrivals between evaluations, however many of them make a round.
    every = Evaluation().every * plain.buffer_size // protocol.buffer_size
    partition = Partition(min_size=scale.min_size, too_small=scale.too_small)
    return RunConfig(
        method, seed, scale.data, partition, protocol, Delays(), scale.model, scale.local,
        Evaluation(every=every, size=scale.scored), execution=scale.execution,
    )  # fmt: skip


def tuned(config: RunConfig, label: str, name: str) -> RunConfig:
    """Return `config` with the contender's values tuned at a profile, if there are any."""
    return override_all(config, TUNED.get(name, {}).get(label, {}))


def search_words(name: str) -> str:
    """Say how much every method is tuned at a profile, and where."""
    scale = profile(name)
    seeds = f"seed{'s' * (len(scale.tuning_seeds) > 1)} {' and '.join(map(str, scale.tuning_seeds))}"
    rounds = f" over {scale.tuning_rounds} rounds" if scale.tuning_rounds else ""
    return (
        f"tuned by validation accuracy at Dir(0.1) and large delays{rounds}, on {seeds}, which no table reports: the "
        f"values in use before, {scale.trials} trials over the space and {AROUND * scale.refinements} around the best"
    )


def contender_of(name: str, space: Mapping[str, tuple[float, float]]) -> Contender:
    """Return a contender by its label, or a method's plain form by its name, with a search space if one is given.

    Case does not matter. `my_method.py:name` is a user's own method, whose file is imported. Raises
    `InputError` for a name that is none of these.
    """
    known = {label.casefold(): contender for label, contender in CONTENDERS.items()}
    methods = {method.casefold(): cls for method, cls in METHODS.items()}
    wanted = name.casefold()
    if is_named(name):
        path, _, wanted = name.rpartition(":")
        here = plugins.load(Path(path))
        require(wanted in here, "method", name, f"the methods of {path} are {', '.join(here)}")
        methods = {wanted: METHODS[wanted]}
    if wanted in methods:
        cls = methods[wanted]
        found = next((c for c in _ALL if type(c.method) is cls), None) or Contender(cls.name, cls(), {})
    else:
        choices = f"choose one of {', '.join(METHODS)}, or a row of the tables: {', '.join(CONTENDERS)}"
        if name.endswith(".py"):
            choices = f"write {name}:NAME, with the name that it registers"
        require(wanted in known, "method", name, choices + near(name, [*METHODS, *CONTENDERS]))
        found = known[wanted]
    return dataclasses.replace(found, space=dict(space)) if space else found


def configure(
    method: str = "fedecho", profile: str = "laptop", seed: int = 0, changes: Mapping[str, Any] | None = None
) -> RunConfig:
    """Return the config of the run that `fedecho run` trains, at a profile's scale and with the values tuned there.

    `method` is a method's name or the label of a table's row; `changes` maps dotted fields to values.

    >>> configure("FedBuff + EMA", seed=7, changes={"partition.alpha": 0.5, "local.lr": 0.05}).seed
    7

    Raises `InputError` for an unknown name or field, or a value that is not allowed.
    """
    contender = contender_of(method, {})
    config = tuned(base(profile, contender, seed), contender.label, profile)
    with dotted(config, changes or {}):
        return pin(override_all(config, changes or {}))


def space_of(contender: Contender, name: str) -> Space:
    """Return a contender's search space at a profile, where other ends may be searched than elsewhere; raises
    `InputError` for one that is empty or that a field does not allow."""
    require(bool(contender.space), "space", {}, "give one to three fields with their ends, e.g. local.lr=0.01:0.5")
    require(len(contender.space) <= 3, "space", sorted(contender.space), "three fields can be searched at most")
    config, others = base(name, contender, 0), profile(name).spaces if contender in _ALL else {}
    return {path: range_of(config, path, *others.get(path, ends)) for path, ends in contender.space.items()}


def range_of(config: RunConfig, path: str, low: float, high: float) -> Range:
    """Return the values between two ends; the field's own range says whether it is a decay or bounded by 1."""
    for end in (low, high):
        changed(config, {path: end})
    accepts = kinds_of(type(_parent(config, path)))[path.split(".")[-1]].accepts
    decay = accepts(0.0) and not accepts(1.0)
    require(low < high and (decay or low > 0), "space", f"{path}={low:g}:{high:g}", "give 0 < lowest < highest")
    return Range(low, high, limit=math.inf if accepts(2.0) else 1.0, decay=decay)


def start_of(contender: Contender, name: str) -> Point:
    """Return the values that a search begins with: those in use before it, else those of the method's other row, else
    the protocol's own."""
    found, label = FOUND.get(name, {}), contender.label
    known = found.get(label) or found.get(label.removesuffix(" (tuned eta)")) or ({},)
    return complete(contender, name, known[0])


def complete(contender: Contender, name: str, values: Point) -> Point:
    """Return a point of a contender's search space, with the protocol's own value where `values` has none."""
    config = base(name, contender, 0)
    plain = {path: getattr(_parent(config, path), path.split(".")[-1]) for path in contender.space}
    return {path: values.get(path, plain[path]) for path in contender.space}


def _parent(config: RunConfig, path: str) -> Any:
    """Return the part of a config that has the field at the end of a path."""
    return functools.reduce(getattr, path.split(".")[:-1], config)
