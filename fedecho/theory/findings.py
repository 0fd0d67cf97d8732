"""Sentences and verdicts computed from the records by rules fixed beforehand; the ledger of claims asks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from fedecho.checked import require
from fedecho.theory import fits, records, runs
from fedecho.theory.fits import Fit
from fedecho.theory.results import Result, fit_of, judge, log_ratio
from fedecho.theory.tabulate import interval_text, slope_text

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


def _numbers(fitted: Fit) -> str:
    parts = [f"slope in {name} {slope_text(slope)}" for name, slope in fitted.slopes.items()]
    return f"{', '.join(parts)}, R² {fitted.r2:.3f}".replace("-", "−")


def refused(study: str, label: str, profile: str, group: str = "control") -> Finding:
    """Whether the rule fails a control that has to fail."""
    found = result(study, label, profile, group=group)
    if found.record is None:
        return Finding("not run")
    verdict, fitted = judge(found), fit_of(found)
    numbers = _numbers(fitted) if fitted is not None else "no fit"
    return Finding("not supported" if verdict.passed else "supported", numbers, "; ".join(verdict.reasons))


def floor(study: str, label: str, profile: str) -> Finding:
    """Whether the noise floor falls as 1/M."""
    found = result(study, label, profile, group="speed-up")
    if found.record is None:
        return Finding("not run")
    fitted, verdict = fit_of(found), judge(found)
    numbers = None if fitted is None else _numbers(fitted)
    return Finding("supported" if verdict.passed else "not supported", numbers, "; ".join(verdict.reasons))


def plateau(kind: str, profile: str) -> Finding:
    """Whether FedBuff ends where the arrival-weighted objective is least: within a quarter of the prediction."""
    found = result("arrivals", kind, profile, "FedBuff")
    predicted = found.plateau()
    if found.record is None or predicted is None:
        return Finding("not run")
    mean, low, high = log_ratio(found.largest(), predicted)
    outcome: Outcome = "inconclusive"
    if low >= 1 / MARGIN and high <= MARGIN:
        outcome = "supported"
    elif high < 1 / MARGIN or low > MARGIN:
        outcome = "not supported"
    return Finding(outcome, f"|grad f|² is {interval_text((mean, low, high))} times what is predicted")


def repairs(method: str, kind: str, profile: str, reference: str = "FedBuff") -> Finding:
    """Whether a method leaves less of |grad f|^2 than the reference: a paired t-test of log ratios over the walks."""
    one, two = (result("arrivals", kind, profile, series) for series in (method, reference))
    if one.record is None or two.record is None:
        return Finding("not run")
    mean, low, high = log_ratio(one.largest(), two.largest())
    outcome: Outcome = "supported" if high < 1 else "not supported" if low > 1 else "inconclusive"
    ends = [float(np.mean(r.largest())) for r in (one, two)]
    text = f"{interval_text((mean, low, high))} times {reference}'s ({ends[0]:.2e} against {ends[1]:.2e})"
    return Finding(outcome, text.replace("e-", "e−"))


def stalls(label: str, series: str, profile: str) -> Finding:
    """Whether the error stops falling with T: its slope's interval lies above the rule's band."""
    found = result("distillation", label, profile, series)
    fitted = fit_of(found)
    if found.record is None or fitted is None:
        return Finding("not run")
    slope, high = fitted.slopes["T"], fits.SLOPE_BAND[1]
    outcome: Outcome = "supported" if slope.low > high else "not supported" if slope.high < high else "inconclusive"
    return Finding(outcome, _numbers(fitted))


FINDINGS: dict[str, Callable[[str], Finding]] = {
    **{
        f"rate of FedEcho, {name}, eta_d {label}": partial(rate, study, f"{name}, eta_d {label}")
        for study, name in (("convex", "logistic"), ("nonconvex", "network"))
        for label in ("constant", "T^-3/4", runs.DERIVED)
    },
    **{
        f"rate of FedBuff, {name}, K = {k}": partial(rate, study, f"{name}, K = {k}")
        for study, names in (("convex", ("quadratic", "logistic")), ("nonconvex", ("bounded", "network")))
        for name in names
        for k in (1, 4)
    },
    "rate of FedBuff, images, K = 1": partial(rate, "convex", "images, K = 1"),
    **{
        f"refused, {study}: {label}": partial(refused, study, label)
        for study in ("convex", "nonconvex")
        for label in ("no M in the step", "biased arrivals", "tau up to 200", "constant step")
    },
    "refused, convex: speed-up without noise": partial(refused, "convex", "quadratic, no noise", group="speed-up"),
    "refused, nonconvex: speed-up without noise": partial(refused, "nonconvex", "bounded, no noise", group="speed-up"),
    **{
        f"speed-up, {name}": partial(floor, study, name)
        for study, names in (("convex", ("quadratic", "logistic")), ("nonconvex", ("bounded", "network")))
        for name in names
    },
    **{f"plateau, {kind}": partial(plateau, kind) for kind in runs.KINDS if kind != "uniform"},
    **{
        f"repair, {kind}: {method}": partial(repairs, method, kind)
        for kind in runs.KINDS
        for method in ("CA2FL", "FedEcho")
    },
    **{
        f"repair, {kind}: {method}, long": partial(repairs, f"{method}, long", kind, reference="FedBuff, long")
        for kind in runs.KINDS_LONG
        for method in ("CA2FL", "FedEcho", "FedEcho, soft labels")
    },
    **{
        f"teacher, {label}: eta_d {series}": partial(rate, "distillation", label, series=series)
        for label in runs.TEACHERS
        for series in runs.POWERS
    },
    **{f"stalls, {label}: eta_d constant": partial(stalls, label, "constant") for label in runs.TEACHERS},
}  # fmt: skip
"""Name -> what the records of a profile say of it."""


def finding(name: str, profile: str) -> Finding:
    """Return a finding by name; raises `InputError` naming the known ones."""
    require(name in FINDINGS, "a", name, f"choose one of {'; '.join(FINDINGS)}")
    return FINDINGS[name](profile)
