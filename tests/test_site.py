"""The pages: every link leads somewhere, nothing is asked of a network, nothing is obeyed that ought to be shown."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from fedecho.cli.publish import planned
from fedecho.core import sums
from fedecho.core.checks import InputError
from fedecho.report import notebooks
from fedecho.report.publish import pages, site
from fedecho.studies import TABLES
from tests import toy


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    (tmp_path / "paper").mkdir()
    return toy.furnish(tmp_path / "paper")


class Page(HTMLParser):
    """What a page links to, what it loads, and the places inside it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if found.get("href"):
            (self.links if tag == "a" else self.loads).append(str(found["href"]))
        if found.get("src"):
            self.loads.append(str(found["src"]))


def test_every_link_leads_to_a_place(paper: Path) -> None:
    root = site.build().parent
    made = {path: Page(path) for path in root.rglob("*.html")}
    assert len(made) == 4  # front page, the executed notebook, the ledger, the protocol
    for path, page in made.items():
        assert len(set(page.ids)) == len(page.ids)
        for link in [*page.links, *page.loads]:
            if link.startswith(("https://", "data:")):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / unquote(name)).resolve() if name else path
            assert target.is_file() and target.is_relative_to(root), f"{path.name}: {link}"
            assert not anchor or anchor in made[target].ids, f"{path.name}: {link}"


def test_nothing_is_fetched_and_nothing_runs(paper: Path) -> None:
    for path in site.build().parent.rglob("*.html"):
        page = Page(path)
        assert not [load for load in page.loads if load.startswith(("http", "//"))]
        assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object")]
        assert all(found.get("alt") for tag, found in page.tags if tag == "img")
        assert [tag for tag, _ in page.tags].count("h1") == 1
    css = (paper / "site" / "site.css").read_text()
    assert "http" not in css and "@import" not in css and "url(" not in css


def test_front_page(paper: Path) -> None:
    front = site.build()
    text = front.read_text(encoding="utf-8")
    for verdict in site.VERDICTS:
        assert f"</svg>{verdict}</span>" in text  # in words, beside the shape
    assert "given a toy" in text and "win (here)" in text and "0.5, n = 7" in text and "all seeds: +1.00" in text
    # What is not tested is folded, below what is.
    assert "1 exploratory estimates" in text and text.index("<details>") < text.index("alert(4)") > text.index(
        "alert(3)"
    )
    assert "A toy &amp; more" in text and "&lt;b&gt;nothing&lt;/b&gt;" in text and "<b>nothing" not in text
    assert "&lt;script&gt;alert(0)" in text and 'alt="Bars of &lt;i&gt;toys&lt;/i&gt;, 1_000 % of them."' in text
    assert "0123456789ab" in text and "make tables ONLY=10_table_vision" in text and "@misc{fedecho-toy" in text
    assert '<a href="notebooks/10_table_vision.html">Executed notebook</a>' in text
    assert "The full table, 50 rows" in text and text.count("A toy &amp; more</h2>") == 1
    assert text.index('id="other"') < text.index('id="toy"')  # in the order of the notebooks


def test_a_study_without_a_table_is_not_run(paper: Path) -> None:
    (paper / "tables" / "other.json").unlink()
    found = site.studies([toy.TOY], planned("smoke"), "smoke", {})
    listed = {study.notebook for study in found}
    assert listed >= set(notebooks.catalogue()) - set(site.WITHOUT_TABLE)
    assert {study.name for study in found} >= set(TABLES) and not listed & set(site.WITHOUT_TABLE)
    assert len({study.name for study in found}) == len(found)
    absent = next(study for study in found if study.notebook == "02_tuning")
    assert absent.manifest is None and absent.command == "make tables ONLY=02_tuning PROFILE=smoke"
    assert "<strong>not run</strong>: this study has no table yet." in site.build(
        "laptop", planned("laptop")
    ).read_text(encoding="utf-8")


def test_without_claims(paper: Path) -> None:
    for name in ("claims.json", "claims.md"):
        (paper / name).unlink()
    assert "No claims yet." in site.build().read_text(encoding="utf-8")
    assert not (paper / "site" / "claims.html").exists()


@pytest.mark.parametrize(("claims", "field"), [
    ([{**toy.CLAIMS[0], "verdict": "proven"}], "verdict = 'proven'"), ({}, "claims"),
    ([{**toy.CLAIMS[0], "verdict": None}], "verdict = None"), ([3], "claim = 3"),
    ([{name: value for name, value in toy.CLAIMS[0].items() if name != "p"}], "p = None"), ("", "claims"),
])  # fmt: skip
def test_claims_that_cannot_be_used(claims: Any, field: str, paper: Path) -> None:
    (paper / "claims.json").write_text(json.dumps(claims) if claims != "" else "{")
    sums.seal(paper / "claims.json")
    before = sorted(paper.iterdir())
    with pytest.raises(InputError) as caught:
        site.build()
    assert field in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(paper.iterdir()) == before


def test_a_missing_file_leaves_the_old_pages(paper: Path) -> None:
    first = site.build().read_bytes()
    (paper / "figures" / "toy_bars.pdf").unlink()
    with pytest.raises(InputError, match="toy_bars.pdf"):
        site.build()
    assert (paper / "site" / "index.html").read_bytes() == first
    assert not list(paper.glob("*.partial"))


def test_new_pages_replace_the_old_and_leave_those_of_other_profiles(paper: Path) -> None:
    first = site.build()
    text = first.read_bytes()
    (first.parent / "stale.html").write_text("old")
    (first.parent / "smoke").mkdir()
    (first.parent / "smoke" / "index.html").write_text("smoke")
    assert site.build().read_bytes() == text
    assert not (first.parent / "stale.html").exists() and (first.parent / "smoke" / "index.html").is_file()
    assert site.build("smoke") == first.parent / "smoke" / "index.html"
    assert "its numbers are not results" in (first.parent / "smoke" / "index.html").read_text()


def test_notebook_pages_show_formulas_without_scripts(paper: Path) -> None:
    site.build()
    text = (paper / "site" / "notebooks" / "10_table_vision.html").read_text(encoding="utf-8")
    assert text.count("<math ") == 2 and "<mfrac>" in text and "$" not in text.replace("$\\", "")
    assert 'alt="Figure: A toy notebook"' in text and "done &lt;3" in text
    assert 'href="../notebooks/02_tuning.ipynb"' in text and "lost.ipynb" not in text
    assert '<div class="scroll"' in text


def test_ledger_page(paper: Path) -> None:
    site.build()
    text = (paper / "site" / "claims.html").read_text(encoding="utf-8")
    assert 'href="index.html#toy"' in text and 'href="notebooks/10_table_vision.html"' in text
    assert "nowhere" in text and "lost.md" not in text and "&lt;b&gt;win" in text


def test_captions_lead_to_how_a_table_is_made(paper: Path) -> None:
    text = site.build().read_text(encoding="utf-8")
    assert '<a href="protocol.html#toy">Details</a>' in text and "Details: " not in text and "Records: 2." in text
    page = (paper / "site" / "protocol.html").read_text(encoding="utf-8")
    assert "<title>Protocol · fedecho</title>" in page and '<h2 id="toy">toy</h2>' in page and 'href="#toy"' in page
    (paper / "PROTOCOL.md").unlink()
    assert "protocol.html" not in site.build().read_text(encoding="utf-8")


def test_formulas_that_are_not_understood() -> None:
    assert 'alttext="a &lt; b"' in pages.formula("a < b")
    with pytest.raises(InputError, match=r"formula = '.*left.*' is not usable: latex2mathml"):
        pages.formula(r"\left( x")
