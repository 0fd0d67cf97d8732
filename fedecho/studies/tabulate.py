"""Tables of the studies: the columns of every table, and beside them what each study measures of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
import torch

from fedecho import tables
from fedecho.core import stats
from fedecho.core.records import Record, find
from fedecho.learning.bank import DTYPES, Bank
from fedecho.learning.cost import work
from fedecho.presets import WHOLE, Cell
from fedecho.tables import BLOCK, NOT_STATED


@dataclass(frozen=True)
class Column:
    """Something a study measures: its heading with the unit, how to read it off a record (nan = it has none)."""

    name: str
    value: Callable[[Record], float]
    digits: int = 2


class Described(Protocol):
    """What a caption needs to know of a study."""

    @property
    def note(self) -> str:
        """What only this study has to say."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """What it measures beside the accuracy."""

    @property
    def family(self) -> str:
        """`block` or `table`."""


def mean_of(metric: str, scale: float = 1.0) -> Callable[[Record], float]:
    """Return the reader of a metric's mean over the run's evaluations, times `scale`; nan where it was not reported."""

    def read(record: Record) -> float:
        values = [row[metric] for row in record.rows if row.get(metric) is not None]
        return scale * float(np.mean(values)) if values else np.nan

    return read


def largest_of(metric: str) -> Callable[[Record], float]:
    """Return the reader of a metric's largest value over the run's evaluations; nan where it was not reported."""
    return lambda record: max((row[metric] for row in record.rows if row.get(metric) is not None), default=np.nan)


def fact(name: str, scale: float = 1.0) -> Callable[[Record], float]:
    """Return the reader of a number among a run's facts, times `scale`."""
    return lambda record: scale * float(record.facts[name])


def server_seconds(record: Record) -> float:
    """Return the wall-clock seconds of a run that the server worked: inference, bank, aggregation, distillation."""
    return sum(record.seconds.get(phase, 0.0) for phase in ("inference", "bank", "aggregation", "distillation"))


def time_to(target: float) -> Callable[[Record], float]:
    """Return the reader of the virtual time of the first evaluation with at least `target` (accuracy in [0, 1])."""
    return lambda record: next((row["virtual_time"] for row in record.rows if row["accuracy"] >= target), np.nan)


def perplexity(record: Record) -> float:
    """Return exp of the mean loss of the scored evaluations, of a run on running text; nan where it diverged.

    Infinite where the loss is finite but its exponential is not.
    """
    loss = record.mean_of_last("loss")
    with np.errstate(over="ignore"):
        return np.nan if loss is None else float(np.exp(loss))


def bits(record: Record) -> float:
    """Return the bits that a character of the held-out text takes: comparable between vocabularies, as perplexity is
    not; nan where the run diverged."""
    loss = record.mean_of_last("loss")
    return np.nan if loss is None else loss / np.log(2) / float(record.facts["characters_per_token"])


def position_bytes(record: Record) -> float:
    """Return the bytes that the bank of a FedEcho run keeps of one prediction."""
    config = record.run_config()
    return work.bank_bytes(config)[1] / (config.protocol.clients * work.predictions(config)[0])


def allocated(record: Record) -> tuple[float, float]:
    """Return the bytes of the tensors of a FedEcho run's bank, to set beside what is predicted, and of the running sum
    of its rows, which comes on top whatever is kept of them."""
    config = record.run_config()
    (rows, classes), settings = work.predictions(config), config.method.distill  # type: ignore[attr-defined]
    kept = settings.bank_top_k, settings.bank_labels
    bank = Bank.empty(
        config.protocol.clients, (rows, classes), torch.device("meta"), DTYPES[settings.bank_dtype], *kept
    )
    return float(bank.nbytes), float(bank.total.nbytes)


def collect(cells: Sequence[Cell], folder: Path, columns: Sequence[Column]) -> pd.DataFrame:
    """Return `tables.collect` with the study's own columns."""
    found = [find(folder, cell.config) for cell in cells]
    own = {column.name: [np.nan if r is None else column.value(r) for r in found] for column in columns}
    return tables.collect(cells, folder).assign(**own)


def summarise(
    frame: pd.DataFrame, reference: str, columns: Sequence[Column], family: Literal["block", "table"] = "block"
) -> pd.DataFrame:
    """Return `tables.summarise` with the mean of each of the study's own columns over the runs that have it."""
    out = tables.summarise(frame, reference, family=family)
    names = [column.name for column in columns]
    means = frame.groupby([*BLOCK, "method"], sort=False)[names].mean().reset_index()
    return out.merge(means, on=[*BLOCK, "method"], how="left") if names else out


