"""The pages as a reader meets them: opened as files without a network, followed link by link, wide and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from fedecho.core import files
from fedecho.report.publish import site
from fedecho.studies import profiles
from tests import toy

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
LOOK = """async () => {
  const images = [...document.images];
  images.forEach(image => { image.loading = "eager"; });
  await Promise.all(images.map(image => image.decode().catch(() => null)));
  return {
    links: [...document.querySelectorAll("a[href]")].map(a => a.href),
    ids: [...document.querySelectorAll("[id]")].map(e => e.id),
    broken: images.filter(image => !image.naturalWidth || !image.alt).map(image => image.src.slice(0, 200)),
    wide: document.documentElement.scrollWidth - innerWidth,
  };
}"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        paper = tmp_path_factory.mktemp("site") / "paper"
        patch.setenv("FEDECHO_PAPER", str(paper))
        toy.furnish(paper)
        yield site.build()


class Reader:
    """A page of a browser without a network that notes whatever goes wrong."""

    def __init__(self, browser: Browser, width: int = 1280) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
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
    """Open every page that the front page leads to, note dead links and places, and return the pages."""
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
        reader.troubles += [f"{path.name}: {seen['wide']} pixels too wide"] * (seen["wide"] > 0)
        local = [url for url in seen["links"] if url.startswith("file:")]
        wanted += [(path, url) for url in local]
        queue += [file_of(url) for url in local if file_of(url).suffix == ".html" and file_of(url).is_file()]
    reader.troubles += [f"{path.name}: {url}" for path, url in wanted if not _there(url, ids)]
    reader.context.close()
    return sorted(ids)


def _there(url: str, ids: dict[Path, list[str]]) -> bool:
    place, target = urlsplit(url).fragment, file_of(url)
    return target.is_file() and (not place or place in ids.get(target, []))


@pytest.mark.parametrize("width", [1280, 360])
def test_no_dead_link_no_error_no_request(chromium: Browser, built: Path, width: int) -> None:
    reader = Reader(chromium, width)
    pages = ["claims.html", "index.html", "10_table_vision.html", "protocol.html"]
    assert [page.name for page in crawl(reader, built)] == pages
    assert reader.troubles == []


def test_the_crawl_notices_what_is_broken(chromium: Browser, tmp_path: Path) -> None:
    front = tmp_path / "index.html"
    front.write_text(
        '<a href="lost.html">x</a><a href="#lost">x</a><a href="https://example.org">elsewhere</a>'
        '<img src="lost.png" alt="x"><script src="http://localhost:1/x.js"></script>'
        '<script>throw Error("oops")</script>'
        '<p style="width: 3000px">wide</p>'
    )
    reader = Reader(chromium)
    assert crawl(reader, front) == [front]
    troubles = "\n".join(reader.troubles)
    for trouble in ("index.html: file://", "#lost", "image file://", "asked for http://localhost", "oops", "too wide"):
        assert trouble in troubles
    assert "example.org" not in troubles


@pytest.mark.parametrize("profile", profiles.WHOLE)
def test_the_pages_built_here(chromium: Browser, profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    front = files.REPOSITORY / "paper" / "site" / ("" if profile == "laptop" else profile) / "index.html"
    if not front.is_file():
        pytest.skip(f"paper/site has no pages of the profile {profile}; `make html PROFILE={profile}` makes them")
    reader = Reader(chromium)
    assert front in crawl(reader, front)
    assert reader.troubles == []


def test_from_a_claim_to_its_table_and_notebook(chromium: Browser, built: Path) -> None:
    reader = Reader(chromium)
    page = reader.page
    page.goto(built.as_uri())
    claim = page.locator("table.claims tbody tr").first
    assert claim.locator(".chip").inner_text().strip() == "supported"
    assert "Toys <script>alert(0)</script> win" in claim.inner_text()
    claim.get_by_role("link", name="table").click()
    assert page.url.endswith("#toy")
    assert page.locator("#toy h2").inner_text() == "A toy & more"
    claim.get_by_role("link", name="notebook").click()
    assert page.locator("h1").inner_text() == "A toy notebook"
    assert page.locator("math").first.bounding_box() is not None  # drawn by the browser itself
    page.get_by_role("link", name="All results").click()
    assert file_of(page.url) == built
    assert reader.troubles == []
    reader.context.close()


def test_with_the_keyboard_alone(chromium: Browser, built: Path) -> None:
    reader = Reader(chromium, 360)
    page = reader.page
    page.goto(built.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    page.locator("#toy summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#toy details table").first.is_visible()
    reader.context.close()
