"""41: how many updates a second can one server take, against the size of its model, |U| and M_c, and what helps?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from fedecho.core.config import RunConfig, config_hash, override
from fedecho.learning.cost import work
from fedecho.learning.cost.fit import Factors, fit, fitted
from fedecho.learning.cost.stand_in import Measured
from fedecho.learning.cost.work import HOLDINGS, PHASES
from fedecho.report import captions
from fedecho.report.summary import REFERENCE
from fedecho.studies import contenders
from fedecho.studies.contenders import CONTENDERS
from fedecho.studies.cost import Point, Varied, along, with_sizes
from fedecho.studies.cost_figures import rates
from fedecho.studies.profiles import BLOCKS
from fedecho.studies.server_cost import CostStudy, made_by, three_digits
from fedecho.studies.study import Study, Table, table

_ENCODER = "text-encoder"
_WIDTHS = {
    "smoke": ("-4x1", "-16x1", ""),
    "laptop": ("-4x1", "-16x1", "", "-64x2", "-128x4", "-256x6", "-512x6", "-768x8", "-1024x12"),
    "paper": ("", "-256x6", "-1024x12"),
}
MODELS = {profile: tuple(_ENCODER + width for width in widths) for profile, widths in _WIDTHS.items()}
"""Profile -> models that are measured."""
BEYOND = f"{_ENCODER}-2048x30"
"""A model of a billion parameters, whose cost is read off the fit."""
VARIED: dict[str, Varied] = {
    "smoke": {"|U|": (25, 50), "M_c": (5, 10)},
    "laptop": {"|U|": (50, 100, 200, 400, 800), "M_c": (5, 10, 25, 50)},
    "paper": {"|U|": (50, 200, 800), "M_c": (10, 25, 50)},
}
"""Profile -> factor -> values, at the middle model."""
PLAIN = "FedBuff"
SAVINGS = ("|U| / 10", "clients predict", "adapters alone")
ADAPTERS = 0.01
"""Share of the parameters that are trained and sent where clients train adapters (LoRA) alone."""
WORK_MINUTES = 10
"""A client's time for one update, to say how many clients at work a rate of arrivals means."""


@table
def server_scale(profile: str = "laptop", *, models: Sequence[str] = (), sizes: Sequence[int] = ()) -> Study:
    """Return what one server takes of updates a second by the size of its model; raises `InputError` for a model that
    does not exist or does not read texts."""
    for model in models:
        work.outline(model, base(profile).data)
    return ServerScale(
        name="server_scale", title="How many updates a second can one server take?", notebook="41_server_scale",
        profile=profile, points=points(profile, models or MODELS[profile], sizes),
        note="FedEcho's server alone on stand-in uploads, Transformers of random weights, one varied at a time. "
        "Updates a second: M / seconds of a round. In brackets: fitted, not measured. Held: versions in flight (the "
        "bound), uploads of a round, and the bank.",
        details="Seconds are medians over rounds, of one thread's processor time. Fitted: each phase is a sum of terms "
        "in proportion to calls, to FLOPs or entries, to parameters moved (inference and aggregation M P, distillation "
        "Q P) and to the numbers that layers put out, with factors of at least 0 by least squares of the relative "
        "error over all points. Memory allocation is not included: at 105 million parameters FedBuff stacks 2 GB of "
        "updates a round, and most of its time goes into that. |U| / 10: a minibatch is at most the pool. Clients "
        "predict: they send their logits on U, C numbers an image, and the server neither rebuilds nor runs their "
        f"models. Adapters alone: clients train and send {ADAPTERS:.0%} of the parameters; a pass over U costs what it "
        "did. FedBuff: the buffer is averaged, and that is all.",
    )  # fmt: skip


