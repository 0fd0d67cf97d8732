"""Tables of the theory notebooks, as texts to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedecho.report.captions import NOTHING
from fedecho.report.summary import NOT_RUN
from fedecho.studies.theory.results import Result, fit_of, judge, log_ratio, series_of, term_fit, without_bias
from fedecho.studies.theory.terms import PREDICTED
from fedecho.theory import bound
from fedecho.theory.fits import LEAST_R2, SLOPE_BAND, Fit, Slope

_PARTS = {
    "rate": "FedBuff", "FedEcho": "FedEcho", "control": "controls",
    "speed-up": "linear speed-up: noise floor at a fixed step",
}  # fmt: skip


def slope_text(slope: Slope | None) -> str:
    """Write an exponent with its interval."""
    if slope is None:
        return NOTHING
    return f"{slope.value:.3f} [{slope.low:.3f}, {slope.high:.3f}]".replace("-", "−")


def power_text(value: float) -> str:
    """Write a small number to three digits."""
    return NOTHING if np.isnan(value) else f"{value:.2e}".replace("-", "−")


def interval_text(values: tuple[float, float, float]) -> str:
    """Write a ratio with its interval."""
    return "{:.3g} [{:.3g}, {:.3g}]".format(*values)


def rule_word(result: Result) -> str:
    """Say in a word or two what the rule says, and on which side of its band the slopes are."""
    verdict, found = judge(result), fit_of(result)
    if verdict.passed or result.record is None:
        return "passes" if verdict.passed else NOT_RUN
    if found is None:
        return "diverged" if result.diverged() else "fails: nothing to fit"
    steep = all(slope.high < SLOPE_BAND[1] for slope in found.slopes.values())
    return "falls faster" if steep and found.r2 > LEAST_R2 and result.entry.group != "speed-up" else "fails"


def r2_text(found: Fit | None) -> str:
    """Write R^2 to four decimals."""
    return NOTHING if found is None else f"{found.r2:.4f}".replace("-", "−")


def rates(results: Sequence[Result]) -> tuple[pd.DataFrame, list[bool]]:
    """Return one row per run with verdict, slopes and fit, and which rows are as they ought to be."""
    rows, right = [], []
    for group, part in _PARTS.items():
        for result in (r for r in results if r.entry.group == group):
            found, expected = fit_of(result), result.entry.expected
            slopes = found.slopes if found else {}
            rows.append({
                "part": part, "run": result.entry.label, "rule": rule_word(result),
                "expected": {None: NOTHING, True: "passes", False: "fails"}[expected],
                "slope in T": slope_text(slopes.get("T")), "slope in M": slope_text(slopes.get("M")),
                "R²": r2_text(found), "unstable": f"{result.unstable()} of {len(result.rows)}",
            })  # fmt: skip
            right.append(expected is not None and result.record is not None and judge(result).passed == expected)
    return pd.DataFrame(rows).set_index(["part", "run"]), right


def terms(results: Sequence[Result]) -> pd.DataFrame:
    """Return one row per term and factor of the bound: the exponent it has there and the one that is measured."""
    rows = []
    for name, members in series_of(results).items():
        found, predicted = term_fit(members), PREDICTED[name]
        part, factor = name.split(": ")
        rows.append({
            "term": part, "factor": factor, "in the bound": predicted.term,
            "predicted": _exponent(predicted.exponent), "measured": slope_text(found.slopes["x"] if found else None),
            "with a joint term": _exponent(predicted.joint), "R²": r2_text(found),
            "values": f"{members[0].entry.at:g} to {members[-1].entry.at:g}",
        })  # fmt: skip
    return pd.DataFrame(rows).set_index(["term", "factor"])


def _exponent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:g}".replace("-", "−")


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
    """Return one row per kind of arrivals and method: what is left of |grad f|^2, and beside it what was predicted."""
    placed = {(r.entry.label, r.entry.series): r for r in results}
    rows = []
    for result in results:
        kind, method = result.entry.label, result.entry.series
        there, found = result.record is not None, fit_of(result, "late")
        rival = placed[kind, "FedBuff, long" if method.endswith("long") else "FedBuff"]
        compared = there and rival.record is not None and rival is not result
        predicted = without_bias(result, placed["uniform", "FedBuff"]) if method == "FedBuff" else None
        rows.append({
            "arrivals": kind, "method": method,
            "late |grad f|²": power_text(float(result.largest().mean()) if there else np.nan),
            "slope in T": slope_text(found.slopes.get("T") if found else None),
            "/ FedBuff's": interval_text(log_ratio(result.largest(), rival.largest())) if compared
            else NOTHING,
            "plateau": power_text(np.nan if predicted is None else float(np.mean(_known(result.plateau())))),
            "/ prediction": NOTHING if predicted is None
            else interval_text(log_ratio(result.largest(), predicted)),
        })  # fmt: skip
    return pd.DataFrame(rows).set_index(["arrivals", "method"])


def _known(values: NDArray[np.float64] | None) -> NDArray[np.float64]:
    return np.array([np.nan]) if values is None else values


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
            "R²": r2_text(found),
            "rule": rule_word(result),
            "late |grad f|², biased": power_text(float(other.largest().mean()) if left else np.nan),
            "plateau": power_text(float(_known(plateau).mean())),
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
            "R²": r2_text(found),
            "rule": rule_word(result),
            "at the largest T": power_text(float(result.largest("mean").mean()) if there else np.nan),
            "relative to FedBuff": interval_text(log_ratio(result.largest("mean"), reference.largest("mean")))
            if compared else NOTHING,
            "clipped steps, %": f"{100 * result.rows[-1]['clipped']:.1f}" if there and "clipped" in result.rows[-1]
            else NOTHING,
        })  # fmt: skip
    return pd.DataFrame(rows).set_index(["teacher", "eta_d"])
