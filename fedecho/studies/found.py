"""What tuning chose: for each profile and contender the values that the tables use."""

from __future__ import annotations

from fedecho.studies.search import Point

_LAPTOP: dict[str, tuple[Point, ...]] = {
    "FedAvg (sync)": ({"local.lr": 0.147},),
    "FedAsync": ({"local.lr": 0.0903, "method.mixing": 0.803}, {"local.lr": 0.172, "method.mixing": 0.645}),
    "FedBuff": ({"local.lr": 0.147}, {"local.lr": 0.164}),
    "FedBuff (tuned eta)": (
        {"local.lr": 0.24, "method.server_lr": 0.175}, {"local.lr": 0.264, "method.server_lr": 0.288},
    ),
    "FedBuff + EMA": ({"local.lr": 0.0903},),
    "CA2FL": ({"local.lr": 0.0554},),
    "CA2FL (tuned eta)": ({"local.lr": 0.0554}, {"local.lr": 0.264, "method.server_lr": 0.187}),
    "FedAC-public": ({"local.lr": 0.0128, "method.server_lr": 0.00127},),
    "FADAS": ({"local.lr": 0.147, "method.server_lr": 0.00225},),
    "FADAS-da": (
        {"local.lr": 0.0903, "method.server_lr": 0.0225},
        {"local.lr": 0.112, "method.server_lr": 0.00698, "method.beta1": 0.386},
    ),
    "FedStaleAsync": ({}, {"local.lr": 0.112, "method.server_lr": 0.507, "method.beta": 0.0566}),
    "ACE (buffered)": ({}, {"local.lr": 0.264, "method.server_lr": 0.288}),
    "AREA": ({}, {"local.lr": 0.264}),
    "AdaMasFL-public": ({}, {"local.lr": 0.404, "method.server_lr": 0.115, "method.beta": 0.196}),
    "FedEcho": ({"local.lr": 0.147, "method.distill.lr": 0.0225},),
    "FedEcho (tuned eta)": ({"local.lr": 0.147, "method.distill.lr": 0.0225},),
}  # fmt: skip
_CIFAR: dict[str, tuple[Point, ...]] = {
    "FedBuff": ({"local.lr": 0.0208},),
    "FedBuff (tuned eta)": ({"local.lr": 0.0208}, {"local.lr": 0.112, "method.server_lr": 0.256}),
    "FedBuff + EMA": (
        {"local.lr": 0.034}, {"local.lr": 0.0734, "method.server_lr": 0.65, "method.ema": 0.9687},
    ),
    "CA2FL": ({"local.lr": 0.0554},),
    "CA2FL (tuned eta)": ({"local.lr": 0.0554}, {"local.lr": 0.112, "method.server_lr": 0.256}),
    "FADAS": ({"local.lr": 0.147, "method.server_lr": 0.00225},),
    "FedEcho": ({"local.lr": 0.0554, "method.distill.lr": 0.004}, {"local.lr": 0.0554, "method.distill.lr": 0.0108}),
    "FedEcho (tuned eta)": ({"local.lr": 0.0554, "method.distill.lr": 0.004},),
}  # fmt: skip
_RESNET: dict[str, tuple[Point, ...]] = {
    "FedAvg (sync)": ({}, {"local.lr": 0.326, "method.server_lr": 0.779}),
    "FedBuff (tuned eta)": (_CIFAR["FedBuff (tuned eta)"][-1],),
    "FedBuff + EMA": (
        _CIFAR["FedBuff + EMA"][-1], {"local.lr": 0.161, "method.server_lr": 0.526, "method.ema": 0.832},
    ),
    "CA2FL (tuned eta)": (_CIFAR["CA2FL (tuned eta)"][-1], {"local.lr": 0.112, "method.server_lr": 0.472}),
    "FADAS": (
        _CIFAR["FADAS"][-1], {"local.lr": 0.103, "method.server_lr": 0.00241, "method.beta1": 0.9723},
    ),
    "FedEcho": (_CIFAR["FedEcho"][-1], {"local.lr": 0.157, "method.distill.lr": 0.0442}),
}  # fmt: skip
"""Its searches begin with what the small network chose on these images, FedAvg's with the protocol's own."""
_LANGUAGE: dict[str, tuple[Point, ...]] = {
    "FedAvg (sync)": ({"local.lr": 0.0208},),
    "FedBuff": ({"local.lr": 0.0208},),
    "FedBuff (tuned eta)": ({"local.lr": 0.0208, "method.server_lr": 1.0},),
    "FedBuff + EMA": ({"local.lr": 0.0208},),
    "CA2FL": ({"local.lr": 0.034}, {"local.lr": 0.0381}),
    "CA2FL (tuned eta)": ({"local.lr": 0.034, "method.server_lr": 1.0},),
    "FedAC-public": ({"local.lr": 0.0128, "method.server_lr": 0.00127},),
    "FADAS": ({"local.lr": 0.0128, "method.server_lr": 0.00127},),
    "FedEcho": (
        {"local.lr": 0.0128, "method.distill.lr": 0.0127},
        {"local.lr": 0.0113, "method.distill.lr": 0.00528},
    ),
    "FedEcho (tuned eta)": ({"local.lr": 0.0128, "method.distill.lr": 0.0127},),
}
_GENERATION: dict[str, tuple[Point, ...]] = {
    "FedAvg (sync)": ({"local.lr": 1.0}, {"local.lr": 1.94, "method.server_lr": 1.0}),
    "FedBuff": ({"local.lr": 0.251}, {"local.lr": 0.734}),
    "FedBuff (tuned eta)": ({"local.lr": 0.251}, {"local.lr": 1.31, "method.server_lr": 0.395}),
    "FedBuff + EMA": ({"local.lr": 0.398}, {"local.lr": 1.31, "method.server_lr": 0.507, "method.ema": 0.575}),
    "CA2FL": ({"local.lr": 0.251},),
    "CA2FL (tuned eta)": ({"local.lr": 0.251}, {"local.lr": 1.31, "method.server_lr": 0.395}),
    "FedAC-public": (
        {"local.lr": 0.158, "method.server_lr": 0.004},
        {"local.lr": 0.281, "method.server_lr": 0.0043, "method.beta1": 0.835},
    ),
    "FADAS": (
        {"local.lr": 1.59, "method.server_lr": 0.00711},
        {"local.lr": 1.31, "method.server_lr": 0.00698, "method.beta1": 0.386},
    ),
    "FedEcho": ({"local.lr": 1.59, "method.distill.lr": 0.237},),
    "FedEcho (tuned eta)": ({"local.lr": 1.59, "method.distill.lr": 0.237},),
}
FOUND: dict[str, dict[str, tuple[Point, ...]]] = {
    "laptop": _LAPTOP, "smoke": _LAPTOP, "cifar-small": _CIFAR, "cifar-smoke": _CIFAR, "cifar-resnet": _RESNET,
    "resnet-smoke": _RESNET, "language": _LANGUAGE, "language-smoke": _LANGUAGE, "generation": _GENERATION,
    "generation-smoke": _GENERATION,
}  # fmt: skip
"""Profile -> contender -> the values that its search began with (from an earlier one, in paper/records/superseded;
none = the protocol's own), and those that it chose where they are others, from the records in paper/records/tuning and
tuning-<profile>. A block has the rows that are listed here, with () where nothing has been chosen yet.

The smoke profiles borrow them; the paper profile runs at the protocol's own values until it is tuned.
"""
PENDING: dict[str, tuple[str, ...]] = {}
"""Profile -> contenders whose runs are still to be made with the last values that were found; tables use the first."""
