"""Sentences and verdicts computed from the records; the ledger of claims asks for them by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedecho.core.checks import require
from fedecho.studies.theory import runs
from fedecho.studies.theory.results import Result, fit_of, judge, log_ratio, without_bias
from fedecho.studies.theory.tabulate import interval_text, power_text, slope_text
from fedecho.theory import fits, records
from fedecho.theory.fits import Fit

Outcome = Literal["supported", "not supported", "inconclusive", "not run"]
MARGIN = 1.25
"""By what factor a plateau may miss its prediction."""


@dataclass(frozen=True)
class Finding:
    """A verdict with the numbers behind it."""

    verdict: Outcome
    value: str | None = None
    note: str = ""


def result(study: str, label: str, profile: str, series: str = "", group: str = "") -> Result:
    """Return one result of a study by its label (and series); raises `InputError` naming the known ones."""
    known = runs.entries(study, profile)
    found = [
        entry for entry in known
        if entry.label == label and (not series or entry.series == series) and (not group or entry.group == group)
    ]  # fmt: skip
    require(
        bool(found), "run", f"{study}: {label}", f"choose one of {', '.join(dict.fromkeys(e.label for e in known))}"
    )
    return Result(found[0], records.find(found[0].run, profile))


def rate(study: str, label: str, profile: str, series: str = "") -> Finding:
    """Whether the error falls at the rate: the rule passes. Not supported where an interval lies above the band, for
    then the fall is slower; one below the band contradicts no upper bound and confirms none."""
    found = result(study, label, profile, series)
    if found.record is None:
        return Finding("not run")
    fitted, verdict = fit_of(found), judge(found)
    if fitted is None:
        return Finding("not supported", note="; ".join(verdict.reasons))
    slower = any(slope.low > fits.SLOPE_BAND[1] for slope in fitted.slopes.values())
    outcome: Outcome = "supported" if verdict.passed else "not supported" if slower else "inconclusive"
    return Finding(outcome, _numbers(fitted), "; ".join(verdict.reasons))


def _numbers(fitted: Fit | None) -> str:
    if fitted is None:
        return "no error is left to fit"
    parts = [f"slope in {name} {slope_text(slope)}" for name, slope in fitted.slopes.items()]
    return f"{', '.join(parts)}, R² {fitted.r2:.3f}".replace("-", "−")


def refused(study: str, label: str, profile: str) -> Finding:
    """Whether the rule fails a control that has to fail."""
    return _judged(result(study, label, profile, group="control"), passing=False)


def floor(study: str, label: str, profile: str) -> Finding:
    """Whether the noise floor falls as 1/M."""
    return _judged(result(study, label, profile, group="speed-up"), passing=True)


def _judged(found: Result, passing: bool) -> Finding:
    """Return whether the rule says of a result what it has to."""
    if found.record is None:
        return Finding("not run")
    verdict = judge(found)
    outcome: Outcome = "supported" if verdict.passed == passing else "not supported"
    return Finding(outcome, _numbers(fit_of(found)), "; ".join(verdict.reasons))


def quiet(study: str, objective: str, profile: str) -> Finding:
    """Whether walks without noise pass the slopes and fail the test of speed-up, which is what that test is for."""
    slopes = result(study, "no noise, equal clients", profile, group="control")
    floors = result(study, f"{objective}, no noise, equal clients", profile, group="speed-up")
    if slopes.record is None or floors.record is None:
        return Finding("not run")
    needed = judge(slopes).passed and not judge(floors).passed
    value = f"the rate's rule: {_numbers(fit_of(slopes))}; speed-up: {'; '.join(judge(floors).reasons) or 'passes'}"
    return Finding("supported" if needed else "not supported", value)


def plateau(kind: str, profile: str) -> Finding:
    """Whether FedBuff leaves what is predicted: what it leaves under uniform arrivals, and |grad f|^2 where the
    objective is least that weights clients by their arrivals. Within a factor of 1.25, interval included."""
    found, uniform = (result("arrivals", place, profile, "FedBuff") for place in (kind, "uniform"))
    predicted = without_bias(found, uniform)
    if predicted is None:
        return Finding("not run")
    if found.diverged():
        return Finding("not supported", note=f"diverged at {found.diverged()[0]}")
    mean, low, high = log_ratio(found.largest(), predicted)
    outcome: Outcome = "inconclusive"
    if low >= 1 / MARGIN and high <= MARGIN:
        outcome = "supported"
    elif high < 1 / MARGIN or low > MARGIN:
        outcome = "not supported"
    ends = f"{power_text(float(found.largest().mean()))} against {power_text(float(predicted.mean()))}"
    return Finding(outcome, f"{interval_text((mean, low, high))} times the prediction ({ends})")


def repairs(method: str, kind: str, profile: str) -> Finding:
    """Whether a method leaves less of |grad f|^2 than FedBuff does after as long a local training: the 95 % interval of
    the geometric mean of ratios, paired over the walks (Student t), lies below 1."""
    long = method.endswith("long")
    one, two = _pair(method, "FedBuff, long" if long else "FedBuff", kind, profile)
    if one.record is None or two.record is None:
        return Finding("not run")
    if one.diverged() or two.diverged():
        return Finding("not supported" if one.diverged() else "inconclusive", note="a walk diverged")
    mean, low, high = log_ratio(one.largest(), two.largest())
    outcome: Outcome = "supported" if high < 1 else "not supported" if low > 1 else "inconclusive"
    level = _level(method, one, profile)
    ends = f"({power_text(_mean(one.largest()))} against {power_text(_mean(two.largest()))})"
    text = f"{interval_text((mean, low, high))} times FedBuff's {ends}{level}"
    small = " (less by under a fifth)" if outcome == "supported" and low > 1 / MARGIN else ""
    return Finding(outcome, text + small)


def _level(method: str, one: Result, profile: str) -> str:
    """Say how a method stands to what itself leaves under uniform arrivals, where it is played there."""
    if (method, "uniform") not in {(e.series, e.label) for e in runs.entries("arrivals", profile)}:
        return ""
    even = result("arrivals", "uniform", profile, method)
    if even.record is None:
        return ""
    return f"; {_mean(one.largest()) / _mean(even.largest()):.3g} times its own level under uniform arrivals"


def _pair(method: str, rival: str, kind: str, profile: str) -> tuple[Result, Result]:
    return result("arrivals", kind, profile, method), result("arrivals", kind, profile, rival)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean())


def slower(label: str, series: str, profile: str) -> Finding:
    """Whether the error falls more slowly with T than the rule allows: its slope's interval lies above the band."""
    found = result("distillation", label, profile, series)
    if found.record is None:
        return Finding("not run")
    fitted, high = fit_of(found), fits.SLOPE_BAND[1]
    if fitted is None:
        return Finding("supported", note="; ".join(judge(found).reasons))
    slope = fitted.slopes["T"]
    outcome: Outcome = "supported" if slope.low > high else "not supported" if slope.high < high else "inconclusive"
    return Finding(outcome, _numbers(fitted))


