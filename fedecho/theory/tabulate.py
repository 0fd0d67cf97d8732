"""Tables of the theory notebooks, as texts to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fedecho import tables
from fedecho.theory import bound
from fedecho.theory.fits import LEAST_R2, SLOPE_BAND, Slope
from fedecho.theory.results import NOT_RUN, Result, fit_of, judge, log_ratio, series_of, term_fit

_PARTS = {
    "rate": "FedBuff", "FedEcho": "FedEcho", "control": "controls (the rule must see through them)",
    "speed-up": "linear speed-up: noise floor at a fixed step",
}  # fmt: skip
PREDICTED: dict[str, tuple[float, str]] = {
    "transient: T": (-1, "F_0 / (gamma T)"),
    "noise: M": (-1, "L gamma sigma^2 / M"),
    "noise: gamma": (1, "L gamma sigma^2 / M"),
    "noise: sigma^2": (1, "L gamma sigma^2 / M"),
    "sampling: M": (-1, "L gamma sigma_g^2 / M"),
    "sampling: sigma_g^2": (1, "L gamma sigma_g^2 / M"),
    "drift: K": (2, "(L eta_l K)^2 sigma_g^2"),
    "drift: eta_l": (2, "(L eta_l K)^2 sigma_g^2"),
    "drift: sigma_g^2": (1, "(L eta_l K)^2 sigma_g^2"),
    "delay x noise: tau_avg": (1, "(L gamma)^2 tau_avg sigma^2 / M"),
    "delay x noise: tau_max": (0, "(L gamma)^2 tau_avg sigma^2 / M"),
    "delay x clients: tau_avg": (2, "(L gamma)^2 tau_max tau_avg sigma_g^2 / M"),
    "delay x clients: tau_max": (1, "(L gamma)^2 tau_max tau_avg sigma_g^2 / M"),
}
"""Series -> the exponent that the bound has in its factor, and the term."""


def slope_text(slope: Slope | None) -> str:
    """Write an exponent with its interval."""
    if slope is None:
        return tables.NOTHING
    return f"{slope.value:.3f} [{slope.low:.3f}, {slope.high:.3f}]".replace("-", "−")


def power_text(value: float) -> str:
    """Write a small number to three digits."""
    return tables.NOTHING if np.isnan(value) else f"{value:.2e}".replace("-", "−")


def interval_text(values: tuple[float, float, float]) -> str:
    """Write a ratio with its interval."""
    return "{:.3g} [{:.3g}, {:.3g}]".format(*values)


def rule_word(result: Result) -> str:
    """Say in a word or two what the rule says, and on which side of its band the slopes are."""
    verdict, found = judge(result), fit_of(result)
    if verdict.passed or found is None:
        return "passes" if verdict.passed else tables.NOT_RUN if result.record is None else "no fit"
    steep = all(slope.high < SLOPE_BAND[1] for slope in found.slopes.values())
    return "falls faster" if steep and found.r2 > LEAST_R2 else "fails"


def rates(results: Sequence[Result]) -> tuple[pd.DataFrame, list[bool]]:
    """Return one row per run with slopes, fit and verdict, and which rows are as they ought to be."""
    rows, right = [], []
    for group, part in _PARTS.items():
        for result in (r for r in results if r.entry.group == group):
            found, verdict, expected = fit_of(result), judge(result), result.entry.expected
            slopes = found.slopes if found else {}
            rows.append({
                "part": part, "run": result.entry.label, "slope in T": slope_text(slopes.get("T")),
                "slope in M": slope_text(slopes.get("M")),
                "R²": tables.NOTHING if found is None else f"{found.r2:.4f}".replace("-", "−"),
                "rule": str(verdict) if verdict is not NOT_RUN else tables.NOT_RUN,
                "expected": {None: tables.NOTHING, True: "passes", False: "fails"}[expected],
                "unstable": f"{result.unstable()} of {len(result.rows)}",
            })  # fmt: skip
            right.append(expected is not None and verdict.passed == expected)
    return pd.DataFrame(rows).set_index(["part", "run"]), right


def terms(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row per term and factor of the bound: the exponent it has there and the one that is measured."""
    rows = []
    for name, members in series_of(results).items():
        found, (expected, term) = term_fit(members), PREDICTED[name]
        part, factor = name.split(": ")
        rows.append({
            "term": part, "factor": factor, "in the bound": term, "predicted": f"{expected:g}".replace("-", "−"),
            "measured": slope_text(found.slopes["x"]) if found else tables.NOTHING,
            "R²": f"{found.r2:.4f}".replace("-", "−") if found else tables.NOTHING,
            "values": f"{members[0].entry.at:g} to {members[-1].entry.at:g}",
        })  # fmt: skip
    return pd.DataFrame(rows).set_index(["term", "factor"])


