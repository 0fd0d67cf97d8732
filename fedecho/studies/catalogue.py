"""Every set of runs that a table is made of, by name."""

from __future__ import annotations

from collections.abc import Callable

from fedecho.core.checks import require
from fedecho.presets import BLOCKS, Cell, vision_table
from fedecho.studies import ablations, language


def cifar_small(name: str) -> list[Cell]:
    """Return 14_table_cifar: the main table of the CIFAR block that goes with a profile."""
    return vision_table(BLOCKS["cifar"][name])


STUDIES: dict[str, Callable[[str], list[Cell]]] = {
    "vision": vision_table,
    "unlabeled": ablations.unlabeled,
    "ablation_alpha": ablations.alpha,
    "alpha_landscape": ablations.alpha_landscape,
    "ablation_nu": ablations.nu,
    "ablation_data_size": ablations.data_size,
    "ablation_delay": ablations.delay,
    "heterogeneity_buffer": ablations.heterogeneity,
    "bank": ablations.bank_cells,
    "controls": ablations.controls,
    "owners": ablations.owners,
    "correlation": ablations.correlation,
    "sensitivity": ablations.sensitivity,
    "readings": ablations.readings,
    "cifar_small": cifar_small,
    "language": language.classification,
    "language_pools": language.classification_pools,
    "generation": language.generation,
    "generation_pools": language.generation_pools,
    "bank_vocabulary": language.banks,
}
"""A run that several sets share belongs to the first of them."""


def cells(study: str, name: str) -> list[Cell]:
    """Return the runs of a study at a profile's scale; raises `InputError` naming the known studies."""
    require(study in STUDIES, "study", study, f"choose one of {', '.join(STUDIES)}")
    return STUDIES[study](name)
