"""One file per table: what it compares, and the words and figures of that table. `make` makes one.

The order of `TABLES` is that in which tables are made: a run that several share belongs to the first of them. What
is not in `ORDER` comes last.
"""

from __future__ import annotations

import importlib
import pkgutil

from fedecho.studies.study import TABLES as TABLES, Study as Study
from fedecho.studies.writing import make as make, write as write

ORDER = (
    "tuning", "vision", "unlabeled", "ablation_alpha", "alpha_landscape", "ablation_nu", "ablation_data_size",
    "ablation_delay", "delay_gap", "heterogeneity_buffer", "server_cost", "server_cost_methods", "many_clients",
    "server_scale",
    "bank", "controls", "owners", "correlation", "sensitivity", "readings_tuning", "readings", "teacher",
    "teacher_test", "faulty_bound", "faulty", "cifar_small", "cifar_clients", "cifar_resnet", "language",
    "language_pools", "generation", "generation_pools", "bank_vocabulary", "cifar_tuning", "cifar_resnet_tuning",
    "language_tuning", "generation_tuning", "theory_convex", "theory_bound", "theory_nonconvex", "theory_arrivals",
    "theory_methods", "theory_distillation",
)  # fmt: skip
for _module in pkgutil.walk_packages(__path__, f"{__name__}."):  # every file of this folder registers its tables
    importlib.import_module(_module.name)
TABLES.update({name: TABLES.pop(name) for name in dict.fromkeys([*ORDER, *TABLES])})
globals().update(TABLES)
