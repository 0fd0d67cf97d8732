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
    from fedecho.core.settings import Delays as Delays
    from fedecho.core.settings import Partition as Partition
    from fedecho.core.settings import Protocol as Protocol
    from fedecho.learning.echo_settings import Distillation as Distillation
    from fedecho.learning.experiment import run as run
    from fedecho.learning.methods import CA2FL as CA2FL
    from fedecho.learning.methods import FADAS as FADAS
    from fedecho.learning.methods import FedAvg as FedAvg
    from fedecho.learning.methods import FedBuff as FedBuff
    from fedecho.learning.methods import FedEcho as FedEcho
    from fedecho.studies.compare import compare as compare
    from fedecho.studies.contenders import configure as configure

# Loaded on first use: the schedule and the records must stay usable without importing torch.
_HOME = {
    "run": "learning.experiment",
    "configure": "studies.contenders",
    "compare": "studies.compare",
    "RunConfig": "core.config",
    "Protocol": "core.settings",
    "Delays": "core.settings",
    "Partition": "core.settings",
    "FedEcho": "learning.methods",
    "Distillation": "learning.echo_settings",
    "FedAvg": "learning.methods",
    "FedBuff": "learning.methods",
    "CA2FL": "learning.methods",
    "FADAS": "learning.methods",
    "Record": "core.records",
    "InputError": "core.checks",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fedecho' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fedecho.{_HOME[name]}"), name)
