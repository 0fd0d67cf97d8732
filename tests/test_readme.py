"""The numbers of README and RESULTS are those of the tables, and none of their sentences outlives what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fedecho.core import files, store
from fedecho.core.checks import InputError
from fedecho.report import manifest
from fedecho.report.publish import readme
from fedecho.studies import check

TABLE = """\
setting,delay,method,mean,half,n,diverged,runs,difference,difference_half
Dir,large,FedEcho,80.25,1,5,0,5,,
Dir,large,FedBuff,79.0,1,5,0,5,1.25,1.5
Dir,large,CA2FL,82.0,1,4,1,5,-1.75,0.5
Dir,large,"FedEcho, another teacher",83.0,1,5,0,5,-2.80,0.5
Dir,mild,FedBuff,78.0,1,5,0,5,2.64,0.5
"""
CLAIMS = [
    {
        "role": "primary",
        "family": "",
        "id": "one",
        "n": 10,
        "verdict": "supported",
        "our_value": "+1.81 ± 0.36 points (84 against 82)",
    },
    {"role": "primary", "family": "", "id": "two", "n": 10, "verdict": "supported", "our_value": "−0.19 ± 0.17 points"},
    {"role": "check", "id": "three", "n": 3, "family": ""},
]
SETTINGS = {"0", "0.1", "0.3", "0.5", "1", "2", "2.5", "3", "4", "5", "8", "10", "16", "20", "25", "50", "64"} | {
    "75", "80", "95", "100", "150", "200", "300", "1,000", "2,000", "10,000", "32,768", "1.1", "1.5", "1/M", "1/sqrt(TM"
} | {"1/2", "1/4", "3/4"}  # fmt: skip
"""Numbers of README's results that are not results: alphas and tails, sizes, exponents, numbers of clients, rounds."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "claims.json").write_text(json.dumps(CLAIMS))
    store.seal(tmp_path / "claims.json")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "toy.csv").write_text(TABLE)
    return tmp_path / "tables"


@pytest.mark.parametrize(
    "template, text",
    [
        ("{{ at('toy', 'FedEcho', ('Dir', 'large'))|d1 }}", "80.2"),
        ("{{ at('toy', 'CA2FL', ('Dir', 'large'), 'difference')|d2 }}", "−1.75"),
        ("{{ span(each('toy', ['FedBuff'], [('Dir', 'mild'), ('Dir', 'large')], 'difference')) }}", "1.2 to 2.6"),
        ("{{ span([1.25, 1.26], 0) }}", "1"),
        ("{{ lead('toy', 'FedBuff', ('Dir', 'large'))[0]|d2 }}", "−0.25"),
        ("{% for place in places('toy') %}{{ place|join(' ') }};{% endfor %}", "Dir large;Dir mild;"),
        ("{{ below('toy', ('Dir', 'large'), 'difference', 1.25)|join('; ') }}", "FedEcho, another teacher; CA2FL"),
        ("{{ best('toy', ('Dir', 'large')) }}", "FedEcho"),  # CA2FL has a run that diverged
        ("{{ pick('toy', 'half', method='FedBuff', delay='mild')|d0 }}", "1"),
        ("{{ words[at('toy', 'CA2FL', ('Dir', 'large'), 'n')|int] }}", "four"),
        ("{% for line in claims('primary') %}{{ line.n }}{% endfor %}", "1010"),
        ("{{ claim('one').our_value|size }}, {{ claim('two').our_value|size }}", "1.81 ± 0.36, 0.19 ± 0.17"),
        ("{{ verdict('one', 'two') }}", "supported"),
        ("x{{ fact(1 < 2, 'as ever') }}", "x"),
    ],
)
def test_a_template_asks_tables(template: str, text: str, folder: Path) -> None:
    assert readme.render(template, folder) == text


@pytest.mark.parametrize(
    "template, message",
    [
        ("{{ at('none', 'FedEcho', ('Dir', 'large')) }}", "table = 'none' is not usable: there is no such file"),
        ("{{ at('toy', 'FedAC', ('Dir', 'large')) }}", "'FedAC'.*name one cell that it has"),
        ("{{ pick('toy', 'mean', method='FedBuff') }}", "name one cell that it has"),
        ("{{ claim('three').n }}", "claim = 'three' is not usable: there is no primary claim of this name"),
        ("{{ fact(2 < 1, 'two is less') }}", "README = 'two is less' is not usable: the tables say otherwise"),
    ],
)
def test_a_template_that_asks_wrongly_or_is_untrue_says_so(template: str, message: str, folder: Path) -> None:
    with pytest.raises(InputError, match=message):
        readme.render(template, folder)


@pytest.mark.parametrize("page", readme.PAGES.values(), ids=lambda page: page.name)
def test_a_page_is_what_its_template_makes_of_the_committed_tables(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == readme.pages()[page], f"`fedecho tables` writes {page.name}"


def test_check_notices_a_page_that_was_written_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readme, "PAGES", {readme.HOME / "README.md.j2": tmp_path / "README.md"})
    (tmp_path / "README.md").write_text("FedEcho is best.\n")
    assert check.page_differences(files.REPOSITORY / "paper", "laptop") == [
        "README.md: differs from what its template, paper/README.md.j2, makes of the tables"
    ]
    assert check.page_differences(tmp_path, "laptop") == []  # a folder of other tables has no README


def results(template: Path) -> str:
    """What a template says of results: not its commands, its paths, nor what it asks of the tables."""
    whole = template.read_text(encoding="utf-8")
    ends = {"README.md.j2": ("## What came out", "## One run"), "RESULTS.md.j2": ("# Results", "## Claims")}
    start, end = ends.get(template.name, ("", None))
    prose = whole[whole.index(start) : whole.index(end) if end else None]
    names = r"FADAS-\w+|CIFAR-\d+|SST-2|float16|arXiv [\d.]+|ResNet-18|30 to 33"
    for asked in (r"{{.*?}}", r"{%.*?%}", r"{#.*?#}", r"\]\([^)]*\)", r"<!--.*?-->", r"(?m)^\d\. ", names):
        prose = re.sub(asked, "", prose, flags=re.DOTALL)
    return prose


@pytest.mark.parametrize("template", sorted(readme.HOME.glob("*.md.j2")), ids=lambda template: template.name)
def test_no_number_of_the_results_stands_in_a_template_itself(template: Path) -> None:
    numbers = set(re.findall(r"\d[\d,./]*(?:sqrt\(TM|M\b)?", results(template)))
    assert {number.rstrip(",./") for number in numbers} <= SETTINGS


def test_the_first_page_has_at_most_900_words() -> None:
    page = re.sub(r"<!--.*?-->", "", (files.REPOSITORY / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(page.split()) <= 900


def test_a_table_elsewhere_leaves_the_readme_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    assert readme.write("laptop") == [] == readme.write("smoke")


def test_a_figure_has_its_caption_below(folder: Path) -> None:
    picture = manifest.Picture("toy_bars", "Bars of a toy.")
    known = manifest.Manifest("toy", "A toy", "", "laptop", "10", "make", "0" * 12, (), (), ("toy.md",), (picture,))
    manifest.write(known, folder)
    text = "![Bars](figures/toy_bars.png)\n\n*Bars of a toy.*"
    assert readme.render("{{ figure('toy_bars', 'Bars') }}", folder) == text
    with pytest.raises(InputError, match="figure = 'toy_lines'"):
        readme.render("{{ figure('toy_lines', 'Lines') }}", folder)
