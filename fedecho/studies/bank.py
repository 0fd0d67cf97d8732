"""25, second part: does FedEcho need the whole bank?"""

from __future__ import annotations

from collections.abc import Sequence

from fedecho.core.checks import require_known
from fedecho.learning.cost import work
from fedecho.report.summary import Column
from fedecho.studies.comparison import BARS, Comparison
from fedecho.studies.grid import FEW, HERE, Changes, Seeds, echo, grid
from fedecho.studies.study import Study, table

FORMS: dict[str, Changes] = {
    "float32": {},
    "float16": {"bank_dtype": "float16"},
    "top-3": {"bank_top_k": 3},
    "top-1": {"bank_top_k": 1},
}
"""How much of each prediction the bank keeps, as fields of `Distillation`."""


@table
def bank(profile: str = "laptop", *, forms: Sequence[str] = tuple(FORMS), seeds: Seeds = None) -> Study:
    """Return the table: FedEcho by the form in which the bank keeps its rows."""
    require_known("forms", forms, FORMS)
    rows = [echo(form, **FORMS[form]) for form in dict.fromkeys(["float32", *forms])]
    return Comparison(
        name="bank", title="The bank in fewer bytes", notebook="25_server_cost", profile=profile,
        cells=grid(profile, rows, [HERE], few=FEW, seeds=seeds), reference="float32",
        columns=(
            Column("bytes an image", lambda record: float(work.bank_bytes(record.run_config())[0]), 0),
            Column("bank, MB", lambda record: work.bank_bytes(record.run_config())[1] / 1e6),
        ),
        figures=BARS,
        note="FedEcho, large delays, by how the bank keeps a client's logits: 4 or 2 bytes a number, or only the k "
        "largest of each image.",
        details="All but the k largest logits of an image are replaced by the one value that keeps the row's "
        "probability. Three seeds.",
    )  # fmt: skip
