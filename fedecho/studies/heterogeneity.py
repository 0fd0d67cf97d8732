"""24: how do heterogeneity and the size of the buffer act together, at equally many client updates?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedecho.core.checks import require
from fedecho.report import captions, charts
from fedecho.report.summary import REFERENCE
from fedecho.studies.comparison import Comparison
from fedecho.studies.contenders import CONTENDERS, base
from fedecho.studies.grid import DIR, FEW, WITHOUT_POOL, Seeds, Setting, grid, plain
from fedecho.studies.profiles import profile as scale_of
from fedecho.studies.study import Study, table

SIZES = {"smoke": (1, 2, 5), "laptop": (1, 2, 5, 10, 25), "paper": (1, 2, 5, 10, 25)}


@table
def heterogeneity_buffer(
    profile: str = "laptop",
    *,
    levels: Sequence[float] = (0.03, 0.1),
    sizes: Sequence[int] | None = None,
    seeds: Seeds = None,
) -> Study:
    """Return the table: methods by Dirichlet concentration and buffer size M."""
    settings = [
        Setting(f"Dir({level:g})", f"M = {size}", buffer(profile, size) | dirichlet(level), (DIR, "large"), {"M": size})
        for level in levels
        for size in (SIZES[profile] if sizes is None else sizes)
    ]
    return Comparison(
        name="heterogeneity_buffer", title="Heterogeneity and buffer size", notebook="24_heterogeneity_buffer",
        profile=profile, cells=grid(profile, plain((*WITHOUT_POOL, REFERENCE)), settings, few=FEW, seeds=seeds),
        figures={
            "accuracy": (
                lambda found: charts.over_factor(
                    found.summary, found.factor("M", "delay"), "delay", "buffer size M", log=True
                ),
                f"Test accuracy in % against the buffer size M (log scale). {captions.POINTS} {captions.DIVERGED}",
            )
        },
        note="Methods by Dirichlet concentration and buffer size M, large delays; T × M, the clients' work, is the "
        "same for every M. Rates: tuned at M = 5; chance is 10 %.",
        details="Small buffers make more server steps, and more distillation steps, since Q is per round. The decay of "
        "FedBuff + EMA is per round too, 0.95 for every M: at M = 25 its average spans a third of the run. M = M_c "
        "waits for all who work. At Dir(0.1) every client has at least 10 images (5 at smoke scale), at Dir(0.03) at "
        "least 1. Three seeds, but for Dir(0.1) with M = 5, a block of the main table, which has the seeds of that.",
    )  # fmt: skip


def buffer(profile: str, size: int) -> dict[str, Any]:
    """Return the changes that give a buffer of `size` the same work, and (nearly) the same between evaluations."""
    protocol = scale_of(profile).protocol
    most = protocol.concurrency
    require(1 <= size <= most, "sizes", size, f"give whole numbers from 1 to {most}, the clients at work")
    if size == protocol.buffer_size:
        return {}
    every = base(profile, CONTENDERS[REFERENCE], 0).evaluation.every * protocol.buffer_size
    return {
        "protocol.buffer_size": size,
        "protocol.rounds": protocol.buffer_size * protocol.rounds // size,
        "evaluation.every": max(1, every // size),
    }


def dirichlet(level: float) -> dict[str, Any]:
    """Return the changes to Dir(`level`): below 0.1 hardly any draw gives every client the usual number of images."""
    if level == 0.1:
        return {}
    return {"partition.alpha": level} | ({"partition.min_size": 1} if level < 0.1 else {})
