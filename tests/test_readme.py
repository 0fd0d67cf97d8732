"""README's numbers are those of the tables, and none of its sentences outlives what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fedecho.core import files
from fedecho.core.checks import InputError
from fedecho.report.publish import readme
from fedecho.studies import check

TABLE = """\
setting,delay,method,mean,half,n,diverged,runs,difference,difference_half
Dir,large,FedEcho,80.25,1,5,0,5,,
Dir,large,FedBuff,79.0,1,5,0,5,1.25,1.5
Dir,large,CA2FL,82.0,1,4,1,5,-1.75,0.5
Dir,mild,FedBuff,78.0,1,5,0,5,2.64,0.5
"""
SETTINGS = {"0", "0.1", "0.3", "1", "2", "3", "4", "5", "10", "16", "20", "25", "50", "64", "95", "100", "150"} | {
    "200", "300", "1,000", "2,000", "10,000", "32,768", "1.1", "1.5", "1/M", "1/sqrt(TM", "1/2", "1/4", "3/4"
}  # fmt: skip
"""Numbers of README's results that are not results: alphas and tails, sizes, exponents, numbers of clients, rounds."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "claims.json").write_text('[{"role": "primary", "n": 10}, {"role": "check", "n": 3}]')
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
        ("{{ best('toy', ('Dir', 'large')) }}", "FedEcho"),  # CA2FL has a run that diverged
        ("{{ pick('toy', 'half', method='FedBuff', delay='mild')|d0 }}", "1"),
        ("{{ words[at('toy', 'CA2FL', ('Dir', 'large'), 'n')|int] }}", "four"),
        ("{% for line in claims('primary') %}{{ line.n }}{% endfor %}", "10"),
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
        ("{{ fact(2 < 1, 'two is less') }}", "README = 'two is less' is not usable: the tables say otherwise"),
    ],
)
def test_a_template_that_asks_wrongly_or_is_untrue_says_so(template: str, message: str, folder: Path) -> None:
    with pytest.raises(InputError, match=message):
        readme.render(template, folder)


def test_readme_is_what_its_template_makes_of_the_committed_tables() -> None:
    assert readme.README.read_text(encoding="utf-8") == readme.readme(), "`fedecho tables` writes README.md"


def test_check_notices_a_readme_that_was_written_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    readme.README.write_text("FedEcho is best.\n")
    assert check.readme_differences(files.REPOSITORY / "paper", "laptop") == [
        "README.md: differs from what paper/README.md.j2 makes of the tables"
    ]
    assert check.readme_differences(tmp_path, "laptop") == []  # a folder of other tables has no README


def test_no_number_of_the_results_stands_in_the_template_itself() -> None:
    whole = readme.TEMPLATE.read_text(encoding="utf-8")
    others = ("abstract", "findings", "results", "theory")
    included = [readme.TEMPLATE.with_name(f"{name}.md.j2").read_text(encoding="utf-8") for name in others]
    prose = "\n".join([whole[whole.index("## The table") : whole.index("## Claims")], *included])
    for asked in (
        r"{{.*?}}",
        r"{%.*?%}",
        r"\]\([^)]*\)",
        r"<!--.*?-->",
        r"{#.*?#}",
        r"FADAS-\w+|CIFAR-\d+|SST-2|float16|arXiv [\d.]+|ResNet-18|30 to 33",
    ):
        prose = re.sub(asked, "", prose, flags=re.DOTALL)
    numbers = set(re.findall(r"\d[\d,./]*(?:sqrt\(TM|M\b)?", prose))
    assert {number.rstrip(",./") for number in numbers} <= SETTINGS


def test_a_table_elsewhere_leaves_the_readme_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    assert readme.write("laptop") == [] == readme.write("smoke")
