"""Numbers as text, what captions share, and sentences that are computed from a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedecho.report.summary import NOT_RUN, NOT_STATED, PLACE, REFERENCE, Column, record_set_hash

NOTHING = "–"
LEVEL = 0.05
"""A difference counts if Holm's p is below."""
BARS = (
    "Test accuracy in %, a panel for each setting: means over the finished seeds with 95 % confidence intervals "
    "(Student t), cut at 0 and 100. Where only slow clients own some classes, the panel beside it has the accuracy on "
    "these. Arrowhead: an interval goes on beyond its panel; with a number: so does the mean. Vertical line: the mean "
    "of the row that the others are compared with."
)
POINTS = "Markers are means over the finished seeds, bars 95 % confidence intervals (Student t)."
DIVERGED = "Cross at the bottom: at least one run diverged; the mean is over the others."
BANDED, BANDED_SEEDS = ("FedBuff (tuned eta)", "FedBuff + EMA", REFERENCE), 5
"""Methods with bands, and how many of their seeds have to be finished: over three a band is wider than the panel."""
BANDS = (
    f"Bands: 95 % confidence intervals of {', '.join(BANDED[:-1])} and {BANDED[-1]}, where at least {BANDED_SEEDS} "
    "seeds finished."
)
CURVES = f"Test accuracy in % against server rounds, as evaluated, not smoothed: mean over the finished seeds. {BANDS}"


def number(mean: float, half: float = np.nan, sign: str = "") -> str:
    """Write `mean` and `half` to 2 decimals as `82.31 ± 0.85`, without the half width where there is none."""
    if np.isnan(mean):
        return NOTHING
    width = "" if np.isnan(half) else f" ± {half:.2f}"
    return f"{mean:{sign}.2f}{width}".replace("-", "−")


def p_text(p: float) -> str:
    """Write a p-value in [0, 1] to 3 decimals."""
    if np.isnan(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def accuracy_text(row: Mapping[Any, Any]) -> str:
    """Write a row's mean and half width, or why it has none."""
    if row["n"]:
        return number(row["mean"], row.get("half", np.nan))
    return "diverged" if row["diverged"] else NOT_RUN


def display(summary: pd.DataFrame, reference: str, columns: Sequence[Column] = (), word: str = "row") -> pd.DataFrame:
    """Return a summary as texts to read, indexed by setting, delay and method; `word`: what a row is."""
    texts = pd.DataFrame([
        {
            **{name: row[name] for name in PLACE},
            "accuracy, %": accuracy_text(row),
            "n": f"{row['n']} ({row['diverged']} diverged)" if row["diverged"] else str(row["n"]),
            f"{reference} − {word}": number(row["difference"], row["difference_half"], "+"),
            "p (Holm)": p_text(row["p_holm"]),
            "slow classes, %": number(row["straggler_mean"], row["straggler_half"]),
            **{column.name: _plain(row[column.name], column.digits) for column in columns},
            "paper": NOT_STATED if np.isnan(row["reported"]) else f"{row['reported']:.2f}",
        }
        for row in summary.to_dict("records")
    ]).set_index(PLACE)  # fmt: skip
    absent = {"slow classes, %": summary["straggler_mean"], "paper": summary["reported"]}
    return texts.drop(columns=[name for name, numbers in absent.items() if numbers.isna().all()])


def _plain(value: float, digits: int) -> str:
    if np.isinf(value):
        return "> 10^308"  # the exponential of a finite loss, beyond what a float64 holds
    return NOTHING if np.isnan(value) else f"{value:,.{digits}f}".replace("-", "−")


def comparison(note: str, family: str, owned: bool) -> str:
    """Say what the numbers of a comparison are; `owned`: whether slow clients alone own some classes of a block."""
    over = "within a block" if family == "block" else "over the whole table"
    return (
        f"{note} Test accuracy in %, mean ± 95 % CI over n seeds; diverged runs are counted but left out. Bold: best "
        "of a block, rows with diverged runs excluded, unless at chance. Differences: in points, paired over "
        f"seeds; p: paired t-test, Holm-corrected {over}."
        f"{' Slow classes: those only slow clients own.' if owned else ''}"
    )


def notes(frame: pd.DataFrame, profile: str) -> str:
    """Say at which profile a table was made and from which records."""
    return " ".join(filter(None, [f"Profile {profile}.", provenance_text(frame), caveat(profile)]))


def caveat(profile: str) -> str:
    """Say what the numbers of a profile must not be taken for."""
    return "The smoke profile tests the plumbing; its numbers are not results." if profile.endswith("smoke") else ""


def provenance_text(frame: pd.DataFrame) -> str:
    """Name the records behind a frame: how many, their set's hash, the processors and the commits that made them, and
    how many dirty."""
    made = frame[frame["hash"].notna()].drop_duplicates("hash")
    if made.empty:
        return "Records: none yet."
    commits = sorted({str(commit)[:7] if isinstance(commit, str) else "unknown" for commit in made["commit"]})
    dirty = sum(flag is True for flag in made["dirty"].astype(object))
    state = f", {dirty} of them with uncommitted changes" if dirty else ""
    by = f"made{processors(made)} by commit {', '.join(commits)}{state}"
    return f"Records: {len(made)}, set {record_set_hash(frame)}, {by}."


def processors(made: pd.DataFrame) -> str:
    """Say on which processors records were made, and how many on each; nothing where that is unknown."""
    names = made.get("cpu", pd.Series(dtype=object)).dropna().str.replace(r"\((R|TM)\)| Processor", "", regex=True)
    counts = names.value_counts().sort_index()
    return f" on {', '.join(f'{name} ({count})' for name, count in counts.items())}" if len(counts) else ""


def sentences(summary: pd.DataFrame, reference: str = REFERENCE, rivals: Sequence[str] = ()) -> list[str]:
    """Say for each row of the `rivals` (none given = of all others) how the reference stands to it."""
    rows = [
        row for row in summary.to_dict("records") if row["method"] in (rivals or {*summary["method"]} - {reference})
    ]
    return [f"{_place(row)}: {_estimate(row, reference)}" for row in rows]


def _place(row: Mapping[Any, Any]) -> str:
    return f"{row['setting']}, {row['delay']}" + ("" if "=" in row["delay"] else " delays")


def _estimate(row: Mapping[Any, Any], reference: str) -> str:
    mean, rival = row["difference"], row["method"]
    if np.isnan(mean):
        return f"{reference} and {rival} cannot be compared, no seed has both."
    gap = number(mean, row["difference_half"], "+")
    seeds = "1 paired seed" if row["pairs"] == 1 else f"{row['pairs']} paired seeds"
    return f"{reference} scores {gap} points relative to {rival}, {seeds}."


def bullets(lines: Sequence[str]) -> str:
    """Return lines as a Markdown list."""
    return "\n".join(f"* {line}" for line in lines)
