"""Verdicts on hand-made records, the rule behind them, and a ledger file that is refused in a single line."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, strategies as st

from fedecho.core import files
from fedecho.core.checks import InputError
from fedecho.core.clock import Clock
from fedecho.core.config import RunConfig, override
from fedecho.core.records import record_path, save
from fedecho.learning.experiment import new_record
from fedecho.report.summary import Cell
from fedecho.studies import TABLES, check, claims, contenders, grid, language, profiles
from fedecho.studies.claims import claim as of_claims, evidence, ledger, lines, verdicts
from fedecho.studies.claims.claim import Claim
from fedecho.studies.claims.lines import Line
from fedecho.studies.claims.verdicts import Sample
from fedecho.studies.comparison import Comparison
from fedecho.studies.study import Finding, Question
from fedecho.studies.tuning import Tuning
from fedecho.studies.vision import vision
from tests.sound import sound

OLD, FRESH = (0, 1), (2, 3, 4)
PLACE = 'places = [["Dir(0.1)", "large"]]'
BOTH = 'places = [["Dir(0.1)", "large"], ["Dir(0.1)", "mild"]]'
PRIMARY = 'role = "primary"\nmargin = 1\npower = 0.5\n'
ENTRY = """
[[claim]]
id = "toy"
text = "FedEcho wins."
source = "paper"
test = {{ {test} }}
{more}
"""
GREATER = 'kind = "greater", study = "toy", a = "FedEcho", b = "FedBuff"'
EQUIVALENT = GREATER.replace("greater", "equivalent")
GAP = 'kind = "gap", study = "toy", a = "FedEcho", b = "CA2FL", easier = "mild"'
CONSTANT = [1.0] + [0.0] * 9
"""Accuracy on each class of a model that names the first whatever it sees."""


def toy_study(name: str, seeds: Sequence[int] = (*OLD, *FRESH)) -> Comparison:
    """Three methods in two places of the main table: the two seeds of the profile, and three fresh ones."""
    methods = ("FedEcho", "FedBuff", "CA2FL")
    known = {(c.method, c.setting, c.delay): c.config for c in vision("smoke", seeds=[0]).asked()}
    cells = [
        Cell(method, "Dir(0.1)", delay, override(known[method, "Dir(0.1)", delay], "seed", seed))
        for seed in seeds
        for delay in ("mild", "large")
        for method in methods
    ]
    return Comparison(name="toy", title="A toy", notebook="10_table_vision", profile=name, cells=cells)


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    monkeypatch.setitem(TABLES, "toy", toy_study)
    monkeypatch.setitem(TABLES, "unasked", lambda name: toy_study(name, OLD))
    return tmp_path


def config(method: str, seed: int, delay: str = "large") -> RunConfig:
    runs: dict[int, RunConfig] = claims.runs_of("toy", "smoke")[method, "Dir(0.1)", delay]
    return runs[seed]


def put(
    folder: Path,
    method: str,
    scores: list[float],
    delay: str = "large",
    status: Literal["done", "diverged"] = "done",
    per_class: Sequence[float] = tuple(k / 10 for k in range(10)),
    seeds: Sequence[int] = FRESH,
) -> None:
    """Write a record per seed: 10 rounds, each evaluation with the score (percent); stragglers own the last class."""
    for seed, score in zip(seeds, scores, strict=True):
        run = config(method, seed, delay)
        rows = [{"accuracy": score / 100, "per_class": list(per_class)}] if status == "done" else []
        record = new_record(run, status, rows, {"straggler_classes": [9]}, Clock(), {})
        record.seconds.update({"bank": 1.0 + seed, "inference": 1.0, "local": 50.0})
        save(sound(record) if rows else record, record_path(folder / "records" / "smoke", run))


def fill(folder: Path, scores: list[float], others: list[float], **more: Any) -> None:
    """Write FedEcho's records on the fresh seeds, FedBuff's, and both methods' on the old seeds, one point apart."""
    put(folder, "FedEcho", scores, **more)
    put(folder, "FedBuff", others, **more)
    put(folder, "FedEcho", [71, 71], seeds=OLD)
    put(folder, "FedBuff", [70, 70], seeds=OLD)


def ask(folder: Path, test: str, more: str = PRIMARY + PLACE) -> Line:
    return ask_all(folder, ENTRY.format(test=test, more=more))[0]


def ask_all(folder: Path, entries: str) -> list[Line]:
    path = folder / "claims.toml"
    path.write_text(entries, encoding="utf-8")
    return lines.evaluate("smoke", path)


