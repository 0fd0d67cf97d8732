"""The columns of every comparison: methods with their search spaces, and the values that tuning chose for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from fedecho.core.config import MethodConfig, RunConfig, method_class, override_all
from fedecho.core.rng import stream
from fedecho.core.settings import Delays, Evaluation, Partition, Protocol
from fedecho.learning.methods import CA2FL, FADAS, FedAC, FedAsync, FedAvg, FedBuff, FedEcho
from fedecho.simulation.schedule import sequential, synchronous
from fedecho.studies.profiles import profile


@dataclass(frozen=True)
class Contender:
    """A column of the comparison: a method, its search space, and how it is scheduled."""

    label: str
    method: MethodConfig
    space: dict[str, tuple[float, float]]
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
    """Name the chosen values that are the smallest or largest of `count` tried: a wider space may hold better ones."""
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


def trials(contender: Contender, count: int, name: str = "laptop") -> list[dict[str, float]]:
    """Return `count` points in the contender's search space at a profile, to 3 digits: a centred Latin hypercube on
    the log scale.

    With one hyper-parameter this is a plain geometric grid; with two, each of them still takes `count` distinct values.
    """
    space = {path: profile(name).spaces.get(path, bounds) for path, bounds in contender.space.items()}
    lowest, highest = np.log(np.array(list(space.values()))).T
    cube = qmc.LatinHypercube(len(space), scramble=False, optimization="random-cd", rng=stream(0, "tuning"))
    points = np.exp(qmc.scale(cube.random(count), lowest, highest))
    return [{path: float(f"{v:.3g}") for path, v in zip(space, point, strict=True)} for point in points]
