"""Markdown, formulas and executed notebooks as HTML that asks for nothing from elsewhere: no script, no font, no CDN.

nbconvert does the notebooks; its own pages would fetch MathJax and more, so only its bodies are taken. Formulas become
MathML, which browsers draw by themselves.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import latex2mathml.converter
import mistune
import nbformat
from jinja2 import pass_context
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from fedecho.core.checks import InputError

Links = Mapping[str, str]
"""Name of a file -> where it is, from the page that links to it; what is not here is shown as text."""


class _Linked(mistune.HTMLRenderer):
    """Markdown with everything escaped: text of tables and claims."""

    links: Links = {}

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """Write a link, or its text alone where it would lead to a file that the site does not have."""
        outside = url.startswith(("https://", "http://", "#", "data:"))
        found = url if outside else self.links.get(PurePosixPath(url.partition("#")[0]).name)
        return text if found is None else str(super().link(text, found, title))

    def heading(self, text: str, level: int, **attributes: Any) -> str:
        """Write a heading that links can lead to, by the rule of GitHub."""
        words = re.sub(r"<[^>]*>|&\w+;|[^\w -]", "", text)
        return super().heading(text, level, id=words.lower().replace(" ", "-"), **attributes)

    def table(self, text: str) -> str:
        """Write a table that scrolls by itself, in a region that can be focused, so that the keyboard can do it too."""
        return f'<div class="scroll" role="region" aria-label="table" tabindex="0"><table>{text}</table></div>\n'


class _WithMath(_Linked, IPythonRenderer):
    """Markdown of notebooks, as Jupyter understands it, with formulas as MathML."""

    def inline_math(self, body: str) -> str:
        """Write a formula inside a line."""
        return formula(body)

    def block_math(self, body: str) -> str:
        """Write a formula on lines of its own."""
        return f'<div class="scroll">{formula(body, "block")}</div>'


class _Bodies(HTMLExporter):
    """nbconvert's exporter with the renderer above."""

    links: Links = {}

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """Render a Markdown cell or output."""
        renderer = _WithMath(escape=False, exclude_anchor_links=True)
        renderer.links = self.links
        return str(MarkdownWithMath(renderer=renderer).render(source))


def formula(latex: str, display: str = "inline") -> str:
    """Return a formula as MathML, with its LaTeX for those who listen; `display`: inline or block.

    Raises `InputError` for LaTeX that is not understood.
    """
    try:
        made = latex2mathml.converter.convert(latex, display=display)
    except Exception as error:  # its errors have no common class
        raise InputError("formula", latex, f"latex2mathml: {type(error).__name__}") from None
    return made.replace("<math ", f'<math alttext="{html.escape(latex.strip())}" ', 1)


def markdown(text: str, links: Links | None = None) -> str:
    """Return GitHub Markdown as HTML; HTML inside it is shown, not obeyed."""
    renderer = _Linked()
    renderer.links = links or {}
    return str(mistune.create_markdown(renderer=renderer, plugins=["table"])(text))


def title(source: Path) -> str:
    """Return the first heading of a notebook."""
    text = "".join(json.loads(source.read_text(encoding="utf-8"))["cells"][0]["source"])
    return text.partition("\n")[0].removeprefix("# ").strip()


def notebook(executed: Path, links: Links | None = None) -> str:
    """Return the cells and outputs of an executed notebook as the body of a page."""
    node = nbformat.read(executed, as_version=4)  # type: ignore[no-untyped-call]
    _describe_pictures(node)
    exporter = _Bodies(template_name="basic")  # type: ignore[no-untyped-call]
    exporter.links = links or {}
    body, _ = exporter.from_notebook_node(node)
    return str(body)


def _describe_pictures(node: Any) -> None:
    """Give every picture the heading above it as the text for those who cannot see it."""
    heading = ""
    for cell in node.cells:
        heads = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")]
        heading = heads[-1] if heads and cell.cell_type == "markdown" else heading
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.metadata.setdefault("image/png", {}).setdefault("alt", f"Figure: {heading}")