# Primary claims


def test_a_lead_that_is_shown_by_fresh_seeds(toy: Path) -> None:
    fill(toy, [72.9, 73.0, 73.1], [70, 70, 70])
    line = ask(toy, GREATER)
    # 3 +- 4.302653 * 0.1 / sqrt(3); t = 3 / (0.1 / sqrt(3)) = 51.96 with 2 degrees of freedom.
    assert (line.our_value, line.n) == ("+3.00 ± 0.25 points (73.00 against 70.00)", 3)
    assert (line.verdict, line.qualifier, line.p) == ("supported", "", pytest.approx(0.00037, rel=0.01))
    # Leads 1, 1, 2.9, 3 and 3.1: sd sqrt(4.82 / 4), t 2.776445 at 4 degrees of freedom.
    assert line.pooled == "+2.20 ± 1.36 points (72.20 against 70.00, n = 5)"
    assert (line.id, line.role, line.claim, line.place) == ("toy", "primary", "FedEcho wins.", "Dir(0.1), large")
    assert line.test == "Test accuracy of FedEcho minus that of FedBuff, paired over the seeds."
    assert (line.table, line.notebook, line.margin, line.power) == ("toy", "10_table_vision", 1.0, 0.5)


def test_each_family_has_its_own_correction(toy: Path) -> None:
    """Leads of 3 with a standard deviation of .921: t = 5.64 with 2 degrees of freedom, p = .03."""
    fill(toy, [72.079, 73.0, 73.921], [70, 70, 70])
    first = ENTRY.format(test=GREATER, more=PRIMARY + PLACE)
    twin = first.replace('"toy"', '"twin"', 1)
    for entries, p, verdict in (
        (first, 0.03, "supported"), (first + twin, 0.06, "inconclusive"),
        (first + twin + 'family = "teacher"', 0.03, "supported"),
    ):  # fmt: skip
        found = [line for line in ask_all(toy, entries) if line.role == "primary"]
        assert {(round(line.p or 0, 3), line.verdict) for line in found} == {(p, verdict)}
    text = ledger.markdown(found)
    assert text.index("## Primary claims\n") < text.index("## Primary claims on the weighted teacher\n\n1 supported.")


def test_old_seeds_change_nothing_but_what_is_pooled(toy: Path) -> None:
    fill(toy, [72.9, 73.0, 73.1], [70, 70, 70])
    before = ask(toy, GREATER)
    put(toy, "FedEcho", [10, 90], seeds=OLD)
    after = ask(toy, GREATER)
    assert after.pooled != before.pooled and after.needed != before.needed
    assert replace(after, pooled=before.pooled, needed=before.needed) == before


@pytest.mark.parametrize(("scores", "verdict", "qualifier"), [
    ([73, 70, 76], "inconclusive", ""),  # 3 points, but anything between -4 and 10 fits
    ([70.3, 70.3, 70.4], "supported", verdicts.SMALL),
    ([70.1, 69.9, 70.0], "not supported", ""),
    ([67.1, 66.9, 67.0], "not supported", ""),
    ([70.0, 70.0, 70.0], "not supported", ""),  # the same runs
])  # fmt: skip
def test_ways_to_end(scores: list[float], verdict: str, qualifier: str, toy: Path) -> None:
    fill(toy, scores, [70, 70, 70])
    line = ask(toy, GREATER)
    assert (line.verdict, line.qualifier) == (verdict, qualifier)


@pytest.mark.parametrize(("scores", "verdict", "p"), [
    ([70.1, 69.9, 70.0], "supported", 0.00332),  # 1 point from either end: t = 1 / (0.1 / sqrt(3)) = 17.32
    ([72.1, 71.9, 72.0], "not supported", 0.00663),  # 1 point beyond an end, and there are two
    ([67.9, 68.1, 68.0], "not supported", 0.00663),
    ([70.9, 71.2, 70.6], "inconclusive", 0.622),  # 0.1 from an end: t = 0.1 / (0.3 / sqrt(3)) = 0.577
])  # fmt: skip
def test_equivalence_lies_between_both_ends(scores: list[float], verdict: str, p: float, toy: Path) -> None:
    fill(toy, scores, [70, 70, 70])
    line = ask(toy, EQUIVALENT)
    assert (line.verdict, line.p) == (verdict, pytest.approx(p, rel=0.02))
    assert "equivalent if within ± 1 points" in line.test


