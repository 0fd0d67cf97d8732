"""How long a run takes: its floating-point operations over a rate, a stated guess until one has been measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fedecho.core.config import RunConfig
from fedecho.learning.cost import work
from fedecho.learning.cost.work import scored_count, train_count

PRIOR = {"cpu": 6e10, "cuda": 1e13}
"""FLOP/s assumed of one process before anything is measured: one core of a server, a large GPU in float32."""
START = {"cpu": 5.0, "cuda": 15.0}
"""Seconds assumed for a process to start and to load its data."""


def operations(config: RunConfig) -> float:
    """Return the floating-point operations of a whole run: local work, the server's, and the evaluations.

    A job counts as one of a client with an average number of images; a backward pass as two forward passes.
    """
    flops = work.model_size(config.model, config.data)[2]
    protocol = config.protocol
    images = train_count(config) / protocol.clients * config.local.epochs
    local = 3 * flops * images * protocol.buffer_size * protocol.rounds
    server = sum(work.work(config)[phase] for phase in ("inference", "distillation")) * protocol.rounds
    return local + server + config.evaluations * scored_count(config) * flops


def kind(device: str) -> str:
    """Return cpu or cuda."""
    return device.split(":")[0]


class Rates:
    """FLOP/s by model, as measured in this sweep or by records; the prior where nothing has been measured."""

    def __init__(self, device: str, finished: Iterable[tuple[RunConfig, float]] = ()) -> None:
        """Begin with the prior of a device, and the rates that finished runs and their seconds give."""
        self.prior = PRIOR[kind(device)]
        self._done: dict[str, float] = defaultdict(float)
        self._spent: dict[str, float] = defaultdict(float)
        for config, seconds in dict(finished).items():
            self.saw(config, config.protocol.rounds, seconds)

    def saw(self, config: RunConfig, rounds: int, seconds: float) -> None:
        """Take note of the seconds that `rounds` rounds of a run took."""
        self._done[config.model] += rounds / config.protocol.rounds * operations(config)
        self._spent[config.model] += seconds

    def measured(self, config: RunConfig) -> bool:
        """Tell whether an estimate for this run rests on a measurement."""
        return self._spent[config.model] > 0

    def seconds(self, config: RunConfig, rounds: int | None = None) -> float:
        """Return the estimated seconds of `rounds` rounds, none = of the whole run."""
        done, spent = self._done[config.model], self._spent[config.model]
        rate = done / spent if spent > 0 and done > 0 else self.prior
        share = 1.0 if rounds is None else rounds / config.protocol.rounds
        return share * operations(config) / rate


def text(seconds: float) -> str:
    """Write seconds as 8 s, 12 min, 3.4 h or 5.1 days."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.2g} {name}" if seconds / unit < 10 else f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:,.1f} days"


def about(runs: Iterable[RunConfig], rates: Rates) -> str:
    """Say how long runs take one after the other."""
    return f"about {text(sum(map(rates.seconds, runs)))} one after the other"
