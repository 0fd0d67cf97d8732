"""A small folder `paper/`: two tables with manifests, a figure, claims, an executed notebook; made in milliseconds."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

from fedecho.core import store
from fedecho.core.config import RunConfig
from fedecho.report import manifest
from fedecho.report.manifest import Manifest, Picture
from fedecho.report.summary import Cell
from fedecho.studies.contenders import CONTENDERS, base, tuned
from fedecho.studies.grid import grid, main_methods, main_settings
from fedecho.studies.plan import trained
from fedecho.studies.tuning import Tuning

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
TOY = Manifest(
    name="toy", title="A toy & more", caption='50 % of <b>nothing</b> ± 1, "quoted"', profile="laptop",
    notebook="10_table_vision", command="make tables ONLY=10_table_vision", record_set="0123456789ab",
    records=("aa", "bb"), commits=("c" * 40,), tables=("toy.md", "toy.tex", "toy.csv", "toy_compact.md"),
    figures=(Picture("toy_bars", "Bars of <i>toys</i>, 1_000 % of them."),),
)  # fmt: skip
OTHER = Manifest(
    name="other", title="Other", caption="Nothing yet.", profile="laptop", notebook="02_tuning", command="make x",
    record_set="ba9876543210", records=(), commits=(), tables=("other.md", "other.tex"), figures=(),
)  # fmt: skip
CLAIMS: list[dict[str, Any]] = [
    {"id": f"C{number}", "role": "exploratory" if verdict is None else "primary", "place": "here", "source": "paper",
     "claim": f"Toys <script>alert({number})</script> win", "profile": "laptop", "test": "paired t", "verdict": verdict,
     "qualifier": "given a toy", "paper_value": None, "our_value": 0.5, "n": 7, "pooled": "+1.00 points", "p": 0.01,
     "notebook": "10_table_vision", "table": table, "note": "a note"}
    for number, (verdict, table) in enumerate(
        (("supported", "toy"), ("not supported", "toy"), ("inconclusive", None), ("not run", None), (None, None))
    )
]  # fmt: skip
LEDGER = """# Claims

Evidence: [toy](tables/toy.md), [notebook](../notebooks/10_table_vision.ipynb), [nowhere](elsewhere/lost.md).

| id | claim |
| :-- | --: |
| C0 | toys <b>win</b> |
"""
PROTOCOL = (
    "# How the tables are made\n\n## toy\n\nA toy ([table](tables/toy.md)). Of [toys](#toy).\n\n## other\n\nNothing.\n"
)
MARKDOWN = """# A toy notebook

A rate $\\eta_d \\cdot \\min(1, \\nu / \\|g\\|_2)$ and $$\\hat x = \\frac1M\\sum_i \\Delta_i$$ see
[tuning](02_tuning.ipynb) and [lost](lost.ipynb)."""


def furnish(folder: Path) -> Path:
    """Fill `folder` and return it."""
    for found in (TOY, OTHER):
        manifest.write(found, folder / "tables")
    files = {
        "tables/toy.md": f"## {TOY.title}\n\n{TOY.caption} Details: [PROTOCOL.md](../PROTOCOL.md#toy).\n\n"
        f"setting **one**\n\n{rows(50)}\n\nRecords: 2.\n",
        "tables/toy_compact.md": f"{rows(2)}\n\nA note.\n",
        "tables/toy.tex": "toy\n",
        "tables/toy.csv": "method,score\n",
        "tables/other.md": f"## Other\n\nNothing yet.\n\n{rows(1)}\n",
        "tables/other.tex": "other\n",
        "claims.json": json.dumps(CLAIMS),
        "claims.md": LEDGER,
        "PROTOCOL.md": PROTOCOL,
        "executed/10_table_vision.ipynb": json.dumps(executed()),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    store.seal(folder / "claims.json")
    (folder / "figures").mkdir()
    (folder / "figures" / "toy_bars.png").write_bytes(base64.b64decode(PIXEL))
    (folder / "figures" / "toy_bars.pdf").write_bytes(b"%PDF-1.4")
    return folder


def rows(count: int) -> str:
    """Return a Markdown table."""
    return "\n".join(
        ["| method | score |", "| :-- | --: |", *(f"| method {k} | <{k}.00 ± 0.1 |" for k in range(count))]
    )


def executed() -> dict[str, Any]:
    """Return a notebook with formulas, a table and a picture in its outputs."""
    outputs = [
        {"output_type": "display_data", "metadata": {}, "data": {"image/png": PIXEL, "text/plain": "<Figure>"}},
        {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": rows(2), "text/plain": "x"}},
        {"output_type": "stream", "name": "stdout", "text": "done <3\n"},
    ]
    cells = [
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": MARKDOWN},
        {"cell_type": "code", "id": "run", "metadata": {}, "execution_count": 1, "source": "x = 1", "outputs": outputs},
    ]
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": python, "nbformat": 4, "nbformat_minor": 5}


@cache
def main_cells(name: str) -> list[Cell]:
    """The main table of a profile, or of a block."""
    return grid(name, main_methods(name), main_settings(name))


@cache
def trial_cells(name: str) -> list[Cell]:
    """The trials of a profile's tuning, or of a block's."""
    (study,) = (study for study in trained(name).values() if isinstance(study, Tuning) and study.at == name)
    return list(study.asked())


def doubles(name: str) -> set[str]:
    """The rows "(tuned eta)" of a profile that are the same runs as the method's other row: eta = 1 was chosen."""

    def run(label: str) -> RunConfig:
        return tuned(base(name, CONTENDERS[label], 0), label, name)

    pairs = {label: label.removesuffix(" (tuned eta)") for label in CONTENDERS if label.endswith(" (tuned eta)")}
    return {label for label, plain in pairs.items() if run(label) == run(plain)}
