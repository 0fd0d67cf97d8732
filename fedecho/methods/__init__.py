"""One file per paper; importing this package makes all of them known by name."""

from __future__ import annotations

from fedecho.config import MethodConfig, require
from fedecho.methods.base import REGISTRY as REGISTRY
from fedecho.methods.base import Method as Method
from fedecho.methods.base import Server as Server
from fedecho.methods.base import build as build
from fedecho.methods.ca2fl import CA2FL as CA2FL
from fedecho.methods.fadas import FADAS as FADAS
from fedecho.methods.fedac import FedAC as FedAC
from fedecho.methods.fedasync import FedAsync as FedAsync
from fedecho.methods.fedavg import FedAvg as FedAvg
from fedecho.methods.fedbuff import FedBuff as FedBuff
from fedecho.methods.fedecho import FedEcho as FedEcho


def method_class(name: str) -> type[MethodConfig]:
    """Return the config class of the method `name`; raise `InputError` naming the known ones otherwise."""
    require(name in REGISTRY, "method", name, f"choose one of {', '.join(REGISTRY)}")
    return REGISTRY[name][0]
