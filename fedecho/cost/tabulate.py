"""The tables of the server's cost: by factor, and against the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fedecho import cost, render, tables
from fedecho.core import files
from fedecho.learning.cost import work
from fedecho.learning.cost.work import HOLDINGS, PHASES
from fedecho.learning.methods import FedEcho
from fedecho.presets import REFERENCE

_MILLI, _MEGA = 1e-3, 1e6


def seconds_text(row: Mapping[Any, Any], name: str) -> str:
    """Write measured milliseconds, with predicted / measured in brackets where nothing was fitted."""
    measured = row[name]
    if not measured:
        return tables.NOTHING
    ratio = "" if row["base"] else f" ({row[f'{name}_predicted'] / measured:.2f})"
    return f"{three_digits(measured / _MILLI)}{ratio}"


def three_digits(value: float) -> str:
    """Write a number of 1e-4 or more to 3 significant digits, and all digits before the point."""
    return f"{value:,.0f}" if value >= 999.5 else f"{value:#.3g}".rstrip(".")


def megabytes(size: float) -> str:
    """Write bytes as MB = 10^6 bytes."""
    return three_digits(size / _MEGA) if size else "0"


def factors_display(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the reference's points as texts, indexed by what is varied and its value."""
    texts = [
        {"varied": row["factor"], "value": f"{row['value']:,}"}
        | {f"{name}, ms": seconds_text(row, name) for name in (*PHASES, "server")}
        | {"checkpoints, MB": f"{megabytes(row['checkpoints'])} / {megabytes(row['checkpoints_predicted'])}"}
        | {"uploads, MB": megabytes(row["uploads"]), "bank, MB": megabytes(row["state"])}
        for row in frame[frame["method"] == REFERENCE].to_dict("records")
    ]
    return pd.DataFrame(texts).set_index(["varied", "value"])


