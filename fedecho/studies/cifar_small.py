"""14: the main methods on a reduced CIFAR-10."""

from __future__ import annotations

from collections.abc import Sequence

from fedecho.studies.comparison import CURVES, Comparison
from fedecho.studies.contenders import search_words
from fedecho.studies.grid import DELAYS, Seeds, main_settings
from fedecho.studies.profiles import BLOCKS
from fedecho.studies.study import Study, table
from fedecho.studies.teacher import with_heard


@table
def cifar_small(
    profile: str = "laptop",
    *,
    methods: Sequence[str] | None = None,
    settings: Sequence[str] | None = None,
    delays: Sequence[str] = DELAYS,
    seeds: Seeds = None,
) -> Study:
    """Return the main table of the CIFAR block."""
    scale = BLOCKS["cifar"][profile]
    return Comparison(
        name="cifar_small", title="A reduced CIFAR-10 block", notebook="14_table_cifar", profile=profile, scale=scale,
        cells=with_heard(scale, methods, main_settings(scale, settings, delays), seeds),
        figures=CURVES,
        note="Reduced scale: 10,000 CIFAR-10 images, a small CNN, 200 rounds; not comparable with the paper's own "
        "numbers.",
        details="The images are split across 50 clients, and 5,000 were set aside for validation; the small strided "
        "CNN on 32x32x3; U: 1,000 of the first 20,000 training images of CIFAR-100; M = 5 of M_c = 25 jobs, 2 epochs, "
        f"no augmentation. Every method is {search_words(scale)}. The last two rows are FedEcho, at its "
        "own rates, with the teachers that were chosen on Fashion-MNIST. The paper's own scale is 50,000 images, "
        "ResNet-18, 500 rounds.",
    )  # fmt: skip
