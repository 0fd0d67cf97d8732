"""The pages as a reader meets them: opened as files without a network, followed link by link, wide and on a phone, in
light and in dark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

import pytest

from fedecho.core import files
from fedecho.report.publish import site
from fedecho.studies import profiles
from tests import toy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
WIDE, PHONE = 1280, 400
COUNTED = ("moderate", "serious", "critical")
SHOWN = ("index", "paper/tables/vision", "paper/claims", "paper/PROTOCOL", "notebooks/01_algorithm_step_by_step", "api",
         "api/fedecho.learning.distill", "search")  # fmt: skip
"""A page of each kind."""
LOOK = """async () => {
  const images = [...document.images];
  images.forEach(image => { image.loading = "eager"; });
  await Promise.all(images.map(image => image.decode().catch(() => null)));
  return {
    links: [...document.querySelectorAll("a[href]")].map(a => a.href),
    ids: [...document.querySelectorAll("[id]")].map(e => e.id),
    broken: images.filter(image => !image.naturalWidth || !image.alt).map(image => image.src.slice(0, 200)),
    raw: [...document.querySelectorAll("mjx-merror, [data-mml-node=merror]")].map(e => e.textContent),
  };
}"""
TOO_WIDE = "() => document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    pytest.importorskip("furo")
    with pytest.MonkeyPatch.context() as patch:
        paper = tmp_path_factory.mktemp("site") / "paper"
        patch.setenv("FEDECHO_PAPER", str(paper))
        toy.furnish(paper)
        yield site.build()


def front_of(profile: str) -> Path:
    """Return the front page of the pages built here, else skip."""
    front = files.REPOSITORY / "paper" / "site" / ("" if profile == "laptop" else profile) / "index.html"
    if not front.is_file():
        pytest.skip(f"paper/site has no pages of the profile {profile}; `make html PROFILE={profile}` makes them")
    return front


class Reader:
    """A page of a browser without a network that notes whatever goes wrong."""

    def __init__(self, browser: Browser, width: int = WIDE, scheme: Literal["light", "dark"] = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, color_scheme=scheme)
        self.troubles: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("console", lambda said: self._heard(said.type, said.text))
        self.page.on("pageerror", lambda error: self.troubles.append(f"script: {error}"))
        self.page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url[:200]}"))

    def _asked(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.troubles.append(f"asked for {url}")

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.troubles.append(f"console: {text}")


def file_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def crawl(reader: Reader, front: Path) -> list[Path]:
    """Open every page that the front page leads to, at both widths, note what is broken, and return the pages."""
    ids: dict[Path, list[str]] = {}
    wanted: list[tuple[Path, str]] = []
    queue = [front]
    while queue:
        path = queue.pop()
        if path in ids:
            continue
        reader.page.goto(path.as_uri())
        seen = reader.page.evaluate(LOOK)
        ids[path] = seen["ids"]
        reader.troubles += [f"{path.name}: image {source}" for source in seen["broken"]]
        reader.troubles += [f"{path.name}: formula {text}" for text in seen["raw"]]
        for width in (PHONE, WIDE):
            reader.page.set_viewport_size({"width": width, "height": 900})
            beyond = reader.page.evaluate(TOO_WIDE)
            reader.troubles += [f"{path.name}: {beyond} pixels too wide at {width}"] * (beyond > 0)
        local = [url for url in seen["links"] if url.startswith("file:")]
        wanted += [(path, url) for url in local]
        queue += [file_of(url) for url in local if file_of(url).suffix == ".html" and file_of(url).is_file()]
    reader.troubles += [f"{path.name}: {url}" for path, url in wanted if not _there(url, ids)]
    reader.context.close()
    return sorted(ids)


def _there(url: str, ids: dict[Path, list[str]]) -> bool:
    place, target = unquote(urlsplit(url).fragment), file_of(url)
    return target.is_file() and (not place or target not in ids or place in ids[target])


def violations(page: Page) -> list[str]:
    """Return what axe-core finds that is serious, as lines."""
    pytest.importorskip("axe_playwright_python")
    page.add_script_tag(content=(resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    # What scrolls is known once fonts are there and the page is laid out with them.
    page.evaluate("() => document.fonts.ready.then(() => new Promise(done => requestAnimationFrame(done)))")
    found: dict[str, Any] = page.evaluate("() => axe.run({resultTypes: ['violations']})")
    grave = [rule for rule in found["violations"] if rule["impact"] in COUNTED]
    return [f"{rule['id']}: {json.dumps(node['html'])[:160]}" for rule in grave for node in rule["nodes"]]


def test_no_dead_link_no_error_no_request(chromium: Browser, built: Path) -> None:
    reader = Reader(chromium)
    names = {page.stem for page in crawl(reader, built)}
    assert {"index", "claims", "PROTOCOL", "toy", "other", "10_table_vision"} <= names
    assert reader.troubles == []


def test_the_crawl_notices_what_is_broken(chromium: Browser, tmp_path: Path) -> None:
    front = tmp_path / "index.html"
    front.write_text(
        '<a href="lost.html">x</a><a href="#lost">x</a><a href="https://example.org">elsewhere</a>'
        '<img src="lost.png" alt="x"><script src="http://localhost:1/x.js"></script>'
        '<script>throw Error("oops")</script><mjx-merror>arg max</mjx-merror>'
        '<p style="width: 1000px">wide on a phone</p>'
    )
    reader = Reader(chromium)
    assert crawl(reader, front) == [front]
    troubles = "\n".join(reader.troubles)
    for trouble in ("index.html: file://", "#lost", "image file://", "asked for http://localhost", "oops", "arg max"):
        assert trouble in troubles
    assert "too wide at 400" in troubles and "too wide at 1280" not in troubles and "example.org" not in troubles


@pytest.mark.parametrize("profile", profiles.WHOLE)
def test_the_pages_built_here(chromium: Browser, profile: str) -> None:
    front, reader = front_of(profile), Reader(chromium)
    assert front in crawl(reader, front)
    assert reader.troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_everyone_can_read_them(chromium: Browser, scheme: Literal["light", "dark"], width: int) -> None:
    front, reader, found = front_of("laptop"), Reader(chromium, width, scheme), []
    for name in SHOWN:
        page = front.parent / f"{name}.html"
        if page.is_file():
            reader.page.goto(page.as_uri())
            found += [f"{name}: {line}" for line in violations(reader.page)]
    reader.context.close()
    assert found == []


def test_axe_notices_grey_on_grey(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "grey.html").write_text(
        '<html lang="en"><title>x</title><main><h1>x</h1><p style="color: #aaa">pale</p></main></html>'
    )
    reader = Reader(chromium)
    reader.page.goto((tmp_path / "grey.html").as_uri())
    assert [line.partition(":")[0] for line in violations(reader.page)] == ["color-contrast"]
    reader.context.close()


def test_search_finds_a_table(chromium: Browser, built: Path) -> None:
    assert "toy.html" in sought(chromium, built, "nothing")


def test_search_finds_clipping(chromium: Browser) -> None:
    assert "ablation_nu.html" in sought(chromium, front_of("laptop"), "clipping")


def sought(browser: Browser, front: Path, word: str) -> str:
    """Return where a search leads, as a reader of the front page makes it."""
    reader = Reader(browser)
    reader.page.goto(front.as_uri())
    reader.page.locator("input.sidebar-search").fill(word)
    reader.page.keyboard.press("Enter")
    links = reader.page.locator("#search-results ul.search li a")
    reader.page.get_by_text("Search finished").wait_for(timeout=60_000)  # results come one after the other
    found = " ".join(str(link.get_attribute("href")) for link in links.all())
    assert reader.troubles == []
    reader.context.close()
    return found


def test_from_a_claim_to_its_table_and_notebook(chromium: Browser, built: Path) -> None:
    reader = Reader(chromium)
    page = reader.page
    page.goto((built.parent / "paper" / "claims.html").as_uri())
    rows = page.locator("table.claims tbody tr")
    assert rows.first.locator(".verdict").inner_text().strip() == "supported"
    assert "Toys <script>alert(0)</script> win" in rows.first.inner_text()
    page.get_by_label("Verdict").select_option("inconclusive")
    assert [row.is_visible() for row in rows.all()] == [False, False, True, False, False]
    assert page.locator("form.filters output").inner_text() == "1 of 5"
    page.get_by_label("Verdict").select_option("supported")
    rows.first.locator("summary").click()
    rows.first.get_by_role("link", name="table").click()
    assert "A toy & more" in page.locator("h1").inner_text()
    page.get_by_role("link", name="The executed notebook").click()
    assert "A toy notebook" in page.locator("h1").inner_text()
    page.locator("mjx-container").first.wait_for()
    assert page.locator("mjx-container").count() == 2
    page.locator("a.sidebar-brand").click()
    assert file_of(page.url) == built
    assert reader.troubles == []
    reader.context.close()


def test_with_the_keyboard_alone(chromium: Browser, built: Path) -> None:
    reader = Reader(chromium, PHONE)
    page = reader.page
    page.goto((built.parent / "paper" / "tables" / "toy.html").as_uri())
    assert page.locator("aside").count() == page.locator("aside[aria-label]").count() == 2
    page.keyboard.press("Tab")
    assert "skip-to-content" in page.evaluate("document.activeElement.className")
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details table").first.is_visible()
    reader.context.close()
