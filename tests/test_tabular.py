"""Tables in other people's papers: each form compiles in each class, and nothing leaves line, page or frame."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from fedecho.core import files
from fedecho.report import tabular
from fedecho.report.publish.latex import typeset

_USED = r"\usepackage{booktabs,graphicx,longtable}"
CLASSES = {
    "article": (rf"\documentclass{{article}}{_USED}", "table"),
    "IEEEtran": (rf"\documentclass[conference]{{IEEEtran}}{_USED}", "table*"),
    "acmart": (
        rf"\documentclass[sigconf,nonacm]{{acmart}}{_USED}\title{{T}}\author{{A}}"
        r"\affiliation{\institution{I}\country{C}}",
        "table*",
    ),
    "beamer": (rf"\documentclass{{beamer}}{_USED}", ""),
}
"""Class -> what comes before the document, and what a wide table stands in."""


def blocks(count: int, rows: int) -> pd.DataFrame:
    """Return a table of so many blocks and rows, with what LaTeX would take for something else."""
    places = [(f"Dir(0.{k}), stragglers own 2 classes", "|U| = 5 & large") for k in range(count)]
    index = pd.MultiIndex.from_tuples(
        [(*place, f"eta_d T^-{row}/4 (tuned eta) #{row}") for place in places for row in range(1, rows + 1)],
        names=["setting", "a_b", "method"],
    )
    cells = {
        "accuracy, %": "83.40 ± 0.29", "late |grad f|²": "−0.490 [−0.492, −0.488]", "p": "<0.001",
        "of_it": "not stated",
    }  # fmt: skip
    return pd.DataFrame([cells] * len(index), index=index)


def forms(texts: pd.DataFrame) -> dict[str, str]:
    """Return every form of a table by the end of its file's name."""
    bold = [k % 3 == 0 for k in range(len(texts))]
    parts, small = tabular.plain(texts, bold), tabular.compact(texts, bold)
    made = {"": tabular.long(texts, bold, "Title of 5 %", "Caption_x.", "tab:x", "Notes & more.")}
    made |= {f"_tabular_{k}": part for k, part in enumerate(parts, 1)}
    return made | ({"_compact": small} if small else {})


@cache
def has(name: str) -> bool:
    """Tell whether LaTeX is here, and a file of it."""
    found = shutil.which("pdflatex") and shutil.which("kpsewhich")
    return bool(found) and bool(subprocess.run(["kpsewhich", name], capture_output=True, check=False).stdout)


def wide_in(name: str) -> bool:
    """Tell whether a file holds a table for the whole width of a page, not for one column."""
    return "_compact" not in name


def document(kind: str, paths: list[Path]) -> str:
    """Return a document of a class that holds tables: in floats, on frames, or as they are (longtable)."""
    head, wide = CLASSES[kind]
    parts = []
    for path in paths:
        read = f"\\message{{^^J@@{path.stem}^^J}}\\input{{{path}}}"
        where = wide if wide_in(path.stem) else "table"
        if kind == "beamer":
            parts.append(f"\\begin{{frame}}\n{read}\n\\end{{frame}}")
        elif re.search("_tabular|_compact", path.stem):
            parts.append(f"\\begin{{{where}}}\\centering\\caption{{T}}\n{read}\n\\end{{{where}}}\\clearpage")
        else:
            parts.append(f"{read}\\clearpage")
    title = "\\maketitle" if kind == "acmart" else "x"
    return f"{head}\n\\begin{{document}}{title}\n" + "\n".join(parts) + "\n\\end{document}\n"


def troubles(kind: str, paths: list[Path], folder: Path) -> list[str]:
    """Return the errors and overfull boxes of a document with these tables, each after the table that it is in."""
    if not has(f"{kind}.cls"):
        pytest.skip(f"LaTeX's {kind}.cls is not here")
    (folder / "paper.tex").write_text(document(kind, paths))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "paper.tex"], cwd=folder,
        capture_output=True, check=False, env={**os.environ, "max_print_line": "2000"},
    )  # fmt: skip
    log = (folder / "paper.log").read_text(errors="replace")
    found, at = [], ""
    for line in re.findall(r"^@@.*|^Overfull.*|^! .*|.*Float too large.*", log, re.MULTILINE):
        at, found = (line[2:], found) if line.startswith("@@") else (at, [*found, f"{at}: {line}"])
    return found if done.returncode == 0 else [*found, f"exit code {done.returncode}"]


