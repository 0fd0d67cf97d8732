"""The paper tells every table unasked, in text that survives any caption, and nothing of it leaves the page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fedecho.core import files
from fedecho.core.checks import InputError
from fedecho.report import manifest
from fedecho.report.publish import latex, paper, readme, story
from fedecho.studies import TABLES
from tests import toy

PAPER = files.REPOSITORY / "paper"


@pytest.fixture
def furnished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path / "paper"))
    return toy.furnish(tmp_path / "paper")


def test_every_table_and_figure_is_in_one_of_the_two(furnished: Path) -> None:
    main, more = paper.documents().values()
    assert re.findall(r"\\subsection{(.*)}\\label{sec:(.*)}", main) == [(r"A toy \& more", "toy"), ("Other", "other")]
    assert re.findall(r"\\input{(.*)}", main) == [] and main.count("The table is in the supplement.") == 2
    assert re.findall(r"\\input{(.*)}", more) == ["tables/toy.tex", "tables/other.tex"]
    assert re.findall(r"\\includegraphics\[.*\]{(.*)}", main) == ["figures/toy_bars.pdf"]
    assert r"1\_000 \% of them. Record set \texttt{0123456789ab}." in main and "abstract" not in main
    assert "\nOf toys.\n" in main  # what PROTOCOL.md says
    (furnished / "figures" / "toy_bars.pdf").unlink()
    with pytest.raises(InputError, match="toy = 'toy_bars.pdf' .* run `make tables ONLY=10_table_vision`"):
        paper.documents()


def test_short_tables_and_compact_forms_are_in_the_paper(furnished: Path) -> None:
    for name in ("toy_compact.tex", "other_tabular.tex"):
        (furnished / "tables" / name).write_text("x")
    for found in (toy.TOY, toy.OTHER):
        ends = {"toy": "toy_compact.tex", "other": "other_tabular.tex"}
        manifest.write(replace(found, tables=(*found.tables, ends[found.name])), furnished / "tables")
    main, more = paper.documents().values()
    assert re.findall(r"\\input{(.*)}", main) == ["tables/toy_compact.tex", "tables/other_tabular.tex"]
    assert re.findall(r"\\input{(.*)}", more) == ["tables/toy.tex"] and r"\appendix" in main


def test_nothing_made_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDECHO_PAPER", str(tmp_path))
    with pytest.raises(InputError, match="profile = 'laptop' .*make tables"):
        paper.documents()


def test_the_paper_of_the_committed_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDECHO_PAPER", raising=False)
    main, more = paper.documents("laptop", list(TABLES)).values()
    known = manifest.read_all(files.folder_of("tables", "laptop"))
    assert main.index(r"\begin{abstract}") < main.index(r"\section{Findings}") < main.index(r"\section{Primary claims}")
    assert main.index(r"\section{Protocol}") < main.index("{sec:vision}") < main.index("{sec:theory_convex}")
    assert main.index(r"\appendix") < main.index("{sec:tuning}") and main.count(r"\label{sec:") == len(known)
    for found in known:
        assert f"tables/{found.name}.tex" in more or f"tables/{found.name}_tabular.tex" in main
        assert all(f"{figure.stem}.pdf" in main + more for figure in found.figures)
    linked = set(re.findall(r"\\hyperref\[sec:(\w+)\]", main))
    assert {"controls", "language", "theory_bound"} <= linked <= {found.name for found in known}
    claims = readme.Tables(files.folder_of("tables", "laptop")).claims("primary", None)
    table = main.partition(r"\label{tab:claims}")[2].partition(r"\end{longtable}")[0]
    assert table.count(r"\textbf{") == len(claims) and table.count(r"\textbf{supported}") >= 1
    # Whatever is printed is ASCII, so that no font lacks a glyph.
    assert main.isascii() and more.isascii()


def test_escaped() -> None:
    assert latex.escape(r"a_b 5 % & # {x} $y$ ~ ^ \n ±") == (
        r"a\_b 5 \% \& \# \{x\} \$y\$ \textasciitilde{} \textasciicircum{} \textbackslash{}n ±"
    )


def test_prose() -> None:
    links = "[f](paper/tables/g.md), [h](x.md),\n[i](https://j.org/%)"
    text = f"# No\n\nA **b c**, *e* `d_e`, {links}.\n\n* one\n  more\n* two_"
    assert latex.prose(text, {"g"}) == (
        r"A \textbf{b c}, \emph{e} \texttt{d\_e}, \hyperref[sec:g]{f}, h, \href{https://j.org/\%}{i}."
        "\n\n\\begin{itemize}\n\\item one more\n\\item two\\_\n\\end{itemize}"
    )


def test_chapters_end_with_tuning() -> None:
    assert story.LAST == "Tuning and cost"


@pytest.mark.slow
def test_nothing_leaves_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (shutil.which("pdflatex") and shutil.which("kpsewhich")):
        pytest.skip("LaTeX is not here")
    monkeypatch.delenv("FEDECHO_PAPER", raising=False)
    for name, text in paper.documents("laptop", list(TABLES)).items():
        (tmp_path / name).write_text(text)
    for name in ("main", "supplement"):
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"-output-directory={tmp_path}",
             f"{name}.tex"], cwd=PAPER, capture_output=True, check=False,
            env={**os.environ, "TEXINPUTS": f"{tmp_path}:", "max_print_line": "2000"},
        )  # fmt: skip
        log = (tmp_path / f"{name}.log").read_text(errors="replace")
        assert done.returncode == 0, log[-2000:]
        assert overfull(log) == []
        (pages,) = re.findall(r"Output written on .*\((\d+) pages", log)
        assert name == "supplement" or int(pages) <= 40


@pytest.mark.parametrize(
    ("said", "code"),
    [("Overfull \\hbox (4.99pt too wide)", 0), ("Overfull \\hbox (5.01pt too wide)", 2),
     ("Overfull \\vbox (12.5pt too high)", 2), ("LaTeX Warning: Float too large for page", 2)],
)  # fmt: skip
def test_make_paper_fails_where_something_leaves_the_page(said: str, code: int, tmp_path: Path) -> None:
    """With a `fedecho` that writes nothing and a `latexmk` that leaves two papers and a log."""
    shutil.copy(files.REPOSITORY / "Makefile", tmp_path)
    tools = {"fedecho": "exit 0", "latexmk": 'cd ../build/paper && touch main.pdf supplement.pdf supplement.log '
             '&& printf "%s\\n" "$SAID" > main.log'}  # fmt: skip
    for folder in ("paper", "build/paper", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in tools.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    done = subprocess.run(
        ["make", "paper", "BIN=bin", "--assume-old=.venv/.ready"], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SAID": said},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert (tmp_path / "paper" / "main.pdf").is_file() == (code == 0)
    assert ("leaves the page" in done.stderr and said in done.stdout) == (code != 0)


def overfull(log: str, limit: float = 5) -> list[str]:
    """Return the lines of a log that tell of a box that is too large by more than `limit` points."""
    boxes = re.findall(r"^(Overfull \\[hv]box \(([\d.]+)pt.*)$", log, re.MULTILINE)
    return [line for line, points in boxes if float(points) > limit]


def test_overfull_boxes_are_found() -> None:
    log = "Overfull \\hbox (4.9pt too wide) in\nx\nOverfull \\vbox (12.5pt too high) has\n"
    assert overfull(log) == ["Overfull \\vbox (12.5pt too high) has"]