_RATES = {"convex": ("quadratic", "logistic"), "nonconvex": ("bounded", "network")}
_CONTROLS = ("no M in the step", "biased arrivals", "tau up to 200", "constant step")
FINDINGS: dict[str, Callable[[str], Finding]] = {
    **{
        f"rate of FedEcho, {name}, eta_d {label}": partial(rate, study, f"{name}, eta_d {label}")
        for study, name in (("convex", "logistic"), ("nonconvex", "network"))
        for label in ("constant", "T^-3/4", runs.DERIVED)
    },
    f"rate of FedEcho, adversarial teacher, eta_d {runs.DERIVED}":
    partial(rate, "convex", f"logistic, adversarial, eta_d {runs.DERIVED}"),
    **{
        f"rate of FedBuff, {name}, K = {k}": partial(rate, study, f"{name}, K = {k}")
        for study, names in _RATES.items()
        for name in names
        for k in (1, 4)
    },
    "rate of FedBuff, images, K = 1": partial(rate, "convex", "images, K = 1"),
    **{f"refused, {study}: {label}": partial(refused, study, label) for study in _RATES for label in _CONTROLS},
    **{f"refused, {study}: speed-up without noise": partial(quiet, study, names[0]) for study, names in _RATES.items()},
    **{f"speed-up, {name}": partial(floor, study, name) for study, names in _RATES.items() for name in names},
    **{f"plateau, {kind}": partial(plateau, kind) for kind in runs.KINDS if kind != "uniform"},
    **{
        f"repair, {kind}: {method}": partial(repairs, method, kind)
        for kind in runs.KINDS
        for method in ("CA2FL", *(() if kind in runs.NOTHING_TO_REPAIR else ("FedEcho",)))
    },
    **{
        f"repair, {kind}: {method}, long": partial(repairs, f"{method}, long", kind)
        for kind in runs.KINDS_LONG
        for method in ("CA2FL", "FedEcho", *(() if kind == "uniform" else ("FedEcho, soft labels",)))
    },
    **{
        f"teacher, {entry.label}: eta_d {entry.series}": partial(rate, "distillation", entry.label, series=entry.series)
        for entry in runs.entries("distillation", "laptop")
        if entry.label in runs.TEACHERS
    },
    **{f"slower, {label}: eta_d constant": partial(slower, label, "constant") for label in runs.TEACHERS},
}  # fmt: skip
"""Name -> what the records of a profile say of it."""
SENTENCES = {
    "rate of": "The intervals of both slopes within the band of the rule, and R² above its limit",
    "refused": "The rule fails a run that breaks an assumption",
    "speed-up": "The noise floor at a fixed step falls as M^(−1 ± 0.05), interval included",
    "plateau": "What FedBuff leaves at the largest T over the prediction, within a factor of 1.25, interval included",
    "repair": "What a method leaves at the largest T against FedBuff, paired over the walks: the interval below 1",
    "teacher": "The interval of the slope in T within the band of the rule, and R² above its limit",
    "slower": "The interval of the slope in T above the band of the rule",
}
"""Beginning of a finding's name -> what is looked at."""