def test_the_choice_of_ours_that_it_rests_on_is_told_with_the_verdict(toy: Path) -> None:
    more = f'{PRIMARY}given = "FedBuff as we read it"\n{PLACE}'
    assert ask(toy, GREATER, more).said == "not run"
    fill(toy, [70.3, 70.3, 70.4], [70, 70, 70])
    assert ask(toy, GREATER, more).said == f"supported, {verdicts.SMALL}, given FedBuff as we read it"


def test_nothing_is_said_before_all_fresh_runs_are_there(toy: Path) -> None:
    fill(toy, [73, 73, 73], [70, 70, 70])
    record_path(toy / "records" / "smoke", config("FedBuff", 4)).unlink()
    line = ask(toy, GREATER)
    assert (line.verdict, line.our_value, line.p, line.note) == ("not run", None, None, "2 of 3 seeds are there.")
    unasked = ask(toy, GREATER.replace('"toy"', '"unasked"'))
    assert (unasked.verdict, unasked.n, unasked.note) == ("not run", 0, "its fresh seeds are not run yet.")
    assert unasked.pooled == "+1.00 ± 0.00 points (71.00 against 70.00, n = 2)"


def test_a_run_that_diverged_is_left_out_and_told(toy: Path) -> None:
    fill(toy, [73, 73.1, 73], [70, 70, 70])
    put(toy, "FedBuff", [0], status="diverged", seeds=[4])
    line = ask(toy, GREATER)
    assert (line.our_value, line.n) == ("+3.05 ± 0.64 points (73.05 against 70.00)", 2) and line.verdict == "supported"
    assert line.note == "1 of 3 seeds left out, a run diverged."


def test_a_seed_that_the_better_one_alone_fails_does_not_help_it(toy: Path) -> None:
    fill(toy, [73, 73.1, 73], [70, 70, 70])
    put(toy, "FedEcho", [0], status="diverged", seeds=[4])
    line = ask(toy, GREATER)
    assert (line.verdict, line.p) == ("inconclusive", None) and "flatter it" in line.note
    put(toy, "FedBuff", [0], status="diverged", seeds=[4])
    assert ask(toy, GREATER).verdict == "supported"


def test_gap_is_what_large_delays_cost(toy: Path) -> None:
    for method, mild, large in (("FedEcho", [80, 80, 80], [78, 77.9, 78.1]), ("CA2FL", [75, 75, 75], [67, 67, 67])):
        put(toy, method, mild, "mild")
        put(toy, method, large)
    line = ask(toy, GAP)
    assert line.our_value == "+6.00 ± 0.25 points (2.00 against 8.00)" and line.verdict == "supported"
    assert line.test.startswith("Test accuracy lost from mild to large delays: CA2FL's loss minus FedEcho's,")


def test_a_claim_on_several_places_is_about_their_mean_and_each_is_an_estimate(toy: Path) -> None:
    fill(toy, [72, 74, 76], [70, 70, 70])
    for method in ("FedEcho", "FedBuff"):
        put(toy, method, [60] * 5, "mild", seeds=(*OLD, *FRESH))
    whole, large, mild = ask_all(toy, ENTRY.format(test=GREATER, more=PRIMARY + BOTH))
    # Leads of 2, 4, 6 and of 0: their means are 1, 2, 3.
    assert (whole.our_value, whole.place) == ("+2.00 ± 2.48 points (67.00 against 65.00)", "")
    assert "mean over Dir(0.1), large; Dir(0.1), mild" in whole.test
    assert (large.id, large.role, large.verdict, large.p) == ("toy-dir-0.1-large", "exploratory", None, None)
    # All five seeds: leads of 1, 1, 2, 4, 6, sd 2.17.
    assert (large.our_value, large.n) == ("+2.80 ± 2.69 points (72.80 against 70.00)", 5)
    assert (mild.our_value, mild.said) == ("+0.00 ± 0.00 points (60.00 against 60.00)",) * 2
    assert (mild.margin, mild.power, mild.pooled, mild.needed) == (None,) * 4


def test_where_nothing_is_learnt_and_nothing_varies_it_is_the_floor(toy: Path) -> None:
    fill(toy, [50, 49, 50], [50, 49, 50], per_class=CONSTANT)
    line = ask(toy, GREATER)
    assert (line.verdict, line.p, line.our_value) == ("at the floor", None, "at the floor (49.67 against 49.67)")
    put(toy, "FedBuff", [50], seeds=[4])  # which tells classes apart
    assert ask(toy, GREATER).verdict == "not supported"
    put(toy, "FedBuff", [51], seeds=[4], per_class=CONSTANT)
    assert ask(toy, GREATER).verdict == "inconclusive"


