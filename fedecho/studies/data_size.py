"""22: how many unlabelled images does the server need?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from fedecho.report import captions, charts, figures
from fedecho.report.summary import Column, server_seconds
from fedecho.studies.comparison import Comparison, Results
from fedecho.studies.grid import FEW, HERE, WITHOUT_POOL, Seeds, Variant, grid, plain
from fedecho.studies.profiles import profile as scale_of
from fedecho.studies.study import Study, table

SIZES = {
    "smoke": (50, 100, 200), "laptop": (100, 250, 500, 1000, 2500, 5000),
    "paper": (100, 500, 1000, 2500, 5000, 10000),
}  # fmt: skip
SERVER = Column("server, s", server_seconds)


@table
def ablation_data_size(profile: str = "laptop", *, sizes: Sequence[int] | None = None, seeds: Seeds = None) -> Study:
    """Return the ablation: FedEcho by |U|, beside methods without U."""
    own = 1000 if profile != "smoke" else scale_of(profile).data.pool_size
    chosen = SIZES[profile] if sizes is None else sorted({own, *sizes})
    variants = [Variant(f"|U| = {size}", {"data.pool_size": size}, factors={"|U|": size}) for size in chosen]
    few = FEW if sizes is None else None
    return Comparison(
        name="ablation_data_size", title="The size of the unlabelled pool", notebook="22_ablation_data_size",
        profile=profile, cells=grid(profile, [*variants, *plain(WITHOUT_POOL)], [HERE], few=few, seeds=seeds),
        reference=f"|U| = {own}", columns=(SERVER,),
        figures={
            "accuracy": (
                partial(over_size, column="mean", label=figures.ACCURACY),
                f"Test accuracy in % against |U| (log scale); no markers: methods without U. {captions.POINTS} "
                f"{captions.DIVERGED}",
            ),
            "seconds": (
                partial(over_size, column=SERVER.name, label="server seconds per run"),
                "Wall-clock seconds of server work in a run, against |U| (log scale); no markers: methods without U.",
            ),
        },
        note="FedEcho by the number of images in U, large delays. Server: wall-clock seconds of a run's server work, "
        "taken beside other runs: a rough measure.",
        details="Q and the batch size stay the same. Server: seconds of a run's inference, bank, aggregation and "
        "distillation, taken while other runs were going on; for a careful measure see [server_cost](#server_cost). "
        "Three seeds.",
    )  # fmt: skip


def over_size(found: Results, column: str, label: str) -> Figure:
    """Draw a column of the summary against |U|."""
    sizes = found.factor("|U|")
    return charts.over_factor(
        found.summary, sizes, "method", "|U|", log=True, level=WITHOUT_POOL, column=column, label=label
    )
