"""28: how few bytes of a prediction over a vocabulary does the bank have to keep?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fedecho.core.checks import require_known
from fedecho.core.records import Record
from fedecho.learning.bank import Bank
from fedecho.learning.cost import work
from fedecho.report.summary import Column, mean_of
from fedecho.studies.comparison import Comparison
from fedecho.studies.generation import BY_NOVEL, PERPLEXITY
from fedecho.studies.grid import DIR, Changes, Seeds, Setting, echo, grid
from fedecho.studies.profiles import BLOCKS
from fedecho.studies.study import Study, table

WHOLE = "all"
FORMS: dict[str, Changes] = {
    WHOLE: {},
    "all, float16": {"bank_dtype": "float16"},
    **{f"top-{k}": {"bank_top_k": k} for k in (64, 16, 4, 1)},
    "64 most frequent": {"bank_labels": 64},
}
"""How much of each prediction the bank keeps, as fields of `Distillation`."""
VOCABULARIES: dict[str, dict[int, Changes]] = {
    "smoke": {257: {}, 300: {}},
    "laptop": {1000: {}, 4096: {"protocol.rounds": 50}, 32_768: {"protocol.rounds": 10, "data.pool_size": 20}},
}
"""Profile -> size of the vocabulary -> what is made smaller there, so that a run takes minutes."""


def bits(record: Record) -> float:
    """Return the bits that a character of the held-out text takes: comparable between vocabularies, as perplexity is
    not; nan where the run diverged."""
    loss = record.mean_of_last("loss")
    return np.nan if loss is None else loss / np.log(2) / float(record.facts["characters_per_token"])


def position_bytes(record: Record) -> float:
    """Return the bytes that the bank of a FedEcho run keeps of one prediction."""
    config = record.run_config()
    return work.bank_bytes(config)[1] / (config.protocol.clients * work.predictions(config)[0])


def allocated(record: Record) -> tuple[float, float]:
    """Return the bytes of the tensors of a FedEcho run's bank, to set beside what is predicted, and of the running sum
    of its rows, which comes on top whatever is kept of them."""
    config = record.run_config()
    bank = Bank.empty(config.protocol.clients, work.predictions(config), torch.device("meta"), config.distill)
    return float(bank.nbytes), float(bank.total.nbytes)


COLUMNS = (
    PERPLEXITY,
    Column("bits a character", bits, 3),
    Column("entropy", mean_of("entropy"), 3),
    Column("bytes", position_bytes, 0),
    Column("bank, MB", lambda record: work.bank_bytes(record.run_config())[1] / 1e6),
    Column("allocated, MB", lambda record: allocated(record)[0] / 1e6),
    Column("and the sum, MB", lambda record: sum(allocated(record)) / 1e6),
)


@table
def bank_vocabulary(
    profile: str = "laptop",
    *,
    forms: Sequence[str] = tuple(FORMS),
    vocabularies: Sequence[int] | None = None,
    seeds: Seeds = None,
) -> Study:
    """Return the table: FedEcho by the form of the bank and the size of the vocabulary."""
    scale, known = BLOCKS["generation"][profile], VOCABULARIES["smoke" if profile == "smoke" else "laptop"]
    require_known("forms", forms, FORMS)
    rows = [echo(form, **FORMS[form]) for form in dict.fromkeys([WHOLE, *forms])]
    cells = []
    for place, size in enumerate(known if vocabularies is None else vocabularies):
        changes = {**BY_NOVEL, "data.vocabulary": size, **known.get(size, {})}
        few = None if place == 0 or vocabularies is not None else 1
        cells += grid(scale, rows, [Setting(f"V = {size}", "large", changes, (DIR, "large"))], few=few, seeds=seeds)
    return Comparison(
        name="bank_vocabulary", title="A bank of predictions over a vocabulary", notebook="28_bank_compression",
        profile=profile, scale=scale, cells=cells, reference=WHOLE, columns=COLUMNS,
        note="FedEcho on running text by how much of each prediction the bank keeps, for V tokens. Read V = 32768 for "
        "memory only; perplexities of different V cannot be compared.",
        details="Natural heterogeneity. The bank keeps all V numbers, the k largest with one number that spreads the "
        "probability of the rest evenly, or those of the 64 most frequent tokens with such a number. Bytes: of the "
        "row of one position, as stored; bank: all N |U| L rows, predicted, and allocated, the size of the tensors; "
        "with the running sum of the rows, 8 bytes a number, which every form needs. Entropy: the teacher's, over log "
        "V, mean over the run. A single truncated row can only gain entropy, at most its tail's probability times "
        "log(V − k) nats; for the teacher, a mean of such rows, no bound holds in general. Runs with V = 4,096 have "
        "50 rounds, with V = 32,768 (of which BPE finds 14,270) 10 rounds with only 2 evaluations, and 20 "
        "blocks in U, one seed each; the rank of the word vectors falls with V, from 32 to 8, and the rates are those "
        "tuned at V = 1,000. At V = 32,768 no model is better than knowing frequencies alone (the notebook prints "
        "that yardstick): a flatter teacher looks better there. Bits a character are in one unit for all V, but the "
        "runs differ in rounds and in how much text a block holds.",
    )  # fmt: skip
