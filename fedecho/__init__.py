"""FedEcho (arXiv 2511.19966) and its baselines, re-implemented: `run(config)` is Algorithm 1, a `Record` its outcome.

>>> from fedecho import compare, configure, run
>>> record = run(configure("fedecho", seed=7), progress=True)  # doctest: +SKIP
>>> compare([configure("fedbuff"), configure("fedecho")], seeds=(0, 1, 2)).text  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedecho.core.checks import InputError as InputError
    from fedecho.core.config import RunConfig as RunConfig
    from fedecho.core.records import Record as Record
    from fedecho.core.settings import Delays as Delays, Partition as Partition, Protocol as Protocol
    from fedecho.learning.echo_settings import Distillation as Distillation
    from fedecho.learning.experiment import run as run
    from fedecho.learning.methods import (
        CA2FL as CA2FL,
        FADAS as FADAS,
        FedAvg as FedAvg,
        FedBuff as FedBuff,
        FedEcho as FedEcho,
    )
    from fedecho.studies.compare import compare as compare
    from fedecho.studies.contenders import configure as configure

# Loaded on first use: the schedule and the records must stay usable without importing torch.
_NAMES = {
    "learning.experiment": ("run",),
    "studies.contenders": ("configure",),
    "studies.compare": ("compare",),
    "core.config": ("RunConfig",),
    "core.settings": ("Protocol", "Delays", "Partition"),
    "learning.methods": ("FedEcho", "FedAvg", "FedBuff", "CA2FL", "FADAS"),
    "learning.echo_settings": ("Distillation",),
    "core.records": ("Record",),
    "core.checks": ("InputError",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fedecho' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fedecho.{_HOME[name]}"), name)