def display(summary: pd.DataFrame, reference: str, columns: Sequence[Column]) -> pd.DataFrame:
    """Return the summary as texts to read, indexed by setting, delay and method."""
    texts = [_row_texts(row, reference, columns) for row in summary.to_dict("records")]
    out = pd.DataFrame(texts).set_index([*BLOCK, "method"])
    for name, numbers in (("slow classes, %", summary["straggler_mean"]), ("paper", summary["reported"])):
        if numbers.isna().all():
            out = out.drop(columns=name)
    return out


def _row_texts(row: Mapping[Any, Any], reference: str, columns: Sequence[Column]) -> dict[str, str]:
    same = row["method"] == reference
    return {
        "setting": row["setting"], "delay": row["delay"], "method": row["method"],
        "accuracy, %": tables.accuracy_text(row),
        "n": f"{row['n']} ({row['diverged']} diverged)" if row["diverged"] else str(row["n"]),
        f"{reference} − row": tables.NOTHING if same else tables.number(row["difference"], row["difference_half"], "+"),
        "p (Holm)": tables.p_text(row["p_holm"]),
        "slow classes, %": tables.number(row["straggler_mean"], row["straggler_half"]),
        **{column.name: _plain(row[column.name], column.digits) for column in columns},
        "paper": NOT_STATED if np.isnan(row["reported"]) else f"{row['reported']:.2f}",
    }  # fmt: skip


def _plain(value: float, digits: int) -> str:
    return tables.NOTHING if np.isnan(value) else f"{value:,.{digits}f}".replace("-", "−")


def caption(frame: pd.DataFrame, profile: str, study: Described) -> str:
    """Say what the numbers of a study are and which records they come from."""
    return " ".join(part for part in _caption_parts(frame, profile, study) if part)


def _caption_parts(frame: pd.DataFrame, profile: str, study: Described) -> Iterator[str]:
    yield f"Profile {profile}. {study.note}"
    yield (
        "Accuracy: test accuracy, mean of a run's last 5 evaluations; mean ± half width of the 95 % confidence "
        "interval (Student t) over n seeds. Bold: the highest mean of a block, among rows of which no run diverged. "
        "Differences: in points ± their 95 % interval, paired over the seeds both finished. p: two-sided paired "
        "t-test, Holm-corrected over "
        f"{'the rows of a block' if study.family == 'block' else 'the whole table'}."
    )
    yield "Slow classes: accuracy on those that only slow clients own." if frame["straggler"].notna().any() else ""
    yield "Other columns: means over the runs." if study.columns else ""
    yield tables.edges(profile).strip() if profile not in WHOLE else ""
    yield tables.provenance_text(frame)
    yield tables.caveat(profile)


def gaps(frame: pd.DataFrame, reference: str, easier: Sequence[str], harder: str) -> pd.DataFrame:
    """Return one row per kind of delay in `easier` and method: accuracy there minus accuracy under `harder` delays, in
    points, paired over seeds, with its interval; and how much smaller the reference's gap is, with its p and Holm's."""
    rows = []
    for delay in easier:
        losses = {m: _losses(runs, delay, harder) for m, runs in frame.groupby("method", sort=False)}
        for method, loss in losses.items():
            mean, half, n = stats.mean_ci(list(loss.values()))
            less, less_half, p, _ = stats.paired_difference(loss, {} if method == reference else losses[reference])
            rows.append({
                "setting": f"{delay} − {harder}", "delay": harder, "method": method, "gap": mean, "gap_half": half,
                "n": n, "smaller": less, "smaller_half": less_half, "p": np.nan if p is None else p,
            })  # fmt: skip
    out = pd.DataFrame(rows)
    return out.assign(p_holm=tables.holm(out["p"]))


def _losses(runs: pd.DataFrame, easier: str, harder: str) -> dict[int, float]:
    """Return seed -> points lost from one kind of delay to the other."""
    wide = runs[runs["delay"].isin([easier, harder])].pivot_table(index="seed", columns="delay", values="score")
    if not {easier, harder} <= set(wide.columns):
        return {}
    lost = (wide[easier] - wide[harder]).dropna()
    return dict(zip(lost.index.astype(int), lost.astype(float), strict=True))


def gaps_display(summary: pd.DataFrame, reference: str, reported: pd.Series[float]) -> pd.DataFrame:
    """Return the gaps as texts to read, the paper's own beside them."""
    texts = [{
        "setting": row["setting"], "delay": row["delay"], "method": row["method"],
        "gap, points": tables.number(row["gap"], row["gap_half"]), "n": str(row["n"]),
        f"row − {reference}": tables.number(row["smaller"], row["smaller_half"], "+"),
        "p (Holm)": tables.p_text(row["p_holm"]),
        "paper": f"{reported[row['method']]:.1f}" if row["method"] in reported.index else NOT_STATED,
    } for row in summary.to_dict("records")]  # fmt: skip
    return pd.DataFrame(texts).set_index([*BLOCK, "method"])