def methods_display(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per quantity and point that all methods have, and a column per method."""
    parts = {"server, ms a round": "server"} | {f"{holding}, MB": holding for holding in HOLDINGS}
    shared = frame[frame["factor"].isin(frame[frame["method"] != REFERENCE]["factor"])]
    texts = [
        {"quantity": quantity, "at": f"{factor} = {value:,}"}
        | {row["method"]: seconds_text(row, name) if name == "server" else megabytes(row[name])
           for row in block.to_dict("records")}
        for quantity, name in parts.items()
        for (factor, value), block in shared.groupby(["factor", "value"], sort=False)
    ]  # fmt: skip
    return pd.DataFrame(texts).set_index(["quantity", "at"])[[*cost.BASELINES, REFERENCE]]


def surprises(frame: pd.DataFrame) -> list[str]:
    """Name each point and holding whose bytes are not those of the formula, or above its bound."""
    out = []
    for row in frame.to_dict("records"):
        for holding in HOLDINGS:
            seen, said = row[holding], row[f"{holding}_predicted"]
            if seen > said or (holding != "checkpoints" and seen != said):
                out.append(f"{row['method']} {row['factor']} = {row['value']}: {holding} {seen}, formula {said}")
    return out


def made_by(measurement: Mapping[str, Any], digest: str) -> str:
    """Name the machine, the measurement and the commit that made it."""
    made = measurement["provenance"]
    hardware, commit = made["hardware"], str(made["commit"] or "unknown")[:7]
    device = hardware["gpu"] or f"one thread of {hardware['cpu'] or hardware['machine']}"
    dirty = ", with uncommitted changes" if made["dirty"] else ""
    return f"Measured on {device}, torch {made['versions']['torch']}; measurement {digest}, commit {commit}{dirty}."


def _scale(profile: str) -> str:
    config = cost.base(profile, REFERENCE)
    assert isinstance(config.method, FedEcho)
    protocol, how = config.protocol, config.method.distill
    parameters = work.model_size(config.model, config.data)[0]
    return (
        f"Profile {profile}: N = {protocol.clients}, M_c = {protocol.concurrency}, M = {protocol.buffer_size}, "
        f"|U| = {config.data.pool_size}, Q = {how.steps} minibatches of {how.batch_size}, P = {parameters:,} parameters"
    )


def factors_caption(frame: pd.DataFrame, profile: str) -> str:
    """Say what the table by factor shows."""
    wrong = surprises(frame)
    return (
        f"{_scale(profile)}; one of them is varied at a time (bold: as in the profile). Server of {REFERENCE} alone, "
        "on random images and stand-in uploads: milliseconds a round, median over the rounds, and in brackets "
        "predicted / measured. Predicted is proportional to M |U| F (inference; F: FLOPs of a forward pass), "
        "(M + 1) |U| C (bank), M P (aggregation) and 3 Q b F (distillation), with each factor of proportion taken from "
        "the profile's own point; aggregation includes counting the teachers. Checkpoints: most versions in flight in "
        "a whole run / the bound, M_c − M + 1 of them; keeping one copies nothing. Uploads: the buffer and the rows "
        "not yet in the bank. Bank: the rows and their sum. MB = 10^6 bytes. "
        + ("Bytes of uploads and bank are those of the formulas." if not wrong else f"Not as predicted: {wrong}.")
    )


def methods_caption(profile: str) -> str:
    """Say what the comparison of methods shows."""
    return (
        f"{_scale(profile)}; one of them is varied at a time. Milliseconds a round: aggregation, for {REFERENCE} all "
        "phases; in brackets predicted / measured, predicted proportional to M P (and as in the other table). "
        "Checkpoints: most versions in flight in a whole run; FedAC's carry its control variate, as do its uploads. "
        "State: what a method keeps between rounds: the bank of FedEcho, N + 1 models of CA2FL, 3 of FADAS, N + 3 of "
        "FedAC. MB = 10^6 bytes."
    )


def sentences(frame: pd.DataFrame, profile: str) -> list[str]:
    """Say what the server costs beside what the paper is said to report, each number made from the frame."""
    row = frame[frame["base"] & (frame["method"] == REFERENCE)].iloc[0]
    parts = ", ".join(f"{phase} {100 * row[phase] / row['server']:.0f} %" for phase in PHASES)
    config, large = cost.base(profile, REFERENCE), cost.base("paper", REFERENCE)
    here, there = (sum(work.work(c)[phase] for phase in ("inference", "distillation")) for c in (config, large))
    rate = here / (row["inference"] + row["distillation"])
    said = pd.read_csv(files.REPOSITORY / "paper" / "reported" / "overhead.csv").iloc[0]
    low, high = float(said["low_seconds"]), float(said["high_seconds"])
    return [
        f"At the profile's own point the server of {REFERENCE} works {row['server'] / _MILLI:.3g} ms a round: {parts}.",
        f"That is {here / 1e9:.3g} GFLOP of forward and backward passes at {rate / 1e9:.3g} GFLOP/s.",
        f"The paper is said to report {low:g}-{high:g} s for {said['model']} ({said['note']}): other hardware and "
        "another model, not to be compared with ours.",
        f"By the same formulas a round at the profile `paper` ({large.model}) takes {there / 1e12:.3g} TFLOP; to be "
        f"done in {low:g}-{high:g} s they need {there / high / 1e12:.3g}-{there / low / 1e12:.3g} TFLOP/s.",
    ]  # fmt: skip


def write(frame: pd.DataFrame, measurement: Mapping[str, Any], profile: str, stem: Path) -> dict[str, tuple[str, str]]:
    """Write both tables beside `stem` and return name -> title and caption of each."""
    end = f" {made_by(measurement, cost.digest(measurement))}"
    if profile == "smoke":
        end += " The smoke profile tests the plumbing; its numbers are not results."
    reference, others = frame[frame["method"] == REFERENCE], methods_display(frame)
    made = {
        stem.name: (factors_display(frame), reference["base"].tolist(), reference,
                    f"Cost of {REFERENCE}'s server", factors_caption(frame, profile) + end),
        f"{stem.name}_methods": (others, [False] * len(others), frame,
                                 "Cost of the servers", methods_caption(profile) + end),
    }  # fmt: skip
    for name, (texts, bold, numbers, title, caption) in made.items():
        render.write(texts, bold, numbers, stem.with_name(name), title, caption)
    return {name: (title, caption) for name, (*_, title, caption) in made.items()}
