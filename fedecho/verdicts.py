"""Sentences computed from a summary, by a rule fixed beforehand: a difference counts if Holm's p is below 5 %."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fedecho import tables
from fedecho.presets import REFERENCE

_LEVEL = 0.05


def against(summary: pd.DataFrame, rival: str, reference: str = REFERENCE) -> list[str]:
    """Say for each setting and delay how the reference stands to `rival`: one sentence each, made from the numbers."""
    rows = summary[summary["method"] == rival].to_dict("records")
    return [f"{_place(row)}: {_verdict(row, rival, reference)}" for row in rows]


def all_rows(summary: pd.DataFrame, reference: str) -> list[str]:
    """Say for each row but the reference's own how the reference stands to it."""
    rows = summary[summary["method"] != reference].to_dict("records")
    return [f"{_place(row)}: {_verdict(row, row['method'], reference)}" for row in rows]


def _place(row: dict[Any, Any]) -> str:
    return f"{row['setting']}, {row['delay']}" + ("" if "=" in row["delay"] else " delays")


def _verdict(row: dict[Any, Any], rival: str, reference: str) -> str:
    mean, half, p = row["difference"], row["difference_half"], row["p_holm"]
    if np.isnan(mean):
        return f"{reference} and {rival} cannot be compared, no seed has both."
    gap = tables.number(mean, half, "+")
    size = f"{reference} scores {gap} points relative to {rival}, {row['pairs']} paired seeds"
    if np.isnan(p):
        return f"{size}, too few for a test."
    found = f"{reference} is {'better' if mean > 0 else 'worse'}" if p < _LEVEL else "no difference shown"
    return f"{size}, Holm-corrected p {tables.p_text(p)}: {found} at the {100 * _LEVEL:g} % level."
