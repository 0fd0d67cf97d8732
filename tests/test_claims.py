"""Verdicts on hand-made records, the rule behind them, and a ledger file that is refused in a single line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from fedecho.core import files, stats
from fedecho.core.checks import InputError
from fedecho.core.clock import Clock
from fedecho.core.config import RunConfig, override
from fedecho.core.records import new_record, record_path, save
from fedecho.report.summary import Cell
from fedecho.studies import TABLES, check, claims, profiles
from fedecho.studies.claims import evidence, ledger
from fedecho.studies.claims.evidence import Measured
from fedecho.studies.claims.ledger import Line
from fedecho.studies.comparison import Comparison
from fedecho.studies.study import Finding, Question
from fedecho.studies.vision import vision
from tests.sound import sound

SEEDS = (0, 1, 2)
PLACE = ("Dir(0.1)", "large")
HEAD = 'notebooks = ["10_table_vision"]\n'
ENTRY = """
[[claim]]
id = "toy"
text = "FedEcho wins."
source = "paper"
notebook = "10_table_vision"
test = {{ {test} }}
{more}
"""
GREATER = 'kind = "greater", study = "toy", a = "FedEcho", b = "FedBuff"'


def toy_study(name: str) -> Comparison:
    """Three seeds of four methods, in two places of the main table."""
    methods = ("FedEcho", "FedBuff", "CA2FL", "FedAvg (sync)")
    known = {(c.method, c.setting, c.delay): c.config for c in vision("smoke", seeds=[0]).asked()}  # type: ignore[attr-defined]
    cells = [
        Cell(method, "Dir(0.1)", delay, override(known[method, "Dir(0.1)", delay], "seed", seed))
        for seed in SEEDS
        for delay in ("mild", "large")
        for method in methods
    ]
    return Comparison(name="toy", title="A toy", notebook="10_table_vision", profile=name, cells=cells)


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    monkeypatch.setitem(TABLES, "toy", toy_study)
    return tmp_path


def config(method: str, seed: int, delay: str = "large") -> RunConfig:
    runs: dict[int, RunConfig] = claims.runs_of("toy", "smoke")[method, "Dir(0.1)", delay]
    return runs[seed]


def put(
    folder: Path,
    method: str,
    scores: list[float],
    delay: str = "large",
    clipped: float = 0.0,
    status: Literal["done", "diverged"] = "done",
) -> None:
    """Write a record per seed: 20 rounds, each evaluation with the score (percent); class k is at k / 10."""
    for seed, score in enumerate(scores):
        run = config(method, seed, delay)
        row = {"accuracy": score / 100, "per_class": [k / 10 for k in range(10)], "clipped": clipped}
        clock = Clock()
        record = new_record(run, status, [row], {"straggler_classes": []}, clock, {})
        record.seconds.update({"bank": 1.0 + seed, "inference": 1.0, "local": 50.0})
        save(sound(record), record_path(folder / "records" / "smoke", run))


def ask(folder: Path, test: str, places: str = 'places = [["Dir(0.1)", "large"]]') -> Line:
    (line,) = ask_all(folder, ENTRY.format(test=test, more=places))
    return line


def ask_all(folder: Path, entries: str) -> list[Line]:
    path = folder / "claims.toml"
    path.write_text(HEAD + entries, encoding="utf-8")
    return ledger.evaluate("smoke", path)


def test_a_lead_that_is_shown(toy: Path) -> None:
    put(toy, "FedEcho", [72.9, 73.0, 73.1])
    put(toy, "FedBuff", [70, 70, 70])
    line = ask(toy, GREATER)
    # 3 +- 4.302653 * 0.1 / sqrt(3); t = 3 / (0.1 / sqrt(3)) = 51.96 with 2 degrees of freedom.
    assert line.our_value == "+3.00 ± 0.25 points (73.00 against 70.00, n = 3)"
    assert (line.verdict, line.p, line.note) == ("supported", pytest.approx(0.00037, rel=0.01), "")
    assert (line.id, line.claim) == ("toy-dir-0.1-large", "FedEcho wins (Dir(0.1), large delays).")
    assert line.test == "Test accuracy of FedEcho minus that of FedBuff; paired t-test over the seeds."


@pytest.mark.parametrize(("scores", "verdict", "note"), [
    ([73, 70, 76], "inconclusive", ""),  # 3 points, but anything between -4 and 10 fits
    ([70.3, 70.3, 70.4], "supported", "a lead of 1 point or more is excluded"),  # small, and shown
    ([70.1, 69.9, 70.0], "not supported", "a lead of 1 point or more is excluded"),
    ([67.1, 66.9, 67.0], "not supported", "a lead of 1 point or more is excluded"),
    ([70.0, 70.0, 70.0], "not supported", "a lead of 1 point or more is excluded"),  # the same runs
])  # fmt: skip
def test_three_ways_to_end(scores: list[float], verdict: str, note: str, toy: Path) -> None:
    put(toy, "FedEcho", scores)
    put(toy, "FedBuff", [70, 70, 70])
    line = ask(toy, GREATER)
    assert (line.verdict, line.note.split(" (")[0]) == (verdict, note)


def test_nothing_is_said_before_all_runs_are_there(toy: Path) -> None:
    put(toy, "FedEcho", [73, 73, 73])
    put(toy, "FedBuff", [70, 70])
    line = ask(toy, GREATER)
    assert (line.verdict, line.our_value, line.p, line.note) == ("not run", None, None, "5 of 6 runs are there.")


def diverge(folder: Path, method: str, seed: int) -> None:
    run = config(method, seed)
    save(new_record(run, "diverged", [], {}, Clock(), {}), record_path(folder / "records" / "smoke", run))


def test_a_run_that_diverged_is_left_out_and_told(toy: Path) -> None:
    put(toy, "FedEcho", [73, 73, 73])
    put(toy, "FedBuff", [70, 70, 70])
    diverge(toy, "FedBuff", 2)
    line = ask(toy, GREATER)
    assert line.our_value == "+3.00 ± 0.00 points (73.00 against 70.00, n = 2)" and line.verdict == "supported"
    assert line.note == "1 of 6 runs diverged; their seeds are left out."


def test_a_seed_that_the_better_one_alone_fails_does_not_help_it(toy: Path) -> None:
    put(toy, "FedEcho", [73, 73, 99])
    put(toy, "FedBuff", [70, 70, 70])
    diverge(toy, "FedEcho", 2)
    line = ask(toy, GREATER)
    assert line.our_value == "+3.00 ± 0.00 points (73.00 against 70.00, n = 2)" and line.verdict == "inconclusive"
    assert "FedEcho alone diverged on one of them" in line.note
    diverge(toy, "FedBuff", 2)
    assert ask(toy, GREATER).verdict == "supported"


def test_gap_is_what_large_delays_cost(toy: Path) -> None:
    for method, mild, large in (("FedEcho", [80, 80, 80], [78, 77.9, 78.1]), ("CA2FL", [75, 75, 75], [67, 67, 67])):
        put(toy, method, mild, "mild")
        put(toy, method, large)
    line = ask(toy, 'kind = "gap", study = "toy", a = "FedEcho", b = "CA2FL", easier = "mild"')
    assert line.our_value == "+6.00 ± 0.25 points (2.00 against 8.00, n = 3)" and line.verdict == "supported"
    assert line.test.startswith("Test accuracy lost from mild delays to large delays: CA2FL's loss minus FedEcho's;")


def test_shortfall_is_the_same_question_as_greater_and_counts_once(toy: Path) -> None:
    put(toy, "FedEcho", [72.9, 73.0, 73.1])
    put(toy, "FedBuff", [70, 70, 70])
    put(toy, "FedAvg (sync)", [80, 79, 81])
    alone = ask(toy, GREATER)
    nearer = GREATER.replace("greater", "shortfall") + ', reference = "FedAvg (sync)"'
    both = [ENTRY.format(test=test, more='places = [["Dir(0.1)", "large"]]') for test in (GREATER, nearer)]
    first, second = ask_all(toy, both[0] + both[1].replace('"toy"\ntext', '"toy2"\ntext'))
    assert first == alone and second.p == first.p
    assert second.our_value == "+3.00 ± 0.25 points (7.00 against 10.00, n = 3)"


def test_clipping_below_a_limit_and_told_beside(toy: Path) -> None:
    put(toy, "FedEcho", [73, 73, 73], clipped=0.02)
    put(toy, "FedBuff", [70, 70, 70])
    below = 'kind = "below", study = "toy", a = "FedEcho", column = "clipped", limit = {}'
    assert ask(toy, below.format(5)).our_value == "2.00 ± 0.00 % (n = 3)"
    assert [ask(toy, below.format(limit)).verdict for limit in (5, 1)] == ["supported", "not supported"]
    assert ask(toy, GREATER + ', beside = "clipped"').note == "steps clipped with FedEcho: 2.00 %."
    put(toy, "FedEcho", [73, 73, 73])
    assert "the clip never binds" in ask(toy, GREATER + ', beside = "clipped"').note


def test_equal_to_the_last_digit(toy: Path) -> None:
    equal = GREATER.replace("greater", "equal")
    put(toy, "FedEcho", [73, 70, 71])
    put(toy, "FedBuff", [73, 70, 71])
    assert (ask(toy, equal).verdict, ask(toy, equal).our_value) == ("supported", "equal on 3 of 3 seeds")
    put(toy, "FedBuff", [73, 70, 71.0001])
    assert (ask(toy, equal).verdict, ask(toy, equal).our_value) == ("not supported", "equal on 2 of 3 seeds")


@pytest.mark.parametrize(("scores", "verdict"), [
    ([69.4, 69.5, 69.6], "supported"), ([68.4, 68.5, 68.6], "not supported"), ([69, 68, 70], "inconclusive"),
])  # fmt: skip
def test_at_least_forgives_a_deficit_within_the_margin(scores: list[float], verdict: str, toy: Path) -> None:
    put(toy, "FedEcho", scores)
    put(toy, "FedBuff", [70, 70, 70])
    assert ask(toy, GREATER.replace("greater", "at_least")).verdict == verdict


def test_cost_has_a_number_and_no_verdict(toy: Path) -> None:
    put(toy, "FedEcho", [73, 73, 73])
    line = ask(toy, 'kind = "cost", study = "toy", a = "FedEcho"')
    # 2, 3 and 4 seconds of server work in 20 rounds.
    assert (line.verdict, line.our_value) == ("inconclusive", "0.150 ± 0.124 s per round (n = 3)")


def test_a_column_that_no_run_has(toy: Path) -> None:
    put(toy, "FedEcho", [73, 73, 73])
    put(toy, "FedBuff", [70, 70, 70])
    line = ask(toy, GREATER + ', column = "straggler"')
    assert (line.verdict, line.note) == ("inconclusive", "no run has this column.")


def test_lines_of_theory_have_the_rule_of_their_notebooks(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = 'kind = "theory", a = "speed-up, quadratic"'
    assert ask(toy, test, "").verdict == "not run"
    question = Question("The noise floor", lambda: Finding("not supported", "slope in M −0.8", "too flat"))
    monkeypatch.setattr(claims, "questions", lambda profile: {"speed-up, quadratic": question})
    monkeypatch.setattr(evidence, "questions", claims.questions)
    line = ask(toy, test, "")
    assert (line.verdict, line.our_value, line.p, line.note) == ("not supported", "slope in M −0.8", None, "too flat.")
    assert line.test == "The noise floor: speed-up, quadratic."
    monkeypatch.undo()
    with pytest.raises(InputError, match="a = 'gravity'"):
        ask(toy, 'kind = "theory", a = "gravity"', "")


def test_untested_and_absent(toy: Path) -> None:
    assert ask(toy, 'kind = "untested"', "").verdict == "not run"
    absent = GREATER.replace('a = "FedEcho"', 'a = { paper = "stl10" }')
    assert ask(toy, absent).note == "the profile smoke has no such runs."


def told(p: float | None, name: str, lead: float = 3.0, p_small: float | None = None) -> Measured:
    return Measured(None if p else "not run", "", "", frozenset([name]), lead, 1.0, p, p_small or p)


def test_family_counts_what_is_not_run_and_the_same_question_once() -> None:
    found = [told(0.02, "a"), told(0.02, "a"), told(0.001, "b"), told(None, "c")]
    # Three questions: 0.001 * 3, then 0.02 * 2; the third stands in for 1.
    assert [(v, p and round(p, 6)) for v, p, _ in evidence.corrected(found)] == [
        ("supported", 0.04), ("supported", 0.04), ("supported", 0.003), ("not run", None),
    ]  # fmt: skip
    later = [*found[:3], told(0.9, "c")]
    assert [verdict for verdict, _, _ in evidence.corrected(later)][:3] == ["supported"] * 3
    assert stats.holm([0.02, 0.001, 1.0])[:2] == pytest.approx([0.04, 0.003])


def test_exclusions_are_corrected_too() -> None:
    found = [told(0.8, "a", lead=0.1, p_small=0.03), told(0.8, "b", lead=0.1, p_small=0.9)]
    assert [verdict for verdict, _, _ in evidence.corrected(found)] == ["inconclusive"] * 2
    assert evidence.corrected(found[:1])[0][0] == "not supported"


BAD = [
    (GREATER.replace("toy", "tou"), "study = 'tou'", "vision"),
    (GREATER.replace("FedBuff", "FedBluff"), "b = 'FedBluff'", "CA2FL"),
    (GREATER.replace("greater", "greatest"), "kind = 'greatest'", "shortfall"),
    (GREATER + ", limit = 3.0", "limit = 3.0", "study, a, b"),
    (GREATER + ', column = "loss"', "column = 'loss'", "straggler"),
    (GREATER + ", margin = 0", "margin = 0", "> 0"),
    (GREATER + ", more = 1", "more = 1", "column"),
    ('kind = "below", study = "toy", a = "FedEcho"', "limit = None", "limit"),
    ('kind = "gap", study = "toy", a = "FedEcho", b = "CA2FL", easier = "none"', "places = 'Dir(0.1), none'", "mild"),
    (GREATER.replace('"FedEcho"', '{ big = "FedEcho" }'), "a.big", "smoke"),
]


@pytest.mark.parametrize(("test", "field", "allowed"), BAD, ids=lambda value: str(value)[:30])
def test_what_a_test_is_refused_for(test: str, field: str, allowed: str, toy: Path) -> None:
    refused(ENTRY.format(test=test, more='places = [["Dir(0.1)", "large"]]'), field, allowed, toy)


@pytest.mark.parametrize(("more", "field", "allowed"), [
    ('places = [["Dir(0.2)", "large"]]', "places = 'Dir(0.2), large'", "Dir(0.1), mild"),
    ('places = ["Dir(0.1)"]', "places = 'Dir(0.1)'", "pairs"), ("", "places = ''", "at least one"),
    ('places = [["Dir(0.1)", "large"], ["Dir(0.1)", "large"]]', "id = 'toy'", "once"), ("why = 1", "why = 1", "note"),
])  # fmt: skip
def test_what_an_entry_is_refused_for(more: str, field: str, allowed: str, toy: Path) -> None:
    refused(ENTRY.format(test=GREATER, more=more), field, allowed, toy)


@pytest.mark.parametrize(("old", "new", "field", "allowed"), [
    ('"paper"', '"blog"', "source = 'blog'", "package"), ("10_table_vision", "99_lost", "notebook", "10_table"),
    ('text = "FedEcho wins."\n', "", "text = None", "missing"), ("test =", "tests =", "tests", "places"),
])  # fmt: skip
def test_other_fields(old: str, new: str, field: str, allowed: str, toy: Path) -> None:
    good = ENTRY.format(test=GREATER, more='places = [["Dir(0.1)", "large"]]')
    refused(good.replace(old, new), field, allowed, toy)


def refused(entry: str, field: str, allowed: str, folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        path = folder / "claims.toml"
        path.write_text(HEAD + entry, encoding="utf-8")
        ledger.write("smoke", path)
    message = str(caught.value)
    assert message.startswith("claims.toml, toy: ") and "\n" not in message
    assert field in message and allowed in message.split("is not usable: ")[1]
    assert [found.name for found in folder.iterdir()] == ["claims.toml"]  # nothing was written


@pytest.mark.parametrize("text", ["[[claim]", "", "claim = 3", "notebooks = []"])
def test_a_file_that_is_no_ledger(text: str, toy: Path) -> None:
    (toy / "claims.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        claims.read("smoke", toy / "claims.toml")
    assert "\n" not in str(caught.value)


def test_files_are_whole_repeatable_and_apart_for_each_profile(toy: Path) -> None:
    put(toy, "FedEcho", [72.9, 73.0, 73.1])
    put(toy, "FedBuff", [70, 70, 70])
    entry = ENTRY.format(
        test=GREATER, more='places = [["Dir(0.1)", "large"], ["Dir(0.1)", "mild"]]\nnote = "|U| is 9."'
    )
    source = toy / "ledger.toml"
    source.write_text(HEAD + entry, encoding="utf-8")
    lines = ledger.write("smoke", source)
    page, data = ledger.written("smoke")
    before = page.read_bytes(), data.read_bytes()
    assert json.loads(data.read_text()) == [vars(line) for line in lines] and len(lines) == 2
    assert {path.name for path in toy.iterdir()} == {"records", "ledger.toml", "claims-smoke.md", "claims-smoke.json"}
    text = page.read_text(encoding="utf-8")
    assert "| Claims of the paper | smoke | 1 | 0 | 0 | 1 |" in text and evidence.RULE in text
    assert "| FedEcho wins (Dir(0.1), large delays). | **supported** | not stated | +3.00 ± 0.25 points" in text
    assert "[10_table_vision](../notebooks/10_table_vision.ipynb)" in text and "its numbers are not results" in text
    ledger.write("smoke", source)
    assert (page.read_bytes(), data.read_bytes()) == before


def test_pipes_do_not_break_the_table() -> None:
    line = Line("i", "|U| wins.", "paper", "smoke", "t.", "not run", None, None, None, "10_table_vision", None, "")
    assert r"| \|U\| wins. | **not run** |" in ledger.markdown([line])
    assert "at paper scale" in ledger.markdown([line], [line]) and "at paper scale" not in ledger.markdown([line])


def test_check_rewrites_the_ledger_elsewhere(toy: Path, tmp_path_factory: pytest.TempPathFactory,
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    source = toy / "ledger.toml"
    source.write_text(HEAD + ENTRY.format(test='kind = "untested"', more=""), encoding="utf-8")
    written = ledger.write
    monkeypatch.setattr(ledger, "write", lambda profile: written(profile, source))
    ledger.write("laptop")
    elsewhere = tmp_path_factory.mktemp("rebuilt")
    monkeypatch.setenv("FEDECHO_PAPER", str(elsewhere))
    assert check.claims_differences(toy, "laptop") == [] and check.claims_differences(toy, "smoke") == []
    (toy / "claims.md").write_text("drifted")
    (toy / "claims.json").unlink()
    assert [line.split(":")[0] for line in check.claims_differences(toy, "laptop")] == ["claims.md", "claims.json"]


@pytest.mark.parametrize("name", profiles.WHOLE)
def test_every_claim_of_the_package_can_be_asked(name: str) -> None:
    found = claims.read(name)
    assert {claim.source for claim in found} == set(ledger._SOURCES) and len(found) > 40
    # At smoke scale vocabularies are others. Neither the pools of a laptop nor a block say anything about the paper's
    # own scale.
    block = len([claim for claim in found if claim.source.startswith("package on ")])
    assert len([claim for claim in found if claim.absent]) == {"paper": 4 + block, "smoke": 6}.get(name, 0)


def test_notebooks_are_those_of_the_studies() -> None:
    for claim in claims.read("laptop"):
        if claim.table in TABLES:
            assert TABLES[claim.table]("laptop").notebook == claim.notebook


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