def finding(name: str, profile: str) -> Finding:
    """Return a finding by name; raises `InputError` naming the known ones."""
    require(name in FINDINGS, "a", name, f"choose one of {'; '.join(FINDINGS)}")
    return FINDINGS[name](profile)


def sentence(name: str) -> str:
    """Say what a finding looks at."""
    return f"{next(text for start, text in SENTENCES.items() if name.startswith(start))}: {name}"


def said(profile: str, *starts: str) -> list[str]:
    """Return a sentence for each finding whose name begins with one of `starts`."""
    chosen = {name: finding(name, profile) for name in FINDINGS if name.startswith(starts)}
    return [f"{name}: **{found.verdict}**. {found.value or found.note}".strip() for name, found in chosen.items()]


def honest_teacher(profile: str) -> list[str]:
    """State plainly whether distillation at a constant rate converges, for each teacher."""
    out = []
    for label in runs.TEACHERS:
        found = result("distillation", label, profile, "constant")
        fitted = fit_of(found)
        if fitted is None:
            out.append(f"With a constant eta_d and the teacher “{label}”: {'; '.join(judge(found).reasons)}.")
            continue
        slope = fitted.slopes["T"]
        grows = "grows" if slope.low > 0 else "does not fall" if slope.high > 0 else "falls too slowly"
        does = "falls at the rate" if judge(found).passed else f"{grows} with T"
        largest = found.entry.run.rounds[-1]
        out.append(f"With a constant eta_d and the teacher “{label}” the error {does} up to T = {largest:,} "
                   f"(slope {slope_text(slope)}).")  # fmt: skip
    return out
