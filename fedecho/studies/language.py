"""11: the methods on texts to classify, and FedEcho with texts of another domain for U."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from fedecho.core.checks import require_known
from fedecho.report import captions, charts, curves
from fedecho.studies.comparison import BARS, Comparison, Draw, Results
from fedecho.studies.contenders import search_words
from fedecho.studies.grid import DELAYS, DIR, PURE, WITHOUT_POOL, Seeds, Setting, Variant, grid, plain
from fedecho.studies.profiles import BLOCKS, profile as scale_of
from fedecho.studies.study import Study, table
from fedecho.studies.teacher import with_heard

AUSTEN, KEPT = "Austen", "Austen, names kept"
OTHERS = {"SST-2": "sst2", "AG News": "agnews"}
"""What is read from the data folder; Austen comes with the package."""
OWNED = {AUSTEN: "stragglers own 2 novels", **dict.fromkeys(OTHERS, "stragglers own 1 class")}
HEARD_AT = f"{AUSTEN}, {OWNED[AUSTEN]}"
"""Where the teachers that were chosen on images are run too."""
TEXTS = (AUSTEN, KEPT, *OTHERS)
POOLS = {**OTHERS, "TREC questions": "trec"}
FIGURES: tuple[tuple[str, Sequence[str], Draw, str], ...] = (
    ("bars", (AUSTEN,), lambda found: charts.bars(found.summary), f"Austen. {captions.BARS}"),
    ("others", (*OTHERS,), lambda found: charts.bars(found.summary), f"SST-2 and AG News. {captions.BARS}"),
    ("curves_rounds", (AUSTEN,), lambda found: curves.curves(found.found), f"Austen: t{captions.CURVES[1:]}"),
)
"""Name, the texts that it is about, what draws it, and its caption."""


@table
def language(
    profile: str = "laptop",
    *,
    methods: Sequence[str] | None = None,
    texts: Sequence[str] = TEXTS,
    settings: Sequence[str] = (DIR, "Dir(0.3)", PURE),
    delays: Sequence[str] = DELAYS,
    seeds: Seeds = None,
) -> Study:
    """Return the table: methods x texts x heterogeneity x delays; Austen's names left in for comparison."""
    scale = BLOCKS["language"][profile]
    size = scale_of(scale).data.train_size or 3600
    require_known("texts", texts, TEXTS)
    data = {AUSTEN: {}, **{label: {"data.name": name, "data.train_size": size} for label, name in OTHERS.items()}}
    kept = Setting(f"{KEPT}, {DIR}", "large", {"data.mask": False}, (DIR, "large"))
    chosen = [
        setting
        for text in texts
        for setting in ([kept] if text == KEPT else _settings(text, data[text], settings, delays))
    ]
    return Comparison(
        name="language", title="Text classification", notebook="11_table_language", profile=profile, scale=scale,
        cells=with_heard(scale, methods, chosen, seeds, heard=[s for s in chosen if s.name == HEARD_AT]),
        figures={
            name: (among(*about, draw=draw), words) for name, about, draw, words in FIGURES if {*about} & {*texts}
        },
        note="Texts classified by a small Transformer; rates tuned on Austen, Dir(0.1), large delays. Names masked "
        "unless kept. Not run: the data set was missing.",
        details="Austen: which of her six novels is a passage of 60 words from; 3,600 passages are split across 50 "
        "clients, and every name that would give a novel away is masked. SST-2 (2 classes) and AG News (4): 3,600 "
        "texts of each. A Transformer encoder of one layer; U: 200 held-out texts; 150 rounds of M = 5 of M_c = 25 "
        "jobs, 1 epoch in batches of 20; clients whose share is below 10 texts are topped up. Stragglers: 9 slow "
        f"clients hold two novels (one class) in equal parts, and nothing else. Every method is {search_words(scale)}; "
        "it keeps its values on the other texts. Where stragglers own two novels the last two rows are FedEcho, at its "
        "own rates, with the teachers that were chosen on images. SST-2 and AG News are not in the package: rows "
        "say “not run” where they neither lie in the data folder nor have records.",
    )  # fmt: skip


def _settings(text: str, data: dict[str, Any], settings: Sequence[str], delays: Sequence[str]) -> Iterator[Setting]:
    for setting in settings:
        shown = f"{text}, {OWNED[text] if setting == PURE else setting}"
        fewer = {"partition.straggler_classes": 1} if setting == PURE and text in OTHERS else {}
        yield from (Setting(shown, delay, data | fewer, (setting, delay)) for delay in delays)


def among(*texts: str, draw: Draw) -> Draw:
    """Return `draw` for the settings of some data sets alone, as masked: those of all would not fit on a page."""

    def chosen(found: Results) -> Any:
        runs = [(c, r) for c, r in found.found if c.setting.split(", ")[0] in texts and not c.setting.startswith(KEPT)]
        keep = found.summary["setting"].isin({cell.setting for cell, _ in runs})
        return draw(replace(found, found=runs, summary=found.summary[keep].reset_index(drop=True)))

    return chosen


@table
def language_pools(profile: str = "laptop", *, pools: Sequence[str] = tuple(POOLS), seeds: Seeds = None) -> Study:
    """Return FedEcho on Austen by the source of U at equal |U|, beside methods without U."""
    scale = BLOCKS["language"][profile]
    require_known("pools", pools, POOLS)
    rows = [
        Variant("held-out"),
        *(Variant(label, {"data.pool": POOLS[label]}) for label in pools),
        *plain(WITHOUT_POOL),
    ]
    here = Setting(f"{AUSTEN}, {DIR}", "large", like=(DIR, "large"))
    return Comparison(
        name="language_pools", title="Texts of another domain as the unlabelled pool", notebook="11_table_language",
        profile=profile, scale=scale, cells=grid(scale, rows, [here], seeds=seeds), reference="held-out",
        figures=BARS,
        note="FedEcho on Austen by the source of U, 200 texts each; FedBuff and FedBuff + EMA use none. held-out: "
        "Austen's own passages without labels.",
        details="The other sources are phrases from film reviews, news and questions, of which most words are not in "
        "the clients' vocabulary. The distillation rate was tuned on held-out passages and kept.",
    )  # fmt: skip
