"""The pages: every link leads somewhere, nothing is asked of a network, nothing is obeyed that ought to be shown."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import nullcontext
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest

from fedecho.core import files, store
from fedecho.core.checks import InputError
from fedecho.report import manifest, notebooks
from fedecho.report.publish import pages, site, story
from fedecho.studies import TABLES, Study
from tests import toy

needs_sphinx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("sphinx", "furo", "myst_nb", "sphinx_design")),
    reason="the extra docs is not installed",
)


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    return toy.furnish(tmp_path / "paper")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The pages of the toy, made once."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("site") / "paper"
        patch.setenv("FEDECHO_PAPER", str(home))
        toy.furnish(home)
        yield site.build("laptop", planned()).parent


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


def planned(profile: str = "laptop") -> list[Study]:
    return [build(profile) for build in TABLES.values()]


def source(name: str, profile: str = "laptop") -> str:
    """Return what Sphinx would read."""
    return str(pages.sources(profile, planned(profile))[name])


@pytest.mark.slow
@needs_sphinx
def test_every_link_leads_to_a_place_and_nothing_is_fetched(root: Path) -> None:
    made = {path: Page(path) for path in root.rglob("*.html")}
    names = {str(path.relative_to(root)) for path in made}
    assert names >= {"index.html", "paper/claims.html", "paper/PROTOCOL.html", "paper/tables/toy.html", "search.html"}
    assert {f"paper/tables/{name}.html" for name in TABLES} < names
    for path, page in made.items():
        assert [tag for tag, _ in page.tags].count("h1") == 1, path.name
        assert all(found.get("alt") for tag, found in page.tags if tag == "img"), path.name
        assert not [load for load in page.loads if load.startswith(("http", "//"))], path.name
        for link in [*page.links, *page.loads]:
            if link.startswith(("https://", "data:")):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / unquote(name.partition("?")[0])).resolve() if name else path
            assert target.is_file() and target.is_relative_to(root), f"{path.name}: {link}"
            assert not anchor or anchor in made[target].ids, f"{path.name}: {link}"


@needs_sphinx
@pytest.mark.slow
def test_pages_show_what_others_would_obey(root: Path) -> None:
    table = (root / "paper" / "tables" / "toy.html").read_text(encoding="utf-8")
    assert "<h1>A toy &amp; more" in table and "&lt;b&gt;nothing&lt;/b&gt;" in table and "<b>nothing" not in table
    assert 'alt="Bars of &lt;i&gt;toys&lt;/i&gt;, 1_000 % of them."' in table and "0123456789ab" in table
    ledger = (root / "paper" / "claims.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(0)" in ledger and "<script>alert" not in ledger
    page = (root / "notebooks" / "10_table_vision.html").read_text(encoding="utf-8")
    assert 'alt="Figure: A toy notebook"' in page and "done &lt;3" in page and page.count('class="math') == 2
    assert 'href="02_tuning.html"' in page and "lost.ipynb" not in page and "tex-svg.js" in page


@needs_sphinx
@pytest.mark.slow
def test_the_site_is_light(root: Path) -> None:
    code = [path for path in root.rglob("*") if path.is_file() and "_static" in path.parts]
    assert sum(path.stat().st_size for path in code) < 4_000_000  # of MathJax one file, with its glyphs


@pytest.mark.slow
@needs_sphinx
def test_new_pages_replace_the_old_and_leave_those_of_other_profiles(paper: Path) -> None:
    (paper / "site" / "smoke" / "_static").mkdir(parents=True)
    (paper / "site" / "smoke" / "index.html").write_text("smoke")
    (paper / "site" / "stale.html").write_text("old")
    front = site.build()
    assert not (front.parent / "stale.html").exists() and (front.parent / "smoke" / "index.html").is_file()
    before = front.read_bytes()
    (paper / "PROTOCOL.md").write_text("# Protocol\n\n{nothing}`x`\n")  # Sphinx warns of it
    with pytest.raises(InputError, match="site = .*PROTOCOL.md.*nothing"):
        site.build()
    assert front.read_bytes() == before and not list(paper.glob("*.partial"))


def test_what_a_stopped_call_left_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sphinx would write the pages that are missing, and an index of these alone."""
    page, seen, ends = tmp_path / "html" / "a.html", [], [-15, 0, 0, 1, 0]

    def sphinx(*command: Any, **options: Any) -> Any:
        seen.append(page.is_file())
        page.parent.mkdir(exist_ok=True)
        page.touch()
        return SimpleNamespace(returncode=ends[len(seen) - 1], stderr="WARNING: half", stdout="")

    monkeypatch.setattr(site, "subprocess", SimpleNamespace(run=sphinx))
    for end in ends:
        with nullcontext() if end == 0 else pytest.raises(InputError, match="WARNING: half"):
            site._sphinx(tmp_path)
    assert seen == [False, False, True, True, False]


def test_a_page_for_a_table(paper: Path) -> None:
    text = source("paper/tables/toy.md")
    assert text.startswith("# A toy & more\n") and "make tables ONLY=10_table_vision" in text
    assert text.index("toy_bars.png") < text.index("method 1") < text.index(r"50 % of \<b\>nothing\</b\>")
    assert text.index("A note.") < text.index("{dropdown} The full table") < text.index("method 49")
    assert "[Details](../PROTOCOL.md#toy)" in text and "Details: " not in text.partition("{dropdown} The full")[0]
    assert "[records](#records-toy)" in text and "{dropdown} 2 records, set 0123456789ab" in text
    assert "@misc{fedecho-toy" in text and "[notebook](../../notebooks/10_table_vision.ipynb)" in text
    (paper / "PROTOCOL.md").unlink()
    assert "PROTOCOL" not in source("paper/tables/toy.md").replace("Details: PROTOCOL.md.", "")


