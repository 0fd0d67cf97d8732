"""25: what does each method cost the server, in seconds and in bytes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from fedecho.core.checks import InputError, require_known
from fedecho.core.files import records_dir
from fedecho.learning.cost import work
from fedecho.learning.cost.stand_in import Measured
from fedecho.learning.cost.work import HOLDINGS, PHASES
from fedecho.report import captions
from fedecho.report.reported import numbers
from fedecho.report.summary import REFERENCE
from fedecho.studies import cost
from fedecho.studies.cost import BASELINES, SERVERS, Point
from fedecho.studies.cost_figures import HOLDING_LOOK, MEGA, MILLI, PHASE_LOOK, by_factor, by_method, shared
from fedecho.studies.study import Study, Table, table

_LINES = "Dots: measured; lines: predicted, from the profile's own point (vertical line) alone; both axes logarithmic."
CAPTIONS = {
    "seconds": f"Milliseconds a round of FedEcho's server by phase, a panel per factor. {_LINES} "
    "Over P they are upper bounds, except for the bank: larger layers run at more FLOPs a second.",
    "bytes": "MB that FedEcho's server holds at its peak, a panel per factor: the bank (state), the versions in flight "
    f"(checkpoints; the line is a bound) and the uploads of a round. {_LINES}",
    "methods": "Milliseconds a round (above) and MB beside checkpoints (below) of every method's server, a column per "
    "factor. Dots: measured; lines: predicted (for milliseconds over P an upper bound); both axes logarithmic.",
}


@table
def server_cost(profile: str = "laptop", *, methods: Sequence[str] = BASELINES, sizes: Sequence[int] = ()) -> Study:
    """Return the cost of FedEcho's server by factor."""
    return _study(
        "server_cost", f"Cost of {REFERENCE}'s server", profile, methods, sizes,
        note="FedEcho's server alone, on random images and stand-in uploads. Bold: the profile's own point. "
        "Checkpoints: most versions in flight in a run / their bound.",
        details="Milliseconds are medians over the rounds. Predicted is proportional to M |U| F (inference; F: FLOPs "
        "of a forward pass), (M + 1) |U| C (bank), M P (aggregation) and 3 Q b F (distillation), with each factor of "
        "proportion taken from the profile's own point; aggregation includes counting the teachers. Checkpoints: the "
        "bound is M_c − M + 1 of them; keeping one copies nothing. Uploads: the buffer and the rows not yet in the "
        "bank. Bank: the rows and their sum.",
    )  # fmt: skip


@table
def server_cost_methods(
    profile: str = "laptop", *, methods: Sequence[str] = BASELINES, sizes: Sequence[int] = ()
) -> Study:
    """Return the cost of every method's server."""
    return _study(
        "server_cost_methods", "Cost of the servers", profile, methods, sizes,
        note="Every method's server, on random images and stand-in uploads: aggregation, for FedEcho all phases. "
        "Checkpoints: most versions in flight in a run. State: kept between rounds.",
        details="Predicted is proportional to M P, for FedEcho as under [server_cost](#server_cost). FedAC's "
        "checkpoints carry its control variate, as do its uploads. State: the bank of FedEcho, N + 1 models of CA2FL, "
        "3 of FADAS, N + 3 of FedAC. FedAUX's certainties weigh the rows, which are then all averaged anew in every "
        "round, (M + N) |U| C entries where FedEcho takes (M + 1) |U| C, and keep N |U| numbers; lambda keeps N C.",
    )  # fmt: skip


def _study(name: str, title: str, profile: str, methods: Sequence[str], sizes: Sequence[int], **words: Any) -> Study:
    require_known("methods", methods, SERVERS)
    others = [label for label in methods if label != REFERENCE]
    points = cost.points(profile, others, sizes)
    return CostStudy(name=name, title=title, notebook="25_server_cost", profile=profile, points=points, **words)


