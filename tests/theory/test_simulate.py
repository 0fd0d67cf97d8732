"""Trajectories: what every method does to many is what it does to each; FedEcho's batch is the library's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedecho.core.config import MethodConfig
from fedecho.core.settings import Delays, Execution, Local
from fedecho.learning import methods
from fedecho.learning.bank import Bank
from fedecho.learning.distill import distil
from fedecho.learning.echo_settings import Distillation
from fedecho.learning.flat import FlatModel, Weights
from fedecho.learning.methods import (
    AREA,
    CA2FL,
    FADAS,
    AdaMasFL,
    FedAsync,
    FedBuff,
    FedEcho,
    FedStaleAsync,
    Method,
    Server,
)
from fedecho.learning.teacher import teacher
from fedecho.simulation.schedule import Schedule
from fedecho.theory import arrivals, echo, simulate, tasks
from fedecho.theory.arrivals import Arrivals, Order
from fedecho.theory.config import TheoryRun
from fedecho.theory.objectives import Quadratic
from fedecho.theory.softmax import Softmax

NONE = torch.empty(0)
LAW = Arrivals("independent", clients=6, tau_max=3)
STEP = simulate.Local(lr=0.1, variance=0.0)
TOY = Quadratic(torch.ones(2, 1).double(), torch.tensor([[0.0], [1.0]]).double())


def built(config: MethodConfig) -> Method[Any]:
    return methods.build(config, Server(None, NONE, None, Local(), 0))  # type: ignore[arg-type]


def order(clients: list[list[int]], bases: list[list[int]], places: int = 2) -> Order:
    return Order(np.array(clients), np.array(bases), (0,) * places)


def simulated(config: MethodConfig, plan: Order, local: simulate.Local = STEP) -> simulate.Path:
    assigned = torch.arange(2).expand(1, -1)
    return simulate.together(TOY, built(config), plan, assigned, local, torch.ones(1, 1).double(), seed=0)


def test_two_rounds_by_hand() -> None:
    # f = 1/4 (x^2 + (x - 1)^2): gradient x - 1/2. Both clients from x_0 = 1: mean step -0.1 * (1 + 0) / 2 = -0.05.
    # Then client 0 twice from x_0 again: -0.1 each, so that x_2 = 0.95 - 0.1.
    path = simulated(FedBuff(), order([[0, 1], [0, 0], [1, 1]], [[0, 0], [0, 0], [2, 2]]))
    assert path.at.tolist() == [0, 1, 2] and path.stands_for.tolist() == [1, 1, 1]
    assert path.squares.flatten().tolist() == pytest.approx([0.25, 0.45**2, 0.35**2])
    found = {name: float(value) for name, value in path.measures().items()}
    assert found == pytest.approx({"mean": (0.25 + 0.2025 + 0.1225) / 3, "late": 0.1625, "least": 0.1225})


def test_local_steps_by_hand() -> None:
    two = replace(STEP, steps=2)
    path = simulated(FedBuff(), order([[0], [0]], [[0], [1]]), local=two)
    assert float(path.squares[1]) == pytest.approx((0.81 - 0.5) ** 2)


def test_normalised_steps_by_hand() -> None:
    # Client 0 has the gradient x, client 1 has x - 1; steps of eta_l = .1 down from 1 are .1 long whatever it is, while
    # the mean of the two gradients of client 0 is that of 1 and .9.
    starts, which = torch.ones(2, 1, 1).double(), torch.tensor([[0], [1]])
    noises = simulate.noise(simulate.Local(1.0, variance=0.0), (2, 1, 1), 0, ())
    delta, gradients = simulate.work(TOY, starts, which, replace(STEP, steps=2), noises, 0.0, 0.0, normalised=True)
    assert delta.flatten().tolist() == pytest.approx([-0.2, 0.0])  # client 1 is at its optimum
    assert gradients.flatten().tolist() == pytest.approx([0.95, 0.0])


@pytest.mark.parametrize("config", [FedBuff(server_lr=2.0), CA2FL(), FADAS(server_lr=0.1), FedAsync(), FedStaleAsync(),
                                    AREA(), AdaMasFL(server_lr=0.1)])  # fmt: skip
def test_a_batch_is_what_its_trajectories_are_alone(config: MethodConfig) -> None:
    objective = tasks.quadratic(0.5)
    plan = arrivals.draw(LAW, 30, 2, 0)
    assigned = arrivals.assign(LAW, plan, objective, 3, 0)
    x0 = torch.linspace(-1, 1, 60, dtype=torch.float64).view(3, 20)
    together = simulate.together(objective, built(config), plan, assigned, STEP, x0, 0)
    alone = simulate.one_by_one(objective, built(config), plan, assigned, STEP, x0, 0)
    torch.testing.assert_close(together.squares, alone.squares, rtol=1e-12, atol=0)


def test_measured_rounds_stand_for_all_of_them() -> None:
    for rounds in (1, 2, 7, 250, 8000):
        at, stands_for = simulate.measured_rounds(rounds)
        assert int(stands_for.sum()) == rounds and int(at[-1]) < rounds and bool((at.diff() > 0).all())
        ends = stands_for.cumsum(0)
        assert bool(((ends - stands_for <= at) & (at < ends)).all())
    at, stands_for = simulate.measured_rounds(8000)
    assert int((at >= 4000).sum()) == simulate.LATE
    decay = torch.exp(-0.05 * at.double())
    assert float((stands_for * decay).sum()) == pytest.approx(1 / (1 - np.exp(-0.05)), rel=0.01)


def test_noise_has_its_variance_and_a_stream_of_its_own() -> None:
    def drawn(variance: float, seed: int, *identity: int) -> Tensor:
        return next(simulate.noise(simulate.Local(1.0, variance=variance), (50, 40, 20), seed, identity))

    assert float((drawn(4.0, 0, 7) ** 2).sum(-1).mean()) == pytest.approx(4.0, rel=0.05)
    assert torch.equal(drawn(1.0, 0, 7), drawn(1.0, 0, 7)) and not torch.equal(drawn(1.0, 0, 7), drawn(1.0, 0, 8))
    assert not drawn(0.0, 0, 7).any()


def test_a_trajectory_that_leaves_the_numbers_stays_away_alone() -> None:
    plan = order([[0]] * 1500, [[t] for t in range(1500)])
    x0 = torch.tensor([[1.0], [0.0]]).double()
    fast = simulate.Local(lr=3.0, variance=0.0)
    path = simulate.together(TOY, built(FedBuff()), plan, torch.zeros(2, 2).long(), fast, x0, 0)
    mean = path.measures()["mean"]
    assert not torch.isfinite(mean[0]) and float(mean[1]) == 0.25


# FedEcho

HOW = Distillation(steps=5, lr=0.1, batch_size=3, clip_norm=0.6)


class One(FlatModel):
    """One trajectory's model as the library knows models."""

    def __init__(self, objective: Softmax, params: Tensor) -> None:
        self.objective, self.module, self.execution = objective, torch.nn.Module(), Execution()
        self.params = params.clone().requires_grad_()
        self.parameters = [self.params]  # type: ignore[list-item]
        self.buffers = NONE.double()

    def logits(self, images: Tensor) -> Tensor:
        return self.objective.logits(self.params, images)