def against_bound(results: Sequence[Result]) -> pd.DataFrame:
    """Return T, M, run, what was measured, the bound's terms and their sum, at every point of the quadratic's rates."""
    rows = []
    for result in results:
        assert result.record is not None
        for row, values in zip(result.rows, result.values(), strict=True):
            found = bound.of(result.record, row)
            rows.append({
                "run": result.entry.label, "rounds": row["rounds"], "buffer": row["buffer"], "gamma": row["gamma"],
                "measured": float(values.mean()), "transient": found.transient, "noise": found.noise,
                "delay": found.delay, "bound": found.total, "holds": found.holds,
            })  # fmt: skip
    return pd.DataFrame(rows)


def arrivals(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row per kind of arrivals and method: what is left of |grad f|^2, and beside what was predicted."""
    rows, reference = [], {r.entry.label: r for r in results if r.entry.series == "FedBuff"}
    for result in results:
        entry, there = result.entry, result.record is not None
        end, plateau = (float(result.largest().mean()) if there else np.nan), result.plateau()
        found, fedbuff = fit_of(result, "late"), reference[entry.label]
        compared = there and fedbuff.record is not None and entry.series != "FedBuff"
        rows.append({
            "arrivals": entry.label, "method": entry.series, "|grad f|², second half": power_text(end),
            "slope in T": slope_text(found.slopes["T"]) if found else tables.NOTHING,
            "predicted for FedBuff": power_text(np.nan if plateau is None else float(plateau.mean())),
            "relative to FedBuff": interval_text(log_ratio(result.largest(), fedbuff.largest())) if compared
            else tables.NOTHING,
            "tau_max": f"{max((row['tau_max'] for row in result.rows), default=0)}",
        })  # fmt: skip
    return pd.DataFrame(rows).set_index(["arrivals", "method"])


def methods(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row per method: slopes under independent arrivals, and what is left under biased ones."""
    biased = {r.entry.label: r for r in results if r.entry.series == "biased"}
    rows = []
    for result in (r for r in results if r.entry.series == "rate"):
        found, other = fit_of(result), biased[result.entry.label]
        left, plateau = other.record is not None, other.plateau()
        rows.append({
            "part": "logistic regression", "method": result.entry.label,
            "slope in T": slope_text(found.slopes.get("T") if found else None),
            "slope in M": slope_text(found.slopes.get("M") if found else None),
            "R²": f"{found.r2:.4f}".replace("-", "−") if found else tables.NOTHING,
            "rule": rule_word(result),
            "|grad f|², biased arrivals": power_text(float(other.largest().mean()) if left else np.nan),
            "predicted for FedBuff": power_text(np.nan if plateau is None else float(plateau.mean())),
            "walks": str(result.entry.run.walks),
        })  # fmt: skip
    return pd.DataFrame(rows).set_index(["part", "method"])


def teachers(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row per teacher and schedule of eta_d: the slope in T, and what is left at the largest T."""
    rows, reference = [], next(r for r in results if r.entry.series == "none")
    for result in results:
        found, there = fit_of(result), result.record is not None
        compared = there and reference.record is not None and result is not reference
        rows.append({
            "teacher": result.entry.label, "eta_d": result.entry.series,
            "slope in T": slope_text(found.slopes["T"] if found else None),
            "R²": f"{found.r2:.4f}".replace("-", "−") if found else tables.NOTHING,
            "rule": rule_word(result),
            "at the largest T": power_text(float(result.largest("mean").mean()) if there else np.nan),
            "relative to FedBuff": interval_text(log_ratio(result.largest("mean"), reference.largest("mean")))
            if compared else tables.NOTHING,
            "clipped steps, %": f"{100 * result.rows[-1]['clipped']:.1f}" if there and "clipped" in result.rows[-1]
            else tables.NOTHING,
        })  # fmt: skip
    return pd.DataFrame(rows).set_index(["teacher", "eta_d"])