def points(profile: str, models: Sequence[str], sizes: Sequence[int] = ()) -> list[Point]:
    """Return the servers that are measured: by model, FedEcho's and FedBuff's; by |U| and by M_c at the middle one."""
    middle, own = models[len(models) // 2], base(profile)
    sized = [point for label in (REFERENCE, PLAIN) for point in along(base(profile, label), label, {"P": models})]
    return sized + along(override(own, "model", middle), REFERENCE, with_sizes(VARIED[profile], own, sizes))


def base(profile: str, label: str = REFERENCE) -> RunConfig:
    """Return a server's run on texts, under large delays."""
    return contenders.base(BLOCKS["language"][profile], CONTENDERS[label], 0)


# The table


def savings(factors: Factors, config: RunConfig) -> dict[str, float]:
    """Return the updates a second that the server would take, as fitted, with each of `SAVINGS`."""
    few, whole = override(config, "data.pool_size", max(1, config.data.pool_size // 10)), fitted(factors, config)
    seconds = {
        "|U| / 10": sum(fitted(factors, few).values()),
        "clients predict": sum(whole.values()) - whole["inference"],
        "adapters alone": sum(fitted(factors, config, ADAPTERS).values()),
    }
    return {name: config.protocol.buffer_size / spent for name, spent in seconds.items()}


class ServerScale(CostStudy):
    """A table of the updates a second that one server takes."""

    kept: ClassVar = ("server_scale", "scale")

    @property
    def caption(self) -> str:
        """What the rates are and how to read them."""
        own = base(self.profile)
        protocol, how = own.protocol, own.distill
        return (
            f"{self.note} M = {protocol.buffer_size}, M_c = {protocol.concurrency}, |U| = {own.data.pool_size}, Q = "
            f"{how.steps} minibatches of {how.batch_size}."
        )

    def frame(self, found: Measured) -> pd.DataFrame:
        """Return a row per point of FedEcho, and one beyond them."""
        return scale_frame(self.points, found)

    def table(self) -> Table:
        """Return a row per server, with the figure of rates."""
        found, frame = self.measured()
        notes = made_by(found, self.profile)
        words = (
            "Updates a second that one thread takes, by the parameters of the model, both axes logarithmic; right: "
            f"clients at work, where each needs {WORK_MINUTES} minutes. Dots: measured; lines: fitted, to a billion "
            "parameters. Open: below half of what is fitted, as memory has to be allocated, which the fit leaves out."
        )
        drawn = {"rate": (rates(frame[frame["factor"] == "P"], SAVINGS, 60.0 * WORK_MINUTES), words)}
        return Table(frame, display(frame), frame, notes, drawn, record_set=found.digest)

    def sentences(self) -> list[str]:
        """Say what the fit leaves over and what helps most, each number made from the frame."""
        _, frame = self.measured()
        seen = frame[frame["rate"].notna()]
        off = (seen["rate_fitted"] / seen["rate"]).agg(["min", "max"])
        large = seen[seen["factor"] == "P"].iloc[-1]
        return [
            f"Fitted rates are {off['min']:.2f} to {off['max']:.2f} times those measured.",
            f"At P = {large['value']:,} one thread takes {three_digits(large['rate'])} updates a second, as many as "
            f"{three_digits(60 * WORK_MINUTES * large['rate'])} active clients send at {WORK_MINUTES} minutes "
            f"each; {100 * large['inference'] / large['server']:.0f} % of its time is inference, "
            f"{100 * large['distillation'] / large['server']:.0f} % distillation.",
            *(
                f"With “{name}” it would take {large[name] / large['rate_fitted']:.3g} times as many."
                for name in SAVINGS
            ),
        ]


def scale_frame(points: Sequence[Point], found: Measured) -> pd.DataFrame:
    """Return a row per server of FedEcho: factor, value, model, hash, commit, dirty, seconds by phase and of a round
    (`server`), `rate` (updates a second) and `rate_fitted`, `plain` and `plain_fitted` (FedBuff's), the rates of
    `SAVINGS`, bytes by holding and `held`; what is not measured is none."""
    configs = {config_hash(p.config): p.config for p in points}
    seconds = {name: {phase: found.points[name]["seconds"][phase][1] for phase in PHASES} for name in configs}
    factors = fit([*configs.values()], [*seconds.values()])
    own = [p for p in points if p.method == REFERENCE]
    last = max((p for p in own if p.factor == "P"), key=lambda point: point.value)
    beyond = Point("P", REFERENCE, override(last.config, "model", BEYOND))
    sized = [p for p in own if p.factor == "P"]
    rows = [_row(p, seconds, factors) for p in (*sized, beyond, *(p for p in own if p not in sized))]
    return pd.DataFrame(rows).assign(**{name: found.provenance[name] for name in ("commit", "dirty")})


def _row(point: Point, seconds: Mapping[str, Mapping[str, float]], factors: Factors) -> dict[str, Any]:
    config, name = point.config, config_hash(point.config)
    plain = replace(config, method=CONTENDERS[PLAIN].method)
    spent, bare = (seconds.get(key, dict.fromkeys(PHASES, np.nan)) for key in (name, config_hash(plain)))
    arrivals, sizes = config.protocol.buffer_size, work.predicted_bytes(config)
    return {
        "factor": point.factor, "value": point.value, "method": point.method, "model": config.model, "hash": name,
        **spent, "server": sum(spent.values()), "rate": arrivals / sum(spent.values()),
        "rate_fitted": arrivals / sum(fitted(factors, config).values()),
        **savings(factors, config),
        "plain": arrivals / sum(bare.values()), "plain_fitted": arrivals / sum(fitted(factors, plain).values()),
        **{holding: sizes[holding] for holding in HOLDINGS}, "held": sum(sizes[holding] for holding in HOLDINGS),
    }  # fmt: skip


def display(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as texts, indexed by what is varied."""
    texts = [
        {"varied": row["factor"], "value": f"{row['value']:,}"}
        | {f"{phase}, s": _seen(row[phase]) for phase in ("inference", "distillation")}
        | {"rest, s": _seen(row["bank"] + row["aggregation"])}
        | {"fitted / measured": f"{row['rate_fitted'] / row['rate']:.2f}" if row["rate"] > 0 else captions.NOTHING}
        | {"updates/s": _seen(row["rate"], row["rate_fitted"])}
        | {name: f"({three_digits(row[name])})" for name in SAVINGS}
        | {PLAIN: _seen(row["plain"], row["plain_fitted"]), "held, GB": three_digits(row["held"] / 1e9)}
        for row in frame.to_dict("records")
    ]
    return pd.DataFrame(texts).set_index(["varied", "value"])


def _seen(measured: float, otherwise: float | None = None) -> str:
    """Write what was measured, or in brackets what was fitted."""
    if measured >= 0:
        return three_digits(measured)
    return captions.NOTHING if otherwise is None else f"({three_digits(otherwise)})"
