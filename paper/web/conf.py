"""Sphinx's settings for the site; `fedecho site` writes the pages beside them and calls Sphinx."""

import dataclasses
import importlib.metadata
from pathlib import Path

from sphinx.ext.napoleon import GoogleDocstring

project, author = "fedecho", "The fedecho developers"
version = release = importlib.metadata.version("fedecho")
html_title = f"fedecho {version}"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_design",
]
exclude_patterns = ["_templates", "_static"]
templates_path = ["_templates"]

# Markdown: tables and claims are shown, never obeyed; notebooks are taken as they were executed.
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_disable_syntax = ["html_block", "html_inline"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]  # an output may begin with a heading of second order

# The reference: `x` is code, fields keep the order of their source.
default_role = "code"
# Of a field, words before a colon are no type: "Unspecified in paper: the L2 norm".
GoogleDocstring._parse_attribute_docstring = GoogleDocstring._consume_to_end
autosummary_generate = [path.name for path in Path(__file__).parent.glob("api.rst")]
autodoc_default_options = {"members": True, "undoc-members": True, "exclude-members": "validate"}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {
    name: name for name in ("BelowOne", "Count", "Natural", "NotNegative", "Positive", "PositiveShare", "Share")
}
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files, html_js_files = ["site.css"], ["site.js"]
html_copy_source = False
html_show_copyright = html_show_sphinx = False
html_show_search_summary = False  # it would fetch pages, which browsers refuse to pages that are opened as files
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"

# One file of MathJax with its glyphs, in place of the package's 25 MB; menu and speech would ask for more.
(_mathjax,) = (
    path for path in importlib.metadata.files("sphinx-mathjax-offline") or () if path.match("mathjax/tex-svg.js")
)
html_static_path.append(str(_mathjax.locate()))
mathjax_path = "tex-svg.js"
mathjax4_config = {
    "options": {"enableMenu": False, "enableExplorer": False},
    "svg": {"fontCache": "local"},
}


def _levels(app, page, template, context, doctree):  # the captions of the sidebar are headings without a level
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


def _fields(app, what, name, obj, options, signature, returned):  # of a dataclass stand below, one by one
    return ("", returned) if what == "class" and dataclasses.is_dataclass(obj) else None


def setup(app):  # noqa: D103
    app.connect("html-page-context", _levels, priority=900)
    app.connect("autodoc-process-signature", _fields)