def task(count: int) -> tuple[Softmax, Tensor, Tensor]:
    found = tasks.build(TheoryRun(objective="logistic"))
    assert isinstance(found.objective, Softmax) and found.pool is not None
    x0 = torch.linspace(-2, 2, count * len(found.objective.start), dtype=torch.float64).view(count, -1)
    return found.objective, found.pool[:8], x0


@pytest.mark.parametrize(
    "changes", [{}, {"batch_size": 50}, {"alpha_scope": "sample"}, {"clip_norm": None}, {"alpha_direction": "falling"}]
)
def test_distilling_a_batch_is_distilling_each_trajectory(changes: dict[str, Any]) -> None:
    objective, pool, x0 = task(3)
    how, server = replace(HOW, **changes), echo.server(objective, pool, x0, seed=4)
    bank = Bank.empty(2, (len(server.pool), objective.classes), torch.device("cpu"))
    rows = torch.randn(2, len(server.pool), objective.classes, generator=torch.Generator().manual_seed(1))
    for client in (0, 1):
        bank.store(client, 3 * rows[client], 0)
    together, metrics = server.distil(
        server.model, Weights(x0.reshape(-1), NONE), server.pool, teacher(bank, how), how, (4, 9)
    )
    shares = []
    for k, params in enumerate(together.params.view(3, -1)):
        own = Bank.empty(2, (len(pool), objective.classes), torch.device("cpu"))
        for client in (0, 1):
            own.store(client, 3 * rows[client].view(3, len(pool), -1)[k], 0)
        taught = teacher(own, how)
        taught = replace(taught, probs=taught.probs.double(), entropy=taught.entropy.double())
        alone, facts = distil(One(objective, x0[k]), Weights(x0[k], NONE.double()), pool, taught, how, (4, 9))
        torch.testing.assert_close(params, alone.params.detach())
        shares.append(facts["clipped"])
    assert metrics["clipped"] == pytest.approx(np.mean(shares))
    assert changes or 0 < metrics["clipped"] < 1  # both sides of the clip are tried