def test_the_floor_of_the_classes_that_stragglers_own_is_0(toy: Path) -> None:
    learnt = [0.5] * 9 + [0.0]
    fill(toy, [45, 45, 45], [40, 41, 42], per_class=learnt)
    assert ask(toy, GREATER + ', column = "straggler"').verdict == "at the floor"
    assert ask(toy, GREATER).verdict == "supported"


# Estimates, checks


def test_an_estimate_has_no_verdict_and_no_p(toy: Path) -> None:
    fill(toy, [72.9, 73.0, 73.1], [70, 70, 70])
    line = ask(toy, GREATER, PLACE)
    assert line.our_value == line.said == "+2.20 ± 1.36 points (72.20 against 70.00)" and line.n == 5
    assert (line.role, line.verdict, line.p, line.pooled) == ("exploratory", None, None, None)
    assert ask(toy, GREATER, 'places = [["Dir(0.1)", "mild"]]').said == "not run"


def test_all_places_are_those_that_have_both(toy: Path) -> None:
    found = ask_all(toy, ENTRY.format(test=GREATER, more='places = "all"'))
    assert [line.place for line in found] == ["Dir(0.1), mild", "Dir(0.1), large"]


def test_cost_has_a_number(toy: Path) -> None:
    put(toy, "FedEcho", [73] * 5, seeds=(*OLD, *FRESH))
    # 2 to 6 seconds of server work in 6 rounds.
    assert ask(toy, 'kind = "cost", study = "toy", a = "FedEcho"', PLACE).our_value == "0.667 ± 0.327 s per round"


