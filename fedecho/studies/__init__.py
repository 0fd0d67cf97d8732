"""One file per table: what it compares, and the words and figures of that table. `make` makes one.

The order of `TABLES` is that in which tables are made: a run that several share belongs to the first of them. What
is not in `ORDER` comes last.
"""

from __future__ import annotations

import importlib
import pkgutil

from fedecho.studies.alpha import ablation_alpha as ablation_alpha
from fedecho.studies.alpha import alpha_landscape as alpha_landscape
from fedecho.studies.bank import bank as bank
from fedecho.studies.cifar_small import cifar_small as cifar_small
from fedecho.studies.controls import controls as controls
from fedecho.studies.controls import correlation as correlation
from fedecho.studies.controls import owners as owners
from fedecho.studies.data_size import ablation_data_size as ablation_data_size
from fedecho.studies.delay import ablation_delay as ablation_delay
from fedecho.studies.delay import delay_gap as delay_gap
from fedecho.studies.generation import generation as generation
from fedecho.studies.generation import generation_pools as generation_pools
from fedecho.studies.heterogeneity import heterogeneity_buffer as heterogeneity_buffer
from fedecho.studies.language import language as language
from fedecho.studies.language import language_pools as language_pools
from fedecho.studies.nu import ablation_nu as ablation_nu
from fedecho.studies.sensitivity import readings as readings
from fedecho.studies.sensitivity import sensitivity as sensitivity
from fedecho.studies.server_cost import server_cost as server_cost
from fedecho.studies.server_cost import server_cost_methods as server_cost_methods
from fedecho.studies.study import TABLES as TABLES
from fedecho.studies.study import Study as Study
from fedecho.studies.teacher import teacher as teacher
from fedecho.studies.theory.arrivals import theory_arrivals as theory_arrivals
from fedecho.studies.theory.bound import theory_bound as theory_bound
from fedecho.studies.theory.distillation import theory_distillation as theory_distillation
from fedecho.studies.theory.methods import theory_methods as theory_methods
from fedecho.studies.theory.rates import theory_convex as theory_convex
from fedecho.studies.theory.rates import theory_nonconvex as theory_nonconvex
from fedecho.studies.tuning import cifar_tuning as cifar_tuning
from fedecho.studies.tuning import generation_tuning as generation_tuning
from fedecho.studies.tuning import language_tuning as language_tuning
from fedecho.studies.tuning import tuning as tuning
from fedecho.studies.unlabeled import unlabeled as unlabeled
from fedecho.studies.vision import vision as vision
from fedecho.studies.vocabulary import bank_vocabulary as bank_vocabulary
from fedecho.studies.writing import make as make
from fedecho.studies.writing import write as write

ORDER = (
    "tuning", "vision", "unlabeled", "ablation_alpha", "alpha_landscape", "ablation_nu", "ablation_data_size",
    "ablation_delay", "delay_gap", "heterogeneity_buffer", "server_cost", "server_cost_methods", "bank", "controls",
    "owners", "correlation", "sensitivity", "readings", "teacher", "cifar_small", "language", "language_pools",
    "generation", "generation_pools", "bank_vocabulary", "cifar_tuning", "language_tuning", "generation_tuning",
    "theory_convex", "theory_bound", "theory_nonconvex", "theory_arrivals", "theory_methods", "theory_distillation",
)  # fmt: skip
for _module in pkgutil.iter_modules(__path__):  # a file that is added here is a table without more ado
    importlib.import_module(f"{__name__}.{_module.name}")
TABLES.update({name: TABLES.pop(name) for name in dict.fromkeys([*ORDER, *TABLES])})
globals().update(TABLES)