def fit_for(kind: str, paths: list[Path]) -> list[Path]:
    """Leave out tables that run over pages, which two columns and frames do not take."""
    return [path for path in paths if kind == "article" or re.search("_tabular|_compact", path.stem)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", CLASSES)
def test_forms_compile_in(kind: str, tmp_path: Path) -> None:
    written = []
    for name, texts in (("many", blocks(9, 12)), ("few", blocks(1, 3)), ("four", blocks(4, 4))):
        for end, text in forms(texts).items():
            written.append(tmp_path / f"{name}{end}.tex")
            written[-1].write_text(text)
    assert len(written) == 3 + 3 + 1 + 1 + 2
    assert troubles(kind, fit_for(kind, written), tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", CLASSES)
def test_committed_tables_compile_in(kind: str, tmp_path: Path) -> None:
    paths = sorted((files.REPOSITORY / "paper" / "tables").glob("*.tex"))
    assert any("_tabular" in path.stem for path in paths) and troubles(kind, fit_for(kind, paths), tmp_path) == []


def test_a_box_that_is_too_wide_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "wide_tabular.tex").write_text(r"\makebox[2\textwidth]{x}" + "\n")
    (found,) = troubles("article", [tmp_path / "wide_tabular.tex"], tmp_path)
    assert found.startswith("wide_tabular: Overfull")


@pytest.mark.parametrize(
    "text, printed",
    [
        ("T^(−3/4), T^(1/2)", r"$T^{-3/4}$, $T^{1/2}$"),
        ("late |grad f|²", r"late $|\nabla f|^2$"),
        ("eta_d M^1/4 T^-3/4", r"$\eta_{d}$ $M^{1/4}$ $T^{-3/4}$"),
        ("(L gamma)^2 tau_avg sigma_g^2", r"(L $\gamma$)$^2$ $\tau_{\mathrm{avg}}$ $\sigma_{g}^{2}$"),
        ("|U| = 1000 − row", "$|U|$ = 1000 $-$ row"),
        ("lr 0.1, server_lr 1", r"lr 0.1, server\_lr 1"),
        ("alpha_min, M_c, beta1, Beta", r"$\alpha_{\min}$, $M_{c}$, beta1, Beta"),
        ("5 % ± 1 | “a” R² <0.001", r"5 \% $\pm$ 1 \textbar{} ``a'' R$^2$ $<$0.001"),
    ],
)
def test_symbols_are_printed_as_formulas(text: str, printed: str) -> None:
    assert typeset(text) == printed and typeset(text).isascii()


def test_the_long_form(tmp_path: Path) -> None:
    text = tabular.long(blocks(2, 2).drop(columns="late |grad f|²"), [True, False] * 2, "An_b", "Cn_d.", "tab:x", "n")
    assert r"\begin{longtable}{@{}lrrr@{}}" in text and text.count(r"\textbf{83.40 $\pm$ 0.29}") == 2
    assert r"\caption{An\_b} \label{tab:x}" in text and r"\noindent Cn\_d.\par\noindent n\par" in text
    assert text.count(r"\emph{setting Dir(0.1), stragglers own 2 classes, $a_{b}$ $|U|$ = 5 \& large}") == 1
    between = text.partition(r"\endlastfoot")[2]
    assert between.count(r"\midrule") == 1 and text.isascii()


def test_what_no_type_fits_is_scaled() -> None:
    texts = blocks(5, 12).assign(**{f"column {k}": "0.812 [0.763, 0.865]" for k in range(4)})
    text = tabular.long(texts, [False] * 60, "T", "C.", "tab:x", "n")
    assert "longtable" not in text and text.count(r"\begin{table}") == text.count(r"\fedechofit{%") == 2
    assert text.count(r"\label") == 1 and text.count(r"\caption[]") == 1 and text.count("C.") == 1


def test_plain_tables_are_parted_between_blocks() -> None:
    parts = tabular.plain(blocks(9, 12), [False] * 108)
    assert [part.count(r"\emph{") for part in parts] == [3, 3, 3] and all(p.count(r"\toprule") == 1 for p in parts)


def test_the_compact_form() -> None:
    small = tabular.compact(blocks(4, 2), [True, *[False] * 7])
    assert small is not None and "a & b & c & d" in small and small.count(r"\textbf{83.4}") == 1
    assert "83.4 & 83.4" in small and "a: setting Dir(0.0)" in small
    assert tabular.compact(blocks(3, 2), [False] * 6) is None  # it fits as it is
    assert tabular.compact(blocks(5, 2).drop(index=("Dir(0.1), stragglers own 2 classes",)), [False] * 8) is not None
    uneven = blocks(5, 2).iloc[1:]
    fewer = tabular.compact(uneven, [False] * 9)
    assert fewer is not None and r"\#1 & -- & 83.4 & 83.4" in fewer
    first, *others = uneven.index
    uneven.index = pd.MultiIndex.from_tuples([(*first[:-1], "another"), *others], names=uneven.index.names)
    assert tabular.compact(uneven, [False] * 9) is None