def test_fedecho_on_a_batch_is_the_librarys_on_each_trajectory() -> None:
    objective, pool, x0 = task(3)
    config = FedEcho(distill=HOW)
    plan = arrivals.draw(LAW, 12, 2, 0)
    assigned = arrivals.assign(LAW, plan, objective, 3, 0)
    together = simulate.together(
        objective, methods.build(config, echo.server(objective, pool, x0, 4)), plan, assigned, STEP, x0, 0
    )
    for k in range(3):
        start = x0[k : k + 1]
        own = Server(One(objective, start[0]), pool, Schedule((), (), ()), Local(), 4)
        alone = simulate.together(
            objective, methods.build(config, Exact.of(own)), plan, assigned[k : k + 1], STEP, start, 0
        )
        # Banks keep single precision.
        torch.testing.assert_close(together.squares[:, k], alone.squares[:, 0], rtol=1e-5, atol=0)
    assert together.metrics["teachers"] > 1


class Exact:
    """The library's `distil`, given the teacher in double precision as trajectories are."""

    @staticmethod
    def of(server: Server) -> Server:
        def double(
            model: FlatModel, x: Weights, pool: Tensor, taught: Any, how: Distillation, key: tuple[int, int]
        ) -> Any:
            taught = replace(taught, probs=taught.probs.double(), entropy=taught.entropy.double())
            found, metrics = distil(model, x, pool, taught, how, key)
            return Weights(found.params.detach(), NONE), metrics

        return replace(server, distil=double)


@pytest.mark.parametrize("teaches", ["adversarial", "random"])
def test_misleading_teachers(teaches: echo.Teaches) -> None:
    objective, pool, x0 = task(2)
    server = echo.server(objective, pool, x0, 0)
    wrong = echo.misleading(server, teaches)
    assert torch.equal(wrong(0), wrong(1)) == (teaches == "adversarial")
    method = echo.misled(built(FedBuff()), server, HOW, teaches)
    plan = order([[0], [1]], [[0], [1]], places=2)
    path = simulate.together(objective, method, plan, torch.zeros(2, 2).long(), STEP, x0, 0)
    plain = simulate.together(objective, built(FedBuff()), plan, torch.zeros(2, 2).long(), STEP, x0, 0)
    assert not torch.allclose(path.squares[1], plain.squares[1]) and path.metrics["gradient_norm"] > 0


# Arrivals


def test_event_loop_arrivals_are_the_schedules() -> None:
    law = Arrivals(clients=20, per_buffer=3, delays=Delays("uniform"))
    plan = arrivals.draw(law, 200, 2, 0)
    assert plan.client.shape == (200, 2) and plan.staleness.min() >= 0
    assert plan.staleness[50:].mean() == pytest.approx(2.0, abs=0.2)  # M_c / M - 1
    assert np.array_equal(plan.first(50).base, arrivals.draw(law, 50, 2, 0).base)


def test_independent_arrivals_have_the_declared_law() -> None:
    law = Arrivals("independent", clients=10, tau_max=4, bias=9.0)
    plan = arrivals.draw(law, 4000, 2, 0)
    assert plan.shares()[:5].sum() == pytest.approx(0.9, abs=0.02)
    assert plan.staleness.max() == 4 and plan.staleness.mean() == pytest.approx(2.0, abs=0.1)
    rare = arrivals.draw(replace(law, tau_max=8, tau_avg=2.0), 4000, 2, 0)
    assert set(np.unique(rare.staleness[8:])) == {0, 8} and rare.staleness.mean() == pytest.approx(2.0, abs=0.2)


def test_objectives_are_assigned_evenly_or_against_the_slow() -> None:
    objective = tasks.quadratic(1.0)
    law = Arrivals(clients=100, per_buffer=1, delays=Delays("mild", speed_counts=(60, 20, 20)))
    plan = arrivals.draw(law, 10, 2, 0)
    assigned = arrivals.assign(law, plan, objective, 3, 0)
    assert all((torch.bincount(row) == 2).all() for row in assigned) and not torch.equal(assigned[0], assigned[1])
    against = arrivals.assign(replace(law, dealt="slow high"), plan, objective, 3, 0)
    outstanding = arrivals.extremity(objective)
    slow = torch.tensor(plan.speed) == 2
    assert all((torch.bincount(row) == 2).all() for row in against)
    assert all(outstanding[row[slow]].min() >= outstanding[row[~slow]].max() for row in against)
    other = arrivals.assign(replace(law, dealt="slow low"), plan, objective, 3, 0)
    assert all(outstanding[row[slow]].max() <= outstanding[row[~slow]].min() for row in other)
