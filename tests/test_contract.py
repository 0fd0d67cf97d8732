"""What every method must keep to: dtype, determinism, order-independence of the buffer, state that can be saved."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedecho.core.config import METHODS as KNOWN, MethodConfig, methods_in
from fedecho.learning.client import Update
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import FlatModel, Weights
from fedecho.learning.methods import (
    AREA,
    CA2FL,
    FADAS,
    AdaMasFL,
    FedAC,
    FedAsync,
    FedAvg,
    FedBuff,
    FedEcho,
    FedStaleAsync,
    Method,
    Server,
    build,
)
from fedecho.learning.methods.base import STATES
from fedecho.learning.models.texts import TextDecoder, TextEncoder

SMALL = Distillation(steps=3, batch_size=5)
METHODS: list[MethodConfig] = [
    FedAvg(), FedAsync(), FedAsync(staleness="hinge"), FedBuff(), FedBuff(staleness_exponent=0.5), FedBuff(ema=0.9),
    CA2FL(), FADAS(), FADAS(delay_adaptive=True), FedAC(),
    FedStaleAsync(), FedStaleAsync(beta=1.0, participation="certain"), AREA(), AdaMasFL(),
    *(FedEcho(distill=SMALL, inner=inner) for inner in (FedBuff(), CA2FL(), FADAS(), FedAC(), AdaMasFL())),
    FedEcho(distill=replace(SMALL, teachers="idle", bank_decay=0.9)), FedEcho(distill=SMALL, ema=0.9),
    FedEcho(distill=replace(SMALL, bank_dtype="float16")), FedEcho(distill=replace(SMALL, bank_top_k=1)),
    FedEcho(distill=replace(SMALL, prior_correction=0.5, energy_weight=3.0)),
    *(FedEcho(distill=replace(SMALL, teacher_weights=how)) for how in ("fedaux", "label counts", "seen prior")),
]  # fmt: skip
Make = Callable[..., list[Update]]


@pytest.fixture(params=["features", "texts", "tokens"])
def server(request: pytest.FixtureRequest, server: Server) -> Server:
    """The linear model on a pool of points, a tiny encoder on texts of different lengths, or a decoder on tokens."""
    if request.param == "features":
        return server
    torch.manual_seed(0)
    if request.param == "tokens":
        return replace(server, model=FlatModel(TextDecoder(9, 5, width=4)), pool=torch.randint(0, 9, (8, 5)))
    pool = torch.randint(2, 9, (8, 5)) * (torch.arange(5) <= torch.arange(8)[:, None])
    return replace(server, model=FlatModel(TextEncoder(9, 5, 3, width=4)), pool=pool)


@pytest.fixture(params=METHODS, ids=repr)
def method(request: pytest.FixtureRequest, server: Server) -> Method[Any]:
    return build(request.param, server)


def simulate(
    method: Method[Any],
    server: Server,
    make: Make,
    rounds: range,
    state: Any = None,
    x: Weights | None = None,
    shuffle: bool = False,
) -> tuple[Any, Weights]:
    x = server.model.weights() if x is None else x
    state = method.init(x, 6) if state is None else state
    for now in rounds:
        updates = make(len(x.params), now=now)
        updates = random.Random(now).sample(updates, len(updates))[::-1] if shuffle else updates
        for update in updates:
            state = method.receive(state, update)
        state, x = method.close_round(state, x)
    return state, x


@pytest.fixture
def start(server: Server) -> Weights:
    return server.model.weights()


def test_every_method_is_covered() -> None:
    assert {config.name for config in METHODS} == set(KNOWN)


def test_keeps_dtype_shape_and_finiteness_and_leaves_the_versions_it_is_given_alone(
    method: Method[Any], server: Server, make_updates: Make, start: Weights
) -> None:
    kept = start.params.clone()
    state, x = simulate(method, server, make_updates, range(4), x=start)
    assert torch.equal(start.params, kept)
    scored = method.evaluated(state, x)
    for version in (x, scored):
        assert version.params.dtype == torch.float32 and version.params.shape == start.params.shape
        assert version.finite() and not torch.equal(version.params, start.params)
    assert all(isinstance(value, float) for value in method.metrics(state).values())


def test_is_deterministic(method: Method[Any], server: Server, make_updates: Make, start: Weights) -> None:
    one, two = (simulate(method, server, make_updates, range(3), x=start)[1] for _ in range(2))
    assert torch.equal(one.params, two.params)


def test_order_within_the_buffer_does_not_matter(
    method: Method[Any], server: Server, make_updates: Make, start: Weights
) -> None:
    def many(size: int, now: int) -> list[Update]:
        return make_updates(size, count=5, now=now)

    sorted_, shuffled = (simulate(method, server, many, range(3), x=start, shuffle=s)[1] for s in (False, True))
    assert torch.equal(sorted_.params, shuffled.params)


def test_state_survives_a_file(
    method: Method[Any], server: Server, make_updates: Make, start: Weights, tmp_path: Path
) -> None:
    state, x = simulate(method, server, make_updates, range(2), x=start)
    state = method.receive(state, make_updates(len(x.params), now=2)[0])
    torch.save(state, tmp_path / "state.pt")
    with torch.serialization.safe_globals(list(STATES)):
        restored = torch.load(tmp_path / "state.pt", weights_only=True)
    rest = make_updates(len(x.params), now=2)[1:]
    results = []
    for s in (state, restored):
        for update in rest:
            s = method.receive(s, update)
        s, x_next = method.close_round(s, x)
        results.append(simulate(method, server, make_updates, range(3, 5), s, x_next)[1])
    assert torch.equal(results[0].params, results[1].params)


@pytest.mark.parametrize("config", METHODS, ids=repr)
def test_only_adamasfl_takes_steps_of_one_length(config: MethodConfig, server: Server) -> None:
    assert build(config, server).normalised is any(isinstance(each, AdaMasFL) for each in methods_in(config))
