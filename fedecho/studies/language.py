"""The runs of the language block: texts to classify, running text to continue, and banks of a vocabulary's size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedecho.presets import BLOCKS, Cell, contenders, profile
from fedecho.studies.ablations import DIR, PURE, Changes, Place, Variant, echo, grid, plain

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
    return grid(block, [Variant("held-out"), *pools, *plain(("FedBuff", "FedBuff + EMA"))], [place], FEWER)


# Running text

TEACHERS: dict[str, Changes] = {
    "slow clients' rows left out": {"teachers": "fast"},
    "teacher: averaged model": {"source": "average"},
    "no distillation (Q = 0)": {"steps": 0},
}
"""Controls, as fields of `Distillation`: what of the bank is needed, and whether any teacher is."""
NATURAL = "natural (by novel)"
BY_NOVEL: Changes = {"partition.kind": "natural"}


FEWER = 3
"""Seeds, the first ones, wherever the bank of 28_bank_compression is not looked at too: all tables of texts are made
within 90 minutes that way."""


def generation(name: str) -> list[Cell]:
    """Return 13_table_generation: methods x who holds what x delays."""
    block = BLOCKS["generation"][name]
    places = [
        Place(setting, delay, changes, (DIR, delay))
        for setting, changes in ((NATURAL, BY_NOVEL), (DIR, {}))
        for delay in ("mild", "large")
    ]
    cells, few = grid(block, plain(contenders(block)), places), profile(block).seeds[:FEWER]
    return [c for c in cells if (c.setting, c.delay) == (NATURAL, "large") or c.config.seed in few]


def generation_pools(name: str) -> list[Cell]:
    """Return the second part: FedEcho by the source of U, one of them the server's own model, and by what teaches."""
    block = BLOCKS["generation"][name]
    rounds = profile(block).protocol.rounds
    own: Changes = {"data.pool": "self", "method.distill.warmup_rounds": max(1, rounds // 5)}
    late: Changes = {"method.distill.warmup_rounds": max(1, rounds // 5)}
    pools = [Variant("held-out"), Variant("held-out, from a fifth on", late), Variant("its own samples", own)]
    pools.append(Variant("SST-2", {"data.pool": "sst2"}))
    place = Place(NATURAL, "large", BY_NOVEL, (DIR, "large"))
    teachers = [echo(label, **fields) for label, fields in TEACHERS.items()]
    return grid(block, [*pools, *teachers, *plain(("FedBuff", "FedBuff + EMA"))], [place], FEWER)


FORMS: dict[str, Changes] = {
    "all": {},
    "all, float16": {"bank_dtype": "float16"},
    **{f"top-{k}": {"bank_top_k": k} for k in (64, 16, 4, 1)},
    "64 most frequent": {"bank_labels": 64},
}
"""How much of each prediction the bank keeps, as fields of `Distillation`."""
VOCABULARIES: dict[str, dict[int, Changes]] = {
    "smoke": {257: {}, 300: {}},
    "laptop": {1000: {}, 4096: {"protocol.rounds": 25}, 32_768: {"protocol.rounds": 5, "data.pool_size": 20}},
}
"""Profile -> size of the vocabulary -> what is made smaller there, so that a run takes minutes."""


def banks(name: str) -> list[Cell]:
    """Return 28_bank_compression: FedEcho by the form of the bank and the size of the vocabulary."""
    block = BLOCKS["generation"][name]
    variants = [echo(label, **fields) for label, fields in FORMS.items()]
    sizes = VOCABULARIES["smoke" if name == "smoke" else "laptop"]
    out = []
    for place, (size, fewer) in enumerate(sizes.items()):
        here = Place(f"V = {size}", "large", {**BY_NOVEL, "data.vocabulary": size, **fewer}, (DIR, "large"))
        out += grid(block, variants, [here], None if place == 0 else 1)
    return out
