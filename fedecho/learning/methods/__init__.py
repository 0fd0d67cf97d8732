"""One file per paper; importing this package makes all of them known by name."""

from __future__ import annotations

from fedecho.learning.methods.adamasfl import AdaMasFL as AdaMasFL
from fedecho.learning.methods.area import AREA as AREA
from fedecho.learning.methods.base import Method as Method, Server as Server, build as build
from fedecho.learning.methods.ca2fl import CA2FL as CA2FL
from fedecho.learning.methods.fadas import FADAS as FADAS
from fedecho.learning.methods.fedac import FedAC as FedAC
from fedecho.learning.methods.fedasync import FedAsync as FedAsync
from fedecho.learning.methods.fedavg import FedAvg as FedAvg
from fedecho.learning.methods.fedbuff import FedBuff as FedBuff
from fedecho.learning.methods.fedecho import FedEcho as FedEcho
from fedecho.learning.methods.fedstaleasync import FedStaleAsync as FedStaleAsync
