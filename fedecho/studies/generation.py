"""13: the methods on running text to continue, and what teaches there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedecho.core.checks import require_known
from fedecho.core.records import Record
from fedecho.report import captions, charts, curves
from fedecho.report.summary import Column
from fedecho.studies.comparison import Comparison
from fedecho.studies.contenders import search_words
from fedecho.studies.grid import DELAYS, DIR, WITHOUT_POOL, Changes, Seeds, Setting, Variant, echo, grid, plain
from fedecho.studies.profiles import BLOCKS, profile as scale_of
from fedecho.studies.study import Study, table
from fedecho.studies.teacher import with_heard

NATURAL = "natural (by novel)"
BY_NOVEL: Changes = {"partition.kind": "natural"}
SETTINGS: dict[str, Changes] = {NATURAL: BY_NOVEL, DIR: {}}
NATURAL_LARGE = Setting(NATURAL, "large", BY_NOVEL, (DIR, "large"))
TEACHERS = [
    echo("slow clients' rows left out", teachers="fast"),
    echo("teacher: averaged model", source="average"),
    echo("no distillation (Q = 0)", steps=0),
]
"""Controls: what of the bank is needed, and whether any teacher is."""
FEWER = 5
"""Seeds under mild delays; under large ones, which the paper is about, there are all."""
NEXT = f"Accuracy of the next token. {captions.BARS}"


def perplexity(record: Record) -> float:
    """Return exp of the mean loss of the scored evaluations, of a run on running text; nan where it diverged.

    Infinite where the loss is finite but its exponential is not.
    """
    loss = record.mean_of_last("loss")
    with np.errstate(over="ignore"):
        return np.nan if loss is None else float(np.exp(loss))


PERPLEXITY = Column("perplexity", perplexity)
COLUMNS = (PERPLEXITY, Column("slow clients' arrivals, %", lambda record: 100 * float(record.facts["arrivals_slow"])))


@table
def generation(
    profile: str = "laptop",
    *,
    methods: Sequence[str] | None = None,
    settings: Sequence[str] = tuple(SETTINGS),
    delays: Sequence[str] = DELAYS,
    seeds: Seeds = None,
) -> Study:
    """Return the table: methods x who holds what x delays."""
    scale = BLOCKS["generation"][profile]
    require_known("settings", settings, SETTINGS)
    chosen = [Setting(name, delay, SETTINGS[name], (DIR, delay)) for name in settings for delay in delays]
    cells = with_heard(scale, methods, chosen, seeds)
    few = scale_of(scale).seeds[:FEWER] if seeds is None else seeds
    return Comparison(
        name="generation", title="Language modelling", notebook="13_table_generation", profile=profile,
        scale=scale, cells=[cell for cell in cells if cell.delay == "large" or cell.config.seed in few],
        columns=COLUMNS,
        figures={
            "bars": (lambda found: charts.bars(found.summary), NEXT),
            "curves_rounds": (
                lambda found: curves.curves(found.found),
                captions.CURVES.replace("Test accuracy in %", "Accuracy of the next token in %"),
            ),
        },
        note="Next token of Austen's novels, a small causal Transformer. Accuracy: of the next token. Perplexity: exp "
        "of the test loss. Arrivals: large delays leave slow clients hardly any.",
        details="Byte-level BPE of 1,000 tokens, blocks of 32 tokens, 3,000 blocks with 50 clients; a Transformer of "
        "one layer; U: 50 held-out blocks; 100 rounds of M = 5 of M_c = 25 jobs, 1 epoch in batches of 20: 500 "
        "arrivals in all. natural: a client's blocks come from chapters of one novel that nobody else has, a fifth of "
        "the blocks of each; Dir(0.1): shares of each novel's blocks are drawn from a Dirichlet distribution over "
        "clients, and a client below 10 blocks is topped up. Accuracy is over all positions; perplexity that of the "
        "mean loss of the last 5 evaluations. The tokens are learnt from the whole training text, of which clients "
        f"hold a fifth. Every method is {search_words(scale)}. The last two rows are FedEcho, at its own "
        "rates, with the teachers that were chosen on images.",
    )  # fmt: skip


@table
def generation_pools(profile: str = "laptop", *, seeds: Seeds = None) -> Study:
    """Return FedEcho by the source of U, one of them the server's own model, and by what teaches."""
    scale = BLOCKS["generation"][profile]
    late: Changes = {"method.distill.warmup_rounds": max(1, scale_of(scale).protocol.rounds // 5)}
    pools = [
        Variant("held-out"),
        Variant("held-out, from a fifth on", late),
        Variant("its own samples", {"data.pool": "self", **late}),
        Variant("SST-2", {"data.pool": "sst2"}),
    ]
    rows = [*pools, *TEACHERS, *plain(WITHOUT_POOL)]
    return Comparison(
        name="generation_pools", title="What teaches on running text: the pool, the teacher", profile=profile,
        notebook="13_table_generation", scale=scale, cells=grid(scale, rows, [NATURAL_LARGE], seeds=seeds),
        reference="held-out", columns=COLUMNS,
        figures={"bars": (lambda found: charts.bars(found.summary, "held-out"), NEXT)},
        note="FedEcho on running text by the source of U, 50 blocks each, and by what teaches; FedBuff and FedBuff + "
        "EMA use no U. Accuracy is of the next token.",
        details="its own samples: after a fifth of the rounds the server samples U from its own model and distils "
        "from then on, so that no unlabelled text is needed (the tokens and how frequent they are come from the "
        "training text); from a fifth on: held-out blocks, with distillation starting as late. SST-2: phrases of film "
        "reviews. Controls on held-out blocks: the bank without the rows of slow clients (where none has arrived this "
        "changes nothing: see their share); the moving average of the server's models as the teacher, without a bank; "
        "no distillation at the rates of FedEcho. The distillation rate was tuned on held-out blocks with the whole "
        "bank and kept.",
    )  # fmt: skip
