"""Runs, their records, and the rule at the smallest scale: it accepts the rate and refuses every control."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedecho.core.checks import InputError
from fedecho.learning.methods import AREA, CA2FL, FADAS, AdaMasFL, FedAsync, FedBuff, FedEcho, FedStaleAsync
from fedecho.studies.theory import base, results
from fedecho.studies.theory.bound import against
from fedecho.studies.theory.rates import theory_convex, theory_nonconvex
from fedecho.studies.theory.results import Entry, Result
from fedecho.studies.theory.study import doubt
from fedecho.theory import bound, engine
from fedecho.theory.arrivals import Arrivals
from fedecho.theory.config import TheoryRun, run_hash
from fedecho.theory.engine import StabilityWarning, point, stability_limit, step_size
from fedecho.theory.records import THEORY, TheoryRecord

TINY = TheoryRun(rounds=(4, 8), buffers=(1, 2), walks=2, arrivals=Arrivals("independent", clients=4, tau_max=1))
ONE_ROUND = replace(TINY, rounds=(4,), buffers=(1,))

GOLDEN: dict[str, tuple[dict[str, Any], float]] = {
    "FedBuff": ({"method": FedBuff()}, 0.973745),
    "CA2FL": ({"method": CA2FL()}, 0.997716),
    "FADAS": ({"method": FADAS()}, 0.717357),
    "FedEcho": ({"objective": "logistic", **base.METHODS["FedEcho"]}, 0.133146),
}
"""Mean of |grad f|^2 at T = 8, M = 2."""


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_theory_run(name: str) -> None:
    """If this fails without a bug, the numerics have changed: raise `config.VERSION` and remake the records."""
    changes, expected = GOLDEN[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StabilityWarning)
        record = engine.execute(replace(TINY, **changes))
    assert np.mean(record.rows[-1]["mean"]) == pytest.approx(expected, rel=1e-3)


# Steps


def test_step_rules_by_hand() -> None:
    run = TheoryRun(scale=0.5)
    assert step_size(run, 400, 16) == pytest.approx(0.1)
    assert step_size(replace(run, step="without M"), 400, 16) == pytest.approx(0.025)
    assert step_size(replace(run, step="constant"), 400, 16) == 0.5


@pytest.mark.parametrize("method", [FedBuff(), CA2FL(), FedStaleAsync(), FedEcho()])
def test_eta_and_eta_l_multiply_to_gamma(method: FedBuff | CA2FL | FedStaleAsync | FedEcho) -> None:
    run = TheoryRun(objective="logistic", method=method, local_steps=4, scale=0.4)
    at = point(run, 1000, 4)
    server = at.method.inner if isinstance(at.method, FedEcho) else at.method
    assert isinstance(server, (FedBuff, CA2FL, FedStaleAsync)) and server.server_lr == 2.0
    assert server.server_lr * at.local.lr * at.local.steps == pytest.approx(at.gamma)
    long = point(replace(run, local_lr=0.5), 1000, 4)
    assert (long.local.lr, long.gamma) == (pytest.approx(0.5), at.gamma)


def test_steps_of_other_methods() -> None:
    for method in (FADAS(), AdaMasFL()):
        adaptive = point(TheoryRun(method=method, scale=0.4), 400, 16)
        assert isinstance(adaptive.method, (FADAS, AdaMasFL)) and adaptive.method.server_lr == pytest.approx(0.02)
    # Of N = 50 models 5 are renewed in a round: gamma = .4 sqrt(5 / 500) = .04 is a tenth of eta_l K.
    mean = point(TheoryRun(method=AREA(), scale=0.4, local_steps=2, arrivals=base.ASSUMED), 500, 5)
    assert mean.method == AREA() and mean.local.lr == pytest.approx(0.2)
    single = point(TheoryRun(method=FedAsync(), scale=0.4), 400, 4)
    assert isinstance(single.method, FedAsync) and single.simulated == (1600, 1)
    assert single.method.mixing * single.local.lr == pytest.approx(0.01)


def test_the_distillation_rate_falls_from_the_smallest_t() -> None:
    run = TheoryRun(objective="logistic", **base.METHODS["FedEcho"] | {"distil_power": 0.5}, rounds=(100, 400))
    rates = [point(run, t, 1).method.distill.lr for t in run.rounds]  # type: ignore[attr-defined]
    assert rates == [pytest.approx(0.04), pytest.approx(0.02)]
    grown = replace(run, distil_power=0.0, distil_buffer_power=0.25, buffers=(1, 16))
    assert point(grown, 400, 16).method.distill.lr == pytest.approx(0.08)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"walks": 1}, "walks = 1"),
        ({"rounds": (8, 4)}, r"rounds = \(8, 4\)"),
        ({"rounds": ()}, "rounds"),
        ({"buffers": (0, 1)}, "buffers"),
        ({"rounds": ("many",)}, "rounds"),
        ({"variance": -1.0}, "variance = -1.0"),
        ({"method": FedEcho()}, "FedEcho needs predictions"),
        ({"teacher": "random"}, "only FedEcho has a teacher"),
        ({"curvature_spread": 1.0}, "curvature_spread"),
        ({"objective": "cubic"}, "objective = 'cubic'"),
        ({"local_lr": 0.0}, "local_lr"),
        (
            {"arrivals": Arrivals(clients=7)},
            r"buffers = \(1, 2\) is not usable: give at most 1: 4 M of 7 clients are at work",
        ),
    ],
)
def test_bad_input_is_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(TINY, **changes)  # type: ignore[arg-type]


def test_staleness_is_at_most_its_largest() -> None:
    with pytest.raises(InputError, match="tau_avg = 3.0"):
        Arrivals("independent", tau_max=2, tau_avg=3.0)


# Records


def test_a_record_is_a_function_of_its_run() -> None:
    first, again = engine.execute(TINY), engine.execute(TINY)
    assert first.hash == run_hash(TINY) and first.run() == TINY
    assert json.dumps([again.rows, again.facts]) == json.dumps([first.rows, first.facts])
    assert engine.execute(replace(TINY, seed=1)).rows != first.rows
    assert [(row["rounds"], row["buffer"]) for row in first.rows] == [(4, 1), (8, 1), (4, 2), (8, 2)]


def test_a_spoilt_or_strange_record_is_named(tmp_path: Path) -> None:
    path = THEORY.path(tmp_path, TINY)
    THEORY.save(engine.execute(replace(TINY, seed=1)), path)
    with pytest.raises(InputError, match="belongs to another run"):
        THEORY.find(tmp_path, TINY)
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        THEORY.find(tmp_path, TINY)


def test_a_step_above_the_limit_warns_with_the_number_and_is_marked() -> None:
    assert stability_limit(2.0, 4.0) == 0.1
    with pytest.warns(StabilityWarning, match=r"gamma = 0.6 at T = 4, M = 1 .* = 0.5; 1 points"):
        record = engine.execute(replace(ONE_ROUND, step="constant", scale=0.6))
    assert [row["status"] for row in record.rows] == ["unstable"]


def test_a_run_that_leaves_the_numbers_is_marked_and_has_no_rate() -> None:
    wild = replace(TINY, step="constant", scale=1e200, rounds=(4, 8))
    with pytest.warns(StabilityWarning):
        record = engine.execute(wild)
    assert {row["status"] for row in record.rows} == {"diverged"} and None in record.rows[-1]["mean"]
    found = Result(Entry("rate", "wild", wild), record)
    assert found.fit is None and found.rule() == "diverged"
    assert found.verdict.reasons == ("diverged at T = 4, M = 1; T = 8, M = 1",)


# The rule at smoke scale


def simulated(entry: Entry) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StabilityWarning)
        return Result(entry, engine.execute(entry.run))


def entries(profile: str, **given: Any) -> list[Entry]:
    build = theory_nonconvex if given["objectives"] == ["bounded"] else theory_convex
    return list(build(profile, **given).entries)  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quadratic", "bounded"])
def test_the_rule_accepts_the_rate_and_refuses_every_control(name: str) -> None:
    floor = f"{name}, no noise, equal clients"
    quick = [
        e for e in entries("smoke", objectives=[name]) if e.group == "control" or e.label in (f"{name}, K = 1", floor)
    ]
    assert len(quick) == 7 and sum(entry.expected is False for entry in quick) == 5
    for entry in quick:
        verdict = simulated(entry).verdict
        assert verdict.passed == entry.expected, (entry.label, verdict)


def test_the_noise_floor_falls_as_1_over_m() -> None:
    (entry,) = (
        e for e in entries("laptop", objectives=["quadratic"]) if (e.group, e.label) == ("speed-up", "quadratic")
    )
    assert simulated(replace(entry, run=replace(entry.run, rounds=(1000,), buffers=(1, 8)))).verdict.passed


def test_biased_arrivals_end_where_it_is_predicted() -> None:
    law = Arrivals("independent", clients=50, tau_max=0, bias=9.0)
    run = TheoryRun(heterogeneity=1.0, variance=0.0, step="constant", scale=0.02, rounds=(2000,), buffers=(16,),
                    arrivals=law, walks=4)  # fmt: skip
    found = simulated(Entry("arrivals", "biased", run))
    predicted = found.plateau()
    assert predicted is not None
    np.testing.assert_allclose(found.largest(), predicted, rtol=0.15)


def test_anybody_can_doubt() -> None:
    run = replace(base.run_of("quadratic", base.scale("smoke")), walks=8)
    assert doubt(run).endswith("the rule passes")
    assert "slope in M −0.1" in doubt(replace(run, step="without M"))
    biased = replace(base.ASSUMED, bias=9.0, dealt="slow high")
    assert "the rule fails" in doubt(replace(run, arrivals=biased))


def test_log_ratio_by_hand() -> None:
    mean, low, high = results.log_ratio(np.array([2.0, 8.0]), np.array([1.0, 1.0, 5.0]))
    assert mean == pytest.approx(4.0) and low < 2 and high > 8
    assert math.log(high / mean) == pytest.approx(12.706 * math.log(2), rel=1e-3)  # t of 1 degree, error log(4)/2


# The bound


@pytest.mark.parametrize(("gamma", "holds"), [(0.1, True), (0.5, False)])
def test_bound_by_hand(gamma: float, holds: bool) -> None:
    run = TheoryRun(variance=1.0, rounds=(100,), buffers=(2,))
    facts = {"smoothness": 2.0, "suboptimality": 3.0, "client_spread": 3.0}
    record = TheoryRecord({"objective": "quadratic", "variance": 1.0}, run_hash(run), [], facts, 0.0, {})
    found = bound.of(record, {"gamma": gamma, "rounds": 100, "buffer": 2, "tau_avg": 1.0, "tau_max": 1.5})
    assert found.holds == holds  # at 0.1: 0.2 + 2 * 0.3^2 = 0.38
    if holds:
        assert (found.transient, found.noise, found.delay) == pytest.approx((0.6, 0.4, 0.16))
        assert found.total == pytest.approx(1.16)


def test_nothing_measured_is_above_the_bound() -> None:
    for entry in entries("smoke", objectives=["quadratic"]):
        if entry.label in ("quadratic, K = 1", "quadratic, independent arrivals"):
            table = against([simulated(entry)])
            assert table["holds"].any() and (table["measured"] < table["bound"]).all()
    with pytest.raises(InputError, match="local_steps = 4"):
        bound.of(engine.execute(replace(ONE_ROUND, local_steps=4)), {})
    with pytest.raises(InputError, match="objective = 'bounded'"):
        bound.of(engine.execute(replace(ONE_ROUND, objective="bounded")), {})
