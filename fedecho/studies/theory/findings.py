"""Verdicts computed from the records of theory tables, by the names under which claims ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fedecho.report.summary import Verdict
from fedecho.studies.study import Finding, Study
from fedecho.studies.theory import base
from fedecho.studies.theory.results import Entry, Result, Results, log_ratio, predicted, rival
from fedecho.theory import fits

MARGIN = 1.25
"""By what factor a plateau may miss its prediction."""


Rule = Callable[[Result, Results], Finding]
"""Judges a result; it may look at the others of its table."""


def _outcome(low: float, high: float, band: tuple[float, float]) -> Verdict:
    """Return what an interval says of a band: whether it lies inside, outside, or neither."""
    if band[0] <= low and high <= band[1]:
        return "supported"
    return "not supported" if high < band[0] or low > band[1] else "inconclusive"


def rate(found: Result, results: Results) -> Finding:
    """Whether the error falls at the rate: the rule passes. Not supported where an interval lies above the band, for
    then the fall is slower; one below the band contradicts no upper bound and confirms none."""
    reasons = "; ".join(found.verdict.reasons)
    if found.fit is None:
        return Finding("not supported", note=reasons)
    slower = any(slope.low > fits.SLOPE_BAND[1] for slope in found.fit.slopes.values())
    outcome: Verdict = "supported" if found.verdict.passed else "not supported" if slower else "inconclusive"
    return Finding(outcome, _numbers(found), reasons)


def _numbers(found: Result) -> str:
    if found.fit is None:
        return "no error is left to fit"
    parts = [f"slope in {name} {base.slope_text(found.fit, name)}" for name in found.fit.slopes]
    return f"{', '.join(parts)}, R² {found.fit.r2:.3f}".replace("-", "−")


def expected(found: Result, results: Results) -> Finding:
    """Whether the rule says what it has to: it fails a control, and passes a noise floor that falls as 1/M."""
    right = found.verdict.passed is found.entry.expected
    return Finding("supported" if right else "not supported", _numbers(found), "; ".join(found.verdict.reasons))


def quiet(slopes: Result, results: Results) -> Finding:
    """Whether trajectories without noise pass the slopes and fail the test of speed-up, which is what that test is
    for."""
    floor = next(r for r in results if r.entry.group == "speed-up" and r.entry.expected is False)
    if floor.record is None:
        return Finding("not run")
    needed = slopes.verdict.passed and not floor.verdict.passed
    value = f"the rate's rule: {_numbers(slopes)}; speed-up: {'; '.join(floor.verdict.reasons) or 'passes'}"
    return Finding("supported" if needed else "not supported", value)


def plateau(found: Result, results: Results) -> Finding:
    """Whether FedBuff leaves what is predicted: what it leaves under uniform arrivals, and |grad f|^2 where the
    objective is least that weights clients by their arrivals. Within a factor of 1.25, interval included."""
    ends = predicted(found, results)
    if ends is None:
        return Finding("not run")
    if found.diverged():
        return Finding("not supported", note=f"diverged at {found.diverged()[0]}")
    ratio = log_ratio(found.largest(), ends)
    levels = f"{base.power_text(found.level())} against {base.power_text(float(ends.mean()))}"
    return Finding(
        _outcome(*ratio[1:], (1 / MARGIN, MARGIN)), f"{base.interval_text(ratio)} times the prediction ({levels})"
    )


def repairs(found: Result, results: Results) -> Finding:
    """Whether a method leaves less of |grad f|^2 than FedBuff does after as long a local training: the 95 % interval of
    the geometric mean of ratios, paired over the trajectories (Student t), lies below 1."""
    other = rival(results, found.entry.label, found.entry.factors["long"])
    if other.record is None:
        return Finding("not run")
    if found.diverged() or other.diverged():
        return Finding("not supported" if found.diverged() else "inconclusive", note="a trajectory diverged")
    ratio = log_ratio(found.largest(), other.largest())
    outcome = _outcome(*ratio[1:], (0, 1))
    # Beside what the method itself leaves under uniform arrivals, where it is simulated there.
    even = next((r for r in results if (r.entry.label, r.entry.series) == ("uniform", found.entry.series)), None)
    level = "" if even is None or even.record is None else (
        f"; {found.level() / even.level():.3g} times its own level under uniform arrivals"
    )  # fmt: skip
    small = " (less by under a fifth)" if outcome == "supported" and ratio[1] > 1 / MARGIN else ""
    ends = f"({base.power_text(found.level())} against {base.power_text(other.level())})"
    return Finding(outcome, f"{base.interval_text(ratio)} times FedBuff's {ends}{level}{small}")


def slower(found: Result, results: Results) -> Finding:
    """Whether the error falls more slowly with T than the rule allows: its slope's interval lies above the band."""
    if found.fit is None:
        return Finding("supported", note="; ".join(found.verdict.reasons))
    slope = found.fit.slopes["T"]
    return Finding(_outcome(slope.low, slope.high, (fits.SLOPE_BAND[1], float("inf"))), _numbers(found))


# By name

BOTH_SLOPES = "The intervals of both slopes within the band of the rule, and R² above its limit"
REFUSED = "The rule fails a run that breaks an assumption"
FLOOR = "The noise floor at a fixed step falls as M^(−1 ± 0.05), interval included"
PLATEAU = "FedBuff's late |grad f|² divided by the prediction, within a factor of 1.25, interval included"
REPAIR = "What a method leaves at the largest T against FedBuff, paired over the trajectories: the interval below 1"
SLOPE_IN_T = "The interval of the slope in T within the band of the rule, and R² above its limit"
SLOWER = "The interval of the slope in T above the band of the rule"


def asked(entry: Entry) -> Iterator[tuple[str, str, Rule]]:
    """Yield for each question about an entry its name, what is looked at, and the rule that answers."""
    run, label, factors = entry.run, entry.label, entry.factors
    kind = "convex" if run.objective in base.CONVEX else "nonconvex"
    match entry.group, entry.expected:
        case "rate", _:
            yield f"rate of FedBuff, {label}", BOTH_SLOPES, rate
        case "FedEcho", _:
            who = run.objective if run.teacher == "clients" else f"{run.teacher} teacher"
            yield f"rate of FedEcho, {who}, eta_d {factors['schedule']}", BOTH_SLOPES, rate
        case "control", False:
            yield f"refused, {kind}: {label}", REFUSED, expected
        case "control", True:
            yield f"refused, {kind}: speed-up without noise", REFUSED, quiet
        case "speed-up", True:
            yield f"speed-up, {label}", FLOOR, expected
        case "arrivals", _ if factors["method"] != "FedBuff":
            yield f"repair, {label}: {entry.series}", REPAIR, repairs
        case "arrivals", _ if label != "uniform" and not factors["long"]:
            yield f"plateau, {label}", PLATEAU, plateau
        case "teacher", _ if factors:
            yield f"teacher, {label}: eta_d {entry.series}", SLOPE_IN_T, rate
            if factors["power"] == 0:
                yield f"slower, {label}: eta_d constant", SLOWER, slower


def said(study: Study, *starts: str) -> list[str]:
    """Return a sentence for each finding of a study whose name begins with one of `starts`."""
    found = {name: question.answer() for name, question in study.questions().items() if name.startswith(starts)}
    return [f"{name}: **{said.verdict}**. {said.value or said.note}".strip() for name, said in found.items()]
