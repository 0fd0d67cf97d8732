"""Verdicts on toy results whose answer is known, and the names by which the ledger of claims asks for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedecho.studies import TABLES, claims
from fedecho.studies.theory import distillation, findings
from fedecho.studies.theory.results import Entry, Result
from fedecho.studies.theory.study import TheoryStudy
from fedecho.theory.config import TheoryRun
from fedecho.theory.records import TheoryRecord

NOISE = np.array([0.99, 1.0, 1.01])
FEDBUFF = {"method": "FedBuff", "long": False}


def toy(values: list[Any], group: Any = "rate", plateau: list[float] | None = None, **entry: Any) -> Result:
    """A result at T = 1 and 4 with these values of three trajectories."""
    rows = [
        {"rounds": t, "buffer": 1, "status": "done", "mean": list(row), "late": list(row)}
        for t, row in zip((1, 4), values, strict=True)
    ]
    record = TheoryRecord({}, "0", rows, {} if plateau is None else {"plateau": plateau}, 0.0, {})
    return Result(Entry(group, entry.pop("label", "toy"), TheoryRun(), **entry), record)


def falling(power: float, **entry: Any) -> Result:
    return toy([NOISE, 4**power * NOISE[[1, 2, 0]]], **entry)


@pytest.mark.parametrize(
    ("fall", "verdict"),
    [(-0.5, "supported"), (-0.1, "not supported"), (-0.9, "inconclusive"), (-0.4, "inconclusive")],
)
def test_verdicts_of_rates(fall: float, verdict: str) -> None:
    found = findings.rate(falling(fall), [])
    assert found.verdict == verdict and "slope in T" in str(found.value)


@pytest.mark.parametrize(("fall", "passes"), [(-0.5, True), (-0.1, False)])
def test_a_control_is_to_fail_and_a_floor_to_pass(fall: float, passes: bool) -> None:
    for expected in (True, False):
        found = findings.expected(falling(fall, expected=expected), [])
        assert (found.verdict == "supported") == (passes == expected)


@pytest.mark.parametrize(("slopes", "floor", "verdict"), [
    (-0.5, -0.5, "supported"), (-0.1, -0.5, "not supported"), (-0.5, -1.0, "not supported"),
])  # fmt: skip
def test_without_noise_the_slopes_pass_and_the_floor_fails(slopes: float, floor: float, verdict: str) -> None:
    other = falling(floor, group="speed-up", expected=False)
    assert other.record is not None
    rows = [row | {"rounds": 1, "buffer": row["rounds"]} for row in other.rows]
    other = replace(other, record=replace(other.record, rows=rows))
    assert findings.quiet(falling(slopes), [other]).verdict == verdict


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.0, "supported"), (1.24, "inconclusive"), (1.6, "not supported"), (0.5, "not supported")]
)
def test_verdicts_of_plateaus(ratio: float, verdict: str) -> None:
    ends = [ratio * value for value in (0.98, 1.0, 1.02)]
    uniform = toy([[1e-9] * 3] * 2, label="uniform", factors=FEDBUFF)
    found = toy([ends, ends], plateau=[1.0, 1.0, 1.0], factors=FEDBUFF)
    assert findings.plateau(found, [uniform, found]).verdict == verdict


@pytest.mark.parametrize(("ratio", "verdict"), [(0.5, "supported"), (1.0, "inconclusive"), (2.0, "not supported")])
def test_verdicts_of_repairs(ratio: float, verdict: str) -> None:
    ends = [ratio * value for value in (0.98, 1.0, 1.02)]
    fedbuff = toy([[1.0] * 3] * 2, factors=FEDBUFF)
    even = toy([[0.5] * 3] * 2, label="uniform", series="FedEcho")
    echo = toy([ends, ends], series="FedEcho", factors={"method": "FedEcho", "long": False})
    found = findings.repairs(echo, [fedbuff, even, echo])
    assert found.verdict == verdict and f"; {ratio / 0.5:.3g} times its own level under uniform" in str(found.value)
    assert ("less by under a fifth" in str(found.value)) is False
    lesser = toy([[0.9] * 3] * 2, series="FedEcho", factors=echo.entry.factors)
    assert str(findings.repairs(lesser, [fedbuff]).value).endswith(" (less by under a fifth)")


@pytest.mark.parametrize(("fall", "verdict"), [(0.3, "supported"), (-0.8, "not supported"), (-0.4, "inconclusive")])
def test_verdicts_of_what_falls_more_slowly(fall: float, verdict: str) -> None:
    assert findings.slower(falling(fall), []).verdict == verdict


# By name


def test_names_are_those_of_runs_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    known = claims.questions("laptop")
    assert known.keys() == claims.questions("smoke").keys() and "rate of FedBuff, quadratic, K = 1" in known
    assert {question.answer().verdict for _, question in known.values()} == {"not run"}


def test_the_rule_refuses_every_committed_control() -> None:
    refused = {name: question for name, (_, question) in claims.questions("laptop").items() if "refused" in name}
    assert len(refused) == 10  # what breaks an assumption of the theorem, on quadratics and on bounded wells
    assert {question.answer().verdict for question in refused.values()} == {"supported"}


def test_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = toy([NOISE, [4.0, 4.1, 4.2]], group="teacher", label="honest", series="constant", factors={"power": 0.0})
    monkeypatch.setattr(TheoryStudy, "results", lambda self: [grown for _ in self.entries])
    study = TABLES["theory_distillation"]("smoke")
    assert isinstance(study, TheoryStudy)
    assert distillation.constant_rate(study)[0].startswith(
        "With a constant eta_d and the teacher “honest” the error grows with T up to T = 8,000 (slope 1.0"
    )
    assert findings.said(study, "slower, honest:") == [
        f"slower, honest: eta_d constant: **supported**. {findings.slower(grown, []).value}"
    ]