@dataclass(frozen=True, eq=False, kw_only=True)
class CostStudy(Study):
    """A table of measured and predicted costs."""

    points: Sequence[Point]
    kept: ClassVar = ("server_cost", "cost")
    """The table that a custom measurement belongs to, and the folder of a profile's."""

    @property
    def caption(self) -> str:
        """What the costs are and how to read them, at the scale of the profile."""
        config = cost.base(self.profile, REFERENCE)
        protocol, how, size = config.protocol, config.distill, work.model_size(config.model, config.data)[0]
        return (
            f"{self.note} Varied one at a time: N = {protocol.clients}, M_c = {protocol.concurrency}, M = "
            f"{protocol.buffer_size}, |U| = {config.data.pool_size}, Q = {how.steps} minibatches of {how.batch_size}, "
            f"P = {size:,} parameters. Milliseconds a round, in brackets predicted / measured. MB = 10^6 bytes."
        )

    @property
    def place(self) -> Path:
        """The folder of the measurement, which the tables of `kept` share."""
        name, folder = self.kept
        return replace(self, name=name).home / "records" if self.custom else records_dir(self.profile) / folder

    def lacking(self, fresh: bool = False) -> list[Path]:
        """Return the folder of the measurement where something is not measured yet, or `fresh`."""
        return [self.place] if fresh or cost.measured(self.place, self.points) is None else []

    def train(self, jobs: int | None = None, fresh: bool = False) -> None:
        """Measure the servers, one after the other, if they are not or `fresh`."""
        if self.lacking(fresh):
            cost.measure_all(self.place, self.profile, self.points)

    def measured(self) -> tuple[Measured, pd.DataFrame]:
        """Return the measurement and its frame; raises `InputError` where nothing is measured yet."""
        found = cost.measured(self.place, self.points)
        if found is None:
            raise InputError("cost", self.profile, "nothing is measured yet; run `fedecho tables --only cost`")
        return found, self.frame(found)

    def frame(self, found: Measured) -> pd.DataFrame:
        """Return a measurement as a frame."""
        return cost.frame(self.profile, self.points, found)

    def table(self) -> Table:
        """Return the table: by method, or of the reference's server by factor, with all figures."""
        found, frame = self.measured()
        notes = made_by(found, self.profile)
        if self.name == "server_cost_methods":
            return Table(frame, methods_display(frame), frame, notes, record_set=found.digest)
        own = frame[frame["method"] == REFERENCE]
        wrong = surprises(frame)
        notes += f" Not as predicted: {wrong}." if wrong else " Bytes of uploads and bank are those of the formulas."
        drawn = {
            "seconds": (by_factor(own, PHASE_LOOK, MILLI, "ms a round"), CAPTIONS["seconds"]),
            "bytes": (by_factor(own, HOLDING_LOOK, MEGA, "MB"), CAPTIONS["bytes"]),
            "methods": (by_method(frame), CAPTIONS["methods"]),
        }
        return Table(frame, factors_display(own), own, notes, drawn, own["base"].tolist(), found.digest)

    def sentences(self) -> list[str]:
        """Say what the server costs beside what the paper is said to report, each number made from the frame."""
        _, frame = self.measured()
        row = frame[frame["base"] & (frame["method"] == REFERENCE)].iloc[0]
        parts = ", ".join(f"{phase} {100 * row[phase] / row['server']:.0f} %" for phase in PHASES)
        config, large = cost.base(self.profile, REFERENCE), cost.base("paper", REFERENCE)
        here, there = (sum(work.work(c)[phase] for phase in ("inference", "distillation")) for c in (config, large))
        rate = here / (row["inference"] + row["distillation"])
        said = numbers("overhead").iloc[0]
        low, high = float(said["low_seconds"]), float(said["high_seconds"])
        return [
            f"At the profile's own point the server of {REFERENCE} works {row['server'] / MILLI:.3g} ms a round: "
            f"{parts}.",
            f"That is {here / 1e9:.3g} GFLOP of forward and backward passes at {rate / 1e9:.3g} GFLOP/s.",
            f"The paper is said to report {low:g}-{high:g} s for {said['model']} ({said['note']}): other hardware and "
            "another model, not to be compared with ours.",
            f"By the same formulas a round at the profile `paper` ({large.model}) takes {there / 1e12:.3g} TFLOP; to "
            f"be done in {low:g}-{high:g} s they need {there / high / 1e12:.3g}-{there / low / 1e12:.3g} TFLOP/s.",
        ]


# Texts


def seconds_text(row: Mapping[Any, Any], name: str) -> str:
    """Write measured milliseconds, with predicted / measured in brackets where nothing was fitted."""
    measured = row[name]
    if not measured:
        return captions.NOTHING
    ratio = "" if row["base"] else f" ({row[f'{name}_predicted'] / measured:.2f})"
    return f"{three_digits(measured / MILLI)}{ratio}"


def three_digits(value: float) -> str:
    """Write a number of 1e-4 or more to 3 significant digits, and all digits before the point."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:#.3g}".rstrip(".")


def megabytes(size: float) -> str:
    """Write bytes as MB = 10^6 bytes."""
    return three_digits(size / MEGA) if size else "0"


def factors_display(own: pd.DataFrame) -> pd.DataFrame:
    """Return the reference's points as texts, indexed by what is varied and its value."""
    texts = [
        {"varied": row["factor"], "value": f"{row['value']:,}"}
        | {f"{name}, ms": seconds_text(row, name) for name in (*PHASES, "server")}
        | {"checkpoints, MB": f"{megabytes(row['checkpoints'])} / {megabytes(row['checkpoints_predicted'])}"}
        | {"uploads, MB": megabytes(row["uploads"]), "bank, MB": megabytes(row["state"])}
        for row in own.to_dict("records")
    ]
    return pd.DataFrame(texts).set_index(["varied", "value"])


def methods_display(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per quantity and point that all methods have, and a column per method, the reference last."""
    parts = {"server, ms a round": "server"} | {f"{holding}, MB": holding for holding in HOLDINGS}
    texts = [
        {"quantity": quantity, "at": f"{factor} = {value:,}"}
        | {row["method"]: seconds_text(row, name) if name == "server" else megabytes(row[name])
           for row in block.to_dict("records")}
        for quantity, name in parts.items()
        for (factor, value), block in shared(frame).groupby(["factor", "value"], sort=False)
    ]  # fmt: skip
    labels = [label for label in frame["method"].unique() if label != REFERENCE]
    return pd.DataFrame(texts).set_index(["quantity", "at"])[[*labels, REFERENCE]]


def surprises(frame: pd.DataFrame) -> list[str]:
    """Name each point and holding whose bytes are not those of the formula, or above its bound."""
    return [
        f"{row['method']} {row['factor']} = {row['value']}: {holding} {row[holding]}, formula {said}"
        for row in frame.to_dict("records")
        for holding in HOLDINGS
        for said in [row[f"{holding}_predicted"]]
        if row[holding] > said or (holding != "checkpoints" and row[holding] != said)
    ]


def made_by(measurement: Measured, profile: str) -> str:
    """Name the profile, the machine, the measurement and the commit that made it."""
    made = measurement.provenance
    hardware, commit = made["hardware"], str(made["commit"] or "unknown")[:7]
    device = hardware["gpu"] or f"one thread of {hardware['cpu'] or hardware['machine']}"
    dirty = ", with uncommitted changes" if made["dirty"] else ""
    version, name = made["versions"]["torch"], measurement.digest
    measured = f"Measured on {device}, torch {version}; measurement {name}, commit {commit}{dirty}."
    return f"Profile {profile}. {measured} {captions.caveat(profile)}".rstrip()
