"""Each method on numbers one can check by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor, nn

from fedecho.core.settings import Local
from fedecho.learning.bank import Bank
from fedecho.learning.client import Update
from fedecho.learning.distill import Teacher
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
    FedStaleAsync,
    Method,
    Server,
)
from fedecho.learning.methods.adamasfl import adamasfl
from fedecho.learning.methods.area import area
from fedecho.learning.methods.ca2fl import ca2fl
from fedecho.learning.methods.fadas import fadas
from fedecho.learning.methods.fedac import fedac, similarity
from fedecho.learning.methods.fedasync import fedasync, staleness_weight
from fedecho.learning.methods.fedavg import fedavg
from fedecho.learning.methods.fedbuff import fedbuff
from fedecho.learning.methods.fedecho import echo
from fedecho.learning.methods.fedstaleasync import fedstaleasync
from tests.conftest import an_update, weights


def play(method: Method[Any], x: Weights, *rounds: list[Update], clients: int = 4) -> tuple[Any, Weights]:
    """Play rounds of uploads and return the last state and model."""
    state = method.init(x, clients)
    for updates in rounds:
        for update in updates:
            state = method.receive(state, update)
        state, x = method.close_round(state, x)
    return state, x


def close(x: Weights, *expected: float) -> None:
    torch.testing.assert_close(x.params, torch.tensor(expected))


@pytest.mark.parametrize(
    "method",
    [
        fedbuff(FedBuff(server_lr=0.5)), fedavg(FedAvg(server_lr=0.5)), ca2fl(CA2FL(server_lr=0.5)),
        fedstaleasync(FedStaleAsync(server_lr=0.5)),
    ],
)  # fmt: skip
def test_identical_deltas_move_x_by_eta_delta(method: Method[Any]) -> None:
    _, x = play(method, weights(1.0, 2.0), [an_update([4.0, -2.0], client=c) for c in range(3)])
    close(x, 3.0, 1.0)


def test_fedavg_and_fedbuff_average() -> None:
    updates = [an_update([1.0], client=0), an_update([5.0], client=1, base=-8)]
    for method in (fedavg(FedAvg()), fedbuff(FedBuff())):
        close(play(method, weights(10.0), updates)[1], 13.0)


def test_fedbuff_staleness_weight_is_not_normalised() -> None:
    # tau = 0 and 3 with a = 1/2: weights 1 and 1/2, mean (1 * 2 + .5 * 4) / 2 = 2.
    updates = [an_update([2.0], client=0, base=3, now=3), an_update([4.0], client=1, base=0, now=3)]
    close(play(fedbuff(FedBuff(staleness_exponent=0.5)), weights(0.0), updates)[1], 2.0)


def test_batchnorm_statistics_are_the_mean_of_the_buffer() -> None:
    updates = [an_update([0.0], client=c, buffers=[float(c), 4.0]) for c in (1, 2)]
    _, x = play(fedbuff(FedBuff()), Weights(torch.zeros(1), torch.tensor([9.0, 9.0])), updates)
    assert x.buffers.tolist() == [1.5, 4.0]


def test_ema_scores_the_average_and_sends_x() -> None:
    method = fedbuff(FedBuff(ema=0.75))
    state, x = play(method, weights(0.0), [an_update([4.0])], [an_update([4.0], now=1)])
    close(x, 8.0)
    close(method.evaluated(state, x), 0.75 * (0.25 * 4) + 0.25 * 8)


@pytest.mark.parametrize(
    ("staleness", "tau", "expected"),
    [("constant", 9, 1.0), ("polynomial", 3, 0.5), ("polynomial", 0, 1.0), ("hinge", 4, 1.0), ("hinge", 5, 1 / 11),
     ("hinge", 6, 1 / 21)],
)  # fmt: skip
def test_fedasync_staleness_weights(staleness: Any, tau: int, expected: float) -> None:
    assert staleness_weight(FedAsync(staleness=staleness), tau) == pytest.approx(expected)


def test_fedasync_mixes_one_arrival_after_the_other() -> None:
    # x = 0; the first model is 4: x = 2; the second started from 10 and is 11: x = 6.5.
    updates = [an_update([4.0], client=0, start=weights(0.0)), an_update([1.0], client=1, start=weights(10.0))]
    _, x = play(fedasync(FedAsync(mixing=0.5, staleness="constant")), weights(0.0), updates)
    close(x, 6.5)


def test_fedasync_mixes_batchnorm_statistics_alike() -> None:
    update = an_update([0.0], buffers=[8.0])
    _, x = play(
        fedasync(FedAsync(mixing=0.25, staleness="constant")), Weights(torch.zeros(1), torch.tensor([4.0])), [update]
    )
    assert x.buffers.tolist() == [5.0]


def test_ca2fl_by_hand() -> None:
    # N = 4. Round 0: clients 0, 1 send 4, 8: v = 6, h = (4 + 8) / 4 = 3. Round 1: 0 sends 6 (was 4), 2 sends 2 (was 0):
    # v = 3 + ((6 - 4) + (2 - 0)) / 2 = 5, h = (6 + 8 + 2) / 4 = 4.
    first = [an_update([4.0], client=0), an_update([8.0], client=1)]
    second = [an_update([6.0], client=0, now=1), an_update([2.0], client=2, now=1)]
    state, x = play(ca2fl(CA2FL()), weights(0.0), first, second)
    close(x, 11.0)
    assert state.mean.tolist() == [4.0] and state.cache[:, 0].tolist() == [6.0, 8.0, 2.0, 0.0]


def test_ca2fl_with_all_clients_is_full_participation() -> None:
    rounds = [[an_update([float(c + r)], client=c, now=r) for c in range(4)] for r in range(3)]
    _, x = play(ca2fl(CA2FL()), weights(0.0), *rounds)
    close(x, 1.5 + 2.5 + 3.5)


def test_ca2fl_second_upload_of_a_client_telescopes() -> None:
    updates = [an_update([3.0], client=0, arrived=0.1), an_update([5.0], client=0, arrived=0.2)]
    state, x = play(ca2fl(CA2FL()), weights(0.0), updates)
    close(x, 2.5)
    assert state.cache[0].tolist() == [5.0] and state.mean.tolist() == [1.25]


@pytest.mark.parametrize("steps", [[1e8, 1.0], [1e8, 1e5, 1e2, 1.0], [1.0, 1e8, 1e6, 1e4, 1e2, 1.0]])
def test_ca2fls_mean_forgets_an_outlier_that_was_replaced(steps: list[float]) -> None:
    # N = 4: client 0 sends what is listed, client 1 always 3, client 2 always 2, so at last h = (1 + 3 + 2) / 4. In
    # float32 10^8 + 1 is 10^8, and so what goes when 10^8 is replaced is not what came.
    rounds = [
        [an_update([value], client=c, now=now) for c, value in enumerate((step, 3.0, 2.0))]
        for now, step in enumerate(steps)
    ]
    state, _ = play(ca2fl(CA2FL()), weights(0.0), *rounds)
    assert state.mean.tolist() == [1.5]


def test_ca2fls_mean_is_kept_incrementally_to_the_last_bit_where_there_is_no_outlier() -> None:
    # Deltas of a spread of 1000, as in training; each round M = 2 of N = 4.
    deltas = 10 ** (3 * torch.rand(40, 2, 5, generator=torch.Generator().manual_seed(0)) - 3)
    cache, mean = torch.zeros(4, 5), torch.zeros(5)
    rounds = [
        [an_update(d.tolist(), client=(t + c) % 4, now=t) for c, d in enumerate(two)] for t, two in enumerate(deltas)
    ]
    for t, two in enumerate(deltas):
        own = sorted([t % 4, (t + 1) % 4])  # by arrival: in the order of the clients
        fresh = torch.stack([two[(client - t) % 4] for client in own])
        mean = mean + (fresh - cache[own]).mean(0) * (2 / 4)
        cache[own] = fresh
    state, _ = play(ca2fl(CA2FL()), Weights(torch.zeros(5), torch.empty(0)), *rounds)
    assert torch.equal(state.mean, mean) and not torch.equal(mean, cache.mean(0))


def test_ca2fl_with_zero_cache_is_fedbuff() -> None:
    updates = [an_update([0.1 * c, -0.3], client=c) for c in range(3)]
    a, b = (play(method, weights(0.7, 0.2), updates)[1] for method in (ca2fl(CA2FL()), fedbuff(FedBuff())))
    assert torch.equal(a.params, b.params)


def test_fadas_equals_torch_amsgrad() -> None:
    # Both keep max(v) and correct its bias afterwards, so with Delta for -gradient the updates are the same. They part
    # where FADAS adapts to delay, and where Adam would decay weights.
    parameter = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = torch.optim.Adam([parameter], lr=0.1, betas=(0.9, 0.99), eps=1e-8, amsgrad=True)
    method, x = fadas(FADAS(server_lr=0.1)), weights(1.0, -2.0)
    state = method.init(x, 2)
    for step, delta in enumerate([[1.0, -3.0], [2.0, 0.5], [-0.1, 0.2], [0.0, 1.0]]):
        parameter.grad = -torch.tensor(delta)
        optimizer.step()
        state = method.receive(state, an_update(delta, now=step))
        state, x = method.close_round(state, x)
        torch.testing.assert_close(x.params, parameter.detach())


def test_fadas_first_step_by_hand() -> None:
    # Bias correction makes the first step eta * sign(Delta).
    _, x = play(fadas(FADAS(server_lr=0.5)), weights(0.0, 0.0), [an_update([4.0, -0.01])])
    close(x, 0.5, -0.5)


@pytest.mark.parametrize(("tau", "expected"), [(0, 0.5), (1, 0.5), (2, 0.25), (5, 0.1)])
def test_fadas_delay_adaptive_divides_by_the_largest_staleness(tau: int, expected: float) -> None:
    config = FADAS(server_lr=0.5, delay_adaptive=True, delay_threshold=1.0)
    updates = [an_update([1.0], client=0, base=9, now=9), an_update([1.0], client=1, base=9 - tau, now=9)]
    close(play(fadas(config), weights(0.0), updates)[1], expected)


def test_fedac_weighs_by_the_cosine_of_server_and_client_direction() -> None:
    x = weights(1.0, 0.0)
    aligned = an_update([3.0, 0.0], base=0, now=2, start=weights(0.0, 0.0))
    assert similarity(aligned, x, 0.1) == pytest.approx(1.0)
    assert similarity(replace(aligned, delta=torch.tensor([1.0, 1.0])), x, 0.1) == pytest.approx(0.5**0.5)
    assert similarity(replace(aligned, delta=torch.tensor([-1.0, 0.0])), x, 0.1) == 0.1
    assert similarity(replace(aligned, base_version=2), x, 0.1) == 1.0  # fresh: not penalised


def test_fedac_first_round_by_hand() -> None:
    # One fresh update: m = .4 d, v = .1 d^2, look-ahead .6 * .4 d + .4 d = .64 d; step eta * .64 / sqrt(.1) * sign(d).
    _, x = play(fedac(FedAC(server_lr=0.1), Local(lr=0.5)), weights(0.0, 0.0), [an_update([2.0, -3.0])])
    close(x, 0.1 * 0.64 / 0.1**0.5, -0.1 * 0.64 / 0.1**0.5)


@pytest.mark.parametrize(("control_step", "moved"), [("scaffold", -1.0 / 4), ("weighted", -1.0)])
def test_fedac_control_variates_follow_scaffold(control_step: Any, moved: float) -> None:
    # K = 4 steps of lr .5 moved the client by 2: its mean gradient was -1, so c_i = -1 and c moves by its share.
    method = fedac(FedAC(control_step=control_step), Local(lr=0.5))
    state = method.init(weights(0.0), 4)
    assert method.correction(state, 0, method.broadcast(state)).tolist() == [0.0]  # type: ignore[union-attr]
    state = method.receive(state, an_update([2.0], steps=4, correction=torch.zeros(1)))
    state, _ = method.close_round(state, weights(0.0))
    assert state.client_controls[:, 0].tolist() == [-1.0, 0.0, 0.0, 0.0]
    assert state.control.tolist() == [pytest.approx(moved)]
    # The next job gets c - c_i; a client that then moves by 0 has gradient -(c - c_i), i.e. c_i - c.
    correction = method.correction(state, 0, method.broadcast(state))
    assert correction is not None and correction.tolist() == [pytest.approx(moved + 1.0)]
    state = method.receive(state, an_update([0.0], steps=4, correction=correction))
    state, _ = method.close_round(state, weights(0.0))
    assert state.client_controls[0].tolist() == [pytest.approx(-(moved + 1.0))]


# FedStaleAsync and ACE, its corner

ACE = FedStaleAsync(beta=1.0, participation="certain")
Arrivals = list[tuple[int, float]]
"""Client and Delta of each upload of a round."""


def uploads(*rounds: Arrivals) -> list[list[Update]]:
    return [[an_update([delta], client=c, now=now) for c, delta in round_] for now, round_ in enumerate(rounds)]


def as_in_the_code(config: FedStaleAsync, rounds: list[Arrivals]) -> float:
    """x after some rounds, v_i client by client: Delta_i / p + (beta - [i in S] beta / p) h_i, over those heard."""
    x, last = 0.0, dict[int, float]()
    for arrived in rounds:
        fresh = dict(arrived)
        heard = {*last, *fresh}
        p = 1.0 if config.participation == "certain" else len(fresh) / len(heard)
        v = [fresh.get(i, 0.0) / p + (config.beta - (i in fresh) * config.beta / p) * last.get(i, 0.0) for i in heard]
        x, last = x + config.server_lr * sum(v) / len(heard), last | fresh
    return x


def test_fedstaleasync_by_hand() -> None:
    # N = 4, beta = 1/2. Round 0: 0, 1 send 4, 8: n = 2, p = 1, a step of 6. Round 1: 0 sends 6, 2 sends 2: n = 3,
    # p = 2/3, v = (6 * 3/2 + (1/2 - 3/4) * 4, 1/2 * 8, 2 * 3/2) = (8, 4, 3), a step of 15 / 3.
    state, x = play(fedstaleasync(FedStaleAsync()), weights(0.0), *uploads([(0, 4.0), (1, 8.0)], [(0, 6.0), (2, 2.0)]))
    close(x, 11.0)
    assert state.cache[:, 0].tolist() == [6.0, 8.0, 2.0, 0.0] and state.heard.tolist() == [True, True, True, False]


def test_ace_by_hand() -> None:
    # The mean of the last updates of all that were heard: (4 + 8) / 2, then (6 + 8 + 1) / 3.
    close(play(fedstaleasync(ACE), weights(0.0), *uploads([(0, 4.0), (1, 8.0)], [(0, 6.0), (2, 1.0)]))[1], 11.0)


@given(
    beta=st.floats(0, 1), participation=st.sampled_from(["uniform", "certain"]), server_lr=st.floats(0.1, 2),
    rounds=st.lists(st.dictionaries(st.integers(0, 5), st.floats(-4, 4), min_size=1, max_size=4), max_size=6),
)  # fmt: skip
def test_fedstaleasync_is_what_its_code_sums_client_by_client(
    beta: float, participation: Any, server_lr: float, rounds: list[dict[int, float]]
) -> None:
    config = FedStaleAsync(server_lr=server_lr, beta=beta, participation=participation)
    arrivals = [list(arrived.items()) for arrived in rounds]
    _, x = play(fedstaleasync(config), weights(0.0), *uploads(*arrivals), clients=6)
    assert float(x.params) == pytest.approx(as_in_the_code(config, arrivals), abs=1e-4)


def test_fedstaleasync_without_memory_is_fedbuff(make_updates: Any) -> None:
    x, rounds = Weights(torch.zeros(5), torch.empty(0)), [make_updates(5, now=now) for now in range(6)]
    one = play(fedstaleasync(FedStaleAsync(beta=0.0, server_lr=0.3)), x, *rounds, clients=6)[1]
    assert torch.equal(one.params, play(fedbuff(FedBuff(server_lr=0.3)), x, *rounds, clients=6)[1].params)


def test_fedstaleasync_with_whole_memory_is_ca2fl_once_all_were_heard() -> None:
    rounds = uploads([(c, float(c)) for c in range(4)], [(0, 6.0), (2, 1.0)], [(2, 5.0), (3, -3.0)])
    # 6/4, then (6 - 0 + 1 - 2) / 2 + 6/4, then (5 - 1 - 3 - 3) / 2 + 11/4.
    close(play(fedstaleasync(FedStaleAsync(beta=1.0)), weights(0.0), *rounds)[1], 7.25)
    close(play(ca2fl(CA2FL()), weights(0.0), *rounds)[1], 7.25)


@pytest.mark.parametrize("config", [FedStaleAsync(beta=1.0), ACE], ids=["uniform", "ace"])
def test_a_second_upload_of_a_client_takes_the_place_of_its_first(config: FedStaleAsync) -> None:
    updates = [an_update([3.0], client=0, arrived=0.1), an_update([5.0], client=0, arrived=0.2)]
    state, _ = play(fedstaleasync(config), weights(0.0), updates)
    assert state.cache[0].tolist() == [5.0] and state.heard.sum() == 1
    close(play(fedstaleasync(ACE), weights(0.0), updates)[1], 5.0)


# AREA


def test_area_by_hand() -> None:
    # N = 4. Round 0: 0, 1 end at 4, 8: x = 12 / 4. Round 1: 0 went from 3 to 6, 2 from 0 to 2: x = (6 + 8 + 2 + 0) / 4.
    second = [an_update([3.0], client=0, now=1, start=weights(3.0)), an_update([2.0], client=2, now=1)]
    state, x = play(area(AREA()), weights(0.0), *uploads([(0, 4.0), (1, 8.0)]), second)
    close(x, 4.0)
    assert state.models[:, 0].tolist() == [6.0, 8.0, 2.0, 0.0]


def test_areas_model_is_the_mean_of_all_models_that_were_finished(make_updates: Any) -> None:
    x = Weights(torch.full((5,), 2.0), torch.empty(0))
    for rounds in range(5):
        state, now = play(area(AREA()), x, *(make_updates(5, count=3, now=t) for t in range(rounds)), clients=6)
        torch.testing.assert_close(now.params, state.models.mean(0))


def test_area_with_all_clients_is_fedavg() -> None:
    first = [an_update([float(c)], client=c, start=weights(1.0)) for c in range(4)]
    second = [an_update([2.0 * c], client=c, now=1, start=weights(2.5)) for c in range(4)]
    close(play(area(AREA()), weights(1.0), first, second)[1], 5.5)
    close(play(fedavg(FedAvg()), weights(1.0), first, second)[1], 5.5)


# AdaMasFL


def test_adamasfl_by_hand() -> None:
    # N = 4, beta = 1/2, K = 2 steps of 1/2. Round 0: moves of 1 and -1/2 over K eta_l = 1 are .25 on average; gradients
    # -3 and 1, of which c_i was 0, are -1 on average: g = .5 * (0 - 1) and c = (-3 + 1) / 4, so that .5 c + .5 g - .5
    # c_i is half of -1 - c_i.
    method, x = adamasfl(AdaMasFL(beta=0.5), Local(lr=0.5)), weights(0.0)
    first = [
        an_update([1.0], client=0, steps=2, gradient=torch.tensor([-3.0])),
        an_update([-0.5], client=1, steps=2, gradient=torch.tensor([1.0])),
    ]
    state, x = play(method, x, first)
    close(x, 0.25)
    assert (state.momentum.item(), state.control.item()) == (-0.5, -0.5)
    assert state.client_controls[:, 0].tolist() == [-3.0, 1.0, 0.0, 0.0]
    terms = [method.correction(state, client, method.broadcast(state)) for client in (0, 1, 2)]
    assert [term.item() for term in terms] == [2.0, -2.0, -1.0]  # type: ignore[union-attr]
    # Round 1: 0 has a gradient of -1, 2 more than before, and moved by 1 in 4 steps: g = .5 * (-.5 + 2) + .5 * -.5.
    state = method.receive(state, an_update([1.0], client=0, now=1, steps=4, gradient=torch.tensor([-1.0])))
    state, x = method.close_round(state, x)
    close(x, 0.75)
    assert (state.momentum.item(), state.control.item()) == (0.5, 0.0)


def test_adamasfl_divides_by_the_length_of_the_local_path_below_1_too() -> None:
    update = an_update([0.1], client=0, steps=2, gradient=torch.tensor([1.0]))
    _, x = play(adamasfl(AdaMasFL(), Local(lr=0.1)), weights(0.0), [update])
    close(x, 0.5)  # .1 over K eta_l = .2


def test_adamasfls_control_is_the_mean_of_the_clients(make_updates: Any) -> None:
    x, rounds = Weights(torch.zeros(5), torch.empty(0)), [make_updates(5, count=3, now=now) for now in range(5)]
    state, _ = play(adamasfl(AdaMasFL(), Local(lr=0.5)), x, *rounds, clients=6)
    torch.testing.assert_close(state.control, state.client_controls.mean(0))


def test_fedecho_keeps_the_old_row_when_predictions_overflow(server: Server) -> None:
    method = echo(fedbuff(FedBuff()), server, Distillation(steps=1))
    x = server.model.weights()
    state = method.init(x, 6)
    for now, size in enumerate((0.1, 3e38)):
        update = an_update([size] * len(x.params), client=2, now=now, start=x)
        state = method.receive(state, update)
        state, _ = method.close_round(state, x)
    assert bool(torch.isfinite(state.bank.total).all()) and state.bank.uploaded[2] == 0


def test_fedac_without_correction_sends_none() -> None:
    method = fedac(FedAC(correction="none"), Local())
    state = method.init(weights(0.0), 4)
    assert method.correction(state, 0, method.broadcast(state)) is None


# FedEcho on one input, 1, and two classes: the logits of a model are its two parameters


@pytest.fixture
def teachers() -> list[Teacher]:
    """Who taught, round by round."""
    return []


@pytest.fixture
def two(server: Server, teachers: list[Teacher]) -> Server:
    """A server whose distillation adds 100 to each parameter."""

    def shift(
        model: FlatModel, x: Weights, pool: Tensor, taught: Teacher, how: Distillation, rng_key: tuple[int, int]
    ) -> tuple[Weights, dict[str, float]]:
        teachers.append(taught)
        return Weights(x.params + 100, x.buffers), {}

    model = FlatModel(nn.Linear(1, 2, bias=False))
    return replace(server, model=model, pool=torch.ones(1, 1), distil=shift)


@pytest.mark.parametrize(("whose", "logits"), [("own", [-0.5, 1.5]), ("server", [0.0, 4.0])])
def test_clients_predict_with_the_statistics_that_are_asked_for(
    server: Server, whose: Any, logits: list[float]
) -> None:
    # The client's own mean and variance, 1 and 4, give (u - 1) / 2; those it started with, 0 and 1, give u; those of
    # the one image of U, 2 and 4, would give -1 and 1. The layer behind them is the identity.
    module = nn.Sequential(nn.BatchNorm1d(1, affine=False), nn.Flatten(), nn.Linear(2, 2, bias=False))
    pooled = replace(server, model=FlatModel(module), pool=torch.tensor([[[0.0, 4.0]]]))
    method = echo(fedbuff(FedBuff()), pooled, Distillation(client_buffers=whose, steps=1))
    start = Weights(torch.zeros(4), torch.tensor([0.0, 1.0]))
    state = method.init(start, 2)
    module.train()  # as local training leaves it
    state = method.receive(state, an_update([1.0, 0.0, 0.0, 1.0], client=1, start=start, buffers=[1.0, 4.0]))
    state, _ = method.close_round(state, start)
    torch.testing.assert_close(state.bank.dense()[1], torch.tensor([logits]), rtol=1e-4, atol=1e-4)  # eps is 1e-5


def test_rows_of_probabilities_are_softened(two: Server, teachers: list[Teacher]) -> None:
    # e^(z / 2) = (3, 1); without the temperature it would be (9, 1).
    method = echo(fedbuff(FedBuff()), two, Distillation(average="probabilities", temperature=2.0))
    state, _ = play(method, weights(0.0, 0.0), [an_update([2 * math.log(3.0), 0.0])])
    torch.testing.assert_close(state.bank.dense()[0], torch.tensor([[0.75, 0.25]]))
    torch.testing.assert_close(teachers[0].probs, torch.tensor([[0.75, 0.25]]))


def test_the_average_that_teaches_takes_a_twentieth_of_each_model(two: Server, teachers: list[Teacher]) -> None:
    # .95 * 0 + .05 * 20 log 3 = log 3, so the average says (3/4, 1/4).
    method = echo(fedbuff(FedBuff()), two, Distillation(source="average"))
    state, _ = play(method, weights(0.0, 0.0), [an_update([20 * math.log(3.0), 0.0])])
    close(state.average, math.log(3.0), 0.0)
    torch.testing.assert_close(teachers[0].probs, torch.tensor([[0.75, 0.25]]))


def test_the_average_that_teaches_is_of_the_models_before_distillation(two: Server) -> None:
    # Before: 20, then 20 + 100 - 80 = 40; averages .05 * 20 = 1 and .95 * 1 + .05 * 40 = 2.95. After: 120, then 140.
    method = echo(fedbuff(FedBuff()), two, Distillation(source="average"))
    first, second = [an_update([20.0, 20.0])], [an_update([-80.0, -80.0], now=1)]
    state, x = play(method, weights(0.0, 0.0), first, second)
    close(x, 140.0, 140.0)
    close(state.average, 2.95, 2.95)


@pytest.mark.parametrize(("broadcast", "sent"), [("averaged", 20.0), ("distilled", 120.0)])
def test_the_distilled_model_is_scored_whichever_is_sent(two: Server, broadcast: Any, sent: float) -> None:
    method = echo(fedbuff(FedBuff()), two, Distillation(broadcast=broadcast))
    state, x = play(method, weights(0.0, 0.0), [an_update([20.0, 20.0])])
    close(x, sent, sent)
    close(method.evaluated(state, x), 120.0, 120.0)


def test_an_average_of_the_distilled_models_is_scored_on_demand_and_not_sent(two: Server) -> None:
    # Distilled: 20 + 100, then 120 - 80 + 100; averages 3/4 * 0 + 1/4 * 120 = 30 and 3/4 * 30 + 1/4 * 140 = 57.5.
    method = echo(fedbuff(FedBuff()), two, Distillation(), ema=0.75)
    first, second = [an_update([20.0, 20.0])], [an_update([-80.0, -80.0], now=1)]
    state, x = play(method, weights(0.0, 0.0), first)
    close(method.evaluated(state, x), 30.0, 30.0)
    state, x = play(method, weights(0.0, 0.0), first, second)
    close(x, 140.0, 140.0)
    close(method.evaluated(state, x), 57.5, 57.5)


def test_the_teacher_is_corrupted_for_so_many_rounds_and_no_longer(two: Server, teachers: list[Teacher]) -> None:
    method = echo(fedbuff(FedBuff()), two, Distillation(corrupt_rounds=2))
    play(method, weights(0.0, 0.0), *([an_update([1.0, 0.0], now=now)] for now in range(3)))
    assert [taught.labels.tolist() for taught in teachers] == [[1], [1], [0]]  # the client says class 0


def test_rows_are_banked_by_arrival_and_then_by_client(two: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[int] = []
    put = Bank.put

    def noted(bank: Bank, client: int, *rest: Any) -> None:
        order.append(client)
        put(bank, client, *rest)

    monkeypatch.setattr(Bank, "put", noted)
    arrivals = [(3, 0.3), (2, 0.1), (3, 0.2), (0, 0.2)]  # as received: (client, when)
    updates = [an_update([when, 0.0], client=client, arrived=when) for client, when in arrivals]
    state, _ = play(echo(fedbuff(FedBuff()), two, Distillation()), weights(0.0, 0.0), updates)
    assert order == [2, 0, 3, 3]
    torch.testing.assert_close(
        state.bank.dense()[:, 0, 0], torch.tensor([0.2, 0.0, 0.1, 0.3])
    )  # 3's last, not its first


@pytest.mark.parametrize("off", [{"steps": 0}, {"lr": 0.0}, {"warmup_rounds": 2}], ids=str)
def test_where_nothing_is_distilled_nothing_is_said_of_it(two: Server, off: dict[str, Any]) -> None:
    updates = [[an_update([1.0, 2.0])], [an_update([3.0, 2.0], base=1, now=1)]]
    method, inner = echo(fedbuff(FedBuff()), two, Distillation(**off)), fedbuff(FedBuff())
    state, x = play(method, weights(0.0, 0.0), *updates)
    assert method.metrics(state) == {} and torch.equal(x.params, play(inner, weights(0.0, 0.0), *updates)[1].params)
    taught, _ = play(echo(fedbuff(FedBuff()), two, Distillation(steps=1)), weights(0.0, 0.0), *updates)
    assert taught.metrics["teachers"] == 1
