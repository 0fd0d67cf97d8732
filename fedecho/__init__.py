"""FedEcho (arXiv 2511.19966) and its baselines, reproduced: `run(config)` is Algorithm 1, a `Record` its outcome.

>>> from fedecho import FedEcho, RunConfig, run
>>> record = run(RunConfig(FedEcho(), seed=7))  # doctest: +SKIP
>>> record.score  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedecho.config import Delays as Delays
    from fedecho.config import Partition as Partition
    from fedecho.config import Protocol as Protocol
    from fedecho.config import RunConfig as RunConfig
    from fedecho.distill import Distillation as Distillation
    from fedecho.errors import InputError as InputError
    from fedecho.experiment import run as run
    from fedecho.methods import CA2FL as CA2FL
    from fedecho.methods import FADAS as FADAS
    from fedecho.methods import FedBuff as FedBuff
    from fedecho.methods import FedEcho as FedEcho
    from fedecho.records import Record as Record

# Loaded on first use: the schedule and the records must stay usable without importing torch.
_HOME = {
    "run": "experiment",
    "RunConfig": "config",
    "Protocol": "config",
    "Delays": "config",
    "Partition": "config",
    "FedEcho": "methods",
    "Distillation": "distill",
    "FedBuff": "methods",
    "CA2FL": "methods",
    "FADAS": "methods",
    "Record": "records",
    "InputError": "errors",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fedecho' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fedecho.{_HOME[name]}"), name)