def test_lines_of_theory_have_the_rule_of_their_notebooks(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = 'kind = "theory", a = "speed-up, quadratic"'
    line = ask(toy, test, "")
    assert (line.verdict, line.role, line.table) == ("not run", "check", "theory_convex")
    question = Question("The noise floor", lambda: Finding("not supported", "slope in M −0.8", "too flat"))
    for module in (claims, lines):
        monkeypatch.setattr(module, "questions", lambda profile: {"speed-up, quadratic": ("toy", question)})
    line = ask(toy, test, 'given = "a constant rate"')
    assert (line.said, line.our_value, line.p) == ("not supported, given a constant rate", "slope in M −0.8", None)
    assert (line.test, line.note) == ("The noise floor.", "too flat.")
    monkeypatch.undo()
    with pytest.raises(InputError, match="a = 'gravity'"):
        ask(toy, 'kind = "theory", a = "gravity"', "")


def test_what_a_profile_has_not_is_left_out(toy: Path) -> None:
    assert (
        ask_all(toy, ENTRY.format(test=GREATER.replace('a = "FedEcho"', 'a = { paper = "stl10" }'), more=PLACE)) == []
    )


# The family


def a_claim(kind: str = "greater", margin: float = 0.5) -> Claim:
    test = of_claims.Comparison(kind, "toy", "FedEcho", "FedBuff")  # type: ignore[arg-type]
    return Claim("i", "t", test, "toy", "primary", (("Dir(0.1)", "large"),), margin, 0.5)


def sample_of(leads: Sequence[float]) -> Sample:
    return Sample({seed: (lead, 0.0) for seed, lead in enumerate(leads)})


def of_p(p: float) -> Sample:
    """Two leads around 1 of which the t-test has this p: at 1 degree of freedom p = 2 / pi * arctan(1 / t)."""
    return sample_of([1 - math.tan(p * math.pi / 2), 1 + math.tan(p * math.pi / 2)])


def judged(*samples: Sample) -> list[tuple[str, float | None]]:
    found = verdicts.judged([(a_claim(), sample) for sample in samples])
    return [(one.verdict, one.p and round(one.p, 6)) for one in found]


def test_holm_goes_over_all_primary_claims_run_or_not() -> None:
    missing = Sample({0: None})
    assert judged(of_p(0.02)) == [("supported", 0.02)] and judged(sample_of([1.0])) == [("inconclusive", None)]
    # 0.001 * 3, then 0.02 * 2; the third counts as 1.
    assert judged(of_p(0.02), of_p(0.001), missing) == [("supported", 0.04), ("supported", 0.003), ("not run", None)]
    assert judged(of_p(0.02), of_p(0.02), missing) == [("inconclusive", 0.06)] * 2 + [("not run", None)]


def test_each_side_has_its_own_family() -> None:
    behind = sample_of([-1.1, -1.0, -0.9])  # 1.5 below the effect: t = 25.98, p = 0.00148
    small = sample_of([0.1, 0.1, 0.11])
    assert judged(behind, of_p(0.02))[0] == ("not supported", pytest.approx(0.00296, rel=0.01))
    (found,) = verdicts.judged([(a_claim(), small)])
    assert (found.verdict, found.qualifier) == ("supported", verdicts.SMALL)
    assert found.p == pytest.approx(0.00104, rel=0.01)  # above 0: t = 31; the other side's is smaller still


@pytest.mark.slow
def test_the_chance_of_a_false_verdict_is_that_of_the_level() -> None:
    # No claim is true, and each is likely to be told so: effects of 4.5 standard errors. One family of the smaller
    # p-values errs in 9 % of these, for what is told leaves the count.
    numbers, claim = np.random.default_rng(0), a_claim(margin=4.5 / math.sqrt(10))
    wrong = 0
    for leads in numbers.normal(size=(200, 15, 10)):
        found = verdicts.judged([(claim, sample_of(row.tolist())) for row in leads])
        wrong += any(one.verdict == "supported" for one in found)
    assert wrong <= 10


some = st.lists(st.integers(-300, 300).map(lambda k: k / 100), min_size=2, max_size=6)


@given(st.lists(some, min_size=1, max_size=4), st.sampled_from(["greater", "equivalent"]))
def test_a_verdict_follows_the_mean_and_needs_more_in_a_larger_family(family: list[list[float]], kind: str) -> None:
    claim = a_claim(kind)
    found = verdicts.judged([(claim, sample_of(leads)) for leads in family])
    (alone,) = verdicts.judged([(claim, sample_of(family[0]))])
    for leads, one in zip(family, found, strict=True):
        mean = float(np.mean(leads))
        if one.verdict == "supported":
            assert mean > 0 if kind == "greater" else abs(mean) < 0.5
        if one.verdict == "not supported":
            assert mean < 0.5 if kind == "greater" else abs(mean) > 0.5
        assert not one.qualifier or 0 < mean < 0.5
    assert alone.p is not None and found[0].p is not None and alone.p <= found[0].p


def test_power_and_the_seeds_that_are_needed() -> None:
    half = [0.5 - math.sqrt(0.5), 0.5 + math.sqrt(0.5)]  # mean 0.5, sd 1
    claim = a_claim(margin=0.6)  # below which the mean lies by 0.1 alone
    # The textbook's: 34 pairs for half a standard deviation, at 5 % and 80 %.
    assert verdicts.power_of(claim, half, 34, 0.05) == pytest.approx(0.8078, abs=1e-4)
    assert verdicts.needed(claim, half, 0.05) == 34
    # The likelier verdict: 1 below an effect of 1.5.
    assert verdicts.power_of(a_claim(margin=1.5), half, 10, 0.05) == pytest.approx(0.8031, abs=1e-4)
    assert verdicts.needed(claim, half, 0.05, most=34) is None and verdicts.needed(claim, half[:1], 0.05) is None


def test_power_of_equivalence_is_that_of_both_ends() -> None:
    around = [-math.sqrt(0.5), math.sqrt(0.5)]  # mean 0, sd 1
    # 2 * 0.8031 - 1: both ends are a standard deviation away.
    assert verdicts.power_of(a_claim("equivalent", 1.0), around, 10, 0.05) == pytest.approx(0.6062, abs=2e-4)


def test_planning_looks_at_old_seeds_alone(toy: Path) -> None:
    put(toy, "FedEcho", [72, 73], seeds=OLD)
    put(toy, "FedBuff", [70, 70], seeds=OLD)
    put(toy, "FedEcho", [0, 0, 0])
    path = toy / "claims.toml"
    path.write_text(ENTRY.format(test=GREATER, more=f"{PRIMARY}seeds = 5\n{PLACE}"))
    # Mean 2.5, sd 0.71, on 5 seeds; a family of one.
    assert "| toy | 2 | 2.50 | 0.71 | 5 | 1.00 | 1.00 | 3 |" in lines.planning("smoke", path)


# What is refused

BAD = [
    (GREATER.replace("toy", "tou"), "table = 'tou'", "vision"),
    (GREATER.replace("FedBuff", "FedBluff"), "b = 'FedBluff'", "CA2FL"),
    (GREATER.replace("greater", "greatest"), "kind = 'greatest'", "equivalent"),
    (GREATER + ', easier = "mild"', "easier = 'mild'", "study, a, b"),
    (GREATER + ', column = "loss"', "column = 'loss'", "straggler"),
    (GREATER + ", more = 1", "more = 1", "column"),
    (GAP.replace(', easier = "mild"', ""), "easier = None", "easier"),
    (GAP.replace('"mild"', '"none"'), "places = 'Dir(0.1), none'", "mild"),
    (GREATER.replace('"FedEcho"', '{ big = "FedEcho" }'), "a.big", "smoke"),
]


@pytest.mark.parametrize(("test", "field", "allowed"), BAD, ids=lambda value: str(value)[:30])
def test_what_a_test_is_refused_for(test: str, field: str, allowed: str, toy: Path) -> None:
    refused(ENTRY.format(test=test, more=PLACE), field, allowed, toy)


@pytest.mark.parametrize(("more", "field", "allowed"), [
    ('places = [["Dir(0.2)", "large"]]', "places = 'Dir(0.2), large'", "Dir(0.1), mild"),
    ('places = ["Dir(0.1)"]', "places = ['Dir(0.1)']", "pairs"), ("", "places = ()", "at least one"),
    ('places = [["Dir(0.1)", "large"], ["Dir(0.1)", "large"]]', "id = 'toy'", "once"), ("why = 1", "why = 1", "note"),
    (f"margin = 1\n{PLACE}", "margin = 1", "no other"), (f'role = "primary"\n{PLACE}', "margin = None", "has one"),
    (f"{PRIMARY.replace('margin = 1', 'margin = 0')}{PLACE}", "margin = 0", "> 0"),
    (f"{PRIMARY.replace('0.5', '1.5')}{PLACE}", "power = 1.5", "1"),
    (f'role = "check"\n{PLACE}', "role = 'check'", "greater"), (f'table = "lost"\n{PLACE}', "table = 'lost'", "vision"),
    (f'source = "blog"\n{PLACE}', "source", "package"), (f'notebook = "10"\n{PLACE}', "notebook", "table"),
])  # fmt: skip
def test_what_an_entry_is_refused_for(more: str, field: str, allowed: str, toy: Path) -> None:
    refused(ENTRY.format(test=GREATER, more=more).replace('source = "paper"\n', ""), field, allowed, toy)


@pytest.mark.parametrize(("old", "new", "field", "allowed"), [
    ('text = "FedEcho wins."\n', "", "text = None", "missing"), ("test =", "tests =", "tests", "places"),
])  # fmt: skip
def test_other_fields(old: str, new: str, field: str, allowed: str, toy: Path) -> None:
    refused(ENTRY.format(test=GREATER, more=PLACE).replace(old, new), field, allowed, toy)


def refused(entry: str, field: str, allowed: str, folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        path = folder / "claims.toml"
        path.write_text(entry, encoding="utf-8")
        ledger.write("smoke", path)
    message = str(caught.value)
    assert message.startswith("claims.toml, toy: ") and "\n" not in message
    assert field in message and allowed in message.split("is not usable: ")[1]
    assert [found.name for found in folder.iterdir()] == ["claims.toml"]  # nothing was written


@pytest.mark.parametrize("text", ["[[claim]", "", "claim = 3"])
def test_a_file_that_is_no_ledger(text: str, toy: Path) -> None:
    (toy / "claims.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        claims.read("smoke", toy / "claims.toml")
    assert "\n" not in str(caught.value)


# The files


def test_files_are_whole_repeatable_and_apart_for_each_profile(toy: Path) -> None:
    fill(toy, [72.9, 73.0, 73.1], [70, 70, 70])
    source = toy / "ledger.toml"
    source.write_text(
        ENTRY.format(test=GREATER, more=f'{PRIMARY}{PLACE}\nnote = "|U| is 9."')
        + ENTRY.format(test=GREATER, more=BOTH).replace('"toy"\ntext', '"all"\ntext')
        + ENTRY.format(test='kind = "theory", a = "speed-up, quadratic"', more="").replace("toy", "floor")
    )
    found = ledger.write("smoke", source)
    page, data = ledger.written("smoke")
    before = page.read_bytes(), data.read_bytes()
    assert json.loads(data.read_text()) == [vars(line) for line in found]
    assert [line.role for line in found] == ["primary", "check", "exploratory", "exploratory"]
    assert {path.name for path in toy.iterdir()} == {
        "records", "ledger.toml", "claims-smoke.md", "claims-smoke.json", "SHA256SUMS-smoke",
    }  # fmt: skip
    text = page.read_text(encoding="utf-8")
    assert "1 supported." in text and "1 not run." in text and verdicts.RULE in text
    titles = [
        text.index(f"## {title}") for title in ("Primary claims", "Checks of the theory", "Exploratory estimates")
    ]
    assert titles == sorted(titles) and text.index("### A toy (toy, [10_table_vision](../notebooks/") > titles[2]
    assert (
        "| FedEcho wins. | Dir(0.1), large | **supported** | +3.00 ± 0.25 points (73.00 against 70.00) | 3 | <0.001 | "
        "+2.20 ± 1.36 points (72.20 against 70.00, n = 5) | 1 | 0.5 | 5 | toy, " in text
    )
    assert "| FedEcho wins. | Dir(0.1), large | +2.20 ± 1.36 points (72.20 against 70.00) | 5 | not stated |\n" in text
    assert "|  | Dir(0.1), mild [1] | not run | 0 | not stated |" in text  # the claim is written once
    assert "its numbers are not results" in text and "|U| is 9." in text
    ledger.write("smoke", source)
    assert (page.read_bytes(), data.read_bytes()) == before
    said = ledger.text(found).splitlines()
    assert said[0] == "supported: FedEcho wins; Dir(0.1), large; +3.00 ± 0.25 points (73.00 against 70.00)"
    assert said[-2:] == ["Primary claims: 1 supported", "Checks of the theory: 1 not run"]


def test_a_claim_in_many_places_says_in_how_many_it_leads(toy: Path) -> None:
    fill(toy, [72.9, 73.0, 73.1], [70, 70, 70])
    for method, score in (("FedEcho", 50), ("FedBuff", 60)):
        put(toy, method, [score] * 5, "mild", seeds=(*OLD, *FRESH))
    text = ledger.markdown(ask_all(toy, ENTRY.format(test=GREATER, more=BOTH)))
    assert (
        "| FedEcho wins. The mean is above 0 in 1 of 2 places. | Dir(0.1), large | +2.20" in text
        and "|  | Dir(0.1), mild | −10.00" in text
    )


def test_pipes_do_not_break_the_table() -> None:
    line = Line("i", "exploratory", "|U| wins.", "", "paper", "smoke", "t.", "10_table_vision", "toy", None)
    assert r"| \|U\| wins. |  | not run |" in ledger.markdown([line])


def test_the_rule_is_short() -> None:
    assert len(verdicts.RULE.split()) <= 120


def test_check_rewrites_the_ledger_elsewhere(toy: Path, tmp_path_factory: pytest.TempPathFactory,
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    source = toy / "ledger.toml"
    source.write_text(ENTRY.format(test='kind = "theory", a = "speed-up, quadratic"', more=""), encoding="utf-8")
    written = ledger.write
    monkeypatch.setattr(ledger, "write", lambda profile: written(profile, source))
    ledger.write("laptop")
    elsewhere = tmp_path_factory.mktemp("rebuilt")
    monkeypatch.setenv("FEDECHO_PAPER", str(elsewhere))
    assert check.claims_differences(toy, "laptop") == [] and check.claims_differences(toy, "smoke") == []
    (toy / "claims.md").write_text("drifted")
    (toy / "claims.json").unlink()
    assert [line.split(":")[0] for line in check.claims_differences(toy, "laptop")] == ["claims.md", "claims.json"]


# The claims of the package


def primaries(name: str = "laptop", family: str = "") -> list[Claim]:
    return [claim for claim in claims.read(name) if (claim.role, claim.family) == ("primary", family)]


@pytest.mark.parametrize(("name", "count"), [("smoke", 15), ("laptop", 15), ("paper", 13)])
def test_every_claim_of_the_package_can_be_asked(name: str, count: int) -> None:
    found = claims.read(name)
    assert {claim.source for claim in found} == {"paper", "package"} and len(found) > 100
    # Neither generated images nor texts are the paper's own scale.
    assert len(primaries(name)) == count and len(primaries(name, "teacher")) == 4


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDECHO_PAPER")


def test_the_power_that_is_written_down_is_what_old_seeds_let_expect(committed: None) -> None:
    family = primaries()
    for claim in family:
        old, _ = evidence.parts(claim, "laptop")
        if not old.lacking:
            power = verdicts.power_of(claim, old.leads, claim.seeds, verdicts.LEVEL / len(family))
            assert claim.power == round(power, 2), claim.id
        assert claim.power is not None and claim.power >= verdicts.POWER, claim.id


def test_the_power_of_the_claims_on_the_teacher_is_what_its_choice_lets_expect(committed: None) -> None:
    family = primaries(family="teacher")
    for claim in family:
        asked = replace(claim, test=replace(claim.test, study="teacher"))
        chosen = evidence.sample(asked, "laptop")
        assert sorted(chosen.values) == [1000, 1001] and not chosen.lacking
        power = verdicts.power_of(claim, chosen.leads, claim.seeds, verdicts.LEVEL / len(family))
        assert claim.power == round(power, 2), claim.id


@pytest.mark.parametrize(("table", "search"), [("vision", "tuning"), ("language", "language_tuning")])
def test_of_two_rows_of_a_method_the_one_tuned_better_is_claimed(
    table: str, search: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDECHO_PAPER")
    named = {row for claim in primaries() if claim.test.study == table for row in (claim.test.a, claim.test.b) if row}
    for row in sorted(named):
        other = row.removesuffix(" (tuned eta)") if "tuned" in row else f"{row} (tuned eta)"
        pair = [label for label in (row, other) if label in contenders.TUNED[TABLES[table]("laptop").at]]
        study = TABLES[search]("laptop", methods=pair)
        assert isinstance(study, Tuning)
        if len(pair) == len(study.chosen()) == 2:
            trials = study.trials()
            best = trials[trials["chosen"]].set_index("method")["mean"]
            assert best[row] >= best[other], f"{other} is tuned better than {row}"


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_fresh_seeds_are_used_for_nothing_else(name: str) -> None:
    of = profiles.profile(name)
    assert not {*of.fresh} & {*of.seeds, *of.tuning_seeds}
    assert grid.fresh(name) == (of.fresh if name in grid.FRESH else ()) and grid.fresh(name, seeds=[0]) == ()


def test_tables_have_the_fresh_seeds_that_claims_ask_for_once_they_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = dict.fromkeys(str(claim.test.study) for claim in primaries())
    monkeypatch.setattr(grid, "FRESH", {})
    before = {cell.config for table in tables for cell in TABLES[table]("laptop").asked()}
    monkeypatch.setattr(grid, "FRESH", {"laptop": None, "language": None})
    for claim in primaries():
        cells = TABLES[str(claim.test.study)]("laptop").asked()
        for _, *run in [*claim.side(claim.test.a), *claim.side(claim.test.b)]:
            seeds = {cell.config.seed for cell in cells if [cell.method, cell.setting, cell.delay] == run}
            assert seeds == {*range(5 + claim.seeds)}, claim.id
    after = [(cell.method, cell.setting, cell.delay, cell.config) for table in tables
             for cell in TABLES[table]("laptop").asked()]  # fmt: skip
    assert all(config in before or config.seed >= 5 for *_, config in after)
    assert {cell.config.seed for cell in vision("laptop", seeds=[0, 1]).asked()} == {0, 1}


def test_claims_on_the_teacher_keep_the_seeds_they_were_written_down_for() -> None:
    later = primaries(family="teacher")
    assert len(later) == 4
    assert all(evidence.parts(claim, "laptop")[1].values.keys() == {*range(20, 30)} for claim in later)


def test_smoke_tables_have_a_fresh_seed() -> None:
    assert all(len(evidence.parts(claim, "smoke")[1].values) >= 1 for claim in primaries("smoke"))


def test_no_place_on_texts_is_left_out() -> None:
    places = {(cell.setting, cell.delay) for cell in language("laptop").asked()}
    for name in ("language-fedac", "language-fadas", "language-fedavg"):
        asked = [claim.places[0] for claim in claims.read("laptop") if claim.id == name]
        assert len(asked) == len(places) == 19 and {*asked} == places


def test_largest_and_smallest_pool_are_those_of_the_study() -> None:
    for name in profiles.WHOLE:
        (claim,) = (claim for claim in claims.read(name) if claim.id == "more-images")
        sizes = [variant for variant, _, _ in claims.runs_of("ablation_data_size", name) if variant.startswith("|U|")]
        assert (claim.test.b, claim.test.a) == (sizes[0], sizes[-1])


def test_the_papers_numbers_are_those_reported() -> None:
    folder = files.REPOSITORY / "paper" / "reported"
    known = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.csv")))
    told = {claim.id: claim.paper or "" for claim in claims.read("laptop")}
    numbers = [word for name, text in told.items() if name != "overhead" for word in text.split() if word[0].isdigit()]
    assert len(numbers) > 10 and all(number.replace(",", "") in known for number in numbers)
