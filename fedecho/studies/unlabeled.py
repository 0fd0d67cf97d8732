"""12: what may the server's unlabelled pool U consist of?"""

from __future__ import annotations

from collections.abc import Sequence

from fedecho.studies.comparison import BARS, Comparison
from fedecho.studies.grid import FEW, HERE, PURE_LARGE, WITHOUT_POOL, Changes, Seeds, Variant, fresh, grid, plain
from fedecho.studies.study import Study, table

POOLS = ("digits", "diffusion", "dead-leaves", "noise")
CLAIMED = "diffusion"
"""The pool that a primary claim rests on."""
PAPER_POOLS = ("stl10", "tiny-imagenet-32", "generated", "dead-leaves", "noise")
REMEDIES: dict[str, Changes] = {
    "certain images": {"method.distill.pool_weights": "certainty"},
    "agreed images": {"method.distill.pool_weights": "agreement"},
    "mixed in pairs": {"data.pool_mix": 0.3},
}
"""Three ways to make more of a synthetic pool that need no real image (open question 2 of the paper)."""
REMEDIED = ("diffusion", "dead-leaves")


@table
def unlabeled(profile: str = "laptop", *, pools: Sequence[str] | None = None, seeds: Seeds = None) -> Study:
    """Return the table: FedEcho by the source of U at equal |U|, beside methods without U."""
    chosen = list(pools if pools is not None else PAPER_POOLS if profile == "paper" else POOLS)
    sources = [Variant(label, {"data.pool": label}) for label in chosen]
    remedies = [
        Variant(f"{pool}, {label}", {"data.pool": pool, **changes})
        for pool in REMEDIED
        for label, changes in REMEDIES.items()
        if pool in chosen
    ]
    held_out, rivals = Variant("held-out"), plain(WITHOUT_POOL)
    cells = grid(profile, [held_out, *sources, *remedies, *rivals], [HERE], seeds=seeds)
    cells += grid(profile, [held_out, *(v for v in sources if v.label == CLAIMED)], [HERE], seeds=fresh(profile, seeds))
    cells += grid(profile, [held_out, *sources, *rivals], [PURE_LARGE], few=FEW, seeds=seeds)
    return Comparison(
        name="unlabeled", title="The unlabelled pool U by its source", notebook="12_table_unlabeled", profile=profile,
        cells=cells, reference="held-out",
        figures=BARS,
        note="FedEcho by the source of U, all of equal size; FedBuff and FedBuff + EMA use none. Below noise: "
        "remedies without real images.",
        details="held-out: images of the clients' distribution without their labels. The distillation rate was tuned "
        "on that pool and kept for all. The rows after noise are remedies that need no real image: weighting U by the "
        "teacher's certainty (1 − normalised entropy) or by the clients' agreement on its label, and mixing each "
        "image with another (0.7 + 0.3). held-out and diffusion, on which a primary claim rests, have the fresh seeds "
        "too; where stragglers own classes there are three seeds.",
    )  # fmt: skip
