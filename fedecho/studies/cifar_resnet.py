"""15: the main methods on half of CIFAR-10, with a residual network, to where they have come to rest."""

from __future__ import annotations

from collections.abc import Sequence

from fedecho.studies.comparison import CURVES, Comparison
from fedecho.studies.contenders import search_words
from fedecho.studies.grid import DELAYS, DIR, MIXED, PURE, Seeds, Setting, grid, main_methods, main_settings
from fedecho.studies.profiles import BLOCKS
from fedecho.studies.study import Study, table
from fedecho.studies.teacher import HEARD

SETTINGS = (Setting(DIR, "large"), Setting(PURE, "large"), Setting(MIXED, "large"), Setting(DIR, "mild"))
"""The most wanted first, a run takes about twenty minutes on one core."""


@table
def cifar_resnet(
    profile: str = "laptop",
    *,
    methods: Sequence[str] | None = None,
    settings: Sequence[str] | None = None,
    delays: Sequence[str] | None = None,
    seeds: Seeds = None,
) -> Study:
    """Return the table of CIFAR-10 with a residual network; partitions or delays that are given replace its four
    settings by all of their pairs."""
    scale = BLOCKS["resnet"][profile]
    given = settings is not None or delays is not None
    places = main_settings(scale, settings or (DIR, PURE, MIXED), delays or DELAYS) if given else SETTINGS
    parts = (places[:1], places[1:2], places[2:])  # all seeds of the first, then of the second, then one by one
    rows = [*main_methods(scale, methods), *(HEARD[:1] if methods is None else ())]
    return Comparison(
        name="cifar_resnet", title="CIFAR-10 with a residual network", notebook="15_table_cifar_resnet",
        profile=profile, scale=scale, by_sweep=True,
        cells=[cell for part in parts for cell in grid(scale, rows, part, seeds=seeds)],
        figures={name: (draw, f"{words} Settings of which nothing was run are left out.")
                 for name, (draw, words) in CURVES.items()},
        note="25,000 CIFAR-10 images, a ResNet of eight layers, 500 rounds; the paper's scale is another one.",
        details="The images are split across 50 clients, and 5,000 were set aside for validation; crops and flips; "
        "a ResNet of 79,338 parameters for 32x32x3 with BatchNorm, whose statistics travel with the models; U: 1,000 "
        "of the first 20,000 training images of CIFAR-100; M = 5 of M_c = 25 jobs, 2 epochs. Every method is "
        f"{search_words(scale)}. The last row is FedEcho, at its own rates, with the teacher that was chosen on "
        "Fashion-MNIST. Exploratory throughout. The paper's own scale is 50,000 images, ResNet-18, 500 rounds.",
    )  # fmt: skip
