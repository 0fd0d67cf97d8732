"""The paper holds every table and figure without being told, and its source survives any caption."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fedecho.core import files
from fedecho.core.checks import InputError
from fedecho.report.publish import latex
from tests import toy

PAPER = files.REPOSITORY / "paper"


def test_body_has_every_table_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(toy.furnish(tmp_path / "paper")))
    text = latex.body()
    assert re.findall(r"\\section{(.*)}", text) == ["Other", r"A toy \& more"]
    assert re.findall(r"\\input{(.*)}", text) == ["tables/other.tex", "tables/toy.tex"]
    assert re.findall(r"\\includegraphics\[.*\]{(.*)}", text) == ["figures/toy_bars.pdf"]
    assert r"1\_000 \% of them. Record set \texttt{0123456789ab}." in text
    assert text.count("\\clearpage") == 2
    (tmp_path / "paper" / "figures" / "toy_bars.pdf").unlink()
    with pytest.raises(InputError, match="toy = 'toy_bars.pdf' .* run `make tables ONLY=10_table_vision`"):
        latex.body()


def test_nothing_made_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    with pytest.raises(InputError, match="profile = 'laptop' .*make tables"):
        latex.body()


def test_escaped() -> None:
    assert latex.escape(r"a_b 5 % & # {x} $y$ ~ ^ \n ±") == (
        r"a\_b 5 \% \& \# \{x\} \$y\$ \textasciitilde{} \textasciicircum{} \textbackslash{}n ±"
    )


def test_main_knows_every_glyph_that_is_printed() -> None:
    main = (PAPER / "main.tex").read_text()
    declared = {chr(int(code, 16)) for code in re.findall(r"\\DeclareUnicodeCharacter{([0-9A-F]+)}", main)}
    texts = [latex.body(), *(path.read_text() for path in (PAPER / "tables").glob("*.tex"))]
    beyond = {glyph for text in texts for glyph in text if ord(glyph) > 0xFF}
    assert beyond <= declared | set("–—‘’“”…"), "declare it in main.tex"
    assert r"\input{generated.tex}" in main and "tables/" not in main.split("\\begin{document}")[1]