def test_front_page_without_findings(paper: Path) -> None:
    text = source("index.md")
    assert (
        "toy_bars.png" in text
        and "What came out" not in text
        and "{bdg-ref-primary-line}`1 supported <claims>`" in text
    )
    assert "its numbers are not results" not in text and "its numbers are not results" in source("index.md", "smoke")
    assert text.index(":caption: Tables") < text.index("\npaper/tables/toy\n") < text.index(":caption: Notebooks")


def test_front_page_of_the_committed_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDECHO_PAPER", raising=False)
    text = source("index.md")
    assert text.count("[The table]") == 6 and f"{pages.HEADLINE}.png" in text
    found = manifest.read_all(files.folder_of("tables", "laptop"))
    findings = story.findings("laptop", [one.name for one in found])
    missing = {one.name for one in found} - {*findings}
    assert not missing, f"write their sentence in paper/{story.TEMPLATE}"
    assert all(text.endswith(".") and "\n" not in text for text in findings.values())
    assert set(pages.HEADLINES) <= {*findings} and len(pages.HEADLINES) == 5


def test_every_table_has_its_place_in_the_story() -> None:
    told = story.chapters(planned())
    assert [*told] == [*story.CHAPTERS] and sum(map(len, told.values())) == len(TABLES)
    assert [one.name for one in told["Tables"]][0] == "vision"
    assert {"tuning", "cold_costs", "language_tuning"} <= {one.name for one in told[story.LAST]}


def test_a_study_without_a_table_is_not_run(paper: Path) -> None:
    (paper / "tables" / "other.json").unlink()
    found = pages.studies([toy.TOY], planned("smoke"), "smoke")
    listed = {study.notebook for study in found}
    assert listed >= set(notebooks.catalogue()) - set(pages.WITHOUT_TABLE)
    assert {study.name for study in found} >= set(TABLES) and not listed & set(pages.WITHOUT_TABLE)
    assert len({study.name for study in found}) == len(found)
    absent = next(study for study in found if study.notebook == "02_tuning")
    assert absent.manifest is None and absent.command == "make tables ONLY=02_tuning PROFILE=smoke"
    assert "**not run**: this study has no table yet." in source("paper/tables/tuning.md")


def test_without_claims(paper: Path) -> None:
    for name in ("claims.json", "claims.md"):
        (paper / name).unlink()
    assert "No claims yet." in source("paper/claims.md")


@pytest.mark.parametrize(("claims", "field"), [
    ([{**toy.CLAIMS[0], "verdict": "proven"}], "verdict = 'proven'"), ({}, "claims"),
    ([{**toy.CLAIMS[0], "verdict": None}], "verdict = None"), ([3], "claim = 3"),
    ([{name: value for name, value in toy.CLAIMS[0].items() if name != "p"}], "p = None"), ("", "claims"),
])  # fmt: skip
def test_claims_that_cannot_be_used(claims: Any, field: str, paper: Path) -> None:
    (paper / "claims.json").write_text(json.dumps(claims) if claims != "" else "{")
    store.seal(paper / "claims.json")
    before = sorted(paper.iterdir())
    with pytest.raises(InputError) as caught:
        site.build()
    assert field in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(paper.iterdir()) == before


def test_a_missing_file_is_named(paper: Path) -> None:
    (paper / "figures" / "toy_bars.pdf").unlink()
    with pytest.raises(InputError, match="toy_bars.pdf"):
        site.build()
    assert not (paper / "site").exists()


def test_notebooks_are_taken_as_they_were_executed(paper: Path) -> None:
    node = json.loads(source("notebooks/10_table_vision.ipynb"))
    assert node["cells"][1]["outputs"] == toy.executed()["cells"][1]["outputs"]
    assert "Not executed yet" in source("notebooks/02_tuning.ipynb")
    shown = {"text/x-python": "x = 1", "text/html": "<pre>x</pre>"}
    pages.readable(shown)
    assert shown == {"text/markdown": "```python\nx = 1\n```"}


def test_links_that_lead_nowhere_are_words(paper: Path) -> None:
    text = source("paper/claims.md") + source("notebooks/10_table_vision.ipynb")
    assert "[tuning](02_tuning.ipynb)" in text and " and lost." in text and "lost.ipynb" not in text
    assert "[table](tables/toy.md)" in source("paper/PROTOCOL.md")


def test_plain_text_is_shown_as_it_stands() -> None:
    assert pages.plain("a_b <i> $x$ |y| [z](q)") == r"a\_b \<i\> \$x\$ \|y\| \[z\](q)"


def test_a_link_that_leads_nowhere_becomes_its_words_and_a_notebook_stays_one() -> None:
    cells = {"outputs": [{"text": "see [it](../none.md), [that](a.ipynb)"}]}
    (made,) = pages._linked({"notebooks/a.ipynb": json.dumps(cells, indent=1)}).values()
    assert json.loads(made) == {"outputs": [{"text": "see it, [that](a.ipynb)"}]}
