"""Runs, their records, and the rule at the smallest scale: it accepts the rate and refuses every control."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedecho import tables
from fedecho.core.checks import InputError
from fedecho.learning.methods import CA2FL, FADAS, FedAC, FedAsync, FedBuff, FedEcho
from fedecho.studies.theory import findings, results, runs, tabulate, writing
from fedecho.studies.theory.results import Result
from fedecho.theory import bound, engine, records
from fedecho.theory.arrivals import Arrivals
from fedecho.theory.config import Entry, TheoryRun, point, run_hash, stability_limit, step_size
from fedecho.theory.engine import StabilityWarning

TINY = TheoryRun(rounds=(4, 8), buffers=(1, 2), walks=2, arrivals=Arrivals("independent", clients=4, tau_max=1))
ONE_ROUND = replace(TINY, rounds=(4,), buffers=(1,))


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    return tmp_path


# Steps


def test_step_rules_by_hand() -> None:
    run = TheoryRun(scale=0.5)
    assert step_size(run, 400, 16) == pytest.approx(0.1)
    assert step_size(replace(run, step="without M"), 400, 16) == pytest.approx(0.025)
    assert step_size(replace(run, step="constant"), 400, 16) == 0.5


@pytest.mark.parametrize("method", [FedBuff(), CA2FL(), FedEcho()])
def test_eta_and_eta_l_multiply_to_gamma(method: FedBuff | CA2FL | FedEcho) -> None:
    run = TheoryRun(objective="logistic", method=method, local_steps=4, scale=0.4)
    at = point(run, 1000, 4)
    server = at.method.inner if isinstance(at.method, FedEcho) else at.method
    assert isinstance(server, (FedBuff, CA2FL)) and server.server_lr == 2.0
    assert server.server_lr * at.local.lr * at.local.steps == pytest.approx(at.gamma)
    long = point(replace(run, local_lr=0.5), 1000, 4)
    assert (long.local.lr, long.gamma) == (pytest.approx(0.5), at.gamma)


def test_steps_of_other_methods() -> None:
    adaptive = point(TheoryRun(method=FADAS(), scale=0.4), 400, 16)
    assert isinstance(adaptive.method, FADAS) and adaptive.method.server_lr == pytest.approx(0.02)
    single = point(TheoryRun(method=FedAsync(), scale=0.4), 400, 4)
    assert isinstance(single.method, FedAsync) and single.played == (1600, 1)
    assert single.method.mixing * single.local.lr == pytest.approx(0.01)


def test_the_distillation_rate_falls_from_the_smallest_t() -> None:
    run = TheoryRun(objective="logistic", method=runs.METHODS["FedEcho"], distil_power=0.5, rounds=(100, 400))
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
    ],
)
def test_bad_input_is_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(TINY, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tau_avg = 3.0"):
        Arrivals("independent", tau_max=2, tau_avg=3.0)


# Records


def test_a_record_is_made_once_and_is_a_function_of_its_run(paper: Path) -> None:
    first = engine.make([TINY, TINY], "smoke")
    (path,) = (paper / "records" / "smoke" / "theory").iterdir()
    before = path.read_bytes()
    assert [r.hash for r in first] == [run_hash(TINY)] * 2 and first[0].run() == TINY
    engine.make([TINY], "smoke")
    assert path.read_bytes() == before
    again = engine.execute(TINY)
    assert json.dumps([again.rows, again.facts]) == json.dumps([first[0].rows, first[0].facts])
    assert engine.execute(replace(TINY, seed=1)).rows != again.rows
    assert [(row["rounds"], row["buffer"]) for row in again.rows] == [(4, 1), (8, 1), (4, 2), (8, 2)]


def test_a_spoilt_or_strange_record_is_named(paper: Path) -> None:
    engine.make([TINY], "smoke")
    path = records.path_of(TINY, "smoke")
    other = engine.execute(replace(TINY, seed=1))
    records.THEORY.save(other, path)
    with pytest.raises(InputError, match="belongs to another run"):
        records.find(TINY, "smoke")
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        records.find(TINY, "smoke")


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
    assert results.fit_of(found) is None
    assert results.judge(found).reasons == ("diverged at T = 4, M = 1; T = 8, M = 1",)


# The rule at smoke scale


def played(entry: Entry) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StabilityWarning)
        return Result(entry, engine.execute(entry.run))


def quick(study: str) -> list[Entry]:
    """The convex and non-convex studies without what takes long: rates of one objective, all controls, speed-up."""
    name = {"convex": "quadratic", "nonconvex": "bounded"}[study]
    found = runs.entries(study, "smoke")
    rates = [e for e in found if e.group == "rate" and e.label == f"{name}, K = 1"]
    floors = [e for e in found if e.group == "speed-up" and e.label == f"{name}, no noise, equal clients"]
    return rates + [e for e in found if e.group == "control"] + floors


@pytest.mark.parametrize("study", ["convex", "nonconvex"])
def test_the_rule_accepts_the_rate_and_refuses_every_control(study: str) -> None:
    entries = quick(study)
    assert len(entries) == 7 and sum(entry.expected is False for entry in entries) == 5
    for entry in entries:
        verdict = results.judge(played(entry))
        assert verdict.passed == entry.expected, (entry.label, verdict)


def test_the_noise_floor_falls_as_1_over_m() -> None:
    (entry,) = (e for e in runs.entries("convex", "laptop") if e.label == "quadratic" and e.group == "speed-up")
    run = replace(entry.run, rounds=(1000,), buffers=(1, 8))
    assert results.judge(played(replace(entry, run=run))).passed


def test_biased_arrivals_end_where_it_is_predicted() -> None:
    law = Arrivals("independent", clients=50, tau_max=0, bias=9.0)
    run = TheoryRun(heterogeneity=1.0, variance=0.0, step="constant", scale=0.02, rounds=(2000,), buffers=(16,),
                    arrivals=law, walks=4)  # fmt: skip
    found = played(Entry("arrivals", "biased", run))
    predicted = found.plateau()
    assert predicted is not None
    np.testing.assert_allclose(found.largest(), predicted, rtol=0.15)


# The bound


def test_bound_by_hand() -> None:
    found = bound.bound(
        0.1, 100, 2, smoothness=2.0, suboptimality=3.0, variance=1.0, spread=3.0, tau_avg=1.0, tau_max=1.5
    )
    assert (found.transient, found.noise, found.delay) == pytest.approx((0.6, 0.4, 0.16))
    assert found.total == pytest.approx(1.16) and found.holds  # 0.2 + 2 * 0.3^2 = 0.38
    assert not bound.bound(
        0.5, 100, 2, smoothness=2.0, suboptimality=3.0, variance=1.0, spread=3.0, tau_avg=1.0, tau_max=1.5
    ).holds


def test_nothing_measured_is_above_the_bound() -> None:
    for entry in runs.entries("convex", "smoke"):
        if entry.label in ("quadratic, K = 1", "quadratic, independent arrivals"):
            table = tabulate.against_bound([played(entry)])
            assert table["holds"].any() and (table["measured"] < table["bound"]).all()
    with pytest.raises(InputError, match="local_steps = 4"):
        bound.of(engine.execute(replace(ONE_ROUND, local_steps=4)), {})


# Studies and findings


@pytest.mark.parametrize("profile", ["smoke", "laptop", "paper"])
def test_every_study_has_its_runs_once(profile: str) -> None:
    for study in runs.STUDIES:
        entries = runs.entries(study, profile)
        names = [(e.group, e.label, e.series) for e in entries]
        assert len(set(names)) == len(names) > 5
        few = [e for e in entries if e.run.walks < 24 and e.group != "term"]
        assert profile == "smoke" or all(isinstance(e.run.method, FedAC) for e in few)
    with pytest.raises(InputError, match="choose one of convex"):
        runs.entries("algebra", "smoke")


def test_findings_name_runs_that_exist(paper: Path) -> None:
    for name in findings.FINDINGS:
        assert findings.finding(name, "laptop").verdict == "not run"
    with pytest.raises(InputError, match="choose one of rate of FedEcho"):
        findings.finding("gravity", "laptop")


def toy_finding(monkeypatch: pytest.MonkeyPatch, values: list[list[float]], plateau: list[float] | None = None) -> None:
    """Let every question be about one toy result; under uniform arrivals next to nothing is left."""
    same = {"buffer": 1, "status": "done"}

    def made(rows: list[list[float]]) -> Result:
        facts = {} if plateau is None else {"plateau": plateau}
        found = [{"rounds": t, "mean": row, "late": row, **same} for t, row in zip((1, 4), rows, strict=True)]
        return Result(Entry("rate", "toy", TINY), records.TheoryRecord({}, "0", found, facts, 0.0, {}))

    def result(study: str, label: str, *names: str, **more: str) -> Result:
        return made([[1e-9] * len(values[0])] * 2 if label == "uniform" else values)

    monkeypatch.setattr(findings, "result", result)


@pytest.mark.parametrize(
    ("fall", "verdict"),
    [(-0.5, "supported"), (-0.1, "not supported"), (-0.9, "inconclusive"), (-0.4, "inconclusive")],
)
def test_verdicts_of_rates(fall: float, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.array([0.99, 1.0, 1.01])
    toy_finding(monkeypatch, [noise.tolist(), (4**fall * noise[[1, 2, 0]]).tolist()])
    found = findings.rate("toy", "toy", "smoke")
    assert found.verdict == verdict and "slope in T" in str(found.value)


@pytest.mark.parametrize(("fall", "passes"), [(-0.5, True), (-0.1, False)])
def test_a_control_is_to_fail_and_a_floor_to_pass(fall: float, passes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.array([0.99, 1.0, 1.01])
    toy_finding(monkeypatch, [noise.tolist(), (4**fall * noise[[1, 2, 0]]).tolist()])
    assert (findings.refused("toy", "toy", "smoke").verdict == "not supported") == passes
    assert (findings.floor("toy", "toy", "smoke").verdict == "supported") == passes


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.0, "supported"), (1.24, "inconclusive"), (1.6, "not supported"), (0.5, "not supported")]
)
def test_verdicts_of_plateaus(ratio: float, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [ratio * value for value in (0.98, 1.0, 1.02)]
    toy_finding(monkeypatch, [ends, ends], plateau=[1.0, 1.0, 1.0])
    assert findings.plateau("toy", "smoke").verdict == verdict


@pytest.mark.parametrize(("ratio", "verdict"), [(0.5, "supported"), (1.0, "inconclusive"), (2.0, "not supported")])
def test_verdicts_of_repairs(ratio: float, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_finding(monkeypatch, [[1.0] * 3] * 2)
    fedbuff = findings.result("toy", "toy")
    ends = [ratio * value for value in (0.98, 1.0, 1.02)]
    toy_finding(monkeypatch, [ends, ends])
    monkeypatch.setattr(findings, "_pair", lambda *names: (findings.result("toy", "toy"), fedbuff))
    found = findings.repairs("FedEcho", "toy", "smoke")
    assert found.verdict == verdict and "times its own level under uniform arrivals" in str(found.value)


def test_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_finding(monkeypatch, [[0.99, 1.0, 1.01], [4.0, 4.1, 4.2]])
    assert findings.honest_teacher("smoke")[0].startswith(
        "With a constant eta_d and the teacher “adversarial” the error grows"
    )
    assert findings.said("smoke", "slower, honest:") == [
        f"slower, honest: eta_d constant: **supported**. {findings.slower('honest', 'constant', 'smoke').value}"
    ]


def test_log_ratio_by_hand() -> None:
    mean, low, high = results.log_ratio(np.array([2.0, 8.0]), np.array([1.0, 1.0]))
    assert mean == pytest.approx(4.0) and low < 2 and high > 8
    assert math.log(high / mean) == pytest.approx(12.706 * math.log(2), rel=1e-3)  # t of 1 degree, error log(4)/2


def test_everything_is_written_before_anything_is_played(paper: Path) -> None:
    for name in writing.STUDIES:
        made = writing.write(name, "smoke")
        assert all(path.is_file() for path in made.files)
        assert tables.NOT_RUN in made.tables["md"].read_text() or tables.NOTHING in made.tables["md"].read_text()
    assert set(writing.lacking("smoke")) == set(runs.STUDIES)
    assert writing.outlook("smoke", False).startswith("theory: ")


def test_anybody_can_doubt() -> None:
    run = replace(runs.base("quadratic", runs.scale("smoke")), walks=8)
    assert writing.doubt(run).endswith("the rule passes")
    assert "slope in M −0.1" in writing.doubt(replace(run, step="without M"))
    biased = replace(runs.ASSUMED, bias=9.0, dealt="slow high")
    assert "the rule fails" in writing.doubt(replace(run, arrivals=biased))


def test_a_study_is_played_and_written(paper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        Entry("teacher", "none (FedBuff)", replace(TINY, objective="logistic"), series="none"),
        Entry(
            "teacher", "honest", replace(TINY, objective="logistic", method=runs.METHODS["FedEcho"]), series="constant"
        ),
    ]
    monkeypatch.setattr(runs, "entries", lambda study, profile: entries)
    made = writing.make("distillation", "smoke")
    text = made.tables["md"].read_text()
    assert "relative to FedBuff" in text and "Records: 2, set" in text
    files = {path: path.read_bytes() for path in made.files}
    writing.write("distillation", "smoke")
    assert files == {path: path.read_bytes() for path in made.files}
