"""The runs of the language block: texts to classify."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedecho.presets import BLOCKS, Cell, contenders, profile
from fedecho.studies.ablations import DIR, PURE, Place, Variant, grid, plain

AUSTEN, KEPT = "Austen", "Austen, names kept"
OTHERS = {"SST-2": "sst2", "AG News": "agnews"}
"""What is read from the data folder; Austen comes with the package."""
OWNED = {AUSTEN: "stragglers own 2 novels", **dict.fromkeys(OTHERS, "stragglers own 1 class")}
MAIN = (f"{AUSTEN}, {DIR}", "large")
"""The place where things are tuned and varied."""


def classification(name: str) -> list[Cell]:
    """Return 11_table_language: methods x texts x heterogeneity x delays; Austen's names left in for comparison."""
    block = BLOCKS["language"][name]
    size = profile(block).data.train_size or 3600
    others = [
        place
        for label, source in OTHERS.items()
        for place in _places(label, {"data.name": source, "data.train_size": size})
    ]
    kept = Place(f"{KEPT}, {DIR}", "large", {"data.mask": False}, (DIR, "large"))
    methods = plain(contenders(block))
    return grid(block, methods, [*_places(AUSTEN, {}), kept, *others])


def _places(label: str, data: dict[str, Any]) -> Iterator[Place]:
    for setting in (DIR, "Dir(0.3)", PURE):
        shown = f"{label}, {OWNED[label] if setting == PURE else setting}"
        fewer = {"partition.straggler_classes": 1} if setting == PURE and label in OTHERS else {}
        for delay in ("mild", "large"):
            yield Place(shown, delay, data | fewer, (setting, delay))


def classification_pools(name: str) -> list[Cell]:
    """Return the second part: FedEcho on Austen by the source of U at equal |U|, beside methods without U."""
    block = BLOCKS["language"][name]
    pools = [Variant(label, {"data.pool": source}) for label, source in {**OTHERS, "TREC questions": "trec"}.items()]
    place = Place(*MAIN, near=(DIR, "large"))
    return grid(block, [Variant("held-out"), *pools, *plain(("FedBuff", "FedBuff + EMA"))], [place])
