"""The readable twin of notebook 01 and the library are one algorithm, and the comparison would notice otherwise."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from fedecho.core.checks import InputError
from fedecho.core.config import RunConfig, override
from fedecho.learning import experiment, walkthrough
from fedecho.learning.evaluation import HeldOut, evaluate
from fedecho.learning.flat import FlatModel, Weights
from fedecho.learning.task import prepare
from fedecho.studies import contenders

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
"""Rounding makes about 1e-7 after six rounds, the smallest change tried below 8e-5. Training amplifies rounding, so
longer runs would need a wider tolerance."""


def a_config(**changes: object) -> RunConfig:
    """Six rounds of FedEcho at the smoke scale, with a step size that makes distillation matter and clipping bind."""
    config = contenders.base("smoke", contenders.CONTENDERS["FedEcho"], seed=0)
    fields = {"protocol.rounds": 6, "method.distill.lr": 0.1, "method.distill.clip_norm": 0.3, **changes}
    for path, value in fields.items():
        config = override(config, path, value)
    return config


@cache
def twin(config: RunConfig) -> tuple[Tensor, Tensor]:
    """The final parameters `[P]` of the readable version, and those before its last distillation."""
    *_, last = walkthrough.fedecho(prepare(config, torch.device("cpu")), config)
    flat = [torch.cat([value.flatten() for value in model.values()]) for model in (last.x, last.averaged)]
    return flat[0], flat[1]


def library(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, float]:
    """The final parameters `[P]` of `experiment.run`, and the share of clipped steps."""
    seen: list[Tensor] = []

    def watched(model: FlatModel, weights: Weights, data: HeldOut) -> dict[str, object]:
        seen.append(weights.params.clone())
        return evaluate(model, weights, data)

    monkeypatch.setattr(experiment, "evaluate", watched)
    record = experiment.run(config)
    return seen[-1], record.rows[-1]["clipped"]


def differ(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("clip_norm, binds", [(0.3, 1), (None, 0)])
def test_twin_equals_library(clip_norm: float | None, binds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = a_config(**{"method.distill.clip_norm": clip_norm})
    ours, clipped = library(config, monkeypatch)
    theirs, averaged = twin(config)
    assert clipped == binds
    assert differ(theirs, averaged) > 1e-2  # distillation moves the model by far more than the tolerance below
    torch.testing.assert_close(theirs, ours, **CLOSE)


@pytest.mark.parametrize("change", [
    {"method.distill.alpha_max": 0.81}, {"method.distill.clip_norm": 0.31}, {"method.distill.lr": 0.101},
    {"method.distill.steps": 4}, {"method.inner.server_lr": 1.01}, {"local.weight_decay": 0.0},
    {"method.distill.entropy_of": "clients"}, {"method.distill.include_fresh": False},
])  # fmt: skip
def test_comparison_notices(change: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = library(a_config(**change), monkeypatch)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(twin(a_config())[0], ours, **CLOSE)


@pytest.mark.parametrize("change", [
    {"method.distill.average": "probabilities"}, {"method.ema": 0.5}, {"local.augment": True},
    {"protocol.delta": "fadas_code"}, {"method.inner.staleness_exponent": 0.5},
])  # fmt: skip
def test_what_algorithm_1_has_not_is_refused(change: dict[str, object]) -> None:
    (path,) = change
    with pytest.raises(InputError, match=f"{path.rpartition('.')[2]} = .* is not usable: the readable version"):
        walkthrough.plain(a_config(**change))


def test_comparison_notices_another_alpha_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = twin(a_config())
    monkeypatch.setattr(walkthrough, "mixing_weight", lambda levels, settings: settings.alpha_max)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(twin.__wrapped__(a_config())[0], ours, **CLOSE)
